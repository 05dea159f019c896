//! From JSON lines to what people read: a table in Markdown and a plot.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use serde_json::{Map, Value};

use crate::judge::{Figures, judge};
use crate::peers::Kind;
use crate::svg;
use crate::work::{COMPARED, Compared, Mode, Part};

/// Threads beside those of the cores that still count as a fixed handful.
const HANDFUL: f64 = 8.0;

/// The median of a cell of the table, and how far its runs lie apart.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cell {
    /// The median.
    pub median: f64,
    /// The least.
    pub min: f64,
    /// The greatest.
    pub max: f64,
    /// How many runs.
    pub runs: usize,
}

impl Cell {
    /// The cell of some runs; none without any.
    pub fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        let (min, max) = (*values.first()?, *values.last()?);
        let middle = values.len() / 2;
        let median = if values.len() % 2 == 1 {
            values[middle]
        } else {
            f64::midpoint(values[middle - 1], values[middle])
        };
        Some(Self { median, min, max, runs: values.len() })
    }
}

/// The lines of one comparison.
pub struct Lines(Vec<Map<String, Value>>);

impl Lines {
    fn read(paths: &[&Path]) -> Result<Self, String> {
        let mut all = Vec::new();
        for path in paths {
            let text =
                fs::read_to_string(path).map_err(|e| format!("reading {}: {e}", path.display()))?;
            let before = all.len();
            let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
            for (number, line) in lines {
                let line = serde_json::from_str(line)
                    .map_err(|e| format!("{}:{}: {e}", path.display(), number + 1))?;
                all.push(line);
            }
            if all.len() == before {
                return Err(format!("{} is empty", path.display()));
            }
        }
        Ok(Self(all))
    }

    fn of(&self, kind: Kind, work: &str) -> impl Iterator<Item = &Map<String, Value>> {
        let is = |line: &Map<String, Value>, key: &str, value: &str| {
            line.get(key).and_then(Value::as_str) == Some(value)
        };
        self.0.iter().filter(move |l| is(l, "proxy", kind.name()) && is(l, "work", work))
    }

    /// The cell that `value` makes of the runs; disturbed ones count only where there are no others.
    fn cell(
        &self,
        kind: Kind,
        compared: &Compared,
        value: impl Fn(&Map<String, Value>) -> Option<f64>,
    ) -> Option<Cell> {
        let all: Vec<_> = self
            .of(kind, compared.name)
            .filter_map(|line| Some((is_flagged(line), value(line)?)))
            .collect();
        let quiet: Vec<f64> = all.iter().filter(|(flag, _)| !flag).map(|(_, v)| *v).collect();
        Cell::of(if quiet.is_empty() { all.iter().map(|(_, v)| *v).collect() } else { quiet })
    }

    /// The cell of the figure that decides.
    pub fn decisive(&self, kind: Kind, compared: &Compared) -> Option<Cell> {
        self.cell(kind, compared, |line| figure(compared, line))
    }

    /// What was measured, in one sentence for each fact.
    pub fn conditions(&self) -> Vec<String> {
        let first = |kind: Kind| {
            let mut lines = self.0.iter();
            let line = lines.find(|l| l.get("proxy").and_then(Value::as_str) == Some(kind.name()));
            line.and_then(|line| line.get("version")?.as_str()).map(str::to_owned)
        };
        // What programs say about their version is long and unlike; the number is what matters.
        let number = |said: &str| {
            let mut parts = said.split([' ', '/']);
            parts.find(|part| part.starts_with(|c: char| c.is_ascii_digit())).map(str::to_owned)
        };
        let versions: Vec<String> = Kind::ALL
            .iter()
            .filter(|kind| **kind != Kind::Direct)
            .filter_map(|kind| Some((kind, first(*kind)?)))
            .map(|(kind, said)| format!("{} {}", label(*kind), number(&said).unwrap_or(said)))
            .collect();
        let text = |key: &str| {
            self.0.iter().find_map(|line| line.get(key)?.as_str()).unwrap_or("unknown").to_owned()
        };
        let rounds = self.0.iter().filter_map(|line| line.get("round")?.as_u64()).max();
        vec![
            versions.join(", "),
            format!(
                "Linux {}, loopback, congestion control {}, proxy on one CPU, load on another",
                text("kernel"),
                text("congestionControl")
            ),
            format!("medians of {} interleaved rounds [least–greatest]", rounds.unwrap_or(1)),
        ]
    }
}

fn is_flagged(line: &Map<String, Value>) -> bool {
    line.get("flagged").and_then(Value::as_bool) == Some(true)
}

