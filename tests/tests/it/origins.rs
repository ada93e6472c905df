//! Every kind of origin, and origins that close connections whenever they like.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http_body_util::channel::Channel;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::{HeaderMap, Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use tests::bed::{Agent, Relay};
use tests::deploy::{simple, with};
use tests::origin::{Body, Origin, text};
use tests::raw::{Front, Kind, RawVisitor, read_message};
use tests::tape::EMPTY;
use tests::visitor::{Answer, Visitor, background};
use tests::wait::eventually;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixListener};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

const HOST: &str = "a.example.com";

/// Answers one request after the other with its body.
async fn serve(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    let mut buffer = Vec::new();
    while let Ok(1..) = stream.read_buf(&mut buffer).await {
        if let Front::Whole(request, length) = read_message(&buffer, Kind::Request) {
            buffer.drain(..length);
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", request.body.len() + 2);
            let response = [head.as_bytes(), b"ok", &request.body].concat();
            if stream.write_all(&response).await.is_err() || stream.flush().await.is_err() {
                return;
            }
        }
    }
}

/// An origin with a certificate for `localhost` of a CA of its own, and that CA as PEM.
async fn tls_origin() -> (Origin, String) {
    let ca_key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = params.self_signed(&ca_key).expect("a CA");
    let issuer = Issuer::new(params, ca_key);
    let key = KeyPair::generate().expect("a key");
    let leaf = CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
    let leaf = leaf.signed_by(&key, &issuer).expect("a certificate");
    let secret = PrivateKeyDer::Pkcs8(key.serialize_der().into());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![leaf.der().clone()], secret)
        .expect("a certificate and its key");
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let origin = Origin::tcp(move |stream| {
        let acceptor = acceptor.clone();
        async move {
            if let Ok(stream) = acceptor.accept(stream).await {
                serve(stream).await;
            }
        }
    });
    (origin.await, ca.pem())
}

