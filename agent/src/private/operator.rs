//! The way to other peers' services: by the relay's word where they are, with proof that it is them.

use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use process::document::nearest;
use process::random;
use protocol::close::StreamReset;
use protocol::control::Carries;
use protocol::id::{PeerName, RequestId};
use protocol::key::PublicKey;
use protocol::private::{Context, PrivateError, Purpose};
use protocol::roster::Roster;
use protocol::service::ServiceAddress;
use protocol::stream::PrivateHeader;
use quinn::ConnectionError;

use super::direct::Direct;
use super::flow::{Carrier, Flow};
use super::peers::{Peers, Told};
use super::pins::PinError;
use super::proof::{self, ProofError};
use super::seal::SealedStream;
use super::stream::PrivateStream;
use super::talk::Talk;
use crate::board::{Board, Phase};
use crate::splice::Ends;

/// For a session to be there, and to have said who there is.
const SESSION: Duration = Duration::from_secs(5);

/// Why another peer's service is not reached.
#[derive(Debug, thiserror::Error)]
pub enum ReachError {
    #[error("there is no session with the relay{}", .last_error.as_ref().map_or(String::new(), |error| format!(": {error}")))]
    NoSession { last_error: Option<String> },
    #[error("no peer `{name}` is known here that this device may reach")]
    UnknownPeer { name: PeerName, near: Option<String> },
    #[error("`{}` offers no service `{}` that this device may reach", address.peer, address.service)]
    UnknownService { address: ServiceAddress, near: Option<String> },
    #[error("`{address}` takes {}", if *carries == Carries::Udp { "datagrams, not connections" } else { "connections, not datagrams" })]
    OtherKind { address: ServiceAddress, carries: Carries },
    #[error("`{0}` is offline")]
    Offline(PeerName),
    #[error("`{}` is online, and does not offer `{}` now", .0.peer, .0.service)]
    NotOffered(ServiceAddress),
    #[error(transparent)]
    Pin(#[from] PinError),
    #[error("the connection to the relay is lost")]
    Lost(#[source] ConnectionError),
    #[error("`{address}` cannot be reached")]
    Proof { address: String, source: ProofError },
    #[error("`{address}` cannot be reached")]
    Private { address: String, source: PrivateError },
}

impl ReachError {
    /// The way out, where there is one.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let meant = |near: &Option<String>| near.as_ref().map(|near| format!("did you mean `{near}`?"));
        match self {
            Self::UnknownPeer { near, .. } | Self::UnknownService { near, .. } => meant(near).or_else(|| {
                Some(
                    "`agent services` shows what this device may reach; on the relay, \
                      `relay peer grant NAME --service PEER/SERVICE` grants more"
                        .to_owned(),
                )
            }),
            Self::Offline(_) => Some("`agent connect --wait` waits for it".to_owned()),
            Self::NotOffered(_) => {
                Some(
                    "its `agent.toml` has to name the service in `[[private]]`; `agent connect --wait` waits for it"
                        .to_owned(),
                )
            }
            Self::Pin(error) => error.hint(),
            Self::Proof { source: ProofError::Refused(StreamReset::NotAllowed), .. } => {
                Some("its own `[[private]]` has to allow this device".to_owned())
            }
            Self::NoSession { .. }
            | Self::OtherKind { .. }
            | Self::Lost(_)
            | Self::Proof { .. }
            | Self::Private { .. } => None,
        }
    }

    /// Whether it may be otherwise in a while, with nobody doing anything about it here.
    #[must_use]
    pub fn is_temporary(&self) -> bool {
        match self {
            Self::NoSession { .. } | Self::Offline(_) | Self::NotOffered(_) | Self::Lost(_) => true,
            Self::Proof { source, .. } => match source {
                ProofError::Refused(code) => *code == StreamReset::PeerOffline,
                ProofError::Broke(_) | ProofError::Write(_) | ProofError::TimedOut => true,
                ProofError::Private(_) => false,
            },
            Self::UnknownPeer { .. }
            | Self::UnknownService { .. }
            | Self::OtherKind { .. }
            | Self::Pin(_)
            | Self::Private { .. } => false,
        }
    }
}

/// Opens streams to other peers.
#[derive(Debug)]
pub struct Operator {
    pub(crate) peers: Arc<Peers>,
    pub(crate) board: Board,
    pub(crate) direct: Option<Arc<Direct>>,
}

/// A peer that may be reached, as far as the relay's word goes, and its key is the one that was first seen.
#[derive(Debug, Clone)]
pub(crate) struct Known {
    pub(crate) me: PeerName,
    pub(crate) name: PeerName,
    pub(crate) key: PublicKey,
    pub(crate) online: bool,
}

impl Operator {
    /// Finds a service, or says what is wrong with its name.
    pub(crate) async fn find(
        &self,
        address: &ServiceAddress,
        carries: Option<Carries>,
    ) -> Result<Known, ReachError> {
        let told = self.told().await?;
        let Some(peer) = told.roster.by_name(&address.peer) else {
            let names = told.roster.peers.iter().map(|peer| peer.name.as_str());
            let near =
                nearest(address.peer.as_str(), names).map(|near| format!("{near}/{}", address.service));
            return Err(ReachError::UnknownPeer { name: address.peer.clone(), near });
        };
        let Some(offer) = peer.offer(&address.service) else {
            let names = peer.offers.iter().map(|offer| offer.name.as_str());
            let near =
                nearest(address.service.as_str(), names).map(|near| format!("{}/{near}", address.peer));
            let is_missing = peer.missing.contains(&address.service);
            if !peer.online && (is_missing || near.is_none()) {
                return Err(ReachError::Offline(peer.name.clone()));
            }
            if is_missing {
                return Err(ReachError::NotOffered(address.clone()));
            }
            return Err(ReachError::UnknownService { address: address.clone(), near });
        };
        if carries.is_some_and(|carries| carries != offer.carries) {
            return Err(ReachError::OtherKind { address: address.clone(), carries: offer.carries });
        }
        self.know(&told, &address.peer)
    }

