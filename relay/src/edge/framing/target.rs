//! Request targets (RFC 9112 section 3.2): what hyper would read as well, so that whatever is refused is refused here, with
//! a page.

/// Whether a method may be asked of a target. Laxer than RFC 3986 where browsers send `|`, `{`, `"` and their like
/// unescaped; but a fragment never belongs in a target, and spaces, control bytes and bytes from 0x80 on are read
/// differently from one origin to the next.
pub(super) fn is_target(method: &[u8], target: &[u8]) -> bool {
    match target {
        [b'/', ..] => is_path_and_query(target),
        b"*" => method == b"OPTIONS",
        _ if method == b"CONNECT" => is_authority(target),
        _ => is_absolute(target),
    }
}

fn is_path_and_query(target: &[u8]) -> bool {
    let path = target.iter().take_while(|&&byte| byte != b'?').count();
    let (path, query) = target.split_at(path);
    path.iter().all(|&byte| is_path_byte(byte)) && query.iter().all(|&byte| is_query_byte(byte))
}

fn is_path_byte(byte: u8) -> bool {
    byte.is_ascii_graphic() && !matches!(byte, b'#' | b'<' | b'>' | b'`')
}

fn is_query_byte(byte: u8) -> bool {
    byte.is_ascii_graphic() && !matches!(byte, b'"' | b'#' | b'<' | b'>')
}

/// `http://host[:port][/path][?query]`
fn is_absolute(target: &[u8]) -> bool {
    let after = |scheme: &[u8]| {
        let (front, rest) = target.split_at_checked(scheme.len())?;
        front.eq_ignore_ascii_case(scheme).then_some(rest)
    };
    let Some(rest) = after(b"http://").or_else(|| after(b"https://")) else { return false };
    let authority = rest.iter().take_while(|byte| !matches!(byte, b'/' | b'?')).count();
    let (authority, path) = rest.split_at(authority);
    is_authority(authority) && is_path_and_query(path)
}

/// `host[:port]` with the letters of a hostname; whether it is one is for the request to find out.
fn is_authority(text: &[u8]) -> bool {
    let host =
        text.iter().take_while(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-')).count();
    let (host, port) = text.split_at(host);
    let is_port = match port {
        [] => true,
        [b':', digits @ ..] => matches!(digits.len(), 1..=5) && digits.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    !host.is_empty() && is_port
}