/// The figure that decides a work, out of one line.
pub fn figure(compared: &Compared, line: &Map<String, Value>) -> Option<f64> {
    let name = match compared.work.mode {
        Mode::Bulk => "proxyCpuMsPerGib",
        Mode::Rr | Mode::Crr => "proxyCpuUsPerOp",
        Mode::Idle => "memoryPerConnection",
    };
    line.get(name)?.as_f64()
}

/// Reads the lines of `paths` and writes `table.md` and `plot.svg` into `out`.
pub fn write(paths: &[&Path], out: &Path) -> Result<(), String> {
    let lines = Lines::read(paths)?;
    fs::create_dir_all(out).map_err(|e| format!("making {}: {e}", out.display()))?;
    for (name, text) in [("table.md", table(&lines)), ("plot.svg", svg::plot(&lines))] {
        let path = out.join(name);
        fs::write(&path, text).map_err(|e| format!("writing {}: {e}", path.display()))?;
    }
    Ok(())
}

fn table(lines: &Lines) -> String {
    let mut text = String::new();
    for part in Part::ALL {
        decisive_table(lines, part, &mut text);
    }
    other_table(lines, &mut text);
    text.push('\n');
    for condition in lines.conditions() {
        push(&mut text, format_args!("- {condition}\n"));
    }
    let disturbed = lines.0.iter().filter(|line| is_flagged(line)).count();
    if disturbed > 0 {
        push(
            &mut text,
            format_args!(
                "- {disturbed} of {} runs were disturbed by other programs (left out where an \
                 undisturbed run of the same cell exists)\n",
                lines.0.len()
            ),
        );
    }
    for line in &lines.0 {
        if let Some(error) = line.get("error").and_then(Value::as_str) {
            let name = |key: &str| line.get(key).and_then(Value::as_str).unwrap_or("?");
            let first = error.lines().next().unwrap_or_default();
            push(
                &mut text,
                format_args!("- failed: {} {}: {first}\n", name("proxy"), name("work")),
            );
        }
    }
    text
}

/// Writing to a string cannot fail.
fn push(text: &mut String, what: std::fmt::Arguments<'_>) {
    let _ = text.write_fmt(what);
}

/// The peers of a part: who has a column with a ratio.
fn peers(part: Part) -> impl Iterator<Item = Kind> {
    let kinds = part.kinds().iter().copied();
    kinds.filter(|kind| !matches!(kind, Kind::Thalweg | Kind::Direct))
}

fn decisive_table(lines: &Lines, part: Part, text: &mut String) {
    let of_part = |compared: &&Compared| {
        let done = |kind: &Kind| lines.decisive(*kind, compared).is_some();
        compared.part == part && part.kinds().iter().any(done)
    };
    let works: Vec<&Compared> = COMPARED.iter().filter(of_part).collect();
    if works.is_empty() {
        return;
    }
    let kinds = part.kinds().iter().map(|kind| label(*kind).to_owned());
    let ratios = peers(part).map(|peer| format!("Thalweg / {}", label(peer)));
    let names: Vec<String> = kinds.chain(ratios).collect();
    push(
        text,
        format_args!(
            "| {} | figure | {} | must | goal |\n|{}\n",
            part.title(),
            names.join(" | "),
            "---|".repeat(names.len() + 4),
        ),
    );
    for compared in works {
        let cell = |kind| lines.decisive(kind, compared);
        let cells = part.kinds().iter().map(|kind| show(cell(*kind)));
        let ratios = peers(part).map(|peer| ratio(cell(Kind::Thalweg), cell(peer)));
        let figures = figures(lines, compared);
        push(
            text,
            format_args!(
                "| {} | {} | {} | {} | {} |\n",
                compared.title,
                compared.unit,
                cells.chain(ratios).collect::<Vec<_>>().join(" | "),
                judge(compared.must, figures),
                judge(compared.goal, figures),
            ),
        );
        if compared.work.mode == Mode::Idle {
            threads_row(lines, compared, text);
        }
        if compared.is_own_pipe() {
            read_row(lines, compared, part, text);
        }
    }
    text.push('\n');
}

/// What the targets of a work may speak of.
fn figures(lines: &Lines, compared: &Compared) -> Figures {
    let median = |kind| lines.decisive(kind, compared).map(|cell| cell.median);
    let pipe_and_read = COMPARED.iter().find(|other| other.is_own_pipe()).and_then(|pipe| {
        let pipe_cell = lines.decisive(Kind::Thalweg, pipe)?;
        Some(pipe_cell.median + one_read(lines, pipe)?.median)
    });
    let bare = COMPARED.iter().find(|other| other.is_own_bare());
    let bare = bare.and_then(|bare| Some(lines.decisive(Kind::Thalweg, bare)?.median));
    Figures {
        ours: median(Kind::Thalweg),
        haproxy: median(Kind::Haproxy),
        nginx: median(Kind::Nginx),
        envoy: median(Kind::Envoy),
        pipe_and_read,
        bare,
    }
}