    /// A peer by its name, where its key is the one that was first seen.
    pub(crate) fn know(&self, told: &Told, name: &PeerName) -> Result<Known, ReachError> {
        let unknown = || ReachError::UnknownPeer { name: name.clone(), near: None };
        let peer = told.roster.by_name(name).ok_or_else(unknown)?;
        self.peers.pins.check(name, peer.key)?;
        let me = told.me.clone().ok_or_else(|| self.no_session())?;
        Ok(Known { me, name: name.clone(), key: peer.key, online: peer.online })
    }

    /// What the relay says, once it has said something.
    pub(crate) async fn told(&self) -> Result<Told, ReachError> {
        let mut told = self.peers.follow();
        let said = told.wait_for(|told| told.me.is_some() && *told.roster != Roster::default());
        match tokio::time::timeout(SESSION, said).await {
            Ok(Ok(told)) => Ok(told.clone()),
            Ok(Err(_)) | Err(_) => {
                let told = self.peers.told();
                // A session in which nobody is named: there is nobody.
                if told.me.is_some() { Ok(told) } else { Err(self.no_session()) }
            }
        }
    }

    /// Opens a connection to a service.
    ///
    /// # Errors
    ///
    /// Where there is no such service, it is not reached, or whoever answers is not the peer.
    pub(crate) async fn connect(&self, address: &ServiceAddress) -> Result<PrivateStream, ReachError> {
        let known = self.find(address, Some(Carries::Tcp)).await?;
        let purpose = Purpose::Tcp(address.service.clone());
        if let Some(direct) = &self.direct
            && let Some((ends, in_use)) = direct.open(&known, &header(&known.me, &purpose)).await
        {
            return Ok(PrivateStream::Direct { ends, _in_use: Some(in_use) });
        }
        let sealed = self.open(&known, &purpose, address).await?;
        Ok(PrivateStream::Relayed(sealed))
    }

