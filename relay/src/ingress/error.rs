//! Everything that can keep a visitor from a response, and the one place where it becomes a status and a code.

use http::StatusCode;
use protocol::close::StreamReset;

use crate::edge::framing::Violation;
use crate::tunnel::stream::StreamFailure;

/// Why a request is answered by the relay itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum IngressError {
    /// The bytes of the request have more than one reading, or none.
    Violation(Violation),
    MethodNotAllowed,
    BadHost,
    /// `:authority`, or the target's authority, and `Host` name different hosts.
    HostMismatch,
    BadHeader,
    BadExpect,
    /// TLS was set up for a hostname of somebody else.
    Misdirected,
    UnknownHostname,
    NoRoute,
    AmbiguousPath,
    Denied,
    BodyTooLarge,
    /// The visitor stopped sending its body.
    BodyTimeout,
    /// The visitor broke its body off, or framed it wrongly.
    BodyBroken,
    AgentOffline,
    AgentBusy,
    ServiceUnknown,
    OriginUnresolved,
    OriginRefused,
    OriginTls,
    OriginConnectTimeout,
    OriginBroke,
    OriginInvalid,
    TunnelLost,
    FirstByteTimeout,
}

/// Status, code and sentence of an error.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    /// Stable: for programs, in the header `Adit-Error`.
    pub(crate) code: &'static str,
    /// For people.
    pub(crate) sentence: &'static str,
}

impl IngressError {
    /// The one function from an error to what the visitor gets.
    pub(crate) fn answer(self) -> Answer {
        let (status, code, sentence) = match self {
            Self::Violation(violation) => return violation_answer(violation),
            Self::BodyBroken | Self::BadHeader | Self::BadHost | Self::HostMismatch | Self::AmbiguousPath => {
                self.bad_request()
            }
            Self::MethodNotAllowed => {
                (StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", "This method is not served here.")
            }
            Self::BadExpect => {
                (StatusCode::EXPECTATION_FAILED, "bad-expect", "Only `100-continue` can be expected.")
            }
            Self::Misdirected => (
                StatusCode::MISDIRECTED_REQUEST,
                "misdirected",
                "This connection was made for another hostname; use a new one.",
            ),
            Self::UnknownHostname => {
                (StatusCode::NOT_FOUND, "unknown-hostname", "Nothing is served under this hostname.")
            }
            Self::NoRoute => (StatusCode::NOT_FOUND, "no-route", "Nothing is served under this path."),
            Self::Denied => (StatusCode::FORBIDDEN, "denied", "You may not come in from where you are."),
            Self::BodyTooLarge => (
                StatusCode::PAYLOAD_TOO_LARGE,
                "body-too-large",
                "The request's body is larger than is accepted here.",
            ),
            Self::BodyTimeout => {
                (StatusCode::REQUEST_TIMEOUT, "body-timeout", "The request's body stopped coming.")
            }
            Self::AgentOffline | Self::AgentBusy => self.unavailable(),
            Self::ServiceUnknown
            | Self::OriginUnresolved
            | Self::OriginRefused
            | Self::OriginTls
            | Self::OriginBroke
            | Self::OriginInvalid
            | Self::TunnelLost => self.bad_gateway(),
            Self::OriginConnectTimeout => (
                StatusCode::GATEWAY_TIMEOUT,
                "origin-connect-timeout",
                "The service at home did not accept the connection in time.",
            ),
            Self::FirstByteTimeout => (
                StatusCode::GATEWAY_TIMEOUT,
                "first-byte-timeout",
                "The service at home did not answer in time.",
            ),
        };
        Answer { status, code, sentence }
    }

    fn bad_request(self) -> (StatusCode, &'static str, &'static str) {
        let (code, sentence) = match self {
            Self::BadHost => ("bad-host", "The request's host is not a hostname."),
            Self::HostMismatch => ("host-mismatch", "The request names two different hosts."),
            Self::BadHeader => {
                ("bad-header", "The request has a header field that could be read in two ways.")
            }
            Self::AmbiguousPath => ("ambiguous-path", "The request's path could be read in two ways."),
            _ => ("body-broken", "The request's body broke off."),
        };
        (StatusCode::BAD_REQUEST, code, sentence)
    }

    fn unavailable(self) -> (StatusCode, &'static str, &'static str) {
        let (code, sentence) = match self {
            Self::AgentBusy => ("agent-busy", "The home server has too many connections open."),
            _ => ("agent-offline", "The home server is not connected at the moment."),
        };
        (StatusCode::SERVICE_UNAVAILABLE, code, sentence)
    }

    fn bad_gateway(self) -> (StatusCode, &'static str, &'static str) {
        let (code, sentence) = match self {
            Self::ServiceUnknown => {
                ("service-unknown", "The home server does not offer this service any more.")
            }
            Self::OriginUnresolved => {
                ("origin-unresolved", "The home server cannot find the service's address.")
            }
            Self::OriginRefused => {
                ("origin-refused", "The service at home refused the connection; it may be down.")
            }
            Self::OriginTls => ("origin-tls", "The home server and its service cannot agree on TLS."),
            Self::OriginInvalid => {
                ("origin-invalid", "The service at home answered with something that is not HTTP.")
            }
            Self::TunnelLost => ("tunnel-lost", "The connection to the home server was lost."),
            _ => ("origin-broke", "The service at home broke the connection off."),
        };
        (StatusCode::BAD_GATEWAY, code, sentence)
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
                StreamReset::Cancelled | StreamReset::Header => Self::TunnelLost,
            },
            StreamFailure::UnknownReset(_) | StreamFailure::SessionLost => Self::TunnelLost,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    const OWN: [IngressError; 24] = [
        IngressError::MethodNotAllowed,
        IngressError::BadHost,
        IngressError::HostMismatch,
        IngressError::BadHeader,
        IngressError::BadExpect,
        IngressError::Misdirected,
        IngressError::UnknownHostname,
        IngressError::NoRoute,
        IngressError::AmbiguousPath,
        IngressError::Denied,
        IngressError::BodyTooLarge,
        IngressError::BodyTimeout,
        IngressError::BodyBroken,
        IngressError::AgentOffline,
        IngressError::AgentBusy,
        IngressError::ServiceUnknown,
        IngressError::OriginUnresolved,
        IngressError::OriginRefused,
        IngressError::OriginTls,
        IngressError::OriginConnectTimeout,
        IngressError::OriginBroke,
        IngressError::OriginInvalid,
        IngressError::TunnelLost,
        IngressError::FirstByteTimeout,
    ];

    #[test]
    fn every_error_has_a_code_of_its_own() {
        let mut seen = HashMap::new();
        for error in OWN {
            let answer = error.answer();
            assert!(answer.status.is_client_error() || answer.status.is_server_error());
            assert_eq!(seen.insert(answer.code, error), None, "{}", answer.code);
        }
        assert_eq!(seen.len(), 24);
    }

    #[test]
    fn the_statuses_of_the_design() {
        let status = |error: IngressError| error.answer().status.as_u16();
        assert_eq!(OWN.map(status)[..9], [405, 400, 400, 400, 417, 421, 404, 404, 400]);
        assert_eq!(OWN.map(status)[9..15], [403, 413, 408, 400, 503, 503]);
        assert_eq!(OWN.map(status)[15..], [502, 502, 502, 502, 504, 502, 502, 502, 504]);
        assert!(
            Violation::ALL.iter().all(|violation| IngressError::Violation(*violation)
                .answer()
                .status
                .is_client_error()
                || *violation == Violation::BadVersion)
        );
    }
}
