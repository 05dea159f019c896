//! The state and its screen: keys in, lines out, at both sizes that terminals usually have.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use serde_json::{Value, json};

use super::rows::View;
use super::screen::{Style, screen};
use super::state::{Act, State};
use super::traffic::Sample;
use crate::cli::text::width;

fn traffic(now: u64, services: u64) -> Value {
    let grown = |of: u64| now / 1000 * of * 1000;
    let counts = |of: u64| {
        json!({ "connections": of, "accepted": grown(of), "ended": 0, "failed": 0,
            "bytesIn": grown(of), "bytesOut": grown(of) * 5, "handshakes": grown(of) })
    };
    let with = |of: u64, more: Value| {
        let mut all = counts(of);
        all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        all
    };
    let service = |of| with(of, json!({ "id": format!("service-{of}"), "name": "日本語 \x1b[2J" }));
    let target = |of| {
        let state = if of == 1 { "Down" } else { "Up" };
        let (service, target) = (format!("service-{of}"), format!("db{of}.example.internal:5432"));
        with(of, json!({ "service": service, "target": target, "state": state }))
    };
    let core = |of| with(of, json!({ "core": of, "lagMaxUs": 1234, "ticks": now / 100 }));
    json!({
        "now": now, "uptime": now, "total": counts(7),
        "services": (0..services).map(service).collect::<Vec<_>>(),
        "targets": (0..services).map(target).collect::<Vec<_>>(),
        "cores": (0..12).map(core).collect::<Vec<_>>(),
        "endings": [
            { "side": "client", "step": "relay", "cause": "closed", "count": now },
            { "side": "upstream", "step": "connect", "cause": "refused", "count": 3 },
        ],
    })
}

fn connections() -> Value {
    let one = |at: u32| {
        json!({ "id": format!("1a2b3c4d-0-{at}"), "service": "service-1", "state": "open",
            "remote": "10.1.2.3:40000", "target": "db1:5432", "age": at, "idle": 0,
            "dataIn": at, "dataOut": 1, "sni": "a\u{9b}b.example" })
    };
    json!({ "connections": (0..50).map(one).collect::<Vec<_>>(), "truncated": true })
}

fn state(services: u64) -> State {
    let mut state = State { place: "127.0.0.1:9900".into(), may_kill: true, ..State::default() };
    for now in [10_000, 11_000, 12_000] {
        state.looked(Sample::read(&traffic(now, services)).unwrap());
    }
    state
}

fn press(state: &mut State, code: KeyCode) -> Act {
    state.key(KeyEvent::new(code, KeyModifiers::NONE))
}

fn type_in(state: &mut State, text: &str) -> Act {
    text.chars().map(|c| press(state, KeyCode::Char(c))).last().unwrap_or(Act::Show)
}

fn shown(state: &mut State, columns: usize, rows: usize) -> Vec<String> {
    let lines = screen(state, columns, rows);
    let join = |line: &Vec<(Style, String)>| line.iter().map(|(_, text)| &**text).collect();
    lines.iter().map(join).collect()
}

#[test]
fn every_view_fits_every_terminal() {
    let mut state = state(100);
    for view in "12345".chars() {
        press(&mut state, KeyCode::Char(view));
        if state.view == View::Connections {
            state.listed(&connections());
        }
        for help in [false, true] {
            state.help = help;
            for (columns, rows) in [(80, 24), (200, 60), (40, 10), (10, 3), (1, 1), (300, 100)] {
                let lines = shown(&mut state, columns, rows);
                assert_eq!(lines.len(), rows, "{columns} × {rows}");
                for line in lines {
                    assert!(width(&line) <= columns, "{columns}: {line:?}");
                    assert!(!line.chars().any(char::is_control), "{line:?}");
                }
            }
        }
    }
}

#[test]
fn the_services_have_their_rates_and_the_busiest_is_first() {
    let mut state = state(100);
    let lines = shown(&mut state, 80, 24);
    assert!(
        lines[0].contains("7 connections") && lines[0].contains("7.0k accepted/s"),
        "{lines:?}"
    );
    assert!(lines[4].starts_with("SERVICE") && lines[4].contains("OUT/S"), "{lines:?}");
    assert!(lines[5].starts_with("service-99"), "{lines:?}");
    assert!(lines[22].contains("1 to 17 of 100"), "{lines:?}");
    assert!(lines[23].contains("q quit"), "{lines:?}");
    press(&mut state, KeyCode::Char('r'));
    assert!(shown(&mut state, 80, 24)[5].starts_with("service-0"));
}

