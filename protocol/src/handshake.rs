//! The handshake's states, one type each, named by what they await. Pure: frames in, frames out.
//!
//! Session (IK):    agent `SessionHello` -> relay `SessionWelcome`
//! Enrollment (XX): agent `EnrollStart` -> relay `EnrollKey` -> agent `EnrollProof` -> relay `EnrollAnswer`

use std::fmt;

use data_encoding::BASE64URL_NOPAD;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::frame::{Frame, FrameKind};
use crate::id::PeerName;
use crate::key::{PublicKey, SecretKey};
use crate::noise::{Exporter, Noise, NoiseError};
use crate::token::{EnrollmentToken, TokenHash};

/// Why a handshake ended.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    /// The cryptography did not verify.
    #[error("the handshake did not verify")]
    Noise(#[from] NoiseError),
    /// A frame of another kind came.
    #[error("frame {got} came where {expected:?} was awaited")]
    Unexpected {
        /// What belongs here.
        expected: FrameKind,
        /// The number that came.
        got: u16,
    },
    /// The payload inside is not what it should be.
    #[error("the handshake's payload is malformed")]
    Payload(#[source] serde_json::Error),
}

/// What an agent says of itself with its first message; encrypted to the relay's key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionHello {
    /// The agent's version, for logs.
    #[serde(default)]
    pub software: String,
    /// Which of the peer's processes this is. A new session of the same instance takes the old one's place.
    #[serde(default)]
    pub instance: String,
}

/// What the relay answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionWelcome {
    /// The relay's version, for logs.
    #[serde(default)]
    pub software: String,
    /// What the relay calls this peer.
    pub peer: PeerName,
}

/// What a device that wants to become a peer says, once the relay has proven its key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnrollRequest {
    /// The name it would like to have.
    #[serde(default)]
    pub name: Option<PeerName>,
    /// The secret of its token, where it has one.
    #[serde(default)]
    pub token: Option<TokenSecret>,
}

/// A token's secret on its way over the wire. `Debug` does not show it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TokenSecret(Zeroizing<[u8; 32]>);

impl TokenSecret {
    /// Of a token whose relay has proven its key.
    #[must_use]
    pub fn of(token: &EnrollmentToken) -> Self {
        Self(Zeroizing::new(*token.expose_secret()))
    }

    /// What the store knows the token by.
    #[must_use]
    pub fn hash(&self) -> TokenHash {
        TokenHash::of(&self.0)
    }
}

impl TryFrom<String> for TokenSecret {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let bytes = BASE64URL_NOPAD.decode(Zeroizing::new(text).as_bytes()).map(Zeroizing::new);
        let bytes = bytes.ok().and_then(|bytes| bytes.as_slice().try_into().ok());
        bytes.map(|bytes| Self(Zeroizing::new(bytes))).ok_or("a token's secret is 43 characters of base64url")
    }
}

impl From<TokenSecret> for String {
    fn from(secret: TokenSecret) -> Self {
        BASE64URL_NOPAD.encode(secret.0.as_slice())
    }
}

impl fmt::Debug for TokenSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenSecret(..)")
    }
}

fn body(frame: &Frame, expected: FrameKind) -> Result<&[u8], HandshakeError> {
    match frame.kind() {
        Some(kind) if kind == expected => Ok(&frame.body),
        _ => Err(HandshakeError::Unexpected { expected, got: frame.number }),
    }
}

fn json<T: Serialize>(payload: &T) -> Result<Zeroizing<Vec<u8>>, HandshakeError> {
    serde_json::to_vec(payload).map(Zeroizing::new).map_err(HandshakeError::Payload)
}

fn parsed<T: for<'a> Deserialize<'a>>(payload: &[u8]) -> Result<T, HandshakeError> {
    serde_json::from_slice(payload).map_err(HandshakeError::Payload)
}

/// Agent, session: awaits the relay's proof.
#[derive(Debug)]
pub struct AwaitWelcome(Noise);

impl AwaitWelcome {
    /// Begins a session with the relay that holds `relay`; the frame is to be sent first on the first stream.
    ///
    /// # Errors
    ///
    /// Where the cryptography library refuses a key.
    pub fn start(
        secret: &SecretKey,
        relay: &PublicKey,
        exporter: &Exporter,
        hello: &SessionHello,
    ) -> Result<(Frame, Self), HandshakeError> {
        let mut noise = Noise::session_initiator(secret, relay, exporter)?;
        let frame = Frame::new(FrameKind::SessionHello, noise.write(&json(hello)?)?);
        Ok((frame, Self(noise)))
    }

