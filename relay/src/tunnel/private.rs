//! Streams between peers: an operator's agent opens one, and its bytes, which nobody here can read, go to a session of the
//! host and back.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use protocol::close::StreamReset;
use protocol::private::Purpose;
use protocol::stream::{self, Header, PrivateHeader};
use quinn::{ReadError, ReadExactError, RecvStream, SendStream, VarInt, WriteError};
use tokio::task::JoinSet;
use transport::urgency::Urgency;

use super::crowd::Intake;
use super::datagrams::Flow;
use super::registry::{Led, Meeting, Registry};
use super::session::Session;

/// From the opening of a stream to the end of its header, and until the host's agent has let it in.
const HEADER: Duration = Duration::from_secs(5);
const OPENING: Duration = Duration::from_secs(10);
/// Pieces that are taken from a stream at once.
const PIECES: usize = 32;

fn cancelled() -> VarInt {
    StreamReset::Cancelled.number().into()
}

fn offline() -> VarInt {
    StreamReset::PeerOffline.number().into()
}

/// Serves the streams that an agent opens, for as long as this is polled.
pub(crate) async fn serve(session: &Arc<Session>, registry: &Arc<Registry>) -> Infallible {
    let mut running = JoinSet::new();
    loop {
        tokio::select! {
            accepted = session.connection.accept_bi() => match accepted {
                Ok((send, recv)) => {
                    let (session, registry) = (Arc::clone(session), Arc::clone(registry));
                    running.spawn(stream(session, registry, Side::new(send, recv)));
                }
                // The control stream tells of the end.
                Err(_) => std::future::pending().await,
            },
            Some(ended) = running.join_next() => if let Err(error) = ended {
                tracing::error!(%error, "a stream between peers ended by a mistake in this program");
            },
        }
    }
}

async fn stream(session: Arc<Session>, registry: Arc<Registry>, mut operator: Side) {
    let read = tokio::time::timeout(HEADER, read_header(&mut operator.recv.stream)).await;
    let Ok(Some(header)) = read else { return operator.reset(StreamReset::Header) };
    let PrivateHeader { peer: host, purpose, request } = &header;
    let led = match registry.lead(&session, &header) {
        Ok(led) => led,
        Err(code) => {
            // An operator that does not stop asking fills no log.
            tracing::debug!(%request, operator = %session.peer, %host, purpose = name(purpose), reason = %code, "refused");
            return operator.reset(code);
        }
    };
    tracing::debug!(%request, operator = %session.peer, %host, purpose = name(purpose), "a stream between peers");
    carry(&session, operator, &header, led).await;
    tracing::debug!(%request, "the stream between peers has ended");
}

/// For logs.
fn name(purpose: &Purpose) -> &str {
    purpose.service().map_or("-", |service| service.as_str())
}

async fn read_header(recv: &mut RecvStream) -> Option<PrivateHeader> {
    let mut head = [0; stream::HEAD];
    recv.read_exact(&mut head).await.ok()?;
    let (kind, length) = stream::decode_head(head).ok()?;
    let mut fields = vec![0; length];
    let read: Result<(), ReadExactError> = recv.read_exact(&mut fields).await;
    read.ok()?;
    match Header::decode_fields(kind, &fields).ok()? {
        Header::Private(header) => Some(header),
        Header::Visitor(_) => None,
    }
}

