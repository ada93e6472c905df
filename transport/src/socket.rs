//! A UDP socket that wakes its reader for datagrams alone.
//!
//! tokio's own asks the kernel to tell of room for sending as well, and a UDP socket has that news after every datagram
//! that leaves: one idle wake-up for each. Here the kernel is asked for it only once a send has found no room.

use std::io::{self, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use quinn::udp::{RecvMeta, Transmit, UdpSocketState};
use quinn::{AsyncUdpSocket, UdpPoller};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::Sleep;

/// recvmmsg(2) stops before its buffers are full only where nothing is left; other systems read one by one.
const SHORT_READ_IS_LAST: bool = cfg!(target_os = "linux");

/// How long a send waits that found no room and no way to hear of it.
const RETRY: Duration = Duration::from_millis(10);

#[expect(
    deprecated,
    reason = "sound for a socket, which keeps its descriptor; what replaces it is the same in an unsafe function"
)]
fn watch(socket: UdpSocket, interest: Interest) -> io::Result<AsyncFd<UdpSocket>> {
    AsyncFd::with_interest(socket, interest)
}

#[derive(Debug)]
pub(crate) struct LeanSocket {
    io: AsyncFd<UdpSocket>,
    state: UdpSocketState,
    /// The last send found no room.
    full: AtomicBool,
}

impl LeanSocket {
    pub(crate) fn new(socket: UdpSocket) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        let state = UdpSocketState::new((&socket).into())?;
        Ok(Self { io: watch(socket, Interest::READABLE)?, state, full: AtomicBool::new(false) })
    }
}

impl AsyncUdpSocket for LeanSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(WaitForRoom { socket: self, waiting: Waiting::No })
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let sent = self.state.send(self.io.get_ref().into(), transmit);
        if sent.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock) {
            self.full.store(true, Ordering::Relaxed);
        }
        sent
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        loop {
            let mut ready = ready!(self.io.poll_read_ready(cx))?;
            let received = ready.try_io(|io| self.state.recv(io.get_ref().into(), buffers, meta));
            // Otherwise the readiness was stale, and is cleared by now.
            if let Ok(received) = received {
                if SHORT_READ_IS_LAST && received.as_ref().is_ok_and(|count| *count < buffers.len()) {
                    ready.clear_ready();
                }
                return Poll::Ready(received);
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.io.get_ref().local_addr()
    }

    fn may_fragment(&self) -> bool {
        self.state.may_fragment()
    }

    fn max_transmit_segments(&self) -> usize {
        self.state.max_gso_segments()
    }

    fn max_receive_segments(&self) -> usize {
        self.state.gro_segments()
    }
}

/// Waits until a datagram can be sent, by a second descriptor of the socket that lives for as long as the wait. quinn asks
/// before every send, so a socket counts as writable until a send has failed.
#[derive(Debug)]
struct WaitForRoom {
    socket: Arc<LeanSocket>,
    waiting: Waiting,
}

#[derive(Debug)]
enum Waiting {
    No,
    ForRoom(AsyncFd<UdpSocket>),
    /// No second descriptor was to be had: the send is tried again a little later.
    ForTime(Pin<Box<Sleep>>),
}

impl WaitForRoom {
    /// quinn takes an error for the end of the connection and tells nobody, so there is none.
    fn begin(&self) -> Waiting {
        let second = self.socket.io.get_ref().try_clone();
        match second.and_then(|second| watch(second, Interest::WRITABLE)) {
            Ok(second) => Waiting::ForRoom(second),
            Err(_) => Waiting::ForTime(Box::pin(tokio::time::sleep(RETRY))),
        }
    }

    fn poll_waited(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if matches!(self.waiting, Waiting::No) {
            self.waiting = self.begin();
        }
        match &mut self.waiting {
            Waiting::No => Poll::Ready(()),
            Waiting::ForTime(sleep) => sleep.as_mut().poll(cx),
            // An error says that the runtime shuts down; the send will say the rest.
            Waiting::ForRoom(second) => second.poll_write_ready(cx).map(|ready| {
                if let Ok(mut ready) = ready {
                    ready.retain_ready();
                }
            }),
        }
    }
}

impl UdpPoller for WaitForRoom {
    fn poll_writable(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.socket.full.load(Ordering::Relaxed) {
            ready!(this.poll_waited(cx));
            this.socket.full.store(false, Ordering::Relaxed);
        }
        // Also where another connection has found room first: a watched descriptor costs a wake-up a datagram.
        this.waiting = Waiting::No;
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    fn pair() -> (Arc<LeanSocket>, UdpSocket) {
        let ours = UdpSocket::bind("127.0.0.1:0").unwrap();
        let other = UdpSocket::bind("127.0.0.1:0").unwrap();
        other.connect(ours.local_addr().unwrap()).unwrap();
        (Arc::new(LeanSocket::new(ours).unwrap()), other)
    }

    async fn receive(socket: &LeanSocket, room: usize) -> Vec<Vec<u8>> {
        let mut bytes = vec![[0; 2048]; room];
        let mut buffers: Vec<_> = bytes.iter_mut().map(|buffer| IoSliceMut::new(buffer)).collect();
        let mut meta = vec![RecvMeta::default(); room];
        let count = poll_fn(|cx| socket.poll_recv(cx, &mut buffers, &mut meta)).await.unwrap();
        (0..count).map(|at| bytes[at][..meta[at].len].to_vec()).collect()
    }

    #[tokio::test]
    async fn every_datagram_is_seen_however_reads_and_arrivals_fall() {
        let (socket, other) = pair();
        let mut sent = 0u32;
        let mut seen = 0u32;
        for round in 0..300u32 {
            for _ in 0..round % 40 + 1 {
                other.send(&sent.to_be_bytes()).unwrap();
                sent += 1;
            }
            while seen < sent {
                for datagram in receive(&socket, 8).await {
                    assert_eq!(datagram, seen.to_be_bytes());
                    seen += 1;
                }
            }
        }
    }

    #[tokio::test]
    async fn a_socket_that_was_full_is_asked_for_room_and_found_to_have_it() {
        let (socket, other) = pair();
        let mut room = Arc::clone(&socket).create_io_poller();
        for full in [false, true, true] {
            socket.full.store(full, Ordering::Relaxed);
            poll_fn(|cx| room.as_mut().poll_writable(cx)).await.unwrap();
            assert!(!socket.full.load(Ordering::Relaxed));
        }
        let transmit = Transmit {
            destination: other.local_addr().unwrap(),
            ecn: None,
            contents: b"word",
            segment_size: None,
            src_ip: None,
        };
        socket.try_send(&transmit).unwrap();
        let mut buffer = [0; 16];
        assert_eq!(other.recv(&mut buffer).unwrap(), 4);
    }
}