    /// The relay has proven its key, or an error.
    ///
    /// # Errors
    ///
    /// Where the frame is not a welcome or does not verify.
    pub fn receive(mut self, frame: &Frame) -> Result<SessionWelcome, HandshakeError> {
        parsed(&self.0.read(body(frame, FrameKind::SessionWelcome)?)?)
    }
}

/// Relay, session: the agent has proven `peer`; awaits the decision whether to let it in.
#[derive(Debug)]
pub struct AwaitAdmission {
    noise: Noise,
    peer: PublicKey,
    hello: SessionHello,
}

impl AwaitAdmission {
    /// Verifies the first frame of a session.
    ///
    /// # Errors
    ///
    /// Where the frame is not a hello or does not verify on this connection.
    pub fn receive(secret: &SecretKey, exporter: &Exporter, frame: &Frame) -> Result<Self, HandshakeError> {
        let mut noise = Noise::session_responder(secret, exporter)?;
        let hello = parsed(&noise.read(body(frame, FrameKind::SessionHello)?)?)?;
        let peer = noise.remote()?;
        Ok(Self { noise, peer, hello })
    }

    /// The key that was proven.
    #[must_use]
    pub fn peer(&self) -> PublicKey {
        self.peer
    }

    /// What the agent says of itself.
    #[must_use]
    pub fn hello(&self) -> &SessionHello {
        &self.hello
    }

    /// Lets the peer in: the frame proves the relay's key to it.
    ///
    /// # Errors
    ///
    /// Where the cryptography library refuses.
    pub fn admit(mut self, welcome: &SessionWelcome) -> Result<Frame, HandshakeError> {
        Ok(Frame::new(FrameKind::SessionWelcome, self.noise.write(&json(welcome)?)?))
    }
}

/// Agent, enrollment: awaits the relay's key.
#[derive(Debug)]
pub struct AwaitRelayKey(Noise);

impl AwaitRelayKey {
    /// Begins an enrollment.
    ///
    /// # Errors
    ///
    /// Where the cryptography library refuses the key.
    pub fn start(secret: &SecretKey, exporter: &Exporter) -> Result<(Frame, Self), HandshakeError> {
        let mut noise = Noise::enroll_initiator(secret, exporter)?;
        let frame = Frame::new(FrameKind::EnrollStart, noise.write(&[])?);
        Ok((frame, Self(noise)))
    }

    /// The relay has proven a key; whether it is the right one is for [`TrustRelay`]'s owner to say.
    ///
    /// # Errors
    ///
    /// Where the frame is not the relay's key or does not verify.
    pub fn receive(mut self, frame: &Frame) -> Result<TrustRelay, HandshakeError> {
        self.0.read(body(frame, FrameKind::EnrollKey)?)?;
        let relay = self.0.remote()?;
        Ok(TrustRelay { noise: self.0, relay })
    }
}

/// Agent, enrollment: the relay's key is known; awaits the decision whether to trust it.
#[derive(Debug)]
pub struct TrustRelay {
    noise: Noise,
    relay: PublicKey,
}

impl TrustRelay {
    /// The key that was proven.
    #[must_use]
    pub fn relay(&self) -> PublicKey {
        self.relay
    }

    /// Trusts the relay: proves this device's key and asks.
    ///
    /// # Errors
    ///
    /// Where the cryptography library refuses.
    pub fn ask(mut self, request: &EnrollRequest) -> Result<Frame, HandshakeError> {
        Ok(Frame::new(FrameKind::EnrollProof, self.noise.write(&json(request)?)?))
    }
}

/// Relay, enrollment: awaits the device's proof.
#[derive(Debug)]
pub struct AwaitProof(Noise);

impl AwaitProof {
    /// Answers the first frame of an enrollment with the relay's key.
    ///
    /// # Errors
    ///
    /// Where the frame is not the start of an enrollment.
    pub fn receive(
        secret: &SecretKey,
        exporter: &Exporter,
        frame: &Frame,
    ) -> Result<(Frame, Self), HandshakeError> {
        let mut noise = Noise::enroll_responder(secret, exporter)?;
        noise.read(body(frame, FrameKind::EnrollStart)?)?;
        let reply = Frame::new(FrameKind::EnrollKey, noise.write(&[])?);
        Ok((reply, Self(noise)))
    }

