//! The PROXY protocol of a proxy in front (<https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>), both versions:
//! who the visitor is, in bytes before everything else.
//!
//! Whether they are looked for is decided by who connects, never by what comes: from a trusted proxy a connection without
//! them ends, and from anybody else they are no more than bytes that are no TLS.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use proxy_header::{ParseConfig, Protocol, ProxyHeader};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

const V1: &[u8] = b"PROXY ";
const V2: &[u8] = b"\r\n\r\n\x00\r\nQUIT\n";
/// What has to be read to tell one version from the other; no header is shorter.
const START: usize = V2.len();
/// The longest line of version 1, with its end.
const LONGEST_V1: usize = 107;
/// Version 2 could have 64 KiB. What proxies add to the addresses, such as a certificate's name, fits this.
const LONGEST_V2: usize = 4096;
/// Version and command, family, and a length.
const V2_FIXED: usize = START + 4;

/// Why a trusted proxy's connection ends before it began.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProxyError {
    #[error("the connection broke inside the PROXY header")]
    Broken(#[source] io::Error),
    #[error("a trusted proxy sent no PROXY header, which `edge.proxy_protocol` asks of it")]
    Missing,
    #[error("the PROXY header is over {LONGEST_V2} bytes")]
    TooLong,
    #[error("the PROXY header is malformed")]
    Malformed,
    #[error("there was no PROXY header within {} s", DEADLINE.as_secs())]
    Deadline,
}

/// For the one listener that has no other deadline before HTTP.
const DEADLINE: Duration = Duration::from_secs(10);

/// [`visitor`] under a deadline of its own.
pub(crate) async fn visitor_in_time(stream: &mut TcpStream) -> Result<Option<SocketAddr>, ProxyError> {
    tokio::time::timeout(DEADLINE, visitor(stream)).await.map_err(|_| ProxyError::Deadline)?
}

/// Takes the header off a connection, and not one byte more. None where the proxy speaks for itself, as it does to see
/// whether the relay is well.
pub(crate) async fn visitor(stream: &mut TcpStream) -> Result<Option<SocketAddr>, ProxyError> {
    let mut header = vec![0; START];
    stream.read_exact(&mut header).await.map_err(ProxyError::Broken)?;
    if header == V2 {
        read_v2(stream, &mut header).await?;
    } else if header.starts_with(V1) {
        read_v1(stream, &mut header).await?;
    } else {
        return Err(ProxyError::Missing);
    }
    parse(&header)
}

async fn read_v2(stream: &mut TcpStream, header: &mut Vec<u8>) -> Result<(), ProxyError> {
    header.resize(V2_FIXED, 0);
    stream.read_exact(&mut header[START..]).await.map_err(ProxyError::Broken)?;
    let length = V2_FIXED + usize::from(u16::from_be_bytes([header[V2_FIXED - 2], header[V2_FIXED - 1]]));
    if length > LONGEST_V2 {
        return Err(ProxyError::TooLong);
    }
    header.resize(length, 0);
    stream.read_exact(&mut header[V2_FIXED..]).await.map_err(ProxyError::Broken)?;
    Ok(())
}

/// To the end of the line. What follows it belongs to TLS, so it is looked at before it is taken.
async fn read_v1(stream: &mut TcpStream, header: &mut Vec<u8>) -> Result<(), ProxyError> {
    let mut ahead = [0; LONGEST_V1];
    while header.last() != Some(&b'\n') {
        let room = LONGEST_V1.saturating_sub(header.len());
        if room == 0 {
            return Err(ProxyError::Malformed);
        }
        let seen = stream.peek(&mut ahead[..room]).await.map_err(ProxyError::Broken)?;
        if seen == 0 {
            return Err(ProxyError::Broken(io::ErrorKind::UnexpectedEof.into()));
        }
        let end = memchr::memchr(b'\n', &ahead[..seen]);
        let taken = &mut ahead[..end.map_or(seen, |end| end + 1)];
        stream.read_exact(taken).await.map_err(ProxyError::Broken)?;
        header.extend_from_slice(taken);
    }
    Ok(())
}

