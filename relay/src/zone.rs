//! The zone of a hostname: writes the records of DNS-01 there, and waits until its own servers show them.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use acme::publish::{Publish, PublishError, Publishing};
use acme::reach::{self, ReachError};
use data_encoding::BASE64;
use dns_update::{DnsRecord, DnsRecordType, DnsUpdater};
use hickory_resolver::TokioResolver;
use hickory_resolver::net::NetError;
use hickory_resolver::proto::rr::{RData, RecordType};
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
    #[error("the client of the DNS provider cannot be made")]
    Client(#[source] dns_update::Error),
    #[error("no zone was found that `{0}` is in: name it in `acme.dns.zone`")]
    NoZone(String),
    #[error("`{record}` in the zone `{zone}` was not changed")]
    Refused { record: String, zone: String, source: dns_update::Error },
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
        let updater = self.updater().await?;
        let added = updater.add_to_rrset(name, DnsRecordType::TXT, TTL, record, zone.as_str()).await;
        added.map_err(|source| refused(name, &zone, source))?;
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
        let updater = self.updater().await?;
        let removed = updater.remove_from_rrset(name, DnsRecordType::TXT, record, zone.as_str()).await;
        removed.map_err(|source| refused(name, &zone, source))
    }

    async fn updater(&self) -> Result<DnsUpdater, ZoneError> {
        let made = match &self.dns.provider {
            Provider::Rfc2136 { server, key_name, key_file, algorithm } => {
                let text = secret(key_file).await?;
                let key = BASE64.decode(text.as_bytes()).map_err(|_| ZoneError::Key(key_file.clone()))?;
                DnsUpdater::new_rfc2136_tsig(server.to_string(), key_name, key, (*algorithm).into())
            }
            Provider::Token { make, file, .. } => make(&secret(file).await?),
            Provider::Pair { make, key_file, secret_file, .. } => {
                make(&secret(key_file).await?, &secret(secret_file).await?)
            }
        };
        made.map_err(ZoneError::Client)
    }

    /// The nearest name above a record that has a zone of its own.
    async fn zone_of(&self, resolver: &TokioResolver, record: &str) -> Result<String, ZoneError> {
        if let Some(zone) = &self.dns.zone {
            return Ok(zone.to_string());
        }
        let mut rest = record;
        while let Some((_, above)) = rest.split_once('.') {
            rest = above;
            let found = resolver.lookup(format!("{rest}."), RecordType::SOA).await;
            let is_zone = found.is_ok_and(|found| {
                found.answers().iter().any(|answer| answer.name.to_ascii().trim_end_matches('.') == rest)
            });
            if is_zone {
                return Ok(rest.to_owned());
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
        let mut servers = Vec::new();
        if let Provider::Rfc2136 { server, .. } = &self.dns.provider {
            servers.push(server.address());
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
        servers.dedup();
        servers
    }
}

fn refused(record: &str, zone: &str, source: dns_update::Error) -> ZoneError {
    ZoneError::Refused { record: record.to_owned(), zone: zone.to_owned(), source }
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
            let shown = found.answers().iter().any(|answer| match &answer.data {
                RData::TXT(text) => text.txt_data.concat() == value.as_bytes(),
                _ => false,
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
