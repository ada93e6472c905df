//! Everything that can keep a visitor from a response, and the one place where it becomes a status and a code.

use http::StatusCode;
use protocol::close::StreamReset;

use crate::edge::framing::Violation;
use crate::tunnel::stream::StreamFailure;

/// Status, code and sentence of an error.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    /// Stable: for programs, in the header `Adit-Error`.
    pub(crate) code: &'static str,
    /// For people.
    pub(crate) sentence: &'static str,
}

macro_rules! errors {
    ($($(#[$doc:meta])* $name:ident: $status:ident $code:literal $sentence:literal)*) => {
        /// Why a request is answered by the relay itself.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum IngressError {
            /// The bytes of the request have more than one reading, or none.
            Violation(Violation),
            $($(#[$doc])* $name,)*
        }

        impl IngressError {
            const OWN: &[Self] = &[$(Self::$name),*];

            /// The one function from an error to what the visitor gets.
            pub(crate) fn answer(self) -> Answer {
                match self {
                    Self::Violation(violation) => violation_answer(violation),
                    $(Self::$name => Answer { status: StatusCode::$status, code: $code, sentence: $sentence },)*
                }
            }
        }
    };
}

errors! {
    MethodNotAllowed: METHOD_NOT_ALLOWED "method-not-allowed" "This method is not served here."
    BadHost: BAD_REQUEST "bad-host" "The request's host is not a hostname."
    /// `:authority`, or the target's authority, and `Host` name different hosts.
    HostMismatch: BAD_REQUEST "host-mismatch" "The request names two different hosts."
    BadHeader: BAD_REQUEST "bad-header" "The request has a header field that could be read in two ways."
    BadExpect: EXPECTATION_FAILED "bad-expect" "Only `100-continue` can be expected."
    /// TLS was set up for a hostname of somebody else.
    Misdirected: MISDIRECTED_REQUEST "misdirected" "This connection was made for another hostname; use a new one."
    UnknownHostname: NOT_FOUND "unknown-hostname" "Nothing is served under this hostname."
    NoRoute: NOT_FOUND "no-route" "Nothing is served under this path."
    AmbiguousPath: BAD_REQUEST "ambiguous-path" "The request's path could be read in two ways."
    Denied: FORBIDDEN "denied" "You may not come in from where you are."
    TooManyRequests: TOO_MANY_REQUESTS "rate-limited" "You ask too often; wait a moment."
    HostnameBusy: SERVICE_UNAVAILABLE "hostname-busy" "Too many requests for this hostname are under way."
    BodyTooLarge: PAYLOAD_TOO_LARGE "body-too-large" "The request's body is larger than is accepted here."
    /// The visitor stopped sending its body.
    BodyTimeout: REQUEST_TIMEOUT "body-timeout" "The request's body stopped coming."
    /// The visitor broke its body off, or framed it wrongly.
    BodyBroken: BAD_REQUEST "body-broken" "The request's body broke off."
    /// A CONNECT over HTTP/2 for a protocol that is not allowed there, or to a service that carries no upgrades.
    UpgradeUnsupported: NOT_IMPLEMENTED "upgrade-unsupported" "This protocol is not passed on here."
    AgentOffline: SERVICE_UNAVAILABLE "agent-offline" "The home server is not connected at the moment, or does not expose this hostname."
    AgentBusy: SERVICE_UNAVAILABLE "agent-busy" "The home server has too many connections open."
    ServiceUnknown: BAD_GATEWAY "service-unknown" "The home server does not offer this service any more."
    OriginUnresolved: BAD_GATEWAY "origin-unresolved" "The home server cannot find the service's address."
    OriginRefused: BAD_GATEWAY "origin-refused" "The service at home refused the connection; it may be down."
    OriginTls: BAD_GATEWAY "origin-tls" "The home server and its service cannot agree on TLS."
    OriginConnectTimeout: GATEWAY_TIMEOUT "origin-connect-timeout" "The service at home did not accept in time."
    OriginBroke: BAD_GATEWAY "origin-broke" "The service at home broke the connection off."
    OriginInvalid: BAD_GATEWAY "origin-invalid" "The service at home answered with something that is not HTTP."
    TunnelLost: BAD_GATEWAY "tunnel-lost" "The connection to the home server was lost."
    /// The response stopped coming; its head has gone out, so only logs see this.
    OriginStalled: GATEWAY_TIMEOUT "origin-stalled" "The service at home stopped in the middle of its answer."
    /// The visitor stopped reading while many others wanted to go on; its head has gone out, so only logs see this.
    VisitorTooSlow: REQUEST_TIMEOUT "visitor-too-slow" "The answer was not taken in time."
    FirstByteTimeout: GATEWAY_TIMEOUT "first-byte-timeout" "The service at home did not answer in time."
}

/// The visitor went away before it had its whole answer: said in logs and metrics alone.
pub(crate) const VISITOR_GONE: &str = "visitor-gone";

impl IngressError {
    /// Every code that a request can end with.
    pub(crate) fn codes() -> impl Iterator<Item = &'static str> {
        let violations = Violation::ALL.into_iter().map(Self::Violation);
        let errors = Self::OWN.iter().copied().chain(violations);
        errors.map(|error| error.answer().code).chain([VISITOR_GONE])
    }

    /// Whether what the visitor sent makes it doubtful where its next request begins, or that it means well. HTTP/2
    /// frames its messages: there only the one request ends.
    pub(crate) fn ends_connection(self) -> bool {
        matches!(
            self,
            Self::Violation(_)
                | Self::MethodNotAllowed
                | Self::BadHost
                | Self::HostMismatch
                | Self::BadHeader
                | Self::BadExpect
                | Self::BodyBroken
                | Self::BodyTimeout
        )
    }
}

fn violation_answer(violation: Violation) -> Answer {
    let status = match violation {
        Violation::HeadTimeout => StatusCode::REQUEST_TIMEOUT,
        Violation::HeadTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        Violation::UriTooLong => StatusCode::URI_TOO_LONG,
        Violation::BadVersion => StatusCode::HTTP_VERSION_NOT_SUPPORTED,
        Violation::BadExpect => StatusCode::EXPECTATION_FAILED,
        Violation::BadRequestLine
        | Violation::BadMethod
        | Violation::BadTarget
        | Violation::BadHeader
        | Violation::BadFraming
        | Violation::BadHost => StatusCode::BAD_REQUEST,
    };
    let (code, sentence) = match violation {
        Violation::HeadTimeout => ("head-timeout", "The request's header fields took too long."),
        Violation::HeadTooLarge => {
            ("head-too-large", "The request's header fields are too many or too long.")
        }
        Violation::UriTooLong => ("uri-too-long", "The request's target is too long."),
        Violation::BadVersion => ("bad-version", "Only HTTP/1.0, HTTP/1.1 and HTTP/2 are spoken here."),
        Violation::BadExpect => ("bad-expect", "Only `100-continue` can be expected."),
        Violation::BadRequestLine => ("bad-request-line", "The request line is malformed."),
        Violation::BadMethod => ("bad-method", "The request's method is malformed."),
        Violation::BadTarget => ("bad-target", "The request's target is malformed."),
        Violation::BadHeader => ("bad-header", "A header field is malformed."),
        Violation::BadFraming => {
            ("bad-framing", "The length of the request's body could be read in two ways.")
        }
        Violation::BadHost => ("bad-host", "The request needs exactly one host."),
    };
    Answer { status, code, sentence }
}

impl From<StreamFailure> for IngressError {
    fn from(failure: StreamFailure) -> Self {
        match failure {
            StreamFailure::Reset(reset) => match reset {
                StreamReset::UnknownService => Self::ServiceUnknown,
                StreamReset::OriginUnresolved => Self::OriginUnresolved,
                StreamReset::OriginRefused => Self::OriginRefused,
                StreamReset::OriginTimeout => Self::OriginConnectTimeout,
                StreamReset::OriginTls => Self::OriginTls,
                StreamReset::Busy => Self::AgentBusy,
                StreamReset::OriginBroke => Self::OriginBroke,
                // Those of streams between peers an agent has no reason to send here.
                StreamReset::Cancelled
                | StreamReset::Header
                | StreamReset::NotGranted
                | StreamReset::PeerOffline
                | StreamReset::NotAllowed
                | StreamReset::Unproven => Self::TunnelLost,
            },
            StreamFailure::UnknownReset(_) | StreamFailure::SessionLost => Self::TunnelLost,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn every_error_has_a_code_of_its_own() {
        let mut seen = HashMap::new();
        for error in IngressError::OWN {
            let answer = error.answer();
            assert!(answer.status.is_client_error() || answer.status.is_server_error());
            assert_eq!(seen.insert(answer.code, *error), None, "{}", answer.code);
        }
        assert_eq!(seen.len(), IngressError::OWN.len());
    }

    #[test]
    fn the_statuses_of_the_design() {
        let with = |status: u16| IngressError::OWN.iter().filter(|e| e.answer().status == status).count();
        assert_eq!([400, 403, 404, 405, 408, 413, 417, 421].map(with), [5, 1, 2, 1, 2, 1, 1, 1]);
        assert_eq!([429, 501, 502, 503, 504].map(with), [1, 1, 7, 3, 3]);
        assert!(
            Violation::ALL.iter().all(|violation| IngressError::Violation(*violation)
                .answer()
                .status
                .is_client_error()
                || *violation == Violation::BadVersion)
        );
    }
}