async fn answer_of(relay: &Relay, config: &str) -> Answer {
    let mut agent = Agent::running(relay, &[HOST], config);
    let answer = Visitor::of(relay).get(HOST, "/").await;
    // With a farewell: the next one has the hostname to itself at once.
    agent.process().signal("TERM");
    assert_eq!(agent.process().wait(), Some(0));
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn an_https_origin_is_verified_unless_that_is_turned_off() {
    let (origin, ca) = tls_origin().await;
    let relay = Relay::start();
    let file: PathBuf = relay.folder().join("origin-ca.pem");
    std::fs::write(&file, ca).expect("a file can be written");
    let address = format!("https://localhost:{}", origin.port());
    let trusting = answer_of(&relay, &with(HOST, &address, &format!("tls_ca_file = {file:?}"), "")).await;
    assert_eq!((trusting.status, trusting.text()), (200, "ok".into()));
    let wary = answer_of(&relay, &simple(HOST, &address)).await;
    assert_eq!((wary.status, wary.error()), (502, "origin-tls"));
    let other_name = format!("https://127.0.0.1:{}", origin.port());
    let wary = answer_of(&relay, &with(HOST, &other_name, &format!("tls_ca_file = {file:?}"), "")).await;
    assert_eq!((wary.status, wary.error()), (502, "origin-tls"));
    let blind =
        answer_of(&relay, &with(HOST, &other_name, "dangerous_accept_any_certificate = true", "")).await;
    assert_eq!((blind.status, blind.text()), (200, "ok".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_unix_socket_can_be_an_origin() {
    let relay = Relay::start();
    let path = relay.folder().join("app.sock");
    let listener = UnixListener::bind(&path).expect("a socket");
    let mut serving = JoinSet::new();
    serving.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            serve(stream).await;
        }
    });
    let config = simple(HOST, &format!("unix:{}", path.display()));
    assert_eq!(answer_of(&relay, &config).await.text(), "ok");
    serving.shutdown().await;
    std::fs::remove_file(&path).expect("the socket goes");
    let gone = answer_of(&relay, &config).await;
    assert_eq!((gone.status, gone.error()), (502, "origin-refused"));
}

/// Sends each message back, and how many there were as a trailer.
fn grpc(request: Request<Incoming>) -> Response<Body> {
    let authority = request.uri().authority().map(ToString::to_string).unwrap_or_default();
    let te = request.headers().get("te").cloned();
    let mut body = request.into_body();
    let (mut sender, echo) = Channel::<Bytes, std::io::Error>::new(1);
    background(async move {
        let mut count = 0;
        while let Some(Ok(frame)) = body.frame().await {
            let Ok(data) = frame.into_data() else { break };
            // hyper ends a body with an empty frame.
            count += u32::from(!data.is_empty());
            if sender.send_data(data).await.is_err() {
                return;
            }
        }
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", "0".parse().expect("a value"));
        trailers.insert("x-count", count.to_string().parse().expect("a value"));
        drop(sender.send_trailers(trailers).await);
    });
    let mut response = Response::new(echo.boxed());
    response.headers_mut().insert("x-authority", authority.parse().expect("a value"));
    if let Some(te) = te {
        response.headers_mut().insert("x-te", te);
    }
    response
}

#[tokio::test(flavor = "multi_thread")]
async fn grpc_streams_both_ways_over_h2c_and_ends_with_trailers() {
    let origin = Origin::tcp(|stream| async move {
        let service =
            hyper::service::service_fn(|request| async { Ok::<_, std::convert::Infallible>(grpc(request)) });
        let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        drop(server.serve_connection(TokioIo::new(stream), service).await);
    })
    .await;
    let relay = Relay::start();
    let _agent = Agent::running(&relay, &[HOST], &simple(HOST, &format!("h2c://{}", origin.address)));
    let mut http2 = Visitor::of(&relay).http2(HOST).await;
    let (mut sender, body) = Channel::<Bytes, std::io::Error>::new(1);
    let request = Request::post(format!("https://{HOST}/pkg.Service/Method"))
        .header("te", "trailers")
        .header("content-type", "application/grpc")
        .body(body.boxed())
        .expect("a request");
    let response = http2.send_request(request).await.expect("a response");
    assert_eq!(
        (&response.headers()["x-authority"], &response.headers()["x-te"]),
        (&HOST.parse().expect("text"), &"trailers".parse().expect("text"))
    );
    let mut body = response.into_body();
    for message in ["one", "two", "three"] {
        sender.send_data(Bytes::from(message)).await.expect("the body is wanted");
        let frame = body.frame().await.expect("a frame").expect("a sound one");
        assert_eq!(frame.into_data().expect("data"), message);
    }
    drop(sender);
    let trailers =
        body.frame().await.expect("a frame").expect("a sound one").into_trailers().expect("trailers");
    assert_eq!(
        (&trailers["grpc-status"], &trailers["x-count"]),
        (&"0".parse().expect("text"), &"3".parse().expect("text"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn trailers_of_an_http1_origin_pass() {
    let origin = Origin::http(async |_: Request<Incoming>| {
        let mut trailers = HeaderMap::new();
        trailers.insert("x-sum", "abc".parse().expect("a value"));
        let frames = [Ok(Frame::data(Bytes::from_static(b"ok"))), Ok(Frame::trailers(trailers))];
        let mut response = Response::new(StreamBody::new(futures_util::stream::iter(frames)).boxed());
        response.headers_mut().insert("trailer", "x-sum".parse().expect("a value"));
        response
    })
    .await;
    let relay = Relay::start();
    let _agent = Agent::running(&relay, &[HOST], &simple(HOST, &format!("http://{}", origin.address)));
    let mut http2 = Visitor::of(&relay).http2(HOST).await;
    let request = Request::get(format!("https://{HOST}/")).header("te", "trailers");
    let request = request.body(tests::visitor::empty()).expect("a request");
    let body =
        http2.send_request(request).await.expect("a response").into_body().collect().await.expect("a body");
    assert_eq!(body.trailers().and_then(|all| all.get("x-sum")), Some(&"abc".parse().expect("text")));
}

/// Answers one request a connection, and closes without having announced it.
async fn abrupt(mut stream: TcpStream, closed: Arc<AtomicUsize>) {
    let mut buffer = Vec::new();
    while let Ok(1..) = stream.read_buf(&mut buffer).await {
        if let Front::Whole(..) = read_message(&buffer, Kind::Request) {
            let _gone = stream.write_all(EMPTY).await;
            break;
        }
    }
    drop(stream);
    closed.fetch_add(1, Ordering::SeqCst);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_origin_that_closes_idle_connections_is_no_error_for_anybody() {
    let closed = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&closed);
    let origin = Origin::tcp(move |stream| abrupt(stream, Arc::clone(&count))).await;
    let relay = Relay::start();
    let agent = Agent::running(&relay, &[HOST], &simple(HOST, &format!("http://{}", origin.address)));
    let mut raw = RawVisitor::connect(&Visitor::of(&relay), HOST).await;
    // At once, while the close is still on its way.
    for n in 0..30 {
        raw.send(format!("GET /{n} HTTP/1.1\r\nHost: {HOST}\r\n\r\n").as_bytes()).await;
        assert_eq!(raw.response().await.map(|response| response.status()), Some(200), "GET {n}");
    }
    // What cannot be repeated is safe once the close was seen.
    for n in 30..60 {
        let quiet =
            async || (closed.load(Ordering::SeqCst) >= n && agent.status()?["streams"] == 0).then_some(());
        eventually("the close has reached the relay, which ended its half as well", quiet).await;
        raw.send(format!("POST /{n} HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 2\r\n\r\nhi").as_bytes())
            .await;
        assert_eq!(raw.response().await.map(|response| response.status()), Some(200), "POST {n}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_failure_of_an_origin_has_its_own_code() {
    let silent = Origin::tcp(|stream| async move { drop(stream) }).await;
    let babbling = Origin::tcp(|mut stream| async move {
        let mut buffer = [0; 1024];
        let _head = stream.read(&mut buffer).await;
        let _gone = stream.write_all(b"220 mail.example.com ESMTP\r\n\r\n").await;
    })
    .await;
    let down = Origin::http(async |_| text("")).await;
    let address = down.address;
    drop(down);
    eventually("the port is free", async || TcpStream::connect(address).await.is_err().then_some(())).await;
    let relay = Relay::start();
    for (origin, status, code) in [
        (format!("http://{}", silent.address), 502, "origin-broke"),
        (format!("http://{}", babbling.address), 502, "origin-invalid"),
        (format!("http://{address}"), 502, "origin-refused"),
        ("http://nowhere.invalid".into(), 502, "origin-unresolved"),
    ] {
        let answer = answer_of(&relay, &simple(HOST, &origin)).await;
        assert_eq!((answer.status, answer.error()), (status, code), "{origin}");
        assert!(!answer.body.is_empty());
    }
}
