//! The header in front of every data stream: for which service, for which visitor, in answer to which request; or, for
//! another peer, which one and what for.
//!
//! One byte kind, two bytes length of the fields (big-endian), then fields of one byte tag, one byte length and a value.
//! A reader skips tags that it does not know.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use crate::control::TlsEnd;
use crate::id::{PeerName, RequestId, ServiceName};
use crate::limits;
use crate::private::Purpose;

/// Bytes in front of the fields.
pub const HEAD: usize = 3;

/// What follows a head.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    /// A [`StreamHeader`].
    Visitor = 1,
    /// A [`PrivateHeader`].
    Private = 2,
}

const TAG_SERVICE: u8 = 1;
const TAG_VISITOR: u8 = 2;
const TAG_REQUEST: u8 = 3;
const TAG_ALONE: u8 = 4;
const TAG_SEALED: u8 = 5;
const TAG_PEER: u8 = 6;
const TAG_PURPOSE: u8 = 7;

/// Either header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Header {
    /// A visitor's, opened by the relay.
    Visitor(StreamHeader),
    /// A peer's.
    Private(PrivateHeader),
}

/// What one stream between two peers is for. What follows it is for the other peer, see [`crate::private`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrivateHeader {
    /// To the relay, the host that is meant; to the host, the operator that asks.
    pub peer: PeerName,
    /// For what.
    pub purpose: Purpose,
    /// What the logs of all three call it.
    pub request: RequestId,
}

/// What one visitor's stream is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamHeader {
    /// The service that the stream leads to.
    pub service: ServiceName,
    /// Who asked first; an idle stream is used again for others, unless `alone` is set.
    pub visitor: SocketAddr,
    /// The request that opened the stream.
    pub request: RequestId,
    /// The stream carries this visitor and nobody else. An older relay never says so.
    pub alone: bool,
    /// The stream carries one visitor's TLS, from its first byte on, for whoever ends it.
    pub sealed: Option<TlsEnd>,
}

/// Why bytes are no stream header.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// Longer than [`limits::STREAM_HEADER`].
    #[error("a stream header of {0} bytes is too long")]
    TooLong(usize),
    /// A kind that this version does not know.
    #[error("streams of kind {0} are unknown to this version")]
    Kind(u8),
    /// A field runs over the end or has an impossible value.
    #[error("field {0} of the stream header is malformed")]
    Field(u8),
    /// A field is not there.
    #[error("field {0} of the stream header is missing")]
    Missing(u8),
}

/// Reads the first three bytes: which header it is, and how many bytes of fields follow.
///
/// # Errors
///
/// Where the kind is unknown or the header too long.
pub fn decode_head(head: [u8; HEAD]) -> Result<(Kind, usize), HeaderError> {
    let [number, high, low] = head;
    let kind = [Kind::Visitor, Kind::Private].into_iter().find(|kind| *kind as u8 == number);
    let kind = kind.ok_or(HeaderError::Kind(number))?;
    let length = usize::from(u16::from_be_bytes([high, low]));
    if HEAD + length > limits::STREAM_HEADER {
        return Err(HeaderError::TooLong(HEAD + length));
    }
    Ok((kind, length))
}

impl Header {
    /// Reads the fields that follow the head.
    ///
    /// # Errors
    ///
    /// Where a field is malformed or missing.
    pub fn decode_fields(kind: Kind, fields: &[u8]) -> Result<Self, HeaderError> {
        match kind {
            Kind::Visitor => StreamHeader::decode_fields(fields).map(Self::Visitor),
            Kind::Private => PrivateHeader::decode_fields(fields).map(Self::Private),
        }
    }

    /// The bytes for the wire.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Visitor(header) => header.encode(),
            Self::Private(header) => header.encode(),
        }
    }
}

impl PrivateHeader {
    /// The bytes for the wire: at most 154.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut fields = Vec::with_capacity(160);
        if let Some(service) = self.purpose.service() {
            put(&mut fields, TAG_SERVICE, service.as_str().as_bytes());
        }
        put(&mut fields, TAG_REQUEST, &self.request.to_bytes());
        put(&mut fields, TAG_PEER, self.peer.as_str().as_bytes());
        put(&mut fields, TAG_PURPOSE, &[self.purpose.number()]);
        with_head(Kind::Private, fields)
    }

    /// Reads the fields that follow the head.
    ///
    /// # Errors
    ///
    /// Where a field is malformed or missing.
    pub fn decode_fields(bytes: &[u8]) -> Result<Self, HeaderError> {
        let (mut peer, mut purpose, mut service, mut request) = (None, None, None, None);
        for field in Fields(bytes) {
            let (tag, value) = field?;
            let malformed = HeaderError::Field(tag);
            match tag {
                TAG_SERVICE => service = Some(name(value).ok_or(malformed)?),
                TAG_REQUEST => request = Some(request_id(value).ok_or(malformed)?),
                TAG_PEER => peer = Some(name(value).ok_or(malformed)?),
                TAG_PURPOSE => purpose = Some(<[u8; 1]>::try_from(value).map_err(|_| malformed)?),
                _ => {}
            }
        }
        let [purpose] = purpose.ok_or(HeaderError::Missing(TAG_PURPOSE))?;
        Ok(Self {
            peer: peer.ok_or(HeaderError::Missing(TAG_PEER))?,
            purpose: Purpose::of(purpose, service).ok_or(HeaderError::Field(TAG_PURPOSE))?,
            request: request.ok_or(HeaderError::Missing(TAG_REQUEST))?,
        })
    }
}

