//! Hostnames whose TLS does not end at the relay: what cannot go with them, and the way out.

use tests::binaries::binaries;

use super::{assert_refused, check};
use crate::enrollment::stderr;

const SEALED: &str = r#"[service.vault]
origin = "tcp://127.0.0.1:8200"

[service.web]
origin = "http://127.0.0.1:3000"

[[expose]]
hostname = "vault.example.com"
tls = "passthrough"
service = "vault"
routes = [{ path = "/*", service = "vault" }]
response_headers = { remove = ["Server"] }
hsts = "365d"

[[expose]]
hostname = "web.example.com"
tls = "passthrough"
service = "web"

[[expose]]
hostname = "*.example.com"
tls = "agent"
service = "vault"

[[expose]]
hostname = "open.example.com"
routes = [{ path = "/*", service = "vault" }]
"#;

const MISTAKES: &str = r#"7 problems in `agent.toml`

error: `routes` is not for hostnames whose TLS does not end at the relay
  --> agent.toml:11:11
   |
11 | routes = [{ path = "/*", service = "vault" }]
   |           ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
   |
   = hint: the relay forwards ciphertext and sees no paths: name one `service`

error: `response_headers` is not for hostnames whose TLS does not end at the relay
  --> agent.toml:12:20
   |
12 | response_headers = { remove = ["Server"] }
   |                    ^^^^^^^^^^^^^^^^^^^^^^^
   |
   = hint: the relay forwards ciphertext and sees no header fields: let the origin set them

error: `hsts` is not for hostnames whose TLS does not end at the relay
  --> agent.toml:13:8
   |
13 | hsts = "365d"
   |        ^^^^^^
   |
   = hint: the relay forwards ciphertext: let the origin send `Strict-Transport-Security`

error: `http://127.0.0.1:3000` would have to end TLS, which such an origin does not
  --> agent.toml:18:11
   |
18 | service = "web"
   |           ^^^^^
   |
   = hint: write the origin as `tcp://host:port` or `https://host:port`, or use `tls = "agent"`

error: this agent orders the certificate itself, and there is no `[acme]` that says where
  --> agent.toml:20:1
   |
20 | [[expose]]
   | ^^^^^^^^^^
   |
   = hint: add `[acme]` with `agree_to_terms = true`

error: this agent cannot get a certificate for a wildcard: TLS-ALPN-01 has none
  --> agent.toml:21:12
   |
21 | hostname = "*.example.com"
   |            ^^^^^^^^^^^^^^^
   |
   = hint: name each hostname, or use `tls = "passthrough"`

error: a `tcp://` origin speaks no HTTP that could be routed
  --> agent.toml:27:36
   |
27 | routes = [{ path = "/*", service = "vault" }]
   |                                    ^^^^^^^
   |
   = hint: write `http://` where it does, or expose it with `tls = "passthrough"`
"#;

#[test]
fn agent_check_knows_what_needs_a_relay_that_sees_requests_and_what_a_certificate_needs() {
    assert_refused(&check(&binaries().agent, "agent.toml", SEALED.as_bytes()), MISTAKES);
    let mut right = format!("[acme]\nagree_to_terms = true\n{SEALED}");
    let vault = r#"routes = [{ path = "/*", service = "vault" }]"#;
    for (wrong, instead) in [
        (&*format!("{vault}\nresponse_headers = {{ remove = [\"Server\"] }}\nhsts = \"365d\"\n"), ""),
        ("tls = \"passthrough\"\nservice = \"web\"", "tls = \"agent\"\nservice = \"web\""),
        ("*.example.com", "home.example.com"),
        (vault, r#"routes = [{ path = "/*", service = "web" }]"#),
    ] {
        assert!(right.contains(wrong), "{wrong}");
        right = right.replace(wrong, instead);
    }
    let output = check(&binaries().agent, "agent.toml", right.as_bytes());
    assert_eq!((output.status.code(), stderr(&output)), (Some(0), String::new()));
}
