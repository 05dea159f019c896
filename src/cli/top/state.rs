//! What `top` shows now, and what its keys do to that. No terminal and no network: a state, keys
//! and answers go in, and what is to be done comes out.

use std::collections::VecDeque;

use crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use serde_json::Value;

use super::rows::{By, Row, View};
use super::traffic::Sample;
use crate::cli::client::query;
use crate::cli::text::list;
use crate::config::limits;

/// Everything that is shown.
#[derive(Debug, Default)]
pub struct State {
    /// Who is asked.
    pub place: String,
    /// A token is shown, so connections can be ended.
    pub may_kill: bool,
    pub view: View,
    /// The connections of this service, and this target of it, instead of all.
    pub scope: Option<(String, Option<String>)>,
    /// Only rows that have this.
    pub filter: String,
    /// The filter is being typed.
    pub typing: bool,
    pub paused: bool,
    pub help: bool,
    /// The connection whose end is to be confirmed.
    pub asking: Option<String>,
    /// What became of the last thing done.
    pub message: Option<String>,
    /// Why there is no new answer, and since how many looks.
    pub trouble: Option<(String, u32)>,
    pub sample: Sample,
    /// Bytes in a second of the last looks, the newest last.
    pub history: VecDeque<f64>,
    pub connections: Vec<Value>,
    /// There are more connections than were listed.
    pub truncated: bool,
    /// The row that is chosen.
    pub selected: Option<String>,
    /// Where the chosen row stood last.
    pub cursor: usize,
    /// Of each view: the place of its order in [`View::orders`], and whether it is the other way
    /// round.
    pub orders: [usize; View::ALL.len()],
    pub reversed: [bool; View::ALL.len()],
}

/// What a key asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    /// To show what has changed.
    Show,
    /// To look at once.
    Look,
    /// To end a connection.
    Kill(String),
    /// To end.
    Quit,
}

impl State {
    /// By what the rows are sorted, and whether the other way round.
    pub fn order(&self) -> (By, bool) {
        let at = self.view.place();
        let by = self.orders.get(at).and_then(|order| self.view.orders().get(*order));
        let reversed = self.reversed.get(at).copied().unwrap_or(false);
        (by.copied().unwrap_or(By::Name), reversed)
    }

    /// The rows of the view that the filter takes.
    pub fn rows(&self) -> Vec<Row> {
        let (by, reversed) = self.order();
        let mut rows = self.view.rows(&self.sample, &self.connections, by, reversed);
        if !self.filter.is_empty() {
            let wanted = self.filter.to_lowercase();
            rows.retain(|row| row.cells.iter().any(|cell| cell.to_lowercase().contains(&wanted)));
        }
        rows
    }

    /// Where the chosen row is; if it is gone, the one in its place is chosen.
    pub fn settle(&mut self, rows: &[Row]) -> Option<usize> {
        let selected = self.selected.as_ref()?;
        let found = rows.iter().position(|row| row.key == *selected);
        self.cursor = found.unwrap_or(self.cursor).min(rows.len().saturating_sub(1));
        self.selected = rows.get(self.cursor).map(|row| row.key.clone());
        self.selected.as_ref().map(|_| self.cursor)
    }

    /// Takes a look at what is counted.
    pub fn looked(&mut self, mut sample: Sample) {
        sample.since(Some(&self.sample));
        if let Some(rates) = sample.total.rates {
            self.history.push_back(rates.bytes_in + rates.bytes_out);
        }
        if self.history.len() > limits::TOP_HISTORY {
            self.history.pop_front();
        }
        self.sample = sample;
        self.trouble = None;
    }

    /// Takes a list of connections.
    pub fn listed(&mut self, answer: &Value) {
        self.connections = list(answer, "connections").to_vec();
        self.truncated = answer.get("truncated") == Some(&Value::Bool(true));
    }

    /// There is no answer.
    pub fn failed(&mut self, why: &str) {
        let looks = self.trouble.as_ref().map_or(0, |(_, looks)| *looks);
        let first = why.lines().next().unwrap_or_default();
        self.trouble = Some((first.to_owned(), looks.saturating_add(1)));
    }

    /// What is asked for the list of connections.
    pub fn path(&self) -> String {
        let limit = limits::TOP_CONNECTIONS_MAX.to_string();
        let (service, target) = match &self.scope {
            Some((service, target)) => (Some(&**service), target.as_deref()),
            None => (None, None),
        };
        let pairs = query([("limit", Some(&*limit)), ("service", service), ("target", target)]);
        format!("/api/tcp/connections{pairs}")
    }

