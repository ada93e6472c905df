//! `cargo bench -p relay --features inside --bench rules`: what the rules cost that every request passes.

#![expect(clippy::expect_used, reason = "a benchmark that cannot be set up has nothing to say")]

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use relay::inside::{Rewriting, Routes};

/// Koda's routes, as its example file has them.
fn route_matching(criterion: &mut Criterion) {
    let expose = serde_json::json!({
        "hostname": "koda.example.com",
        "routes": [
            { "path": "/*", "service": "dashboard" },
            { "path": "/control-plane/*", "service": "dashboard" },
            { "path": "/api/control-plane/*", "service": "control-plane" },
            { "path": "/api/runtime/*", "service": "control-plane" },
            { "path": "/openapi/*", "service": "control-plane" },
        ],
        "headers": [{ "paths": ["/login", "/setup"], "set": { "Cache-Control": "no-store" } }],
    });
    let services = serde_json::json!([{ "name": "dashboard" }, { "name": "control-plane" }]);
    let expose = serde_json::from_value(expose).expect("an exposure");
    let services: Vec<_> = serde_json::from_value(services).expect("services");
    let routes = Routes::new(&expose, &services).expect("routes");
    for (name, path) in [
        ("route, plain path", "/api/runtime/sessions/4711/events"),
        ("route, encoded path", "/api/runtime/sessions/a%20b/%E2%82%AC"),
        ("route, disputed path", "/api/runtime/..%2f..%2fadmin"),
    ] {
        criterion.bench_function(name, |bencher| bencher.iter(|| routes.lead(black_box(path))));
    }
}

/// The fields of a browser's request.
fn header_rewriting(criterion: &mut Criterion) {
    let browser = [
        ("host", "koda.example.com"),
        ("user-agent", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"),
        ("accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"),
        ("accept-language", "en-US,en;q=0.5"),
        ("accept-encoding", "gzip, deflate, br, zstd"),
        ("connection", "keep-alive"),
        ("cookie", "session=0123456789abcdef; theme=dark"),
        ("x-forwarded-for", "6.6.6.6"),
        ("cache-control", "no-cache"),
    ];
    let rewriting = Rewriting::new("koda.example.com".parse().expect("a hostname"), &browser);
    criterion.bench_function("headers of a browser, copied and rewritten", |bencher| {
        bencher.iter(|| black_box(&rewriting).rewrite());
    });
}

criterion_group!(benches, route_matching, header_rewriting);
criterion_main!(benches);
