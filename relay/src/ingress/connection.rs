//! One visitor's TCP connection: TLS, then HTTP/1.1 or HTTP/2 until one side has had enough.

use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use process::terminal;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_io_timeout::TimeoutStream;

use super::{Ingress, http1, http2, sealed};
use crate::edge::admission::Slot;
use crate::edge::tls::{Greeted, HandshakeFailure, VisitorTls};
use crate::metrics::Outcome;

/// Serves one connection to its end.
pub(crate) async fn serve(
    ingress: Arc<Ingress>,
    acceptor: VisitorTls,
    stream: TcpStream,
    address: SocketAddr,
    mut slot: Slot,
) {
    let address = SocketAddr::new(address.ip().to_canonical(), address.port());
    let from_proxy = ingress.expects_proxy_header(address.ip());
    let greeted = match acceptor.accept(stream, from_proxy).await {
        Ok(greeted) => greeted,
        Err(error) => {
            ingress.metrics.tls(outcome(&error));
            if let HandshakeFailure::Proxy(error) = &error {
                ingress.warn_of_proxy(address, error);
            }
            return tracing::debug!(%address, error = terminal::chain(&error), "no TLS with a visitor");
        }
    };
    let (outcome, proxied) = match &greeted {
        Greeted::Visitor(visit) => (Outcome::Done, visit.proxied),
        Greeted::Sealed(visit) => (Outcome::Sealed, visit.proxied),
        Greeted::Ca => (Outcome::Challenge, None),
    };
    ingress.metrics.tls(outcome);
    let address = match proxied {
        Some(named) if slot.claim(&ingress.admission, named.ip()).is_err() => {
            return tracing::debug!(address = %named, "as many connections as an address may have");
        }
        named => named.unwrap_or(address),
    };
    match greeted {
        Greeted::Visitor(visit) if visit.http2 => http2::serve(ingress, *visit, address, slot).await,
        Greeted::Visitor(visit) => http1::serve(ingress, *visit, address, slot).await,
        Greeted::Sealed(visit) => sealed::serve(ingress, visit, address, slot).await,
        Greeted::Ca => {}
    }
}

fn outcome(failure: &HandshakeFailure) -> Outcome {
    match failure {
        HandshakeFailure::Deadline => Outcome::Deadline,
        HandshakeFailure::NoName => Outcome::NoName,
        HandshakeFailure::Proxy(_)
        | HandshakeFailure::Tls(_)
        | HandshakeFailure::Proof(_)
        | HandshakeFailure::NoChallenge
        | HandshakeFailure::SealedAndRuled => Outcome::Failed,
    }
}

pub(super) type Stalling<IO> = std::pin::Pin<Box<TimeoutStream<IO>>>;

/// Breaks off when the visitor takes nothing for so long while something waits for it.
pub(super) fn stalling<IO: AsyncRead + AsyncWrite>(io: IO, stall: Duration) -> Stalling<IO> {
    let mut stream = TimeoutStream::new(io);
    stream.set_write_timeout(Some(stall));
    Box::pin(stream)
}

/// Whether a connection ended because the visitor took nothing.
pub(super) fn is_stall(error: &(dyn Error + 'static)) -> bool {
    let causes = std::iter::successors(Some(error), |error: &&(dyn Error + 'static)| (*error).source());
    causes
        .filter_map(|error| error.downcast_ref::<io::Error>())
        .any(|error| error.kind() == io::ErrorKind::TimedOut)
}

pub(super) fn log_end<E: Error + 'static>(ended: Result<(), E>, address: SocketAddr) {
    if let Err(error) = ended {
        tracing::debug!(%address, error = terminal::chain(&error), "a visitor's connection broke");
    }
}
