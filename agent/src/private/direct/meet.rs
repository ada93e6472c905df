//! Two agents come together: one looks for the other, which opens its router for it and lets it prove who it is.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use process::{random, terminal};
use protocol::close::SessionClose;
use protocol::id::RequestId;
use protocol::private::{Context, Purpose};
use protocol::stream::{Header, PrivateHeader};
use protocol::talk::Say;
use quinn::{Connection, Incoming};
use tokio::task::JoinSet;

use super::path::Path;
use super::{Direct, addresses, ground_of, quic};
use crate::dial::Ground;
use crate::dispatch::read_header;
use crate::private::flow::Carrier;
use crate::private::host::{Host, Way};
use crate::private::operator::{Known, Operator};
use crate::private::peers::Caller;
use crate::private::proof;
use crate::splice::Ends;

/// For one of the addresses to answer.
const ATTEMPT: Duration = Duration::from_millis(4000);
/// How much later IPv4 is tried than IPv6.
const BEHIND: Duration = Duration::from_millis(80);
/// How often and for how long a router is opened from inside.
const KNOCK: Duration = Duration::from_millis(100);
const KNOCKS: u32 = 40;
/// No packet of QUIC begins like this: its second bit is always set (RFC 9000, section 17).
const NOTHING: [u8; 4] = [0; 4];
/// From the first packet to the proof of both keys.
const PROOF: Duration = Duration::from_secs(5);
/// What a connection may have in flight once its key is proven, in bytes.
const PEER_WINDOW: u32 = 32 << 20;

/// Operator: looks for a way to the host once, and stays with it until it is dead.
pub(super) async fn seek(direct: Arc<Direct>, operator: Arc<Operator>, known: Known) {
    match meet(&direct, &operator, &known).await {
        Ok(path) => {
            direct.found(&known, &path);
            let peer = Caller { name: known.name.clone(), key: known.key };
            let why = tokio::select! {
                why = path.until_dead() => why,
                () = operator.peers.until_gone(&peer) => "the relay does not name the peer any more",
                _ = path.carrier.run() => "it was closed, or went silent",
            };
            path.close();
            direct.lost(&known, why);
        }
        Err(why) => direct.not_found(&known, why),
    }
}

async fn meet(direct: &Direct, operator: &Operator, known: &Known) -> Result<Path, String> {
    let ground = ground_of(&direct.board.read()).ok_or("there is no session with the relay")?;
    let observed = operator.peers.told().roster.observed;
    let own = direct.own_addresses(&ground, observed);
    let mut talk = operator.talk(known).await.map_err(|error| terminal::chain(&error))?;
    let theirs = match talk.ask(&Say::Meet { addresses: own }).await {
        Ok(Say::Meet { addresses }) => addresses,
        Ok(Say::Apart) => return Err("the other agent does not want to".to_owned()),
        Ok(Say::Describe | Say::Services { .. } | Say::Unknown) => {
            return Err("the other agent knows nothing of direct paths".to_owned());
        }
        Err(error) => return Err(terminal::chain(&error)),
    };
    let is_here = observed.is_some_and(|observed| observed.ip().to_canonical().is_loopback());
    let theirs = addresses::sensible(&theirs, is_here);
    let mut attempts: FuturesUnordered<_> =
        theirs.iter().map(|address| attempt(direct, &ground, operator, known, *address)).collect();
    let first = async {
        while let Some(path) = attempts.next().await {
            if path.is_some() {
                return path;
            }
        }
        None
    };
    tokio::time::timeout(ATTEMPT, first).await.ok().flatten().ok_or_else(|| nothing_came(&theirs))
}

/// As far as this side can know.
fn nothing_came(tried: &[SocketAddr]) -> String {
    let tried = tried.iter().map(SocketAddr::to_string).collect::<Vec<_>>().join(", ");
    format!(
        "nothing came through from {tried}: a router on the way gives each destination another port, or lets nothing in"
    )
}

/// One address. Nothing where it does not answer, or whoever does is not the host.
async fn attempt(
    direct: &Direct,
    ground: &Ground,
    operator: &Operator,
    known: &Known,
    address: SocketAddr,
) -> Option<Path> {
    if address.is_ipv4() {
        tokio::time::sleep(BEHIND).await;
    }
    let connecting = ground.endpoint.connect_with(direct.settings.client.clone(), address, "adit").ok()?;
    let connection = connecting.await.ok()?;
    match prove(&connection, operator, known).await {
        Some(()) => Some(Path::new(connection)),
        None => {
            connection.close(SessionClose::Handshake.number().into(), b"");
            None
        }
    }
}

