//! Doors on this device to services of other peers: a port for each, as long as the configuration names it.

mod datagrams;
mod door;
mod https;
mod trouble;

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use process::terminal;
use protocol::close::StreamReset;
use protocol::control::Carries;
use protocol::service::ServiceAddress;
use protocol::talk::{Described, Say};
use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use self::door::DoorError;
pub use self::door::{Door, DoorState};
use self::trouble::Trouble;
use super::operator::{Known, Operator, ReachError};
use super::proof::ProofError;
use super::socks;
use super::talk::TalkError;
use crate::config::Connect;
use crate::identity::DataDir;
use crate::local_ca::LocalCa;
use crate::offer::Offers;
use crate::origin::OriginStream;
use crate::splice::SpliceError;

/// How long until a door that could not be opened is tried again.
const AGAIN: Duration = Duration::from_secs(5);
const REFUSED: &str = "a connection was refused";
/// Connections that one door has open at once.
const MOST: usize = 1024;

/// What is done about a door that cannot be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Patience {
    /// It is tried for ever.
    Endless,
    /// Until the peer is there.
    ForThePeer,
    None,
}

/// All doors of this device, and how it is with each.
#[derive(Debug)]
pub struct Doors {
    operator: Arc<Operator>,
    data_dir: DataDir,
    patience: Patience,
    states: watch::Sender<Vec<(Door, DoorState)>>,
}

impl Doors {
    #[must_use]
    pub fn new(operator: Arc<Operator>, data_dir: DataDir, patience: Patience) -> Arc<Self> {
        Arc::new(Self { operator, data_dir, patience, states: watch::Sender::default() })
    }

    /// How it is with each.
    #[must_use]
    pub fn follow(&self) -> watch::Receiver<Vec<(Door, DoorState)>> {
        self.states.subscribe()
    }

    /// Keeps open what the configuration in force names. A door that it names no longer lets nobody in; who is in stays.
    pub async fn run(self: &Arc<Self>, mut offers: Offers) -> Infallible {
        let mut open: HashMap<Door, CancellationToken> = HashMap::new();
        let mut running = JoinSet::new();
        loop {
            let wanted = Door::wanted_by(offers.borrow_and_update().config());
            open.retain(|door, close| {
                let stays = wanted.contains(door);
                if !stays {
                    close.cancel();
                }
                stays
            });
            self.states.send_modify(|states| states.retain(|(door, _)| wanted.contains(door)));
            for door in wanted {
                open.entry(door.clone()).or_insert_with(|| {
                    let close = CancellationToken::new();
                    running.spawn(Arc::clone(self).keep(door, close.clone()));
                    close
                });
            }
            tokio::select! {
                changed = offers.changed() => if changed.is_err() { std::future::pending().await },
                Some(ended) = running.join_next() => if let Err(error) = ended {
                    tracing::error!(%error, "a door was closed by a mistake in this program");
                },
            }
        }
    }

    /// Keeps one door open until it is closed.
    async fn keep(self: Arc<Self>, door: Door, close: CancellationToken) {
        let mut told = self.operator.follow();
        loop {
            told.mark_unchanged();
            let error = tokio::select! {
                () = close.cancelled() => return,
                opened = self.open(&door) => match opened {
                    Ok(opened) => return opened.serve(&self.operator, close).await,
                    Err(error) => error,
                },
            };
            if !self.on_failure(&door, &error) {
                return;
            }
            // Whom the relay names may have changed, and with it everything.
            tokio::select! {
                () = close.cancelled() => return,
                _ = told.changed() => {}
                () = tokio::time::sleep(AGAIN) => {}
            }
        }
    }

    /// Whether to go on trying.
    fn on_failure(&self, door: &Door, error: &DoorError) -> bool {
        let goes_on = match self.patience {
            Patience::Endless => true,
            Patience::ForThePeer => error.is_temporary(),
            Patience::None => {
                matches!(error, DoorError::Reach(ReachError::NoSession { .. } | ReachError::Lost(_)))
            }
        };
        let (text, hint) = (terminal::chain(error), error.hint());
        let state = if goes_on && error.is_temporary() {
            DoorState::Waiting { reason: text }
        } else {
            DoorState::Failed { error: text, hint }
        };
        self.note(door, state);
        goes_on
    }

