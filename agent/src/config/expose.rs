//! Reads the `[[expose]]` tables: hostnames, their routes and what their responses carry.

use std::collections::BTreeMap;
use std::time::Duration;

use process::document::{Problems, Spanned, Table};
use protocol::control::{Expose, HeaderEdit, HeaderRule, Route, Timeouts};
use protocol::field;
use protocol::hostname::HostnamePattern;
use protocol::hsts::Hsts;
use protocol::id::ServiceName;
use protocol::limits;
use protocol::path::PathPattern;

use super::hsts;
use super::read::Names;
use super::sealed::{self, Tls};
use super::validated::{FieldName, Network, Upgrade};

/// What only a relay can do that sees requests.
#[derive(Debug, Default)]
struct Opened {
    routes: Vec<Route>,
    response_headers: HeaderEdit,
    headers: Vec<HeaderRule>,
    max_body: Option<u64>,
    upgrades: Option<Vec<String>>,
    hsts: Option<Hsts>,
}

/// WebSockets are never cut sooner when idle.
const SHORTEST_UPGRADE_IDLE: Duration = Duration::from_secs(3600);

pub(super) fn read(tables: Vec<Table<'_>>, names: &Names<'_>, problems: &Problems) -> Vec<Expose> {
    let mut exposes = Vec::with_capacity(tables.len());
    let mut seen: Vec<Spanned<HostnamePattern>> = Vec::new();
    for (at, table) in tables.into_iter().enumerate() {
        if at == limits::EXPOSES {
            problems.add(table.place(), format!("an agent exposes at most {} hostnames", limits::EXPOSES));
        }
        exposes.extend(expose(table, names, &mut seen));
    }
    exposes
}

fn expose(
    mut table: Table<'_>,
    names: &Names<'_>,
    seen: &mut Vec<Spanned<HostnamePattern>>,
) -> Option<Expose> {
    let hostname = table.required_parsed::<HostnamePattern>("hostname");
    let allow_from = table.parsed_list::<Network>("allow_from").map(Spanned::into_inner).unwrap_or_default();
    let tls = sealed::tls(&mut table);
    let (opened, sealed) = match tls {
        Tls::Relay => (opened(&mut table, names), None),
        Tls::Sealed(end) => (Opened::default(), sealed::read(&mut table, end, hostname.as_ref(), names)),
        Tls::Mistaken => {
            sealed::pass_over(&mut table);
            (Opened::default(), None)
        }
    };
    let timeouts = table.table("timeouts").map(|table| timeouts(table, tls)).unwrap_or_default();
    let hostname = hostname?;
    unique(&hostname, seen, table.problems(), "hostname");
    Some(Expose {
        hostname: hostname.into_inner(),
        routes: opened.routes,
        sealed,
        response_headers: opened.response_headers,
        headers: opened.headers,
        max_body: opened.max_body,
        allow_from: allow_from.iter().map(|network| network.value.to_string()).collect(),
        timeouts,
        upgrades: opened.upgrades,
        hsts: opened.hsts,
    })
}

fn opened(table: &mut Table<'_>, names: &Names<'_>) -> Opened {
    sealed::refuse_service(table);
    let routes = routes(table, names);
    let response_headers =
        table.table("response_headers").map(|mut table| edit(&mut table)).unwrap_or_default();
    let headers = rules(table);
    let max_body = table.byte_size("max_body").map(Spanned::into_inner);
    let upgrades = upgrades(table);
    let hsts = hsts::read(table, &response_headers, &headers);
    Opened { routes, response_headers, headers, max_body, upgrades, hsts }
}

/// Reports a value that stood further up already.
fn unique<T: PartialEq + Clone + std::fmt::Display>(
    value: &Spanned<T>,
    seen: &mut Vec<Spanned<T>>,
    problems: &Problems,
    what: &str,
) {
    match seen.iter().find(|earlier| earlier.value == value.value) {
        Some(earlier) => {
            let message = format!("{what} `{}` is there twice", value.value);
            problems.add_with_hint(value, message, format!("first on line {}", problems.line(earlier)));
        }
        None => seen.push(value.clone()),
    }
}

