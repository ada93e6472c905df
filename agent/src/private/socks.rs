//! One door to all services, by their names: a SOCKS5 proxy (RFC 1928) that leads to `home.dashboard`, whatever the port,
//! and nowhere else.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use fast_socks5::server::Socks5ServerProtocol;
use fast_socks5::util::target_addr::TargetAddr;
use fast_socks5::{ReplyError, Socks5Command};
use protocol::close::StreamReset;
use protocol::service::ServiceAddress;
use tokio::net::TcpStream;

use super::doors::{broken, prepared};
use super::operator::{Operator, ReachError};
use super::proof::ProofError;
use crate::origin::OriginStream;

/// For the request, which comes from this device.
const REQUEST: Duration = Duration::from_secs(10);

/// Serves one client. What it did wrong it is told, and nobody else.
pub(super) async fn serve(operator: &Operator, tcp: TcpStream) -> Result<(), ReachError> {
    let asked = tokio::time::timeout(REQUEST, Socks5ServerProtocol::accept_no_auth(prepared(tcp))).await;
    let Ok(Ok(asked)) = asked else { return Ok(()) };
    let Ok(Ok((protocol, command, target))) = tokio::time::timeout(REQUEST, asked.read_command()).await
    else {
        return Ok(());
    };
    let service = match (command, &target) {
        (Socks5Command::TCPConnect, TargetAddr::Domain(host, _)) => {
            ServiceAddress::from_host(host).ok_or(ReplyError::HostUnreachable)
        }
        // An address is no service's name; whoever looks names up by itself finds none.
        (Socks5Command::TCPConnect, TargetAddr::Ip(_)) => Err(ReplyError::ConnectionNotAllowed),
        (Socks5Command::TCPBind | Socks5Command::UDPAssociate, _) => Err(ReplyError::CommandNotSupported),
    };
    let service = match service {
        Ok(service) => service,
        Err(reply) => {
            tracing::debug!(%target, %reply, "a SOCKS client was refused");
            // It may have gone.
            let _ = protocol.reply_error(&reply).await;
            return Ok(());
        }
    };
    let stream = match Box::pin(operator.connect(&service)).await {
        Ok(stream) => stream,
        Err(error) => {
            let _ = protocol.reply_error(&reply(&error)).await;
            return Err(error);
        }
    };
    // Where this device reaches it from is nobody's business.
    let Ok(tcp) = protocol.reply_success(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0))).await else {
        return Ok(());
    };
    broken(&service, stream.splice(OriginStream::Tcp(tcp)).await)
}

fn reply(error: &ReachError) -> ReplyError {
    match error {
        ReachError::UnknownPeer { .. }
        | ReachError::UnknownService { .. }
        | ReachError::Offline(_)
        | ReachError::NotOffered(_) => ReplyError::HostUnreachable,
        ReachError::NoSession { .. } | ReachError::Lost(_) => ReplyError::NetworkUnreachable,
        ReachError::OtherKind { .. } | ReachError::Pin(_) => ReplyError::ConnectionNotAllowed,
        ReachError::Proof { source, .. } => match source {
            ProofError::Refused(
                StreamReset::NotGranted | StreamReset::NotAllowed | StreamReset::Unproven,
            ) => ReplyError::ConnectionNotAllowed,
            ProofError::Refused(_) => ReplyError::ConnectionRefused,
            ProofError::TimedOut => ReplyError::ConnectionTimeout,
            ProofError::Broke(_) | ProofError::Write(_) | ProofError::Private(_) => {
                ReplyError::GeneralFailure
            }
        },
        ReachError::Private { .. } => ReplyError::GeneralFailure,
    }
}
