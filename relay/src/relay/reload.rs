//! Takes a changed configuration and changed certificates into use while everything runs. What is wrong is reported, and
//! what was in force stays in force.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use process::terminal;
use process::watch::{Watch, WatchError};

use crate::config::validated::Config;
use crate::config::{self, ConfigError};
use crate::edge::cert::{CertError, Certificates, FileCertificates};
use crate::ingress::Ingress;

#[derive(Debug)]
pub(super) struct Reload {
    watch: Watch,
    path: PathBuf,
    config: Config,
    certificates: Arc<Certificates>,
    ingress: Arc<Ingress>,
}

impl Reload {
    pub(super) fn new(
        path: PathBuf,
        config: Config,
        certificates: Arc<Certificates>,
        ingress: Arc<Ingress>,
    ) -> Result<Self, WatchError> {
        let watch = Watch::new(watched(&path, &config))?;
        Ok(Self { watch, path, config, certificates, ingress })
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
        let path = self.path.clone();
        // On a thread of its own: a disk that hangs must not hold up the sessions.
        let reading = tokio::task::spawn_blocking(move || {
            let config = config::load(&path)?;
            let files = FileCertificates::load(&config.certificates);
            Ok::<_, ConfigError>((config, files))
        });
        let read = match reading.await {
            Ok(read) => read,
            Err(error) => {
                tracing::error!(%error, "reading the changed file ended by a mistake in this program");
                return;
            }
        };
        let (config, files) = match read {
            Ok(read) => read,
            Err(error) => {
                tracing::error!(
                    error = terminal::chain(&error),
                    "the changed file is not used; the old one stays in force"
                );
                return;
            }
        };
        self.watch.replace(watched(&self.path, &config));
        self.use_certificates(files);
        self.ingress.trusted_proxies.store(Arc::new(config.edge.trusted_proxies.clone()));
        self.ingress.access_log.store(config.access_log, Ordering::Relaxed);
        self.ingress.registry.set_timeouts(config.timeouts);
        self.warn_of_what_needs_a_restart(&config);
        self.config = config;
        tracing::info!("configuration read again");
    }

    fn use_certificates(&self, read: Result<FileCertificates, Vec<CertError>>) {
        match read {
            Ok(files) => {
                self.certificates.replace(files);
                tracing::info!("certificates read again");
            }
            Err(errors) => {
                for error in errors {
                    tracing::error!(error = terminal::chain(&error), "the old certificates stay in force");
                }
            }
        }
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
            ("internal_ca.enabled", old.internal_ca != new.internal_ca),
            ("log.format", old.log_format != new.log_format),
        ];
        for (key, _) in changed.into_iter().filter(|(_, changed)| *changed) {
            tracing::warn!(key, "a change of this takes effect when the relay is started again");
        }
    }
}

fn watched(path: &std::path::Path, config: &Config) -> Vec<PathBuf> {
    let files = config.certificates.iter().flat_map(|files| [files.cert.clone(), files.key.clone()]);
    std::iter::once(path.to_owned()).chain(files).collect()
}
