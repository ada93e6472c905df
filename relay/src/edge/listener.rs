//! TCP: accepts visitors, bounded, and never stops over an error of accept(2).

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::{JoinError, JoinSet};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::admission::{Admission, Slot, TooMany};
use super::shards::{self, Shards};

/// How long to wait when the process or the kernel is out of something.
const BACK_OFF: Duration = Duration::from_millis(100);
const BACKLOG: i32 = 1024;
/// A silent connection is asked after this time whether anybody is there.
const KEEPALIVE: Duration = Duration::from_secs(60);
/// Connections get this long to end by themselves when the relay stops.
pub(crate) const GRACE: Duration = Duration::from_secs(10);

/// Opens a listener: on IPv6 addresses for IPv4 as well, and on IPv4 alone where the machine has no IPv6.
pub(crate) fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let usual = [io::ErrorKind::AddrInUse, io::ErrorKind::PermissionDenied];
    match listen(address) {
        Err(error)
            if address.ip().is_unspecified() && address.is_ipv6() && !usual.contains(&error.kind()) =>
        {
            tracing::warn!(%error, "no IPv6 here; listening on IPv4 alone");
            listen((Ipv4Addr::UNSPECIFIED, address.port()).into())
        }
        other => other,
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    TcpListener::from_std(socket.into())
}

/// What a listener needs beside its socket.
pub(crate) struct Door<P> {
    pub(crate) admission: Arc<Admission>,
    pub(crate) shards: Arc<Shards>,
    /// Whether an address is a proxy's, through which many visitors come.
    pub(crate) is_proxy: P,
    pub(crate) cancel: CancellationToken,
}

/// Accepts until cancelled, then waits a while for the connections, which are told by the same token.
pub(crate) async fn run<P, F, Fut>(listener: TcpListener, door: Door<P>, serve: F)
where
    P: Fn(IpAddr) -> bool,
    F: Fn(TcpStream, SocketAddr, Slot) -> Fut + Clone + Send + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    let Door { admission, shards, is_proxy, cancel } = door;
    let mut connections = JoinSet::new();
    let mut look = tokio::time::interval(shards::WINDOW);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = look.tick(), if !connections.is_empty() => drop(shards.measure()),
            Some((stream, address, permit)) = next(&listener, &admission) => {
                let (shard, place) = shards.place();
                match admission.admit(permit, address.ip(), is_proxy(address.ip()), Some(place)) {
                    Ok(slot) => drop(connections.spawn_on(here(stream, address, slot, serve.clone()), shard)),
                    Err(TooMany) => tracing::debug!(%address, "as many connections as an address may have"),
                }
            }
            Some(ended) = connections.join_next() => on_end(ended),
            () = cancel.cancelled() => break,
        }
    }
    drop(listener);
    let all_ended = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(GRACE, all_ended).await.is_err() {
        tracing::info!(connections = connections.len(), "cutting the visitors that are still here");
    }
}

/// Serves a visitor on the thread that this runs on, which has to watch the connection by itself.
async fn here<F, Fut>(stream: std::net::TcpStream, address: SocketAddr, slot: Slot, serve: F)
where
    F: FnOnce(TcpStream, SocketAddr, Slot) -> Fut,
    Fut: Future<Output = ()>,
{
    match TcpStream::from_std(stream) {
        Ok(stream) => serve(stream, address, slot).await,
        Err(error) => tracing::warn!(%error, "a connection cannot be watched"),
    }
}

/// A panic is our mistake and costs one connection only.
fn on_end(ended: Result<(), JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "a visitor's connection ended by a mistake in this program");
    }
}

/// A visitor and a slot for it. At the bound, visitors wait in the kernel's queue.
async fn next(
    listener: &TcpListener,
    admission: &Admission,
) -> Option<(std::net::TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let permit = admission.place().await?;
    loop {
        let accepted = match listener.accept().await {
            Ok((stream, address)) => {
                prepare(&stream);
                stream.into_std().map(|stream| (stream, address))
            }
            Err(error) => Err(error),
        };
        match accepted {
            Ok((stream, address)) => return Some((stream, address, permit)),
            Err(error) => {
                tracing::warn!(%error, "accepting a connection failed");
                tokio::time::sleep(BACK_OFF).await;
            }
        }
    }
}

/// Neither is fatal where it fails: without the first a response waits for the visitor's acknowledgement of its head,
/// without the second a visitor that vanished is noticed late.
fn prepare(stream: &TcpStream) {
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE / 4);
    let prepared =
        stream.set_nodelay(true).and_then(|()| SockRef::from(stream).set_tcp_keepalive(&keepalive));
    if let Err(error) = prepared {
        tracing::debug!(%error, "a connection could not be tuned");
    }
}
