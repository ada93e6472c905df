//! A gRPC service by hand, without a protocol file: an h2c origin that takes and gives notes in every way there is, and
//! a visitor's channel to it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::Stream;
use futures_util::stream::{BoxStream, StreamExt, poll_fn};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tests::bed::{Agent, Relay};
use tests::deploy::simple;
use tests::origin::Origin;
use tests::visitor::{Visitor, background};
use tokio::net::TcpStream;
use tokio::sync::{Barrier, Mutex, Notify, Semaphore, mpsc};
use tonic::client::Grpc;
use tonic::metadata::MetadataMap;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;
use tower::service_fn as procedure;

use super::HOST;

/// No message of the tests is larger.
const LARGEST: usize = 64 << 20;

/// The one message that there is.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Note {
    #[prost(string, tag = "1")]
    pub(super) text: String,
    #[prost(bytes = "vec", tag = "2")]
    pub(super) blob: Vec<u8>,
}

pub(super) fn note(text: &str) -> Note {
    Note { text: text.to_owned(), blob: Vec::new() }
}

/// What the origin does only when a test lets it, and what it saw.
#[derive(Debug)]
pub(super) struct Desk {
    /// A permit for each message that `Count` may send.
    pub(super) go: Semaphore,
    /// Each message that `Sum` has received, at once.
    pub(super) seen: mpsc::Sender<String>,
    /// What `Wait` was called with.
    pub(super) asked: Mutex<Option<MetadataMap>>,
    /// Handlers that run now.
    pub(super) running: AtomicUsize,
    /// Everybody who calls `Meet` has to be there at once.
    pub(super) meeting: Barrier,
    /// Ends the origin's connections without a farewell.
    pub(super) die: Notify,
}

/// Counts a handler, or what it streams, for as long as it lives.
#[derive(Debug)]
struct Alive(Arc<Desk>);

impl Alive {
    fn begin(desk: &Arc<Desk>) -> Self {
        desk.running.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(desk))
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::SeqCst);
    }
}

type Answer<T> = Result<Response<T>, Status>;
type Notes = BoxStream<'static, Result<Note, Status>>;

/// The same note, and what was said about it.
fn say(request: Request<Note>) -> Answer<Note> {
    let (metadata, _, note) = request.into_parts();
    if note.text == "unknown" {
        let mut status = Status::with_details(Code::NotFound, "no such note: ü%\n", vec![0, 255].into());
        status.metadata_mut().insert("x-why", "because".parse().expect("a value"));
        return Err(status);
    }
    let mut response = Response::new(note);
    for (name, value) in [("x-asked", metadata.get("x-asked")), ("x-agent", metadata.get("user-agent"))] {
        if let Some(value) = value {
            response.metadata_mut().insert(name, value.clone());
        }
    }
    for value in metadata.get_all_bin("x-trace-bin") {
        response.metadata_mut().append_bin("x-trace-bin", value.clone());
    }
    Ok(response)
}

/// As many notes as there are permits, up to three, and then a status.
fn count(desk: &Arc<Desk>, request: &Request<Note>) -> Answer<Notes> {
    let (alive, fails) = (Alive::begin(desk), request.get_ref().text == "fail");
    let notes = futures_util::stream::unfold((alive, 0), move |(alive, n)| async move {
        alive.0.go.acquire().await.ok()?.forget();
        match n {
            0..3 => Some((Ok(note(&n.to_string())), (alive, n + 1))),
            3 if fails => {
                let mut status = Status::resource_exhausted("no more notes");
                status.metadata_mut().insert("x-sent", n.into());
                Some((Err(status), (alive, n + 1)))
            }
            _ => None,
        }
    });
    Ok(Response::new(notes.boxed()))
}

/// All texts, one after the other.
async fn sum(desk: Arc<Desk>, request: Request<Streaming<Note>>) -> Answer<Note> {
    let (mut notes, mut all) = (request.into_inner(), String::new());
    while let Some(next) = notes.message().await? {
        all += &next.text;
        drop(desk.seen.send(next.text).await);
    }
    Ok(Response::new(note(&all)))
}

/// Each note goes back in capitals.
fn chat(desk: &Arc<Desk>, request: Request<Streaming<Note>>) -> Answer<Notes> {
    let alive = Alive::begin(desk);
    let notes = request.into_inner().map(move |next| {
        let _alive = &alive;
        next.map(|next| Note { text: next.text.to_uppercase(), blob: next.blob })
    });
    Ok(Response::new(notes.boxed()))
}

/// Never answers.
async fn wait(desk: Arc<Desk>, request: Request<Note>) -> Answer<Note> {
    let _alive = Alive::begin(&desk);
    *desk.asked.lock().await = Some(request.metadata().clone());
    std::future::pending().await
}

/// Answers once everybody has asked.
async fn meet(desk: Arc<Desk>, request: Request<Note>) -> Answer<Note> {
    desk.meeting.wait().await;
    Ok(Response::new(request.into_inner()))
}