/// Exactly one header.
fn parse(header: &[u8]) -> Result<Option<SocketAddr>, ProxyError> {
    let (parsed, length) =
        ProxyHeader::parse(header, ParseConfig::default()).map_err(|_| ProxyError::Malformed)?;
    if length != header.len() {
        return Err(ProxyError::Malformed);
    }
    let Some(address) = parsed.proxied_address() else { return Ok(None) };
    match address.protocol {
        Protocol::Stream => {
            Ok(Some(SocketAddr::new(address.source.ip().to_canonical(), address.source.port())))
        }
        // Nobody's TCP connection was one.
        Protocol::Datagram => Err(ProxyError::Malformed),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proxy_header::ProxiedAddress;
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    use super::*;

    const VISITOR: &str = "[2001:db8::7]:4711";

    fn v2(source: &str, tlvs: usize) -> Vec<u8> {
        let source: SocketAddr = source.parse().unwrap();
        let ours = if source.is_ipv4() { "192.0.2.1:443" } else { "[2001:db8::1]:443" };
        let address = ProxiedAddress::stream(source, ours.parse().unwrap());
        let value = vec![7; tlvs];
        let mut header = Vec::new();
        let tlvs = (!value.is_empty()).then_some(proxy_header::Tlv::UniqueId(value.into()));
        ProxyHeader::with_tlvs(Some(address), tlvs).encode_v2(&mut header).unwrap();
        header
    }

    /// What is made of the bytes when each piece of them comes alone, and what is left for TLS.
    async fn read(bytes: &[u8], piece: usize) -> (Result<Option<SocketAddr>, ProxyError>, Vec<u8>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut proxy = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        proxy.set_nodelay(true).unwrap();
        let (mut stream, _) = listener.accept().await.unwrap();
        let send = async {
            for piece in bytes.chunks(piece) {
                let _refused_by_then = proxy.write_all(piece).await;
                tokio::task::yield_now().await;
            }
            let _refused_by_then = proxy.shutdown().await;
        };
        let receive = async {
            let visitor = visitor(&mut stream).await;
            let mut rest = Vec::new();
            if visitor.is_ok() {
                stream.read_to_end(&mut rest).await.unwrap();
            }
            (visitor, rest)
        };
        tokio::join!(send, receive).1
    }

    #[tokio::test]
    async fn a_header_is_read_in_any_pieces_and_what_follows_is_left_alone() {
        let cases: [(Vec<u8>, Option<&str>); 8] = [
            (b"PROXY TCP4 203.0.113.7 192.0.2.1 4711 443\r\n".to_vec(), Some("203.0.113.7:4711")),
            (b"PROXY TCP6 2001:db8::7 2001:db8::1 4711 443\r\n".to_vec(), Some(VISITOR)),
            (b"PROXY TCP6 ::ffff:203.0.113.7 ::1 4711 443\r\n".to_vec(), Some("203.0.113.7:4711")),
            (b"PROXY UNKNOWN\r\n".to_vec(), None),
            (b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n".to_vec(), None),
            (v2("203.0.113.7:4711", 0), Some("203.0.113.7:4711")),
            (v2(VISITOR, 3000), Some(VISITOR)),
            (b"\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00".to_vec(), None),
        ];
        let mut ran = 0;
        for (header, expected) in cases {
            for piece in [1, 5, 13, 4096] {
                // TLS could begin with anything, also with another header.
                let sent = [&header[..], b"\n\x16\x03\x01PROXY UNKNOWN\r\n"].concat();
                let (visitor, rest) = read(&sent, piece).await;
                let expected = expected.map(|address| address.parse().unwrap());
                assert_eq!(visitor.unwrap(), expected, "{header:?} by {piece}");
                assert_eq!(rest, b"\n\x16\x03\x01PROXY UNKNOWN\r\n", "{header:?} by {piece}");
                ran += 1;
            }
        }
        assert_eq!(ran, 32);
    }

    #[tokio::test]
    async fn what_is_no_header_ends_the_connection() {
        let endless = [b"PROXY TCP4 203.0.113.7 ".as_slice(), &[b'1'; 4000]].concat();
        let too_long = [V2, b"\x21\x11\xff\xff", &[0; 70_000]].concat();
        let datagram = [V2, b"\x21\x12\x00\x0c", &[1; 12]].concat();
        let short = [V2, b"\x21\x21\x00\x0c", &[1; 12]].concat();
        let cases: [&[u8]; 13] = [
            b"",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03aaaaaaaaaaaaaaaaaaaa",
            b"GET / HTTP/1.1\r\nhost: a\r\n\r\n",
            b"PROXY TCP4 203.0.113.7 192.0.2.1 4711 443",
            b"PROXY TCP4 203.0.113.7 192.0.2.1 4711 443\n",
            b"PROXY TCP4 2001:db8::7 192.0.2.1 4711 443\r\n",
            b"PROXY TCP4 203.0.113.7 192.0.2.1 4711 99999\r\n",
            b"PROXYATCP4 203.0.113.7 192.0.2.1 4711 443\r\n",
            b"proxy TCP4 203.0.113.7 192.0.2.1 4711 443\r\n",
            &endless,
            &too_long,
            &datagram,
            &short,
        ];
        let mut ran = 0;
        for bytes in cases {
            assert!(read(bytes, 700).await.0.is_err(), "{:?}", String::from_utf8_lossy(bytes));
            ran += 1;
        }
        assert_eq!(ran, 13);
    }

    proptest! {
        /// The crate that reads headers is given what a proxy sent, whatever that is.
        #[test]
        fn no_bytes_make_it_panic(line in "PROXY [A-Z0-9a-f:. \r]{0,90}\r\n", bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _whatever = parse(line.as_bytes());
            let _whatever = parse(&bytes);
            let _whatever = parse(&[V1, &bytes].concat());
            let _whatever = parse(&[V2, &bytes].concat());
            let _whatever = parse(&[V2, b"\x21\x21\x00\x40", &bytes].concat());
        }
    }
}
