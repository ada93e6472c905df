//! Reads `agent.toml`: the relay, the services and the private ones. Pure but for the certificate files it names, which
//! come through an argument. Every mistake is reported, not the first alone.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

use acme::settings::{ChallengeKind, Settings};
use process::document::{self, Place, Problems, Rejected, Spanned, Table};
use protocol::control::Message as _;
use protocol::id::ServiceName;
use protocol::limits;
use rustls::RootCertStore;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

use super::target::Target;
use super::validated::{Config, OriginTrust, ProxyProtocol, ServiceConfig};
use super::{expose, private};
use crate::authority::RelayAddress;

/// Reads a file that the configuration names.
pub(crate) type ReadFile<'f> = &'f dyn Fn(&Path) -> io::Result<Vec<u8>>;

/// The configuration in `text`, the contents of the file shown as `name`.
pub(crate) fn read(name: &str, text: &str, files: ReadFile<'_>) -> Result<Config, Rejected> {
    document::read(name, text, |root| Some(decode(root, files)))
}

/// Names that a route may use, also where the service itself has a mistake: it is reported once.
pub(super) struct Names<'d> {
    declared: Vec<String>,
    services: &'d BTreeMap<ServiceName, ServiceConfig>,
    /// Whether the file says how certificates are ordered.
    pub(super) has_acme: bool,
    problems: &'d Problems,
}

impl Names<'_> {
    /// Reports a service that the file does not declare.
    pub(super) fn check(&self, service: &Spanned<ServiceName>) {
        let name = service.value.as_str();
        if self.declared.iter().any(|declared| declared == name) {
            return;
        }
        let message = format!("there is no service `{name}`");
        let hint = match document::nearest(name, self.declared.iter().map(String::as_str)) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("add a table `[service.{name}]` with its `origin`"),
        };
        self.problems.add_with_hint(service, message, hint);
    }

    /// The same for one that a route leads to.
    pub(super) fn check_routable(&self, service: &Spanned<ServiceName>) {
        self.check(service);
        if let Some(Err(error)) = self.target(&service.value).map(Target::check_routable) {
            self.problems.add_with_hint(service, error.to_string(), error.hint());
        }
    }

    /// Where it is, unless the service itself has a mistake.
    pub(super) fn target(&self, service: &ServiceName) -> Option<&Target> {
        self.services.get(service).map(ServiceConfig::target)
    }
}

fn decode(root: &mut Table<'_>, files: ReadFile<'_>) -> Config {
    let problems = root.problems();
    let relay = root.parsed::<RelayAddress>("relay").map(Spanned::into_inner);
    let tables = root.named_tables("service");
    let declared = tables.iter().map(|(name, _)| name.value.clone()).collect();
    let services = tables.into_iter().filter_map(|(name, table)| service(&name, table, files)).collect();
    let has_acme = root.contains("acme");
    let names = Names { declared, services: &services, has_acme, problems };
    let expose = expose::read(root.tables("expose"), &names, problems);
    let private = private::services(root.tables("private"), &names);
    let connects = private::connects(root.tables("connect"), problems);
    let socks5 = private::socks5(root.table("socks5"));
    let acme = root.table("acme").map(|mut table| Settings::read(&mut table, &[ChallengeKind::TlsAlpn]));
    let config = Config { relay, services, expose, private, connects, socks5, acme };
    check_size(&config, problems);
    config
}

fn service(
    name: &Spanned<String>,
    mut table: Table<'_>,
    files: ReadFile<'_>,
) -> Option<(ServiceName, ServiceConfig)> {
    let problems = table.problems();
    let parsed = name.value.parse::<ServiceName>();
    if let Err(error) = &parsed {
        problems.add(name, error.to_string());
    }
    let target = table.required_parsed::<Target>("origin");
    let ca_file = table.string("tls_ca_file");
    let any = table.bool("dangerous_accept_any_certificate");
    let proxy_protocol = table.parsed::<ProxyProtocol>("proxy_protocol").map(Spanned::into_inner);
    let target = target?;
    if !target.value.is_tls() {
        let misplaced = ca_file.as_ref().map(Place::from).or(any.as_ref().map(Place::from));
        if let Some(place) = misplaced {
            problems.add(place, "only an `https://` origin has a certificate");
        }
    }
    let trust = match (ca_file, any.filter(|any| any.value)) {
        (Some(_), Some(any)) => {
            problems.add(&any, "`tls_ca_file` and `dangerous_accept_any_certificate` exclude each other");
            return None;
        }
        (Some(file), None) => OriginTrust::Roots(Arc::new(roots(&file, files, problems)?)),
        (None, Some(_)) => OriginTrust::DangerousAnyCertificate,
        (None, None) => OriginTrust::Platform,
    };
    Some((parsed.ok()?, ServiceConfig { target: target.into_inner(), trust, proxy_protocol }))
}

fn roots(file: &Spanned<String>, files: ReadFile<'_>, problems: &Problems) -> Option<RootCertStore> {
    let bytes = match files(Path::new(&file.value)) {
        Ok(bytes) => bytes,
        Err(error) => {
            problems.add(file, format!("cannot read this file: {error}"));
            return None;
        }
    };
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    let mut store = RootCertStore::empty();
    let added = store.add_parsable_certificates(found.unwrap_or_default()).0;
    if added == 0 {
        problems.add(file, "this file holds no certificates in PEM format");
        return None;
    }
    Some(store)
}

/// What is registered has to fit into one control frame.
fn check_size(config: &Config, problems: &Problems) {
    let size = config.register(0).to_frame().map_or(usize::MAX, |frame| frame.body.len());
    // Room for the revision's digits.
    if size > limits::CONTROL_BODY - 32 {
        let most = limits::CONTROL_BODY / 1024;
        problems.add(Place::File, format!("all hostnames, routes and headers together are over {most} KiB"));
    }
}

/// Services of `agent expose`, which have no table in any file.
pub(super) fn services_of(
    targets: BTreeMap<ServiceName, (Target, OriginTrust)>,
) -> BTreeMap<ServiceName, ServiceConfig> {
    let service = |(name, (target, trust))| (name, ServiceConfig { target, trust, proxy_protocol: None });
    targets.into_iter().map(service).collect()
}
