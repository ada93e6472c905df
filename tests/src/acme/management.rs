//! Requests to the interfaces by which tests steer these programs, outside of a runtime.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::Value;

/// A single answer never takes this long.
const LIMIT: Duration = Duration::from_secs(10);

/// What TLS takes from the roots in a file.
pub(super) fn trusting(roots: &Path) -> ClientConfig {
    let mut store = RootCertStore::empty();
    for root in CertificateDer::pem_file_iter(roots).expect("the root can be read") {
        store.add(root.expect("PEM")).expect("a root");
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    builder.expect("the provider knows TLS").with_root_certificates(store).with_no_client_auth()
}

/// A POST of JSON, which has to succeed.
pub(super) fn post(address: SocketAddr, path: &str, body: &Value) {
    let body = body.to_string();
    let head = format!("POST {path} HTTP/1.0\r\nHost: {address}\r\nContent-Length: {}\r\n\r\n", body.len());
    let stream = connect(address).expect("the program listens");
    let answer = exchange(stream, &(head + &body)).expect("an answer");
    assert!(answer.starts_with("HTTP/1.0 200 "), "POST {path}: {answer}");
}

/// The body of a GET over TLS.
///
/// # Errors
///
/// Where nobody listens yet.
pub(super) fn get(address: SocketAddr, roots: &Path, path: &str) -> io::Result<String> {
    let name = ServerName::IpAddress(address.ip().into());
    let tls = ClientConnection::new(Arc::new(trusting(roots)), name).map_err(io::Error::other)?;
    let request = format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n");
    let answer = exchange(StreamOwned::new(tls, connect(address)?), &request)?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or(io::ErrorKind::UnexpectedEof)?;
    assert!(head.starts_with("HTTP/1.0 200 "), "GET {path}: {answer}");
    Ok(body.to_owned())
}

fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, LIMIT)?;
    stream.set_read_timeout(Some(LIMIT))?;
    Ok(stream)
}

fn exchange(mut stream: impl Read + Write, request: &str) -> io::Result<String> {
    stream.write_all(request.as_bytes())?;
    stream.flush()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}
