//! `agent verify`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;

use http::Uri;

use super::{Failure, print};
use crate::authority::{Authority, AuthorityError};
use crate::verify::judge::Outcome;
use crate::verify::{self, Plan};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The site, such as `https://koda.example.com/`.
    url: Uri,
    /// Trust the certificates of this file in place of the system's.
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// Connect to this address in place of the URL's host.
    #[arg(long, value_name = "HOST:PORT")]
    connect_to: Option<Address<443>>,
    /// Look for the redirect from plain HTTP at this address.
    #[arg(long, value_name = "HOST:PORT")]
    http_connect_to: Option<Address<80>>,
    /// A path that answers JSON.
    #[arg(long, value_name = "PATH", default_value = "/api/control-plane/health")]
    api: String,
    /// The site has no such path.
    #[arg(long, conflicts_with = "api")]
    no_api: bool,
    /// A page where people sign in; may be repeated.
    #[arg(long, value_name = "PATH", default_values = ["/login", "/setup", "/forgot-password"])]
    login_path: Vec<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// An address with a port for when none is written.
#[derive(Debug, Clone)]
struct Address<const PORT: u16>(Authority);

impl<const PORT: u16> FromStr for Address<PORT> {
    type Err = AuthorityError;

    fn from_str(text: &str) -> Result<Self, AuthorityError> {
        Authority::parse(text, PORT).map(Self)
    }
}

/// The judgements cannot be written as JSON.
#[derive(Debug, thiserror::Error)]
#[error("the answer cannot be written as JSON")]
struct EncodeError(#[source] serde_json::Error);

pub(super) async fn run(arguments: Arguments) -> Result<ExitCode, Failure> {
    let plan = Plan {
        url: arguments.url,
        ca_file: arguments.ca_file,
        connect_to: arguments.connect_to.map(|address| address.0),
        http_connect_to: arguments.http_connect_to.map(|address| address.0),
        api: Some(arguments.api).filter(|_| !arguments.no_api),
        sign_in: arguments.login_path,
    };
    let judged = verify::verify(&plan).await.map_err(|error| Failure::new(error, None))?;
    if arguments.json {
        let text = serde_json::to_string_pretty(&judged);
        print(text.map_err(|error| Failure::new(EncodeError(error), None))?)?;
    } else {
        for judgement in &judged {
            print(judgement)?;
        }
    }
    let failed = judged.iter().any(|judgement| judgement.outcome == Outcome::Fail);
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
