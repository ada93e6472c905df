//! `[acme]`: certificates that the relay orders by itself. [`acme::settings`] reads what both programs have in common;
//! here is who writes the records of DNS-01.

pub(crate) mod provider;

use std::path::{Path, PathBuf};

use acme::settings::{ChallengeKind, Settings};
use process::document::{Place, Spanned, Table};
use protocol::hostname::Hostname;

use self::provider::{Credentials, DnsServer, Provider, TsigAlgorithm};

/// What the relay can answer, in its order of preference: the port of TLS is open in any case.
const KNOWN: [ChallengeKind; 3] = [ChallengeKind::TlsAlpn, ChallengeKind::Http, ChallengeKind::Dns];

/// The whole section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Acme {
    pub(crate) settings: Settings,
    pub(crate) dns: Option<Dns>,
}

/// Who writes records, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Dns {
    pub(crate) provider: Provider,
    /// The zone of all hostnames; asked for where it is not said.
    pub(crate) zone: Option<Hostname>,
}

impl Acme {
    /// The files with secrets that the section names.
    pub(crate) fn secrets(&self) -> Vec<&Path> {
        let external = self.settings.external_account.as_ref().map(|account| account.key_file.as_path());
        external.into_iter().chain(self.dns.iter().flat_map(|dns| dns.provider.files())).collect()
    }

    /// The same with every relative path taken from a folder.
    pub(super) fn below(self, folder: &Path) -> Self {
        let dns = self.dns.map(|dns| Dns { provider: dns.provider.below(folder), ..dns });
        Self { settings: self.settings.below(folder), dns }
    }
}

/// `has_http` says whether anybody listens on port 80.
pub(super) fn read(table: Option<Table<'_>>, has_http: bool) -> Option<Acme> {
    let mut table = table?;
    let had_dns = table.contains("dns");
    let dns = table.table("dns").and_then(dns);
    let challenges = table.contains("challenges").then(|| table.place());
    let mut settings = Settings::read(&mut table, &KNOWN);
    if challenges.is_none() && !has_http {
        settings.challenges.retain(|kind| *kind != ChallengeKind::Http);
    }
    let wants_dns = settings.challenges.contains(&ChallengeKind::Dns);
    if let Some(place) = challenges.filter(|_| wants_dns && !had_dns) {
        without_dns(&table, place);
    }
    Some(Acme { settings, dns })
}

fn without_dns(table: &Table<'_>, place: Place) {
    let hint = "say in `[acme.dns]` who does";
    table.problems().add_with_hint(place, "`dns-01` needs somebody who writes records", hint);
}

fn dns(mut table: Table<'_>) -> Option<Dns> {
    let zone = table.parsed::<Hostname>("zone").map(Spanned::into_inner);
    let provider = table.required_string("provider")?;
    let provider = match (provider.value.as_str(), provider::credentials(&provider.value)) {
        ("rfc2136", _) => rfc2136(&mut table),
        (name, Some(Credentials::Token(make))) => {
            let file = table.required_string("token_file");
            file.map(|file| Provider::Token { name: name.to_owned(), make, file: file.value.into() })
        }
        (name, Some(Credentials::Pair(make))) => {
            let (key, secret) = (table.required_string("key_file"), table.required_string("secret_file"));
            let (key_file, secret_file) = (path(key?), path(secret?));
            Some(Provider::Pair { name: name.to_owned(), make, key_file, secret_file })
        }
        (_, None) => {
            let known = provider::names().collect::<Vec<_>>().join("`, `");
            let message = "this provider is not known";
            table.problems().add_with_hint(&provider, message, format!("known are `rfc2136`, `{known}`"));
            // What else stands there belongs to the provider.
            for key in ["token_file", "key_file", "secret_file", "server", "key_name", "key_algorithm"] {
                table.string(key);
            }
            None
        }
    };
    Some(Dns { provider: provider?, zone })
}

fn rfc2136(table: &mut Table<'_>) -> Option<Provider> {
    let server = table.required_parsed::<DnsServer>("server");
    let key_name = table.required_string("key_name");
    let key_file = table.required_string("key_file");
    let algorithm = table.parsed::<TsigAlgorithm>("key_algorithm").map(Spanned::into_inner);
    Some(Provider::Rfc2136 {
        server: server?.into_inner(),
        key_name: key_name?.into_inner(),
        key_file: path(key_file?),
        algorithm: algorithm.unwrap_or_default(),
    })
}

fn path(text: Spanned<String>) -> PathBuf {
    text.into_inner().into()
}

#[cfg(test)]
mod tests {
    use process::document::{self, Mistake};

    use super::*;

    fn parse(text: &str) -> Result<Option<Acme>, Vec<usize>> {
        let text = format!("[acme]\nagree_to_terms = true\n{text}");
        let read = document::read("relay.toml", &text, |root| Some(read(root.table("acme"), true)));
        read.map_err(|rejected| rejected.mistakes().iter().filter_map(Mistake::line).collect())
    }

    #[test]
    fn records_are_written_by_a_server_or_by_a_provider() {
        let text = "[acme.dns]\nprovider = \"rfc2136\"\nserver = \"tcp://192.0.2.53\"\nkey_name = \"adit\"\n\
                    key_file = \"tsig\"\nkey_algorithm = \"hmac-sha512\"\nzone = \"example.com\"";
        let acme = parse(text).unwrap().unwrap().below(Path::new("/etc/adit"));
        let Some(Dns { provider: Provider::Rfc2136 { key_file, server, .. }, zone: Some(_) }) = acme.dns
        else {
            panic!("{acme:?}")
        };
        assert_eq!(key_file, Path::new("/etc/adit/tsig"));
        assert_eq!(server.address(), "192.0.2.53:53".parse().unwrap());
        let text = "[acme.dns]\nprovider = \"cloudflare\"\ntoken_file = \"token\"";
        assert!(matches!(parse(text).unwrap().unwrap().dns.unwrap().provider, Provider::Token { .. }));
        let text = "[acme.dns]\nprovider = \"porkbun\"\nkey_file = \"key\"\nsecret_file = \"secret\"";
        assert!(matches!(parse(text).unwrap().unwrap().dns.unwrap().provider, Provider::Pair { .. }));
    }

    #[test]
    fn mistakes_are_on_their_lines() {
        assert_eq!(parse("challenges = [\"dns-01\"]"), Err(vec![1]));
        assert_eq!(parse("[acme.dns]\nprovider = \"nobody\"\ntoken_file = \"a\""), Err(vec![4]));
        assert_eq!(parse("[acme.dns]\nprovider = \"cloudflare\"\nkey_file = \"a\""), Err(vec![3, 5]));
        let text = "[acme.dns]\nprovider = \"rfc2136\"\nserver = \"ns\"\nkey_name = \"a\"\nkey_file = \"b\"\n\
                    key_algorithm = \"rot13\"";
        assert_eq!(parse(text), Err(vec![5, 8]));
    }
}
