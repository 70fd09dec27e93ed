//! Asking a person.
//!
//! Enter: a question. Leave, later: that person's word. Never: a default of yes; where nobody can be
//! asked, or nobody answers in time, the word is no.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use mcpf_pipeline::Question;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags, open};

use crate::stdio::Waker;

/// A question's number, unique in its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ticket(pub u64);

/// What a person said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Word {
    /// Yes.
    Approved {
        /// Where the word came from, for the audit.
        by: String,
    },
    /// No, or no answer.
    Denied {
        /// Why, in a sentence for the caller.
        why: String,
    },
}

/// Somebody who can be asked. Asking never waits.
pub trait Approver {
    /// Puts a question; the word comes through [`Approver::next_word`].
    ///
    /// # Errors
    ///
    /// Why nobody can be asked, in a sentence for the caller.
    fn ask(&mut self, ticket: Ticket, question: &Question) -> Result<(), String>;

    /// The next word that has come, if any.
    fn next_word(&mut self) -> Option<(Ticket, Word)>;

    /// The question is moot.
    fn cancel(&mut self, ticket: Ticket);
}

/// Nobody is there: every question is refused.
#[derive(Clone, Copy, Debug, Default)]
pub struct Nobody;

impl Approver for Nobody {
    fn ask(&mut self, _ticket: Ticket, _question: &Question) -> Result<(), String> {
        Err("this needs a person's approval, and no way to ask one is configured".to_owned())
    }

    fn next_word(&mut self) -> Option<(Ticket, Word)> {
        None
    }

    fn cancel(&mut self, _ticket: Ticket) {}
}

/// Asks on the controlling terminal, one question at a time, in the order they came.
#[derive(Debug)]
pub struct Terminal {
    questions: Option<Sender<(Ticket, String, Instant)>>,
    words: Receiver<(Ticket, Word)>,
    cancelled: Arc<Mutex<Vec<Ticket>>>,
    timeout: Duration,
}

impl Terminal {
    /// Asks on `/dev/tty`, or nowhere when this process has no terminal of its own or is not in
    /// its foreground. No answer within `timeout` is a no; so is anything but `y` or `yes`.
    ///
    /// # Errors
    ///
    /// When the thread that asks cannot be started.
    pub fn new(timeout: Duration, waker: Waker) -> io::Result<Self> {
        let (word, words) = channel();
        let cancelled = Arc::new(Mutex::new(Vec::new()));
        let questions = match open_terminal() {
            None => None,
            Some(terminal) => {
                let (question, questions) = channel();
                let cancelled = Arc::clone(&cancelled);
                std::thread::Builder::new()
                    .name("approvals".to_owned())
                    .spawn(move || clerk(terminal, &questions, &word, &cancelled, &waker))?;
                Some(question)
            }
        };
        Ok(Self {
            questions,
            words,
            cancelled,
            timeout,
        })
    }
}

impl Approver for Terminal {
    fn ask(&mut self, ticket: Ticket, question: &Question) -> Result<(), String> {
        let nowhere =
            || "this needs a person's approval, and there is no terminal to ask on".to_owned();
        let questions = self.questions.as_ref().ok_or_else(nowhere)?;
        let until = Instant::now() + self.timeout;
        questions
            .send((ticket, wording(question), until))
            .map_err(|_| nowhere())
    }

    fn next_word(&mut self) -> Option<(Ticket, Word)> {
        self.words.try_recv().ok()
    }

    fn cancel(&mut self, ticket: Ticket) {
        self.cancelled
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(ticket);
    }
}

/// The controlling terminal, if this process may read from it without being stopped.
fn open_terminal() -> Option<File> {
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let terminal = open("/dev/tty", flags, Mode::empty()).ok()?;
    let foreground = rustix::termios::tcgetpgrp(&terminal).ok()?;
    (foreground == rustix::process::getpgrp()).then(|| File::from(terminal))
}

fn clerk(
    mut terminal: File,
    questions: &Receiver<(Ticket, String, Instant)>,
    words: &Sender<(Ticket, Word)>,
    cancelled: &Mutex<Vec<Ticket>>,
    waker: &Waker,
) {
    while let Ok((ticket, wording, until)) = questions.recv() {
        let is_cancelled = || {
            cancelled
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .contains(&ticket)
        };
        let word = if is_cancelled() {
            Word::Denied {
                why: "cancelled by the client".to_owned(),
            }
        } else {
            match put(&mut terminal, &wording, until, &is_cancelled) {
                Ok(word) => word,
                Err(e) => Word::Denied {
                    why: format!("the terminal could not be asked: {e}"),
                },
            }
        };
        if words.send((ticket, word)).is_err() {
            return;
        }
        waker.wake();
    }
}

/// How often a pending question looks whether it has been cancelled.
const GLANCE: Duration = Duration::from_millis(200);

