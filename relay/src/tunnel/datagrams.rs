//! Datagrams between peers. Each names its flow by the number of a stream in its session; the relay puts the number of the
//! stream at the other side in its place, and reads nothing else.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use bytes::{BufMut as _, Bytes, BytesMut};
use protocol::datagram::{self, FLOW};
use protocol::roster::TooLarge;
use quinn::{Connection, SendDatagramError, StreamId};

use super::registry::Meeting;
use super::session::Session;
use crate::lock::lock;

/// That datagrams of a flow are too large is told this often.
const BETWEEN_NEWS: Duration = Duration::from_secs(1);

/// Where the datagrams of one session lead, by their flow.
#[derive(Debug, Default)]
pub(crate) struct Flows(Mutex<HashMap<u64, Way>>);

#[derive(Debug, Clone)]
struct Way {
    to: Connection,
    flow: u64,
    meeting: Arc<Meeting>,
    told: Option<Instant>,
}

/// A flow between two sessions; its datagrams lead nowhere once this is dropped.
#[derive(Debug)]
pub(crate) struct Flow {
    ends: [(Weak<Session>, u64); 2],
}

impl Flow {
    /// Joins the flows of two streams.
    pub(crate) fn join(
        one: (&Arc<Session>, StreamId),
        other: (&Arc<Session>, StreamId),
        meeting: &Arc<Meeting>,
    ) -> Self {
        let [one, other] = [one, other].map(|(session, stream)| (session, u64::from(stream)));
        for ((from, flow), (to, to_flow)) in [(one, other), (other, one)] {
            let meeting = Arc::clone(meeting);
            let way = Way { to: to.connection.clone(), flow: to_flow, meeting, told: None };
            lock(&from.flows.0).insert(flow, way);
        }
        Self { ends: [one, other].map(|(session, flow)| (Arc::downgrade(session), flow)) }
    }
}

impl Drop for Flow {
    fn drop(&mut self) {
        for (session, flow) in &self.ends {
            if let Some(session) = session.upgrade() {
                lock(&session.flows.0).remove(flow);
            }
        }
    }
}

/// Carries the datagrams of a session, for as long as this is polled.
pub(crate) async fn carry(session: &Session) -> Infallible {
    loop {
        match session.connection.read_datagram().await {
            Ok(datagram) => {
                on_datagram(session, &datagram);
                // One who sends without end leaves the others their turn.
                tokio::task::coop::consume_budget().await;
            }
            // The control stream tells of the end.
            Err(_) => std::future::pending().await,
        }
    }
}

/// One that leads nowhere is dropped, as one that was lost.
fn on_datagram(session: &Session, datagram: &Bytes) {
    let Some((flow, sealed)) = datagram::split_flow(datagram) else { return };
    let Some(Way { to, flow: to_flow, meeting, told }) = lock(&session.flows.0).get(&flow).cloned() else {
        return;
    };
    let mut renamed = BytesMut::with_capacity(datagram.len());
    renamed.put_u64(to_flow);
    renamed.put_slice(sealed);
    match to.send_datagram(renamed.freeze()) {
        Ok(()) => meeting.carried(sealed.len()),
        Err(SendDatagramError::TooLarge) if told.is_none_or(|told| told.elapsed() > BETWEEN_NEWS) => {
            tell(session, flow, datagram.len(), to.max_datagram_size());
        }
        Err(
            SendDatagramError::TooLarge
            | SendDatagramError::UnsupportedByPeer
            | SendDatagramError::Disabled
            | SendDatagramError::ConnectionLost(_),
        ) => {}
    }
}

/// Says that a datagram did not fit, and what does.
fn tell(session: &Session, flow: u64, size: usize, limit: Option<usize>) {
    if let Some(way) = lock(&session.flows.0).get_mut(&flow) {
        way.told = Some(Instant::now());
    }
    let bytes = |count: usize| count.saturating_sub(FLOW) as u64;
    let news = TooLarge { stream: flow, size: bytes(size), limit: bytes(limit.unwrap_or(FLOW)) };
    // An agent that does not read its news does without.
    let _full = session.too_large.try_send(news);
}
