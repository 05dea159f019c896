//! The screen of `top` as lines of styled text, for any size. Nothing here knows a terminal.

use super::rows::{View, bytes_per_second, per_second};
use super::state::State;
use crate::cli::text::{Table, count, cut, fit, span, width};
use crate::diagnostics::visible;

/// How a piece of text looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    Plain,
    Bold,
    Head,
    Selected,
    Good,
    Bad,
    Faint,
}

/// Pieces that stand side by side.
pub type Line = Vec<(Style, String)>;

/// The whole screen, exactly `rows` lines, none wider than `columns`.
pub fn screen(state: &mut State, columns: usize, rows: usize) -> Vec<Line> {
    let mut lines = vec![first(state), second(state, columns), said(state), tabs(state)];
    let room = rows.saturating_sub(lines.len() + 1);
    lines.extend(if state.help { help(room) } else { body(state, columns, room) });
    lines.resize(rows.saturating_sub(1), Vec::new());
    lines.push(keys(state));
    lines.truncate(rows.max(1));
    lines.into_iter().map(|line| clipped(line, columns)).collect()
}

/// Nothing stands beyond the edge.
fn clipped(line: Line, columns: usize) -> Line {
    let mut left = columns;
    let mut short = Line::new();
    for (style, text) in line {
        let text = cut(&text, left);
        left -= width(&text).min(left);
        short.push((style, text));
    }
    short
}

fn first(state: &State) -> Line {
    let sample = &state.sample;
    let total = &sample.total;
    let live = total.counts.connections;
    vec![
        (Style::Bold, format!("thalweg {}", visible(&state.place))),
        (Style::Plain, format!("  up {}  ", span(sample.uptime))),
        (Style::Bold, count(live)),
        (Style::Plain, if live == 1 { " connection  " } else { " connections  " }.into()),
        (Style::Bold, per_second(total, |rates| rates.accepted)),
        (Style::Plain, " accepted/s  ".into()),
        (Style::Bold, per_second(total, |rates| rates.failed)),
        (Style::Plain, " failed/s".into()),
    ]
}

fn second(state: &State, columns: usize) -> Line {
    let total = &state.sample.total;
    let numbers = format!(
        "in {}/s  out {}/s  {} handshakes/s  ",
        bytes_per_second(total, |rates| rates.bytes_in),
        bytes_per_second(total, |rates| rates.bytes_out),
        per_second(total, |rates| rates.handshakes),
    );
    let room = columns.saturating_sub(width(&numbers));
    vec![(Style::Plain, numbers), (Style::Good, graph(state, room))]
}

/// The bytes of the last looks as bars, the newest at the right.
fn graph(state: &State, room: usize) -> String {
    let bars = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let from = state.history.len().saturating_sub(room);
    let most = state.history.iter().skip(from).copied().fold(1.0, f64::max);
    let bar = |rate: f64| {
        let height = (rate / most * 7.0).round() as usize;
        bars.get(height).copied().unwrap_or('█')
    };
    state.history.iter().skip(from).map(|rate| bar(*rate)).collect()
}

/// What needs attention, and what narrows the view.
fn said(state: &State) -> Line {
    let mut line = attention(state);
    if let Some((service, target)) = &state.scope {
        let target = target.as_ref().map(|target| format!(" → {target}")).unwrap_or_default();
        line.push((Style::Bold, visible(&format!("of {service}{target}  "))));
    }
    if !state.filter.is_empty() {
        line.push((Style::Bold, visible(&format!("filter: {}", state.filter))));
    }
    line
}

fn attention(state: &State) -> Line {
    if let Some(id) = &state.asking {
        return vec![(Style::Bad, format!("End connection {}? y/n  ", visible(id)))];
    }
    if let Some((why, looks)) = &state.trouble {
        let times = if *looks > 1 { format!(" ({looks} times)") } else { String::new() };
        let text = format!("no news, trying again{times}: {}  ", visible(why));
        return vec![(Style::Bad, text)];
    }
    if let Some(message) = &state.message {
        return vec![(Style::Bold, visible(message) + "  ")];
    }
    if state.paused {
        return vec![(Style::Bold, "paused: p goes on  ".into())];
    }
    Vec::new()
}

