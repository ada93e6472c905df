//! What this agent offers at the moment: a configuration in force and its origins, ready to be connected to.

use std::sync::Arc;

use protocol::control::Register;
use tokio::sync::watch;

use crate::config::Config;
use crate::origin::{Origins, PrepareError};

/// One configuration in force. Replaced as a whole; streams keep the one that they began with.
#[derive(Debug)]
pub struct Offer {
    revision: u64,
    config: Config,
    origins: Origins,
}

/// Follows what is offered.
pub type Offers = watch::Receiver<Arc<Offer>>;

impl Offer {
    /// The first offer of a process.
    ///
    /// # Errors
    ///
    /// Where an origin cannot be prepared.
    pub fn new(config: Config) -> Result<Self, PrepareError> {
        Self::with_revision(config, 1)
    }

    /// The offer that takes this one's place.
    ///
    /// # Errors
    ///
    /// Where an origin cannot be prepared.
    pub fn replaced_by(&self, config: Config) -> Result<Self, PrepareError> {
        Self::with_revision(config, self.revision + 1)
    }

    fn with_revision(config: Config, revision: u64) -> Result<Self, PrepareError> {
        let origins = Origins::prepare(&config)?;
        Ok(Self { revision, config, origins })
    }

    #[must_use]
    pub fn revision(&self) -> u64 {
        self.revision
    }

    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    #[must_use]
    pub fn origins(&self) -> &Origins {
        &self.origins
    }

    /// What the relay is told.
    #[must_use]
    pub fn register(&self) -> Register {
        self.config.register(self.revision)
    }

    /// What the relay is told when this agent stops: nothing is offered any longer.
    #[must_use]
    pub fn withdrawn(&self) -> Register {
        Register { revision: self.revision + 1, ..Register::default() }
    }
}
