//! A visitor who speaks HTTP/3, by the library that the relay's own side is built on.

use std::future::poll_fn;
use std::net::Ipv4Addr;
use std::sync::Arc;

use bytes::{Buf, Bytes, BytesMut};
use h3::client::{RequestStream, SendRequest};
use h3::error::StreamError;
use h3_quinn::{BidiStream, OpenStreams};
use hyper::{HeaderMap, Request};
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{Connection, ConnectionError, Endpoint, TransportConfig, VarInt};

use crate::bed::Relay;
use crate::tls::Tls;
use crate::visitor::{Answer, background};
use crate::wait::PATIENCE;

/// One request under way.
pub type Stream = RequestStream<BidiStream<Bytes>, Bytes>;

/// A connection.
pub struct Http3 {
    /// For what the library would not send.
    pub connection: Connection,
    sender: SendRequest<OpenStreams, Bytes>,
    /// Sends and receives for as long as it lives.
    _endpoint: Endpoint,
}

impl std::fmt::Debug for Http3 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Http3").field(&self.connection).finish()
    }
}

/// How a visitor connects.
#[derive(Debug, Clone, Copy)]
pub struct Manner {
    /// Its own address.
    pub local: [u8; 4],
    /// Bytes of one stream that it takes without reading them.
    pub window: Option<u32>,
}

impl Default for Manner {
    fn default() -> Self {
        Self { local: Ipv4Addr::LOCALHOST.octets(), window: None }
    }
}

impl Http3 {
    /// Connects under a hostname.
    ///
    /// # Panics
    ///
    /// Where the relay does not take the connection.
    pub async fn connect(relay: &Relay, hostname: &str) -> Self {
        Self::try_connect(relay, hostname, Manner::default()).await.expect("QUIC")
    }

    /// The same where the relay may refuse; it does so after the handshake at times, which shows with the first request.
    ///
    /// # Errors
    ///
    /// How QUIC ended.
    pub async fn try_connect(relay: &Relay, hostname: &str, manner: Manner) -> Result<Self, ConnectionError> {
        let tls = Tls::of(relay, &[&rustls::version::TLS13]).quic("h3");
        let tls = QuicClientConfig::try_from(tls).expect("TLS 1.3");
        let mut config = quinn::ClientConfig::new(Arc::new(tls));
        let mut transport = TransportConfig::default();
        if let Some(window) = manner.window {
            transport.stream_receive_window(VarInt::from_u32(window));
        }
        config.transport_config(Arc::new(transport));
        let endpoint = Endpoint::client((Ipv4Addr::from(manner.local), 0).into()).expect("a socket");
        let connection = endpoint.connect_with(config, relay.https, hostname).expect("an attempt").await?;
        let made = h3::client::new(h3_quinn::Connection::new(connection.clone())).await;
        let Ok((mut driver, sender)) = made else {
            return Err(connection.closed().await);
        };
        background(async move { drop(poll_fn(|cx| driver.poll_close(cx)).await) });
        Ok(Self { connection, sender, _endpoint: endpoint })
    }

    /// Begins a request; its body, if any, is the caller's.
    ///
    /// # Errors
    ///
    /// Where the connection is over.
    pub async fn begin(&mut self, request: Request<()>) -> Result<Stream, StreamError> {
        self.sender.send_request(request).await
    }

    /// One request with all of its body. A relay that wants no more of it says why.
    ///
    /// # Errors
    ///
    /// Where there is no whole response.
    pub async fn send(&mut self, request: Request<Bytes>) -> Result<Answer, StreamError> {
        let (parts, body) = request.into_parts();
        let mut stream = self.begin(Request::from_parts(parts, ())).await?;
        let sending = async {
            if !body.is_empty() {
                stream.send_data(body).await?;
            }
            stream.finish().await
        };
        let _refused_by_then = sending.await;
        read(&mut stream).await
    }
}

/// The response to a request whose body has been sent.
///
/// # Errors
///
/// Where it does not come whole.
pub async fn read(stream: &mut Stream) -> Result<Answer, StreamError> {
    let reading = async {
        let mut head = stream.recv_response().await?;
        while head.status().is_informational() {
            head = stream.recv_response().await?;
        }
        let mut body = BytesMut::new();
        while let Some(mut data) = stream.recv_data().await? {
            body.extend_from_slice(&data.copy_to_bytes(data.remaining()));
        }
        let _trailers: Option<HeaderMap> = stream.recv_trailers().await?;
        let (parts, ()) = head.into_parts();
        Ok(Answer { status: parts.status.as_u16(), headers: parts.headers, body: body.freeze() })
    };
    tokio::time::timeout(PATIENCE, reading).await.expect("a response in time")
}
