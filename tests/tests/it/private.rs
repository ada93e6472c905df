//! Private services: an operator's device reaches what a home offers to it, whatever the relay in between sees or says.

mod churn;
mod connect;
mod doors;
mod https;
mod lies;
mod rights;
mod stubborn;
mod udp;
mod unread;

use std::net::SocketAddr;
use std::time::Duration;

use socket2::SockRef;
use tests::bed::{Agent, Relay};
use tests::operator::Operator;
use tests::origin::Origin;
use tests::wait::PATIENCE;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

/// What follows from a change of rights does so within this time.
const AT_ONCE: Duration = Duration::from_secs(1);

/// `agent.toml` of a home with one private service.
fn private(service: &str, origin: &str, allow: &str) -> String {
    format!(
        "[service.{service}]\norigin = \"{origin}\"\n[[private]]\nservice = \"{service}\"\nallow = [\"{allow}\"]\n"
    )
}

/// A device that the relay calls `home`, and that runs with this `agent.toml`.
fn home(relay: &Relay, config: &str) -> Agent {
    named(relay, &["--name", "home"], config)
}

/// One that is enrolled with a token that is made with these arguments.
fn named(relay: &Relay, token: &[&str], config: &str) -> Agent {
    let mut agent = Agent::new();
    agent.enroll(relay, &relay.ask(&[&["token", "create"], token].concat()));
    agent.write_config(config);
    agent.run();
    agent.wait_until_up();
    agent
}

/// An origin whose connections lie in the test's own hands.
struct Held {
    origin: Origin,
    accepted: mpsc::Receiver<TcpStream>,
}

impl Held {
    async fn start() -> Self {
        let (sender, accepted) = mpsc::channel(64);
        let origin = Origin::tcp(move |stream| {
            let sender = sender.clone();
            async move { drop(sender.send(stream).await) }
        });
        Self { origin: origin.await, accepted }
    }

    fn url(&self) -> String {
        format!("tcp://{}", self.origin.address)
    }

    /// The next connection, which has to come.
    async fn next(&mut self) -> TcpStream {
        let next = tokio::time::timeout(PATIENCE, self.accepted.recv()).await;
        next.expect("a connection comes").expect("the origin listens")
    }

    /// Whether nobody has come whom [`Self::next`] has not told of.
    fn is_left_alone(&mut self) -> bool {
        self.accepted.try_recv().is_err()
    }
}

/// A home whose service `web` is held by the test, and an operator's device with a door to it.
struct Bed {
    web: Held,
    laptop: Operator,
    home: Agent,
    relay: Relay,
    door: SocketAddr,
}

impl Bed {
    async fn new() -> Self {
        let (relay, web) = (Relay::start(), Held::start().await);
        let home = home(&relay, &private("web", &web.url(), "role:operator"));
        let mut laptop = Operator::connected(&relay, "laptop", &["home/web"]);
        let door = laptop.door("home/web");
        Self { web, laptop, home, relay, door }
    }

    /// A local client's connection, and the origin's end of it.
    async fn connect(&mut self) -> Both {
        let client = TcpStream::connect(self.door).await.expect("the door is open");
        Both { client, origin: self.web.next().await }
    }
}

/// The two ends of a connection.
struct Both {
    client: TcpStream,
    origin: TcpStream,
}

impl Both {
    /// Something passes each way.
    async fn is_alive(&mut self) {
        for byte in *b"?!" {
            pass(&mut self.client, &mut self.origin, byte).await;
            pass(&mut self.origin, &mut self.client, byte).await;
        }
    }

    /// Neither side takes it for a proper end, and neither waits for it.
    async fn breaks_at_once(mut self) {
        let both = async { tokio::join!(broken(&mut self.client), broken(&mut self.origin)) };
        tokio::time::timeout(AT_ONCE, both).await.expect("at once");
    }
}

async fn pass(from: &mut TcpStream, to: &mut TcpStream, byte: u8) {
    from.write_u8(byte).await.expect("it takes a byte");
    let came = tokio::time::timeout(PATIENCE, to.read_u8()).await;
    assert_eq!(came.expect("it comes").expect("the connection lives"), byte);
}

/// Says everything, and that nothing follows.
async fn say(stream: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) {
    stream.write_all(bytes).await.expect("it takes everything");
    stream.shutdown().await.expect("it takes the end");
}

/// Everything up to the end, which has to be a proper one.
async fn hear(stream: &mut (impl AsyncRead + Unpin)) -> Vec<u8> {
    let mut heard = Vec::new();
    let end = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut heard)).await;
    end.expect("the end comes").expect("it is a proper end");
    heard
}

/// What came before a connection broke, which it has to.
async fn broken(stream: &mut (impl AsyncRead + Unpin)) -> Vec<u8> {
    let mut heard = Vec::new();
    let end = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut heard)).await;
    end.expect("the end comes").expect_err("nobody takes it for the whole");
    heard
}

/// Breaks a connection off.
fn reset(stream: TcpStream) {
    SockRef::from(&stream).set_linger(Some(Duration::ZERO)).expect("a socket");
    drop(stream);
}

/// That a door lets nobody through: the connection breaks, and nothing came.
async fn is_refused(door: SocketAddr) {
    match TcpStream::connect(door).await {
        Ok(mut client) => assert_eq!(broken(&mut client).await, b""),
        // It was refused before this side has looked.
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{error}"),
    }
}

/// What `agent connect` says where it does not come up, which ends with code 1.
fn refusal(operator: &Operator, arguments: &[&str]) -> String {
    let output = operator.agent.command(&[&["connect"], arguments].concat());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(1), &b""[..]), "{said}");
    said
}

/// One GET over HTTP/1.1: the JSON that an [`Origin::named`] answers.
async fn get(door: SocketAddr) -> serde_json::Value {
    let mut stream = TcpStream::connect(door).await.expect("the door is open");
    stream
        .write_all(b"GET /a?b HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        .await
        .expect("a request");
    let heard = String::from_utf8(hear(&mut stream).await).expect("text");
    let (head, body) = heard.split_once("\r\n\r\n").expect("a head");
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    serde_json::from_str(body).expect("JSON")
}
