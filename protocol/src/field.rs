//! Header fields that a configuration may set or remove in responses.

/// Why a field cannot be set or removed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FieldError {
    /// Not a token (RFC 9110, section 5.6.2).
    #[error("`{0}` is not the name of a header field")]
    Name(String),
    /// The field frames the message or belongs to one connection.
    #[error("`{0}` is the relay's own business and cannot be set or removed")]
    Framing(String),
    /// Control characters or letters outside ASCII.
    #[error("the value of `{0}` may hold only printable ASCII")]
    Value(String),
}

const FRAMING: [&str; 9] = [
    "connection",
    "content-length",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "host",
];

/// Checks a name; the result is in lower case.
///
/// # Errors
///
/// Where it is no token, or a field that frames messages.
pub fn check_name(name: &str) -> Result<String, FieldError> {
    let shown = || name.escape_debug().take(64).collect::<String>();
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    if name.is_empty() || !name.bytes().all(token) {
        return Err(FieldError::Name(shown()));
    }
    let lower = name.to_ascii_lowercase();
    if FRAMING.contains(&lower.as_str()) { Err(FieldError::Framing(shown())) } else { Ok(lower) }
}

/// Checks the value of the field `name`.
///
/// # Errors
///
/// Where it has anything but printable ASCII, spaces and tabs.
pub fn check_value(name: &str, value: &str) -> Result<(), FieldError> {
    let printable = value.bytes().all(|b| b == b'\t' || (b' '..=b'~').contains(&b));
    if printable { Ok(()) } else { Err(FieldError::Value(name.to_owned())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_tokens_that_do_not_frame() {
        assert_eq!(check_name("Cache-Control").as_deref(), Ok("cache-control"));
        for bad in ["", "a b", "a:", "é", "Transfer-Encoding", "CONNECTION", "a\n"] {
            assert!(check_name(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn values_cannot_split_a_response() {
        assert!(check_value("a", "no-store, x=\"y\"").is_ok());
        for bad in ["a\r\nb: c", "a\0", "é", "\x7f"] {
            assert!(check_value("a", bad).is_err(), "{bad:?}");
        }
    }
}