async fn carry(session: &Arc<Session>, mut operator: Side, header: &PrivateHeader, led: Led) {
    let Led { host: to, permit, meeting } = led;
    let (told, revoked) = permit.redeem(header.request);
    let opening = tokio::time::timeout(OPENING, open(&to, &told));
    let Ok(Some(mut host)) = opening.await else { return operator.reset(StreamReset::PeerOffline) };
    let meeting = Arc::new(meeting);
    let _flow = matches!(header.purpose, Purpose::Udp(_))
        .then(|| Flow::join((session, operator.send.stream.id()), (&to, host.send.stream.id()), &meeting));
    let up = session.join_crowd(session.connection.remote_address());
    let down = to.join_crowd(session.connection.remote_address());
    let Side { send: to_operator, recv: from_operator } = &mut operator;
    let Side { send: to_host, recv: from_host } = &mut host;
    let both = async {
        // Each direction ends as it is told to, whatever becomes of the other.
        tokio::join!(
            one_way(from_operator, to_host, Urgency::new(to.shares()), (&up.intake, &meeting)),
            one_way(from_host, to_operator, Urgency::new(session.shares()), (&down.intake, &meeting)),
        )
    };
    let code = tokio::select! {
        _ = both => StreamReset::Cancelled,
        () = revoked.cancelled() => StreamReset::NotGranted,
        () = up.intake.cut() => StreamReset::Busy,
        () = down.intake.cut() => StreamReset::Busy,
    };
    operator.reset(code);
    host.reset(code);
}

async fn open(host: &Session, told: &PrivateHeader) -> Option<Side> {
    let (mut send, recv) = host.connection.open_bi().await.ok()?;
    send.write_all(&told.encode()).await.ok()?;
    Some(Side::new(send, recv))
}

/// Moves bytes until they end or break, and ends the other half in the same way.
async fn one_way(
    from: &mut Receiving,
    to: &mut Sending,
    mut urgency: Urgency,
    (intake, meeting): (&Intake, &Meeting),
) {
    let mut pieces: [Bytes; PIECES] = Default::default();
    let mut stopped = std::pin::pin!(to.stream.stopped());
    loop {
        let _uncut = intake.asked();
        let read = tokio::select! {
            read = from.stream.read_chunks(&mut pieces) => read,
            code = &mut stopped => return from.stop(code.ok().flatten().unwrap_or(cancelled())),
        };
        let count = match read {
            Ok(Some(count)) => count,
            Ok(None) => {
                from.open = false;
                return to.finish();
            }
            Err(ReadError::Reset(code)) => return to.reset(code),
            Err(
                ReadError::ConnectionLost(_)
                | ReadError::ClosedStream
                | ReadError::IllegalOrderedRead
                | ReadError::ZeroRttRejected,
            ) => return to.reset(offline()),
        };
        intake.handed_out(None);
        let length: usize = pieces[..count].iter().map(Bytes::len).sum();
        match to.stream.write_all_chunks(&mut pieces[..count]).await {
            Ok(()) => {
                urgency.sent(&to.stream, length);
                meeting.carried(length);
            }
            Err(WriteError::Stopped(code)) => return from.stop(code),
            Err(WriteError::ConnectionLost(_) | WriteError::ClosedStream | WriteError::ZeroRttRejected) => {
                return from.stop(offline());
            }
        }
    }
}

/// One peer's end of the stream. What has not ended when it is dropped is broken off.
struct Side {
    send: Sending,
    recv: Receiving,
}

impl Side {
    fn new(send: SendStream, recv: RecvStream) -> Self {
        Self { send: Sending { stream: send, open: true }, recv: Receiving { stream: recv, open: true } }
    }

    /// What has ended by itself stays as it is.
    fn reset(&mut self, code: StreamReset) {
        self.send.reset(code.number().into());
        self.recv.stop(code.number().into());
    }
}

/// On which the relay speaks to a peer.
struct Sending {
    stream: SendStream,
    open: bool,
}

impl Sending {
    fn finish(&mut self) {
        self.open = false;
        // Fails only where it was ended before.
        let _ = self.stream.finish();
    }

    fn reset(&mut self, code: VarInt) {
        if std::mem::take(&mut self.open) {
            let _ = self.stream.reset(code);
        }
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        self.reset(cancelled());
    }
}

/// On which a peer speaks to the relay.
struct Receiving {
    stream: RecvStream,
    open: bool,
}

impl Receiving {
    /// Nobody wants the rest.
    fn stop(&mut self, code: VarInt) {
        if std::mem::take(&mut self.open) {
            let _ = self.stream.stop(code);
        }
    }
}

impl Drop for Receiving {
    fn drop(&mut self) {
        self.stop(cancelled());
    }
}