impl StreamHeader {
    /// The bytes for the wire: at most 115.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut fields = Vec::with_capacity(128);
        put(&mut fields, TAG_SERVICE, self.service.as_str().as_bytes());
        put(&mut fields, TAG_VISITOR, &address_bytes(self.visitor));
        put(&mut fields, TAG_REQUEST, &self.request.to_bytes());
        if self.alone {
            put(&mut fields, TAG_ALONE, &[]);
        }
        if let Some(end) = self.sealed {
            put(&mut fields, TAG_SEALED, &[end_number(end)]);
        }
        with_head(Kind::Visitor, fields)
    }

    /// Reads the fields that follow the head.
    ///
    /// # Errors
    ///
    /// Where a field is malformed or missing.
    pub fn decode_fields(bytes: &[u8]) -> Result<Self, HeaderError> {
        let (mut service, mut visitor, mut request, mut alone, mut sealed) = (None, None, None, false, None);
        for field in Fields(bytes) {
            let (tag, value) = field?;
            let malformed = HeaderError::Field(tag);
            match tag {
                TAG_SERVICE => service = Some(name(value).ok_or(malformed)?),
                TAG_VISITOR => visitor = Some(address(value).ok_or(malformed)?),
                TAG_REQUEST => request = Some(request_id(value).ok_or(malformed)?),
                TAG_ALONE => alone = true,
                // One that this version does not know must not pass for a stream in the clear.
                TAG_SEALED => sealed = Some(tls_end(value).ok_or(malformed)?),
                _ => {}
            }
        }
        Ok(Self {
            service: service.ok_or(HeaderError::Missing(TAG_SERVICE))?,
            visitor: visitor.ok_or(HeaderError::Missing(TAG_VISITOR))?,
            request: request.ok_or(HeaderError::Missing(TAG_REQUEST))?,
            alone,
            sealed,
        })
    }
}

/// Tags and values, until one runs over the end.
struct Fields<'b>(&'b [u8]);