    /// Says what is new about a door.
    fn note(&self, door: &Door, state: DoorState) {
        let name = door.name();
        let is_news =
            self.states.send_if_modified(|states| match states.iter_mut().find(|(known, _)| known == door) {
                Some((_, known)) if *known == state => false,
                Some((_, known)) => {
                    *known = state.clone();
                    true
                }
                None => {
                    states.push((door.clone(), state.clone()));
                    true
                }
            });
        // Whoever asked for the door alone is told by the command itself.
        let is_logged = is_news && self.patience == Patience::Endless;
        match state {
            _ if !is_logged => {}
            DoorState::Waiting { reason } => tracing::info!(door = name, reason, "waiting"),
            DoorState::Open { address, .. } => {
                tracing::info!(door = name, %address, "open");
                if !address.ip().is_loopback() {
                    tracing::warn!(door = name, %address, "whoever reaches this address reaches the service");
                }
            }
            DoorState::Failed { error, hint: Some(hint) } => {
                tracing::warn!(door = name, error, hint, "not open")
            }
            DoorState::Failed { error, hint: None } => tracing::warn!(door = name, error, "not open"),
        }
    }

    async fn open(&self, door: &Door) -> Result<Opened, DoorError> {
        match door {
            Door::Socks5(address) => {
                let listener = listen(address.0).await?;
                self.note(door, DoorState::Open { address: local(&listener, address.0), url: None });
                Ok(Opened::Socks5(listener))
            }
            Door::To(connect) => self.open_to(door, connect).await,
        }
    }

    async fn open_to(&self, door: &Door, connect: &Connect) -> Result<Opened, DoorError> {
        let service = &connect.service;
        let known = self.operator.find(service, None).await?;
        if !known.online {
            return Err(ReachError::Offline(known.name).into());
        }
        if let Some(direct) = &self.operator.direct {
            direct.seek(&known);
        }
        let told = self.operator.peers.told();
        let offer = told.roster.by_name(&known.name).and_then(|peer| peer.offer(&service.service).cloned());
        let carries = offer.map_or(Carries::Tcp, |offer| offer.carries);
        let described = self.describe(&known, connect).await?;
        let address = match (connect.listen, described.as_ref().and_then(|described| described.port)) {
            (Some(listen), _) => listen.0,
            (None, Some(port)) => SocketAddr::from(([127, 0, 0, 1], port)),
            (None, None) => return Err(DoorError::NoPort(service.clone())),
        };
        match carries {
            Carries::Udp if connect.https.is_some() => Err(DoorError::NoTls(service.clone())),
            Carries::Udp => {
                let socket = tokio::net::UdpSocket::bind(address).await;
                let socket = socket.map_err(|source| DoorError::Listen { address, source })?;
                let address = socket.local_addr().unwrap_or(address);
                self.note(door, DoorState::Open { address, url: None });
                Ok(Opened::Udp(socket, service.clone()))
            }
            Carries::Tcp => {
                let tls =
                    connect.https.as_ref().map(|name| LocalCa::open(&self.data_dir)?.server_config(name));
                let tls = tls.transpose()?;
                let listener = listen(address).await?;
                let address = local(&listener, address);
                let is_http = described.is_some_and(|described| described.http);
                let url = match &connect.https {
                    Some(name) if address.port() == 443 => Some(format!("https://{name}")),
                    Some(name) => Some(format!("https://{name}:{}", address.port())),
                    None => is_http.then(|| format!("http://{address}")),
                };
                self.note(door, DoorState::Open { address, url });
                Ok(Opened::Tcp { listener, service: service.clone(), tls })
            }
        }
    }

