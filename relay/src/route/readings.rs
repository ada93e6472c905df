//! What a path may mean to an origin.
//!
//! The relay forwards a path byte for byte, so what counts is how the origin reads it. Percent-encoded letters and
//! digits mean themselves to everybody (RFC 3986, section 6.2.2.2). About the rest programs differ: whether `%2f`
//! separates, `\` is a slash, `//` is one slash or a host follows, `;` begins parameters, before decoding or after, dots are
//! resolved, and whether to decode once more. Every combination that the path gives rise to is one reading; a request is routed only where all of them lead
//! to the same place.

use std::collections::BTreeSet;

/// What can be decoded more often is nobody's honest path.
const DEEPEST: usize = 4;
/// A path with more readings than this, or one that is longer and odd, is nobody's honest path.
const MOST: usize = 256;
const LONGEST: usize = 4096;

/// The path cannot be read: it holds a NUL, at which C stops reading, or a character in more bytes than it needs, which
/// lenient decoders take for a slash or a dot, or has too many readings.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Unreadable;

/// All readings of `path` in plain form, at least one.
///
/// A reading that can be decoded once more is read again: some programs do it in two stages.
pub(crate) fn readings(path: &str) -> Result<Vec<Vec<u8>>, Unreadable> {
    if path.len() > LONGEST {
        return Err(Unreadable);
    }
    let mut found = BTreeSet::new();
    let mut unread: Vec<(Vec<u8>, usize)> = vec![(path.as_bytes().to_vec(), 1)];
    unread.extend(without_authority(path.as_bytes()).map(|path| (path, 1)));
    while let Some((text, depth)) = unread.pop() {
        if depth > DEEPEST && encoded(&text).any(|byte| byte != b'/') {
            return Err(Unreadable);
        }
        let text = decode(&text);
        if text.iter().any(|byte| byte.value() == 0) || is_overlong(&text) {
            return Err(Unreadable);
        }
        for choice in Choice::all(&text) {
            let reading = choice.read(&text);
            if !found.contains(&reading) {
                let further = encoded(&reading).next().is_some().then(|| reading.clone());
                unread.extend(without_authority(&reading).chain(further).map(|path| (path, depth + 1)));
            }
            found.insert(reading);
        }
        if found.len() > MOST {
            return Err(Unreadable);
        }
    }
    Ok(found.into_iter().collect())
}

/// Programs that read a path as a URL take what follows two slashes for a host (RFC 3986, section 4.2), browsers and
/// Node what follows two or more.
fn without_authority(path: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    let slashes = path.iter().take_while(|b| matches!(b, b'/' | b'\\')).count();
    let after = move |slashes: usize| {
        let rest = path.get(slashes..)?;
        let at = rest.iter().position(|b| matches!(b, b'/' | b'\\'))?;
        Some(rest[at..].to_vec())
    };
    [2, slashes].into_iter().take(slashes.saturating_sub(1)).filter_map(after)
}

/// What is still written as `%xx`.
fn encoded(path: &[u8]) -> impl Iterator<Item = u8> {
    path.windows(3).filter_map(|bytes| match bytes {
        [b'%', high, low] => Some(hex(*high)? * 16 + hex(*low)?),
        _ => None,
    })
}

/// Whether a character is written in more bytes than it needs, which UTF-8 forbids (RFC 3629, section 3).
fn is_overlong(text: &[Byte]) -> bool {
    text.windows(2).any(|pair| {
        matches!(
            (pair[0].value(), pair[1].value()),
            (0xc0 | 0xc1, 0x80..=0xbf) | (0xe0, 0x80..=0x9f) | (0xf0, 0x80..=0x8f)
        )
    })
}

/// Whether there is only one way to read the path.
pub(crate) fn is_plain(path: &[u8]) -> bool {
    let odd = |pair: &[u8]| matches!(pair, [b'/', b'/' | b'.']);
    !path.iter().any(|b| matches!(b, b'%' | b'\\' | b';')) && !path.windows(2).any(odd)
}

/// A byte of a path, and whether it was written as `%xx`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Byte {
    Plain(u8),
    Encoded(u8),
}

impl Byte {
    fn value(self) -> u8 {
        match self {
            Self::Plain(value) | Self::Encoded(value) => value,
        }
    }
}

