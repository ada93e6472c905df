//! A certificate authority of the relay's own, for hostnames that have no other certificate: tests, the demo, a network
//! whose devices trust its root. The [root](ca::root) is good for the owner's names alone. Here is for which names it is
//! made and when that is made anew, and what it signed.

#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::sync::{Arc, Mutex};

use ca::error::CaError;
use ca::leaf::Leaf;
use ca::root::{Found, Root, Subject};
use ca::subtrees::Subtrees;
use protocol::hostname::{Hostname, HostnamePattern};
use rustls::sign::CertifiedKey;
use time::{Duration, OffsetDateTime};

use crate::lock::lock;

/// The root's file, in the relay's data folder.
pub(crate) const ROOT_FILE: &str = "ca.pem";

const SUBJECT: &str = "Adit internal CA";
/// After a failure nothing is signed for so long: a disk that is full is not asked again for each visitor.
const REST: Duration = Duration::seconds(5);

/// The CA and the leafs that it has made. There is one for each name that is granted or served, so their number, and that
/// of the names in the root, is bounded by what the owner of the relay allowed.
#[derive(Debug)]
pub(crate) struct InternalCa {
    root: Root,
    scope: Scope,
    state: Mutex<State>,
}

/// Which names the root permits.
#[derive(Debug)]
enum Scope {
    /// Those of `internal_ca.domains`.
    Domains(Subtrees),
    /// The relay's own, and all that were ever signed for.
    Growing(Hostname),
}

#[derive(Debug)]
struct State {
    /// By the root on the disk; nothing where that is one of an earlier version, which the first name replaces.
    permitted: Option<Subtrees>,
    leafs: HashMap<HostnamePattern, Leaf>,
    failed_at: Option<OffsetDateTime>,
}

impl InternalCa {
    /// The CA in this folder: `ca-key.pem` and, for everybody to trust, `ca.pem`. Made where it is missing. Without
    /// `domains` it signs for every name, and its root permits the relay's own `name` and those.
    pub(crate) fn open(
        folder: &Path,
        name: &Hostname,
        domains: &BTreeSet<Hostname>,
    ) -> Result<Self, CaError> {
        let (key_file, root_file) = (folder.join("ca-key.pem"), folder.join(ROOT_FILE));
        let (root, found) = Root::open(&key_file, &root_file, Subject::Always(SUBJECT))?;
        let domains = Subtrees::new(domains.iter().cloned());
        let scope = domains.map_or_else(|| Scope::Growing(name.clone()), Scope::Domains);
        let state = State { permitted: None, leafs: HashMap::new(), failed_at: None };
        let ca = Self { root, scope, state: Mutex::new(state) };
        let permitted = ca.begin(found)?;
        lock(&ca.state).permitted = permitted;
        Ok(ca)
    }

    /// What the root permits from the start, and writes one where there has to be another.
    fn begin(&self, found: Found) -> Result<Option<Subtrees>, CaError> {
        match (&self.scope, found) {
            (Scope::Growing(_), Found::Unconstrained) => Ok(None),
            (Scope::Growing(_), Found::Permitting(permitted)) => Ok(Some(permitted)),
            (Scope::Growing(name), Found::Nothing) => {
                self.make(name.clone().into(), &Found::Nothing).map(Some)
            }
            (Scope::Domains(domains), Found::Permitting(permitted)) if *domains == permitted => {
                Ok(Some(permitted))
            }
            (Scope::Domains(domains), found) => self.make(domains.clone(), &found).map(Some),
        }
    }

    /// Whether it signs for this name: for any, or for those in `internal_ca.domains`.
    pub(crate) fn signs_for(&self, name: &HostnamePattern) -> bool {
        match &self.scope {
            Scope::Domains(domains) => domains.permit(name),
            Scope::Growing(_) => true,
        }
    }

    /// Has the root permit all of these names, before a visitor comes for one. A failure is logged.
    pub(crate) fn permit(&self, names: &[HostnamePattern]) {
        if let Err(error) = self.grow(&mut lock(&self.state), names) {
            tracing::error!(
                error = process::terminal::chain(&error),
                "the internal CA's root cannot be renewed"
            );
        }
    }

    /// A certificate for a name that is granted or served; none where `internal_ca.domains` leaves it out. A failure is
    /// logged: the visitor sees an alert.
    pub(crate) fn certificate(&self, name: &HostnamePattern) -> Option<Arc<CertifiedKey>> {
        let now = OffsetDateTime::now_utc();
        let mut state = lock(&self.state);
        if let Some(leaf) = state.leafs.get(name).filter(|leaf| !leaf.is_due(now)) {
            return Some(leaf.certificate());
        }
        if !self.signs_for(name) || state.failed_at.is_some_and(|at| now - at < REST) {
            return None;
        }
        let signed =
            self.grow(&mut state, std::slice::from_ref(name)).and_then(|()| self.root.sign(name, now));
        match signed {
            Ok(leaf) => {
                let certificate = leaf.certificate();
                state.leafs.insert(name.clone(), leaf);
                Some(certificate)
            }
            Err(error) => {
                state.failed_at = Some(now);
                tracing::error!(%name, error = process::terminal::chain(&error), "no certificate");
                None
            }
        }
    }

    /// The root is on the disk before a name that it did not permit is signed for.
    fn grow(&self, state: &mut State, names: &[HostnamePattern]) -> Result<(), CaError> {
        let Scope::Growing(own) = &self.scope else { return Ok(()) };
        let (mut permitted, before) = match &state.permitted {
            Some(permitted) if names.iter().all(|name| permitted.permit(name)) => return Ok(()),
            Some(permitted) => (permitted.clone(), Found::Permitting(permitted.clone())),
            None => (own.clone().into(), Found::Unconstrained),
        };
        names.iter().for_each(|name| permitted.add(name.domain()));
        state.permitted = Some(self.make(permitted, &before)?);
        Ok(())
    }

    /// Writes a root, and says who has to hear of it.
    fn make(&self, permitted: Subtrees, before: &Found) -> Result<Subtrees, CaError> {
        self.root.write(&permitted)?;
        let file = self.root.file().display();
        match before {
            Found::Nothing => tracing::info!(%file, names = %permitted, "the internal CA's root is made"),
            Found::Unconstrained => tracing::warn!(
                %file, names = %permitted,
                "the internal CA's root is good for these names alone now: put it in place of the old one, which is good \
                 for every name, wherever that is installed"
            ),
            Found::Permitting(before) => tracing::warn!(
                %file, names = %permitted, before = %before,
                "the internal CA's root has changed: put it in place of the old one on devices that are to reach its new \
                 names; elsewhere the old one will do"
            ),
        }
        Ok(permitted)
    }
}