impl<'b> Iterator for Fields<'b> {
    type Item = Result<(u8, &'b [u8]), HeaderError>;

    fn next(&mut self) -> Option<Self::Item> {
        let (tag, rest) = self.0.split_first()?;
        let field = rest.split_first().and_then(|(length, rest)| rest.split_at_checked(usize::from(*length)));
        let (value, after) = field.unzip();
        self.0 = after.unwrap_or_default();
        Some(value.map(|value| (*tag, value)).ok_or(HeaderError::Field(*tag)))
    }
}

fn name<T: FromStr>(value: &[u8]) -> Option<T> {
    std::str::from_utf8(value).ok()?.parse().ok()
}

fn request_id(value: &[u8]) -> Option<RequestId> {
    value.try_into().ok().map(RequestId::from_bytes)
}

fn end_number(end: TlsEnd) -> u8 {
    match end {
        TlsEnd::Origin => 1,
        TlsEnd::Agent => 2,
    }
}

fn tls_end(value: &[u8]) -> Option<TlsEnd> {
    [TlsEnd::Origin, TlsEnd::Agent].into_iter().find(|end| *value == [end_number(*end)])
}

fn with_head(kind: Kind, mut fields: Vec<u8>) -> Vec<u8> {
    let [high, low] = u16::try_from(fields.len()).unwrap_or(u16::MAX).to_be_bytes();
    let mut bytes = vec![kind as u8, high, low];
    bytes.append(&mut fields);
    bytes
}

/// Values are names and addresses, all below 256 bytes.
fn put(fields: &mut Vec<u8>, tag: u8, value: &[u8]) {
    fields.push(tag);
    fields.push(u8::try_from(value.len()).unwrap_or(u8::MAX));
    fields.extend_from_slice(value);
}

fn address_bytes(address: SocketAddr) -> Vec<u8> {
    let mut bytes = match address.ip() {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    bytes.extend_from_slice(&address.port().to_be_bytes());
    bytes
}

fn address(bytes: &[u8]) -> Option<SocketAddr> {
    let (ip, port) = bytes.split_last_chunk::<2>()?;
    let ip = match ip.len() {
        4 => IpAddr::V4(Ipv4Addr::from(<[u8; 4]>::try_from(ip).ok()?)),
        16 => IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(ip).ok()?)),
        _ => return None,
    };
    Some(SocketAddr::new(ip, u16::from_be_bytes(*port)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn header() -> StreamHeader {
        StreamHeader {
            service: "dashboard".parse().unwrap(),
            visitor: "192.0.2.7:50000".parse().unwrap(),
            request: RequestId::from_bytes([0xab; 16]),
            alone: false,
            sealed: None,
        }
    }

    fn decode_any(bytes: &[u8]) -> Result<Header, HeaderError> {
        let (head, fields) = bytes.split_first_chunk::<HEAD>().ok_or(HeaderError::Missing(0))?;
        let (kind, length) = decode_head(*head)?;
        Header::decode_fields(kind, fields.get(..length).ok_or(HeaderError::Missing(0))?)
    }

    fn decode(bytes: &[u8]) -> Result<StreamHeader, HeaderError> {
        match decode_any(bytes)? {
            Header::Visitor(header) => Ok(header),
            Header::Private(_) => Err(HeaderError::Kind(Kind::Private as u8)),
        }
    }

    fn private(purpose: Purpose) -> PrivateHeader {
        PrivateHeader { peer: "home".parse().unwrap(), purpose, request: RequestId::from_bytes([0xab; 16]) }
    }

    #[test]
    fn golden_bytes_of_a_peers_stream() {
        let header = private(Purpose::Tcp("ssh".parse().unwrap()));
        let mut expected = vec![2, 0, 32, 1, 3];
        expected.extend_from_slice(b"ssh\x03\x10");
        expected.extend_from_slice(&[0xab; 16]);
        expected.extend_from_slice(b"\x06\x04home\x07\x01\x01");
        assert_eq!(header.encode(), expected);
        for purpose in [header.purpose.clone(), Purpose::Udp("ssh".parse().unwrap()), Purpose::Talk] {
            let header = Header::Private(private(purpose));
            assert_eq!(decode_any(&header.encode()), Ok(header));
        }
        // No service for a connection, and one where the agents talk.
        expected[34] = 3;
        assert_eq!(decode_any(&expected), Err(HeaderError::Field(TAG_PURPOSE)));
        expected[3] = 200;
        assert!(
            matches!(decode_any(&expected), Ok(Header::Private(header)) if header.purpose == Purpose::Talk)
        );
        expected[34] = 1;
        assert_eq!(decode_any(&expected), Err(HeaderError::Field(TAG_PURPOSE)));
        let (name, purpose) = ("a".repeat(63), Purpose::Udp("b".repeat(63).parse().unwrap()));
        assert_eq!(PrivateHeader { peer: name.parse().unwrap(), ..private(purpose) }.encode().len(), 154);
    }

    #[test]
    fn golden_bytes() {
        let mut expected = vec![1, 0, 37, 1, 9];
        expected.extend_from_slice(b"dashboard");
        expected.extend_from_slice(&[2, 6, 192, 0, 2, 7, 0xc3, 0x50, 3, 16]);
        expected.extend_from_slice(&[0xab; 16]);
        assert_eq!(header().encode(), expected);
        expected.extend_from_slice(&[4, 0]);
        expected[2] += 2;
        assert_eq!(StreamHeader { alone: true, ..header() }.encode(), expected);
        expected.extend_from_slice(&[5, 1, 2]);
        expected[2] += 3;
        let sealed = StreamHeader { alone: true, sealed: Some(TlsEnd::Agent), ..header() };
        assert_eq!(sealed.encode(), expected);
        assert_eq!(decode(&expected), Ok(sealed));
        *expected.last_mut().unwrap() = 3;
        assert_eq!(decode(&expected), Err(HeaderError::Field(5)));
    }

    #[test]
    fn an_unknown_field_is_skipped_and_an_unknown_kind_refused() {
        let mut bytes = header().encode();
        bytes.extend_from_slice(&[200, 2, 1, 2]);
        bytes[2] += 4;
        assert_eq!(decode(&bytes), Ok(header()));
        bytes[0] = 9;
        assert_eq!(decode(&bytes), Err(HeaderError::Kind(9)));
    }

    #[test]
    fn the_longest_header_is_within_the_limit() {
        let longest = StreamHeader {
            service: "a".repeat(63).parse().unwrap(),
            visitor: "[2001:db8::1]:65535".parse().unwrap(),
            alone: true,
            sealed: Some(TlsEnd::Origin),
            ..header()
        };
        assert!(longest.encode().len() <= 115);
        assert_eq!(decode(&longest.encode()), Ok(longest));
    }

    proptest! {
        #[test]
        fn round_trip(ip: IpAddr, port: u16, id: [u8; 16], alone: bool, service in "[a-z0-9][a-z0-9_-]{0,62}") {
            let header = StreamHeader {
                service: service.parse().unwrap(),
                visitor: SocketAddr::new(ip, port),
                request: RequestId::from_bytes(id),
                alone,
                sealed: None,
            };
            prop_assert_eq!(decode(&header.encode()), Ok(header));
        }

        #[test]
        fn corrupted_bytes_never_panic(at in 0usize..40, with: u8, cut in 0usize..41) {
            for mut bytes in [header().encode(), private(Purpose::Tcp("dashboard".parse().unwrap())).encode()] {
                bytes[at % 38] = with;
                bytes.truncate(cut);
                let _ = decode_any(&bytes);
            }
        }
    }
}
