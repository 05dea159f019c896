//! Whether what is asked of a figure was reached.

use crate::work::Target;

/// The figures that a target may speak of; each is missing where it was not measured.
#[derive(Clone, Copy, Default)]
pub struct Figures {
    /// Thalweg's.
    pub ours: Option<f64>,
    /// HAProxy's.
    pub haproxy: Option<f64>,
    /// nginx's.
    pub nginx: Option<f64>,
    /// Envoy's.
    pub envoy: Option<f64>,
    /// Thalweg's own for the same bytes unread, and one read.
    pub pipe_and_read: Option<f64>,
    /// Thalweg's own with nothing of what is measured on.
    pub bare: Option<f64>,
}

/// What was asked, and whether it was reached.
pub fn judge(target: Option<Target>, figures: Figures) -> String {
    let Figures { ours, haproxy, nginx, envoy, pipe_and_read, bare } = figures;
    let better = haproxy.zip(nginx).map(|(h, n)| h.min(n));
    let best = better.zip(envoy).map(|(better, envoy)| better.min(envoy));
    let within = |limit: Option<f64>, strict: bool| {
        ours.zip(limit).map(|(ours, limit)| if strict { ours < limit } else { ours <= limit })
    };
    let times = |share: f64, figure: Option<f64>| within(figure.map(|f| share * f), false);
    let Some(target) = target else {
        return "–".into();
    };
    let (asked, reached) = match target {
        Target::Haproxy { strict: true, .. } => ("< HAProxy".into(), within(haproxy, true)),
        Target::Haproxy { share, .. } => (format!("≤ {share} × HAProxy"), times(share, haproxy)),
        Target::HaproxyNotAboveNginx { haproxy: share } => (
            format!("≤ {share} × HAProxy and ≤ nginx"),
            within(haproxy.zip(nginx).map(|(h, n)| (share * h).min(n)), false),
        ),
        Target::Better { strict: true, .. } => ("< both".into(), within(better, true)),
        Target::Better { share, .. } => (format!("≤ {share} × the better"), times(share, better)),
        Target::BelowAll => ("< all three".into(), within(best, true)),
        Target::OwnPipe { share } => {
            (format!("≤ {share} × (own plain pipe + one read)"), times(share, pipe_and_read))
        }
        Target::OwnBare { micros } => {
            let limit = bare.map(|bare| bare + micros);
            (format!("≤ {micros} µs more than bare"), within(limit, false))
        }
        Target::Bytes(limit) => (format!("≤ {} KiB", limit / 1024.0), within(Some(limit), false)),
    };
    match reached {
        Some(true) => format!("{asked}: **met**"),
        Some(false) => format!("{asked}: **missed**"),
        None => asked,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_is_judged_at_its_edge() {
        let said = |target, ours: f64, haproxy: f64, nginx: f64| {
            let figure = |value: f64| (value > 0.0).then_some(value);
            let (ours, haproxy, nginx) = (figure(ours), figure(haproxy), figure(nginx));
            judge(Some(target), Figures { ours, haproxy, nginx, ..Figures::default() })
        };
        let strict = Target::Haproxy { share: 1.0, strict: true };
        assert!(said(strict, 1.0, 1.0, 0.0).ends_with("**missed**"));
        assert!(said(strict, 0.99, 1.0, 0.0).ends_with("**met**"));
        let rr = Target::HaproxyNotAboveNginx { haproxy: 0.9 };
        assert!(said(rr, 6.5, 7.5, 6.4).ends_with("**missed**"));
        assert!(said(rr, 6.4, 7.5, 6.4).ends_with("**met**"));
        assert_eq!(said(rr, 0.0, 7.5, 6.4), "≤ 0.9 × HAProxy and ≤ nginx");
        let both = Target::Better { share: 0.9, strict: false };
        assert!(said(both, 9.0, 10.0, 12.0).ends_with("**met**"));
        assert!(said(both, 9.1, 12.0, 10.0).ends_with("**missed**"));
        assert!(said(Target::Bytes(3072.0), 3073.0, 0.0, 0.0).ends_with("**missed**"));
        let share = Target::Haproxy { share: 0.55, strict: false };
        assert!(said(share, 55.0, 100.0, 0.0).ends_with("**met**"));
        assert!(said(share, 55.1, 100.0, 0.0).ends_with("**missed**"));
    }

    #[test]
    fn all_three_and_the_own_pipe() {
        let mut figures = Figures {
            ours: Some(10.0),
            haproxy: Some(12.0),
            nginx: Some(11.0),
            ..Figures::default()
        };
        let said = |target, figures| judge(Some(target), figures);
        assert_eq!(said(Target::BelowAll, figures), "< all three");
        figures.envoy = Some(10.0);
        assert!(said(Target::BelowAll, figures).ends_with("**missed**"));
        figures.envoy = Some(10.1);
        assert!(said(Target::BelowAll, figures).ends_with("**met**"));
        let pipe = Target::OwnPipe { share: 1.05 };
        assert_eq!(said(pipe, figures), "≤ 1.05 × (own plain pipe + one read)");
        figures.pipe_and_read = Some(9.6);
        assert!(said(pipe, figures).ends_with("**met**"));
        figures.pipe_and_read = Some(9.5);
        assert!(said(pipe, figures).ends_with("**missed**"));
        let bare = Target::OwnBare { micros: 2.0 };
        assert_eq!(said(bare, figures), "≤ 2 µs more than bare");
        figures.bare = Some(8.0);
        assert!(said(bare, figures).ends_with("**met**"));
        figures.bare = Some(7.9);
        assert!(said(bare, figures).ends_with("**missed**"));
        assert_eq!(judge(None, figures), "–");
    }
}
