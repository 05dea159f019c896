//! Prometheus' text format 0.0.4, and OpenMetrics 1.0.0 for those who ask for it. They differ in the
//! head of counters and in the last line.

use std::fmt::{self, Display, Write};

use super::families::{Family, Kind};
use crate::metrics::Readings;

/// Families and their samples, one after the other.
#[derive(Debug)]
pub(super) struct Text {
    text: String,
    open: bool,
    family: &'static Family,
}

/// Microseconds, written as seconds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Micros(pub(super) u64);

impl Display for Micros {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, rest) = (self.0 / 1_000_000, self.0 % 1_000_000);
        if rest == 0 {
            return write!(f, "{seconds}.0");
        }
        let rest = format!("{rest:06}");
        write!(f, "{seconds}.{}", rest.trim_end_matches('0'))
    }
}

impl Text {
    /// None yet; `open`: as OpenMetrics.
    pub(super) fn new(open: bool) -> Self {
        Self { text: String::new(), open, family: &super::families::BUILD_INFO }
    }

    /// Begins a family: the samples that follow are its.
    pub(super) fn family(&mut self, family: &'static Family) {
        self.family = family;
        let counts = self.open && family.kind == Kind::Counter;
        let name = if counts { family.name.trim_end_matches("_total") } else { family.name };
        let (help, kind) = (family.help, family.kind.name());
        let _ = write!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }

    /// One number of it, with the values of its labels.
    pub(super) fn sample(&mut self, values: &[&str], value: impl Display) {
        self.line("", values, None, value);
    }

    /// A family of one number.
    pub(super) fn single(&mut self, family: &'static Family, value: impl Display) {
        self.family(family);
        self.sample(&[], value);
    }

    /// A histogram of it.
    pub(super) fn histogram(&mut self, values: &[&str], bounds: &[u64], readings: &Readings) {
        for (bound, count) in bounds.iter().zip(&readings.up_to) {
            self.line("_bucket", values, Some(&Micros(*bound).to_string()), count);
        }
        self.line("_bucket", values, Some("+Inf"), readings.count);
        self.line("_sum", values, None, Micros(readings.sum_us));
        self.line("_count", values, None, readings.count);
    }

    /// All of it.
    pub(super) fn end(mut self) -> String {
        if self.open {
            self.text.push_str("# EOF\n");
        }
        self.text
    }

    fn line(&mut self, suffix: &str, values: &[&str], up_to: Option<&str>, value: impl Display) {
        debug_assert_eq!(values.len(), self.family.labels.len(), "{}", self.family.name);
        self.text.push_str(self.family.name);
        self.text.push_str(suffix);
        let labels = self.family.labels.iter().zip(values).map(|(label, text)| (*label, *text));
        let mut begun = false;
        for (label, text) in labels.chain(up_to.map(|bound| ("le", bound))) {
            self.text.push(if begun { ',' } else { '{' });
            begun = true;
            self.text.push_str(label);
            self.text.push_str("=\"");
            for c in text.chars() {
                match c {
                    '\\' => self.text.push_str("\\\\"),
                    '"' => self.text.push_str("\\\""),
                    '\n' => self.text.push_str("\\n"),
                    c => self.text.push(c),
                }
            }
            self.text.push('"');
        }
        self.text.push_str(if begun { "} " } else { " " });
        let _ = writeln!(self.text, "{value}");
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::super::families;
    use super::*;
    use crate::metrics::{Histogram, SHORT};

    #[test]
    fn a_label_cannot_break_its_line() {
        let mut text = Text::new(false);
        text.family(&families::TARGET_UP);
        text.sample(&["q\"b\\s\nn", ""], 7);
        let line = "thalweg_target_up{service=\"q\\\"b\\\\s\\nn\",target=\"\"} 7\n";
        assert!(text.end().ends_with(line));
    }

    proptest! {
        /// Whatever it is called, it is one line, and its name can be read back.
        #[test]
        fn any_name_comes_back(name in any::<String>()) {
            let mut text = Text::new(true);
            text.family(&families::SERVICE_CONNECTIONS);
            text.sample(&[&name], 1);
            let text = text.end();
            let lines: Vec<&str> = text.split('\n').collect();
            prop_assert_eq!(lines.len(), 5);
            let value = lines[2].strip_prefix("thalweg_service_connections{service=\"").unwrap();
            let value = value.strip_suffix("\"} 1").unwrap();
            let mut read = String::new();
            let mut chars = value.chars();
            while let Some(c) = chars.next() {
                prop_assert_ne!(c, '"');
                read.push(match c {
                    '\\' => match chars.next() {
                        Some('n') => '\n',
                        other => other.unwrap(),
                    },
                    c => c,
                });
            }
            prop_assert_eq!(read, name);
        }
    }

    #[test]
    fn a_histogram_has_its_bounds_in_seconds() {
        let histogram = Histogram::default();
        for micros in [90, 300, 20_000_000] {
            histogram.observe(&SHORT, Duration::from_micros(micros));
        }
        let mut readings = Readings::default();
        readings.add(&histogram);
        let mut text = Text::new(false);
        text.family(&families::SERVICE_CONNECT);
        text.histogram(&["s"], &SHORT, &readings);
        let text = text.end();
        for line in [
            "_bucket{service=\"s\",le=\"0.0001\"} 1\n",
            "_bucket{service=\"s\",le=\"0.0005\"} 2\n",
            "_bucket{service=\"s\",le=\"1.0\"} 2\n",
            "_bucket{service=\"s\",le=\"10.0\"} 2\n",
            "_bucket{service=\"s\",le=\"+Inf\"} 3\n",
            "_sum{service=\"s\"} 20.00039\n",
            "_count{service=\"s\"} 3\n",
        ] {
            assert!(text.contains(&format!("\nthalweg_service_connect_seconds{line}")), "{text}");
        }
    }

    #[test]
    fn openmetrics_calls_counters_otherwise() {
        let [plain, open] = [false, true].map(|open| {
            let mut text = Text::new(open);
            text.single(&families::ACCEPTED, 1);
            text.end()
        });
        assert!(plain.contains("# TYPE thalweg_accepted_total counter\nthalweg_accepted_total 1"));
        assert!(open.contains("# TYPE thalweg_accepted counter\nthalweg_accepted_total 1"));
        assert!(open.ends_with("\n# EOF\n") && !plain.contains("EOF"));
    }
}
