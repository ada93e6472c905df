//! A door for datagrams: a flow to the service for each address that speaks.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use protocol::service::ServiceAddress;
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::trouble::Trouble;
use crate::private::flow::{Complaint, Flow, FlowError, Heard, IDLE, TooLarge};
use crate::private::operator::Operator;

/// Flows of one door at once.
const MOST: usize = 1024;
/// Datagrams of one address that wait for its flow.
const WAITING: usize = 64;
const LARGEST_DATAGRAM: usize = 65_507;

/// Serves until told to stop: datagrams answer nobody who waits, so there is nothing to be waited for.
pub(super) async fn serve(
    operator: &Arc<Operator>,
    socket: UdpSocket,
    service: ServiceAddress,
    close: CancellationToken,
) {
    let trouble = Arc::new(Trouble::new(service.to_string(), "datagrams lead nowhere"));
    let (socket, mut room) = (Arc::new(socket), vec![0; LARGEST_DATAGRAM]);
    let mut flows: HashMap<SocketAddr, mpsc::Sender<Bytes>> = HashMap::new();
    let mut running: JoinSet<SocketAddr> = JoinSet::new();
    loop {
        tokio::select! {
            received = socket.recv_from(&mut room) => {
                // That somebody who was answered is gone comes back as an error, and means nothing here.
                let Ok((length, from)) = received else { continue };
                if !flows.contains_key(&from) && flows.len() < MOST {
                    let (datagrams, waiting) = mpsc::channel(WAITING);
                    let local = Local { socket: Arc::clone(&socket), address: from, waiting };
                    running.spawn(carry(Arc::clone(operator), service.clone(), Arc::clone(&trouble), local));
                    flows.insert(from, datagrams);
                }
                if let Some(datagrams) = flows.get(&from) {
                    let _full = datagrams.try_send(Bytes::copy_from_slice(&room[..length]));
                }
            }
            Some(ended) = running.join_next() => if let Ok(address) = ended {
                flows.remove(&address);
            },
            () = close.cancelled() => return,
        }
    }
}

/// One address of this device that speaks through the door.
struct Local {
    socket: Arc<UdpSocket>,
    address: SocketAddr,
    waiting: mpsc::Receiver<Bytes>,
}

/// Carries one flow until nothing has moved for a while.
async fn carry(
    operator: Arc<Operator>,
    service: ServiceAddress,
    trouble: Arc<Trouble>,
    mut local: Local,
) -> SocketAddr {
    match Box::pin(operator.flow(&service)).await {
        Ok(flow) => exchange(flow, &service, &mut local).await,
        Err(error) => trouble.note(Err(error)),
    }
    local.address
}

async fn exchange(mut flow: Flow, service: &ServiceAddress, local: &mut Local) {
    let mut complaint = Complaint::default();
    loop {
        tokio::select! {
            Some(datagram) = local.waiting.recv() => match flow.send(&datagram) {
                Ok(()) => {}
                Err(FlowError::TooLarge(too_large)) => complain(&mut complaint, too_large, service),
                Err(FlowError::Unsupported | FlowError::Ended) => return,
            },
            heard = flow.hear() => match heard {
                Heard::Datagram(datagram) => drop(local.socket.send_to(&datagram, local.address).await),
                Heard::TooLarge(too_large) => complain(&mut complaint, too_large, service),
                Heard::Ended => return,
            },
            () = tokio::time::sleep(IDLE) => return,
        }
    }
}

fn complain(complaint: &mut Complaint, too_large: TooLarge, service: &ServiceAddress) {
    if let Some(dropped) = complaint.note(too_large) {
        tracing::warn!(%service, dropped, reason = %too_large, "datagrams were dropped");
    }
}
