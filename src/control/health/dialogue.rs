//! What is said in a check: decided here, without a socket. [`Script`] goes through `commands`,
//! [`http::Request`](super::http::Request) is the other.

use std::collections::VecDeque;

use crate::config::checked::health::Command;
use crate::config::expectation::Watch;
use crate::config::limits;

/// What to do next.
#[derive(Debug, PartialEq, Eq)]
pub enum Move {
    /// Send this, then say so.
    Send(Vec<u8>),
    /// Receive something.
    Receive,
    /// The check has passed.
    Passed,
}

/// One side of a conversation. The reason of a failure is half a sentence about the target.
pub trait Dialogue: Send {
    /// What to do now.
    fn next(&mut self) -> Move;
    /// What [`Move::Send`] asked for was sent.
    fn sent(&mut self);
    /// This was received.
    ///
    /// # Errors
    /// It makes the check fail.
    fn received(&mut self, bytes: &[u8]) -> Result<(), String>;
    /// What has not come yet.
    fn awaited(&self) -> String;
    /// Whether nothing that the target does can make the check fail any more.
    fn is_farewell(&self) -> bool;
}

/// Nothing is said.
#[derive(Debug)]
pub struct Silence;

impl Dialogue for Silence {
    fn next(&mut self) -> Move {
        Move::Passed
    }

    fn sent(&mut self) {}

    fn received(&mut self, _: &[u8]) -> Result<(), String> {
        Ok(())
    }

    fn awaited(&self) -> String {
        String::new()
    }

    fn is_farewell(&self) -> bool {
        true
    }
}

/// Commands that are gone through in order. What an `expect` looks at begins where the one before it
/// found its message.
#[derive(Debug)]
pub struct Script<'a> {
    left: &'a [Command],
    watch: Option<Watch<'a>>,
    /// Received, and not looked at by any `expect`.
    unread: Vec<u8>,
    received: usize,
}

impl<'a> Script<'a> {
    /// From the first command.
    pub fn new(commands: &'a [Command]) -> Self {
        Self { left: commands, watch: None, unread: Vec::new(), received: 0 }
    }

    /// Lets each `expect` that is next look at what is there.
    fn look(&mut self) {
        while let Some((Command::Expect(expectation), rest)) = self.left.split_first() {
            let watch = self.watch.get_or_insert_with(|| expectation.watch());
            let Some(end) = watch.feed(&self.unread) else {
                self.unread.clear();
                return;
            };
            self.unread.drain(..end);
            self.watch = None;
            self.left = rest;
        }
    }
}

impl Dialogue for Script<'_> {
    fn next(&mut self) -> Move {
        match self.left.first() {
            None => Move::Passed,
            Some(Command::Send(bytes)) => Move::Send(bytes.to_vec()),
            Some(Command::Expect(_)) => Move::Receive,
        }
    }

    fn sent(&mut self) {
        if let Some((Command::Send(_), rest)) = self.left.split_first() {
            self.left = rest;
            self.look();
        }
    }

    fn received(&mut self, bytes: &[u8]) -> Result<(), String> {
        // What was found within the bound counts, however the stream was cut.
        let room = limits::CHECK_BYTES_MAX.saturating_sub(self.received);
        let within = bytes.get(..room).unwrap_or(bytes);
        self.received += within.len();
        self.unread.extend_from_slice(within);
        self.look();
        if within.len() < bytes.len() && !self.is_farewell() {
            let most = limits::CHECK_BYTES_MAX;
            return Err(format!("sent more than {most} bytes without {}", self.awaited()));
        }
        Ok(())
    }

    fn awaited(&self) -> String {
        let expected = self.left.iter().find_map(|command| match command {
            Command::Expect(what) => Some(what.to_string()),
            Command::Send(_) => None,
        });
        expected.unwrap_or_default()
    }

    fn is_farewell(&self) -> bool {
        self.left.iter().all(|command| matches!(command, Command::Send(_)))
    }
}

