//! Reads what `[[expose]]` tables say of hostnames whose TLS does not end at the relay: `tls = "passthrough"`, where the
//! origin ends it, and `tls = "agent"`, where this agent does.

use std::str::FromStr;

use process::document::{Place, Spanned, Table};
use protocol::control::{Sealed, TlsEnd};
use protocol::hostname::HostnamePattern;
use protocol::id::ServiceName;

use super::read::Names;
use super::target::Target;

const NO_FIELDS: &str = "the relay forwards ciphertext and sees no header fields: let the origin set them";

/// Who ends the TLS of a hostname.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tls {
    Relay,
    Sealed(TlsEnd),
    /// What is written there is a mistake, and what it was meant to be decides about everything else.
    Mistaken,
}

/// Not one of the three.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected `relay`, `passthrough` or `agent`")]
pub(super) struct TlsError;

impl FromStr for Tls {
    type Err = TlsError;

    fn from_str(text: &str) -> Result<Self, TlsError> {
        match text {
            "relay" => Ok(Self::Relay),
            "passthrough" => Ok(Self::Sealed(TlsEnd::Origin)),
            "agent" => Ok(Self::Sealed(TlsEnd::Agent)),
            _ => Err(TlsError),
        }
    }
}

pub(super) fn tls(table: &mut Table<'_>) -> Tls {
    if !table.contains("tls") {
        return Tls::Relay;
    }
    table.parsed::<Tls>("tls").map_or(Tls::Mistaken, Spanned::into_inner)
}

/// Reads a hostname that is sealed.
pub(super) fn read(
    table: &mut Table<'_>,
    end: TlsEnd,
    hostname: Option<&Spanned<HostnamePattern>>,
    names: &Names<'_>,
) -> Option<Sealed> {
    let problems = table.problems();
    refuse_what_needs_requests(table);
    if let Some(wildcard) = hostname.filter(|name| end == TlsEnd::Agent && name.value.exact().is_none()) {
        let message = "this agent cannot get a certificate for a wildcard: TLS-ALPN-01 has none";
        problems.add_with_hint(wildcard, message, "name each hostname, or use `tls = \"passthrough\"`");
    }
    if end == TlsEnd::Agent && !names.has_acme {
        let message = "this agent orders the certificate itself, and there is no `[acme]` that says where";
        problems.add_with_hint(table.place(), message, "add `[acme]` with `agree_to_terms = true`");
    }
    let service = table.required_parsed::<ServiceName>("service")?;
    names.check(&service);
    let ends_no_tls = |target: &&Target| end == TlsEnd::Origin && !may_end_tls(target);
    if let Some(target) = names.target(&service.value).filter(ends_no_tls) {
        let message = format!("`{target}` would have to end TLS, which such an origin does not");
        let hint = "write the origin as `tcp://host:port` or `https://host:port`, or use `tls = \"agent\"`";
        problems.add_with_hint(&service, message, hint);
    }
    Some(Sealed { service: service.into_inner(), end })
}

fn may_end_tls(target: &Target) -> bool {
    match target {
        Target::Https(_) | Target::Tcp(_) | Target::Unix(_) => true,
        Target::Http(_) | Target::H2c(_) | Target::Udp(_) => false,
    }
}

/// Reports the `service` of a hostname that has routes.
pub(super) fn refuse_service(table: &mut Table<'_>) {
    let Some(service) = table.parsed::<ServiceName>("service") else { return };
    let message = "`service` is for hostnames whose TLS does not end at the relay";
    let hint = format!("write `routes = [{{ path = \"/*\", service = \"{service}\" }}]`");
    table.problems().add_with_hint(&service, message, hint);
}

/// Takes all that the other keys could have been meant for.
pub(super) fn pass_over(table: &mut Table<'_>) {
    for key in
        ["routes", "service", "response_headers", "headers", "max_body", "upgrades", "hsts", "timeouts"]
    {
        table.contains(key);
    }
}

/// Reads a value and says where it is.
type ReadPlace = fn(&mut Table<'_>) -> Option<Place>;

/// Reports each key for which somebody would have to see requests.
fn refuse_what_needs_requests(table: &mut Table<'_>) {
    let keys: [(&'static str, ReadPlace, &str); 6] = [
        (
            "routes",
            |table| first_of(table.tables("routes"), &["path", "service"]),
            "the relay forwards ciphertext and sees no paths: name one `service`",
        ),
        (
            "response_headers",
            |table| first_of(table.table("response_headers"), &["remove", "set"]),
            NO_FIELDS,
        ),
        ("headers", |table| first_of(table.tables("headers"), &["paths", "remove", "set"]), NO_FIELDS),
        (
            "max_body",
            |table| table.byte_size("max_body").map(|size| size.place()),
            "the relay forwards ciphertext and sees no bodies: let the origin limit them",
        ),
        (
            "upgrades",
            |table| table.parsed_list::<String>("upgrades").map(|list| list.place()),
            "the relay forwards ciphertext: any protocol passes, within TLS",
        ),
        ("hsts", hsts, "the relay forwards ciphertext: let the origin send `Strict-Transport-Security`"),
    ];
    for (key, place, hint) in keys {
        // Read before it is refused, so that nothing in it passes for an unknown key.
        let place = place(table).unwrap_or(table.place());
        if table.contains(key) {
            let message = format!("`{key}` is not for hostnames whose TLS does not end at the relay");
            table.problems().add_with_hint(place, message, hint);
        }
    }
}

fn hsts(table: &mut Table<'_>) -> Option<Place> {
    if table.holds_table("hsts") {
        return first_of(table.table("hsts"), &["max_age", "include_subdomains", "preload"]);
    }
    table.duration("hsts").map(|age| age.place())
}

/// Where the first of the tables is, each asked for all its keys.
fn first_of<'t>(tables: impl IntoIterator<Item = Table<'t>>, keys: &[&'static str]) -> Option<Place> {
    let places = tables.into_iter().map(|mut table| {
        for key in keys {
            table.contains(key);
        }
        table.place()
    });
    places.collect::<Vec<_>>().first().copied()
}
