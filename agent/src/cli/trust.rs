//! `agent trust`.

use std::collections::HashSet;
use std::process::ExitCode;

use process::terminal;

use super::{Failure, Places, print};
use crate::identity::DataDir;
use crate::local_ca::{LocalCa, LocalCaError, LocalName};
use crate::trust::system::Stores;
use crate::trust::{Outcome, Store, StoreError, TrustAnchor};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Names that services get on this device, such as `koda.localhost`: browsers lead what is under `.localhost` here by
    /// themselves. Names that were given before stay.
    #[arg(value_name = "HOSTNAME")]
    hostnames: Vec<LocalName>,
    /// Print the CA's certificate, and install it nowhere.
    #[arg(long, conflicts_with = "remove")]
    print: bool,
    /// Take the CA's certificate out of the system and the browsers again.
    #[arg(long, conflicts_with = "hostnames")]
    remove: bool,
}

/// One store is not as it should be.
#[derive(Debug, thiserror::Error)]
#[error("not {done} {store}")]
struct StoreFailure {
    done: Outcome,
    store: String,
    source: StoreError,
}

pub(super) fn run(arguments: &Arguments, places: &Places) -> Result<ExitCode, Failure> {
    let data_dir = places.data_dir();
    if arguments.remove {
        return remove(&data_dir);
    }
    let ca = LocalCa::permitting(&data_dir, &arguments.hostnames)?;
    if arguments.print {
        print(ca.pem()?.trim_end())?;
        return Ok(ExitCode::SUCCESS);
    }
    install(&ca, &arguments.hostnames)
}

fn install(ca: &LocalCa, asked: &[LocalName]) -> Result<ExitCode, Failure> {
    let (root, stores) = (anchor(ca)?, Stores::find());
    print(format_args!("`{}` is good for {} and everything below", root.name, ca.permitted()))?;
    let done = change(&stores, Outcome::Installed, |store| store.install(&root))?;
    note(stores.left_out(&root, false));
    for name in asked.iter().filter(|name| !name.is_loopback()) {
        let name = name.hostname();
        note(Some(format!(
            "`{name}` has to lead to this device; names under `.localhost` do so by themselves"
        )));
    }
    if done == ExitCode::SUCCESS {
        note(Some("a browser that is open knows of it when it is started again".to_owned()));
    }
    Ok(done)
}

fn remove(data_dir: &DataDir) -> Result<ExitCode, Failure> {
    let ca = match LocalCa::open(data_dir) {
        Ok(ca) => ca,
        Err(LocalCaError::NotMade) => {
            print("there is no local CA here: nothing to remove")?;
            return Ok(ExitCode::SUCCESS);
        }
        Err(error) => return Err(error.into()),
    };
    let (root, stores) = (anchor(&ca)?, Stores::find());
    let done = change(&stores, Outcome::Removed, |store| store.remove(&root))?;
    note(stores.left_out(&root, true));
    let folder = data_dir.local_ca();
    note(Some(format!(
        "its key stays in `{}`: remove that too where nothing else trusts it",
        folder.display()
    )));
    Ok(done)
}

fn anchor(ca: &LocalCa) -> Result<TrustAnchor, Failure> {
    Ok(TrustAnchor { name: ca.name().to_owned(), pem: ca.pem()?, file: ca.file().to_owned() })
}

/// Every store is tried, whatever became of those before, and each hint is given once.
fn change(
    stores: &Stores,
    wanted: Outcome,
    one: impl Fn(&dyn Store) -> Result<Outcome, StoreError>,
) -> Result<ExitCode, Failure> {
    let (mut code, mut hints) = (ExitCode::SUCCESS, HashSet::new());
    for store in &stores.mine {
        match one(&**store) {
            Ok(outcome) => print(format_args!("{outcome} {store}"))?,
            Err(source) => {
                code = ExitCode::FAILURE;
                let hint = source.hint().filter(|hint| hints.insert(hint.clone()));
                let failure = StoreFailure { done: wanted, store: store.to_string(), source };
                terminal::stderr_line(terminal::report(&failure, hint.as_deref()));
            }
        }
    }
    Ok(code)
}

fn note(text: Option<String>) {
    if let Some(text) = text {
        terminal::stderr_line(format_args!("note: {text}"));
    }
}
