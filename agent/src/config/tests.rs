//! Whole files: what they mean, and every mistake of one in one report.

use std::io;
use std::path::Path;

use process::document::Rejected;
use protocol::control::{Sealed, ServiceProtocol, TlsEnd};

use super::*;

const KODA: &str = r#"
relay = "relay.example.com"

[service.dashboard]
origin = "http://127.0.0.1:3000"
[service.control-plane]
origin = "h2c://127.0.0.1:8090"

[[expose]]
hostname = "koda.example.com"
routes = [
  { path = "/*",                   service = "dashboard" },
  { path = "/api/control-plane/*", service = "control-plane" },
]
response_headers = { remove = ["Server"] }
max_body = "50m"
allow_from = ["192.0.2.0/24", "2001:db8::1"]
timeouts = { first_byte = "60s", upgrade_idle = "24h" }
[[expose.headers]]
paths = ["/login", "/setup"]
set = { "Cache-Control" = "no-store" }

[[private]]
service = "dashboard"
allow = ["role:operator"]
"#;

pub(super) fn read_text(text: &str) -> Result<Config, Rejected> {
    let files = |path: &Path| match path.to_str() {
        Some("empty.pem") => Ok(b"nothing here".to_vec()),
        _ => Err(io::Error::other("no such file")),
    };
    read::read("agent.toml", text, &files)
}

fn mistakes(text: &str) -> Vec<(Option<usize>, String)> {
    let rejected = read_text(text).unwrap_err();
    rejected.mistakes().iter().map(|mistake| (mistake.line(), mistake.message().to_owned())).collect()
}

#[test]
fn the_example_of_the_design_is_understood() {
    let config = read_text(KODA).unwrap();
    assert_eq!(config.relay().unwrap().to_string(), "relay.example.com");
    let register = config.register(7);
    assert_eq!((register.revision, register.services.len()), (7, 2));
    assert_eq!(register.services[0].protocol, ServiceProtocol::H2c);
    let expose = &register.expose[0];
    assert_eq!(expose.hostname.as_str(), "koda.example.com");
    assert_eq!(expose.routes[1].service.as_str(), "control-plane");
    assert_eq!(expose.response_headers.remove, ["server"]);
    assert_eq!(expose.headers[0].edit.set["cache-control"], "no-store");
    assert_eq!(expose.max_body, Some(50 << 20));
    assert_eq!(expose.allow_from, ["192.0.2.0/24", "2001:db8::1/128"]);
    assert_eq!(expose.timeouts.first_byte_ms, Some(60_000));
    assert_eq!((expose.timeouts.idle_ms, expose.timeouts.upgrade_idle_ms), (None, Some(86_400_000)));
    assert_eq!(config.private().keys().map(ServiceName::as_str).collect::<Vec<_>>(), ["dashboard"]);
}

const EDGE: &str = r#"
[service.web]
origin = "https://127.0.0.1:3000"
proxy_protocol = "v2"
[[expose]]
hostname = "koda.example.com"
routes = [{ path = "/*", service = "web" }]
"#;

#[test]
fn what_the_relay_is_told_of_connections_and_browsers() {
    let told = |more: &str| read_text(&format!("{EDGE}{more}\n")).unwrap().register(1);
    let plain = told("");
    assert!(plain.services[0].per_visitor && !told_koda().services[0].per_visitor);
    assert_eq!((&plain.expose[0].upgrades, plain.expose[0].hsts), (&None, None));
    let upgrades = told("upgrades = [\"WebSocket\", \"SPDY/3.1\"]").expose[0].upgrades.clone();
    assert_eq!(upgrades.unwrap(), ["websocket", "spdy/3.1"]);
    assert_eq!(told("upgrades = []").expose[0].upgrades.as_deref(), Some(&[][..]));
    let hsts = |more: &str| told(more).expose[0].hsts.unwrap().to_string();
    assert_eq!(hsts("hsts = \"30d\""), "max-age=2592000");
    assert_eq!(hsts("hsts = { max_age = \"0s\", preload = false }"), "max-age=0");
    let table = "[expose.hsts]\nmax_age = \"365d\"\ninclude_subdomains = true\npreload = true";
    assert_eq!(hsts(table), "max-age=31536000; includeSubDomains; preload");
}