    /// Opens a flow of datagrams to a service.
    ///
    /// # Errors
    ///
    /// As for a connection.
    pub(crate) async fn flow(&self, address: &ServiceAddress) -> Result<Flow, ReachError> {
        let known = self.find(address, Some(Carries::Udp)).await?;
        let purpose = Purpose::Udp(address.service.clone());
        if let Some(direct) = &self.direct
            && let Some((flow, in_use)) = direct.flow(&known, &header(&known.me, &purpose)).await
        {
            return Ok(flow.keeping(in_use));
        }
        let carrier = self.carrier(&known).await?;
        let mut flow = Flow::new(&carrier, open(&carrier).await?);
        let proven = self.prove(flow.ends(), &known, &purpose, address).await?;
        let failed = |source| ReachError::Private { address: address.to_string(), source };
        flow.seal(proven).map_err(failed)?;
        Ok(flow)
    }

    /// Opens a talk with a peer.
    ///
    /// # Errors
    ///
    /// As for a connection.
    pub(crate) async fn talk(&self, known: &Known) -> Result<Talk, ReachError> {
        Ok(Talk::new(self.open(known, &Purpose::Talk, &known.name).await?))
    }

    async fn open(
        &self,
        known: &Known,
        purpose: &Purpose,
        address: &impl Display,
    ) -> Result<Box<SealedStream>, ReachError> {
        let mut ends = open(&self.carrier(known).await?).await?;
        let proven = self.prove(&mut ends, known, purpose, address).await?;
        let failed = |source| ReachError::Private { address: address.to_string(), source };
        let mut records = proven.records().map_err(failed)?;
        if let Purpose::Tcp(_) = purpose {
            let said = proof::say_ready(&mut ends, &mut records).await;
            said.map_err(|source| ReachError::Proof { address: address.to_string(), source })?;
        }
        Ok(Box::new(SealedStream::new(records, ends)))
    }

    async fn prove(
        &self,
        ends: &mut Ends,
        known: &Known,
        purpose: &Purpose,
        address: &impl Display,
    ) -> Result<protocol::private::Proven, ReachError> {
        let context = Context { operator: &known.me, host: &known.name, purpose, binding: &[] };
        // To the relay the stream is for the host.
        let header = header(&known.name, purpose);
        let proven = proof::begin(ends, &header, &self.peers.secret, &known.key, &context).await;
        proven.map_err(|source| {
            if matches!(source, ProofError::Refused(StreamReset::PeerOffline)) {
                return ReachError::Offline(known.name.clone());
            }
            ReachError::Proof { address: address.to_string(), source }
        })
    }

    /// The session's connection, where there is one soon.
    async fn carrier(&self, known: &Known) -> Result<Carrier, ReachError> {
        if !known.online {
            return Err(ReachError::Offline(known.name.clone()));
        }
        let mut state = self.board.follow();
        let is_up = state.wait_for(|state| matches!(state.phase, Phase::Up(_)));
        let up = tokio::time::timeout(SESSION, is_up).await;
        let up = up.ok().and_then(Result::ok).and_then(|state| match &state.phase {
            Phase::Up(up) => Some(up.carrier.clone()),
            Phase::Connecting | Phase::Waiting { .. } => None,
        });
        up.ok_or_else(|| self.no_session())
    }

    /// That there is a session with the relay at this moment.
    pub(crate) fn session(&self) -> Result<(), ReachError> {
        match self.board.read().phase {
            Phase::Up(_) => Ok(()),
            Phase::Connecting | Phase::Waiting { .. } => Err(self.no_session()),
        }
    }

    fn no_session(&self) -> ReachError {
        ReachError::NoSession { last_error: self.board.read().last_error }
    }

    /// Changes whenever the relay says who there is.
    #[must_use]
    pub(crate) fn follow(&self) -> tokio::sync::watch::Receiver<Told> {
        self.peers.follow()
    }
}

async fn open(carrier: &Carrier) -> Result<Ends, ReachError> {
    let (send, recv) = carrier.connection.open_bi().await.map_err(ReachError::Lost)?;
    Ok(Ends::new(send, recv, Arc::clone(&carrier.shares)))
}

fn header(peer: &PeerName, purpose: &Purpose) -> PrivateHeader {
    PrivateHeader {
        peer: peer.clone(),
        purpose: purpose.clone(),
        request: RequestId::from_bytes(random::bytes()),
    }
}