fn tabs(state: &State) -> Line {
    let mut line = Line::new();
    for (at, view) in (1..).zip(View::ALL) {
        let style = if view == state.view { Style::Selected } else { Style::Plain };
        line.push((style, format!(" {at} {} ", view.name())));
    }
    let (by, reversed) = state.order();
    let way = if reversed { "▲" } else { "▼" };
    line.push((Style::Faint, format!("  {way} {}", by.name())));
    line
}

fn body(state: &mut State, columns: usize, room: usize) -> Vec<Line> {
    let rows = state.rows();
    let chosen = state.settle(&rows);
    let space = room.saturating_sub(1);
    // The last line tells what is not shown, if anything is not.
    let truncated = state.view == View::Connections && state.truncated;
    let fits = rows.len() <= space && !truncated;
    let space = if fits { space } else { space.saturating_sub(1) };
    let from = chosen.map_or(0, |at| (at + 1).saturating_sub(space));
    let mut table = Table::new(state.view.columns());
    let shown = rows.iter().skip(from).take(space);
    shown.clone().for_each(|row| table.row(row.cells.iter().cloned()));
    let mut lines: Vec<Line> = Vec::new();
    for (at, text) in table.lines(Some(columns)).into_iter().enumerate() {
        lines.push(match at.checked_sub(1).map(|at| from + at) {
            None => vec![(Style::Head, text)],
            Some(at) if chosen == Some(at) => vec![(Style::Selected, fit(&text, columns, false))],
            Some(at) => {
                let bad = rows.get(at).is_some_and(|row| is_bad(state.view, &row.cells));
                vec![(if bad { Style::Bad } else { Style::Plain }, text)]
            }
        });
    }
    if rows.is_empty() {
        let none = if state.filter.is_empty() { "none" } else { "none that the filter takes" };
        lines.push(vec![(Style::Faint, none.into())]);
    } else if !fits {
        let more = if truncated { " and more: narrow it down" } else { "" };
        let last = (from + space).min(rows.len());
        let text = format!("… {} to {last} of {}{more}", from + 1, rows.len());
        lines.push(vec![(Style::Faint, text)]);
    }
    lines.truncate(room);
    lines
}

/// A target that is down.
fn is_bad(view: View, cells: &[String]) -> bool {
    view == View::Targets && cells.get(2).is_some_and(|state| state.starts_with("Down"))
}

const HELP: &[&str] = &[
    "1 2 3 4 5, Tab   services, targets, cores, endings, connections",
    "s, r             sort by the next column; the other way round",
    "/                show only rows that have a text; Enter keeps it, Esc drops it",
    "p, space         hold still; go on",
    "↑ ↓ PgUp PgDn    choose a row",
    "Enter            the connections of the chosen service or target",
    "k                end the chosen connection (needs --token-file)",
    "Esc              choose nothing, drop the filter, go back",
    "q, ^C            quit",
    "",
    "Rates are per second, between the last two looks. LIVE are connections now, IN comes",
    "from clients, OUT goes to them. A dash: not known yet, or the proxy has just started.",
    "What an ending means: thalweg explain REASON",
];

fn help(room: usize) -> Vec<Line> {
    HELP.iter().take(room).map(|text| vec![(Style::Plain, (*text).to_owned())]).collect()
}

fn keys(state: &State) -> Line {
    let all: &[(&str, &str)] = if state.help {
        &[("any key", "back")]
    } else if state.asking.is_some() {
        &[("y", "end it"), ("any other key", "do not")]
    } else if state.typing {
        &[("Enter", "keep"), ("Esc", "drop")]
    } else if state.view == View::Connections {
        &[
            ("q", "quit"),
            ("1-5", "view"),
            ("s", "sort"),
            ("r", "reverse"),
            ("/", "filter"),
            ("p", "pause"),
            ("↑↓", "choose"),
            ("k", "kill"),
            ("Esc", "back"),
            ("?", "help"),
        ]
    } else {
        &[
            ("q", "quit"),
            ("1-5", "view"),
            ("s", "sort"),
            ("r", "reverse"),
            ("/", "filter"),
            ("p", "pause"),
            ("↑↓", "choose"),
            ("Enter", "open"),
            ("?", "help"),
        ]
    };
    let mut line = Line::new();
    if state.typing {
        line.push((Style::Bold, visible(&format!("filter: {}_   ", state.filter))));
    }
    for (key, what) in all {
        line.push((Style::Bold, (*key).to_owned()));
        line.push((Style::Plain, format!(" {what}  ")));
    }
    line
}
