//! What of a visitor's request is kept for its line: no query, no credential, and no more than has its place in a line.

use http::header::{HeaderValue, REFERER, USER_AGENT};
use http::{Method, Request, Version};

use crate::edge::framing::REFUSE_METHOD;

/// Bytes of a header field that are kept.
const LONGEST: usize = 1024;

/// Method, path, referer and user agent; the texts share one allocation.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) method: Method,
    texts: String,
    path_end: usize,
    referer_end: usize,
}

impl Asked {
    /// Nothing for the stand-in that the framing guard writes. Referer and user agent only `with_fields`.
    pub(super) fn of<B>(request: &Request<B>, with_fields: bool) -> Option<Self> {
        if request.version() < Version::HTTP_2 && request.method().as_str() == REFUSE_METHOD {
            return None;
        }
        let path = request.uri().path();
        let field = |name| request.headers().get(name).filter(|_| with_fields).map(HeaderValue::as_bytes);
        let referer = field(REFERER).and_then(without_secrets).unwrap_or_default();
        let agent = field(USER_AGENT).unwrap_or_default();
        let mut texts =
            String::with_capacity(path.len() + referer.len().min(LONGEST) + agent.len().min(LONGEST));
        push_path(&mut texts, path);
        let path_end = texts.len();
        push_text(&mut texts, referer);
        let referer_end = texts.len();
        push_text(&mut texts, agent);
        Some(Self { method: request.method().clone(), texts, path_end, referer_end })
    }

    /// ASCII without control characters.
    pub(super) fn path(&self) -> &str {
        &self.texts[..self.path_end]
    }

    /// Where the visitor came from: any characters.
    pub(super) fn referer(&self) -> Option<&str> {
        Some(&self.texts[self.path_end..self.referer_end]).filter(|text| !text.is_empty())
    }

    /// What the visitor's program calls itself: any characters.
    pub(super) fn agent(&self) -> Option<&str> {
        Some(&self.texts[self.referer_end..]).filter(|text| !text.is_empty())
    }
}

/// The http crate lets no ASCII control characters into a path, but over HTTP/2 it lets in all others, and U+009B begins a
/// terminal's command.
fn push_path(texts: &mut String, path: &str) {
    if path.bytes().all(|byte| byte.is_ascii_graphic()) {
        texts.push_str(path);
        return;
    }
    for byte in path.bytes() {
        if byte.is_ascii_graphic() {
            texts.push(char::from(byte));
        } else {
            texts.push_str(&format!("%{byte:02X}"));
        }
    }
}

fn push_text(texts: &mut String, bytes: &[u8]) {
    let bytes = &bytes[..bytes.len().min(LONGEST)];
    for chunk in bytes.utf8_chunks() {
        texts.push_str(chunk.valid());
        if !chunk.invalid().is_empty() {
            texts.push(char::REPLACEMENT_CHARACTER);
        }
    }
}

/// Scheme, host and path of a referer. What is not written as a whole URL could be anything, and is left out.
fn without_secrets(referer: &[u8]) -> Option<&[u8]> {
    let end = referer.iter().position(|byte| matches!(byte, b'?' | b'#')).unwrap_or(referer.len());
    let referer = &referer[..end];
    let scheme = memchr::memmem::find(referer, b"://")?;
    let named = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
    let host = &referer[scheme + 3..];
    let authority = host.iter().position(|byte| matches!(byte, b'/' | b'\\')).unwrap_or(host.len());
    // A name and a password before the host.
    let clean = !host[..authority].contains(&b'@');
    (clean && referer[..scheme].iter().all(named)).then_some(referer)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(path: &str, referer: &[u8], agent: &[u8]) -> Asked {
        let uri = http::Uri::try_from(path.as_bytes()).unwrap();
        let mut request = Request::get(uri).body(()).unwrap();
        request.headers_mut().insert(REFERER, HeaderValue::from_bytes(referer).unwrap());
        request.headers_mut().insert(USER_AGENT, HeaderValue::from_bytes(agent).unwrap());
        Asked::of(&request, true).unwrap()
    }

    #[test]
    fn the_query_is_not_kept_and_a_path_is_printable() {
        let asked = asked("/a\u{9b}31m/%1b?token=s3cret", b"", b"");
        assert_eq!((asked.path(), asked.referer(), asked.agent()), ("/a%C2%9B31m/%1b", None, None));
    }

    #[test]
    fn a_referer_is_a_url_without_query_fragment_and_credentials() {
        for (sent, kept) in [
            ("https://a.example/b?token=s3cret", Some("https://a.example/b")),
            ("https://a.example/b#access_token=s3cret", Some("https://a.example/b")),
            ("https://a.example", Some("https://a.example")),
            ("https://a.example/@somebody", Some("https://a.example/@somebody")),
            ("https://user:s3cret@a.example/", None),
            ("https://s3cret@a.example", None),
            ("user:s3cret@a.example", None),
            ("s3cret", None),
            ("a b://s3cret", None),
            ("?s3cret=https://a.example", None),
        ] {
            assert_eq!(asked("/", sent.as_bytes(), b"").referer(), kept, "{sent}");
        }
    }

    #[test]
    fn fields_are_cut_and_made_text() {
        let asked = asked("/", b"https://a/\xff", &[b'x'; 5000]);
        assert_eq!(asked.referer(), Some("https://a/\u{fffd}"));
        assert_eq!(asked.agent().map(str::len), Some(LONGEST));
    }

    #[test]
    fn the_stand_in_of_the_guard_asked_for_nothing() {
        let request = Request::builder().method(REFUSE_METHOD).uri("/bad_header").body(()).unwrap();
        assert!(Asked::of(&request, true).is_none());
    }
}
