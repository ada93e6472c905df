//! What other peers reach here: their streams are let in to private services by everybody's leave, and to nothing else.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use protocol::close::StreamReset;
use protocol::id::RequestId;
use protocol::private::{Context, Purpose};
use protocol::stream::PrivateHeader;
use tokio::net::UdpSocket;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::flow::{Carrier, Complaint, Flow, FlowError, Heard, IDLE};
use super::peers::{Caller, Peers, Refusal};
use super::proof::{self, ProofError};
use super::seal::SealedStream;
use super::stream::PrivateStream;
use super::talk::Talks;
use crate::offer::Offers;
use crate::origin::{Origin, OriginError};
use crate::splice::Ends;

/// Largest datagram of an origin.
const LARGEST_DATAGRAM: usize = 65_507;

/// Why a stream of another peer led nowhere.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HostError {
    #[error("the relay has not said who this device is")]
    Nameless,
    #[error("the peer did not prove who it is")]
    Proof(#[source] ProofError),
    #[error("the peer may not come in")]
    Refused(#[source] Refusal),
    #[error("there is no such private service")]
    UnknownService,
    #[error("the origin cannot be reached")]
    Origin(#[source] OriginError),
    #[error("a peer whose key was proven for this connection asked in the name of `{0}`")]
    OtherName(protocol::id::PeerName),
}

impl HostError {
    fn reset(&self) -> StreamReset {
        match self {
            Self::Nameless => StreamReset::PeerOffline,
            Self::Proof(_) | Self::OtherName(_) | Self::Refused(Refusal::Pin(_)) => StreamReset::Unproven,
            Self::Refused(Refusal::NotGranted(_)) => StreamReset::NotGranted,
            Self::Refused(Refusal::NotAllowed(_)) => StreamReset::NotAllowed,
            Self::UnknownService => StreamReset::UnknownService,
            Self::Origin(error) => error.reset(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Refused(Refusal::Pin(error)) => error.hint(),
            Self::Refused(Refusal::NotGranted(_) | Refusal::NotAllowed(_))
            | Self::Nameless
            | Self::Proof(_)
            | Self::UnknownService
            | Self::Origin(_)
            | Self::OtherName(_) => None,
        }
    }
}

/// Serves the streams of other peers.
#[derive(Debug)]
pub struct Host {
    pub(crate) peers: Arc<Peers>,
    pub(crate) offers: Offers,
    pub(crate) talks: Talks,
    /// Streams of other peers at once, however they come: visitors have room beside them.
    pub(crate) places: Arc<Semaphore>,
    pub(crate) warned: Mutex<Option<Instant>>,
}

/// Streams of other peers at once.
const MOST: usize = 2048;
/// That a stream led nowhere is told this often.
const BETWEEN_WARNINGS: Duration = Duration::from_secs(5);

/// How a stream came, and so what of it is proven already.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Way<'w> {
    /// The relay says who it is from.
    Relayed,
    /// This peer has proven its key for the whole connection.
    Direct(&'w Caller),
}

/// A stream that was let in.
struct Entered<'e> {
    caller: &'e Caller,
    header: &'e PrivateHeader,
}

impl Host {
    pub(crate) fn new(peers: Arc<Peers>, offers: Offers, talks: Talks) -> Self {
        Self { peers, offers, talks, places: Arc::new(Semaphore::new(MOST)), warned: Mutex::default() }
    }

    /// Serves one stream to its end.
    pub(crate) async fn serve(&self, mut ends: Ends, header: PrivateHeader, carrier: &Carrier, way: Way<'_>) {
        let PrivateHeader { peer, request, purpose } = &header;
        let Ok(_place) = self.places.try_acquire() else { return ends.reset(StreamReset::Busy) };
        let flow = matches!(purpose, Purpose::Udp(_));
        // Boxed: streams of visitors should not keep room for what these need.
        let served = if flow {
            Box::pin(self.serve_flow(Flow::new(carrier, ends), &header, way)).await
        } else {
            match self.prove(&mut ends, &header, way).await {
                Ok((caller, proven)) => {
                    let entered = Entered { caller: &caller, header: &header };
                    tokio::select! {
                        // Nothing passes any more from the moment on in which it may not. Dropped, both ends are reset.
                        biased;
                        refusal = self.peers.until_refused(&caller, purpose, self.offers.clone()) => {
                            tracing::info!(%request, %peer, reason = %refusal, "a peer's stream was cut");
                            Ok(())
                        }
                        served = Box::pin(self.serve_stream(ends, proven, &entered)) => served,
                    }
                }
                Err(error) => {
                    ends.reset(error.reset());
                    Err(error)
                }
            }
        };
        if let Err(error) = served {
            let (chain, service) = (process::terminal::chain(&error), name(purpose));
            match error.hint() {
                _ if !self.is_time_to_warn() => {
                    tracing::debug!(%request, %peer, service, error = chain, "a peer's stream led nowhere")
                }
                Some(hint) => {
                    tracing::warn!(%request, %peer, service, error = chain, hint, "a peer's stream led nowhere")
                }
                None => {
                    tracing::warn!(%request, %peer, service, error = chain, "a peer's stream led nowhere")
                }
            }
        }
    }

    /// Who it is, and that it may come in. Through the relay, what both have proven is for this stream alone.
    async fn prove(
        &self,
        ends: &mut Ends,
        header: &PrivateHeader,
        way: Way<'_>,
    ) -> Result<(Caller, Option<protocol::private::Proven>), HostError> {
        let me = self.peers.told().me.ok_or(HostError::Nameless)?;
        let context = Context { operator: &header.peer, host: &me, purpose: &header.purpose, binding: &[] };
        let (caller, decision) = match way {
            Way::Direct(caller) if caller.name != header.peer => {
                return Err(HostError::OtherName(header.peer.clone()));
            }
            Way::Direct(caller) => (caller.clone(), None),
            Way::Relayed => {
                let heard = proof::hear(ends, &self.peers.secret, &context).await;
                let decision = heard.map_err(HostError::Proof)?;
                (Caller { name: header.peer.clone(), key: decision.operator() }, Some(decision))
            }
        };
        let admitted = self.peers.admit(&caller, &header.purpose, &self.offers).await;
        admitted.map_err(HostError::Refused)?;
        match decision {
            None => {
                proof::admit(ends).await.map_err(HostError::Proof)?;
                Ok((caller, None))
            }
            Some(decision) => {
                let proven = proof::answer(ends, decision).await.map_err(HostError::Proof)?;
                Ok((caller, Some(proven)))
            }
        }
    }

    fn origin(&self, purpose: &Purpose) -> Result<Arc<Origin>, HostError> {
        let offer = self.offers.borrow();
        let service = purpose.service().filter(|service| offer.config().private().contains_key(*service));
        service.and_then(|service| offer.origins().find(service)).ok_or(HostError::UnknownService)
    }

    async fn serve_stream(
        &self,
        mut ends: Ends,
        proven: Option<protocol::private::Proven>,
        entered: &Entered<'_>,
    ) -> Result<(), HostError> {
        let Entered { caller, header: PrivateHeader { purpose, .. }, .. } = entered;
        let mut stream = match proven {
            None => PrivateStream::Direct { ends, _in_use: None },
            Some(proven) => {
                let mut records = proven.records().map_err(ProofError::Private).map_err(HostError::Proof)?;
                if let Purpose::Tcp(_) = purpose
                    && let Err(error) = proof::hear_ready(&mut ends, &mut records).await
                {
                    ends.reset(StreamReset::Unproven);
                    return Err(HostError::Proof(error));
                }
                PrivateStream::Relayed(Box::new(SealedStream::new(records, ends)))
            }
        };
        if let Purpose::Talk = purpose {
            self.talks.answer(stream, caller, (&self.peers, &self.offers)).await;
            return Ok(());
        }
        let connected = match self.origin(purpose) {
            Ok(origin) => origin.connect(None).await.map_err(HostError::Origin),
            Err(error) => Err(error),
        };
        match connected {
            Ok(connected) => {
                self.log_opened(entered);
                splice(stream, connected, entered.header.request).await;
                Ok(())
            }
            Err(error) => {
                stream.reset(error.reset());
                Err(error)
            }
        }
    }

    /// A peer that does not stop asking fills no log.
    fn is_time_to_warn(&self) -> bool {
        let mut warned = self.warned.lock().unwrap_or_else(PoisonError::into_inner);
        let is_time = warned.is_none_or(|at| at.elapsed() >= BETWEEN_WARNINGS);
        if is_time {
            *warned = Some(Instant::now());
        }
        is_time
    }

    fn log_opened(&self, entered: &Entered<'_>) {
        let PrivateHeader { peer, request, purpose } = entered.header;
        tracing::debug!(%request, %peer, service = name(purpose), "a peer's stream opened");
    }

    async fn serve_flow(
        &self,
        mut flow: Flow,
        header: &PrivateHeader,
        way: Way<'_>,
    ) -> Result<(), HostError> {
        let opened = async {
            let (caller, proven) = self.prove(flow.ends(), header, way).await?;
            let socket = self.origin(&header.purpose)?.datagrams().await.map_err(HostError::Origin)?;
            Ok((caller, proven, socket))
        };
        let (caller, proven, socket) = match opened.await {
            Ok(opened) => opened,
            Err(error) => {
                let error: HostError = error;
                flow.ends().reset(error.reset());
                return Err(error);
            }
        };
        if let Some(proven) = proven {
            flow.seal(proven).map_err(ProofError::Private).map_err(HostError::Proof)?;
        }
        let entered = Entered { caller: &caller, header };
        self.log_opened(&entered);
        tokio::select! {
            biased;
            _ = self.peers.until_refused(&caller, &header.purpose, self.offers.clone()) => {
                flow.ends().reset(StreamReset::NotAllowed);
            }
            () = exchange(&mut flow, &socket, header.request) => {}
        }
        Ok(())
    }
}

async fn splice(stream: PrivateStream, origin: crate::origin::OriginStream, request: RequestId) {
    match stream.splice(origin).await {
        Ok(()) => tracing::debug!(%request, "a peer's stream ended"),
        Err(error) => {
            let error = process::terminal::chain(&error);
            tracing::debug!(%request, error, "a peer's stream broke off");
        }
    }
}

/// For logs.
fn name(purpose: &Purpose) -> &str {
    purpose.service().map_or("-", |service| service.as_str())
}

/// Moves datagrams until nothing has moved for a while, or the flow ends.
async fn exchange(flow: &mut Flow, socket: &UdpSocket, request: RequestId) {
    let mut room = vec![0; LARGEST_DATAGRAM];
    let mut complaint = Complaint::default();
    loop {
        tokio::select! {
            heard = flow.hear() => match heard {
                // An origin that is not there says so with the next one; another may be there by then.
                Heard::Datagram(datagram) => drop(socket.send(&datagram).await),
                Heard::TooLarge(too_large) => complain(&mut complaint, too_large, request),
                Heard::Ended => return,
            },
            received = socket.recv(&mut room) => match received.map(|length| flow.send(&room[..length])) {
                Ok(Ok(())) | Err(_) => {}
                Ok(Err(FlowError::TooLarge(too_large))) => complain(&mut complaint, too_large, request),
                Ok(Err(FlowError::Unsupported | FlowError::Ended)) => return,
            },
            () = tokio::time::sleep(IDLE) => return,
        }
    }
}

fn complain(complaint: &mut Complaint, too_large: super::flow::TooLarge, request: RequestId) {
    if let Some(dropped) = complaint.note(too_large) {
        tracing::warn!(%request, dropped, reason = %too_large, "datagrams for a peer were dropped");
    }
}
