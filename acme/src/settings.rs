//! `[acme]`: which CA, for whom, and how hostnames are shown to be ours. The same section in both programs' files.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use ipnet::IpNet;
use process::document::{Spanned, Table};

const LETS_ENCRYPT: &str = "https://acme-v02.api.letsencrypt.org/directory";
const LETS_ENCRYPT_STAGING: &str = "https://acme-staging-v02.api.letsencrypt.org/directory";

/// The whole section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Where the CA begins: the URL of its directory.
    pub directory: Directory,
    /// Where the CA writes to.
    pub email: Option<String>,
    /// The root that the CA's own certificate is verified with, in place of the system's.
    pub ca_file: Option<PathBuf>,
    /// What kind of certificate, where the CA has several.
    pub profile: Option<String>,
    pub external_account: Option<ExternalAccount>,
    /// The server that names are looked up at, in place of the system's.
    pub resolver: Option<SocketAddr>,
    /// Where hostnames may lead, beside where they should.
    pub addresses: Vec<IpNet>,
    /// The first is tried first; the next one after it has failed.
    pub challenges: Vec<ChallengeKind>,
}

/// An account with the CA's owner that the ACME account belongs to (RFC 8555, section 7.3.4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExternalAccount {
    pub key_id: String,
    /// Holds the key, in base64url as CAs hand it out.
    pub key_file: PathBuf,
}

/// A way to show that a hostname is ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChallengeKind {
    /// RFC 8737, on the port of TLS.
    TlsAlpn,
    /// RFC 8555, section 8.3, on port 80.
    Http,
    /// RFC 8555, section 8.4, in the zone of the hostname; the only one for wildcards.
    Dns,
}

impl ChallengeKind {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TlsAlpn => "tls-alpn-01",
            Self::Http => "http-01",
            Self::Dns => "dns-01",
        }
    }
}

impl fmt::Display for ChallengeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for ChallengeKind {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let all = [Self::TlsAlpn, Self::Http, Self::Dns];
        let found = all.into_iter().find(|kind| kind.as_str() == text);
        found.ok_or("expected `tls-alpn-01`, `http-01` or `dns-01`")
    }
}

/// The URL of a CA's directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directory(String);

impl Directory {
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for Directory {
    fn default() -> Self {
        Self(LETS_ENCRYPT.to_owned())
    }
}

impl fmt::Display for Directory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Directory {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "letsencrypt" => return Ok(Self::default()),
            "letsencrypt-staging" => return Ok(Self(LETS_ENCRYPT_STAGING.to_owned())),
            _ => {}
        }
        let url = text.parse::<http::Uri>().ok();
        let is_https = url.is_some_and(|url| url.scheme_str() == Some("https") && url.host().is_some());
        is_https
            .then(|| Self(text.to_owned()))
            .ok_or("expected `letsencrypt`, `letsencrypt-staging` or the https URL of a directory")
    }
}

/// A network, or one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Network(IpNet);

impl FromStr for Network {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let address = text.parse::<IpAddr>().map(IpNet::from);
        address
            .or_else(|_| text.parse())
            .map(Self)
            .map_err(|_| "not an address or a network such as `192.0.2.0/24`")
    }
}

/// An address with a port, 53 where there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Server(SocketAddr);

impl FromStr for Server {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let alone = text.parse::<IpAddr>().map(|address| SocketAddr::new(address, 53));
        alone
            .or_else(|_| text.parse())
            .map(Self)
            .map_err(|_| "not an address such as `192.0.2.53` or `192.0.2.53:5353`")
    }
}

impl Settings {
    /// Reads the section. `known` are the challenges that the program can answer, in its order of preference. Mistakes
    /// are reported with the table's own.
    pub fn read(table: &mut Table<'_>, known: &[ChallengeKind]) -> Self {
        agreement(table);
        let email = email(table);
        let directory = table.parsed::<Directory>("directory");
        let ca_file = table.string("ca_file");
        let profile = table.string("profile");
        let external_account = table.table("external_account").and_then(external_account);
        let resolver = table.parsed::<Server>("resolver");
        let addresses = table.parsed_list::<Network>("addresses");
        Self {
            directory: directory.map(Spanned::into_inner).unwrap_or_default(),
            email,
            ca_file: ca_file.map(|file| file.value.into()),
            profile: profile.map(Spanned::into_inner),
            external_account,
            resolver: resolver.map(|server| server.value.0),
            addresses: addresses.into_iter().flat_map(|all| all.value).map(|one| one.value.0).collect(),
            challenges: challenges(table, known),
        }
    }

    /// The same with every relative path taken from a folder.
    #[must_use]
    pub fn below(mut self, folder: &Path) -> Self {
        self.ca_file = self.ca_file.map(|file| folder.join(file));
        if let Some(account) = &mut self.external_account {
            account.key_file = folder.join(&account.key_file);
        }
        self
    }
}