    /// The device has proven its key.
    ///
    /// # Errors
    ///
    /// Where the frame is no proof or does not verify.
    pub fn finish(mut self, frame: &Frame) -> Result<(PublicKey, EnrollRequest), HandshakeError> {
        let request = parsed(&self.0.read(body(frame, FrameKind::EnrollProof)?)?)?;
        Ok((self.0.remote()?, request))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const EXPORTER: Exporter = [1; 32];

    fn key(byte: u8) -> SecretKey {
        SecretKey::from_bytes([byte; 32]).unwrap()
    }

    fn hello() -> SessionHello {
        SessionHello { software: "0.1.0".into(), instance: "run".into() }
    }

    fn start(exporter: &Exporter) -> (Frame, AwaitWelcome) {
        AwaitWelcome::start(&key(1), &key(2).public(), exporter, &hello()).unwrap()
    }

    #[test]
    fn a_session_proves_both_keys() {
        let (frame, agent) = start(&EXPORTER);
        let relay = AwaitAdmission::receive(&key(2), &EXPORTER, &frame).unwrap();
        assert_eq!((relay.peer(), relay.hello()), (key(1).public(), &hello()));
        let welcome = SessionWelcome { software: "0.1.0".into(), peer: "home".parse().unwrap() };
        let frame = relay.admit(&welcome).unwrap();
        assert_eq!(agent.receive(&frame).unwrap(), welcome);
    }

    #[test]
    fn a_hello_is_worth_nothing_on_another_connection() {
        let (frame, _) = start(&EXPORTER);
        assert!(AwaitAdmission::receive(&key(2), &[9; 32], &frame).is_err());
    }

    #[test]
    fn another_relay_cannot_answer() {
        let (frame, _) = start(&EXPORTER);
        assert!(AwaitAdmission::receive(&key(3), &EXPORTER, &frame).is_err());
    }

    #[test]
    fn an_enrollment_proves_both_keys_and_carries_the_request() {
        let (first, agent) = AwaitRelayKey::start(&key(1), &EXPORTER).unwrap();
        let (second, relay) = AwaitProof::receive(&key(2), &EXPORTER, &first).unwrap();
        let trust = agent.receive(&second).unwrap();
        assert_eq!(trust.relay(), key(2).public());
        let token = EnrollmentToken::new([7; 32], key(2).public());
        let request =
            EnrollRequest { name: Some("home".parse().unwrap()), token: Some(TokenSecret::of(&token)) };
        assert!(!format!("{request:?}").contains("Bwc"));
        let third = trust.ask(&request).unwrap();
        let (peer, got) = relay.finish(&third).unwrap();
        assert_eq!((peer, got.token.as_ref().map(TokenSecret::hash)), (key(1).public(), Some(token.hash())));
        assert_eq!(got, request);
    }

    #[test]
    fn frames_out_of_order_are_refused() {
        let (frame, _) = start(&EXPORTER);
        assert!(AwaitProof::receive(&key(2), &EXPORTER, &frame).is_err());
        let (enroll, _) = AwaitRelayKey::start(&key(1), &EXPORTER).unwrap();
        assert!(AwaitAdmission::receive(&key(2), &EXPORTER, &enroll).is_err());
    }

    proptest! {
        #[test]
        fn a_corrupted_hello_never_verifies(at in 0usize..120, with in 1u8..) {
            let (mut frame, _) = start(&EXPORTER);
            let at = at % frame.body.len();
            frame.body[at] ^= with;
            // The top bit of a public key's last byte is not part of the point (RFC 7748, section 5), but the hash
            // of the transcript covers it all the same.
            prop_assert!(AwaitAdmission::receive(&key(2), &EXPORTER, &frame).is_err());
        }

        #[test]
        fn rubbish_never_panics(body in proptest::collection::vec(any::<u8>(), 0..300), number in 0u16..40) {
            let frame = Frame { number, body };
            let _ = AwaitAdmission::receive(&key(2), &EXPORTER, &frame);
            let _ = AwaitProof::receive(&key(2), &EXPORTER, &frame);
            let _ = start(&EXPORTER).1.receive(&frame);
        }
    }
}
