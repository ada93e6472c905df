//! WebSockets over HTTP/2 (RFC 8441): to the origin each is an upgrade like any other; nothing of a stream passes before
//! the origin has agreed, and what it says instead passes as it is.

mod carried;
mod refused;
mod stream;

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use h2::client::SendRequest;
use h2::ext::Protocol;
use h2::{RecvStream, SendStream};
use hyper::{HeaderMap, Request, Response};
use tests::bed::{Agent, Relay};
use tests::deploy::with;
use tests::origin::Origin;
use tests::raw::{Front, Kind, Message, read_message};
use tests::visitor::{Visitor, background};
use tests::wait::{PATIENCE, eventually};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

const HOST: &str = "a.example.com";
const PATH: &str = "/ws/yjs/doc?room=1%202";

struct Lane {
    visitor: Visitor,
    relay: Relay,
    _agent: Agent,
}

impl Lane {
    fn of(origin: &Origin) -> Self {
        Self::with(origin, "")
    }

    /// With keys of the exposure.
    fn with(origin: &Origin, expose: &str) -> Self {
        let relay = Relay::with("[access_log]\noutput = \"./access.log\"\n");
        let config = with(HOST, &format!("http://{}", origin.address), "", expose);
        let agent = Agent::running(&relay, &[HOST], &config);
        Self { visitor: Visitor::of(&relay), relay, _agent: agent }
    }

    async fn connect(&self) -> SendRequest<Bytes> {
        let stream = self.visitor.connect(HOST, &["h2"]).await.expect("TLS");
        let (sender, connection) = h2::client::handshake(stream).await.expect("HTTP/2");
        background(async move { drop(connection.await) });
        let offered = async || sender.is_extended_connect_protocol_enabled().then_some(());
        eventually("the relay offers extended CONNECT", offered).await;
        sender
    }
}

/// What came of an extended CONNECT.
struct Opened {
    response: Response<()>,
    send: SendStream<Bytes>,
    recv: RecvStream,
}

impl Opened {
    fn status(&self) -> u16 {
        self.response.status().as_u16()
    }

    fn error(&self) -> &str {
        self.response.headers().get("adit-error").map_or("", |code| code.to_str().expect("text"))
    }

    fn send(&mut self, bytes: impl Into<Bytes>, end: bool) {
        self.send.send_data(bytes.into(), end).expect("sent");
    }

    /// What comes next; nothing at the end.
    async fn next(&mut self) -> Option<Result<Bytes, h2::Error>> {
        let data = tokio::time::timeout(PATIENCE, self.recv.data()).await.expect("data in time");
        if let Some(Ok(data)) = &data {
            self.recv.flow_control().release_capacity(data.len()).expect("it was taken");
        }
        data
    }

    /// So many bytes.
    async fn exactly(&mut self, count: usize) -> Vec<u8> {
        let mut all = Vec::new();
        while all.len() < count {
            all.extend_from_slice(&self.next().await.expect("more").expect("sound"));
        }
        all
    }

    /// All that is left.
    async fn rest(&mut self) -> Result<Vec<u8>, h2::Error> {
        let mut all = Vec::new();
        while let Some(data) = self.next().await {
            all.extend_from_slice(&data?);
        }
        Ok(all)
    }
}

async fn connect(sender: &SendRequest<Bytes>, protocol: &str, fields: &[(&'static str, &str)]) -> Opened {
    let mut request = Request::builder().method("CONNECT").uri(format!("https://{HOST}{PATH}"));
    request = request.header("sec-websocket-version", "13");
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    let mut request = request.body(()).expect("a request");
    request.extensions_mut().insert(Protocol::from(protocol));
    let mut sender = sender.clone().ready().await.expect("room for a stream");
    let (response, send) = sender.send_request(request, false).expect("sent");
    let response = tokio::time::timeout(PATIENCE, response).await.expect("a response in time");
    let (parts, recv) = response.expect("a response").into_parts();
    Opened { response: Response::from_parts(parts, ()), send, recv }
}

/// A GET on the same connection: its status.
async fn get(sender: &SendRequest<Bytes>, path: &str) -> u16 {
    let request = Request::get(format!("https://{HOST}{path}")).body(()).expect("a request");
    let mut sender = sender.clone().ready().await.expect("room for a stream");
    let (response, _) = sender.send_request(request, true).expect("sent");
    let response = tokio::time::timeout(PATIENCE, response).await.expect("a response in time");
    response.expect("a response").status().as_u16()
}

type Heads = Arc<Mutex<Vec<Message>>>;

/// Agrees to every upgrade as a WebSocket's origin should, sends back what comes, and says farewell after the visitor's
/// last. Any other request gets `200`.
async fn echo(heads: &Heads) -> Origin {
    answering(heads, |request| {
        let accept = derive_accept_key(request.one("sec-websocket-key").as_bytes());
        let protocol = request.one("upgrade");
        format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: {protocol}\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Protocol: kryton-token\r\n\
             Set-Cookie: a=b; HttpOnly\r\n\r\n"
        )
    })
    .await
}

/// The same with another answer to an upgrade.
async fn answering<F>(heads: &Heads, answer: F) -> Origin
where
    F: Fn(&Message) -> String + Send + Sync + 'static,
{
    let (heads, answer) = (Arc::clone(heads), Arc::new(answer));
    Origin::tcp(move |stream| serve(stream, Arc::clone(&heads), Arc::clone(&answer))).await
}

async fn serve<F: Fn(&Message) -> String>(mut stream: TcpStream, heads: Heads, answer: Arc<F>) {
    let mut buffer = Vec::new();
    loop {
        let Ok(1..) = stream.read_buf(&mut buffer).await else { return };
        let Front::Whole(request, length) = read_message(&buffer, Kind::Request) else { continue };
        buffer.drain(..length);
        heads.lock().expect("no panic").push(request.clone());
        let is_upgrade = !request.one("upgrade").is_empty();
        let answer =
            if is_upgrade { answer(&request) } else { "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".into() };
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
        if is_upgrade && answer.contains(" 101 ") {
            break;
        }
    }
    loop {
        if stream.write_all(&buffer).await.is_err() {
            return;
        }
        buffer.clear();
        match stream.read_buf(&mut buffer).await {
            Ok(1..) => {}
            Ok(0) => break,
            Err(_) => return,
        }
    }
    let _gone = stream.write_all(b"farewell").await;
}

fn taken(heads: &Heads) -> Vec<Message> {
    std::mem::take(&mut *heads.lock().expect("no panic"))
}

fn is_absent(headers: &HeaderMap, names: &[&str]) -> bool {
    names.iter().all(|name| !headers.contains_key(*name))
}