fn told_koda() -> protocol::control::Register {
    read_text(KODA).unwrap().register(1)
}

#[test]
fn each_mistake_about_connections_and_browsers_is_located() {
    let many = (0..17).map(|n| format!("\"x{n}\"")).collect::<Vec<_>>().join(", ");
    let many = format!("upgrades = [{many}]");
    let cases = [
        ("upgrades = [\"websocket\", \"h2c\"]", "`h2c` cannot be upgraded to"),
        ("upgrades = [\"HTTP/2.0\"]", "`HTTP/2.0` cannot be upgraded to"),
        ("upgrades = [\"a b\"]", "`a b` is not the name of a protocol"),
        ("upgrades = [\"a\", \"A\"]", "protocol `a` is there twice"),
        ("upgrades = \"websocket\"", "expected an array of strings"),
        (many.as_str(), "a hostname has at most 16 of these"),
        ("hsts = true", "expected a duration"),
        ("hsts = \"500ms\"", "browsers count whole seconds"),
        ("hsts = \"4000d\"", "`max_age` of `hsts` is at most `3650d`"),
        ("hsts = { preload = true }", "missing key `max_age` in `hsts`"),
        ("hsts = { max_age = \"365d\", preload = true }", "`preload` needs"),
        ("hsts = { max_age = \"364d\", include_subdomains = true, preload = true }", "`preload` needs"),
        ("hsts = { max_age = \"1d\", subdomains = true }", "unknown key `subdomains` in `hsts`"),
        (
            "response_headers = { set = { \"Strict-Transport-Security\" = \"max-age=1\" } }\nhsts = \"1d\"",
            "`Strict-Transport-Security` is set among the response headers as well",
        ),
    ];
    for (line, message) in cases {
        let text = format!("{EDGE}{line}\n");
        let found = mistakes(&text);
        assert!(found[0].1.starts_with(message), "{line}: {found:?}");
        // On the last line, and nothing else.
        assert_eq!((found.len(), found[0].0), (1, Some(text.lines().count())), "{line}: {found:?}");
    }
    let version = mistakes(&EDGE.replace("v2", "v3"));
    assert_eq!(version, [(Some(4), "expected `v1` or `v2`".to_owned())]);
}

const SEALED: &str = r#"
[acme]
agree_to_terms = true
[service.web]
origin = "http://127.0.0.1:3000"
[service.vault]
origin = "tcp://127.0.0.1:8200"
[service.nas]
origin = "https://127.0.0.1:5001"
[[expose]]
hostname = "HOSTNAME"
"#;

fn sealed(hostname: &str, more: &str) -> String {
    format!("{}{more}\n", SEALED.replace("HOSTNAME", hostname))
}

#[test]
fn a_sealed_hostname_is_told_without_routes() {
    let told = |hostname, more: &str| read_text(&sealed(hostname, more)).unwrap();
    let config = told(
        "vault.example.com",
        "tls = \"passthrough\"\nservice = \"vault\"\nallow_from = [\"192.0.2.0/24\"]\ntimeouts = { idle = \"60s\" }",
    );
    let register = config.register(1);
    assert!(
        register.services.iter().any(|service| {
            service.name.as_str() == "vault" && service.protocol == ServiceProtocol::Http1
        })
    );
    let expose = &register.expose[0];
    let wanted = Sealed { service: "vault".parse().unwrap(), end: TlsEnd::Origin };
    assert_eq!((expose.routes.len(), expose.sealed.as_ref()), (0, Some(&wanted)));
    assert_eq!((expose.allow_from[0].as_str(), expose.timeouts.idle_ms), ("192.0.2.0/24", Some(60_000)));
    assert_eq!(config.ends_tls_for().count(), 0);

    for service in ["web", "vault", "nas"] {
        let config = told("home.example.com", &format!("tls = \"agent\"\nservice = \"{service}\""));
        assert_eq!(config.register(1).expose[0].sealed.as_ref().unwrap().end, TlsEnd::Agent);
        assert_eq!(config.ends_tls_for().collect::<Vec<_>>(), ["home.example.com".parse().unwrap()]);
    }
    told("*.example.com", "tls = \"passthrough\"\nservice = \"nas\"");
    let plain = told("a.example.com", "tls = \"relay\"\nroutes = [{ path = \"/*\", service = \"nas\" }]");
    assert_eq!(plain.register(1).expose[0].sealed, None);
}

