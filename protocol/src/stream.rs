//! The header in front of every data stream: for which service, for which visitor, in answer to which request.
//!
//! One byte kind, two bytes length of the fields (big-endian), then fields of one byte tag, one byte length and a value.
//! A reader skips tags that it does not know.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::control::TlsEnd;
use crate::id::{RequestId, ServiceName};
use crate::limits;

/// Bytes in front of the fields.
pub const HEAD: usize = 3;

const VISITOR: u8 = 1;
const TAG_SERVICE: u8 = 1;
const TAG_VISITOR: u8 = 2;
const TAG_REQUEST: u8 = 3;
const TAG_ALONE: u8 = 4;
const TAG_SEALED: u8 = 5;

/// What one stream is for.
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

/// Reads the first three bytes: how many bytes of fields follow.
///
/// # Errors
///
/// Where the kind is unknown or the header too long.
pub fn decode_head(head: [u8; HEAD]) -> Result<usize, HeaderError> {
    let [kind, high, low] = head;
    if kind != VISITOR {
        return Err(HeaderError::Kind(kind));
    }
    let length = usize::from(u16::from_be_bytes([high, low]));
    if HEAD + length > limits::STREAM_HEADER {
        return Err(HeaderError::TooLong(HEAD + length));
    }
    Ok(length)
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
        let length = u16::try_from(fields.len()).unwrap_or(u16::MAX).to_be_bytes();
        let mut bytes = vec![VISITOR, length[0], length[1]];
        bytes.append(&mut fields);
        bytes
    }

    /// Reads the fields that follow the head.
    ///
    /// # Errors
    ///
    /// Where a field is malformed or missing.
    pub fn decode_fields(mut bytes: &[u8]) -> Result<Self, HeaderError> {
        let (mut service, mut visitor, mut request, mut alone, mut sealed) = (None, None, None, false, None);
        while let [tag, length, rest @ ..] = bytes {
            let (value, after) =
                rest.split_at_checked(usize::from(*length)).ok_or(HeaderError::Field(*tag))?;
            let malformed = HeaderError::Field(*tag);
            match *tag {
                TAG_SERVICE => {
                    let text = std::str::from_utf8(value).map_err(|_| malformed.clone())?;
                    service = Some(text.parse().map_err(|_| malformed)?);
                }
                TAG_VISITOR => visitor = Some(address(value).ok_or(malformed)?),
                TAG_REQUEST => {
                    request = Some(RequestId::from_bytes(value.try_into().map_err(|_| malformed)?))
                }
                TAG_ALONE => alone = true,
                // One that this version does not know must not pass for a stream in the clear.
                TAG_SEALED => sealed = Some(tls_end(value).ok_or(malformed)?),
                _ => {}
            }
            bytes = after;
        }
        if let [tag] = bytes {
            return Err(HeaderError::Field(*tag));
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

fn end_number(end: TlsEnd) -> u8 {
    match end {
        TlsEnd::Origin => 1,
        TlsEnd::Agent => 2,
    }
}

fn tls_end(value: &[u8]) -> Option<TlsEnd> {
    [TlsEnd::Origin, TlsEnd::Agent].into_iter().find(|end| *value == [end_number(*end)])
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

    fn decode(bytes: &[u8]) -> Result<StreamHeader, HeaderError> {
        let (head, fields) = bytes.split_first_chunk::<HEAD>().ok_or(HeaderError::Missing(0))?;
        let length = decode_head(*head)?;
        StreamHeader::decode_fields(fields.get(..length).ok_or(HeaderError::Missing(0))?)
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
            let mut bytes = header().encode();
            bytes[at] = with;
            bytes.truncate(cut);
            let _ = decode(&bytes);
        }
    }
}
