//! Which streams a relay, honest or not, gets through to which origin.

use quinn::{ReadError, ReadToEndError};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;

use super::*;
use crate::testing::{Dispatched, no_certificates};

const SERVICES: &str = r#"
[acme]
agree_to_terms = true
[service.routed]
origin = "http://ADDRESS"
[service.vault]
origin = "tcp://ADDRESS"
proxy_protocol = "v1"
[service.both]
origin = "https://ADDRESS"
[service.ended-here]
origin = "http://ADDRESS"
[service.unnamed]
origin = "http://ADDRESS"
[[expose]]
hostname = "a.example"
routes = [{ path = "/*", service = "routed" }, { path = "/both/*", service = "both" }]
[[expose]]
hostname = "b.example"
tls = "passthrough"
service = "vault"
[[expose]]
hostname = "c.example"
tls = "passthrough"
service = "both"
[[expose]]
hostname = "d.example"
tls = "agent"
service = "ended-here"
"#;

fn unknown_service() -> ReadToEndError {
    ReadToEndError::Read(ReadError::Reset(StreamReset::UnknownService.number().into()))
}

async fn bed() -> (TcpListener, Dispatched) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    (listener, Dispatched::new(&SERVICES.replace("ADDRESS", &address), no_certificates()).await)
}

#[tokio::test]
async fn a_stream_of_a_kind_that_no_exposure_leads_to_the_service_is_refused() {
    let (listener, agent) = bed().await;
    let (origin, here) = (Some(TlsEnd::Origin), Some(TlsEnd::Agent));
    let refused = [
        ("routed", origin),
        ("routed", here),
        ("vault", None),
        ("vault", here),
        ("both", here),
        ("ended-here", None),
        ("ended-here", origin),
        ("unnamed", None),
        ("unnamed", origin),
        ("unnamed", here),
        ("unknown", None),
    ];
    for (service, sealed) in refused {
        let (_send, mut recv) = agent.open(service, sealed).await;
        let error = recv.read_to_end(9).await.unwrap_err();
        assert_eq!(error, unknown_service(), "{service} {sealed:?}");
    }
    let connected = futures_util::FutureExt::now_or_never(listener.accept());
    assert!(connected.is_none(), "no origin hears of it");
}

#[tokio::test]
async fn a_sealed_stream_reaches_the_origin_as_it_is() {
    let (listener, agent) = bed().await;
    for (service, before) in [("vault", "PROXY TCP4 192.0.2.1 127.0.0.1 1 "), ("both", "")] {
        let (mut send, mut recv) = agent.open(service, Some(TlsEnd::Origin)).await;
        send.write_all(b"\x16ClientHello").await.unwrap();
        send.finish().unwrap();
        let (mut origin, _) = listener.accept().await.unwrap();
        let mut heard = String::new();
        origin.read_to_string(&mut heard).await.unwrap();
        assert!(heard.starts_with(before) && heard.ends_with("\x16ClientHello"), "{heard}");
        drop(origin);
        assert_eq!(recv.read_to_end(9).await.unwrap(), b"", "{service}");
    }
}

#[tokio::test]
async fn a_stream_in_the_clear_reaches_what_is_routed() {
    let (listener, agent) = bed().await;
    let (mut send, _recv) = agent.open("routed", None).await;
    send.write_all(b"GET").await.unwrap();
    let (mut origin, _) = listener.accept().await.unwrap();
    let mut heard = [0; 3];
    origin.read_exact(&mut heard).await.unwrap();
    assert_eq!(&heard, b"GET");
}
