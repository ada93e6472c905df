//! Takes a changed configuration and changed certificates into use while everything runs. What is wrong is reported, and
//! what was in force stays in force.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use process::terminal;
use process::watch::{Watch, WatchError};

use crate::certificates::Automatic;
use crate::config::validated::Config;
use crate::config::{self, ConfigError};
use crate::edge::cert::{CertError, Certificates, FileCertificates};
use crate::edge::visitor_certificates::Authorities;
use crate::ingress::Ingress;
use crate::ingress::access_log::output::{AccessLog, AccessLogError};

#[derive(Debug)]
pub(super) struct Reload {
    watch: Watch,
    path: PathBuf,
    config: Config,
    certificates: Arc<Certificates>,
    automatic: Arc<Automatic>,
    ingress: Arc<Ingress>,
}

impl Reload {
    pub(super) fn new(
        path: PathBuf,
        config: Config,
        (certificates, automatic): (Arc<Certificates>, Arc<Automatic>),
        ingress: Arc<Ingress>,
    ) -> Result<Self, WatchError> {
        let watch = Watch::new(watched(&path, &config))?;
        Ok(Self { watch, path, config, certificates, automatic, ingress })
    }

    pub(super) async fn run(mut self) {
        loop {
            self.watch.changed().await;
            let _no_systemd = sd_notify::notify(&[sd_notify::NotifyState::Reloading]);
            self.reload().await;
            let _no_systemd = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
        }
    }

    async fn reload(&mut self) {
        let (path, ingress) = (self.path.clone(), Arc::clone(&self.ingress));
        // On a thread of its own: a disk that hangs must not hold up the sessions.
        let reading = tokio::task::spawn_blocking(move || {
            let config = config::load(&path)?;
            let files = FileCertificates::load(&config.certificates);
            let authorities = Authorities::load(&config.visitor_certificates);
            let access_log = ingress.access_log.load().changed(&config.access_log);
            Ok::<_, ConfigError>((config, (files, authorities), access_log))
        });
        let read = match reading.await {
            Ok(read) => read,
            Err(error) => {
                tracing::error!(%error, "reading the changed file ended by a mistake in this program");
                return;
            }
        };
        let new = match read.map(|(config, (files, authorities), access_log)| {
            (config, New::of(files, authorities, access_log))
        }) {
            Ok((config, Ok(new))) => (config, new),
            Ok((config, Err(errors))) => {
                // Whatever is mended there is read again as well.
                self.watch.replace(watched(&self.path, &config));
                return refuse(&errors.join("; "));
            }
            Err(error) => return refuse(&terminal::chain(&error)),
        };
        self.take(new.0, new.1);
    }

    fn take(&mut self, config: Config, new: New) {
        self.watch.replace(watched(&self.path, &config));
        // In this order: no hostname is served for a moment without the rule that comes with its certificate.
        if let Err(error) = self.ingress.visitor_certificates.replace(new.authorities) {
            return refuse(&terminal::chain(&error));
        }
        self.certificates.replace(new.files);
        self.automatic.set(config.acme.as_ref());
        self.ingress.trusted_proxies.store(Arc::new(config.edge.trusted_proxies.clone()));
        self.ingress.proxy_protocol.store(config.edge.proxy_protocol, Ordering::Relaxed);
        self.ingress.access_log.store(Arc::new(new.access_log));
        self.ingress.registry.set_timeouts(config.timeouts);
        self.ingress.limits.store(Arc::new(config.limits));
        self.ingress.throttle.set_rate(config.limits.rate);
        self.warn_of_what_needs_a_restart(&config);
        self.config = config;
        tracing::info!("configuration read again");
    }

    fn warn_of_what_needs_a_restart(&self, new: &Config) {
        let old = &self.config;
        let changed = [
            ("name", old.name != new.name),
            ("data_dir", old.data_dir != new.data_dir),
            ("admin_socket", old.admin_socket != new.admin_socket),
            ("edge.http", old.edge.http != new.edge.http),
            ("edge.https", old.edge.https != new.edge.https),
            ("edge.public_https_port", old.edge.public_https_port != new.edge.public_https_port),
            ("edge.max_connections", old.edge.max_connections != new.edge.max_connections),
            ("edge.threads", old.edge.threads != new.edge.threads),
            ("edge.http3", old.edge.http3 != new.edge.http3),
            ("limits.connections_per_address", per_address(old) != per_address(new)),
            ("internal_ca.enabled", old.internal_ca.enabled != new.internal_ca.enabled),
            ("internal_ca.domains", old.internal_ca.domains != new.internal_ca.domains),
            ("metrics.listen", old.metrics != new.metrics),
            ("log.format", old.log_format != new.log_format),
        ];
        for (key, _) in changed.into_iter().filter(|(_, changed)| *changed) {
            tracing::warn!(key, "a change of this takes effect when the relay is started again");
        }
    }
}

/// What the configuration names, read whole.
#[derive(Debug)]
struct New {
    files: FileCertificates,
    authorities: Authorities,
    access_log: AccessLog,
}

impl New {
    /// All of it, or everything that is wrong with it.
    fn of(
        files: Result<FileCertificates, Vec<CertError>>,
        authorities: Result<Authorities, Vec<CertError>>,
        access_log: Result<AccessLog, AccessLogError>,
    ) -> Result<Self, Vec<String>> {
        match (files, authorities, access_log) {
            (Ok(files), Ok(authorities), Ok(access_log)) => Ok(Self { files, authorities, access_log }),
            (files, authorities, access_log) => {
                let certificates = [files.err(), authorities.err()].into_iter().flatten().flatten();
                let all = certificates.map(|error| terminal::chain(&error));
                Err(all.chain(access_log.err().map(|error| terminal::chain(&error))).collect())
            }
        }
    }
}

/// In the message: what is wrong may take several lines.
fn refuse(error: &str) {
    tracing::error!("the changed configuration is not used, the old one stays in force: {error}");
}

fn per_address(config: &Config) -> usize {
    config.limits.connections_per_address
}

fn watched(path: &std::path::Path, config: &Config) -> Vec<PathBuf> {
    let files = config.certificates.iter().flat_map(|files| [files.cert.clone(), files.key.clone()]);
    let authorities = config.visitor_certificates.iter().map(|rule| rule.ca_file.clone());
    std::iter::once(path.to_owned()).chain(files).chain(authorities).collect()
}
