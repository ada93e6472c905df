//! The header of the PROXY protocol in front of a connection to an origin
//! (<https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>).
//!
//! The source is the visitor as the relay saw it. The destination is where this agent connected to, the only address
//! of the way that the agent knows. Both have to be of one family, and the visitor's is never changed for that: it is
//! what origins compare and log. So it is the destination that is told otherwise where the families differ.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use proxy_header::{ProxiedAddress, ProxyHeader};

use crate::config::ProxyProtocol;

/// The bytes; `origin` is where this agent connected to, none for a socket of the file system. Of another peer no address
/// is known that would mean anything to the origin.
pub(super) fn header(
    version: ProxyProtocol,
    visitor: Option<SocketAddr>,
    origin: Option<SocketAddr>,
) -> io::Result<Vec<u8>> {
    let header = match visitor {
        Some(visitor) => {
            // A dual-stack socket shows IPv4 in the clothes of IPv6.
            let visitor = SocketAddr::new(visitor.ip().to_canonical(), visitor.port());
            ProxyHeader::with_address(ProxiedAddress::stream(visitor, destination(visitor, origin)))
        }
        None => ProxyHeader::with_local(),
    };
    let mut bytes = Vec::with_capacity(128);
    let encoded = match version {
        ProxyProtocol::V1 => header.encode_v1(&mut bytes),
        ProxyProtocol::V2 => header.encode_v2(&mut bytes),
    };
    encoded.map(|()| bytes).map_err(io::Error::other)
}

/// IPv4 has a spelling in IPv6. The other way there is one for this machine alone; what is left is 'no address'.
fn destination(visitor: SocketAddr, origin: Option<SocketAddr>) -> SocketAddr {
    let port = origin.map_or(0, |origin| origin.port());
    let ip = match (visitor.ip(), origin.map(|origin| origin.ip().to_canonical())) {
        (IpAddr::V4(_), Some(IpAddr::V4(ip))) => ip.into(),
        (IpAddr::V4(_), Some(IpAddr::V6(ip))) if ip.is_loopback() => Ipv4Addr::LOCALHOST.into(),
        (IpAddr::V4(_), Some(IpAddr::V6(_)) | None) => Ipv4Addr::UNSPECIFIED.into(),
        (IpAddr::V6(_), Some(IpAddr::V6(ip))) => ip.into(),
        (IpAddr::V6(_), Some(IpAddr::V4(ip))) => ip.to_ipv6_mapped().into(),
        (IpAddr::V6(_), None) => Ipv6Addr::UNSPECIFIED.into(),
    };
    SocketAddr::new(ip, port)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proxy_header::ParseConfig;

    use super::*;

    fn v1(visitor: &str, origin: &str) -> String {
        let bytes = header(ProxyProtocol::V1, visitor.parse().ok(), origin.parse().ok()).unwrap();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn the_visitor_is_told_as_it_is_whatever_the_origin_is() {
        let cases = [
            ("192.0.2.7:50000", "127.0.0.1:3000", "TCP4 192.0.2.7 127.0.0.1 50000 3000"),
            ("192.0.2.7:50000", "[::1]:3000", "TCP4 192.0.2.7 127.0.0.1 50000 3000"),
            ("192.0.2.7:50000", "[2001:db8::5]:80", "TCP4 192.0.2.7 0.0.0.0 50000 80"),
            ("192.0.2.7:50000", "unix", "TCP4 192.0.2.7 0.0.0.0 50000 0"),
            ("[::ffff:192.0.2.7]:1", "127.0.0.1:3000", "TCP4 192.0.2.7 127.0.0.1 1 3000"),
            ("[2001:db8::7]:50000", "[::1]:3000", "TCP6 2001:db8::7 ::1 50000 3000"),
            ("[2001:db8::7]:50000", "127.0.0.1:3000", "TCP6 2001:db8::7 ::ffff:127.0.0.1 50000 3000"),
            ("[2001:db8::7]:50000", "unix", "TCP6 2001:db8::7 :: 50000 0"),
        ];
        for (visitor, origin, told) in cases {
            assert_eq!(v1(visitor, origin), format!("PROXY {told}\r\n"));
        }
    }

    #[test]
    fn golden_bytes_of_version_2() {
        let visitor = "192.0.2.7:50000".parse().ok();
        let bytes = header(ProxyProtocol::V2, visitor, "127.0.0.1:3000".parse().ok()).unwrap();
        let mut expected = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".to_vec();
        expected.extend_from_slice(&[192, 0, 2, 7, 127, 0, 0, 1, 0xc3, 0x50, 0x0b, 0xb8]);
        assert_eq!(bytes, expected);
    }

    #[test]
    fn of_another_peer_no_address_is_told() {
        let origin = "127.0.0.1:3000".parse().ok();
        assert_eq!(header(ProxyProtocol::V1, None, origin).unwrap(), b"PROXY UNKNOWN\r\n");
        assert!(header(ProxyProtocol::V2, None, origin).unwrap().starts_with(b"\r\n\r\n\0\r\nQUIT\n\x20"));
    }

    proptest! {
        #[test]
        fn whoever_reads_it_learns_the_visitor(visitor: SocketAddr, origin: Option<SocketAddr>) {
            for version in [ProxyProtocol::V1, ProxyProtocol::V2] {
                let bytes = header(version, Some(visitor), origin).unwrap();
                let (read, length) = ProxyHeader::parse(&bytes, ParseConfig::default()).unwrap();
                let told = read.proxied_address().unwrap();
                prop_assert_eq!(length, bytes.len());
                let seen = (told.source.ip().to_canonical(), told.source.port());
                prop_assert_eq!(seen, (visitor.ip().to_canonical(), visitor.port()));
                prop_assert_eq!(told.destination.is_ipv4(), told.source.is_ipv4());
            }
        }
    }
}
