//! Whether what is asked of a figure was reached.

use crate::report::Cell;
use crate::work::Target;

/// What was asked, and whether it was reached.
pub fn judge(
    target: Target,
    ours: Option<Cell>,
    haproxy: Option<Cell>,
    nginx: Option<Cell>,
) -> String {
    let median = |cell: Option<Cell>| cell.map(|cell| cell.median);
    let (ours, haproxy, nginx) = (median(ours), median(haproxy), median(nginx));
    let better = haproxy.zip(nginx).map(|(h, n)| h.min(n));
    let within = |limit: Option<f64>, strict: bool| {
        ours.zip(limit).map(|(ours, limit)| if strict { ours < limit } else { ours <= limit })
    };
    let (asked, reached) = match target {
        Target::Haproxy { strict: true, .. } => ("< HAProxy".into(), within(haproxy, true)),
        Target::Haproxy { share, .. } => {
            (format!("≤ {share} × HAProxy"), within(haproxy.map(|h| share * h), false))
        }
        Target::HaproxyNotAboveNginx { haproxy: share } => (
            format!("≤ {share} × HAProxy and ≤ nginx"),
            within(haproxy.zip(nginx).map(|(h, n)| (share * h).min(n)), false),
        ),
        Target::Better { strict: true, .. } => ("< both".into(), within(better, true)),
        Target::Better { share, .. } => {
            (format!("≤ {share} × the better"), within(better.map(|b| share * b), false))
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

    fn cell(value: f64) -> Option<Cell> {
        Cell::of(vec![value])
    }

    #[test]
    fn what_is_asked_is_judged_at_its_edge() {
        let strict = Target::Haproxy { share: 1.0, strict: true };
        assert!(judge(strict, cell(1.0), cell(1.0), None).ends_with("**missed**"));
        assert!(judge(strict, cell(0.99), cell(1.0), None).ends_with("**met**"));
        let rr = Target::HaproxyNotAboveNginx { haproxy: 0.9 };
        assert!(judge(rr, cell(6.5), cell(7.5), cell(6.4)).ends_with("**missed**"));
        assert!(judge(rr, cell(6.4), cell(7.5), cell(6.4)).ends_with("**met**"));
        assert_eq!(judge(rr, None, cell(7.5), cell(6.4)), "≤ 0.9 × HAProxy and ≤ nginx");
        let both = Target::Better { share: 0.9, strict: false };
        assert!(judge(both, cell(9.0), cell(10.0), cell(12.0)).ends_with("**met**"));
        assert!(judge(both, cell(9.1), cell(12.0), cell(10.0)).ends_with("**missed**"));
        assert!(judge(Target::Bytes(3072.0), cell(3073.0), None, None).ends_with("**missed**"));
    }
}