/// The path decoded once.
fn decode(mut path: &[u8]) -> Vec<Byte> {
    let mut decoded = Vec::with_capacity(path.len());
    while let [first, rest @ ..] = path {
        let (byte, after) = match path {
            [b'%', high, low, after @ ..] => match (hex(*high), hex(*low)) {
                (Some(high), Some(low)) => (Byte::Encoded(high * 16 + low), after),
                _ => (Byte::Plain(*first), rest),
            },
            _ => (Byte::Plain(*first), rest),
        };
        decoded.push(byte);
        path = after;
    }
    decoded
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

/// What a semicolon begins, and where it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Parameters {
    Nothing,
    /// Parameters, cut off after decoding: up to whatever separates.
    Decoded,
    /// Parameters, cut off before decoding: from a plain semicolon to a plain slash.
    Written,
}

impl Parameters {
    const ALL: [Self; 3] = [Self::Nothing, Self::Decoded, Self::Written];

    fn begin(self, byte: Byte) -> bool {
        match self {
            Self::Nothing => false,
            Self::Decoded => byte.value() == b';',
            Self::Written => byte == Byte::Plain(b';'),
        }
    }

    fn hold(self, byte: Byte) -> bool {
        self == Self::Written && byte != Byte::Plain(b'/')
    }
}

/// One way in which programs differ, each either taken or not.
#[derive(Debug, Clone, Copy)]
struct Choice {
    encoded_slash_separates: bool,
    backslash_is_slash: bool,
    parameters: Parameters,
    slashes_merge: bool,
    dots_resolve: bool,
}

impl Choice {
    /// Only the choices that make a difference for this text.
    fn all(text: &[Byte]) -> Vec<Self> {
        let has = |wanted: u8| text.iter().any(|byte| byte.value() == wanted);
        let both = |relevant: bool| if relevant { &[false, true][..] } else { &[true][..] };
        let mut all = Vec::with_capacity(8);
        let encoded = text.contains(&Byte::Encoded(b'/')) || text.contains(&Byte::Encoded(b'\\'));
        for &encoded_slash_separates in both(encoded) {
            for &backslash_is_slash in both(has(b'\\')) {
                for &parameters in if has(b';') { &Parameters::ALL[..] } else { &Parameters::ALL[..1] } {
                    for (slashes_merge, dots_resolve) in
                        [(false, false), (false, true), (true, false), (true, true)]
                    {
                        all.push(Self {
                            encoded_slash_separates,
                            backslash_is_slash,
                            parameters,
                            slashes_merge,
                            dots_resolve,
                        });
                    }
                }
            }
        }
        all
    }

    fn read(self, text: &[Byte]) -> Vec<u8> {
        let mut segments: Vec<Vec<u8>> = vec![Vec::new()];
        let mut in_parameters = false;
        for byte in text {
            if self.separates(*byte) && !(in_parameters && self.parameters.hold(*byte)) {
                in_parameters = false;
                segments.push(Vec::new());
            } else if self.parameters.begin(*byte) {
                in_parameters = true;
            } else if let (false, Some(segment)) = (in_parameters, segments.last_mut()) {
                match byte {
                    // Where it does not separate, it is a character of its own, and not the one that does.
                    Byte::Encoded(b'/') => segment.extend_from_slice(b"%2F"),
                    Byte::Plain(value) | Byte::Encoded(value) => segment.push(*value),
                }
            }
        }
        self.join(&segments)
    }

    fn separates(self, byte: Byte) -> bool {
        match byte {
            Byte::Plain(b'/') => true,
            Byte::Encoded(b'/') => self.encoded_slash_separates,
            Byte::Plain(b'\\') => self.backslash_is_slash,
            // Who takes an encoded backslash for a slash takes an encoded slash for one.
            Byte::Encoded(b'\\') => self.backslash_is_slash && self.encoded_slash_separates,
            Byte::Plain(_) | Byte::Encoded(_) => false,
        }
    }

