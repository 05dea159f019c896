//! `thalweg top`: a screen with the live rates of a running proxy.
//!
//! One loop holds the terminal: keys, the clock, signals and answers come in, and after each the
//! screen is drawn anew. A task asks the admin API, one thing at a time, so that a proxy that does
//! not answer never holds up the keys.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use crossterm::event::{Event, EventStream};
use futures_util::StreamExt;
use hyper::Method;
use serde_json::Value;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::time::{MissedTickBehavior, interval};

use super::client::{Admin, Caller, Client, Request, Trouble, escaped};
use super::text::{Table, count, span as age, terminal_columns, written};
use crate::config::span::Span;
use crate::diagnostics::visible;
use rows::{View, bytes_per_second, per_second};
use state::{Act, State};
use terminal::Terminal;
use traffic::Sample;

mod rows;
mod screen;
mod state;
mod terminal;
mod traffic;

/// The arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Keys: 1 to 5 choose a view, s sorts, r reverses, / filters, p pauses, ↑ ↓ choose a row, Enter opens \
it, k ends the chosen connection, ? helps, q quits.

Example: the proxy of a configuration; with the token, its connections can be ended
  thalweg top -c /etc/thalweg.json
The rates of all targets during five seconds, as a table
  thalweg top --once --view targets --interval 5s")]
pub struct Top {
    /// What is shown first.
    #[arg(long, value_enum, default_value_t = View::Services)]
    view: View,
    /// Between two looks.
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = interval_of)]
    interval: Duration,
    /// Print one table and end.
    #[arg(long)]
    once: bool,
    /// Which proxy.
    #[command(flatten)]
    admin: Admin,
}

fn interval_of(text: &str) -> Result<Duration, String> {
    let span = Span::parse(text)?.0;
    if span < Duration::from_millis(100) { Err("at least 100ms".into()) } else { Ok(span) }
}

impl Top {
    /// Carries it out. Returns the exit code.
    pub fn run(self) -> u8 {
        if !self.once && !io::stdout().is_terminal() {
            let text = "standard output is no terminal: `thalweg top --once` prints a table";
            return Trouble::Usage(text.into()).report();
        }
        let done = if self.once { self.print() } else { self.watch() };
        done.unwrap_or_else(Trouble::report)
    }

    fn print(&self) -> Result<u8, Trouble> {
        let mut caller = Caller::new(self.admin.client()?)?;
        let before = sample(caller.get(TRAFFIC)?)?;
        std::thread::sleep(self.interval);
        let mut state = State { view: self.view, ..State::default() };
        let mut now = sample(caller.get(TRAFFIC)?)?;
        now.since(Some(&before));
        state.sample = now;
        if self.view == View::Connections {
            state.listed(&caller.get(state.path())?);
        }
        Ok(written(table(&mut io::stdout().lock(), &state)))
    }

    /// Asks once before it takes the terminal: what is wrong from the start is said as by any other
    /// command.
    fn watch(&self) -> Result<u8, Trouble> {
        let mut client = self.admin.client()?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Trouble::here(error.to_string()))?;
        let done = runtime.block_on(async {
            let first = sample(client.send(Request::new(Method::GET, TRAFFIC)).await?)?;
            let mut state = State {
                place: client.place(),
                may_kill: client.has_token(),
                view: self.view,
                ..State::default()
            };
            state.looked(first);
            let ended = watch(client, state, self.interval).await;
            ended.map_err(|error| Trouble::here(format!("the terminal: {error}")))
        });
        // A name that is still looked up holds nobody up.
        runtime.shutdown_background();
        done.map(|()| 0)
    }
}

/// Where it is counted.
const TRAFFIC: &str = "/api/traffic";

fn sample(answer: Value) -> Result<Sample, Trouble> {
    let stranger = || Trouble::Unreachable("what answers there is no Thalweg admin API".into());
    Sample::read(&answer).ok_or_else(stranger)
}

fn table(out: &mut impl Write, state: &State) -> io::Result<()> {
    let (sample, total) = (&state.sample, &state.sample.total);
    writeln!(
        out,
        "up {}, {} {}, {} accepted/s, {} failed/s, in {}/s, out {}/s\n",
        age(sample.uptime),
        count(total.counts.connections),
        if total.counts.connections == 1 { "connection" } else { "connections" },
        per_second(total, |rates| rates.accepted),
        per_second(total, |rates| rates.failed),
        bytes_per_second(total, |rates| rates.bytes_in),
        bytes_per_second(total, |rates| rates.bytes_out),
    )?;
    let mut table = Table::new(state.view.columns());
    state.rows().into_iter().for_each(|row| table.row(row.cells));
    for line in table.lines(terminal_columns()) {
        writeln!(out, "{line}")?;
    }
    Ok(())
}

/// What the task is to ask.
#[derive(Debug)]
enum Ask {
    /// The counters, and a list of connections if one is shown.
    Look(Option<String>),
    /// To end a connection.
    Kill(String),
}

