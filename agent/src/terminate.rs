//! Ends the TLS of visitors whose hostname the relay only forwards (`tls = "agent"`): the key of the certificate never
//! leaves this machine, and the relay carries what it cannot read.

mod record;

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use acme::challenge::ACME_TLS;
use protocol::close::StreamReset;
use protocol::control::ServiceProtocol;
use protocol::hostname::Hostname;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::server::{
    Acceptor, ClientHello, NoServerSessionStorage, ProducesTickets, ResolvesServerCert, ServerConnection,
};
use tokio::io::AsyncWriteExt as _;
use tokio_rustls::server::TlsStream;
use tokio_rustls::{LazyConfigAcceptor, StartHandshake};

use record::{Opening, Sealing};

use crate::certificate::provider;
use crate::origin::OriginStream;
use crate::splice::{Ends, Outlet as _, SpliceError, exchange};

/// From the first byte of TLS to the end of the handshake.
const DEADLINE: Duration = Duration::from_secs(10);
/// A record with one fatal alert (RFC 8446, section 6; RFC 6066, section 3).
const UNRECOGNIZED_NAME: [u8; 7] = [21, 3, 3, 0, 2, 2, 112];

/// Why there is no TLS with a visitor.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TerminateError {
    #[error("there was no TLS within {} s", DEADLINE.as_secs())]
    TimedOut,
    #[error("the TLS handshake failed")]
    Handshake(#[source] io::Error),
    #[error("the visitor named no host that leads here and that there is a certificate for")]
    Name,
}

/// TLS for all visitors whose TLS ends here.
#[derive(Debug)]
pub struct Terminator {
    resolver: Arc<dyn ResolvesServerCert>,
    http1: Arc<ServerConfig>,
    http2: Arc<ServerConfig>,
    /// Whatever the visitor wants to speak.
    any: Arc<ServerConfig>,
    challenge: Arc<ServerConfig>,
    deadline: Duration,
}

/// A visitor whose TLS ends here.
#[derive(Debug)]
pub(crate) struct Visitor {
    tls: Mutex<ServerConnection>,
    ends: Ends,
}

impl Terminator {
    /// `resolver` is asked for the certificate of every handshake, at least once. Where `acme-tls/1` alone is offered it
    /// has to answer with the certificate of the challenge, and with that nowhere else.
    ///
    /// # Errors
    ///
    /// Where the system has no randomness for the keys of session tickets.
    pub fn new(resolver: Arc<dyn ResolvesServerCert>) -> Result<Self, rustls::Error> {
        // A ticket says under which hostname it was given, and is good for no other.
        let tickets = Ticketer::new()?;
        let visitors = |alpn| config(&resolver, alpn, Some(Arc::clone(&tickets)));
        Ok(Self {
            http1: visitors(Some(b"http/1.1".as_slice()))?,
            http2: visitors(Some(b"h2".as_slice()))?,
            any: visitors(None)?,
            challenge: config(&resolver, Some(ACME_TLS), None)?,
            resolver,
            deadline: DEADLINE,
        })
    }

    /// Finishes one handshake, within one deadline. `http` is what the service speaks, and `leads_here` says whether a
    /// visitor who asks for a name is led to that service. There is no visitor where an authority has seen what it wanted to
    /// see: nothing follows then.
    pub(crate) async fn accept(
        &self,
        ends: Ends,
        http: Option<ServiceProtocol>,
        leads_here: impl Fn(&Hostname) -> bool,
    ) -> Result<Option<Visitor>, TerminateError> {
        let handshake = tokio::time::timeout(self.deadline, self.handshake(ends, http, leads_here));
        // What is dropped in time of need is reset.
        let (ends, mut tls) = handshake.await.unwrap_or(Err(TerminateError::TimedOut))?.into_inner();
        // What is written is taken out at once.
        tls.set_buffer_limit(None);
        let is_challenge = tls.alpn_protocol() == Some(ACME_TLS);
        let visitor = Visitor { tls: Mutex::new(tls), ends };
        if is_challenge {
            visitor.close().await;
            return Ok(None);
        }
        Ok(Some(visitor))
    }