/// What was said, as far as is worth showing.
#[derive(Debug, Default)]
pub struct Transcript {
    steps: VecDeque<Step>,
    left_out: usize,
}

#[derive(Debug)]
struct Step {
    sent: bool,
    shown: Vec<u8>,
    bytes: usize,
}

impl Transcript {
    /// Something was sent.
    pub fn sent(&mut self, bytes: &[u8]) {
        self.add(true, bytes);
    }

    /// Something was received.
    pub fn got(&mut self, bytes: &[u8]) {
        self.add(false, bytes);
    }

    fn add(&mut self, sent: bool, bytes: &[u8]) {
        let last = self.steps.back_mut().filter(|last| last.sent == sent && !sent);
        let step = match last {
            Some(last) => last,
            None => {
                if self.steps.len() == limits::TRANSCRIPT_STEPS_MAX {
                    self.steps.pop_front();
                    self.left_out += 1;
                }
                self.steps.push_back(Step { sent, shown: Vec::new(), bytes: 0 });
                let Some(last) = self.steps.back_mut() else { return };
                last
            }
        };
        let room = limits::TRANSCRIPT_BYTES_MAX.saturating_sub(step.shown.len());
        step.shown.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
        step.bytes += bytes.len();
    }

    /// One line a step, and a last one with what was waited for.
    pub fn lines(&self, awaited: &str) -> Vec<String> {
        let left_out = (self.left_out > 0).then(|| format!("… {} steps", self.left_out));
        let steps = self.steps.iter().map(|step| {
            let (what, shown) = (if step.sent { "sent" } else { "got" }, step.shown.escape_ascii());
            match step.bytes.saturating_sub(step.shown.len()) {
                0 => format!("{what} \"{shown}\""),
                more => format!("{what} \"{shown}\" and {more} bytes more"),
            }
        });
        let awaited = (!awaited.is_empty()).then(|| format!("expected {awaited}"));
        left_out.into_iter().chain(steps).chain(awaited).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::expectation::Expectation;

    fn send(text: &str) -> Command {
        Command::Send(text.as_bytes().into())
    }

    fn expect(text: &str) -> Command {
        Command::Expect(Expectation::read(text).expect(text))
    }

    /// The check of Tyk's example, with its last `send` as it is printed.
    fn sentinel() -> Vec<Command> {
        vec![
            send("PING\r\n"),
            expect("+PONG"),
            send("info  replication\r\n"),
            expect("role:master"),
            send("QUIT\r\n"),
            send("+OK"),
        ]
    }

    /// Plays a script against a target that says all at once, in pieces; what was sent, and the end.
    fn play(commands: &[Command], pieces: &[&[u8]]) -> (Vec<String>, Result<(), String>) {
        let mut script = Script::new(commands);
        let mut pieces = pieces.iter();
        let mut sent = Vec::new();
        loop {
            match script.next() {
                Move::Passed => return (sent, Ok(())),
                Move::Send(bytes) => {
                    sent.push(String::from_utf8(bytes).unwrap());
                    script.sent();
                }
                Move::Receive => {
                    let Some(piece) = pieces.next() else {
                        return (sent, Err(script.awaited()));
                    };
                    if let Err(reason) = script.received(piece) {
                        return (sent, Err(reason));
                    }
                }
            }
        }
    }

    const MASTER: &[u8] =
        b"+PONG\r\n$300\r\n# Replication\r\nrole:master\r\nconnected_slaves:1\r\n\r\n+OK\r\n";
    const REPLICA: &[u8] =
        b"+PONG\r\n$300\r\n# Replication\r\nrole:slave\r\nmaster_host:10.0.0.1\r\n\r\n";

    #[test]
    fn every_cut_of_the_answers_is_the_same() {
        let commands = sentinel();
        for one in 0..=MASTER.len() {
            for other in one..=MASTER.len() {
                let pieces = [&MASTER[..one], &MASTER[one..other], &MASTER[other..]];
                let (sent, end) = play(&commands, &pieces);
                assert_eq!(end, Ok(()), "{one} {other}");
                assert_eq!(sent, ["PING\r\n", "info  replication\r\n", "QUIT\r\n", "+OK"]);
            }
        }
        for cut in 0..=REPLICA.len() {
            let (sent, end) = play(&commands, &[&REPLICA[..cut], &REPLICA[cut..]]);
            assert_eq!(end, Err("\"role:master\"".into()));
            assert_eq!(sent.len(), 2);
        }
    }

    #[test]
    fn what_was_found_is_not_found_again() {
        let twice = [expect("ok"), expect("ok")];
        assert_eq!(play(&twice, &[b"ok"]).1, Err("\"ok\"".into()));
        assert_eq!(play(&twice, &[b"okok"]).1, Ok(()));
        assert_eq!(play(&twice, &[b"o", b"ko", b"k"]).1, Ok(()));
        let chained = [expect("aa"), send("x"), expect("ab")];
        assert_eq!(play(&chained, &[b"aaab"]), (vec!["x".into()], Ok(())));
        assert_eq!(play(&chained, &[b"aab"]).1, Err("\"ab\"".into()));
    }

    #[test]
    fn after_the_last_expect_nothing_fails() {
        let commands = sentinel();
        let mut script = Script::new(&commands);
        script.sent();
        script.received(b"+PONG").unwrap();
        script.sent();
        assert!(!script.is_farewell());
        script.received(b"role:master").unwrap();
        assert!(script.is_farewell());
        assert!(Script::new(&[send("x")]).is_farewell());
    }

    #[test]
    fn talk_without_end_fails() {
        let commands = [expect("never")];
        let mut script = Script::new(&commands);
        let piece = vec![b'x'; 4096];
        let reason = (0..=16).find_map(|_| script.received(&piece).err()).unwrap();
        assert!(reason.contains("65536"), "{reason}");
        assert!(script.unread.is_empty(), "nothing is kept");
    }

    #[test]
    fn a_transcript_is_bounded_and_escaped() {
        let mut transcript = Transcript::default();
        transcript.sent(b"PING\r\n");
        transcript.got(b"\x00");
        transcript.got(b"\xff");
        let lines = transcript.lines("\"+PONG\"");
        assert_eq!(lines, [r#"sent "PING\r\n""#, r#"got "\x00\xff""#, r#"expected "+PONG""#]);
        for _ in 0..100 {
            transcript.sent(&[b'a'; 1000]);
            transcript.got(&[b'b'; 1000]);
        }
        let lines = transcript.lines("");
        assert_eq!(lines.len(), limits::TRANSCRIPT_STEPS_MAX + 1);
        assert!(lines.iter().all(|line| line.len() < 200), "{lines:?}");
        assert_eq!(lines[0], "… 186 steps");
    }

    proptest! {
        /// Whatever comes, in whatever pieces: the same end, and it is that of a search over the whole.
        #[test]
        fn any_stream_in_any_pieces(
            stream in "[abc]{0,60}",
            needles in proptest::collection::vec("[abc]{1,3}", 1..4),
            cuts in proptest::collection::vec(0_usize..60, 0..8),
        ) {
            let commands: Vec<Command> = needles.iter().map(|needle| expect(needle)).collect();
            let mut rest = stream.as_str();
            let passes = needles.iter().all(|needle| match rest.split_once(needle.as_str()) {
                Some((_, after)) => { rest = after; true }
                None => false,
            });
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(stream.len())).collect();
            cuts.sort_unstable();
            cuts.push(stream.len());
            let mut from = 0;
            let pieces: Vec<&[u8]> = cuts.iter().map(|cut| {
                let piece = &stream.as_bytes()[from..*cut];
                from = *cut;
                piece
            }).collect();
            prop_assert_eq!(play(&commands, &pieces).1.is_ok(), passes);
        }
    }
}
