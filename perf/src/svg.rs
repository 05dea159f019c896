//! The plot: one panel a work, one bar a proxy, in absolute figures. Shorter is better everywhere.

use std::fmt::Write;

use crate::peers::Kind;
use crate::report::{Cell, Lines, label, number};
use crate::work::COMPARED;

const WIDTH: f64 = 960.0;
const MARGIN: f64 = 28.0;
const GAP: f64 = 36.0;
const HEADER: f64 = 74.0;
const TITLE: f64 = 34.0;
const ROW: f64 = 26.0;
const BAR: f64 = 16.0;
const LABELS: f64 = 92.0;
const FIGURES: f64 = 64.0;
const FOOTER_LINE: f64 = 16.0;

/// Okabe and Ito's palette, which colour-blind readers can tell apart too; ours is the darkest.
fn colour(kind: Kind) -> &'static str {
    match kind {
        Kind::Thalweg => "#0072b2",
        Kind::Haproxy => "#e69f00",
        Kind::Nginx => "#009e73",
        Kind::Envoy => "#cc79a7",
        Kind::Direct => "#b0b0b0",
    }
}

/// Draws the comparison.
pub fn plot(lines: &Lines) -> String {
    let panels: Vec<_> = COMPARED
        .iter()
        .filter(|compared| !compared.is_own_pipe() && !compared.is_own_bare())
        .map(|compared| {
            let cells = Kind::ALL.iter().filter_map(|k| Some((*k, lines.decisive(*k, compared)?)));
            (compared.title, compared.unit, cells.collect::<Vec<_>>())
        })
        .filter(|(_, _, cells)| !cells.is_empty())
        .collect();
    let rows = panels.iter().map(|(_, _, cells)| cells.len()).max().unwrap_or(0);
    let panel_width = (WIDTH - 2.0 * MARGIN - GAP) / 2.0;
    let panel_height = TITLE + rows as f64 * ROW + 18.0;
    let body = panels.len().div_ceil(2) as f64 * panel_height;
    let footer = lines.conditions();
    let height = HEADER + body + footer.len() as f64 * FOOTER_LINE + 20.0;

    let mut svg = String::new();
    push(
        &mut svg,
        format_args!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height:.0}\" \
             width=\"{WIDTH}\" height=\"{height:.0}\" font-family=\"Helvetica, Arial, 'Liberation \
             Sans', 'DejaVu Sans', sans-serif\" role=\"img\">\n<title>What a proxy costs</title>\n\
             <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n"
        ),
    );
    text(&mut svg, MARGIN, 34.0, 20.0, "#1a1a1a", "start", true, "What a proxy costs");
    let note = "The proxy's own CPU time, and its own memory. Shorter is better. Bars are medians, \
                lines span all rounds.";
    text(&mut svg, MARGIN, 54.0, 13.0, "#555555", "start", false, note);
    for (index, (title, unit, cells)) in panels.iter().enumerate() {
        let x = MARGIN + (index % 2) as f64 * (panel_width + GAP);
        let y = HEADER + (index / 2) as f64 * panel_height;
        panel(&mut svg, (x, y, panel_width), title, unit, cells);
    }
    for (index, line) in footer.iter().enumerate() {
        let y = HEADER + body + 8.0 + index as f64 * FOOTER_LINE;
        text(&mut svg, MARGIN, y, 11.0, "#666666", "start", false, line);
    }
    svg.push_str("</svg>\n");
    svg
}

fn panel(
    svg: &mut String,
    (x, y, width): (f64, f64, f64),
    title: &str,
    unit: &str,
    cells: &[(Kind, Cell)],
) {
    text(svg, x, y + 20.0, 14.0, "#1a1a1a", "start", true, title);
    text(svg, x + width, y + 20.0, 12.0, "#555555", "end", false, unit);
    let greatest = cells.iter().map(|(_, cell)| cell.max.max(cell.median)).fold(0.0, f64::max);
    let scale = (width - LABELS - FIGURES) / greatest.max(f64::MIN_POSITIVE);
    let left = x + LABELS;
    for (row, (kind, cell)) in cells.iter().enumerate() {
        let top = y + TITLE + row as f64 * ROW;
        let middle = top + BAR / 2.0;
        let bold = *kind == Kind::Thalweg;
        text(svg, left - 8.0, middle + 4.5, 13.0, "#1a1a1a", "end", bold, label(*kind));
        push(
            svg,
            format_args!(
                "<rect x=\"{left:.1}\" y=\"{top:.1}\" width=\"{:.1}\" height=\"{BAR}\" rx=\"2\" \
                 fill=\"{}\"/>\n",
                (cell.median * scale).max(0.0),
                colour(*kind)
            ),
        );
        let (low, high) = (left + cell.min.max(0.0) * scale, left + cell.max.max(0.0) * scale);
        if cell.runs > 1 && high - low >= 1.0 {
            push(
                svg,
                format_args!(
                    "<path d=\"M{low:.1} {middle:.1}H{high:.1}M{low:.1} {:.1}v6M{high:.1} {:.1}v6\" \
                     stroke=\"#1a1a1a\" stroke-width=\"1.2\" fill=\"none\"/>\n",
                    middle - 3.0,
                    middle - 3.0
                ),
            );
        }
        let end = high.max(left + cell.median.max(0.0) * scale) + 7.0;
        text(svg, end, middle + 4.5, 13.0, "#1a1a1a", "start", bold, &number(cell.median));
    }
    let bottom = y + TITLE + cells.len() as f64 * ROW - (ROW - BAR) + 4.0;
    push(
        svg,
        format_args!(
            "<path d=\"M{left:.1} {:.1}V{bottom:.1}\" stroke=\"#888888\" stroke-width=\"1\"/>\n",
            y + TITLE - 4.0
        ),
    );
}

#[allow(clippy::too_many_arguments, reason = "the attributes of one text element")]
fn text(
    svg: &mut String,
    x: f64,
    y: f64,
    size: f64,
    fill: &str,
    anchor: &str,
    bold: bool,
    words: &str,
) {
    let weight = if bold { " font-weight=\"bold\"" } else { "" };
    let words = words.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    push(
        svg,
        format_args!(
            "<text x=\"{x:.1}\" y=\"{y:.1}\" font-size=\"{size}\" fill=\"{fill}\" \
             text-anchor=\"{anchor}\"{weight}>{words}</text>\n"
        ),
    );
}

/// Writing to a string cannot fail.
fn push(svg: &mut String, what: std::fmt::Arguments<'_>) {
    let _ = svg.write_fmt(what);
}
