//! What two peers say to each other through the relay, which must not read it: `Noise_IK` with their static keys in
//! every stream, then records.
//!
//! The operator's agent begins, and knows the host's key. Both have mixed in what the stream is for and both names, so
//! that a relay which leads it elsewhere, or says that it comes from another, gets no answer. On the stream a message is
//! two bytes of length (big-endian) and that many bytes; after the handshake such a message is a record. An empty record
//! is the end: a stream that ends without was cut. The operator's first record for a connection says that it is there: a
//! greeting alone may be a recorded one. Records are counted by both sides, so none can be repeated, left out
//! or exchanged, and every [`REKEY_AFTER`] of a direction its key is replaced.

use snow::{StatelessTransportState, TransportState};

use crate::id::{PeerName, ServiceName};
use crate::key::{PublicKey, SecretKey};
use crate::noise::{Noise, NoiseError};

/// Bytes in front of a message.
pub const HEAD: usize = 2;
/// Most bytes that one record says.
pub const LARGEST_RECORD: usize = 32 << 10;
/// What encryption adds to a record, in bytes.
pub const OVERHEAD: usize = 16;
/// So many records of a direction have one key: at most half a GiB.
pub const REKEY_AFTER: u64 = 1 << 14;

/// Largest message of the handshake, in bytes.
const LARGEST_GREETING: usize = 1024;
const LABEL: &[u8] = b"adit/1 private";

/// What a stream between two peers is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Purpose {
    /// A connection to a service.
    Tcp(ServiceName),
    /// One flow of datagrams to a service.
    Udp(ServiceName),
    /// What the two agents have to say to each other themselves.
    Talk,
}

impl Purpose {
    /// Its number on the wire.
    #[must_use]
    pub fn number(&self) -> u8 {
        match self {
            Self::Tcp(_) => 1,
            Self::Udp(_) => 2,
            Self::Talk => 3,
        }
    }

    /// The service, where it is for one.
    #[must_use]
    pub fn service(&self) -> Option<&ServiceName> {
        match self {
            Self::Tcp(service) | Self::Udp(service) => Some(service),
            Self::Talk => None,
        }
    }

    /// The purpose with this number and service; none where the two do not belong together.
    #[must_use]
    pub fn of(number: u8, service: Option<ServiceName>) -> Option<Self> {
        match (number, service) {
            (1, Some(service)) => Some(Self::Tcp(service)),
            (2, Some(service)) => Some(Self::Udp(service)),
            (3, None) => Some(Self::Talk),
            _ => None,
        }
    }
}

/// What both ends of a stream have to agree on before they say anything.
#[derive(Debug, Clone, Copy)]
pub struct Context<'c> {
    /// Who began.
    pub operator: &'c PeerName,
    /// Whom the stream was opened to.
    pub host: &'c PeerName,
    /// For what.
    pub purpose: &'c Purpose,
    /// Keying material of the TLS connection between the two, where it is one between them; else nothing.
    pub binding: &'c [u8],
}

impl Context<'_> {
    /// Every part with its length in front: no two contexts have the same bytes. Each is below 256 bytes.
    fn prologue(&self) -> Vec<u8> {
        let mut bytes = LABEL.to_vec();
        bytes.push(self.purpose.number());
        let service = self.purpose.service().map_or("", ServiceName::as_str);
        let [operator, host, service] =
            [self.operator.as_str(), self.host.as_str(), service].map(str::as_bytes);
        for part in [operator, host, service, self.binding] {
            bytes.push(u8::try_from(part.len()).unwrap_or(u8::MAX));
            bytes.extend_from_slice(part);
        }
        bytes
    }
}

