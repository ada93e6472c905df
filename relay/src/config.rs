//! `relay.toml`: [`validated`] is what the rest of the relay sees, this module reads the file into it.

pub(crate) mod access_log;
pub(crate) mod acme;
pub(crate) mod internal_ca;
pub(crate) mod limits;
mod log;
mod metrics;
pub(crate) mod validated;
pub(crate) mod visitor_certificates;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;
use process::config_file;
use process::document::{self, Rejected, Table};
use protocol::hostname::Hostname;

use self::validated::{CertificateFiles, Config, Edge, Listen, Timeouts};

const DEFAULT_ADMIN_SOCKET: &str = "/run/adit/relay.sock";

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    #[error("`{}` cannot be read", .path.display())]
    Unreadable {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("{0}")]
    Rejected(Rejected),
}

/// Reads and checks a file.
pub(crate) fn load(path: &Path) -> Result<Config, ConfigError> {
    let unreadable = |source| ConfigError::Unreadable { path: path.to_owned(), source };
    let text = config_file::read(path).map_err(unreadable)?;
    let config = parse(&path.display().to_string(), &text).map_err(ConfigError::Rejected)?;
    Ok(config.below(folder(path)))
}

pub(crate) fn parse(name: &str, text: &str) -> Result<Config, Rejected> {
    document::read(name, text, |root| {
        let hostname = root.required_parsed::<Hostname>("name");
        let data_dir = root.string("data_dir").map_or_else(|| "/var/lib/adit".into(), |dir| dir.value.into());
        let admin_socket = root.string("admin_socket").map(|path| PathBuf::from(path.value));
        let edge = edge(root.table("edge"));
        let certificates = root.tables("certificate").into_iter().filter_map(certificate).collect();
        let visitor_certificates =
            visitor_certificates::visitor_certificates(root.tables("visitor_certificate"));
        let internal_ca = internal_ca::read(root.table("internal_ca"));
        let log_format = log::read(root.table("log"));
        let access_log = access_log::read(root.table("access_log"));
        let metrics = metrics::read(root.table("metrics"));
        let timeouts = timeouts(root.table("timeouts"));
        let limits = limits::read(root.table("limits"));
        let has_http = edge.as_ref().is_none_or(|edge| edge.http != Listen::Off);
        let acme = acme::read(root.table("acme"), has_http);
        Some(Config {
            name: hostname?.into_inner(),
            data_dir,
            admin_socket: admin_socket.unwrap_or_else(|| DEFAULT_ADMIN_SOCKET.into()),
            edge: edge?,
            certificates,
            visitor_certificates,
            acme,
            internal_ca,
            log_format,
            access_log,
            metrics,
            timeouts,
            limits,
        })
    })
}

fn edge(table: Option<Table<'_>>) -> Option<Edge> {
    let Some(mut table) = table else { return Some(Edge::default()) };
    let default = Edge::default();
    let http = table.parsed::<Listen>("http");
    let https = table.parsed::<Address>("https");
    let public_https_port = table.integer::<u16>("public_https_port", 1..=u16::MAX);
    let trusted_proxies = table.parsed_list::<Network>("trusted_proxies");
    let proxy_protocol = proxy_protocol(&mut table, trusted_proxies.as_ref());
    // Each listener holds a place for who comes next, and HTTP/3 needs one more.
    let max_connections = table.integer::<usize>("max_connections", 4..=1_000_000);
    let threads = table.integer::<usize>("threads", 1..=256);
    let http3 = table.bool("http3");
    Some(Edge {
        http: http.map_or(default.http, |listen| listen.value),
        https: https.map_or(default.https, |address| address.value.0),
        public_https_port: public_https_port.map(|port| port.value),
        trusted_proxies: trusted_proxies
            .into_iter()
            .flat_map(|all| all.value)
            .map(|network| network.value.0)
            .collect(),
        proxy_protocol,
        max_connections: max_connections.map_or(default.max_connections, |count| count.value),
        threads: threads.map(|count| count.value),
        http3: http3.is_none_or(|on| on.value),
    })
}

/// Without proxies nobody would be asked for a header, which is not what was meant.
fn proxy_protocol(
    table: &mut Table<'_>,
    trusted_proxies: Option<&document::Spanned<Vec<document::Spanned<Network>>>>,
) -> bool {
    let Some(wanted) = table.bool("proxy_protocol") else { return false };
    if wanted.value && trusted_proxies.is_none_or(|networks| networks.value.is_empty()) {
        table.problems().add_with_hint(
            &wanted,
            "there is no proxy that this could be expected of",
            "name their networks in `trusted_proxies`",
        );
    }
    wanted.value
}

/// Where to listen.
struct Address(SocketAddr);

impl std::str::FromStr for Address {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self).map_err(|_| "not an address such as `[::]:443`")
    }
}

/// A network, or one address.
struct Network(IpNet);

