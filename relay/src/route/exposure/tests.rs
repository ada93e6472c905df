//! What is accepted of an agent's wish, and where paths lead then.

use super::*;

/// Koda's routes, with everything else on the dashboard.
fn koda() -> Exposure {
    koda_with(serde_json::json!({})).unwrap()
}

fn koda_with(more: serde_json::Value) -> Result<Exposure, ExposureError> {
    let (expose, services) = wish(more);
    Exposure::new(&expose, &services, Timeouts::default())
}

fn wish(more: serde_json::Value) -> (Expose, Vec<Service>) {
    let mut expose = serde_json::json!({
        "hostname": "koda.example.com",
        "routes": [
            { "path": "/*", "service": "dashboard" },
            { "path": "/api/control-plane/*", "service": "control-plane" },
            { "path": "/api/runtime/*", "service": "control-plane" },
        ],
        "response_headers": { "remove": ["Server"] },
        "headers": [{ "paths": ["/login"], "set": { "Cache-Control": "no-store" } }],
        "allow_from": ["192.0.2.0/24"],
    });
    let serde_json::Value::Object(more) = more else { panic!("{more}") };
    expose.as_object_mut().unwrap().extend(more);
    let services = serde_json::json!([{ "name": "dashboard" }, { "name": "control-plane" }]);
    (serde_json::from_value(expose).unwrap(), serde_json::from_value(services).unwrap())
}

fn service(path: &str) -> Result<String, NoDecision> {
    let koda = koda();
    koda.decide(path).map(|decision| koda.route(decision).1.service.to_string())
}

#[test]
fn the_longest_match_wins() {
    assert_eq!(service("/").as_deref(), Ok("dashboard"));
    assert_eq!(service("/api/runtime/x").as_deref(), Ok("control-plane"));
    assert_eq!(service("/api/runtime").as_deref(), Ok("dashboard"));
    assert_eq!(service("/api/%72untime/x").as_deref(), Ok("control-plane"));
}

#[test]
fn a_path_whose_readings_disagree_is_ambiguous() {
    let doors = [
        "/api/runtime/..%2f..%2fadmin",
        "/api/runtime/../../admin",
        "/x/../api/runtime/y",
        "/api/runtime/%2e%2e/%2e%2e/admin",
        "/api/runtime/..;/..;/admin",
        "/api/runtime/..\\..\\admin",
        "/api/runtime/%252e%252e%252f%252e%252e%252fadmin",
        "//api/runtime/x",
        "/api//runtime/x",
        "/api%2fruntime/x",
        "/login;x",
        "/api/runtime%00/",
    ];
    for path in doors {
        assert_eq!(service(path), Err(NoDecision::Ambiguous), "{path}");
    }
}

#[test]
fn where_all_readings_agree_an_odd_path_passes() {
    for path in ["/files/a%2Fb", "/a//b", "/api/runtime/a%2fb", "/a;v=1", "/x/./y"] {
        assert!(service(path).is_ok(), "{path}");
    }
}

#[test]
fn header_rules_follow_the_path() {
    let koda = koda();
    let mut headers = HeaderMap::new();
    headers.insert("server", HeaderValue::from_static("nginx"));
    koda.edit_response(koda.decide("/login").unwrap(), &mut headers);
    assert_eq!((headers.get("server"), headers["cache-control"].as_bytes()), (None, &b"no-store"[..]));
    headers.clear();
    koda.edit_response(koda.decide("/other").unwrap(), &mut headers);
    assert!(headers.is_empty());
}

#[test]
fn a_connection_becomes_only_what_was_named() {
    let passes = |named, asked: &str| koda_with(named).unwrap().upgrades(asked);
    let unnamed = || serde_json::json!({});
    assert!(passes(unnamed(), "websocket") && passes(unnamed(), "WebSocket"));
    assert!(!passes(unnamed(), "h2c") && !passes(unnamed(), "websocket, h2c") && !passes(unnamed(), ""));
    let named = || serde_json::json!({ "upgrades": ["x-thing", "SPDY/3.1"] });
    assert!(passes(named(), "X-Thing") && passes(named(), "spdy/3.1"));
    assert!(!passes(named(), "websocket") && !passes(named(), "spdy") && !passes(named(), "x-thing/2"));
    assert!(!passes(serde_json::json!({ "upgrades": [] }), "websocket"));
    let hidden = ["h2c", "H2", "h2c-14", "h3", "HTTP/2.0", "tls/1.0", "a b", ""];
    for name in hidden {
        assert!(koda_with(serde_json::json!({ "upgrades": ["x", name] })).is_err(), "{name:?}");
    }
    assert!(koda_with(serde_json::json!({ "upgrades": vec!["x"; limits::UPGRADES + 1] })).is_err());
}

