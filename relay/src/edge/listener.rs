//! TCP: accepts visitors, bounded, and never stops over an error of accept(2).

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How long to wait when the process or the kernel is out of something.
const BACK_OFF: Duration = Duration::from_millis(100);
const BACKLOG: i32 = 1024;
/// Connections get this long to end by themselves when the relay stops.
const GRACE: Duration = Duration::from_secs(10);

/// Opens a listener: on IPv6 addresses for IPv4 as well, and on IPv4 alone where the machine has no IPv6.
pub(crate) fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    match listen(address) {
        Err(error)
            if address.ip().is_unspecified()
                && address.is_ipv6()
                && error.kind() != io::ErrorKind::AddrInUse =>
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

/// Accepts until cancelled, then waits for the connections, which are told by the same token.
pub(crate) async fn run<F, Fut>(listener: TcpListener, most: usize, cancel: CancellationToken, serve: F)
where
    F: Fn(TcpStream, SocketAddr) -> Fut,
    Fut: Future<Output = ()> + Send + 'static,
{
    let places = Arc::new(Semaphore::new(most));
    let tasks = TaskTracker::new();
    loop {
        tokio::select! {
            (stream, address, place) = next(&listener, &places) => {
                let connection = serve(stream, address);
                tasks.spawn(async move {
                    connection.await;
                    drop(place);
                });
            }
            () = cancel.cancelled() => break,
        }
    }
    drop(listener);
    tasks.close();
    if tokio::time::timeout(GRACE, tasks.wait()).await.is_err() {
        tracing::info!(connections = tasks.len(), "cutting the visitors that are still here");
    }
}

/// A visitor and a place for it. At the bound, visitors wait in the kernel's queue.
async fn next(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> (TcpStream, SocketAddr, Option<OwnedSemaphorePermit>) {
    let place = Arc::clone(places).acquire_owned().await.ok();
    loop {
        match listener.accept().await {
            Ok((stream, address)) => {
                // Without it a response waits for the visitor's acknowledgement of the head; not fatal where it fails.
                let _slower = stream.set_nodelay(true);
                return (stream, address, place);
            }
            Err(error) => {
                tracing::warn!(%error, "accepting a connection failed");
                tokio::time::sleep(BACK_OFF).await;
            }
        }
    }
}