/// Why two peers did not come together, or no longer.
#[derive(Debug, thiserror::Error)]
pub enum PrivateError {
    /// A key, a name or a purpose is not what it should be, or somebody changed what was said.
    #[error("what the other peer said did not verify")]
    Noise(#[from] NoiseError),
    /// A message of the handshake is longer than any can be.
    #[error("a handshake of {0} bytes is too long")]
    Greeting(usize),
    /// A record is longer or shorter than any can be.
    #[error("a record of {0} bytes cannot be")]
    Record(usize),
    /// Something came behind the end.
    #[error("the other peer said more after the end")]
    AfterEnd,
    /// The number of a datagram was seen before, or is too old to tell.
    #[error("a datagram came again, or far too late")]
    Repeated,
}

/// A message for the wire.
fn framed(message: &[u8]) -> Vec<u8> {
    let length = u16::try_from(message.len()).unwrap_or(u16::MAX).to_be_bytes();
    [&length, message].concat()
}

/// How many bytes of a handshake's message follow its head.
///
/// # Errors
///
/// Where it is longer than any can be.
pub fn greeting_length(head: [u8; HEAD]) -> Result<usize, PrivateError> {
    let length = usize::from(u16::from_be_bytes(head));
    if length > LARGEST_GREETING { Err(PrivateError::Greeting(length)) } else { Ok(length) }
}

/// How many bytes of a record follow its head.
///
/// # Errors
///
/// Where no record has that length.
pub fn record_length(head: [u8; HEAD]) -> Result<usize, PrivateError> {
    let length = usize::from(u16::from_be_bytes(head));
    let possible = (OVERHEAD..=LARGEST_RECORD + OVERHEAD).contains(&length);
    if possible { Ok(length) } else { Err(PrivateError::Record(length)) }
}

/// Operator: awaits the host's proof.
#[derive(Debug)]
pub struct AwaitHost(Noise);

impl AwaitHost {
    /// Begins with the host that holds `host`; the bytes follow the stream's header.
    ///
    /// # Errors
    ///
    /// Where the cryptography library refuses a key.
    pub fn start(
        secret: &SecretKey,
        host: &PublicKey,
        context: &Context<'_>,
    ) -> Result<(Vec<u8>, Self), PrivateError> {
        let mut noise = Noise::private_initiator(secret, host, &context.prologue())?;
        let greeting = noise.write(&[])?;
        Ok((framed(&greeting), Self(noise)))
    }

    /// The host has proven its key, or an error.
    ///
    /// # Errors
    ///
    /// Where the message, without its head, does not verify.
    pub fn receive(mut self, message: &[u8]) -> Result<Proven, PrivateError> {
        // A later version may have something to say there.
        drop(self.0.read(message)?);
        Ok(Proven(self.0))
    }
}

/// Host: the operator has proven a key; awaits the decision whether to let it in.
#[derive(Debug)]
pub struct AwaitDecision {
    noise: Noise,
    operator: PublicKey,
}

impl AwaitDecision {
    /// Verifies the first message, without its head.
    ///
    /// # Errors
    ///
    /// Where it does not verify for this context.
    pub fn receive(secret: &SecretKey, context: &Context<'_>, message: &[u8]) -> Result<Self, PrivateError> {
        let mut noise = Noise::private_responder(secret, &context.prologue())?;
        drop(noise.read(message)?);
        let operator = noise.remote()?;
        Ok(Self { noise, operator })
    }

    /// The key that was proven.
    #[must_use]
    pub fn operator(&self) -> PublicKey {
        self.operator
    }

    /// Lets it in: the bytes prove the host's key to it.
    ///
    /// # Errors
    ///
    /// Where the cryptography library refuses.
    pub fn accept(mut self) -> Result<(Vec<u8>, Proven), PrivateError> {
        let answer = self.noise.write(&[])?;
        Ok((framed(&answer), Proven(self.noise)))
    }
}

/// Both keys are proven; what follows goes in records or in datagrams.
#[derive(Debug)]
pub struct Proven(Noise);

impl Proven {
    /// In order, on the stream.
    ///
    /// # Errors
    ///
    /// Never: the handshake is over.
    pub fn records(self) -> Result<Records, PrivateError> {
        Ok(Records { noise: Hidden(self.0.into_transport()?), sealed: 0, opened: 0, ended: false })
    }