/// Both keys, for this very connection.
async fn prove(connection: &Connection, operator: &Operator, known: &Known) -> Option<()> {
    let exporter = quic::exporter(connection)?;
    let (send, recv) = connection.open_bi().await.ok()?;
    let mut ends = Ends::new(send, recv, Arc::default());
    let request = RequestId::from_bytes(random::bytes());
    let header = PrivateHeader { peer: known.me.clone(), purpose: Purpose::Talk, request };
    let context =
        Context { operator: &known.me, host: &known.name, purpose: &header.purpose, binding: &exporter };
    let proven = proof::begin(&mut ends, &header, &operator.peers.secret, &known.key, &context).await;
    proven.map(drop).ok()
}

/// Host: sends to where the operator is, so that this side's router takes what comes from there for an answer.
pub(super) async fn open_router(ground: Ground, addresses: Vec<SocketAddr>) {
    let mut every = tokio::time::interval(KNOCK);
    for _ in 0..KNOCKS {
        every.tick().await;
        for address in &addresses {
            // What cannot be sent to one of them says nothing of the others.
            let _ = ground.knock(*address, &NOTHING);
        }
    }
}

/// Host: has one that is expected prove its key, and serves it until it goes or may no longer be here.
pub(super) async fn welcome(direct: Arc<Direct>, host: Arc<Host>, incoming: Incoming) {
    let Ok(stranger) = direct.strangers.try_acquire() else { return incoming.ignore() };
    let address = addresses::canonical(incoming.remote_address());
    let Ok(Some((connection, caller))) = tokio::time::timeout(PROOF, hear(&host, incoming)).await else {
        return tracing::debug!(%address, "a direct connection proved nothing");
    };
    drop(stranger);
    let Some(_present) = direct.enter(&caller) else {
        return connection.close(SessionClose::Busy.number().into(), b"");
    };
    connection.set_receive_window(PEER_WINDOW.into());
    connection.set_max_concurrent_bi_streams(protocol::limits::PRIVATE_STREAMS.into());
    tracing::info!(peer = %caller.name, %address, "a peer is here directly");
    let ended = serve(&host, &connection, &caller).await;
    connection.close(ended.number().into(), b"");
    tracing::info!(peer = %caller.name, %address, "it is no longer");
}

async fn hear(host: &Host, incoming: Incoming) -> Option<(Connection, Caller)> {
    let connection = incoming.accept().ok()?.await.ok()?;
    let exporter = quic::exporter(&connection)?;
    let (send, recv) = connection.accept_bi().await.ok()?;
    let mut ends = Ends::new(send, recv, Arc::default());
    let Header::Private(header) = read_header(&mut ends.from_relay).await.ok()? else { return None };
    let me = host.peers.told().me?;
    let context = Context { operator: &header.peer, host: &me, purpose: &Purpose::Talk, binding: &exporter };
    let decision = proof::hear(&mut ends, &host.peers.secret, &context).await.ok()?;
    let caller = Caller { name: header.peer.clone(), key: decision.operator() };
    if let Err(refusal) = host.peers.admit(&caller, &Purpose::Talk, &host.offers).await {
        tracing::warn!(peer = %caller.name, error = terminal::chain(&refusal), "a peer was refused directly");
        return None;
    }
    proof::answer(&mut ends, decision).await.ok()?;
    // The other side reads the answer before it sees the end of the stream.
    ends.to_relay.end();
    Some((connection, caller))
}

async fn serve(host: &Arc<Host>, connection: &Connection, caller: &Caller) -> SessionClose {
    let carrier = Carrier::new(connection.clone());
    let mut running = JoinSet::new();
    loop {
        tokio::select! {
            accepted = connection.accept_bi() => match accepted {
                Ok((send, recv)) => {
                    let ends = Ends::new(send, recv, Arc::clone(&carrier.shares));
                    running.spawn(serve_one(Arc::clone(host), ends, carrier.clone(), caller.clone()));
                }
                Err(_) => return SessionClose::Done,
            },
            _ = carrier.run() => return SessionClose::Done,
            Some(ended) = running.join_next() => if let Err(error) = ended {
                tracing::error!(%error, "a peer's stream ended by a mistake in this program");
            },
            () = host.talks.until_apart(&host.offers) => return SessionClose::Done,
            refusal = host.peers.until_refused(caller, &Purpose::Talk, host.offers.clone()) => {
                tracing::info!(peer = %caller.name, reason = %refusal, "a peer may no longer be here");
                return SessionClose::Revoked;
            }
        }
    }
}

async fn serve_one(host: Arc<Host>, mut ends: Ends, carrier: Carrier, caller: Caller) {
    let header = tokio::time::timeout(PROOF, read_header(&mut ends.from_relay)).await;
    match header {
        Ok(Ok(Header::Private(header))) => host.serve(ends, header, &carrier, Way::Direct(&caller)).await,
        Ok(Ok(Header::Visitor(_)) | Err(_)) | Err(_) => ends.reset(protocol::close::StreamReset::Header),
    }
}
