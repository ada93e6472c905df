//! The zone of a hostname: writes the records of DNS-01 there, and waits until its own servers show them.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use acme::publish::{Publish, PublishError, Publishing};
use acme::reach::{self, ReachError};
use data_encoding::BASE64;
use dns_update::{DnsRecord, DnsRecordType, DnsUpdater};
use hickory_resolver::TokioResolver;
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::NetError;
use hickory_resolver::proto::rr::{RData, RecordType};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::time::Instant;

use crate::config::acme::Dns;
use crate::config::acme::provider::Provider;

/// How long a record may take to every server of its zone.
const LONGEST: Duration = Duration::from_secs(180);
const BETWEEN_LOOKS: Duration = Duration::from_secs(2);
/// For one server to answer.
const LOOK: Duration = Duration::from_secs(5);
/// Of the records, in seconds.
const TTL: u32 = 60;

/// Why a record is not there.
#[derive(Debug, thiserror::Error)]
enum ZoneError {
    #[error("`{}` cannot be read", .path.display())]
    Secret { path: PathBuf, source: std::io::Error },
    #[error("`{}` does not hold a key in base64", .0.display())]
    Key(PathBuf),
    #[error("the client of the DNS provider cannot be made: {0}")]
    Client(String),
    #[error("no zone was found that `{0}` is in: name it in `acme.dns.zone`")]
    NoZone(String),
    #[error("`{record}` in the zone `{zone}` was not changed: {said}")]
    Refused { record: String, zone: String, said: String },
    #[error("the zone of `{name}` cannot be found")]
    Lookup { name: String, source: NetError },
    #[error(transparent)]
    Resolver(#[from] ReachError),
    #[error("after {} s `{record}` is not to be seen at {servers}", LONGEST.as_secs())]
    Unseen { record: String, servers: String },
}

/// Writes to the zones that one provider has.
#[derive(Debug)]
pub(crate) struct Zone {
    dns: Dns,
    /// In place of the system's.
    resolver: Option<SocketAddr>,
}

impl Zone {
    pub(crate) fn new(dns: Dns, resolver: Option<SocketAddr>) -> Self {
        Self { dns, resolver }
    }

    async fn publish_inner(&self, name: &str, value: &str) -> Result<(), ZoneError> {
        let resolver = reach::resolver(self.resolver)?;
        let zone = self.zone_of(&resolver, name).await?;
        let record = vec![DnsRecord::TXT(value.to_owned())];
        let Updater { client, secrets } = self.updater().await?;
        let added = client.add_to_rrset(name, DnsRecordType::TXT, TTL, record, zone.as_str()).await;
        added.map_err(|error| refused(name, &zone, &error, &secrets))?;
        tracing::info!(
            record = name,
            zone,
            "the record of dns-01 is written; waiting for the zone's servers"
        );
        self.wait_for(&resolver, &zone, name, value).await
    }

    async fn withdraw_inner(&self, name: &str, value: &str) -> Result<(), ZoneError> {
        let zone = self.zone_of(&reach::resolver(self.resolver)?, name).await?;
        let record = vec![DnsRecord::TXT(value.to_owned())];
        let Updater { client, secrets } = self.updater().await?;
        let removed = client.remove_from_rrset(name, DnsRecordType::TXT, record, zone.as_str()).await;
        removed.map_err(|error| refused(name, &zone, &error, &secrets))
    }

    async fn updater(&self) -> Result<Updater, ZoneError> {
        let (made, secrets) = match &self.dns.provider {
            Provider::Rfc2136 { server, key_name, key_file, algorithm } => {
                let text = secret(key_file).await?;
                let key = BASE64.decode(text.as_bytes()).map_err(|_| ZoneError::Key(key_file.clone()))?;
                let made =
                    DnsUpdater::new_rfc2136_tsig(server.to_string(), key_name, key, (*algorithm).into());
                (made, vec![text])
            }
            Provider::Token { make, file, .. } => {
                let token = secret(file).await?;
                (make(&token), vec![token])
            }
            Provider::Pair { make, key_file, secret_file, .. } => {
                let (key, other) = (secret(key_file).await?, secret(secret_file).await?);
                (make(&key, &other), vec![key, other])
            }
        };
        match made {
            Ok(client) => Ok(Updater { client, secrets }),
            Err(error) => Err(ZoneError::Client(without(&error.to_string(), &secrets))),
        }
    }

    /// The nearest name above a record that has a zone of its own.
    async fn zone_of(&self, resolver: &TokioResolver, record: &str) -> Result<String, ZoneError> {
        if let Some(zone) = &self.dns.zone {
            return Ok(zone.to_string());
        }
        let mut rest = record;
        while let Some((_, above)) = rest.split_once('.') {
            rest = above;
            match resolver.lookup(format!("{rest}."), RecordType::SOA).await {
                Ok(found) if is_of(&found, rest) => return Ok(rest.to_owned()),
                Ok(_) => {}
                Err(error) if is_answer(&error) => {}
                // The zone above would be another one's.
                Err(source) => return Err(ZoneError::Lookup { name: record.to_owned(), source }),
            }
        }
        Err(ZoneError::NoZone(record.to_owned()))
    }

