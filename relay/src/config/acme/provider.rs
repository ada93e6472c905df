//! Who writes records for DNS-01: a name server that takes updates, or the interface of a provider that `dns-update` knows.
//! Secrets are in files, which are read when they are needed.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use dns_update::DnsUpdater;

const TIMEOUT: Option<Duration> = Some(Duration::from_secs(30));

/// Makes the client of a provider out of its one secret, or of two.
type OfToken = fn(&str) -> dns_update::Result<DnsUpdater>;
type OfPair = fn(&str, &str) -> dns_update::Result<DnsUpdater>;

/// What a provider wants to know.
#[derive(Debug, Clone, Copy)]
pub(super) enum Credentials {
    Token(OfToken),
    Pair(OfPair),
}

const WITH_TOKEN: [(&str, OfToken); 19] = [
    ("arvancloud", |token| DnsUpdater::new_arvancloud(token, TIMEOUT)),
    ("bunny", |token| DnsUpdater::new_bunny(token, TIMEOUT)),
    ("cloudflare", |token| DnsUpdater::new_cloudflare(token, TIMEOUT)),
    ("desec", |token| DnsUpdater::new_desec(token, TIMEOUT)),
    ("digitalocean", |token| DnsUpdater::new_digitalocean(token, TIMEOUT)),
    ("dynu", |token| DnsUpdater::new_dynu(token, TIMEOUT)),
    ("gandi", |token| DnsUpdater::new_gandiv5(token, TIMEOUT)),
    ("gcore", |token| DnsUpdater::new_gcore(token, TIMEOUT)),
    ("hetzner", |token| DnsUpdater::new_hetzner(token, TIMEOUT)),
    ("hostingde", |token| DnsUpdater::new_hostingde(token, TIMEOUT)),
    ("infomaniak", |token| DnsUpdater::new_infomaniak(token, TIMEOUT)),
    ("ionos", |token| DnsUpdater::new_ionos(token, TIMEOUT)),
    ("ipv64", |token| DnsUpdater::new_ipv64(token, TIMEOUT)),
    ("linode", |token| DnsUpdater::new_linode(token, TIMEOUT)),
    ("namesilo", |token| DnsUpdater::new_namesilo(token, TIMEOUT)),
    ("ns1", |token| DnsUpdater::new_ns1(token, TIMEOUT)),
    ("safedns", |token| DnsUpdater::new_safedns(token, TIMEOUT)),
    ("scaleway", |token| DnsUpdater::new_scaleway(token, TIMEOUT)),
    ("vultr", |token| DnsUpdater::new_vultr(token, TIMEOUT)),
];

const WITH_PAIR: [(&str, OfPair); 12] = [
    ("constellix", |key, secret| DnsUpdater::new_constellix(key, secret, TIMEOUT)),
    ("dnsimple", |key, secret| DnsUpdater::new_dnsimple(secret, key, TIMEOUT)),
    ("dnsmadeeasy", |key, secret| DnsUpdater::new_dnsmadeeasy(key, secret, TIMEOUT)),
    ("domeneshop", |key, secret| DnsUpdater::new_domeneshop(key, secret, TIMEOUT)),
    ("exoscale", |key, secret| DnsUpdater::new_exoscale(key, secret, TIMEOUT)),
    ("godaddy", |key, secret| DnsUpdater::new_godaddy(key, secret, TIMEOUT)),
    ("luadns", |key, secret| DnsUpdater::new_luadns(key, secret, TIMEOUT)),
    ("namedotcom", |key, secret| DnsUpdater::new_namedotcom(key, secret, TIMEOUT)),
    ("porkbun", |key, secret| DnsUpdater::new_porkbun(key, secret, TIMEOUT)),
    ("simplycom", |key, secret| DnsUpdater::new_simplycom(key, secret, TIMEOUT)),
    ("spaceship", |key, secret| DnsUpdater::new_spaceship(key, secret, TIMEOUT)),
    ("websupport", |key, secret| DnsUpdater::new_websupport(key, secret, TIMEOUT)),
];

/// What a provider of this name wants to know.
pub(super) fn credentials(name: &str) -> Option<Credentials> {
    let token =
        WITH_TOKEN.iter().find(|(known, _)| *known == name).map(|(_, make)| Credentials::Token(*make));
    let pair =
        || WITH_PAIR.iter().find(|(known, _)| *known == name).map(|(_, make)| Credentials::Pair(*make));
    token.or_else(pair)
}

