//! The values that a label can have: fixed sets, so that nothing a stranger sends makes a new time series.

use std::fmt::Debug;

/// A label's name and its value.
pub(super) type Pair = (&'static str, &'static str);

/// One of a fixed set of values, or of combinations of them.
pub(crate) trait Label: Copy + Debug + Send + Sync + 'static {
    /// All of them, in the order of [`Self::index`].
    fn all() -> Vec<Self>;

    fn index(self) -> usize;

    fn pairs(self) -> Vec<Pair>;
}

macro_rules! label {
    ($(#[$doc:meta])* $name:ident $key:literal { $($(#[$of:meta])* $variant:ident $text:literal)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum $name {
            $($(#[$of])* $variant,)*
        }

        impl $name {
            const ALL: &[Self] = &[$(Self::$variant),*];

            pub(crate) const fn text(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)*
                }
            }
        }

        impl Label for $name {
            fn all() -> Vec<Self> {
                Self::ALL.to_vec()
            }

            fn index(self) -> usize {
                self as usize
            }

            fn pairs(self) -> Vec<Pair> {
                vec![($key, self.text())]
            }
        }
    };
}

label! {
    /// What a visitor's connection runs over.
    Transport "transport" {
        Tcp "tcp"
        Quic "quic"
    }
}

label! {
    /// Why a visitor's connection was not taken.
    Refusal "reason" {
        /// Its address has as many as one address may have.
        AddressLimit "address-limit"
        /// There are as many as there may be in all.
        AllLimit "all-limit"
        /// A trusted proxy brought it over QUIC, where it cannot say whom it is for.
        NoProxyHeader "no-proxy-header"
        /// More handshakes at once than the relay takes on.
        HandshakeLimit "handshake-limit"
    }
}

label! {
    /// How a visitor's TLS handshake ended.
    Outcome "outcome" {
        Done "done"
        /// It was a CA's, which asked for the answer to a challenge.
        Challenge "challenge"
        /// The hostname is sealed: the handshake is between the visitor and the agent or the origin.
        Sealed "sealed"
        Failed "failed"
        Deadline "deadline"
        /// The visitor named no host, or none that there is a certificate for.
        NoName "no-name"
    }
}

label! {
    /// Why the relay ended a visitor's connection that the visitor wanted to keep.
    Cut "reason" {
        /// Resets, pings, settings or empty frames beyond all use.
        Flood "flood"
        /// It took nothing of what waited for it.
        WriteStall "write-stall"
        /// Nothing was asked over it for too long.
        Idle "idle"
        /// It broke the rules of its protocol.
        Protocol "protocol"
    }
}

label! {
    /// What a request was asked over.
    Protocol "protocol" {
        Http10 "HTTP/1.0"
        Http11 "HTTP/1.1"
        Http2 "HTTP/2.0"
        Http3 "HTTP/3.0"
        /// A whole connection of a sealed hostname.
        Tls "TLS"
    }
}

impl From<http::Version> for Protocol {
    fn from(version: http::Version) -> Self {
        match version {
            http::Version::HTTP_2 => Self::Http2,
            http::Version::HTTP_3 => Self::Http3,
            http::Version::HTTP_11 => Self::Http11,
            _ => Self::Http10,
        }
    }
}

label! {
    /// How an order of a certificate ended.
    Ordered "outcome" {
        Issued "issued"
        Failed "failed"
    }
}

label! {
    /// The first digit of a status.
    Class "class" {
        Informational "1xx"
        Success "2xx"
        Redirection "3xx"
        OfVisitor "4xx"
        OfRelayOrOrigin "5xx"
        /// The visitor went before there was a status.
        Nothing "none"
    }
}

impl Class {
    pub(super) fn of(status: u16) -> Self {
        match status / 100 {
            1 => Self::Informational,
            2 => Self::Success,
            3 => Self::Redirection,
            4 => Self::OfVisitor,
            0 => Self::Nothing,
            _ => Self::OfRelayOrOrigin,
        }
    }
}

/// Protocol and class of a request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kind(pub(super) Protocol, pub(super) Class);

impl Label for Kind {
    fn all() -> Vec<Self> {
        let classes = |protocol: &Protocol| Class::ALL.iter().map(|class| Self(*protocol, *class)).collect();
        Protocol::ALL.iter().flat_map(classes as fn(&_) -> Vec<_>).collect()
    }

    fn index(self) -> usize {
        self.0.index() * Class::ALL.len() + self.1.index()
    }

    fn pairs(self) -> Vec<Pair> {
        vec![("protocol", self.0.text()), ("class", self.1.text())]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_is_found_at_its_index() {
        for (at, kind) in Kind::all().into_iter().enumerate() {
            assert_eq!(kind.index(), at);
        }
        assert_eq!(Kind::all().len(), 30);
        assert!(Cut::all().iter().enumerate().all(|(at, cut)| cut.index() == at));
    }

    #[test]
    fn a_status_has_the_class_of_its_first_digit() {
        let classes = [0, 101, 204, 308, 404, 502, 999].map(|status| Class::of(status).text());
        assert_eq!(classes, ["none", "1xx", "2xx", "3xx", "4xx", "5xx", "5xx"]);
    }
}
