//! Why a session or a stream ended, as numbers on the wire (QUIC application error codes).

macro_rules! codes {
    ($(#[$doc:meta])* $type:ident { $($(#[$vdoc:meta])* $name:ident = $number:literal => $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
        pub enum $type {
            $($(#[$vdoc])* #[error($text)] $name,)*
        }

        impl $type {
            /// Every code there is.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// The number on the wire.
            #[must_use]
            pub fn number(self) -> u32 {
                match self { $(Self::$name => $number,)* }
            }

            /// The code with this number; none where a later version added it.
            #[must_use]
            pub fn from_number(number: u64) -> Option<Self> {
                match number { $($number => Some(Self::$name),)* _ => None }
            }
        }
    };
}

codes! {
    /// Why one side closed a session.
    SessionClose {
        /// The process ends or its work is done.
        Done = 0 => "the other side has shut down",
        /// The same peer connected again from the same place.
        Superseded = 1 => "another agent with this identity took over",
        /// The peer is no longer enrolled.
        Revoked = 2 => "this device's enrollment was revoked",
        /// The key is unknown.
        NotEnrolled = 3 => "this device is not enrolled at the relay",
        /// Something came that the protocol does not allow.
        Protocol = 4 => "the other side broke the protocol",
        /// The handshake was not done in time.
        Establishment = 5 => "the handshake took too long",
        /// No room for another session.
        Busy = 6 => "the relay has no room for another session",
        /// The handshake did not verify.
        Handshake = 7 => "the handshake did not verify",
    }
}

codes! {
    /// Why one side reset a stream.
    StreamReset {
        /// Nobody wants the rest.
        Cancelled = 0 => "the stream was cancelled",
        /// The agent offers no service of that name.
        UnknownService = 1 => "the agent offers no service of this name",
        /// The stream's header could not be read.
        Header = 2 => "the stream's header could not be read",
        /// The origin's address did not resolve.
        OriginUnresolved = 3 => "the origin's name does not resolve",
        /// Nothing listens at the origin.
        OriginRefused = 4 => "the origin refused the connection",
        /// The origin did not accept in time.
        OriginTimeout = 5 => "the origin did not accept the connection in time",
        /// TLS with the origin failed.
        OriginTls = 6 => "TLS with the origin failed",
        /// The origin broke the connection off.
        OriginBroke = 7 => "the origin broke the connection off",
        /// Too many streams at once.
        Busy = 8 => "the agent has too many connections open",
        /// The relay does not let this peer reach that service, or there is none.
        NotGranted = 9 => "the relay does not grant this peer the service",
        /// The peer that the stream is for has no session that offers the service.
        PeerOffline = 10 => "the peer is not connected, or does not offer the service now",
        /// The agent's own list does not let this peer in.
        NotAllowed = 11 => "the other agent's own list does not allow this peer",
        /// The two peers did not agree on each other's keys.
        Unproven = 12 => "the two peers' proof of their keys failed",
    }
}

impl SessionClose {
    /// Whether connecting again soon can help. The agent never gives up; it only waits longer where this is false.
    #[must_use]
    pub fn is_retryable_soon(self) -> bool {
        match self {
            Self::Done | Self::Establishment | Self::Busy | Self::Handshake => true,
            Self::Superseded | Self::Revoked | Self::NotEnrolled | Self::Protocol => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_stable_and_round_trip() {
        let sessions: Vec<u32> = SessionClose::ALL.iter().map(|code| code.number()).collect();
        assert_eq!(sessions, [0, 1, 2, 3, 4, 5, 6, 7]);
        let streams: Vec<u32> = StreamReset::ALL.iter().map(|code| code.number()).collect();
        assert_eq!(streams, (0..=12).collect::<Vec<_>>());
        assert!(SessionClose::ALL.iter().all(|c| SessionClose::from_number(c.number().into()) == Some(*c)));
        assert!(StreamReset::ALL.iter().all(|c| StreamReset::from_number(c.number().into()) == Some(*c)));
        assert_eq!(StreamReset::from_number(99), None);
    }
}
