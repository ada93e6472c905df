//! The UDP socket of a tunnel: both families where the system has both, and buffers that do not drop a burst.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use socket2::{Domain, Protocol, Socket, Type};
use transport::buffers::Buffers;

/// A socket for both families, or for IPv4 where the system has no IPv6.
///
/// # Errors
///
/// Where the system gives no socket of either family.
pub fn bind() -> io::Result<(UdpSocket, Buffers)> {
    let socket = dual_stack().or_else(|_| v4())?;
    let buffers = Buffers::enlarge(&socket)?;
    socket.set_nonblocking(true)?;
    Ok((socket.into(), buffers))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_can_be_had() {
        let (socket, _) = bind().unwrap();
        assert_ne!(socket.local_addr().unwrap().port(), 0);
    }
}
