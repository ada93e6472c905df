//! Datagrams to and from another peer: one flow for each address that speaks, which lives as long as its stream.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use protocol::datagram::{self, Datagrams, FLOW, SEALED};
use protocol::private::Proven;
use quinn::{Connection, ConnectionError, SendDatagramError};
use tokio::sync::mpsc;
use transport::urgency::Shares;

use super::direct::InUse;
use crate::splice::{Ends, Inlet as _};

/// A flow ends in which nothing has moved for this long.
pub(crate) const IDLE: Duration = Duration::from_secs(120);
/// Datagrams of a flow that wait; of more, the latest are dropped.
const WAITING: usize = 256;

/// A connection that carries streams and datagrams: the session's, or one directly to another agent.
#[derive(Debug, Clone)]
pub struct Carrier {
    pub(crate) connection: Connection,
    /// What the streams have written, urgent and not.
    pub(crate) shares: Arc<Shares>,
    pub(crate) flows: Arc<Flows>,
}

impl Carrier {
    #[must_use]
    pub fn new(connection: Connection) -> Self {
        Self { connection, shares: Arc::default(), flows: Arc::default() }
    }

    /// Hands out the datagrams that come, until the connection ends.
    pub(crate) async fn run(&self) -> ConnectionError {
        loop {
            match self.connection.read_datagram().await {
                Ok(datagram) => {
                    self.flows.hand_out(datagram);
                    // One who sends without end leaves the others their turn.
                    tokio::task::coop::consume_budget().await;
                }
                Err(error) => return error,
            }
        }
    }
}

/// Who waits for datagrams of a connection, by the number of the flow's stream.
#[derive(Debug, Default)]
pub struct Flows(Mutex<HashMap<u64, Waiting>>);

#[derive(Debug)]
struct Waiting {
    datagrams: mpsc::Sender<Bytes>,
    too_large: mpsc::Sender<TooLarge>,
}

/// A datagram did not fit the path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a datagram of {size} bytes does not fit the path, which takes {limit}")]
pub(crate) struct TooLarge {
    pub(crate) size: usize,
    pub(crate) limit: usize,
}

impl Flows {
    /// Where nobody waits, or too many wait already, it is lost as datagrams are.
    fn hand_out(&self, datagram: Bytes) {
        let Some((flow, _)) = datagram::split_flow(&datagram) else { return };
        if let Some(waiting) = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&flow) {
            let _full = waiting.datagrams.try_send(datagram.slice(FLOW..));
        }
    }

    /// The relay could not send a datagram of this flow on.
    pub(crate) fn did_not_fit(&self, news: protocol::roster::TooLarge) {
        let bytes = |count: u64| usize::try_from(count).unwrap_or(usize::MAX).saturating_sub(SEALED);
        let too_large = TooLarge { size: bytes(news.size), limit: bytes(news.limit) };
        if let Some(waiting) = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&news.stream) {
            let _full = waiting.too_large.try_send(too_large);
        }
    }
}

/// Why a datagram was not sent.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FlowError {
    #[error(transparent)]
    TooLarge(#[from] TooLarge),
    #[error("the other side takes no datagrams")]
    Unsupported,
    #[error("the flow has ended")]
    Ended,
}

/// What a flow hears.
#[derive(Debug)]
pub(crate) enum Heard {
    Datagram(Bytes),
    /// One that was sent has not arrived.
    TooLarge(TooLarge),
    /// The other peer, or the relay, has ended the flow.
    Ended,
}

/// One flow.
#[derive(Debug)]
pub(crate) struct Flow {
    carrier: Carrier,
    number: u64,
    datagrams: mpsc::Receiver<Bytes>,
    too_large: mpsc::Receiver<TooLarge>,
    /// None where the connection is encrypted between the two peers itself.
    sealed: Option<Datagrams>,
    ends: Ends,
    _in_use: Option<InUse>,
}

impl Flow {
    /// Of a stream that was opened for it. To be called before the other side can know that it may send.
    pub(crate) fn new(carrier: &Carrier, ends: Ends) -> Self {
        let (datagrams, incoming) = mpsc::channel(WAITING);
        let (tell, too_large) = mpsc::channel(1);
        let number = ends.to_relay.number();
        let waiting = Waiting { datagrams, too_large: tell };
        carrier.flows.0.lock().unwrap_or_else(PoisonError::into_inner).insert(number, waiting);
        Self {
            carrier: carrier.clone(),
            number,
            datagrams: incoming,
            too_large,
            sealed: None,
            ends,
            _in_use: None,
        }
    }

