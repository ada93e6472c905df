//! What a request may ask its connection to become: `Upgrade: websocket` (RFC 9110, section 7.8).

use crate::limits;

/// What passes where nothing else was named.
pub const DEFAULT: &str = "websocket";

/// Why a protocol cannot be upgraded to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UpgradeError {
    /// Neither `name` nor `name/version`, each a token.
    #[error("`{0}` is not the name of a protocol such as `websocket`")]
    Name(String),
    /// It would carry requests past the relay, or is spoken between neighbours alone.
    #[error("`{0}` cannot be upgraded to: its requests would pass unseen by the relay")]
    Hidden(String),
}

/// Checks a protocol as `Upgrade` names it; the result is in lower case.
///
/// # Errors
///
/// Where it is no name of a protocol, is too long, or is a version of HTTP or of TLS.
pub fn check(text: &str) -> Result<String, UpgradeError> {
    let shown = || text.escape_debug().take(limits::UPGRADE_NAME).collect::<String>();
    let (name, version) = text.split_once('/').unwrap_or((text, "1"));
    if text.len() > limits::UPGRADE_NAME || !is_token(name) || !is_token(version) {
        return Err(UpgradeError::Name(shown()));
    }
    let lower = text.to_ascii_lowercase();
    if is_hidden(lower.split('/').next().unwrap_or_default()) {
        Err(UpgradeError::Hidden(shown()))
    } else {
        Ok(lower)
    }
}

fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

/// Drafts of HTTP/2 and HTTP/3 went by names such as `h2c-14`.
fn is_hidden(name: &str) -> bool {
    let draft = |of: &str| name.strip_prefix(of).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'));
    matches!(name, "http" | "https" | "tls" | "ssl") || ["h2", "h2c", "h3"].into_iter().any(draft)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn protocols_with_and_without_a_version() {
        assert_eq!(check("WebSocket").as_deref(), Ok("websocket"));
        assert_eq!(check("SPDY/3.1").as_deref(), Ok("spdy/3.1"));
        assert_eq!(check("x-thing").as_deref(), Ok("x-thing"));
        assert_eq!(check("h2x").as_deref(), Ok("h2x"));
    }

    #[test]
    fn what_is_no_token_is_no_protocol() {
        for bad in
            ["", "/", "a/", "/1", "a/b/c", "a b", "a,b", "a:", "é", "a\r\nb: c", "a\0", &"a".repeat(65)]
        {
            assert!(matches!(check(bad), Err(UpgradeError::Name(_))), "{bad:?}");
        }
    }

    #[test]
    fn http_and_tls_are_never_upgraded_to() {
        for bad in
            ["h2c", "H2C", "h2", "h3", "h2c-14", "h3-29", "HTTP/2.0", "http", "TLS/1.0", "tls", "ssl/3"]
        {
            assert_eq!(check(bad), Err(UpgradeError::Hidden(bad.to_owned())));
        }
    }
}