pub(super) fn names() -> impl Iterator<Item = &'static str> {
    let (token, pair) = (WITH_TOKEN.iter().map(|(name, _)| *name), WITH_PAIR.iter().map(|(name, _)| *name));
    token.chain(pair)
}

/// Who writes records.
#[derive(Debug, Clone)]
pub(crate) enum Provider {
    /// A name server that takes updates (RFC 2136) signed with a key (RFC 8945).
    Rfc2136 {
        server: DnsServer,
        key_name: String,
        key_file: PathBuf,
        algorithm: TsigAlgorithm,
    },
    Token {
        name: String,
        make: OfToken,
        file: PathBuf,
    },
    Pair {
        name: String,
        make: OfPair,
        key_file: PathBuf,
        secret_file: PathBuf,
    },
}

impl Provider {
    pub(super) fn files(&self) -> Vec<&Path> {
        match self {
            Self::Rfc2136 { key_file: file, .. } | Self::Token { file, .. } => vec![file],
            Self::Pair { key_file, secret_file, .. } => vec![key_file, secret_file],
        }
    }

    pub(super) fn below(self, folder: &Path) -> Self {
        match self {
            Self::Rfc2136 { server, key_name, key_file, algorithm } => {
                Self::Rfc2136 { server, key_name, key_file: folder.join(key_file), algorithm }
            }
            Self::Token { name, make, file } => Self::Token { name, make, file: folder.join(file) },
            Self::Pair { name, make, key_file, secret_file } => {
                let (key_file, secret_file) = (folder.join(key_file), folder.join(secret_file));
                Self::Pair { name, make, key_file, secret_file }
            }
        }
    }
}

/// Functions are the same where their names are.
impl PartialEq for Provider {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (
                Self::Rfc2136 { server, key_name, key_file, algorithm },
                Self::Rfc2136 { server: s, key_name: n, key_file: f, algorithm: a },
            ) => (server, key_name, key_file, algorithm) == (s, n, f, a),
            (Self::Token { name, file, .. }, Self::Token { name: n, file: f, .. }) => (name, file) == (n, f),
            (
                Self::Pair { name, key_file, secret_file, .. },
                Self::Pair { name: n, key_file: k, secret_file: s, .. },
            ) => (name, key_file, secret_file) == (n, k, s),
            (Self::Rfc2136 { .. } | Self::Token { .. } | Self::Pair { .. }, _) => false,
        }
    }
}

impl Eq for Provider {}

/// Where updates go: `192.0.2.53`, `tcp://192.0.2.53:5353`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DnsServer {
    address: SocketAddr,
    tcp: bool,
}

impl DnsServer {
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl fmt::Display for DnsServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", if self.tcp { "tcp" } else { "udp" }, self.address)
    }
}

impl FromStr for DnsServer {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let tcp = text.strip_prefix("tcp://");
        let address = tcp.or_else(|| text.strip_prefix("udp://")).unwrap_or(text);
        let alone = address.parse::<IpAddr>().map(|address| SocketAddr::new(address, 53));
        alone
            .or_else(|_| address.parse())
            .map(|address| Self { address, tcp: tcp.is_some() })
            .map_err(|_| "not an address such as `192.0.2.53` or `tcp://192.0.2.53:5353`")
    }
}

/// How updates are signed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum TsigAlgorithm {
    #[default]
    HmacSha256,
    HmacSha384,
    HmacSha512,
}

impl From<TsigAlgorithm> for dns_update::TsigAlgorithm {
    fn from(algorithm: TsigAlgorithm) -> Self {
        match algorithm {
            TsigAlgorithm::HmacSha256 => Self::HmacSha256,
            TsigAlgorithm::HmacSha384 => Self::HmacSha384,
            TsigAlgorithm::HmacSha512 => Self::HmacSha512,
        }
    }
}

impl FromStr for TsigAlgorithm {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "hmac-sha256" => Ok(Self::HmacSha256),
            "hmac-sha384" => Ok(Self::HmacSha384),
            "hmac-sha512" => Ok(Self::HmacSha512),
            _ => Err("expected `hmac-sha256`, `hmac-sha384` or `hmac-sha512`"),
        }
    }
}
