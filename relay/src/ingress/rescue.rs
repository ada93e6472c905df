//! When a request that got no response is sent once more: only where nobody can have acted on it twice.

use http::Method;

use crate::tunnel::session::{FailureReason, SendFailure};
use crate::tunnel::stream::StreamFailure;
use protocol::close::StreamReset;

/// Attempts at one request, all peers together.
pub(crate) const ATTEMPTS: usize = 3;

/// Whether a request may be repeated although the origin may have seen it (RFC 9110, section 9.2.2).
pub(crate) fn is_repeatable(method: &Method, has_body: bool) -> bool {
    !has_body && matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

/// What to do about a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rescue {
    /// Again, on a stream that nobody has used: the idle one was closing.
    Fresh,
    /// Again, at another peer that serves the hostname.
    Elsewhere,
    No,
}

/// Judges a failure. `intact` says that the request is still there to be sent: not a byte of it has left, or it may be
/// repeated.
pub(crate) fn judge(failure: &SendFailure, intact: bool) -> Rescue {
    if !intact {
        return Rescue::No;
    }
    match &failure.reason {
        FailureReason::Stream(StreamFailure::SessionLost) | FailureReason::Busy => Rescue::Elsewhere,
        FailureReason::Stream(StreamFailure::Reset(reset)) => match reset {
            StreamReset::UnknownService
            | StreamReset::OriginUnresolved
            | StreamReset::OriginRefused
            | StreamReset::OriginTimeout
            | StreamReset::OriginTls
            | StreamReset::Busy => Rescue::Elsewhere,
            StreamReset::OriginBroke if failure.reused => Rescue::Fresh,
            StreamReset::OriginBroke
            | StreamReset::Cancelled
            | StreamReset::Header
            | StreamReset::NotGranted
            | StreamReset::PeerOffline
            | StreamReset::NotAllowed
            | StreamReset::Unproven => Rescue::No,
        },
        FailureReason::Stream(StreamFailure::UnknownReset(_)) => Rescue::No,
        FailureReason::Http(_) if failure.reused || failure.unsent.is_some() => Rescue::Fresh,
        FailureReason::Http(_) => Rescue::No,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(reason: FailureReason, reused: bool) -> SendFailure {
        SendFailure { reason, unsent: None, reused }
    }

    #[test]
    fn what_may_have_been_acted_on_is_not_repeated() {
        assert!(is_repeatable(&Method::GET, false) && is_repeatable(&Method::HEAD, false));
        assert!(!is_repeatable(&Method::GET, true) && !is_repeatable(&Method::POST, false));
        let broke = || FailureReason::Stream(StreamFailure::Reset(StreamReset::OriginBroke));
        assert_eq!(judge(&failure(broke(), true), true), Rescue::Fresh);
        assert_eq!(judge(&failure(broke(), true), false), Rescue::No);
        assert_eq!(judge(&failure(broke(), false), true), Rescue::No);
    }

    #[test]
    fn an_origin_that_was_never_reached_is_sought_elsewhere() {
        let refused = FailureReason::Stream(StreamFailure::Reset(StreamReset::OriginRefused));
        assert_eq!(judge(&failure(refused, false), true), Rescue::Elsewhere);
        let lost = FailureReason::Stream(StreamFailure::SessionLost);
        assert_eq!(judge(&failure(lost, true), true), Rescue::Elsewhere);
    }
}
