//! The UDP socket of a tunnel: both families where the system has both, and buffers that do not drop a burst.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Once;

use socket2::{Domain, Protocol, Socket, Type};

/// Bytes asked for in each direction.
pub const BUFFER: usize = 8 << 20;

/// What the system gave, in bytes: Linux counts its own bookkeeping too and reports twice what was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Buffers {
    pub receive: usize,
    pub send: usize,
}

impl Buffers {
    /// The limits to raise, by the names of Linux.
    #[must_use]
    pub fn too_small(self) -> Vec<&'static str> {
        let pairs = [(self.receive, "net.core.rmem_max"), (self.send, "net.core.wmem_max")];
        pairs.into_iter().filter(|(given, _)| *given < BUFFER).map(|(_, name)| name).collect()
    }
}

/// A socket for both families, or for IPv4 where the system has no IPv6.
///
/// # Errors
///
/// Where the system gives no socket of either family.
pub fn bind() -> io::Result<(UdpSocket, Buffers)> {
    let socket = dual_stack().or_else(|_| v4())?;
    let buffers = enlarge(&socket)?;
    socket.set_nonblocking(true)?;
    Ok((socket.into(), buffers))
}

/// Says once in the life of the process which limits keep the tunnel slow.
pub fn warn_once(buffers: Buffers) {
    static SAID: Once = Once::new();
    let refused = buffers.too_small();
    if !refused.is_empty() {
        SAID.call_once(|| {
            let sysctl = refused.iter().map(|name| format!("{name}={BUFFER}")).collect::<Vec<_>>().join(" ");
            tracing::warn!(
                receive_bytes = buffers.receive,
                send_bytes = buffers.send,
                "the system gives small UDP buffers, large transfers will be slower; hint: `sysctl -w {sysctl}`"
            );
        });
    }
}

fn dual_stack() -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV6, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_only_v6(false)?;
    socket.bind(&SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)).into())?;
    Ok(socket)
}

fn v4() -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    socket.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)).into())?;
    Ok(socket)
}

fn enlarge(socket: &Socket) -> io::Result<Buffers> {
    // Refused sizes are not an error: the smaller ones work, only slower.
    let _ = socket.set_recv_buffer_size(BUFFER);
    let _ = socket.set_send_buffer_size(BUFFER);
    Ok(Buffers { receive: socket.recv_buffer_size()?, send: socket.send_buffer_size()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_can_be_had_and_small_buffers_are_named() {
        let (socket, _) = bind().unwrap();
        assert_ne!(socket.local_addr().unwrap().port(), 0);
        assert_eq!(Buffers { receive: BUFFER, send: 1 }.too_small(), ["net.core.wmem_max"]);
        assert_eq!(Buffers { receive: 2 * BUFFER, send: BUFFER }.too_small(), Vec::<&str>::new());
    }
}
