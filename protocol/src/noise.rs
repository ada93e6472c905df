//! The Noise handshakes: two that are bound to the very TLS connection that carries them, and one between two peers.
//!
//! `Noise_IK` authenticates sessions: the agent knows the relay's key. `Noise_XX` serves enrollment: neither side knows
//! the other. In both, the prologue holds keying material exported from the TLS connection, so a message recorded or
//! relayed from another connection never verifies. Two peers speak `Noise_IK` through the relay, bound to what
//! [`crate::private`] says that they speak for.

use snow::params::NoiseParams;
use snow::{Builder, HandshakeState, StatelessTransportState, TransportState};
use zeroize::Zeroizing;

use crate::key::{PublicKey, SecretKey};
use crate::version;

const IK: &str = "Noise_IK_25519_ChaChaPoly_BLAKE2s";
const XX: &str = "Noise_XX_25519_ChaChaPoly_BLAKE2s";

/// Keying material of the TLS connection (RFC 5705), 32 bytes under [`version::EXPORTER_LABEL`].
pub type Exporter = [u8; 32];

/// Longest Noise message.
const LONGEST: usize = 65_535;

/// A message did not verify, or the library refused. Says nothing more, to either side.
#[derive(Debug, thiserror::Error)]
#[error("the Noise handshake did not verify")]
pub struct NoiseError(#[source] pub(crate) snow::Error);

/// One running handshake.
#[derive(Debug)]
pub(crate) struct Noise(HandshakeState);

impl Noise {
    pub(crate) fn session_initiator(
        secret: &SecretKey,
        relay: &PublicKey,
        exporter: &Exporter,
    ) -> Result<Self, NoiseError> {
        Self::build(IK, secret, &session(exporter), Some(relay), true)
    }

    pub(crate) fn session_responder(secret: &SecretKey, exporter: &Exporter) -> Result<Self, NoiseError> {
        Self::build(IK, secret, &session(exporter), None, false)
    }

    pub(crate) fn enroll_initiator(secret: &SecretKey, exporter: &Exporter) -> Result<Self, NoiseError> {
        Self::build(XX, secret, &session(exporter), None, true)
    }

    pub(crate) fn enroll_responder(secret: &SecretKey, exporter: &Exporter) -> Result<Self, NoiseError> {
        Self::build(XX, secret, &session(exporter), None, false)
    }

    pub(crate) fn private_initiator(
        secret: &SecretKey,
        host: &PublicKey,
        prologue: &[u8],
    ) -> Result<Self, NoiseError> {
        Self::build(IK, secret, prologue, Some(host), true)
    }

    pub(crate) fn private_responder(secret: &SecretKey, prologue: &[u8]) -> Result<Self, NoiseError> {
        Self::build(IK, secret, prologue, None, false)
    }

    fn build(
        pattern: &str,
        secret: &SecretKey,
        prologue: &[u8],
        remote: Option<&PublicKey>,
        initiator: bool,
    ) -> Result<Self, NoiseError> {
        let params: NoiseParams = pattern.parse().map_err(NoiseError)?;
        let mut builder = Builder::new(params)
            .prologue(prologue)
            .and_then(|builder| builder.local_private_key(secret.expose_bytes()))
            .map_err(NoiseError)?;
        if let Some(remote) = remote {
            builder = builder.remote_public_key(remote.as_bytes()).map_err(NoiseError)?;
        }
        let state = if initiator { builder.build_initiator() } else { builder.build_responder() };
        state.map(Self).map_err(NoiseError)
    }

    pub(crate) fn write(&mut self, payload: &[u8]) -> Result<Vec<u8>, NoiseError> {
        let mut message = vec![0; (payload.len() + 256).min(LONGEST)];
        let length = self.0.write_message(payload, &mut message).map_err(NoiseError)?;
        message.truncate(length);
        Ok(message)
    }

    pub(crate) fn read(&mut self, message: &[u8]) -> Result<Zeroizing<Vec<u8>>, NoiseError> {
        let mut payload = Zeroizing::new(vec![0; message.len()]);
        let length = self.0.read_message(message, &mut payload).map_err(NoiseError)?;
        payload.truncate(length);
        Ok(payload)
    }

    /// The key that the other side has proven or, as initiator of IK, must prove.
    pub(crate) fn remote(&self) -> Result<PublicKey, NoiseError> {
        let key = self.0.get_remote_static().and_then(|key| key.try_into().ok());
        key.map(PublicKey::from_bytes).ok_or(NoiseError(snow::Error::Input))
    }

    /// What follows a handshake that is over.
    pub(crate) fn into_transport(self) -> Result<TransportState, NoiseError> {
        self.0.into_transport_mode().map_err(NoiseError)
    }

    /// The same for messages that come in any order.
    pub(crate) fn into_stateless(self) -> Result<StatelessTransportState, NoiseError> {
        self.0.into_stateless_transport_mode().map_err(NoiseError)
    }
}

fn session(exporter: &Exporter) -> Vec<u8> {
    [version::PROLOGUE, exporter.as_slice()].concat()
}