    /// What the host says of the service. Where the port is known already, its silence is no trouble.
    async fn describe(&self, known: &Known, connect: &Connect) -> Result<Option<Described>, DoorError> {
        let failed = |source| DoorError::Ask { peer: known.name.to_string(), source };
        let asked = async {
            let mut talk = self.operator.talk(known).await?;
            match talk.ask(&Say::Describe).await.map_err(failed)? {
                Say::Services { services } => {
                    let is_it = |described: &Described| described.name == connect.service.service;
                    let described = services.into_iter().find(is_it);
                    described.map(Some).ok_or_else(|| DoorError::NotAllowed(connect.service.clone()))
                }
                Say::Describe | Say::Meet { .. } | Say::Apart | Say::Unknown => {
                    Err(failed(TalkError::OffTopic))
                }
            }
        };
        match asked.await {
            Err(DoorError::Ask { .. }) if connect.listen.is_some() => Ok(None),
            described => described,
        }
    }
}

async fn listen(address: SocketAddr) -> Result<TcpListener, DoorError> {
    TcpListener::bind(address).await.map_err(|source| DoorError::Listen { address, source })
}

fn local(listener: &TcpListener, asked: SocketAddr) -> SocketAddr {
    listener.local_addr().unwrap_or(asked)
}

/// A door that is open.
enum Opened {
    Tcp { listener: TcpListener, service: ServiceAddress, tls: Option<Arc<rustls::ServerConfig>> },
    Udp(tokio::net::UdpSocket, ServiceAddress),
    Socks5(TcpListener),
}

impl Opened {
    /// Lets in who comes until the door is closed, and waits for who is in.
    async fn serve(self, operator: &Arc<Operator>, close: CancellationToken) {
        match self {
            Self::Udp(socket, service) => datagrams::serve(operator, socket, service, close).await,
            Self::Tcp { listener, service, tls } => {
                let trouble = Arc::new(Trouble::new(service.to_string(), REFUSED));
                accept(listener, close, |tcp| {
                    let (operator, service, trouble) =
                        (Arc::clone(operator), service.clone(), Arc::clone(&trouble));
                    let tls = tls.clone();
                    async move {
                        trouble.note(match tls {
                            Some(config) => https::pass(&operator, &service, &config, tcp).await,
                            None => pass(&operator, &service, tcp).await,
                        });
                    }
                })
                .await;
            }
            Self::Socks5(listener) => {
                let trouble = Arc::new(Trouble::new("socks5".to_owned(), REFUSED));
                accept(listener, close, |tcp| {
                    let (operator, trouble) = (Arc::clone(operator), Arc::clone(&trouble));
                    async move { trouble.note(socks::serve(&operator, tcp).await) }
                })
                .await;
            }
        }
    }
}

/// Accepts until told to stop, serves each, and waits for all of them.
async fn accept<F>(listener: TcpListener, close: CancellationToken, serve: impl Fn(TcpStream) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let mut running = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept(), if running.len() < MOST => match accepted {
                Ok((tcp, _)) => drop(running.spawn(serve(tcp))),
                // Out of descriptors, say: it passes, and must not spin until then.
                Err(error) => {
                    tracing::warn!(%error, "cannot accept");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            },
            Some(_) = running.join_next() => {}
            () = close.cancelled() => break,
        }
    }
    drop(listener);
    while running.join_next().await.is_some() {}
}

/// Leads one connection to the service and back.
async fn pass(operator: &Operator, service: &ServiceAddress, tcp: TcpStream) -> Result<(), ReachError> {
    let tcp = prepared(tcp);
    let stream = Box::pin(operator.connect(service)).await?;
    broken(service, stream.splice(OriginStream::Tcp(tcp)).await)
}

/// What broke a connection is worth a word where the service was never reached.
pub(super) fn broken(service: &ServiceAddress, spliced: Result<(), SpliceError>) -> Result<(), ReachError> {
    let Err(error) = spliced else { return Ok(()) };
    if let SpliceError::Reset(Some(code)) = error
        && code != StreamReset::Cancelled
    {
        let (address, source) = (service.to_string(), ProofError::Refused(code));
        return Err(ReachError::Proof { address, source });
    }
    tracing::debug!(%service, error = terminal::chain(&error), "a connection broke off");
    Ok(())
}

/// From here on closing is a reset, until everything has been said: nobody takes what broke off for the whole.
pub(super) fn prepared(tcp: TcpStream) -> TcpStream {
    // Neither fails on a socket that was just accepted.
    let _ = tcp.set_nodelay(true);
    let _ = SockRef::from(&tcp).set_linger(Some(Duration::ZERO));
    tcp
}