#[test]
fn the_chosen_row_stays_chosen_and_in_sight() {
    let mut state = state(100);
    press(&mut state, KeyCode::Down);
    assert_eq!(state.selected.as_deref(), Some("service-99"));
    press(&mut state, KeyCode::Char('r'));
    let lines = screen(&mut state, 80, 24);
    let chosen: Vec<_> = lines.iter().skip(4).filter(|line| line[0].0 == Style::Selected).collect();
    assert_eq!(chosen.len(), 1);
    assert!(chosen[0][0].1.starts_with("service-99"), "{chosen:?}");
    // It is removed: its neighbour takes its place.
    state.looked(Sample::read(&traffic(13_000, 50)).unwrap());
    press(&mut state, KeyCode::Up);
    assert!(state.selected.is_some());
    press(&mut state, KeyCode::Esc);
    assert_eq!(state.selected, None);
}

#[test]
fn a_filter_is_typed_kept_and_dropped() {
    let mut state = state(100);
    type_in(&mut state, "/Service-42q");
    assert!(shown(&mut state, 80, 24)[23].starts_with("filter: Service-42q_"));
    assert!(shown(&mut state, 80, 24)[5].contains("none that the filter takes"));
    press(&mut state, KeyCode::Backspace);
    press(&mut state, KeyCode::Enter);
    assert_eq!(state.rows().len(), 1);
    assert_eq!(shown(&mut state, 80, 24)[2], "filter: Service-42");
    assert_eq!(press(&mut state, KeyCode::Char('q')), Act::Quit);
    press(&mut state, KeyCode::Esc);
    assert_eq!(state.rows().len(), 100);
}

#[test]
fn enter_opens_the_connections_of_a_row_and_esc_goes_back() {
    let mut state = state(3);
    press(&mut state, KeyCode::Char('2'));
    press(&mut state, KeyCode::Down);
    assert_eq!(press(&mut state, KeyCode::Enter), Act::Look);
    assert_eq!(
        state.path(),
        "/api/tcp/connections?limit=1000&service=service-2&target=db2.example.internal%3A5432"
    );
    press(&mut state, KeyCode::Esc);
    assert_eq!((state.view, state.scope), (View::Targets, None));
}

#[test]
fn a_connection_ends_only_after_a_yes_and_with_a_token() {
    let mut state = state(1);
    assert_eq!(press(&mut state, KeyCode::Char('5')), Act::Look);
    state.listed(&connections());
    assert_eq!(press(&mut state, KeyCode::Char('k')), Act::Show);
    assert_eq!(state.asking, None, "none is chosen");
    press(&mut state, KeyCode::Down);
    press(&mut state, KeyCode::Char('k'));
    assert!(shown(&mut state, 80, 24)[2].contains("End connection 1a2b3c4d-0-49? y/n"));
    assert_eq!(press(&mut state, KeyCode::Char('n')), Act::Show);
    press(&mut state, KeyCode::Char('k'));
    assert_eq!(press(&mut state, KeyCode::Char('y')), Act::Kill("1a2b3c4d-0-49".into()));
    state.may_kill = false;
    press(&mut state, KeyCode::Char('k'));
    assert_eq!(state.asking, None);
    assert!(shown(&mut state, 80, 24)[2].contains("--token-file"));
}

#[test]
fn a_proxy_that_is_gone_and_comes_again_is_told() {
    let mut state = state(3);
    state.failed("no admin API at 127.0.0.1:9900: Connection refused\nIs the proxy running?");
    state.failed("no admin API at 127.0.0.1:9900: Connection refused");
    let line = shown(&mut state, 120, 24)[2].clone();
    assert_eq!(
        line,
        "no news, trying again (2 times): no admin API at 127.0.0.1:9900: Connection refused  "
    );
    // A new process, whose counters begin again.
    state.looked(Sample::read(&traffic(1000, 3)).unwrap());
    assert_eq!(state.trouble, None);
    assert!(state.sample.services.iter().all(|service| service.rates.is_none()));
    state.looked(Sample::read(&traffic(2000, 3)).unwrap());
    assert!(state.sample.services.iter().all(|service| service.rates.is_some()));
}
