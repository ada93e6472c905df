//! What the guard refuses, by name: one code for each way a head goes wrong, one fault for each way a body does.

use std::error::Error;
use std::fmt;

/// Why a head was refused. The code travels to the service in the synthetic request that replaces the head.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Violation {
    BadRequestLine,
    BadMethod,
    BadTarget,
    UriTooLong,
    BadVersion,
    BadHeader,
    BadFraming,
    BadHost,
    BadExpect,
    HeadTooLarge,
    HeadTimeout,
}

impl Violation {
    pub(crate) const ALL: [Self; 11] = [
        Self::BadRequestLine,
        Self::BadMethod,
        Self::BadTarget,
        Self::UriTooLong,
        Self::BadVersion,
        Self::BadHeader,
        Self::BadFraming,
        Self::BadHost,
        Self::BadExpect,
        Self::HeadTooLarge,
        Self::HeadTimeout,
    ];

    pub(crate) const fn code(self) -> &'static str {
        match self {
            Self::BadRequestLine => "bad_request_line",
            Self::BadMethod => "bad_method",
            Self::BadTarget => "bad_target",
            Self::UriTooLong => "uri_too_long",
            Self::BadVersion => "bad_version",
            Self::BadHeader => "bad_header",
            Self::BadFraming => "bad_framing",
            Self::BadHost => "bad_host",
            Self::BadExpect => "bad_expect",
            Self::HeadTooLarge => "head_too_large",
            Self::HeadTimeout => "head_timeout",
        }
    }

    pub(crate) fn from_code(code: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|violation| violation.code() == code)
    }
}

/// Why a chunked body was cut off. Its request has begun already, so no answer of ours can replace it: reading
/// fails, and hyper aborts the body instead of ending it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BodyFault {
    /// The size or an extension.
    ChunkLine,
    /// The two bytes after a chunk's data.
    ChunkEnd,
    Trailer,
}

impl fmt::Display for BodyFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ChunkLine => "malformed chunk size or extension",
            Self::ChunkEnd => "chunk data is not followed by CRLF",
            Self::Trailer => "malformed or forbidden trailer",
        })
    }
}

impl Error for BodyFault {}
