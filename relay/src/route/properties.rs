//! No spelling of a path leads where its plain form does not lead: random respellings of random paths, and random paths
//! against origins that read in their own ways.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::exposure::{Exposure, NoDecision};
use super::readings::is_plain;
use crate::config::validated::Timeouts;
use crate::inside::path;
use crate::policy;

/// Words of the routes of [`path::routes`], and others.
const WORDS: [&str; 12] =
    ["api", "runtime", "health", "secret", "login", "files", "a", "b", "x.y", "z..", "A", "{id}"];

/// A path with one reading.
fn plain() -> impl Strategy<Value = String> {
    (vec(select(&WORDS[..]), 0..5), any::<bool>()).prop_map(|(words, folder)| {
        let end = if folder && !words.is_empty() { "/" } else { "" };
        format!("/{}{end}", words.join("/"))
    })
}

/// A way to write something else that some origin reads as the same.
#[derive(Debug, Clone, Copy)]
enum Respelling {
    /// One byte as `%xx`, whatever it is.
    Encode,
    /// Every byte.
    EncodeAll,
    /// One more slash.
    Slash,
    Dot,
    /// A folder, and out of it again.
    DotDot,
    EncodedDotDot,
    Backslash,
    Parameters,
    /// One byte in two.
    Overlong,
    Nul,
}

const RESPELLINGS: [Respelling; 10] = [
    Respelling::Encode,
    Respelling::EncodeAll,
    Respelling::Slash,
    Respelling::Dot,
    Respelling::DotDot,
    Respelling::EncodedDotDot,
    Respelling::Backslash,
    Respelling::Parameters,
    Respelling::Overlong,
    Respelling::Nul,
];

fn encoded(byte: u8, upper: bool) -> String {
    if upper { format!("%{byte:02X}") } else { format!("%{byte:02x}") }
}

fn respell(path: &str, how: Respelling, at: Index, upper: bool) -> String {
    let slashes: Vec<usize> = path.match_indices('/').map(|(at, _)| at).collect();
    let slash = if slashes.is_empty() { 0 } else { slashes[at.index(slashes.len())] };
    let at_slash = |text: &str| format!("{}{text}{}", &path[..slash], &path[slash..]);
    match how {
        // The first slash stays: without it a request line has no path.
        Respelling::Encode if path.len() > 1 => {
            let at = 1 + at.index(path.len() - 1);
            format!("{}{}{}", &path[..at], encoded(path.as_bytes()[at], upper), &path[at + 1..])
        }
        Respelling::EncodeAll => {
            format!("/{}", path.bytes().skip(1).map(|byte| encoded(byte, upper)).collect::<String>())
        }
        Respelling::Slash => at_slash("/"),
        Respelling::Dot => at_slash("/."),
        Respelling::DotDot => at_slash("/q/.."),
        Respelling::EncodedDotDot => at_slash(if upper { "/q/%2E%2e" } else { "/q/.%2e" }),
        Respelling::Backslash if slash > 0 => format!("{}\\{}", &path[..slash], &path[slash + 1..]),
        Respelling::Parameters if slash > 0 => at_slash(";p=1"),
        Respelling::Overlong if path.len() > 1 => {
            let at = 1 + at.index(path.len() - 1);
            let byte = path.as_bytes()[at];
            let both = [encoded(0xc0 | byte >> 6, upper), encoded(0x80 | byte & 0x3f, upper)].concat();
            format!("{}{both}{}", &path[..at], &path[at + 1..])
        }
        Respelling::Nul => format!("{path}{}", if upper { "%00.css" } else { "%2500" }),
        Respelling::Encode | Respelling::Backslash | Respelling::Parameters | Respelling::Overlong => {
            path.to_owned()
        }
    }
}

