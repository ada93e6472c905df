//! Asks the router of this network to let packets in for this agent (UPnP, PCP, NAT-PMP), where it does such things and
//! there is somebody to meet.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::num::NonZeroU16;

use portmapper::{Client, Config, Protocol};

use super::{Direct, ground_of};
use crate::private::peers::Peers;

/// Keeps asking for as long as this is polled, where it is wanted.
pub(super) async fn ask(direct: &Direct, peers: &Peers) -> Infallible {
    let mut told = peers.follow();
    // What sends outlives this.
    let _ = told.wait_for(|told| !told.roster.peers.is_empty()).await;
    let config = direct.offers.borrow().config().direct();
    if !(config.enabled && config.port_mapping) {
        return std::future::pending().await;
    }
    let kinds = Config { enable_upnp: true, enable_pcp: true, enable_nat_pmp: true, protocol: Protocol::Udp };
    let client = Client::new(kinds);
    let mut external = client.watch_external_address();
    let mut state = direct.board.follow();
    loop {
        let ground = ground_of(&state.borrow_and_update());
        let port = ground
            .and_then(|ground| ground.local_address())
            .and_then(|address| NonZeroU16::new(address.port()));
        if let Some(port) = port {
            client.update_local_port(port);
        }
        tokio::select! {
            changed = external.changed() => {
                if changed.is_err() {
                    return std::future::pending().await;
                }
                let given = external.borrow_and_update().map(SocketAddr::V4);
                tracing::debug!(?given, "what the router lets in");
                direct.given.send_replace(given);
            }
            _ = state.changed() => {}
        }
    }
}