    /// Does what a key says.
    pub fn key(&mut self, key: KeyEvent) -> Act {
        if key.kind == KeyEventKind::Release {
            return Act::Show;
        }
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        if control && matches!(key.code, KeyCode::Char('c' | 'd')) {
            return Act::Quit;
        }
        self.message = None;
        if let Some(id) = self.asking.take() {
            return match key.code {
                KeyCode::Char('y' | 'Y') => Act::Kill(id),
                _ => Act::Show,
            };
        }
        if self.typing {
            self.type_filter(key.code);
            return Act::Show;
        }
        if std::mem::take(&mut self.help) {
            return Act::Show;
        }
        self.command(key.code)
    }

    fn type_filter(&mut self, code: KeyCode) {
        match code {
            KeyCode::Enter => self.typing = false,
            KeyCode::Esc => {
                self.typing = false;
                self.filter.clear();
            }
            KeyCode::Backspace => {
                self.filter.pop();
            }
            KeyCode::Char(c) if self.filter.len() < limits::TOP_FILTER_BYTES_MAX => {
                self.filter.push(c);
            }
            _ => {}
        }
    }

    fn command(&mut self, code: KeyCode) -> Act {
        let at = self.view.place();
        match code {
            KeyCode::Char('q') => return Act::Quit,
            KeyCode::Char('?' | 'h') => self.help = true,
            KeyCode::Char('/') => self.typing = true,
            KeyCode::Char('p' | ' ') => {
                self.paused = !self.paused;
                return if self.paused { Act::Show } else { Act::Look };
            }
            KeyCode::Char('s') => {
                if let Some(order) = self.orders.get_mut(at) {
                    *order = (*order + 1) % self.view.orders().len().max(1);
                }
            }
            KeyCode::Char('r') => {
                if let Some(reversed) = self.reversed.get_mut(at) {
                    *reversed = !*reversed;
                }
            }
            KeyCode::Char(c @ '1'..='5') => {
                let view = c.to_digit(10).and_then(|digit| (digit as usize).checked_sub(1));
                return self.show(view.unwrap_or(0));
            }
            KeyCode::Tab => return self.show(at + 1),
            KeyCode::BackTab => return self.show(at + View::ALL.len() - 1),
            KeyCode::Up => self.go(-1),
            KeyCode::Down => self.go(1),
            KeyCode::PageUp => self.go(-10),
            KeyCode::PageDown => self.go(10),
            KeyCode::Home => self.go(isize::MIN),
            KeyCode::End => self.go(isize::MAX),
            KeyCode::Esc => self.leave(),
            KeyCode::Enter => return self.open(),
            KeyCode::Char('k') | KeyCode::Delete => self.ask_to_kill(),
            _ => {}
        }
        Act::Show
    }

    fn show(&mut self, at: usize) -> Act {
        let view = View::ALL.get(at % View::ALL.len()).copied().unwrap_or_default();
        if view != self.view {
            self.selected = None;
            self.scope = None;
            self.view = view;
            self.connections.clear();
        }
        if view == View::Connections { Act::Look } else { Act::Show }
    }

    fn go(&mut self, by: isize) {
        let rows = self.rows();
        let last = rows.len().saturating_sub(1);
        self.cursor = match self.settle(&rows) {
            None => 0,
            Some(at) => at.saturating_add_signed(by).min(last),
        };
        self.selected = rows.get(self.cursor).map(|row| row.key.clone());
    }

    /// Esc takes back the last thing that narrows what is shown.
    fn leave(&mut self) {
        if self.selected.take().is_some() {
            return;
        }
        if !self.filter.is_empty() {
            self.filter.clear();
        } else if let Some((_, target)) = self.scope.take() {
            self.view = if target.is_some() { View::Targets } else { View::Services };
        }
    }

    /// The connections of the chosen row.
    fn open(&mut self) -> Act {
        let rows = self.rows();
        let Some(of) = self.settle(&rows).and_then(|at| rows.get(at)?.of.clone()) else {
            return Act::Show;
        };
        self.view = View::Connections;
        self.scope = Some(of);
        self.selected = None;
        self.filter.clear();
        self.connections.clear();
        Act::Look
    }

    fn ask_to_kill(&mut self) {
        self.message = match (self.view, &self.selected) {
            (View::Connections, Some(id)) if self.may_kill => {
                self.asking = Some(id.clone());
                return;
            }
            (View::Connections, Some(_)) => {
                Some("to end a connection, name the token's file: --token-file".into())
            }
            _ => Some("choose a connection first: 5, then ↑ and ↓".into()),
        };
    }
}