/// Several respellings, one upon the other: so there are double encodings, too. Perhaps with a host in front, which may be
/// encoded as well.
fn respelled() -> impl Strategy<Value = (String, String)> {
    let steps = vec((select(&RESPELLINGS[..]), any::<Index>(), any::<bool>()), 1..5);
    let last = vec((select(&RESPELLINGS[..2]), any::<Index>(), any::<bool>()), 0..2);
    (plain(), steps, any::<bool>(), last).prop_map(|(plain, steps, authority, last)| {
        let respell = |path: String, (how, at, upper)| respell(&path, how, at, upper);
        let spelled = steps.into_iter().fold(plain.clone(), respell);
        let host = if authority { "//a.example.com" } else { "" };
        let spelled = last.into_iter().fold(format!("{host}{spelled}"), respell);
        (plain, spelled)
    })
}

/// Pieces that paths are disputed for, in any order.
fn disputed() -> impl Strategy<Value = String> {
    const PIECES: [&str; 26] = [
        "/", "/", "/", ".", "..", "%2f", "%2F", "%5c", "\\", ";", "%3b", "%2e", "%252e", "%252f", "%25", "%",
        "%c3%a9", "%c0%af", "%c0%ae", "\u{e9}", "%zz", "api", "runtime", "login", "files", "a",
    ];
    vec(select(&PIECES[..]), 0..12).prop_map(|pieces| format!("/{}", pieces.concat()))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn a_respelled_path_leads_where_its_plain_form_leads_or_nowhere((plain, spelled) in respelled()) {
        prop_assert!(is_plain(plain.as_bytes()), "{}", plain);
        let routes = path::routes().unwrap();
        let place = routes.place(&plain);
        prop_assert!(place.is_some(), "{}", plain);
        let other = routes.place(&spelled);
        prop_assert!(other.is_none() || other == place, "{} is {}: {:?}, {:?}", spelled, plain, other, place);
    }

    #[test]
    fn a_path_that_is_accepted_leads_where_every_origin_reads_it_to_lead(path in disputed()) {
        path::check(path.as_bytes());
    }

    #[test]
    fn the_same_of_any_bytes(path in "/[\\x21-\\x7e]{0,40}") {
        path::check(path.as_bytes());
    }
}

/// So that the properties above are not empty: among the respellings are ones that pass, and ones that are refused.
#[test]
fn respellings_pass_and_are_refused() {
    let routes = path::routes().unwrap();
    let passes = ["/%61pi/runtime/x", "/a/x%2Fy", "/a//x", "/api/runtime/a;v=1", "/x/./y", "/%6c%6Fgin"];
    assert!(passes.iter().all(|path| routes.place(path).is_some()));
    let refused =
        ["/api/%72untime/..%2fhealth", "//login", "/login;x", "/a/./b/x", "/a%2fx", "/login%00", "/a\\b\\c"];
    for path in refused {
        assert_eq!(routes.place(path), None, "{path}");
    }
}

/// Service, header rules and the policy's permit come out of one decision.
#[test]
fn routing_header_rules_and_policy_hang_on_one_decision() {
    let expose = serde_json::json!({
        "hostname": "a.example.com",
        "routes": [{ "path": "/*", "service": "web" }, { "path": "/in/*", "service": "inner" }],
        "headers": [{ "paths": ["/in/*"], "set": { "X-In": "1" } }],
        "allow_from": ["192.0.2.0/24"],
    });
    let services = serde_json::json!([{ "name": "web" }, { "name": "inner" }]);
    let services: Vec<_> = serde_json::from_value(services).unwrap();
    let exposure =
        Exposure::new(&serde_json::from_value(expose).unwrap(), &services, Timeouts::default()).unwrap();
    let visitor = "192.0.2.7".parse().unwrap();
    for (path, service, rule) in [("/%69n/x", "inner", true), ("/%6fut/x", "web", false)] {
        let decision = exposure.decide(path).unwrap();
        let mut fields = http::HeaderMap::new();
        exposure.edit_response(decision, &mut fields);
        let permit = policy::admit_visitor(&exposure, decision, visitor).unwrap();
        assert_eq!((permit.service().as_str(), fields.contains_key("x-in")), (service, rule), "{path}");
        assert_eq!(exposure.route(decision).1.service.as_str(), service);
    }
    assert_eq!(exposure.decide("/%69n%2fx"), Err(NoDecision::Ambiguous));
}
