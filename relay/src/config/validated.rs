//! The relay's configuration as everything else sees it: nobody checks it again.

use std::net::{Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use ipnet::IpNet;
use process::logging::LogFormat;
use protocol::hostname::Hostname;

use super::access_log::{AccessLog, Output};
use super::acme::Acme;
use super::internal_ca::InternalCa;
use super::limits::Limits;
use super::visitor_certificates::VisitorCertificate;

/// The whole file.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    /// The relay's own hostname: what agents dial.
    pub(crate) name: Hostname,
    pub(crate) data_dir: PathBuf,
    pub(crate) admin_socket: PathBuf,
    pub(crate) edge: Edge,
    pub(crate) certificates: Vec<CertificateFiles>,
    pub(crate) visitor_certificates: Vec<VisitorCertificate>,
    /// How certificates are ordered, if they are.
    pub(crate) acme: Option<Acme>,
    pub(crate) internal_ca: InternalCa,
    pub(crate) log_format: LogFormat,
    pub(crate) access_log: AccessLog,
    /// Where numbers can be read.
    pub(crate) metrics: Listen,
    pub(crate) timeouts: Timeouts,
    pub(crate) limits: Limits,
}

impl Config {
    /// The same with every relative path taken from a folder.
    pub(super) fn below(mut self, folder: &Path) -> Self {
        self.data_dir = folder.join(self.data_dir);
        self.admin_socket = folder.join(self.admin_socket);
        for files in &mut self.certificates {
            files.cert = folder.join(&files.cert);
            files.key = folder.join(&files.key);
        }
        for rule in &mut self.visitor_certificates {
            rule.ca_file = folder.join(&rule.ca_file);
        }
        self.acme = self.acme.map(|acme| acme.below(folder));
        if let Output::File(file) = &mut self.access_log.output {
            *file = folder.join(&file);
        }
        self
    }
}

/// The public listeners.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Edge {
    pub(crate) http: Listen,
    /// TCP for visitors and UDP for sessions.
    pub(crate) https: SocketAddr,
    /// The port that visitors use, where something in front maps it to another.
    pub(crate) public_https_port: Option<u16>,
    pub(crate) trusted_proxies: Vec<IpNet>,
    /// Connections from there begin with a PROXY header.
    pub(crate) proxy_protocol: bool,
    /// Visitor connections at once.
    pub(crate) max_connections: usize,
    /// Threads for visitors, where it is not one for each core.
    pub(crate) threads: Option<usize>,
    /// Whether visitors may speak HTTP/3, over UDP.
    pub(crate) http3: bool,
}

impl Default for Edge {
    fn default() -> Self {
        Self {
            http: Listen::At((Ipv6Addr::UNSPECIFIED, 80).into()),
            https: (Ipv6Addr::UNSPECIFIED, 443).into(),
            public_https_port: None,
            trusted_proxies: Vec::new(),
            proxy_protocol: false,
            max_connections: 10_000,
            threads: None,
            http3: true,
        }
    }
}

/// An address, or `off`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Listen {
    At(SocketAddr),
    Off,
}

impl FromStr for Listen {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "off" => Ok(Self::Off),
            address => {
                address.parse().map(Self::At).map_err(|_| "not an address such as `[::]:80`, nor `off`")
            }
        }
    }
}

/// A certificate that somebody else renews.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CertificateFiles {
    pub(crate) cert: PathBuf,
    pub(crate) key: PathBuf,
}

/// How long a request may stand still. None of them is over a whole body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Timeouts {
    /// From the last byte of the request to the first of the response.
    pub(crate) first_byte: Duration,
    /// Between two pieces of a body.
    pub(crate) idle: Duration,
    /// Between two pieces of an upgraded connection.
    pub(crate) upgrade_idle: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            first_byte: Duration::from_secs(300),
            idle: Duration::from_secs(300),
            upgrade_idle: Duration::from_secs(24 * 3600),
        }
    }
}
