//! An origin that keeps every request as bytes, reads each strictly, and answers by hand.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::origin::Origin;
use crate::raw::{Front, Kind, Message, read_message};
use crate::wait::eventually;

/// What it answers when nothing else was asked for.
pub const EMPTY: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";

/// What reached the origin.
#[derive(Debug, Default)]
struct Record {
    requests: Vec<Message>,
    /// What no two programs would read alike.
    unclear: Vec<String>,
    bytes: usize,
    connections: usize,
    /// Connections that ended inside a request.
    broken_off: usize,
}

/// The origin.
#[derive(Debug)]
pub struct Tape {
    pub origin: Origin,
    record: Arc<Mutex<Record>>,
}

impl Tape {
    /// Answers `200` with nothing.
    pub async fn start() -> Self {
        Self::answering(|_| EMPTY.to_vec()).await
    }

    /// Answers each whole request with what a function says.
    pub async fn answering(answer: impl Fn(&Message) -> Vec<u8> + Send + Sync + 'static) -> Self {
        let record: Arc<Mutex<Record>> = Arc::default();
        let (answer, kept) = (Arc::new(answer), Arc::clone(&record));
        let origin = Origin::tcp(move |stream| play(stream, Arc::clone(&answer), Arc::clone(&kept))).await;
        Self { origin, record }
    }

    /// Takes the requests out. Panics where one was not clear.
    #[must_use]
    pub fn take(&self) -> Vec<Message> {
        self.with(|record| {
            assert!(record.unclear.is_empty(), "{:?}", record.unclear);
            std::mem::take(&mut record.requests)
        })
    }

    /// The one request since the last time.
    #[must_use]
    pub fn only(&self) -> Message {
        let mut all = self.take();
        assert_eq!(all.len(), 1, "{all:?}");
        all.remove(0)
    }

    /// How many bytes have arrived, of whole requests or not.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.with(|record| record.bytes)
    }

    /// How many connections were opened.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.with(|record| record.connections)
    }

    /// Waits for a connection that ends inside a request.
    pub async fn wait_for_broken_off(&self) {
        let broken = async || self.with(|record| record.broken_off > 0).then_some(());
        eventually("a request breaks off at the origin", broken).await;
    }

    fn with<T>(&self, look: impl FnOnce(&mut Record) -> T) -> T {
        look(&mut self.record.lock().expect("no test panics while it holds the record"))
    }
}

async fn play<A: Fn(&Message) -> Vec<u8>>(mut stream: TcpStream, answer: Arc<A>, record: Arc<Mutex<Record>>) {
    let note = |change: &mut dyn FnMut(&mut Record)| {
        change(&mut record.lock().expect("no test panics while it holds the record"));
    };
    note(&mut |record| record.connections += 1);
    let mut buffer = Vec::new();
    while let Ok(length @ 1..) = stream.read_buf(&mut buffer).await {
        note(&mut |record| record.bytes += length);
        loop {
            match read_message(&buffer, Kind::Request) {
                Front::Whole(request, length) => {
                    buffer.drain(..length);
                    let response = answer(&request);
                    note(&mut |record| record.requests.push(request.clone()));
                    if stream.write_all(&response).await.is_err() {
                        return;
                    }
                }
                Front::Part => break,
                Front::Unclear(reason) => {
                    note(&mut |record| record.unclear.push(reason.clone()));
                    return;
                }
            }
        }
    }
    if !buffer.is_empty() {
        note(&mut |record| record.broken_off += 1);
    }
}
