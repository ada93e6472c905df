//! QUIC directly between two agents: any certificate will do, since both keys are proven on the connection.

use std::sync::Arc;
use std::time::Duration;

use protocol::noise::Exporter;
use protocol::version;
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{ClientConfig, Connection, IdleTimeout, ServerConfig, TransportConfig, VarInt};

use crate::dial::{self, tls};

/// Often enough for routers to keep the way open.
const KEEP_ALIVE: Duration = Duration::from_secs(4);
/// What a connection may send before its key is proven, in bytes.
const STRANGER_WINDOW: u32 = 64 << 10;
const IDLE: VarInt = VarInt::from_u32(12_000);

/// Why QUIC cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum SetUpError {
    #[error("cannot set up TLS")]
    Tls(#[source] rustls::Error),
    #[error("cannot make a certificate")]
    Certificate(#[source] ca::error::CaError),
    #[error("this system's TLS cannot be used for QUIC")]
    Quic(#[source] quinn::crypto::rustls::NoInitialCipherSuite),
}

/// Both ends' settings.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) client: ClientConfig,
    pub(super) server: ServerConfig,
}

impl Settings {
    pub(super) fn new() -> Result<Self, SetUpError> {
        let tls = tls::to_another_agent().map_err(SetUpError::Tls)?;
        let mut client =
            ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).map_err(SetUpError::Quic)?));
        // Only the operator opens streams.
        client.transport_config(Arc::new(transport(0)));
        let certificate = ca::leaf::self_signed("adit").map_err(SetUpError::Certificate)?;
        let tls = tls::for_another_agent(certificate).map_err(SetUpError::Tls)?;
        let crypto = QuicServerConfig::try_from(tls).map_err(SetUpError::Quic)?;
        let mut server = ServerConfig::with_crypto(Arc::new(crypto));
        // One stream, and not much on it, until the key is proven.
        let mut strangers = transport(1);
        strangers.receive_window(STRANGER_WINDOW.into());
        server.transport_config(Arc::new(strangers)).max_incoming(8).migration(false);
        Ok(Self { client, server })
    }
}

fn transport(streams: u32) -> TransportConfig {
    let mut transport = dial::transport();
    transport
        .keep_alive_interval(Some(KEEP_ALIVE))
        .max_idle_timeout(Some(IdleTimeout::from(IDLE)))
        .max_concurrent_bidi_streams(streams.into());
    transport
}

/// Keying material of this very connection.
pub(super) fn exporter(connection: &Connection) -> Option<Exporter> {
    let mut exporter = Exporter::default();
    connection.export_keying_material(&mut exporter, version::EXPORTER_LABEL, b"direct").ok()?;
    Some(exporter)
}