/// Most bytes of an answer; more is a no.
const MAX_ANSWER: usize = 256;

fn put(
    terminal: &mut File,
    wording: &str,
    until: Instant,
    is_cancelled: &dyn Fn() -> bool,
) -> io::Result<Word> {
    // What was typed before the question was shown is no answer to it.
    rustix::termios::tcflush(&*terminal, rustix::termios::QueueSelector::IFlush)?;
    terminal.write_all(wording.as_bytes())?;
    terminal.flush()?;
    let mut typed = Vec::new();
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            terminal.write_all(b"\r\nno answer in time: denied\r\n")?;
            return Ok(Word::Denied {
                why: "nobody approved this in time".to_owned(),
            });
        }
        if is_cancelled() {
            terminal.write_all(b"\r\nthe client cancelled the call\r\n")?;
            return Ok(Word::Denied {
                why: "cancelled by the client".to_owned(),
            });
        }
        let ready = {
            let timeout = Timespec::try_from(left.min(GLANCE)).ok();
            let mut fds = [PollFd::from_borrowed_fd(terminal.as_fd(), PollFlags::IN)];
            match poll(&mut fds, timeout.as_ref()) {
                Ok(n) => n > 0,
                Err(rustix::io::Errno::INTR) => false,
                Err(e) => return Err(e.into()),
            }
        };
        if !ready {
            continue;
        }
        let mut chunk = [0_u8; 64];
        let n = terminal.read(&mut chunk)?;
        typed.extend_from_slice(chunk.get(..n).unwrap_or_default());
        let ended =
            n == 0 || typed.iter().any(|b| matches!(b, b'\n' | b'\r')) || typed.len() > MAX_ANSWER;
        if ended {
            let answer = String::from_utf8_lossy(&typed).trim().to_ascii_lowercase();
            return Ok(match answer.as_str() {
                "y" | "yes" => Word::Approved {
                    by: "terminal".to_owned(),
                },
                _ => Word::Denied {
                    why: "a person refused this".to_owned(),
                },
            });
        }
    }
}

/// The question as shown: whole, and nothing in it that a terminal would obey.
fn wording(question: &Question) -> String {
    let mut text = String::from("\r\nmcp-firewall: approval needed\r\n");
    let mut line = |name: &str, value: &str| {
        // Longer than anything that is asked about.
        text.push_str(&format!("  {name:<10} {}\r\n", plain(value, 1 << 16)));
    };
    line("agent", &question.agent);
    line("server", &question.server);
    line("action", &question.action);
    line("arguments", &question.arguments);
    if let Some(rule) = &question.rule {
        line("rule", rule);
    }
    if let Some(message) = &question.message {
        line("because", message);
    }
    text.push_str("Allow this once? [y/N] ");
    text
}

/// Spaces in a row that are shown as they are; more could push what follows out of sight.
const MAX_SPACES: usize = 8;

/// `text` without anything that moves a cursor, hides or reorders what is read, cut at `max` characters.
#[must_use]
pub fn plain(text: &str, max: usize) -> String {
    let mut out = String::new();
    let mut spaces = 0;
    for (n, c) in text.chars().enumerate() {
        if n >= max {
            out.push('…');
            break;
        }
        spaces = if c == ' ' { spaces + 1 } else { 0 };
        if spaces > MAX_SPACES {
            out.push_str("\\u{20}");
            continue;
        }
        let hidden = c.is_control()
            || (c.is_whitespace() && c != ' ')
            || matches!(u32::from(c), 0xAD | 0x61C | 0x115F | 0x1160 | 0x17B4 | 0x17B5
                | 0x180B..=0x180F | 0x2800 | 0x3164 | 0xFFA0 | 0x200B..=0x200F | 0x2028..=0x202E | 0x2060..=0x206F
                | 0xFE00..=0xFE0F | 0xFEFF | 0xFFF9..=0xFFFB | 0xE0000..=0xE0FFF);
        if hidden {
            out.push_str(&format!("\\u{{{:x}}}", u32::from(c)));
        } else {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_question_is_obeyed_by_the_terminal() {
        let shown = plain("ls\u{1b}[2J\r\nAllow? y\u{202e}gnp.\u{200b}", 100);
        assert_eq!(
            shown,
            "ls\\u{1b}[2J\\u{d}\\u{a}Allow? y\\u{202e}gnp.\\u{200b}"
        );
        assert_eq!(plain("abcdef", 3), "abc…");
        assert_eq!(
            plain("a\u{3164}\u{2800}\u{61c}\u{3000}b", 100),
            "a\\u{3164}\\u{2800}\\u{61c}\\u{3000}b"
        );
        let far = format!("a{}b", " ".repeat(10));
        assert_eq!(plain(&far, 100), "a        \\u{20}\\u{20}b");
    }
}
