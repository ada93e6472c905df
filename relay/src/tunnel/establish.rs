//! What a connection has to do before it is anything: prove a key, as a session or as an enrollment, within one deadline.

use std::any::Any;
use std::net::IpAddr;

use protocol::close::SessionClose;
use protocol::frame::{Frame, FrameKind};
use protocol::framed;
use protocol::handshake::{AwaitAdmission, AwaitProof, EnrollRequest, HandshakeError, SessionWelcome};
use protocol::hostname::Hostname;
use protocol::key::PublicKey;
use protocol::noise::Exporter;
use protocol::{limits, version};
use quinn::crypto::rustls::HandshakeData;
use quinn::{Connection, ConnectionError, Incoming, RecvStream, SendStream};

use super::listener::Visitors;
use super::registry::Seat;
use crate::enrollment::Enrollment;

/// Why a connection became nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EstablishError {
    #[error("the connection failed")]
    Connection(#[from] ConnectionError),
    #[error("the visitor named no host")]
    NoName,
    #[error("the TLS connection has no keying material")]
    Exporter,
    #[error("the first frame did not come")]
    Read(#[from] framed::ReadError),
    #[error("the answer could not be sent")]
    Write(#[from] std::io::Error),
    #[error("the handshake failed")]
    Handshake(#[from] HandshakeError),
    #[error("the first frame is of kind {0}")]
    Kind(u16),
    #[error("no proof of a key within {} s", limits::ESTABLISHMENT.as_secs())]
    Deadline,
    #[error("not admitted: {0}")]
    NotAdmitted(SessionClose),
}

impl EstablishError {
    /// What the other side is told.
    pub(crate) fn close_code(&self) -> SessionClose {
        match self {
            Self::Connection(_) | Self::NoName | Self::Read(_) | Self::Kind(_) => SessionClose::Protocol,
            Self::Exporter | Self::Handshake(_) | Self::Write(_) => SessionClose::Handshake,
            Self::Deadline => SessionClose::Establishment,
            Self::NotAdmitted(code) => *code,
        }
    }
}

/// The control stream.
#[derive(Debug)]
pub(crate) struct ControlStream {
    pub(crate) send: SendStream,
    pub(crate) recv: RecvStream,
}

/// What became of a connection.
#[derive(Debug)]
pub(crate) enum Established {
    Visitor(Hostname),
    Session { seat: Seat, control: ControlStream },
    Enrolling { key: PublicKey, request: EnrollRequest, control: ControlStream },
}

/// Who is at the other end, by the protocol that it asks for.
#[derive(Debug)]
pub(crate) enum Caller {
    Agent,
    Visitor(Hostname),
}

/// Finishes the QUIC handshake. What an agent has to prove follows in [`prove`], under the same deadline.
pub(crate) async fn connect(
    incoming: Incoming,
    visitors: &dyn Visitors,
) -> Result<(Connection, Caller), EstablishError> {
    let mut connecting = incoming.accept()?;
    let caller = caller(&*connecting.handshake_data().await?).ok_or(EstablishError::NoName)?;
    if let Caller::Agent = caller {
        return Ok((connecting.await?, caller));
    }
    // A visitor may not wait a round trip for its second stream: the bounds go out with the handshake.
    match connecting.into_0rtt() {
        Ok((connection, completed)) => {
            visitors.bound(&connection);
            // Whether it was completed, only the connection says.
            completed.await;
            match connection.close_reason() {
                None => Ok((connection, caller)),
                Some(error) => Err(error.into()),
            }
        }
        Err(connecting) => Ok((connecting.await?, caller)),
    }
}

/// Nothing where a visitor names no host.
fn caller(handshake: &dyn Any) -> Option<Caller> {
    let handshake = handshake.downcast_ref::<HandshakeData>()?;
    if handshake.protocol.as_deref() == Some(version::ALPN) {
        return Some(Caller::Agent);
    }
    let named = handshake.server_name.as_ref()?;
    Some(Caller::Visitor(named.parse().ok()?))
}

/// Reads the first stream until a key is proven.
pub(crate) async fn prove(
    connection: &Connection,
    enrollment: &Enrollment,
) -> Result<Established, EstablishError> {
    let mut exporter: Exporter = [0; 32];
    let exported = connection.export_keying_material(&mut exporter, version::EXPORTER_LABEL, b"");
    exported.map_err(|_| EstablishError::Exporter)?;
    let (send, recv) = connection.accept_bi().await?;
    let mut control = ControlStream { send, recv };
    let first = framed::read(&mut control.recv, limits::HANDSHAKE_BODY).await?;
    match first.kind() {
        Some(FrameKind::SessionHello) => session(connection, enrollment, &exporter, &first, control).await,
        Some(FrameKind::EnrollStart) => enrolling(enrollment, &exporter, &first, control).await,
        _ => Err(EstablishError::Kind(first.number)),
    }
}

async fn session(
    connection: &Connection,
    enrollment: &Enrollment,
    exporter: &Exporter,
    first: &Frame,
    mut control: ControlStream,
) -> Result<Established, EstablishError> {
    let proven = AwaitAdmission::receive(&enrollment.secret, exporter, first)?;
    let (key, hello) = (proven.peer(), proven.hello().clone());
    let admitted = enrollment.registry.admit(key, &hello, connection.clone());
    let seat = admitted.map_err(EstablishError::NotAdmitted)?;
    let welcome = SessionWelcome { software: crate::VERSION.into(), peer: seat.session.peer.clone() };
    framed::write(&mut control.send, &proven.admit(&welcome)?).await?;
    Ok(Established::Session { seat, control })
}

async fn enrolling(
    enrollment: &Enrollment,
    exporter: &Exporter,
    first: &Frame,
    mut control: ControlStream,
) -> Result<Established, EstablishError> {
    let (reply, await_proof) = AwaitProof::receive(&enrollment.secret, exporter, first)?;
    framed::write(&mut control.send, &reply).await?;
    let proof = framed::read(&mut control.recv, limits::HANDSHAKE_BODY).await?;
    let (key, request) = await_proof.finish(&proof)?;
    Ok(Established::Enrolling { key, request, control })
}

/// The address that a connection comes from, in the form that lists and limits use.
pub(crate) fn address(connection: &Connection) -> IpAddr {
    connection.remote_address().ip().to_canonical()
}