fn agreement(table: &mut Table<'_>) {
    let agreed = table.bool("agree_to_terms");
    if agreed.as_ref().is_some_and(|agreed| agreed.value) {
        return;
    }
    let place = agreed.as_ref().map_or_else(|| table.place(), Spanned::place);
    let hint = "read the terms of your CA, then write `agree_to_terms = true`";
    let message = "a CA gives certificates only to those who agree to its terms";
    table.problems().add_with_hint(place, message, hint);
}

fn email(table: &mut Table<'_>) -> Option<String> {
    let email = table.string("email")?;
    let is_one = email.value.split_once('@').is_some_and(|(local, domain)| {
        !local.is_empty() && domain.contains('.') && !email.value.contains([' ', ',', ':', '?', '<', '>'])
    });
    if !is_one {
        table.problems().add(&email, "not an address such as `me@example.com`");
    }
    Some(email.into_inner())
}

fn external_account(mut table: Table<'_>) -> Option<ExternalAccount> {
    let key_id = table.required_string("key_id");
    let key_file = table.required_string("key_file");
    Some(ExternalAccount { key_id: key_id?.into_inner(), key_file: key_file?.value.into() })
}

fn challenges(table: &mut Table<'_>, known: &[ChallengeKind]) -> Vec<ChallengeKind> {
    let Some(named) = table.parsed_list::<ChallengeKind>("challenges") else {
        return known.iter().copied().filter(|kind| *kind != ChallengeKind::Dns).collect();
    };
    if named.value.is_empty() {
        table.problems().add(&named, "without a challenge there is no certificate");
    }
    for challenge in named.value.iter().filter(|challenge| !known.contains(&challenge.value)) {
        let known: Vec<_> = known.iter().map(|kind| format!("`{kind}`")).collect();
        table.problems().add(challenge, format!("this program answers {} alone", known.join(" and ")));
    }
    named.into_inner().into_iter().map(Spanned::into_inner).collect()
}

#[cfg(test)]
mod tests {
    use process::document::{self, Mistake};

    use super::*;

    const ALL: [ChallengeKind; 3] = [ChallengeKind::TlsAlpn, ChallengeKind::Http, ChallengeKind::Dns];

    fn read(text: &str) -> Result<Settings, Vec<usize>> {
        let read = document::read("relay.toml", text, |root| Some(Settings::read(root, &ALL)));
        read.map_err(|rejected| rejected.mistakes().iter().filter_map(Mistake::line).collect())
    }

    #[test]
    fn the_smallest_section_agrees() {
        let settings = read("agree_to_terms = true").unwrap();
        assert_eq!(settings.directory.as_str(), LETS_ENCRYPT);
        assert_eq!(settings.challenges, [ChallengeKind::TlsAlpn, ChallengeKind::Http]);
        assert_eq!(read("agree_to_terms = false"), Err(vec![1]));
        assert!(read("email = \"me@example.com\"").is_err());
    }

    #[test]
    fn everything_can_be_said() {
        let text = "agree_to_terms = true\nemail = \"me@example.com\"\ndirectory = \"letsencrypt-staging\"\n\
                    ca_file = \"root.pem\"\nprofile = \"shortlived\"\nresolver = \"192.0.2.53\"\n\
                    addresses = [\"192.0.2.1\", \"2001:db8::/32\"]\nchallenges = [\"dns-01\"]\n\
                    external_account = { key_id = \"a\", key_file = \"eab\" }";
        let settings = read(text).unwrap().below(Path::new("/etc/adit"));
        assert_eq!(settings.directory.as_str(), LETS_ENCRYPT_STAGING);
        assert_eq!(settings.resolver, Some("192.0.2.53:53".parse().unwrap()));
        assert_eq!(settings.ca_file.as_deref(), Some(Path::new("/etc/adit/root.pem")));
        assert_eq!(settings.external_account.unwrap().key_file, Path::new("/etc/adit/eab"));
        assert_eq!((settings.addresses.len(), settings.challenges), (2, vec![ChallengeKind::Dns]));
    }

    #[test]
    fn every_mistake_is_on_its_line() {
        let text = "agree_to_terms = true\nemail = \"me\"\ndirectory = \"http://ca.example\"\nresolver = \"dns\"\n\
                    challenges = [\"mail-01\"]\naddresses = [\"all\"]\nexternal_account = { key_id = \"a\" }\n";
        // A list of nothing but mistakes is empty as well.
        assert_eq!(read(text), Err(vec![2, 3, 4, 5, 5, 6, 7]));
        assert_eq!(read("agree_to_terms = true\nchallenges = []"), Err(vec![2]));
    }

    #[test]
    fn a_program_says_which_challenges_it_knows() {
        let text = "agree_to_terms = true\nchallenges = [\"http-01\"]";
        let read = document::read("agent.toml", text, |root| Some(Settings::read(root, &ALL[..1])));
        assert_eq!(read.unwrap_err().mistakes()[0].line(), Some(2));
    }
}
