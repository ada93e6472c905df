//! The HTTP/1 framing guard: says which of a visitor's bytes have exactly one reading.
//!
//! hyper's server accepts heads that a front and a back could read in two ways (bare LF, `Content-Length` next to
//! `Transfer-Encoding`, lists of codings, `Transfer_Encoding`), and each of them is a way to smuggle a request. So
//! every byte passes this machine before hyper sees it. It has no I/O and no clock: a window of bytes goes in, a
//! [`Step`] comes out. What it releases is a strict subset of what hyper reads, with the same message boundaries.

mod chunked;
mod field;
mod head;
mod target;
#[cfg(test)]
mod tests;
mod violation;

use std::time::Duration;

use chunked::{ChunkScan, Piece};
use head::{HeadScan, Then};

pub(crate) use head::REFUSE_METHOD;
pub(crate) use violation::{BodyFault, Violation};

/// How much of everything a visitor may send before a request counts as one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GuardLimits {
    /// Bytes of a head. hyper's own buffer must hold as many.
    pub(crate) max_head: usize,
    /// Field lines of a head, and of a trailer section. At most hyper's own limit (100).
    pub(crate) max_headers: usize,
    /// Bytes of a request target.
    pub(crate) max_target: usize,
    /// From the first byte of a head to its last; for the first head, also from the start to its first byte.
    pub(crate) head_deadline: Duration,
    /// Between a finished answer and the next head's first byte.
    pub(crate) idle_timeout: Duration,
}

impl Default for GuardLimits {
    fn default() -> Self {
        Self {
            max_head: 64 * 1024,
            max_headers: 100,
            max_target: 16 * 1024,
            head_deadline: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(75),
        }
    }
}

/// What to do with the window that was shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Pass this many bytes on; the next window begins behind them.
    Release(usize),
    /// Show the same bytes again, with more behind them.
    NeedMore,
    /// Neither read nor pass on anything until [`Framing::on_verdict`].
    Hold,
    /// Drop the window and everything after it, and answer with this. Final.
    Refuse(Violation),
    /// Fail the body that is under way. Final.
    Abort(BodyFault),
}

/// What the next byte would belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Awaits {
    Head,
    Body,
    Verdict,
    /// Another protocol, after an accepted upgrade.
    Upgraded,
    /// Nothing is read any more.
    Nothing,
}

/// The machine. One a connection.
#[derive(Debug)]
pub(crate) struct Framing {
    limits: GuardLimits,
    state: State,
    heads: u64,
}

#[derive(Debug)]
enum State {
    Head(HeadScan),
    Length(u64),
    Chunked(ChunkScan),
    AwaitVerdict,
    Upgraded,
    Refused(Violation),
    Aborted(BodyFault),
}

impl State {
    fn next_head() -> Self {
        Self::Head(HeadScan::new())
    }

    fn after(then: &Then) -> Self {
        match *then {
            Then::NextHead => Self::next_head(),
            Then::Length(length) => Self::Length(length),
            Then::Chunked => Self::Chunked(ChunkScan::new()),
            Then::Verdict => Self::AwaitVerdict,
        }
    }
}

impl Framing {
    pub(crate) fn new(limits: GuardLimits) -> Self {
        Self { limits, state: State::next_head(), heads: 0 }
    }

    /// Judges the front of `window`, which begins with the first byte not released yet.
    pub(crate) fn step(&mut self, window: &[u8]) -> Step {
        match &mut self.state {
            State::Head(scan) => match scan.advance(window, &self.limits) {
                Ok(None) => Step::NeedMore,
                Ok(Some(head)) => {
                    self.heads += 1;
                    self.state = State::after(&head.then);
                    Step::Release(head.len)
                }
                Err(violation) => self.refuse(violation),
            },
            State::Length(left) => {
                let len = usize::try_from(*left).map_or(window.len(), |left| left.min(window.len()));
                *left -= len as u64;
                if *left == 0 {
                    self.state = State::next_head();
                }
                release(len)
            }
            State::Chunked(scan) => {
                let progress = scan.advance(window, self.limits.max_headers);
                self.on_chunked(progress)
            }
            State::AwaitVerdict => Step::Hold,
            State::Upgraded => release(window.len()),
            State::Refused(violation) => Step::Refuse(*violation),
            State::Aborted(fault) => Step::Abort(*fault),
        }
    }

    fn on_chunked(&mut self, progress: Result<Option<Piece>, BodyFault>) -> Step {
        match progress {
            Ok(None) => Step::NeedMore,
            Ok(Some(piece)) => {
                if piece.ends_body {
                    self.state = State::next_head();
                }
                Step::Release(piece.len)
            }
            Err(fault) => {
                self.state = State::Aborted(fault);
                Step::Abort(fault)
            }
        }
    }

    /// Refuses for a reason that the bytes do not show.
    pub(crate) fn refuse(&mut self, violation: Violation) -> Step {
        self.state = State::Refused(violation);
        Step::Refuse(violation)
    }

    /// The origin's word on the upgrade that is held. Without one nothing happens.
    pub(crate) fn on_verdict(&mut self, accepted: bool) {
        if let State::AwaitVerdict = self.state {
            self.state = if accepted { State::Upgraded } else { State::next_head() };
        }
    }

    pub(crate) fn awaits(&self) -> Awaits {
        match self.state {
            State::Head(_) => Awaits::Head,
            State::Length(_) | State::Chunked(_) => Awaits::Body,
            State::AwaitVerdict => Awaits::Verdict,
            State::Upgraded => Awaits::Upgraded,
            State::Refused(_) | State::Aborted(_) => Awaits::Nothing,
        }
    }

    /// How many heads were released.
    pub(crate) fn heads(&self) -> u64 {
        self.heads
    }
}

fn release(len: usize) -> Step {
    if len == 0 { Step::NeedMore } else { Step::Release(len) }
}