    /// Keeps a direct path looked after for as long as the flow lives.
    pub(crate) fn keeping(mut self, in_use: InUse) -> Self {
        self._in_use = Some(in_use);
        self
    }

    /// Both keys are proven.
    ///
    /// # Errors
    ///
    /// Never: the handshake is over.
    pub(crate) fn seal(&mut self, proven: Proven) -> Result<(), protocol::private::PrivateError> {
        self.sealed = Some(Datagrams::new(proven)?);
        Ok(())
    }

    pub(crate) fn ends(&mut self) -> &mut Ends {
        &mut self.ends
    }

    /// Sends one datagram.
    ///
    /// # Errors
    ///
    /// Where it is too large, or the flow is over.
    pub(crate) fn send(&mut self, data: &[u8]) -> Result<(), FlowError> {
        let mut wire = BytesMut::with_capacity(FLOW + SEALED + data.len());
        wire.put_u64(self.number);
        match &mut self.sealed {
            Some(sealed) if sealed.is_worn() => return Err(FlowError::Ended),
            Some(sealed) => match sealed.seal(data) {
                Ok(sealed) => wire.put_slice(&sealed),
                Err(_) => return Err(self.too_large(data.len()).into()),
            },
            None => wire.put_slice(data),
        }
        self.carrier.connection.send_datagram(wire.freeze()).map_err(|error| match error {
            SendDatagramError::TooLarge => self.too_large(data.len()).into(),
            SendDatagramError::UnsupportedByPeer | SendDatagramError::Disabled => FlowError::Unsupported,
            SendDatagramError::ConnectionLost(_) => FlowError::Ended,
        })
    }

    fn too_large(&self, size: usize) -> TooLarge {
        let overhead = FLOW + if self.sealed.is_some() { SEALED } else { 0 };
        let limit = self.carrier.connection.max_datagram_size().unwrap_or(0).saturating_sub(overhead);
        TooLarge { size, limit }
    }

    /// What comes next. A datagram that does not verify is none.
    pub(crate) async fn hear(&mut self) -> Heard {
        let mut pieces = Default::default();
        loop {
            tokio::select! {
                datagram = self.datagrams.recv() => {
                    let Some(datagram) = datagram else { return Heard::Ended };
                    match &mut self.sealed {
                        None => return Heard::Datagram(datagram),
                        Some(sealed) => if let Ok(data) = sealed.open(&datagram) {
                            return Heard::Datagram(data.into());
                        },
                    }
                }
                Some(too_large) = self.too_large.recv() => return Heard::TooLarge(too_large),
                // Nothing is said on the stream: whatever comes there is its end.
                _ = self.ends.from_relay.read(&mut pieces) => return Heard::Ended,
            }
        }
    }
}

impl Drop for Flow {
    fn drop(&mut self) {
        self.carrier.flows.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.number);
    }
}

/// Says of a flow whose datagrams are too large that they are, but not of every one.
#[derive(Debug, Default)]
pub(crate) struct Complaint {
    last: Option<(tokio::time::Instant, usize)>,
    dropped: u64,
}

impl Complaint {
    /// One more was dropped. To be said aloud where this returns how many have been since the last time.
    pub(crate) fn note(&mut self, too_large: TooLarge) -> Option<u64> {
        const BETWEEN: Duration = Duration::from_secs(10);
        self.dropped += 1;
        let now = tokio::time::Instant::now();
        let is_news = self.last.is_none_or(|(at, limit)| now - at >= BETWEEN || limit != too_large.limit);
        is_news.then(|| {
            self.last = Some((now, too_large.limit));
            std::mem::take(&mut self.dropped)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_does_not_fit_is_said_now_and_then() {
        let mut complaint = Complaint::default();
        let one = TooLarge { size: 1400, limit: 1200 };
        assert_eq!(complaint.note(one), Some(1));
        assert_eq!((complaint.note(one), complaint.note(one)), (None, None));
        assert_eq!(complaint.note(TooLarge { limit: 1100, ..one }), Some(3), "another path");
        tokio::time::advance(Duration::from_secs(10)).await;
        assert_eq!(complaint.note(TooLarge { limit: 1100, ..one }), Some(1));
    }
}