    /// Puts the segments together again; the first is what stands before the leading slash: nothing.
    fn join(self, segments: &[Vec<u8>]) -> Vec<u8> {
        let mut kept: Vec<&[u8]> = Vec::with_capacity(segments.len());
        let last = segments.len() - 1;
        for (at, segment) in segments.iter().enumerate().skip(1) {
            let dots = self.dots_resolve && matches!(segment.as_slice(), b"." | b"..");
            if dots && segment.len() == 2 {
                kept.pop();
            }
            if dots && at == last {
                kept.push(b"");
            }
            let merged = self.slashes_merge && segment.is_empty() && at != last;
            if !dots && !merged {
                kept.push(segment);
            }
        }
        let mut path = Vec::new();
        for segment in kept {
            path.push(b'/');
            path.extend_from_slice(segment);
        }
        if path.is_empty() { b"/".to_vec() } else { path }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn texts(path: &str) -> Vec<String> {
        let all = readings(path).unwrap();
        assert!(!is_plain(path.as_bytes()) || all.len() == 1, "{path}");
        all.into_iter().map(|path| String::from_utf8_lossy(&path).into_owned()).collect()
    }

    #[test]
    fn a_plain_path_has_one_reading() {
        for path in ["/", "/a/b", "/a.b/c", "/_next/static/x-y_z.js", "/a:b@c,d(e)"] {
            assert_eq!(texts(path), [path]);
        }
    }

    #[test]
    fn encoded_letters_mean_themselves() {
        assert_eq!(texts("/%61pi/%5Bid%5D"), ["/api/[id]"]);
        assert_eq!(texts("/100%"), ["/100%"]);
        assert_eq!(texts("/%zz"), ["/%zz"]);
    }

    #[test]
    fn each_disputed_spelling_has_its_readings() {
        let cases: [(&str, &[&str]); 14] = [
            ("/a/../b", &["/a/../b", "/b"]),
            ("/a//b", &["/a//b", "/a/b"]),
            ("/a/..%2fb", &["/a/../b", "/b", "/a/..%2Fb"]),
            ("/a\\..\\b", &["/a/../b", "/a\\..\\b", "/b"]),
            ("/a/..;x/b", &["/a/../b", "/a/..;x/b", "/b"]),
            ("/a/%252e%252e/b", &["/a/%2e%2e/b", "/b"]),
            ("/a/%2e%2e/b", &["/a/../b", "/b"]),
            ("/..", &["/", "/.."]),
            ("/a%5c..%5cb", &["/b", "/a\\..\\b"]),
            ("/r/a%2fb/../%252e%252e/z", &["/z"]),
            ("//x/login", &["//x/login", "/x/login", "/login"]),
            ("/%2fx%2Flogin", &["/%2Fx%2Flogin", "//x/login", "/x/login", "/login"]),
            ("/..;/a/..%3b", &["/../a/..;", "/a/..;", "/"]),
            ("/a;%5c..%5c/b", &["/a/b", "/b"]),
        ];
        for (path, expected) in cases {
            let got = texts(path);
            assert!(expected.iter().all(|one| got.iter().any(|have| have == one)), "{path}: {got:?}");
        }
    }

    #[test]
    fn a_nul_is_refused_however_it_is_nested() {
        assert_eq!(readings("/a%00b"), Err(Unreadable));
        assert_eq!(readings("/a%2500b"), Err(Unreadable));
    }

    #[test]
    fn a_character_in_too_many_bytes_is_refused() {
        for path in ["/a%c0%afb", "/a%C1%9Cb", "/%e0%80%ae%e0%80%ae/", "/%f0%80%80%af", "/%25c0%25af"] {
            assert_eq!(readings(path), Err(Unreadable), "{path}");
        }
        for path in ["/caf%c3%a9", "/%e2%82%ac", "/%f0%9f%98%80", "/caf%e9", "/%c0", "/%c0a"] {
            assert_eq!(texts(path).len(), 1, "{path}");
        }
    }

    #[test]
    fn what_is_nested_too_deep_is_refused() {
        assert_eq!(texts("/%25252561"), ["/%252561", "/%2561", "/%61", "/a"]);
        assert_eq!(readings("/%2525252561"), Err(Unreadable));
        assert!(readings("/a%2fb/../c%2f../d").unwrap().iter().any(|reading| reading == b"/d"));
    }

    #[test]
    fn an_odd_path_that_is_long_is_refused() {
        assert_eq!(readings(&format!("/%41{}", "/..;a%2f".repeat(600))), Err(Unreadable));
    }

    proptest! {
        #[test]
        fn every_reading_begins_with_a_slash_and_their_number_is_bounded(path in "/[a/.;%\\\\25ecf]{0,60}") {
            let all = readings(&path).unwrap_or_default();
            prop_assert!(all.len() <= MOST + 128);
            prop_assert!(all.iter().all(|reading| reading.starts_with(b"/")));
        }
    }
}
