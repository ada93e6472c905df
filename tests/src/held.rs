//! An origin whose connections lie in the test's own hands: it reads and writes them line by line, between what the
//! visitor does.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use crate::origin::Origin;
use crate::raw::{A_WHILE, Front, Kind, Message, read_message};
use crate::wait::PATIENCE;

/// The origin. Accepts, and does nothing else.
#[derive(Debug)]
pub struct Holder {
    pub origin: Origin,
    accepted: mpsc::Receiver<TcpStream>,
}

impl Holder {
    /// On a port of the kernel's choice.
    pub async fn start() -> Self {
        let (sender, accepted) = mpsc::channel(16);
        let origin = Origin::tcp(move |stream| {
            let sender = sender.clone();
            async move { drop(sender.send(stream).await) }
        });
        Self { origin: origin.await, accepted }
    }

    /// The next connection, which has to come.
    pub async fn next(&mut self) -> Held {
        let next = tokio::time::timeout(PATIENCE, self.accepted.recv()).await;
        let stream = next.expect("a connection comes").expect("the origin listens");
        Held { stream, buffer: Vec::new() }
    }

    /// Whether nobody has come whom [`Self::next`] has not told of.
    #[must_use]
    pub fn is_left_alone(&mut self) -> bool {
        self.accepted.try_recv().is_err()
    }
}

/// One connection of the relay to the origin.
#[derive(Debug)]
pub struct Held {
    stream: TcpStream,
    /// What came and was not taken yet.
    pub buffer: Vec<u8>,
}

impl Held {
    /// The head of the next request; what follows it stays in the buffer.
    pub async fn head(&mut self) -> Message {
        loop {
            match read_message(&self.buffer, Kind::Bodyless) {
                Front::Whole(message, length) => {
                    self.buffer.drain(..length);
                    return message;
                }
                Front::Part => assert!(self.fill().await, "the connection ends before a head"),
                Front::Unclear(reason) => panic!("{reason}"),
            }
        }
    }

    /// Takes everything up to the end of a text, which has to come.
    pub async fn until(&mut self, text: &str) -> String {
        loop {
            if let Some(at) = self.buffer.windows(text.len()).position(|bytes| bytes == text.as_bytes()) {
                let taken = self.buffer.drain(..at + text.len()).collect::<Vec<u8>>();
                return String::from_utf8_lossy(&taken).into_owned();
            }
            assert!(self.fill().await, "the connection ends before {text:?}");
        }
    }

    /// Sends bytes, whether the relay still reads or not.
    pub async fn send(&mut self, text: &str) {
        let _gone = self.stream.write_all(text.as_bytes()).await;
    }

    /// Asserts that nothing comes for a while.
    pub async fn is_quiet(&mut self) {
        let came = tokio::time::timeout(A_WHILE, self.stream.read_buf(&mut self.buffer)).await;
        let text = String::from_utf8_lossy(&self.buffer);
        assert!(!matches!(came, Ok(Ok(1..))) && self.buffer.is_empty(), "it came: {text:?}");
    }

    /// Waits until the relay has given the connection up; what comes before that is thrown away.
    pub async fn ends(&mut self) {
        while self.fill().await {
            self.buffer.clear();
        }
    }

    /// Reads once more; not after the end.
    async fn fill(&mut self) -> bool {
        let read = tokio::time::timeout(PATIENCE, self.stream.read_buf(&mut self.buffer)).await;
        match read {
            Ok(read) => read.is_ok_and(|length| length > 0),
            Err(_) => {
                panic!("nothing came for {PATIENCE:?}, after {:?}", String::from_utf8_lossy(&self.buffer))
            }
        }
    }
}
