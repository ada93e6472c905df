//! The first words of a visitor's TLS: the ClientHello, read before anybody decides who ends TLS, and kept as it came for
//! whoever does.

use std::io;

use rustls::server::{Accepted, Acceptor};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Usual hellos are shorter; with the keys of X25519MLKEM768 they have some 1,800 bytes.
const USUAL: usize = 2048;
/// A hello has at most 64 KiB (rustls stops there); records and what follows take a little more.
const LONGEST: usize = 80 * 1024;

/// A ClientHello, and the bytes that it came in, with whatever came behind it.
pub(super) struct Hello {
    pub(super) accepted: Accepted,
    pub(super) bytes: Vec<u8>,
}

/// Reads up to the end of the ClientHello. Whoever says something else gets an alert.
pub(super) async fn read(stream: &mut TcpStream) -> io::Result<Hello> {
    let mut acceptor = Acceptor::default();
    let mut bytes = Vec::with_capacity(USUAL);
    loop {
        let start = bytes.len();
        if start > LONGEST {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the ClientHello does not end"));
        }
        if stream.read_buf(&mut bytes).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut fresh = &bytes[start..];
        while !fresh.is_empty() {
            acceptor.read_tls(&mut fresh)?;
        }
        match acceptor.accept() {
            Ok(Some(accepted)) => return Ok(Hello { accepted, bytes }),
            Ok(None) => {}
            Err((error, mut alert)) => {
                let mut told = Vec::new();
                alert.write_all(&mut told)?;
                stream.write_all(&told).await?;
                stream.shutdown().await?;
                return Err(io::Error::new(io::ErrorKind::InvalidData, error));
            }
        }
    }
}
