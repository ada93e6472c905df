//! `cargo bench -p tests --bench micro`: what single steps of the protocol cost. The relay's own rules (its routes,
//! its rewriting of headers) are in `relay/benches/rules.rs`.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use protocol::frame::{self, Frame, FrameKind};
use protocol::handshake::{AwaitAdmission, AwaitWelcome, SessionHello, SessionWelcome};
use protocol::id::RequestId;
use protocol::key::SecretKey;
use protocol::noise::Exporter;
use protocol::path::PathPattern;
use protocol::stream::{self, StreamHeader};

/// The longest of the matching patterns, as the relay chooses it, among those of Koda's example.
fn route_matching(criterion: &mut Criterion) {
    let patterns = ["/*", "/control-plane/*", "/api/control-plane/*", "/api/runtime/*", "/openapi/*"];
    let patterns = patterns.map(|text| text.parse::<PathPattern>().expect("a pattern"));
    let longest = |path: &[u8]| {
        let matching = patterns.iter().filter(|pattern| pattern.matches(path));
        matching.max_by_key(|pattern| pattern.weight()).is_some()
    };
    criterion.bench_function("path among 5 patterns", |bencher| {
        bencher.iter(|| longest(black_box(b"/api/runtime/sessions/4711/events")));
    });
}

fn stream_header(criterion: &mut Criterion) {
    let header = StreamHeader {
        service: "dashboard".parse().expect("a name"),
        visitor: ([203, 0, 113, 7], 50123).into(),
        request: RequestId::from_bytes([7; 16]),
        alone: false,
        sealed: None,
    };
    let bytes = header.encode();
    criterion.bench_function("stream header, encode", |bencher| bencher.iter(|| black_box(&header).encode()));
    criterion.bench_function("stream header, decode", |bencher| {
        bencher.iter(|| {
            let (head, fields) = black_box(&bytes).split_first_chunk().expect("a head");
            let (_, length) = stream::decode_head(*head).expect("a length");
            StreamHeader::decode_fields(&fields[..length]).expect("a header")
        });
    });
}

fn frames(criterion: &mut Criterion) {
    let frame = Frame::new(FrameKind::SessionHello, vec![7; 1024]);
    let bytes = frame.encode();
    criterion.bench_function("frame of 1 KiB, encode", |bencher| bencher.iter(|| black_box(&frame).encode()));
    criterion.bench_function("frame head, decode", |bencher| {
        bencher.iter(|| {
            let head = black_box(&bytes).first_chunk().expect("a head");
            frame::decode_head(*head, 4096).expect("a length")
        });
    });
}

/// Both messages of `Noise_IK`, on both sides: what a new session costs beside its TLS handshake.
fn session_handshake(criterion: &mut Criterion) {
    let key = |byte| SecretKey::from_bytes([byte; 32]).expect("a key");
    let (agent, relay): (SecretKey, SecretKey) = (key(7), key(9));
    let exporter: Exporter = [3; 32];
    let hello = SessionHello { software: "0.1.0".into(), instance: "one".into() };
    let welcome = SessionWelcome { software: "0.1.0".into(), peer: "home".parse().expect("a name") };
    criterion.bench_function("Noise session handshake, both sides", |bencher| {
        bencher.iter(|| {
            let (first, waiting) =
                AwaitWelcome::start(&agent, &relay.public(), &exporter, &hello).expect("keys are fine");
            let admission =
                AwaitAdmission::receive(&relay, &exporter, &first).expect("the agent proves itself");
            let second = admission.admit(&welcome).expect("keys are fine");
            waiting.receive(&second).expect("the relay proves itself")
        });
    });
}

criterion_group!(steps, route_matching, stream_header, frames, session_handshake);
criterion_main!(steps);