fn one_read(lines: &Lines, pipe: &Compared) -> Option<Cell> {
    lines.cell(Kind::Thalweg, pipe, |line| line.get("oneReadUs")?.as_f64())
}

/// What one read costs, beside the plain pipe.
fn read_row(lines: &Lines, pipe: &Compared, part: Part, text: &mut String) {
    let Some(read) = one_read(lines, pipe) else { return };
    let columns = part.kinds().len() - 1 + peers(part).count() + 2;
    push(
        text,
        format_args!("| | one read, µs | {} |{}\n", show(Some(read)), " – |".repeat(columns)),
    );
}

/// The threads before and during the idle connections.
fn threads_row(lines: &Lines, compared: &Compared, text: &mut String) {
    let read = |kind, key: &'static str| lines.cell(kind, compared, |line| line.get(key)?.as_f64());
    let both = |kind| Some((read(kind, "threadsBefore")?, read(kind, "threads")?));
    let cell = |kind| {
        both(kind).map_or("–".into(), |(b, n)| format!("{:.0} → {:.0}", b.median, n.median))
    };
    let verdict = both(Kind::Thalweg).map_or("", |(before, now)| {
        if now.max <= 1.0 + HANDFUL && now.max <= before.min { ": **met**" } else { ": **missed**" }
    });
    push(
        text,
        format_args!(
            "| | threads, without → with them | {} | {} | {} | – | – | – | one per core and a \
             fixed handful{verdict} | – |\n",
            cell(Kind::Thalweg),
            cell(Kind::Haproxy),
            cell(Kind::Nginx),
        ),
    );
}

fn other_table(lines: &Lines, text: &mut String) {
    text.push_str(
        "| work | proxy | rate | p50 µs | p99 µs | whole machine | proxy CPU busy | runs |\n\
         |---|---|---|---|---|---|---|---|\n",
    );
    for compared in COMPARED.iter().filter(|c| c.work.mode != Mode::Idle) {
        let (rate, unit, machine) = match compared.work.mode {
            Mode::Bulk => ("gibPerSecond", "GiB/s", "machineCpuMsPerGib"),
            _ => ("opsPerSecond", "/s", "machineCpuUsPerOp"),
        };
        for kind in Kind::ALL {
            let read = |key: &str| lines.cell(kind, compared, |line| line.get(key)?.as_f64());
            let Some(cell) = read(rate) else { continue };
            let busy = lines.cell(kind, compared, |line| {
                Some(line.get("proxyCpuUs")?.as_f64()? / line.get("seconds")?.as_f64()? / 1e4)
            });
            let brief = |cell: Option<Cell>| cell.map_or("–".into(), |c| number(c.median));
            push(
                text,
                format_args!(
                    "| {} | {} | {} {unit} | {} | {} | {} {} | {} % | {} |\n",
                    compared.title,
                    label(kind),
                    number(cell.median),
                    brief(read("p50Us")),
                    brief(read("p99Us")),
                    brief(read(machine)),
                    compared.unit,
                    busy.map_or("–".into(), |cell| format!("{:.0}", cell.median)),
                    cell.runs,
                ),
            );
        }
    }
}

/// The name of a proxy for readers.
pub fn label(kind: Kind) -> &'static str {
    match kind {
        Kind::Thalweg => "Thalweg",
        Kind::Haproxy => "HAProxy",
        Kind::Nginx => "nginx",
        Kind::Envoy => "Envoy",
        Kind::Direct => "one endpoint",
    }
}

