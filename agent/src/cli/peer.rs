//! `agent peer`: whom this device knows, and whether it is them.

use std::process::ExitCode;

use clap::Subcommand;
use process::terminal;
use protocol::id::PeerName;
use protocol::key::PublicKey;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::run::session_of;
use super::{Failure, Places, print, print_json};
use crate::config;
use crate::identity::IdentityError;
use crate::private::operator::ReachError;
use crate::private::pins::{PinError, Pins};
use crate::private::words;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List the peers whose keys this device has seen.
    List {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Print twelve words that are the same at the other peer's device, unless somebody is between the two.
    ///
    /// Run it on both devices, each with the other's name, and compare over something that is not the relay. Exits 1 where
    /// the peer's key is not the one that was first seen; the words are those of the new key then.
    Verify {
        /// The peer, as the relay calls it: `home`.
        name: PeerName,
    },
    /// Believe the key that a peer's has changed to, after the words were compared.
    Accept {
        /// The peer, as the relay calls it: `home`.
        name: PeerName,
        /// The fingerprint that `agent peer verify` showed with the words: another key is not accepted.
        fingerprint: String,
    },
}

pub(super) async fn run(command: Command, places: &Places) -> Result<ExitCode, Failure> {
    match command {
        Command::List { json } => list(json, places),
        Command::Verify { name } => verify(&name, places).await,
        Command::Accept { name, fingerprint } => accept(&name, &fingerprint, places),
    }
}

fn pins(places: &Places) -> Pins {
    Pins::new(places.data_dir().peers())
}

fn list(json: bool, places: &Places) -> Result<ExitCode, Failure> {
    let all = pins(places).all()?;
    if json {
        let row = |(name, pin): (&PeerName, &crate::private::pins::Pin)| {
            json!({
                "name": name,
                "fingerprint": pin.key.fingerprint(),
                "changed_to": pin.changed_to.map(|key| key.fingerprint()),
            })
        };
        print_json(&all.iter().map(row).collect::<Vec<_>>())?;
        return Ok(ExitCode::SUCCESS);
    }
    if all.is_empty() {
        terminal::stderr_line("no keys of other peers have been seen here yet");
    }
    for (name, pin) in &all {
        match pin.changed_to {
            None => print(format_args!("{name}  {}", pin.key.fingerprint()))?,
            Some(key) => print(format_args!(
                "{name}  {}  and the relay says {} now: not believed",
                pin.key.fingerprint(),
                key.fingerprint()
            ))?,
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn verify(name: &PeerName, places: &Places) -> Result<ExitCode, Failure> {
    let identity = places.data_dir().load()?.ok_or(IdentityError::NotEnrolled)?;
    let me = identity.secret.public();
    let pin = match pins(places).find(name)? {
        Some(pin) => pin,
        None => {
            first_seen(name, places).await?;
            pins(places).find(name)?.ok_or_else(|| PinError::Unknown(name.clone()))?
        }
    };
    let show = |key: &PublicKey| -> Result<(), Failure> {
        print(words::of(&me, key))?;
        terminal::stderr_line(format_args!(
            "fingerprints: this device {}, `{name}` {}",
            me.fingerprint(),
            key.fingerprint()
        ));
        Ok(())
    };
    let Some(changed) = pin.changed_to else {
        show(&pin.key)?;
        let here = identity.enrolled.as_ref().map_or("THIS-DEVICE", |enrolled| enrolled.peer.as_str());
        terminal::stderr_line(format_args!("compare with `agent peer verify {here}` on `{name}`"));
        return Ok(ExitCode::SUCCESS);
    };
    terminal::stderr_line(format_args!("the key of `{name}` has changed; with the new one the words are"));
    show(&changed)?;
    terminal::stderr_line(format_args!(
        "where `{name}` shows the same, believe it with `agent peer accept {name} {}`",
        changed.fingerprint()
    ));
    Ok(ExitCode::FAILURE)
}

/// Asks the relay for a key that was never seen here.
async fn first_seen(name: &PeerName, places: &Places) -> Result<(), Failure> {
    let agent = session_of("verify", config::of_doors(Vec::new(), None), places)?;
    let stop = CancellationToken::new();
    let operator = agent.operator();
    let known = async {
        let told = operator.told().await?;
        operator.know(&told, name).map(drop)
    };
    let mut up = std::pin::pin!(agent.keep_up(&stop));
    let known: Result<(), ReachError> = tokio::select! {
        known = known => known,
        () = &mut up => return Ok(()),
    };
    stop.cancel();
    up.await;
    Ok(known?)
}

fn accept(name: &PeerName, fingerprint: &str, places: &Places) -> Result<ExitCode, Failure> {
    let pins = pins(places);
    let before = pins.accept(name, fingerprint)?;
    let now = pins.find(name)?.map_or(before, |pin| pin.key);
    print(format_args!(
        "`{name}` is known by {} from now on, and no longer by {}",
        now.fingerprint(),
        before.fingerprint()
    ))?;
    Ok(ExitCode::SUCCESS)
}

impl From<PinError> for Failure {
    fn from(error: PinError) -> Self {
        let hint = error.hint();
        Self::new(error, hint)
    }
}