fn routes(table: &mut Table<'_>, names: &Names<'_>) -> Vec<Route> {
    let problems = table.problems();
    let tables = table.tables("routes");
    if tables.is_empty() {
        let hint = "add `routes = [{ path = \"/*\", service = \"NAME\" }]`";
        problems.add_with_hint(table.place(), "a hostname needs at least one route", hint);
    }
    if tables.len() > limits::ROUTES {
        problems.add(table.place(), format!("a hostname has at most {} routes", limits::ROUTES));
    }
    let mut seen = Vec::new();
    let mut routes = Vec::with_capacity(tables.len());
    for mut table in tables {
        let path = table.required_parsed::<PathPattern>("path");
        let service = table.required_parsed::<ServiceName>("service");
        if let Some(path) = &path {
            unique(path, &mut seen, problems, "path");
        }
        if let Some(service) = &service {
            names.check_routable(service);
        }
        if let (Some(path), Some(service)) = (path, service) {
            routes.push(Route { path: path.into_inner(), service: service.into_inner() });
        }
    }
    routes
}

fn rules(table: &mut Table<'_>) -> Vec<HeaderRule> {
    let problems = table.problems();
    let tables = table.tables("headers");
    if tables.len() > limits::HEADER_RULES {
        problems.add(table.place(), format!("a hostname has at most {} header rules", limits::HEADER_RULES));
    }
    tables.into_iter().filter_map(rule).collect()
}

fn rule(mut table: Table<'_>) -> Option<HeaderRule> {
    let problems = table.problems();
    let paths = table.required("paths", Table::parsed_list::<PathPattern>);
    let written = table.contains("set") | table.contains("remove");
    let edit = edit(&mut table);
    if !written {
        problems.add(table.place(), "this rule changes nothing: add `set` or `remove`");
    }
    if let Some(paths) = paths.as_ref().filter(|paths| paths.value.is_empty()) {
        problems.add(paths, "this rule is for no path");
    }
    let paths = paths?.into_inner().into_iter().map(Spanned::into_inner).collect();
    Some(HeaderRule { paths, edit })
}

fn edit(table: &mut Table<'_>) -> HeaderEdit {
    let problems = table.problems();
    let remove = table.parsed_list::<FieldName>("remove").map(Spanned::into_inner).unwrap_or_default();
    let mut set = BTreeMap::new();
    for (name, value) in table.string_map("set").unwrap_or_default() {
        let checked = field::check_name(&name.value);
        if let Err(error) = &checked {
            problems.add(&name, error.to_string());
        }
        if let Err(error) = field::check_value(&name.value, &value.value) {
            problems.add(&value, error.to_string());
        }
        let Ok(lower) = checked else { continue };
        if set.insert(lower, value.into_inner()).is_some() {
            problems.add(&name, format!("`{}` is set twice", name.value));
        }
    }
    HeaderEdit { remove: remove.into_iter().map(|name| name.into_inner().0).collect(), set }
}

fn upgrades(table: &mut Table<'_>) -> Option<Vec<String>> {
    let problems = table.problems();
    let named = table.parsed_list::<Upgrade>("upgrades")?;
    if named.value.len() > limits::UPGRADES {
        problems.add(&named, format!("a hostname has at most {} of these", limits::UPGRADES));
    }
    let mut seen = Vec::new();
    for upgrade in &named.value {
        unique(upgrade, &mut seen, problems, "protocol");
    }
    Some(named.into_inner().into_iter().map(|upgrade| upgrade.into_inner().0).collect())
}

fn timeouts(mut table: Table<'_>, tls: Tls) -> Timeouts {
    let first_byte = table.duration("first_byte");
    let idle = table.duration("idle");
    let upgrade_idle = table.duration("upgrade_idle");
    if matches!(tls, Tls::Sealed(_)) {
        for timeout in [&first_byte, &upgrade_idle].into_iter().flatten() {
            let message = "the relay sees no requests of this hostname, whose TLS does not end there";
            table.problems().add_with_hint(
                timeout,
                message,
                "`idle` is what cuts a connection that stands still",
            );
        }
    }
    for timeout in [&first_byte, &idle].into_iter().flatten() {
        at_least(timeout, Duration::from_secs(1), "1s", table.problems());
    }
    if let Some(timeout) = &upgrade_idle {
        at_least(timeout, SHORTEST_UPGRADE_IDLE, "1h", table.problems());
    }
    let milliseconds = |timeout: Option<Spanned<Duration>>| {
        timeout.map(|timeout| u64::try_from(timeout.value.as_millis()).unwrap_or(u64::MAX))
    };
    Timeouts {
        first_byte_ms: milliseconds(first_byte),
        idle_ms: milliseconds(idle),
        upgrade_idle_ms: milliseconds(upgrade_idle),
    }
}

fn at_least(timeout: &Spanned<Duration>, least: Duration, shown: &str, problems: &Problems) {
    if timeout.value < least {
        problems.add(timeout, format!("must be at least `{shown}`"));
    }
}