/// What it has to say.
#[derive(Debug)]
enum Told {
    Looked(Box<Result<(Sample, Option<Value>), Trouble>>),
    Killed(String, Result<(), Trouble>),
}

async fn answer(mut client: Client, mut asks: Receiver<Ask>, told: Sender<Told>) {
    while let Some(ask) = asks.recv().await {
        let answer = match ask {
            Ask::Look(path) => Told::Looked(Box::new(look(&mut client, path).await)),
            Ask::Kill(id) => {
                let path = format!("/api/tcp/connections/{}", escaped(&id));
                let killed = client.send(Request::new(Method::DELETE, path)).await;
                Told::Killed(id, killed.map(drop))
            }
        };
        if told.send(answer).await.is_err() {
            return;
        }
    }
}

async fn look(
    client: &mut Client,
    path: Option<String>,
) -> Result<(Sample, Option<Value>), Trouble> {
    let counted = sample(client.send(Request::new(Method::GET, TRAFFIC)).await?)?;
    let listed = match path {
        Some(path) => Some(client.send(Request::new(Method::GET, path)).await?),
        None => None,
    };
    Ok((counted, listed))
}

/// What ends or repaints the screen from outside.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
    go_on: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
            go_on: signal(SignalKind::from_raw(libc::SIGCONT))?,
        })
    }

    /// `true`: to end; `false`: somebody else had the terminal.
    async fn next(&mut self) -> bool {
        tokio::select! {
            _ = self.terminate.recv() => true,
            _ = self.interrupt.recv() => true,
            _ = self.hang_up.recv() => true,
            _ = self.go_on.recv() => false,
        }
    }
}

/// Until a key, a signal or the end of the terminal ends it.
async fn watch(client: Client, mut state: State, every: Duration) -> io::Result<()> {
    let (ask, asks) = channel(1);
    let (tell, mut told) = channel(1);
    tokio::spawn(answer(client, asks, tell));
    let mut signals = Signals::new()?;
    let terminal = Terminal::take()?;
    let mut events = EventStream::new();
    let mut clock = interval(every);
    clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // What is asked now; a question waits its turn.
    let mut asking = false;
    let mut waiting: Option<Ask> = None;
    loop {
        if let Some(next) = waiting.take_if(|_| !asking) {
            asking = ask.try_send(next).is_ok();
        }
        let (columns, rows) = terminal.size();
        if let Err(error) = terminal.draw(&screen::screen(&mut state, columns, rows)) {
            return ended(error);
        }
        let act = tokio::select! {
            event = events.next() => match event {
                Some(Ok(Event::Key(key))) => state.key(key),
                Some(Ok(_)) => Act::Show,
                Some(Err(error)) => return ended(error),
                None => Act::Quit,
            },
            answer = told.recv() => {
                asking = false;
                answer.map_or(Act::Quit, |answer| hear(&mut state, answer))
            }
            _ = clock.tick(), if !state.paused => Act::Look,
            ends = signals.next() => match ends {
                true => Act::Quit,
                false => {
                    terminal.retake()?;
                    Act::Show
                }
            },
        };
        match act {
            Act::Quit => return Ok(()),
            Act::Show => {}
            Act::Kill(id) => waiting = Some(Ask::Kill(id)),
            // Who is asked already will have answered before the next look.
            Act::Look if matches!(waiting, Some(Ask::Kill(_))) => {}
            Act::Look if asking && state.view != View::Connections => {}
            Act::Look => {
                let listed = state.view == View::Connections;
                waiting = Some(Ask::Look(listed.then(|| state.path())));
            }
        }
    }
}

/// A terminal that is gone ends it like any key.
fn ended(error: io::Error) -> io::Result<()> {
    match error.kind() {
        io::ErrorKind::BrokenPipe => Ok(()),
        _ if error.raw_os_error() == Some(libc::EIO) => Ok(()),
        _ => Err(error),
    }
}

/// Takes what the task says.
fn hear(state: &mut State, told: Told) -> Act {
    match told {
        Told::Looked(looked) => {
            match *looked {
                Ok((sample, listed)) => {
                    state.looked(sample);
                    if let Some(listed) = listed.filter(|_| state.view == View::Connections) {
                        state.listed(&listed);
                    }
                }
                Err(Trouble::Refused(refused)) => state.failed(&refused.text),
                Err(Trouble::Usage(text) | Trouble::Unreachable(text)) => state.failed(&text),
            }
            Act::Show
        }
        Told::Killed(id, killed) => {
            let id = visible(&id);
            state.message = Some(match killed {
                Ok(()) => format!("ended {id}"),
                Err(Trouble::Refused(refused)) => format!("{id}: {}", refused.text),
                Err(Trouble::Usage(text) | Trouble::Unreachable(text)) => format!("{id}: {text}"),
            });
            Act::Look
        }
    }
}

#[cfg(test)]
mod tests;