    /// Comes back when all servers of the zone that answer show the record. One that does not answer us will not answer
    /// the CA either.
    async fn wait_for(
        &self,
        resolver: &TokioResolver,
        zone: &str,
        record: &str,
        value: &str,
    ) -> Result<(), ZoneError> {
        let servers = self.servers(resolver, zone).await;
        let deadline = Instant::now() + LONGEST;
        loop {
            let mut answers = Vec::new();
            for server in &servers {
                answers.push(look(&reach::resolver(Some(*server))?, record, value).await);
            }
            if answers.iter().all(|seen| *seen == Seen::Nobody) {
                answers.push(look(resolver, record, value).await);
            }
            if answers.contains(&Seen::Yes) && !answers.contains(&Seen::No) {
                return Ok(());
            }
            if Instant::now() > deadline {
                let servers = servers.iter().map(SocketAddr::to_string).collect::<Vec<_>>().join(", ");
                return Err(ZoneError::Unseen { record: record.to_owned(), servers });
            }
            tokio::time::sleep(BETWEEN_LOOKS).await;
        }
    }

    /// The servers that the zone names, and the one that takes its updates.
    async fn servers(&self, resolver: &TokioResolver, zone: &str) -> Vec<SocketAddr> {
        let mut servers = BTreeSet::new();
        if let Provider::Rfc2136 { server, .. } = &self.dns.provider {
            servers.insert(server.address());
        }
        let names = resolver.ns_lookup(format!("{zone}.")).await;
        let names = names.iter().flat_map(|found| found.answers()).filter_map(|answer| {
            if let RData::NS(name) = &answer.data { Some(name.0.clone()) } else { None }
        });
        for name in names {
            let addresses = resolver.lookup_ip(name).await;
            let addresses = addresses.iter().flat_map(|found| found.iter());
            servers.extend(addresses.map(|address| SocketAddr::new(address, 53)));
        }
        servers.into_iter().collect()
    }
}

/// The client of a provider, and what must not be repeated of what it says: some put their key into the URL.
struct Updater {
    client: DnsUpdater,
    secrets: Vec<String>,
}

fn is_of(found: &Lookup, zone: &str) -> bool {
    found.answers().iter().any(|answer| answer.name.to_ascii().trim_end_matches('.') == zone)
}

/// A text without these secrets, as they are and as they stand in a URL.
fn without(text: &str, secrets: &[String]) -> String {
    let hidden = |text: String, secret: &String| {
        if secret.is_empty() {
            return text;
        }
        let encoded: String = utf8_percent_encode(secret, NON_ALPHANUMERIC).collect();
        text.replace(secret.as_str(), "***").replace(&encoded, "***")
    };
    secrets.iter().fold(text.to_owned(), hidden)
}

fn refused(record: &str, zone: &str, error: &dns_update::Error, secrets: &[String]) -> ZoneError {
    let said = without(&error.to_string(), secrets);
    ZoneError::Refused { record: record.to_owned(), zone: zone.to_owned(), said }
}

async fn secret(path: &Path) -> Result<String, ZoneError> {
    let read = tokio::fs::read_to_string(path).await;
    let text = read.map_err(|source| ZoneError::Secret { path: path.to_owned(), source })?;
    Ok(text.trim().to_owned())
}

/// What one server says of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seen {
    Yes,
    No,
    /// It does not answer.
    Nobody,
}

async fn look(resolver: &TokioResolver, record: &str, value: &str) -> Seen {
    match tokio::time::timeout(LOOK, resolver.txt_lookup(format!("{record}."))).await {
        Ok(Ok(found)) => {
            let shown = found.answers().iter().any(|answer| {
                matches!(&answer.data, RData::TXT(text) if text.txt_data.concat() == value.as_bytes())
            });
            if shown { Seen::Yes } else { Seen::No }
        }
        Ok(Err(error)) if is_answer(&error) => Seen::No,
        Ok(Err(_)) | Err(_) => Seen::Nobody,
    }
}

fn is_answer(error: &NetError) -> bool {
    error.is_no_records_found() || error.is_nx_domain()
}

impl Publish for Zone {
    fn publish<'a>(&'a self, name: &'a str, value: &'a str) -> Publishing<'a> {
        Box::pin(async move { self.publish_inner(name, value).await.map_err(PublishError::from) })
    }

    fn withdraw<'a>(&'a self, name: &'a str, value: &'a str) -> Publishing<'a> {
        Box::pin(async move { self.withdraw_inner(name, value).await.map_err(PublishError::from) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_providers_say_is_repeated_without_their_keys() {
        let said = "error sending request for url (https://dns.example/api?key=s3cr+t%2Fx&domain=a) s3cr+t/x";
        let secrets = ["s3cr+t/x".to_owned(), String::new()];
        let encoded = without("https://dns.example/api?key=s3cr%2Bt%2Fx", &secrets);
        assert_eq!(encoded, "https://dns.example/api?key=***");
        assert!(!without(said, &secrets).ends_with("s3cr+t/x"));
    }
}
