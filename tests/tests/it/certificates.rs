//! Certificates that the relay gets by itself (ACME), from a real authority that looks for the answers to its challenges
//! at the real relay. `.ci/run` installs Pebble and BIND.

mod account;
mod agent;
mod challenges;
mod dns;
mod failures;
mod interrupted;
mod issue;
mod renewal;

use std::fs;
use std::net::SocketAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;
use tests::acme::dns::ChallengeDns;
use tests::acme::leaf::Leaf;
use tests::acme::middle::{CHALLENGE, Middle};
use tests::acme::pebble::{Builder, Pebble, Validation};
use tests::bed::{Agent, Relay};
use tests::tape::Tape;
use tests::visitor::Visitor;
use tests::wait::eventually;

use crate::tls::expose;

/// The relay's own name, for which it wants a certificate whoever else is there.
const OWN: &str = "relay.example.com";
const HOST: &str = "a.example.com";

/// A relay that does not know of the authority yet, and all that stands around it.
struct Bed<D = ChallengeDns> {
    relay: Relay,
    dns: D,
    resolver: SocketAddr,
    pebble: Pebble,
    middle: Middle,
}

impl Bed {
    async fn new() -> Self {
        Self::with(Relay::without_ca(""), Pebble::builder(), &[]).await
    }

    async fn with(relay: Relay, authority: Builder, env: &[(&str, &str)]) -> Self {
        let dns = ChallengeDns::start();
        let resolver = dns.address();
        Self::around(relay, (dns, resolver), authority, env).await
    }
}

impl<D> Bed<D> {
    async fn around(relay: Relay, dns: (D, SocketAddr), authority: Builder, env: &[(&str, &str)]) -> Self {
        let (dns, resolver) = dns;
        let pebble = authority.start(&Validation::of(&relay, resolver), env);
        let middle = Middle::before(&pebble).await;
        Self { relay, dns, resolver, pebble, middle }
    }

    /// Gives the relay an `[acme]` section, with further keys; it reads it by itself.
    fn configure(&self, keys: &str) {
        self.rewrite(|text| text + &self.section(keys));
    }

    fn section(&self, keys: &str) -> String {
        let (directory, ca) = (self.middle.directory(), self.middle.ca_file());
        format!(
            "[acme]\nemail = \"me@example.com\"\nagree_to_terms = true\ndirectory = \"{directory}\"\n\
             ca_file = \"{}\"\nresolver = \"{}\"\n{keys}\n",
            ca.display(),
            self.resolver
        )
    }

    /// Changes the relay's file.
    fn rewrite(&self, change: impl FnOnce(String) -> String) {
        let file = self.relay.config_file();
        let text = fs::read_to_string(&file).expect("the configuration");
        fs::write(&file, change(text)).expect("the configuration can be written");
    }

    /// A peer that was granted these names, and serves them.
    fn serve(&self, tape: &Tape, names: &[&str]) -> Agent {
        Agent::running(&self.relay, names, &expose(tape, names))
    }

    /// Believes the authority, and nobody else.
    fn visitor(&self) -> Visitor {
        Visitor::new(self.relay.https, &self.pebble.root_file())
    }

    /// The kinds of challenges that the relay said it is ready for.
    fn challenges(&self) -> Vec<String> {
        let ready = self.middle.asked_of(CHALLENGE).into_iter().filter(|asked| asked.payload.is_object());
        let kinds = ready.filter_map(|asked| Some(asked.answer?.1["type"].as_str()?.to_owned()));
        kinds.collect()
    }

    /// How many accounts or orders the authority made, for whatever name.
    fn made(&self, path: &str) -> usize {
        self.middle.asked_of(path).iter().filter(|asked| asked.status() == 201).count()
    }
}

/// What `relay cert list` says of a name.
fn listed(relay: &Relay, name: &str) -> Option<Value> {
    let all = relay.ask(&["cert", "list", "--json"]);
    let all: Vec<Value> = serde_json::from_str(&all).unwrap_or_else(|error| panic!("{error}: {all}"));
    all.into_iter().find(|row| row["name"] == name)
}

/// The same, once the authority's certificate is in force.
async fn issued(relay: &Relay, name: &str) -> Value {
    let settled = |row: &Value| row["source"] == "acme" && row["state"] == "ok";
    eventually(&format!("a certificate for {name}"), async || listed(relay, name).filter(settled)).await
}

/// The same, once an attempt has failed; and why it did.
async fn failed(relay: &Relay, name: &str) -> (Value, String) {
    eventually(&format!("an error about {name}"), async || {
        let row = listed(relay, name)?;
        let error = row["error"].as_str()?.to_owned();
        Some((row, error))
    })
    .await
}

/// What a new visitor is shown.
async fn shown(visitor: &Visitor, hostname: &str) -> Leaf {
    Leaf::of(&visitor.connect(hostname, &["http/1.1"]).await.expect("TLS"))
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_secs()
}