/// A figure with three significant digits, and whole thousands apart.
pub fn number(value: f64) -> String {
    let digits = match value.abs() {
        v if v >= 100.0 => 0,
        v if v >= 10.0 => 1,
        v if v >= 1.0 => 2,
        _ => 3,
    };
    let plain = format!("{value:.digits$}");
    if value.abs() < 1000.0 {
        return plain;
    }
    let (sign, figures) = plain.strip_prefix('-').map_or(("", plain.as_str()), |rest| ("-", rest));
    let mut grouped = String::from(sign);
    for (index, figure) in figures.chars().enumerate() {
        if index > 0 && (figures.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(figure);
    }
    grouped
}

fn show(cell: Option<Cell>) -> String {
    cell.map_or("–".into(), |cell| {
        format!("{} [{}–{}]", number(cell.median), number(cell.min), number(cell.max))
    })
}

fn ratio(ours: Option<Cell>, theirs: Option<Cell>) -> String {
    match (ours, theirs) {
        (Some(ours), Some(theirs)) if theirs.median > 0.0 => {
            format!("{:.2}", ours.median / theirs.median)
        }
        _ => "–".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_numbers() {
        let odd = Cell::of(vec![3.0, 1.0, 2.0]).unwrap();
        assert_eq!((odd.median, odd.min, odd.max, odd.runs), (2.0, 1.0, 3.0, 3));
        assert_eq!(Cell::of(vec![4.0, 1.0]).unwrap().median, 2.5);
        assert_eq!(Cell::of(vec![]), None);
        for (value, text) in [
            (0.1234, "0.123"),
            (6.449, "6.45"),
            (99.96, "100.0"),
            (123.4, "123"),
            (9880.0, "9,880"),
        ] {
            assert_eq!(number(value), text);
        }
        assert_eq!(number(-1_234_567.0), "-1,234,567");
    }

    fn line(text: &str) -> Map<String, Value> {
        serde_json::from_str(text).unwrap()
    }

    /// A line of a run that took `value` µs.
    fn took(proxy: &str, work: &str, value: f64) -> Map<String, Value> {
        let name = if work.contains("bulk") { "proxyCpuMsPerGib" } else { "proxyCpuUsPerOp" };
        line(&format!(r#"{{"proxy":"{proxy}","work":"{work}","{name}":{value}}}"#))
    }

    #[test]
    fn each_part_has_its_table_and_its_columns() {
        let plain =
            table(&Lines(vec![took("thalweg", "crr64", 60.0), took("nginx", "crr64", 80.0)]));
        assert!(
            plain.starts_with("| Plain TCP | figure | Thalweg | HAProxy | nginx | one endpoint |")
        );
        assert!(!plain.contains("Envoy") && !plain.contains("| TLS |"));
        let (full, resumed) = ("tls-full-1.3", "tls-resumed-1.2");
        let tls = table(&Lines(vec![
            took("thalweg", full, 130.0),
            took("haproxy", full, 240.0),
            took("envoy", full, 260.0),
            took("thalweg", resumed, 50.0),
            took("haproxy", resumed, 70.0),
            took("nginx", "tls-bulk-up", 900.0),
        ]));
        assert!(tls.starts_with(
            "| TLS | figure | Thalweg | HAProxy | nginx | Envoy | Thalweg / HAProxy |"
        ));
        let row = |title: &str| {
            let found = tls.lines().find(|line| line.starts_with(&format!("| {title} |")));
            found.unwrap_or_else(|| panic!("no row {title} in {tls}")).to_owned()
        };
        let row_full = row("full handshake, TLS 1.3");
        assert!(
            row_full.ends_with("| 0.54 | – | 0.50 | ≤ 0.55 × HAProxy: **met** | – |"),
            "{row_full}"
        );
        assert!(row("resumed handshake, TLS 1.2").contains("≤ 0.7 × HAProxy: **missed**"));
        assert!(row("TLS bulk, client → backend").ends_with("| < all three | – |"));
        let columns = |line: &str| line.matches('|').count();
        let decisive = tls.lines().take_while(|line| !line.is_empty());
        assert!(decisive.into_iter().all(|line| columns(line) == columns(&row_full)), "{tls}");
    }

    #[test]
    fn passthrough_is_held_against_the_own_pipe_and_one_read() {
        let mut pipe = took("thalweg", "pipe-crr64", 69.5);
        pipe.insert("oneReadUs".into(), Value::from(0.5));
        let mut lines = Lines(vec![took("thalweg", "sni-crr64", 73.4), pipe]);
        let said = table(&lines);
        assert!(said.contains("≤ 1.05 × (own plain pipe + one read): **met**"), "{said}");
        assert!(said.contains("| | one read, µs | 0.500 [0.500–0.500] |"), "{said}");
        lines.0[0] = took("thalweg", "sni-crr64", 73.6);
        assert!(table(&lines).contains("one read): **missed**"));
        let columns = |line: &str| line.matches('|').count();
        let said = table(&lines);
        let widths: Vec<usize> = said.lines().take_while(|l| !l.is_empty()).map(columns).collect();
        assert!(widths.windows(2).all(|pair| pair[0] == pair[1]), "{said}");
    }

    #[test]
    fn disturbed_runs_count_only_without_others() {
        let line = |flagged: bool, value: f64| {
            let text = format!(
                r#"{{"proxy":"nginx","work":"crr64","flagged":{flagged},"proxyCpuUsPerOp":{value}}}"#
            );
            serde_json::from_str(&text).unwrap()
        };
        let crr = COMPARED.iter().find(|c| c.name == "crr64").unwrap();
        let mut lines = Lines(vec![line(true, 90.0)]);
        assert_eq!(lines.decisive(Kind::Nginx, crr).unwrap().median, 90.0);
        lines.0.push(line(false, 36.0));
        assert_eq!(lines.decisive(Kind::Nginx, crr).unwrap().max, 36.0);
        assert_eq!(lines.decisive(Kind::Haproxy, crr), None);
    }
}
