//! When to try again after an attempt or a session has ended. Pure: how long it lasted and randomness are arguments.

use std::time::Duration;

use protocol::close::SessionClose;

use crate::backoff::Backoff;

const BASE: Duration = Duration::from_millis(250);
const CAP: Duration = Duration::from_secs(5);
/// A session that lasted this long was a success; what ended it is a new trouble, not the old one.
const SUCCESS: Duration = Duration::from_secs(10);
/// Where another attempt cannot help before a person has done something.
const LONG: Duration = Duration::from_secs(30);

/// How an attempt or a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// No session came to be, or it was cut.
    Broken,
    /// The relay closed it and said why.
    Closed(SessionClose),
}

/// What happens next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Next {
    /// How long to wait before the next attempt.
    pub delay: Duration,
    /// What a person can do about it.
    pub advice: Option<&'static str>,
}

/// Decides again and again when to connect; it never gives up.
#[derive(Debug)]
pub struct Reconnection {
    backoff: Backoff,
}

impl Default for Reconnection {
    fn default() -> Self {
        Self { backoff: Backoff::new(BASE, CAP) }
    }
}

impl Reconnection {
    /// After an end. `lasted` is how long the session was up, nothing where none came to be.
    pub fn handle_end(&mut self, ending: Ending, lasted: Option<Duration>, random: u32) -> Next {
        if lasted.is_some_and(|lasted| lasted >= SUCCESS) {
            self.backoff.reset();
        }
        let delay = match ending {
            Ending::Closed(close) if !close.is_retryable_soon() => LONG,
            Ending::Closed(_) | Ending::Broken => self.backoff.next_delay(random),
        };
        Next { delay, advice: advice(ending) }
    }
}

fn advice(ending: Ending) -> Option<&'static str> {
    let Ending::Closed(close) = ending else { return None };
    match close {
        SessionClose::Superseded => Some(
            "another agent runs with this identity: stop it, or enroll this machine anew with its own `--data-dir`",
        ),
        SessionClose::Revoked | SessionClose::NotEnrolled => {
            Some("run `agent enroll --relay HOST` to become a peer again")
        }
        SessionClose::Handshake => {
            Some("if the relay was set up anew its key has changed: run `agent enroll --relay HOST` again")
        }
        SessionClose::Protocol => {
            Some("agent and relay may be of versions too far apart: update the older one")
        }
        SessionClose::Done | SessionClose::Establishment | SessionClose::Busy => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: u32 = u32::MAX;

    fn delay(state: &mut Reconnection, ending: Ending, lasted: Option<u64>) -> u128 {
        state.handle_end(ending, lasted.map(Duration::from_secs), MOST).delay.as_millis()
    }

    #[test]
    fn a_relay_that_is_down_is_tried_more_and_more_slowly() {
        let mut state = Reconnection::default();
        let delays: Vec<u128> = (0..6).map(|_| delay(&mut state, Ending::Broken, None)).collect();
        assert_eq!(delays, [250, 500, 1000, 2000, 4000, 5000]);
    }

    #[test]
    fn a_session_that_lasted_begins_anew_and_a_short_one_does_not() {
        let mut state = Reconnection::default();
        delay(&mut state, Ending::Broken, None);
        delay(&mut state, Ending::Broken, None);
        assert_eq!(delay(&mut state, Ending::Broken, Some(9)), 1000);
        assert_eq!(delay(&mut state, Ending::Broken, Some(10)), 250);
        assert_eq!(delay(&mut state, Ending::Closed(SessionClose::Done), Some(3600)), 250);
    }

    #[test]
    fn what_only_a_person_can_change_is_waited_for() {
        for close in SessionClose::ALL {
            let mut state = Reconnection::default();
            let next = state.handle_end(Ending::Closed(*close), Some(Duration::from_secs(1)), MOST);
            let patient = matches!(
                close,
                SessionClose::Superseded
                    | SessionClose::Revoked
                    | SessionClose::NotEnrolled
                    | SessionClose::Protocol
            );
            assert_eq!(next.delay == LONG, patient, "{close:?}");
            assert!(next.advice.is_some() || !patient, "{close:?}");
        }
    }
}
