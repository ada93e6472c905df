//! Whether a hostname leads here. A CA counts failed attempts, and cannot say what is wrong as well as we can.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use ipnet::IpNet;
use protocol::hostname::Hostname;

/// Why a hostname does not lead here, as far as can be told.
#[derive(Debug, thiserror::Error)]
pub enum ReachError {
    #[error("the system's DNS servers cannot be told")]
    Resolver(#[source] NetError),
    #[error("`{name}` does not resolve")]
    Resolve { name: String, source: NetError },
    #[error(
        "`{name}` leads to {}, and not to where `{here}` leads, which is {}: change its DNS records, or name what leads \
         here in `acme.addresses`",
        listed(.strange), listed(.expected)
    )]
    Elsewhere { name: String, here: String, strange: Vec<IpAddr>, expected: Vec<IpAddr> },
    #[error(
        "`{name}` leads to {}, which is not in `acme.addresses`: change its DNS records, or name it there",
        listed(.strange)
    )]
    NotListed { name: String, strange: Vec<IpAddr> },
}

fn listed(addresses: &[IpAddr]) -> String {
    addresses.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(" and ")
}

/// Where hostnames ought to lead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Here {
    /// To the addresses of this, a hostname or an address.
    pub name: String,
    /// And these count as well.
    pub addresses: Vec<IpNet>,
}

/// A resolver that asks one server, or those of the system. It keeps no answers: what has just been mended counts.
///
/// # Errors
///
/// Where the system's servers cannot be read.
pub fn resolver(server: Option<SocketAddr>) -> Result<TokioResolver, ReachError> {
    let builder = match server {
        Some(server) => TokioResolver::builder_with_config(asking(server), TokioRuntimeProvider::default()),
        None => TokioResolver::builder_tokio().map_err(ReachError::Resolver)?,
    };
    let mut options = ResolverOpts::default();
    options.cache_size = 0;
    // Machines have their own name there, with an address that nobody else reaches.
    options.use_hosts_file = ResolveHosts::Never;
    options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
    builder.with_options(options).build().map_err(ReachError::Resolver)
}

/// The configuration of a resolver that asks this server alone.
#[must_use]
pub fn asking(server: SocketAddr) -> ResolverConfig {
    let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
        connection.port = server.port();
        connection
    });
    ResolverConfig::from_name_servers(vec![NameServerConfig::new(server.ip(), true, connections.to_vec())])
}

/// Finds out whether a hostname leads here. All of its addresses have to: a CA takes any of them.
pub(crate) async fn check(resolver: &TokioResolver, name: &Hostname, here: &Here) -> Result<(), ReachError> {
    let found = addresses(resolver, name.as_str()).await?;
    let listed = |address: &IpAddr| here.addresses.iter().any(|network| network.contains(address));
    let unlisted: Vec<_> = found.into_iter().filter(|address| !listed(address)).collect();
    if unlisted.is_empty() {
        return Ok(());
    }
    if name.as_str() == here.name {
        // It cannot be compared with itself.
        let nothing_to_compare = here.addresses.is_empty();
        let (name, strange) = (name.to_string(), unlisted);
        return if nothing_to_compare { Ok(()) } else { Err(ReachError::NotListed { name, strange }) };
    }
    let expected = addresses(resolver, &here.name).await?;
    let strange: Vec<_> = unlisted.into_iter().filter(|address| !expected.contains(address)).collect();
    if strange.is_empty() {
        return Ok(());
    }
    let (name, here) = (name.to_string(), here.name.clone());
    Err(ReachError::Elsewhere { name, here, strange, expected: expected.into_iter().collect() })
}

async fn addresses(resolver: &TokioResolver, name: &str) -> Result<BTreeSet<IpAddr>, ReachError> {
    if let Ok(address) = name.parse::<IpAddr>() {
        return Ok(BTreeSet::from([address]));
    }
    let found = resolver.lookup_ip(format!("{name}.")).await;
    let found = found.map_err(|source| ReachError::Resolve { name: name.to_owned(), source })?;
    Ok(found.iter().map(|address| address.to_canonical()).collect())
}
