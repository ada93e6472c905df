//! Turns a relay's name into addresses, in the order in which they are tried (RFC 8305, section 4).

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::authority::{Authority, Host};

/// Why a name gave no addresses.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    #[error("`{name}` does not resolve")]
    Lookup { name: String, source: io::Error },
    #[error("`{name}` has no addresses")]
    Empty { name: String },
}

/// All addresses of a host, by the system's resolver.
///
/// # Errors
///
/// Where the name does not resolve or has no addresses.
pub async fn addresses(authority: &Authority) -> Result<Vec<SocketAddr>, ResolveError> {
    let name = match authority.host() {
        Host::Address(address) => return Ok(vec![SocketAddr::new(*address, authority.port())]),
        Host::Name(name) => name.to_string(),
    };
    // Names below `localhost` are this machine (RFC 6761, section 6.3), whether the system's resolver knows or not.
    if name.ends_with(".localhost") {
        let loopback = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
        return Ok(loopback.map(|address| SocketAddr::new(address, authority.port())).to_vec());
    }
    let found = tokio::net::lookup_host((name.as_str(), authority.port())).await.map(Iterator::collect);
    let ordered = match found {
        Ok(found) => interleaved(found),
        Err(source) => return Err(ResolveError::Lookup { name, source }),
    };
    if ordered.is_empty() { Err(ResolveError::Empty { name }) } else { Ok(ordered) }
}

/// IPv6 and IPv4 by turns, so that a broken family costs one step and not all of its addresses. Keeps the order that
/// the system gave within a family and drops repetitions.
#[must_use]
pub fn interleaved(found: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let mut unique = Vec::with_capacity(found.len());
    for address in found {
        if !unique.contains(&address) {
            unique.push(address);
        }
    }
    let (v6, v4): (Vec<_>, Vec<_>) = unique.into_iter().partition(SocketAddr::is_ipv6);
    let mut ordered = Vec::with_capacity(v6.len() + v4.len());
    let (mut v6, mut v4) = (v6.into_iter(), v4.into_iter());
    loop {
        let pair = [v6.next(), v4.next()];
        if pair.iter().all(Option::is_none) {
            return ordered;
        }
        ordered.extend(pair.into_iter().flatten());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(addresses: &[&str]) -> Vec<String> {
        let found = addresses.iter().map(|address| address.parse().unwrap()).collect();
        interleaved(found).iter().map(SocketAddr::to_string).collect()
    }

    #[test]
    fn families_take_turns() {
        let found = ["192.0.2.1:1", "192.0.2.2:1", "[::1]:1", "192.0.2.1:1", "192.0.2.3:1", "[::2]:1"];
        let expected = ["[::1]:1", "192.0.2.1:1", "[::2]:1", "192.0.2.2:1", "192.0.2.3:1"];
        assert_eq!(order(&found), expected);
        assert_eq!(order(&[]), Vec::<String>::new());
    }
}
