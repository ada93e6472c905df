//! The configuration as the rest of the program knows it: every name resolves, every limit is kept. Nobody checks
//! again after this.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

use acme::settings::Settings;
use ipnet::IpNet;
use protocol::control::{Expose, Register, Service, TlsEnd};
use protocol::field::{self, FieldError};
use protocol::hostname::{Hostname, HostnamePattern};
use protocol::id::{PeerName, ServiceName};
use protocol::upgrade::{self, UpgradeError};
use rustls::RootCertStore;

use super::reach::Reach;
use super::target::Target;
use crate::authority::RelayAddress;

/// All of `agent.toml`, or what `agent expose` was told.
#[derive(Debug, Clone, Default)]
pub struct Config {
    pub(super) relay: Option<RelayAddress>,
    pub(super) services: BTreeMap<ServiceName, ServiceConfig>,
    pub(super) expose: Vec<Expose>,
    pub(super) private: Vec<Private>,
    pub(super) acme: Option<Settings>,
}

/// A service's origin.
#[derive(Debug, Clone)]
pub struct ServiceConfig {
    pub(super) target: Target,
    pub(super) trust: OriginTrust,
    pub(super) proxy_protocol: Option<ProxyProtocol>,
}

/// What an `https://` origin's certificate is checked against.
#[derive(Debug, Clone)]
pub enum OriginTrust {
    /// The system's roots.
    Platform,
    /// The certificates of `tls_ca_file`.
    Roots(Arc<RootCertStore>),
    /// Nothing: whoever answers is believed.
    DangerousAnyCertificate,
}

/// The version of the PROXY protocol that an origin is told its visitors in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyProtocol {
    /// Text.
    V1,
    /// Binary.
    V2,
}

/// A service for enrolled operators.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Private {
    pub(super) service: ServiceName,
    pub(super) allow: Vec<Allow>,
}

/// Who may reach a private service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Allow {
    Operators,
    Peer(PeerName),
}

impl Config {
    /// The same with the CA's files taken from a folder.
    pub(super) fn below(self, folder: &Path) -> Self {
        Self { acme: self.acme.map(|acme| acme.below(folder)), ..self }
    }

    /// The relay, where the file names one.
    #[must_use]
    pub fn relay(&self) -> Option<&RelayAddress> {
        self.relay.as_ref()
    }

    #[must_use]
    pub fn services(&self) -> &BTreeMap<ServiceName, ServiceConfig> {
        &self.services
    }

    #[must_use]
    pub fn hostnames(&self) -> impl ExactSizeIterator<Item = &HostnamePattern> {
        self.expose.iter().map(|expose| &expose.hostname)
    }

    /// How this agent orders certificates, if it does.
    #[must_use]
    pub fn acme(&self) -> Option<&Settings> {
        self.acme.as_ref()
    }

    /// The hostnames for which this agent needs a certificate: it ends the TLS of their visitors.
    pub fn ends_tls_for(&self) -> impl Iterator<Item = Hostname> {
        let ends_here =
            |expose: &&Expose| expose.sealed.as_ref().is_some_and(|sealed| sealed.end == TlsEnd::Agent);
        // None of them is a wildcard.
        self.expose.iter().filter(ends_here).filter_map(|expose| expose.hostname.exact())
    }

    /// The ways on which streams may come to a service.
    #[must_use]
    pub fn reach(&self, service: &ServiceName) -> Reach {
        Reach::of(service, &self.expose)
    }

    #[must_use]
    pub fn private(&self) -> &[Private] {
        &self.private
    }

    /// What the relay is told of this: names and protocols, never an address.
    #[must_use]
    pub fn register(&self, revision: u64) -> Register {
        let service = |(name, service): (&ServiceName, &ServiceConfig)| Service {
            name: name.clone(),
            protocol: service.target.protocol(),
            per_visitor: service.proxy_protocol.is_some(),
        };
        Register {
            revision,
            services: self.services.iter().map(service).collect(),
            expose: self.expose.clone(),
        }
    }
}

impl ServiceConfig {
    #[must_use]
    pub fn target(&self) -> &Target {
        &self.target
    }

    #[must_use]
    pub fn trust(&self) -> &OriginTrust {
        &self.trust
    }

    /// How each connection to the origin begins, where it begins with the visitor's address.
    #[must_use]
    pub fn proxy_protocol(&self) -> Option<ProxyProtocol> {
        self.proxy_protocol
    }
}

impl Private {
    #[must_use]
    pub fn service(&self) -> &ServiceName {
        &self.service
    }

    #[must_use]
    pub fn allow(&self) -> &[Allow] {
        &self.allow
    }
}

/// `v1` or `v2`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected `v1` or `v2`")]
pub struct ProxyProtocolError;

impl FromStr for ProxyProtocol {
    type Err = ProxyProtocolError;

    fn from_str(text: &str) -> Result<Self, ProxyProtocolError> {
        match text {
            "v1" => Ok(Self::V1),
            "v2" => Ok(Self::V2),
            _ => Err(ProxyProtocolError),
        }
    }
}

/// `role:operator` or `peer:NAME`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected `role:operator` or `peer:NAME`")]
pub struct AllowError;

impl FromStr for Allow {
    type Err = AllowError;

    fn from_str(text: &str) -> Result<Self, AllowError> {
        match text.split_once(':') {
            Some(("role", "operator")) => Ok(Self::Operators),
            Some(("peer", name)) => name.parse().map(Self::Peer).map_err(|_| AllowError),
            _ => Err(AllowError),
        }
    }
}

/// Addresses that visitors may come from; one address is a network of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Network(IpNet);

/// Why a text is no network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum NetworkError {
    #[error("expected a network such as `192.0.2.0/24` or an address")]
    Shape,
    #[error("bits are set behind the prefix: write `{0}`")]
    HostBits(IpNet),
}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Self(IpNet::from(address)));
        }
        let network: IpNet = text.parse().map_err(|_| NetworkError::Shape)?;
        if network.trunc() == network {
            Ok(Self(network))
        } else {
            Err(NetworkError::HostBits(network.trunc()))
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A protocol that requests may upgrade to, in lower case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Upgrade(pub(super) String);

impl FromStr for Upgrade {
    type Err = UpgradeError;

    fn from_str(text: &str) -> Result<Self, UpgradeError> {
        upgrade::check(text).map(Self)
    }
}

impl fmt::Display for Upgrade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The name of a header field that may be changed, in lower case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FieldName(pub(super) String);

impl FromStr for FieldName {
    type Err = FieldError;

    fn from_str(text: &str) -> Result<Self, FieldError> {
        field::check_name(text).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_are_written_in_full() {
        assert_eq!("192.0.2.0/24".parse::<Network>().unwrap().to_string(), "192.0.2.0/24");
        assert_eq!("192.0.2.7".parse::<Network>().unwrap().to_string(), "192.0.2.7/32");
        assert_eq!("2001:db8::/32".parse::<Network>().unwrap().to_string(), "2001:db8::/32");
        assert!(matches!("192.0.2.7/24".parse::<Network>(), Err(NetworkError::HostBits(_))));
        assert!(matches!("192.0.2.0/33".parse::<Network>(), Err(NetworkError::Shape)));
    }

    #[test]
    fn who_is_allowed() {
        assert_eq!("role:operator".parse(), Ok(Allow::Operators));
        assert_eq!("peer:laptop".parse(), Ok(Allow::Peer("laptop".parse().unwrap())));
        for text in ["operator", "role:host", "peer:", "peer:A"] {
            assert_eq!(text.parse::<Allow>(), Err(AllowError), "{text}");
        }
    }
}
