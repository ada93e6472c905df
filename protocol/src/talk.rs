//! What two agents have to say to each other themselves: each message is JSON in one record of a stream for
//! [`crate::private::Purpose::Talk`], so the relay does not read it.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::id::ServiceName;

/// Addresses that one side may name.
pub const ADDRESSES: usize = 16;

/// One message. What a later version has to say is [`Say::Unknown`], and is passed over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "say", rename_all = "snake_case")]
pub enum Say {
    /// Operator: what is at these services?
    Describe,
    /// Host: what the operator may reach.
    Services {
        /// Each of them.
        services: Vec<Described>,
    },
    /// Either: where packets may reach this agent directly. The host answers with its own, and both begin to send.
    Meet {
        /// The most promising first.
        addresses: Vec<SocketAddr>,
    },
    /// Host: it does not meet anybody directly.
    Apart,
    /// Anything else.
    #[serde(other)]
    Unknown,
}

/// A service as its host describes it to those who may reach it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Described {
    /// Its name.
    pub name: ServiceName,
    /// The port of its origin, which is a good one for others too.
    #[serde(default)]
    pub port: Option<u16>,
    /// What comes through the stream is HTTP without TLS.
    #[serde(default)]
    pub http: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_bytes() {
        let web = Described { name: "web".parse().unwrap(), port: Some(3000), http: true };
        let cases = [
            (Say::Describe, r#"{"say":"describe"}"#),
            (
                Say::Services { services: vec![web] },
                r#"{"say":"services","services":[{"name":"web","port":3000,"http":true}]}"#,
            ),
            (
                Say::Meet { addresses: vec!["[2001:db8::1]:9".parse().unwrap()] },
                r#"{"say":"meet","addresses":["[2001:db8::1]:9"]}"#,
            ),
            (Say::Apart, r#"{"say":"apart"}"#),
        ];
        for (message, text) in cases {
            assert_eq!(serde_json::to_string(&message).unwrap(), text);
            assert_eq!(serde_json::from_str::<Say>(text).unwrap(), message);
        }
    }

    #[test]
    fn what_is_unknown_is_passed_over() {
        let later = serde_json::from_str::<Say>(r#"{"say":"sing","song":1}"#).unwrap();
        assert_eq!(later, Say::Unknown);
        let more = serde_json::from_str::<Say>(r#"{"say":"describe","colour":"red"}"#).unwrap();
        assert_eq!(more, Say::Describe);
        assert!(serde_json::from_str::<Say>("{}").is_err());
    }
}
