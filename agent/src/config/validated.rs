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
use protocol::control::{Expose, PrivateService, Register, Service, TlsEnd};
use protocol::field::{self, FieldError};
use protocol::hostname::{Hostname, HostnamePattern};
use protocol::id::ServiceName;
use protocol::upgrade::{self, UpgradeError};
use rustls::RootCertStore;

use super::private::{Connect, DirectConfig, LocalAddress, Private, PrivateServices};
use super::reach::Reach;
use super::target::Target;
use crate::authority::RelayAddress;

/// All of `agent.toml`, or what `agent expose` was told.
#[derive(Debug, Clone, Default)]
pub struct Config {
    pub(super) relay: Option<RelayAddress>,
    pub(super) services: BTreeMap<ServiceName, ServiceConfig>,
    pub(super) expose: Vec<Expose>,
    pub(super) private: PrivateServices,
    pub(super) connects: Vec<Connect>,
    pub(super) socks5: Option<LocalAddress>,
    pub(super) direct: DirectConfig,
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

impl Config {
    /// The same with the CA's files taken from a folder.
    pub(super) fn below(self, folder: &Path) -> Self {
        Self { acme: self.acme.map(|acme| acme.below(folder)), ..self }
    }

    /// The same without direct paths, where that is wanted.
    #[must_use]
    pub fn relayed(self, relayed: bool) -> Self {
        let direct = DirectConfig { enabled: self.direct.enabled && !relayed, ..self.direct };
        Self { direct, ..self }
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

    /// The services for other peers.
    #[must_use]
    pub fn private(&self) -> &PrivateServices {
        &self.private
    }

    /// The doors to services of other peers.
    #[must_use]
    pub fn connects(&self) -> &[Connect] {
        &self.connects
    }

    /// Whether and how other agents are met directly.
    #[must_use]
    pub fn direct(&self) -> DirectConfig {
        self.direct
    }

    /// Where the one door to all of them is.
    #[must_use]
    pub fn socks5(&self) -> Option<LocalAddress> {
        self.socks5
    }

    /// What the relay is told of this: names and protocols, never an address.
    #[must_use]
    pub fn register(&self, revision: u64) -> Register {
        let service = |(name, service): (&ServiceName, &ServiceConfig)| Service {
            name: name.clone(),
            protocol: service.target.protocol(),
            per_visitor: service.proxy_protocol.is_some(),
        };
        let private = |(name, private): (&ServiceName, &Private)| PrivateService {
            name: name.clone(),
            carries: private.carries,
        };
        Register {
            revision,
            services: self.services.iter().map(service).collect(),
            expose: self.expose.clone(),
            private: self.private.iter().map(private).collect(),
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
}