#[test]
fn each_mistake_about_sealed_hostnames_is_located() {
    let passed = "tls = \"passthrough\"\nservice = \"vault\"\n";
    let not_for = |key: &str| format!("`{key}` is not for hostnames whose TLS does not end at the relay");
    let cases = [
        ("tls = \"origin\"", "expected `relay`, `passthrough` or `agent`".to_owned()),
        (
            "tls = \"passthrough\"\nservice = \"web\"",
            "`http://127.0.0.1:3000` would have to end TLS".to_owned(),
        ),
        ("tls = \"agent\"\nservice = \"valt\"", "there is no service `valt`".to_owned()),
        (
            "routes = [{ path = \"/*\", service = \"vault\" }]",
            "a `tcp://` origin speaks no HTTP that could be routed".to_owned(),
        ),
        (
            "routes = [{ path = \"/*\", service = \"web\" }]\nservice = \"web\"",
            "`service` is for hostnames whose TLS does not end at the relay".to_owned(),
        ),
        (&format!("{passed}routes = [{{ path = \"/*\", service = \"vault\" }}]"), not_for("routes")),
        (&format!("{passed}response_headers = {{ remove = [\"Server\"] }}"), not_for("response_headers")),
        (&format!("{passed}headers = [{{ paths = [\"/\"], set = {{ A = \"b\" }} }}]"), not_for("headers")),
        (&format!("{passed}max_body = \"1m\""), not_for("max_body")),
        (&format!("{passed}upgrades = [\"websocket\"]"), not_for("upgrades")),
        (&format!("{passed}hsts = \"1d\""), not_for("hsts")),
        (&format!("{passed}hsts = {{ max_age = \"1d\", preload = false }}"), not_for("hsts")),
        (
            &format!("{passed}timeouts = {{ idle = \"5s\", first_byte = \"5s\" }}"),
            "the relay sees no requests of this hostname".to_owned(),
        ),
        (&format!("{passed}colour = \"red\""), "unknown key `colour`".to_owned()),
    ];
    for (lines, message) in cases {
        let text = sealed("a.example.com", lines);
        let found = mistakes(&text);
        assert!(found[0].1.starts_with(&message), "{lines}: {found:?}");
        // On the last line, and nothing else.
        assert_eq!((found.len(), found[0].0), (1, Some(text.lines().count())), "{lines}: {found:?}");
    }
}

#[test]
fn who_ends_tls_orders_certificates() {
    let text = sealed("a.example.com", "tls = \"agent\"\nservice = \"web\"");
    assert!(read_text(&text).unwrap().acme().is_some());
    let without = mistakes(&text.replace("[acme]\nagree_to_terms = true\n", ""));
    assert_eq!(without.len(), 1, "{without:?}");
    assert!(without[0].1.contains("there is no `[acme]`"), "{without:?}");
}

#[test]
fn every_mistake_about_sealed_hostnames_is_reported_in_one_run_with_its_way_out() {
    let text = sealed(
        "*.example.com",
        "tls = \"agent\"\nroutes = []\nhsts = \"1d\"\nmax_body = \"1m\"\ntimeouts = { upgrade_idle = \"2h\" }",
    );
    let rejected = read_text(&text).unwrap_err();
    assert_eq!(rejected.mistakes().len(), 6, "{rejected}");
    let report = rejected.to_string();
    for said in [
        "this agent cannot get a certificate for a wildcard",
        "missing key `service` in `expose` number 1",
        "the relay forwards ciphertext and sees no paths: name one `service`",
        "let the origin send `Strict-Transport-Security`",
        "let the origin limit them",
        "`idle` is what cuts a connection that stands still",
    ] {
        assert!(report.contains(said), "{said}\n{report}");
    }
}