async fn serve(
    desk: Arc<Desk>,
    request: hyper::Request<Incoming>,
) -> Result<hyper::Response<tonic::body::Body>, std::convert::Infallible> {
    let mut grpc = tonic::server::Grpc::new(ProstCodec::<Note, Note>::default())
        .max_decoding_message_size(LARGEST)
        .max_encoding_message_size(LARGEST);
    let method = request.uri().path().to_owned();
    Ok(match method.as_str() {
        "/notes.Notes/Say" => grpc.unary(procedure(|asked| std::future::ready(say(asked))), request).await,
        "/notes.Notes/Count" => {
            let count = |asked| std::future::ready(count(&desk, &asked));
            grpc.server_streaming(procedure(count), request).await
        }
        "/notes.Notes/Sum" => {
            grpc.client_streaming(procedure(|asked| sum(Arc::clone(&desk), asked)), request).await
        }
        "/notes.Notes/Chat" => {
            let chat = |asked| std::future::ready(chat(&desk, asked));
            grpc.streaming(procedure(chat), request).await
        }
        "/notes.Notes/Wait" => grpc.unary(procedure(|asked| wait(Arc::clone(&desk), asked)), request).await,
        "/notes.Notes/Meet" => grpc.unary(procedure(|asked| meet(Arc::clone(&desk), asked)), request).await,
        _ => Status::unimplemented("no such method").into_http(),
    })
}

async fn connection(stream: TcpStream, desk: Arc<Desk>) {
    let service = service_fn(|request| serve(Arc::clone(&desk), request));
    let serving = http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service);
    tokio::select! {
        _end = serving => {}
        () = desk.die.notified() => {}
    }
}

/// The origin behind a relay and an agent, and a visitor's one connection.
pub(super) struct Lane {
    pub(super) desk: Arc<Desk>,
    pub(super) seen: mpsc::Receiver<String>,
    pub(super) visitor: Visitor,
    pub(super) grpc: Grpc<Channel>,
    /// How many connections the visitor has made.
    pub(super) connections: Arc<AtomicUsize>,
    pub(super) agent: Agent,
    _relay: Relay,
    _origin: Origin,
}

impl Lane {
    pub(super) async fn start() -> Self {
        let (sender, seen) = mpsc::channel(16);
        let desk = Arc::new(Desk {
            go: Semaphore::new(0),
            seen: sender,
            asked: Mutex::default(),
            running: AtomicUsize::new(0),
            meeting: Barrier::new(super::CROWD),
            die: Notify::new(),
        });
        let kept = Arc::clone(&desk);
        let origin = Origin::tcp(move |stream| connection(stream, Arc::clone(&kept))).await;
        let relay = Relay::start();
        let agent = Agent::running(&relay, &[HOST], &simple(HOST, &format!("h2c://{}", origin.address)));
        let visitor = Visitor::of(&relay);
        let (channel, connections) = channel(&visitor).await;
        let grpc = Grpc::new(channel).max_decoding_message_size(LARGEST).max_encoding_message_size(LARGEST);
        Self { desk, seen, visitor, grpc, connections, agent, _relay: relay, _origin: origin }
    }

    pub(super) fn running(&self) -> usize {
        self.desk.running.load(Ordering::SeqCst)
    }
}

async fn channel(visitor: &Visitor) -> (Channel, Arc<AtomicUsize>) {
    let (visitor, connections) = (visitor.clone(), Arc::new(AtomicUsize::new(0)));
    let count = Arc::clone(&connections);
    let connector = procedure(move |_: hyper::Uri| {
        count.fetch_add(1, Ordering::SeqCst);
        let visitor = visitor.clone();
        async move { visitor.connect(HOST, &["h2"]).await.map(TokioIo::new) }
    });
    let endpoint = Endpoint::from_shared(format!("https://{HOST}")).expect("an address");
    (endpoint.connect_with_connector(connector).await.expect("a channel"), connections)
}

/// A stream of notes that a test feeds one by one.
pub(super) fn fed() -> (mpsc::Sender<Note>, impl Stream<Item = Note> + Send + 'static) {
    let (sender, mut notes) = mpsc::channel(1);
    (sender, poll_fn(move |context| notes.poll_recv(context)))
}

/// Calls a method with one note in, one out.
pub(super) async fn unary(
    grpc: &Grpc<Channel>,
    method: &'static str,
    request: Request<Note>,
) -> Answer<Note> {
    let mut grpc = grpc.clone();
    grpc.ready().await.expect("a connection");
    grpc.unary(request, path(method), ProstCodec::<Note, Note>::default()).await
}

/// One note in, many out.
pub(super) async fn many(grpc: &Grpc<Channel>, method: &'static str, text: &str) -> Answer<Streaming<Note>> {
    let mut grpc = grpc.clone();
    grpc.ready().await.expect("a connection");
    grpc.server_streaming(Request::new(note(text)), path(method), ProstCodec::<Note, Note>::default()).await
}

/// Many in, many out.
pub(super) async fn both(
    grpc: &Grpc<Channel>,
    method: &'static str,
    notes: impl Stream<Item = Note> + Send + 'static,
) -> Answer<Streaming<Note>> {
    let mut grpc = grpc.clone();
    grpc.ready().await.expect("a connection");
    grpc.streaming(Request::new(notes), path(method), ProstCodec::<Note, Note>::default()).await
}

/// Many in, one out, which comes to the receiver.
pub(super) async fn together(
    grpc: &Grpc<Channel>,
    method: &'static str,
    notes: impl Stream<Item = Note> + Send + 'static,
) -> tokio::sync::oneshot::Receiver<Answer<Note>> {
    let mut grpc = grpc.clone();
    grpc.ready().await.expect("a connection");
    let (sender, receiver) = tokio::sync::oneshot::channel();
    background(async move {
        let codec = ProstCodec::<Note, Note>::default();
        drop(sender.send(grpc.client_streaming(Request::new(notes), path(method), codec).await));
    });
    receiver
}

fn path(method: &'static str) -> hyper::http::uri::PathAndQuery {
    hyper::http::uri::PathAndQuery::from_static(method)
}