    /// Without order, beside the stream.
    ///
    /// # Errors
    ///
    /// Never: the handshake is over.
    pub fn datagrams(self) -> Result<Hidden<StatelessTransportState>, PrivateError> {
        Ok(Hidden(self.0.into_stateless()?))
    }
}

/// Keys that `Debug` does not show.
pub struct Hidden<T>(pub(crate) T);

impl<T> std::fmt::Debug for Hidden<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hidden(..)")
    }
}

/// Both directions of a stream after the handshake.
#[derive(Debug)]
pub struct Records {
    noise: Hidden<TransportState>,
    sealed: u64,
    opened: u64,
    ended: bool,
}

/// What the operator's first record says where a connection is asked for.
const READY: &[u8] = b"ready";

/// What a record says.
#[derive(Debug, PartialEq, Eq)]
pub enum Opened {
    /// The next bytes.
    Data(Vec<u8>),
    /// Everything has been said.
    End,
}

impl Records {
    /// The bytes for the wire that say `data`, which must not be empty: in as many records as it takes.
    ///
    /// # Errors
    ///
    /// Where the cryptography library refuses.
    pub fn seal(&mut self, data: &[u8]) -> Result<Vec<u8>, PrivateError> {
        let count = data.len().div_ceil(LARGEST_RECORD);
        let mut wire = vec![0; data.len() + count * (HEAD + OVERHEAD)];
        let mut room = wire.as_mut_slice();
        for piece in data.chunks(LARGEST_RECORD) {
            let (record, rest) = room.split_at_mut(HEAD + piece.len() + OVERHEAD);
            self.seal_one(piece, record)?;
            room = rest;
        }
        Ok(wire)
    }

    /// Operator: the bytes for the wire that say that it is there. To be sent first where a connection is asked for.
    ///
    /// # Errors
    ///
    /// Where the cryptography library refuses.
    pub fn seal_ready(&mut self) -> Result<Vec<u8>, PrivateError> {
        self.seal(READY)
    }

    /// Host: whether the first record, without its head, says that the operator is there.
    ///
    /// # Errors
    ///
    /// Where it does not.
    pub fn open_ready(&mut self, record: &[u8]) -> Result<(), PrivateError> {
        match self.open(record)? {
            Opened::Data(data) if data == READY => Ok(()),
            Opened::Data(_) | Opened::End => Err(PrivateError::Record(record.len())),
        }
    }

    /// The bytes for the wire that say that nothing follows.
    ///
    /// # Errors
    ///
    /// Where the cryptography library refuses.
    pub fn seal_end(&mut self) -> Result<Vec<u8>, PrivateError> {
        let mut record = vec![0; HEAD + OVERHEAD];
        self.seal_one(&[], &mut record)?;
        Ok(record)
    }

    fn seal_one(&mut self, piece: &[u8], record: &mut [u8]) -> Result<(), PrivateError> {
        let (head, body) = record.split_at_mut(HEAD);
        let length = self.noise.0.write_message(piece, body).map_err(NoiseError)?;
        head.copy_from_slice(&u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes());
        self.sealed += 1;
        if self.sealed.is_multiple_of(REKEY_AFTER) {
            self.noise.0.rekey_outgoing();
        }
        Ok(())
    }

    /// What the next record, without its head, says.
    ///
    /// # Errors
    ///
    /// Where it does not verify, or nothing should follow.
    pub fn open(&mut self, record: &[u8]) -> Result<Opened, PrivateError> {
        if self.ended {
            return Err(PrivateError::AfterEnd);
        }
        let mut data = vec![0; record.len()];
        let length = self.noise.0.read_message(record, &mut data).map_err(NoiseError)?;
        self.opened += 1;
        if self.opened.is_multiple_of(REKEY_AFTER) {
            self.noise.0.rekey_incoming();
        }
        if length == 0 {
            self.ended = true;
            return Ok(Opened::End);
        }
        data.truncate(length);
        Ok(Opened::Data(data))
    }
}

#[cfg(test)]
pub(crate) mod tests;