impl std::str::FromStr for Network {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let address = text.parse::<std::net::IpAddr>().map(IpNet::from);
        address
            .or_else(|_| text.parse())
            .map(Self)
            .map_err(|_| "not an address or a network such as `192.0.2.0/24`")
    }
}

fn certificate(mut table: Table<'_>) -> Option<CertificateFiles> {
    let cert = table.required_string("cert");
    let key = table.required_string("key");
    Some(CertificateFiles { cert: cert?.value.into(), key: key?.value.into() })
}

fn timeouts(table: Option<Table<'_>>) -> Timeouts {
    let default = Timeouts::default();
    let Some(mut table) = table else { return default };
    let mut read = |key, default: Duration, (least, text): (Duration, &str)| {
        let Some(value) = table.duration(key) else { return default };
        if value.value < least {
            table.problems().add(&value, format!("this time-out is at least `{text}`"));
        }
        value.value
    };
    let second = (Duration::from_secs(1), "1s");
    Timeouts {
        first_byte: read("first_byte", default.first_byte, second),
        idle: read("idle", default.idle, second),
        upgrade_idle: read("upgrade_idle", default.upgrade_idle, (Duration::from_secs(3600), "1h")),
    }
}

/// Where the running relay listens for commands. A mistake elsewhere in the file does not keep anybody from revoking a
/// peer: the relay runs with what was there before.
pub(crate) fn admin_socket(path: &Path) -> Result<PathBuf, ConfigError> {
    #[derive(serde::Deserialize)]
    struct Part {
        admin_socket: Option<PathBuf>,
    }
    load(path).map(|config| config.admin_socket).or_else(|error| {
        let text = config_file::read(path).unwrap_or_default();
        let part: Option<Part> = toml::from_str(&text).ok();
        let socket = part.map(|part| part.admin_socket.unwrap_or_else(|| DEFAULT_ADMIN_SOCKET.into()));
        socket.map(|socket| folder(path).join(socket)).ok_or(error)
    })
}

/// Named files are relative to the folder of the file that names them.
fn folder(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new(""))
}

#[cfg(test)]
mod tests {
    use process::logging::LogFormat;

    use super::access_log::{Format, Output};
    use super::*;

    #[test]
    fn the_smallest_file_names_the_relay() {
        let config = parse("relay.toml", "name = \"relay.example.com\"").unwrap();
        assert_eq!(config.name.as_str(), "relay.example.com");
        assert_eq!(config.edge, Edge::default());
        assert!(!config.internal_ca.enabled);
    }

    #[test]
    fn everything_can_be_set() {
        let text = r#"
name = "relay.example.com"
data_dir = "/tmp/x"
admin_socket = "/tmp/x/relay.sock"
[edge]
http = "off"
https = "127.0.0.1:8443"
public_https_port = 443
trusted_proxies = ["10.0.0.0/8", "::1"]
max_connections = 5
[[certificate]]
cert = "a.pem"
key = "b.pem"
[internal_ca]
enabled = true
domains = ["example.com"]
[log]
format = "json"
[access_log]
output = "/tmp/x/access.log"
format = "combined"
[metrics]
listen = "127.0.0.1:9100"
[timeouts]
first_byte = "1s"
"#;
        let config = parse("relay.toml", text).unwrap();
        assert_eq!((config.edge.http, config.edge.trusted_proxies.len()), (Listen::Off, 2));
        assert_eq!((config.timeouts.first_byte, config.certificates.len()), (Duration::from_secs(1), 1));
        assert_eq!((config.log_format, config.access_log.format), (LogFormat::Json, Format::Combined));
        assert_eq!(config.access_log.output, Output::File("/tmp/x/access.log".into()));
        assert!(matches!(config.metrics, Listen::At(_)));
    }

    #[test]
    fn commands_find_the_socket_in_a_file_with_mistakes() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("relay.toml");
        std::fs::write(&file, "colour = 1\nadmin_socket = \"relay.sock\"").unwrap();
        assert!(load(&file).is_err());
        assert_eq!(admin_socket(&file).unwrap(), folder.path().join("relay.sock"));
        std::fs::write(&file, "colour =").unwrap();
        assert!(admin_socket(&file).is_err());
    }

    #[test]
    fn every_mistake_is_reported_in_one_run() {
        let text = "name = \"relay example\"\ncolour = 1\n[edge]\nhttps = \"nowhere\"\nhttp = 80\n[acme]\nemail = \"a@b.c\"\n[[certificate]]\ncert = \"a.pem\"\n[timeouts]\nupgrade_idle = \"10m\"\n";
        let rejected = parse("relay.toml", text).unwrap_err();
        let lines: Vec<_> = rejected.mistakes().iter().filter_map(document::Mistake::line).collect();
        assert_eq!(lines, [1, 2, 4, 5, 6, 8, 11], "{rejected}");
    }
}
