//! `agent run`.

use std::process::ExitCode;

use process::random;
use process::shutdown::{self, Ended};

use super::{Failure, Places};
use crate::agent::Agent;
use crate::config::{self, Config};
use crate::identity::{DataDir, IdentityError};
use crate::offer::Offer;
use crate::session::Credentials;

const INSTANCE: &str = "run";

/// The operating system does not tell when to stop.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen for signals")]
pub(super) struct SignalError(#[source] pub(super) std::io::Error);

pub(super) async fn run(places: &Places) -> Result<ExitCode, Failure> {
    let file = places.config();
    let config = config::load(&file)?;
    let data_dir = places.data_dir();
    let credentials = credentials(&data_dir, &config, INSTANCE)?;
    let _lock = data_dir.lock(INSTANCE)?;
    let offer = Offer::new(config)?;
    let agent = Agent::new(credentials, offer, &data_dir)?;
    let socket = data_dir.socket();
    let ended = shutdown::run(async |stop| agent.run(file, &socket, &stop).await).await;
    match ended.map_err(|error| Failure::new(SignalError(error), None))? {
        Ended::Finished(Ok(())) => Ok(ExitCode::SUCCESS),
        Ended::Finished(Err(error)) => Err(error.into()),
        Ended::Forced => Ok(ExitCode::FAILURE),
    }
}

/// An agent for one command, beside whatever else runs on this device.
pub(super) fn session_of(command: &str, config: Config, places: &Places) -> Result<Agent, Failure> {
    let data_dir = places.data_dir();
    let instance = format!("{command}:{:016x}", u64::from_be_bytes(random::bytes()));
    let credentials = credentials(&data_dir, &config, &instance)?;
    Ok(Agent::new(credentials, Offer::new(config)?, &data_dir)?)
}

/// Who this device is, by what it enrolled as.
pub(super) fn credentials(
    data_dir: &DataDir,
    config: &Config,
    instance: &str,
) -> Result<Credentials, Failure> {
    let identity = data_dir.load()?;
    let identity = identity.ok_or(IdentityError::NotEnrolled)?;
    let enrolled = identity.enrolled_at(config.relay())?;
    Ok(Credentials {
        relay: enrolled.relay.clone(),
        relay_key: enrolled.relay_key,
        instance: instance.to_owned(),
        secret: identity.secret.clone(),
    })
}
