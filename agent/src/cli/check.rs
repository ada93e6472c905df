//! `agent check`.

use std::process::ExitCode;

use acme::ca::check_roots;

use super::{Failure, Places, print};
use crate::config;
use crate::origin::Origins;

pub(super) fn run(places: &Places) -> Result<ExitCode, Failure> {
    let file = places.config();
    let config = config::load(&file)?;
    let (services, hostnames) = (config.services().len(), config.hostnames().len());
    // Certificates of the system are looked for too.
    Origins::prepare(&config)?;
    if let Some(file) = config.acme().and_then(|acme| acme.ca_file.as_deref()) {
        check_roots(file).map_err(|error| Failure::new(error, None))?;
    }
    let counted =
        |count: usize, one: &str| if count == 1 { format!("1 {one}") } else { format!("{count} {one}s") };
    let mut summary = format!("{}, {}", counted(services, "service"), counted(hostnames, "hostname"));
    if !config.private().is_empty() {
        summary += &format!(", {}", counted(config.private().len(), "private service"));
    }
    if !config.connects().is_empty() || config.socks5().is_some() {
        let doors = config.connects().len() + usize::from(config.socks5().is_some());
        summary += &format!(", {}", counted(doors, "door"));
    }
    print(format_args!("{} is right: {summary}", file.display()))?;
    Ok(ExitCode::SUCCESS)
}
