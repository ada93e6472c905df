//! A direct connection to one peer, for as long as it works.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use protocol::close::SessionClose;
use protocol::datagram::FLOW;
use protocol::stream::PrivateHeader;
use quinn::Connection;
use tokio::time::Instant;

use crate::private::flow::Carrier;
use crate::private::proof;
use crate::splice::{Ends, Outlet as _};

/// How often a path in use is looked at.
const LOOK: Duration = Duration::from_millis(200);
/// A path in use on which nothing came for this long is asked whether it still is one, and after as long again given up.
const QUIET: Duration = Duration::from_millis(600);
const DEAD: Duration = Duration::from_millis(1500);
/// For room for another stream.
const CREDIT: Duration = Duration::from_millis(50);
/// For the host to let a stream in.
const ADMISSION: Duration = Duration::from_millis(1000);

/// A proven way to a peer.
#[derive(Debug, Clone)]
pub(super) struct Path {
    pub(super) carrier: Carrier,
    /// How much moves on it.
    in_use: Arc<AtomicUsize>,
}

/// Something moves on a path, until this is dropped.
#[derive(Debug)]
pub(crate) struct InUse(Arc<AtomicUsize>);

impl Drop for InUse {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Path {
    pub(super) fn new(connection: Connection) -> Self {
        Self { carrier: Carrier::new(connection), in_use: Arc::default() }
    }

    pub(super) fn is_open(&self) -> bool {
        self.carrier.connection.close_reason().is_none()
    }

    pub(super) fn address(&self) -> SocketAddr {
        super::addresses::canonical(self.carrier.connection.remote_address())
    }

    pub(super) fn close(&self) {
        self.carrier.connection.close(SessionClose::Done.number().into(), b"");
    }

    /// Opens a stream that the host lets in. Where it does not in time, the path is dead or the host is against it; the
    /// relay's way will tell.
    pub(super) async fn open(&self, header: &PrivateHeader) -> Option<(Ends, InUse)> {
        self.in_use.fetch_add(1, Ordering::Relaxed);
        let in_use = InUse(Arc::clone(&self.in_use));
        // Where the path is full, the relay has room.
        let opened = tokio::time::timeout(CREDIT, self.carrier.connection.open_bi()).await;
        let (send, recv) = opened.ok()?.ok()?;
        let heard = self.heard();
        let opening = async {
            let mut ends = Ends::new(send, recv, Arc::clone(&self.carrier.shares));
            ends.to_relay.write(header.encode().into()).await.ok()?;
            proof::admission(&mut ends).await.ok()?;
            Some(ends)
        };
        let opened = tokio::time::timeout(ADMISSION, opening).await;
        if opened.is_err() && self.heard() == heard {
            tracing::info!(peer = %header.peer, "no answer on the direct path");
            self.close();
        }
        opened.ok().flatten().map(|ends| (ends, in_use))
    }

    fn heard(&self) -> u64 {
        self.carrier.connection.stats().udp_rx.datagrams
    }

    /// Comes back when nothing arrives any more although it should, or the connection has ended.
    pub(super) async fn until_dead(&self) -> &'static str {
        let connection = &self.carrier.connection;
        let (mut heard, mut since) = (connection.stats().udp_rx.datagrams, Instant::now());
        let dead = DEAD.max(3 * connection.rtt());
        loop {
            tokio::select! {
                _ = connection.closed() => return "it was closed, or went silent",
                () = tokio::time::sleep(LOOK) => {}
            }
            let now = connection.stats().udp_rx.datagrams;
            if now != heard || !self.is_in_use() {
                (heard, since) = (now, Instant::now());
            } else if since.elapsed() >= dead {
                return "nothing came through any more";
            } else if since.elapsed() >= QUIET {
                self.ask();
            }
        }
    }

    fn is_in_use(&self) -> bool {
        self.in_use.load(Ordering::Relaxed) > 0
    }

    /// Sends something that has to be acknowledged, and means nothing: the flow of this number is nobody's.
    fn ask(&self) {
        // It may have ended meanwhile.
        let _ = self.carrier.connection.send_datagram(Bytes::from_static(&[0; FLOW]));
    }
}
