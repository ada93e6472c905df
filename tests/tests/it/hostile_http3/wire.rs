//! HTTP/3 by hand over QUIC (RFC 9114): frames with any content, and field sections without a dynamic table (RFC 9204) in
//! which nothing is checked.

use std::net::Ipv4Addr;
use std::sync::Arc;

use quinn::crypto::rustls::QuicClientConfig;
use quinn::{Connection, Endpoint, ReadError, RecvStream, SendStream};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tests::bed::Relay;
use tests::h2_raw::{digits, number};
use tests::wait::PATIENCE;

use crate::downgrade::{Dealt, Field, in_bytes};

pub(super) const DATA: u64 = 0;
pub(super) const HEADERS: u64 = 1;
pub(super) const SETTINGS: u64 = 4;

/// A connection of a visitor under a hostname.
pub(super) async fn connect(relay: &Relay, hostname: &str) -> (Endpoint, Connection) {
    let mut roots = RootCertStore::empty();
    for root in CertificateDer::pem_file_iter(relay.ca_file()).expect("the root") {
        roots.add(root.expect("PEM")).expect("a root");
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("the provider knows TLS 1.3");
    let mut tls = builder.with_root_certificates(roots).with_no_client_auth();
    tls.alpn_protocols = vec![b"h3".to_vec()];
    let config = quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).expect("QUIC")));
    let endpoint = Endpoint::client((Ipv4Addr::LOCALHOST, 0).into()).expect("a socket");
    let connection = endpoint.connect_with(config, relay.https, hostname).expect("an attempt").await;
    (endpoint, connection.expect("QUIC"))
}

/// Opens the control stream, which has to stay open, with no settings.
pub(super) async fn begin(connection: &Connection) -> SendStream {
    let mut control = connection.open_uni().await.expect("a stream");
    control.write_all(&[&[0][..], &frame(SETTINGS, &[])].concat()).await.expect("bytes can be sent");
    control
}

/// RFC 9000, section 16.
pub(super) fn varint(value: u64) -> Vec<u8> {
    match value {
        0..0x40 => vec![u8::try_from(value).expect("six bits")],
        0x40..0x4000 => (u16::try_from(value).expect("14 bits") | 0x4000).to_be_bytes().to_vec(),
        0x4000..0x4000_0000 => (u32::try_from(value).expect("30 bits") | 0x8000_0000).to_be_bytes().to_vec(),
        _ => (value | 0xc000_0000_0000_0000).to_be_bytes().to_vec(),
    }
}

/// One frame.
pub(super) fn frame(kind: u64, payload: &[u8]) -> Vec<u8> {
    [varint(kind), varint(payload.len() as u64), payload.to_vec()].concat()
}

/// A field section: names of the static table where those of a request stand, literals else.
pub(super) fn section(fields: &[Field]) -> Vec<u8> {
    let mut section = vec![0, 0];
    for (name, value) in in_bytes(fields) {
        match known(&name) {
            Some(index) => prefixed(&mut section, 0x50, 4, index),
            None => {
                prefixed(&mut section, 0x20, 3, name.len());
                section.extend_from_slice(&name);
            }
        }
        number(&mut section, 7, value.len());
        section.extend_from_slice(&value);
    }
    section
}

/// The name's place in the static table.
fn known(name: &[u8]) -> Option<usize> {
    let table: [(&[u8], usize); 5] =
        [(b":authority", 0), (b":path", 1), (b":method", 15), (b":scheme", 22), (b":status", 24)];
    table.iter().find(|(known, _)| *known == name).map(|(_, index)| *index)
}

fn prefixed(out: &mut Vec<u8>, pattern: u8, bits: u32, value: usize) {
    let at = out.len();
    number(out, bits, value);
    out[at] |= pattern;
}

/// How the relay deals with what was asked on a stream.
pub(super) async fn dealt(recv: &mut RecvStream) -> Dealt {
    let mut got = Vec::new();
    loop {
        match status(&got) {
            Some(100..200) | None => {}
            Some(status) => return Dealt::Answered(status),
        }
        let read =
            tokio::time::timeout(PATIENCE, recv.read_chunk(4096, true)).await.expect("an answer in time");
        match read {
            Ok(Some(chunk)) => got.extend_from_slice(&chunk.bytes),
            Ok(None) => return Dealt::Reset(0),
            Err(ReadError::Reset(code)) => return Dealt::Reset(code.into_inner()),
            Err(_) => return Dealt::Ended,
        }
    }
}

/// The last status among whole HEADERS frames at the front.
fn status(mut bytes: &[u8]) -> Option<u16> {
    let mut last = None;
    while let (Some(&kind), Some((length, used))) = (bytes.first(), read_varint(bytes.get(1..)?)) {
        let payload = bytes.get(1 + used..1 + used + length)?;
        if u64::from(kind) != HEADERS {
            return last;
        }
        last = Some(of_section(payload).expect("a status comes first"));
        if last >= Some(200) {
            return last;
        }
        bytes = &bytes[1 + used + length..];
    }
    last
}

fn read_varint(bytes: &[u8]) -> Option<(usize, usize)> {
    let first = *bytes.first()?;
    let used = 1 << (first >> 6);
    let rest = bytes.get(1..used)?;
    let value = rest.iter().fold(usize::from(first & 0x3f), |value, byte| value << 8 | usize::from(*byte));
    Some((value, used))
}

/// The status that a response's field section begins with.
fn of_section(section: &[u8]) -> Option<u16> {
    let whole = [
        (24, 103),
        (25, 200),
        (26, 304),
        (27, 404),
        (28, 503),
        (63, 100),
        (64, 204),
        (65, 206),
        (66, 302),
        (67, 400),
        (68, 403),
        (69, 421),
        (70, 425),
        (71, 500),
    ];
    let find = |index: u8| whole.iter().find(|(known, _)| *known == index).map(|(_, status)| *status);
    match section.get(2..)? {
        [0xff, more, ..] => find(63 + more),
        [first @ 0xc0..=0xfe, ..] => find(first & 0x3f),
        [0x5f, _, 0x03, text @ ..] => std::str::from_utf8(text.get(..3)?).ok()?.parse().ok(),
        [0x5f, _, length, rest @ ..] => digits(rest.get(..usize::from(length & 0x7f))?),
        _ => None,
    }
}
