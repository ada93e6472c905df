//! What both ends set alike.

use std::sync::Arc;

use quinn::{MtuDiscoveryConfig, TransportConfig};

use crate::congestion;

/// The UDP payload of a full Ethernet frame over IPv4. On paths that carry less, IPv6 among them, the search ends lower.
const LARGEST_DATAGRAM: u16 = 1472;

/// Bytes of datagrams that wait to be read, also of whoever has proven nothing yet; of more, the oldest are dropped.
const DATAGRAMS_RECEIVED: usize = 256 << 10;
/// The same of those that wait to be sent.
const DATAGRAMS_TO_SEND: usize = 128 << 10;

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
        .datagram_receive_buffer_size(Some(DATAGRAMS_RECEIVED))
        .datagram_send_buffer_size(DATAGRAMS_TO_SEND);
    settings
}