#[test]
fn what_browsers_remember_is_the_owners_word() {
    let more = serde_json::json!({ "hsts": { "max_age_s": 31_536_000, "include_subdomains": true } });
    let koda = koda_with(more).unwrap();
    let mut headers = HeaderMap::new();
    headers.append(STRICT_TRANSPORT_SECURITY, HeaderValue::from_static("max-age=1"));
    headers.append(STRICT_TRANSPORT_SECURITY, HeaderValue::from_static("max-age=2"));
    koda.edit_response(koda.decide("/login").unwrap(), &mut headers);
    let told: Vec<_> = headers.get_all(STRICT_TRANSPORT_SECURITY).iter().collect();
    assert_eq!(told, ["max-age=31536000; includeSubDomains"]);
    assert_eq!(koda.hsts(), Some(told[0]));
    let short = serde_json::json!({ "hsts": { "max_age_s": 60, "preload": true } });
    assert!(koda_with(short).is_err());
}

#[test]
fn visitors_are_admitted_by_network() {
    assert!(koda().admits("192.0.2.9".parse().unwrap()));
    assert!(!koda().admits("198.51.100.1".parse().unwrap()));
}

fn sealed(more: serde_json::Value) -> Result<Exposure, ExposureError> {
    let (expose, services) = sealed_wish(more);
    Exposure::new(&expose, &services, Timeouts::default())
}

fn sealed_wish(more: serde_json::Value) -> (Expose, Vec<Service>) {
    let mut expose = serde_json::json!({
        "hostname": "a.example.com",
        "routes": [],
        "sealed": { "service": "web", "end": "passthrough" },
    });
    let serde_json::Value::Object(more) = more else { panic!("{more}") };
    expose.as_object_mut().unwrap().extend(more);
    let services = serde_json::json!([{ "name": "web" }]);
    (serde_json::from_value(expose).unwrap(), serde_json::from_value(services).unwrap())
}

#[test]
fn what_is_sealed_leads_whole_connections_of_one_visitor_to_one_service() {
    let exposure = sealed(serde_json::json!({ "allow_from": ["192.0.2.0/24"] })).unwrap();
    let target = exposure.sealed().unwrap();
    assert_eq!(
        (target.service.as_str(), target.sealed, target.per_visitor),
        ("web", Some(TlsEnd::Origin), true)
    );
    assert_eq!(exposure.decide("/"), Err(NoDecision::NoRoute));
    assert!(
        exposure.admits("192.0.2.1".parse().unwrap()) && !exposure.admits("198.51.100.1".parse().unwrap())
    );
    assert_eq!(exposure.timeouts.upgrade_idle, Timeouts::default().upgrade_idle);
    let short = sealed(serde_json::json!({ "timeouts": { "idle_ms": 5000 } })).unwrap();
    assert_eq!(short.timeouts.upgrade_idle, Duration::from_secs(5));
}

#[test]
fn what_would_need_requests_is_refused_where_there_are_none_to_be_seen() {
    for more in [
        serde_json::json!({ "routes": [{ "path": "/*", "service": "web" }] }),
        serde_json::json!({ "response_headers": { "remove": ["server"] } }),
        serde_json::json!({ "headers": [{ "paths": ["/"], "set": { "a": "b" } }] }),
        serde_json::json!({ "max_body": 1 }),
        serde_json::json!({ "upgrades": [] }),
        serde_json::json!({ "hsts": { "max_age_s": 1, "include_subdomains": false, "preload": false } }),
    ] {
        assert!(matches!(sealed(more.clone()), Err(ExposureError::SealedWithRules)), "{more}");
    }
    let elsewhere = serde_json::json!({ "sealed": { "service": "other", "end": "agent" } });
    assert!(matches!(sealed(elsewhere), Err(ExposureError::UnknownSealed(_))));
}
