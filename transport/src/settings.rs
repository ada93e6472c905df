//! What both ends set alike.

use std::sync::Arc;

use quinn::{MtuDiscoveryConfig, TransportConfig};

use crate::congestion;

/// The UDP payload of a full Ethernet frame over IPv4. On paths that carry less, IPv6 among them, the search ends lower.
const LARGEST_DATAGRAM: u16 = 1472;

/// The settings to start from; windows and time-outs are each end's own.
#[must_use]
pub fn settings() -> TransportConfig {
    let mut mtu = MtuDiscoveryConfig::default();
    mtu.upper_bound(LARGEST_DATAGRAM);
    let mut settings = TransportConfig::default();
    settings
        .congestion_controller_factory(Arc::new(congestion::Config::default()))
        .mtu_discovery_config(Some(mtu))
        .max_concurrent_uni_streams(0u32.into())
        .datagram_receive_buffer_size(None);
    settings
}
