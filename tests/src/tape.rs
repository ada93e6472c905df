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
    connections: Vec<Connection>,
    /// Connections that ended inside a request.
    broken_off: usize,
}

/// One connection to the origin.
#[derive(Debug, Default)]
struct Connection {
    /// What arrived since they were last taken.
    bytes: Vec<u8>,
    /// It holds a part of a request, and more may come.
    within: bool,
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

    /// Takes the requests out, or what was not clear.
    ///
    /// # Errors
    ///
    /// What no two programs would read alike, where there was any.
    pub fn take_checked(&self) -> Result<Vec<Message>, Vec<String>> {
        self.with(|record| {
            let requests = std::mem::take(&mut record.requests);
            let unclear = std::mem::take(&mut record.unclear);
            if unclear.is_empty() { Ok(requests) } else { Err(unclear) }
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
        self.with(|record| record.connections.len())
    }

    /// Takes out what arrived, byte for byte: the number of each connection that something came on, and what.
    #[must_use]
    pub fn take_bytes(&self) -> Vec<(usize, Vec<u8>)> {
        let taken = |record: &mut Record| {
            let all = record.connections.iter_mut().map(|connection| std::mem::take(&mut connection.bytes));
            all.enumerate().filter(|(_, bytes)| !bytes.is_empty()).collect()
        };
        self.with(taken)
    }

    /// Waits until no connection is in the middle of a request: each is whole, or its connection has ended.
    pub async fn settled(&self) {
        let settled = async || {
            let within = |record: &mut Record| record.connections.iter().any(|connection| connection.within);
            (!self.with(within)).then_some(())
        };
        eventually("no request is half at the origin", settled).await;
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

/// One connection's part of the record.
struct Notes {
    record: Arc<Mutex<Record>>,
    number: usize,
}

impl Notes {
    fn begin(record: Arc<Mutex<Record>>) -> Self {
        let mut open = record.lock().expect("no test panics while it holds the record");
        open.connections.push(Connection::default());
        let number = open.connections.len() - 1;
        drop(open);
        Self { record, number }
    }

    fn change(&self, change: impl FnOnce(&mut Record, usize)) {
        let mut record = self.record.lock().expect("no test panics while it holds the record");
        change(&mut record, self.number);
    }

    fn arrived(&self, bytes: &[u8]) {
        self.change(|record, number| {
            record.bytes += bytes.len();
            record.connections[number].bytes.extend_from_slice(bytes);
            record.connections[number].within = true;
        });
    }

    fn ended(&self, unclear: Option<String>, left: usize) {
        self.change(|record, number| {
            record.broken_off += usize::from(unclear.is_none() && left > 0);
            record.unclear.extend(unclear);
            record.connections[number].within = false;
        });
    }
}

async fn play<A: Fn(&Message) -> Vec<u8>>(mut stream: TcpStream, answer: Arc<A>, record: Arc<Mutex<Record>>) {
    let notes = Notes::begin(record);
    let (mut buffer, mut unclear) = (Vec::new(), None);
    'connection: while let Ok(length @ 1..) = stream.read_buf(&mut buffer).await {
        notes.arrived(&buffer[buffer.len() - length..]);
        loop {
            match read_message(&buffer, Kind::Request) {
                Front::Whole(request, length) => {
                    buffer.drain(..length);
                    let response = answer(&request);
                    let within = !buffer.is_empty();
                    notes.change(|record, number| {
                        record.requests.push(request);
                        record.connections[number].within = within;
                    });
                    if stream.write_all(&response).await.is_err() {
                        break 'connection;
                    }
                }
                Front::Part => break,
                Front::Unclear(reason) => {
                    unclear = Some(reason);
                    break 'connection;
                }
            }
        }
    }
    notes.ended(unclear, buffer.len());
}
