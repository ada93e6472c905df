//! The socket's buffers: large enough that a burst is not dropped before the program has looked.

use std::io;
use std::sync::Once;

use socket2::Socket;

/// Bytes asked for in each direction.
pub const BUFFER: usize = 8 << 20;

/// What the system gave, in bytes: Linux counts its own bookkeeping too and reports twice what was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Buffers {
    pub receive: usize,
    pub send: usize,
}

impl Buffers {
    /// Asks for large buffers; the system gives what its limits allow.
    ///
    /// # Errors
    ///
    /// Where the system does not say what it gave.
    pub fn enlarge(socket: &Socket) -> io::Result<Self> {
        // Refused sizes are not an error: the smaller ones work, only slower.
        let _ = socket.set_recv_buffer_size(BUFFER);
        let _ = socket.set_send_buffer_size(BUFFER);
        Ok(Self { receive: socket.recv_buffer_size()?, send: socket.send_buffer_size()? })
    }

    /// The limits to raise, by the names of Linux.
    #[must_use]
    pub fn too_small(self) -> Vec<&'static str> {
        let pairs = [(self.receive, "net.core.rmem_max"), (self.send, "net.core.wmem_max")];
        pairs.into_iter().filter(|(given, _)| *given < BUFFER).map(|(_, name)| name).collect()
    }

    /// Says once in the life of the process which limits keep the tunnel slow.
    pub fn warn_once(self) {
        static SAID: Once = Once::new();
        let refused = self.too_small();
        if !refused.is_empty() {
            SAID.call_once(|| {
                let sysctl = refused.iter().map(|name| format!("{name}={BUFFER}")).collect::<Vec<_>>().join(" ");
                tracing::warn!(
                    receive_bytes = self.receive,
                    send_bytes = self.send,
                    "the system gives small UDP buffers, large transfers will be slower; hint: `sysctl -w {sysctl}`"
                );
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_buffers_are_named() {
        assert_eq!(Buffers { receive: BUFFER, send: 1 }.too_small(), ["net.core.wmem_max"]);
        assert_eq!(Buffers { receive: 2 * BUFFER, send: BUFFER }.too_small(), Vec::<&str>::new());
    }
}