    async fn handshake(
        &self,
        ends: Ends,
        http: Option<ServiceProtocol>,
        leads_here: impl Fn(&Hostname) -> bool,
    ) -> Result<TlsStream<Ends>, TerminateError> {
        let mut greeting = LazyConfigAcceptor::new(Acceptor::default(), ends);
        let start = match (&mut greeting).await {
            Ok(start) => start,
            Err(error) => return Err(fail(error, greeting.take_io()).await),
        };
        let hello = start.client_hello();
        let leads_here = hostname(&hello).is_some_and(|name| leads_here(&name));
        let config = self.config(&hello, http);
        if !leads_here || self.resolver.resolve(hello).is_none() {
            refuse_name(start).await;
            return Err(TerminateError::Name);
        }
        match start.into_stream(Arc::clone(config)).into_fallible().await {
            Ok(stream) => Ok(stream),
            Err((error, ends)) => Err(fail(error, Some(ends)).await),
        }
    }

    fn config(&self, hello: &ClientHello<'_>, http: Option<ServiceProtocol>) -> &Arc<ServerConfig> {
        if hello.alpn().is_some_and(|offered| offered.eq([ACME_TLS])) {
            return &self.challenge;
        }
        match http {
            Some(ServiceProtocol::Http1) => &self.http1,
            Some(ServiceProtocol::H2c) => &self.http2,
            None => &self.any,
        }
    }
}

/// TLS 1.2 and 1.3, no early data. `alpn` is the one protocol that is spoken; without, whatever is offered is passed over.
fn config(
    resolver: &Arc<dyn ResolvesServerCert>,
    alpn: Option<&[u8]>,
    tickets: Option<Arc<dyn ProducesTickets>>,
) -> Result<Arc<ServerConfig>, rustls::Error> {
    let builder = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_no_client_auth();
    let mut config = builder.with_cert_resolver(Arc::clone(resolver));
    config.alpn_protocols = alpn.into_iter().map(<[u8]>::to_vec).collect();
    // Visitors keep what is needed to resume; nothing is remembered here.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    match tickets {
        Some(tickets) => config.ticketer = tickets,
        None => config.send_tls13_tickets = 0,
    }
    Ok(Arc::new(config))
}

fn hostname(hello: &ClientHello<'_>) -> Option<Hostname> {
    hello.server_name()?.parse().ok()
}

/// rustls would say access_denied, and browsers take that for a complaint about a certificate of the visitor's.
async fn refuse_name(start: StartHandshake<Ends>) {
    let mut ends = start.io;
    if ends.write_all(&UNRECOGNIZED_NAME).await.is_ok() {
        ends.part().await;
    }
}

/// A visitor who broke the rules of TLS was sent an alert, and a reset would overtake it. All else is a reset: `ends` are
/// dropped.
async fn fail(error: io::Error, ends: Option<Ends>) -> TerminateError {
    if let Some(ends) = ends.filter(|_| error.kind() == io::ErrorKind::InvalidData) {
        ends.part().await;
    }
    TerminateError::Handshake(error)
}

impl Visitor {
    /// What was said either way is not the whole.
    pub(crate) fn reset(&mut self, code: StreamReset) {
        self.ends.reset(code);
    }

    /// Moves what the visitor says in TLS to the origin in the clear, and the other way, until both directions have ended
    /// or something broke. Both sides are ended accordingly.
    pub(crate) async fn splice(mut self, mut origin: OriginStream) -> Result<(), SpliceError> {
        let mut sealing = Sealing::new(&self.tls, &mut self.ends.to_relay);
        let mut opening = Opening::new(&self.tls, &mut self.ends.from_relay);
        let ended = exchange(&mut origin, &mut sealing, &mut opening).await;
        match &ended {
            Ok(()) => {
                origin.settle();
                drop(origin);
                // A visitor says that nothing follows, and closes later: here too a stream ends when the relay ends it,
                // who sees to it that none stands still for ever.
                self.ends.hear_out().await;
            }
            Err(error) => self.ends.reset(error.reset()),
        }
        ended
    }

    async fn close(mut self) {
        let mut sealing = Sealing::new(&self.tls, &mut self.ends.to_relay);
        let finished = tokio::time::timeout(DEADLINE, sealing.finish()).await;
        if let Ok(Ok(())) = finished {
            self.ends.part().await;
        }
    }
}

#[cfg(test)]
mod tests;