#[test]
fn an_address_never_leaves_this_machine() {
    let told = serde_json::to_string(&read_text(KODA).unwrap().register(1)).unwrap();
    assert!(!told.contains("127.0.0.1") && !told.contains("3000"), "{told}");
}

#[test]
fn every_mistake_is_reported_in_one_run() {
    let text = r#"relay = "relay example"
[service.web]
origin = "127.0.0.1:3000"
[service.API]
origin = "https://127.0.0.1:1"
tls_ca_file = "none.pem"
[[expose]]
hostname = "koda.example.com"
colour = "red"
routes = [ { path = "/*", service = "wbe" }, { path = "x", service = "web" }, { path = "/*", service = "web" } ]
timeouts = { upgrade_idle = "30m" }
response_headers = { remove = ["Transfer-Encoding"] }
[[expose]]
hostname = "Koda.example.com"
routes = []
[[private]]
service = "nothing"
allow = ["everybody"]
"#;
    let found = mistakes(text);
    let expected = [
        (1, "`relay example` is neither a hostname nor an address"),
        (3, "an origin begins with `http://`"),
        (4, "`API` is not a name"),
        (6, "cannot read this file: no such file"),
        (9, "unknown key `colour`"),
        (10, "there is no service `wbe`"),
        (10, "a path begins with `/`"),
        (10, "path `/*` is there twice"),
        (11, "must be at least `1h`"),
        (12, "`Transfer-Encoding` is the relay's own business"),
        (13, "a hostname needs at least one route"),
        (14, "hostname `koda.example.com` is there twice"),
        (17, "there is no service `nothing`"),
        (18, "expected `role:operator`, `tag:NAME` or `peer:NAME`"),
    ];
    for (line, message) in expected {
        let there = found.iter().any(|(at, said)| *at == Some(line) && said.starts_with(message));
        assert!(there, "line {line}: {message}\n{found:#?}");
    }
}

#[test]
fn a_misspelt_service_is_guessed() {
    let text = "[service.dashboard]\norigin = \"http://a\"\n[[expose]]\nhostname = \"a.example\"\n\
                routes = [{ path = \"/*\", service = \"dashbord\" }]\n";
    let report = read_text(text).unwrap_err().to_string();
    assert!(report.contains("did you mean `dashboard`?"), "{report}");
}

#[test]
fn certificates_are_for_https_and_of_one_kind() {
    let service = |rest: &str| mistakes(&format!("[service.a]\n{rest}\n")).remove(0).1;
    let message = service("origin = \"http://a\"\ndangerous_accept_any_certificate = true");
    assert_eq!(message, "only an `https://` origin has a certificate");
    let message = service(
        "origin = \"https://a\"\ntls_ca_file = \"empty.pem\"\ndangerous_accept_any_certificate = true",
    );
    assert!(message.contains("exclude each other"), "{message}");
    let message = service("origin = \"https://a\"\ntls_ca_file = \"empty.pem\"");
    assert_eq!(message, "this file holds no certificates in PEM format");
}

#[test]
fn a_file_that_is_not_there_has_a_way_out() {
    let folder = tempfile::tempdir().unwrap();
    let error = load(&folder.path().join("agent.toml")).unwrap_err();
    assert!(matches!(error, ConfigError::Missing { .. }));
    assert!(error.hint().unwrap().contains("--config"));
}

#[test]
fn the_command_line_makes_a_service_of_each_target() {
    let target = |port: u16| format!("http://127.0.0.1:{port}").parse::<Target>().unwrap();
    let routes = vec![
        ("/*".parse().unwrap(), target(3000)),
        ("/api/*".parse().unwrap(), target(8090)),
        ("/x".parse().unwrap(), target(3000)),
    ];
    let config = of_command_line("koda.example.com".parse().unwrap(), routes, &OriginTrust::Platform);
    assert_eq!(config.services().len(), 2);
    let routes = &config.register(1).expose[0].routes;
    assert_eq!(routes[0].service, routes[2].service);
    assert_ne!(routes[0].service, routes[1].service);
}
