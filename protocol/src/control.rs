//! What the two sides of a session tell each other, as JSON in [`crate::frame`]s.
//!
//! A field that one side does not know is ignored, one that is missing takes its default, and a frame of an unknown kind
//! is skipped; so versions next to each other work together.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};

use crate::frame::{Frame, FrameKind};
use crate::hostname::HostnamePattern;
use crate::hsts::Hsts;
use crate::id::{PeerName, ServiceName};
use crate::path::PathPattern;
use crate::service::ServicePattern;

/// Agent to relay: everything that this session offers. Replaces what was registered before.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Register {
    /// Counts up with every change, so that an answer can be told from an older one.
    pub revision: u64,
    /// The services that routes may name.
    pub services: Vec<Service>,
    /// The hostnames to serve.
    pub expose: Vec<Expose>,
    /// The services for other peers, whose bytes the relay cannot read.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub private: Vec<PrivateService>,
}

/// A service by name; never its address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    /// What routes call it.
    pub name: ServiceName,
    /// What the relay speaks with it.
    #[serde(default)]
    pub protocol: ServiceProtocol,
    /// Its origin takes each connection for one visitor's: a stream carries only the visitor, address and port, that
    /// it was opened for. Such streams say so in [`crate::stream::StreamHeader::alone`].
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub per_visitor: bool,
}

/// A service that other peers may reach, end to end encrypted.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PrivateService {
    /// What its peer calls it.
    pub name: ServiceName,
    /// What is carried to it.
    #[serde(default)]
    pub carries: Carries,
}

/// What is carried to a private service.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Carries {
    /// Connections.
    #[default]
    Tcp,
    /// Datagrams.
    Udp,
}

/// What an origin speaks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ServiceProtocol {
    /// HTTP/1.1.
    #[default]
    Http1,
    /// HTTP/2 without TLS (RFC 9113, section 3.3).
    H2c,
}

/// One hostname and what happens to its requests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expose {
    /// The hostname, or `*.example.com`.
    pub hostname: HostnamePattern,
    /// Which paths lead to which service; none where it is sealed, so that a relay which knows nothing of that refuses
    /// the hostname.
    pub routes: Vec<Route>,
    /// The relay forwards ciphertext, and sees neither paths nor fields.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sealed: Option<Sealed>,
    /// What is changed in every response.
    #[serde(default)]
    pub response_headers: HeaderEdit,
    /// What is changed in the responses of some paths.
    #[serde(default)]
    pub headers: Vec<HeaderRule>,
    /// Largest request body, in bytes; no limit where it is missing.
    #[serde(default)]
    pub max_body: Option<u64>,
    /// Networks (`192.0.2.0/24`) that visitors must come from; anywhere where it is empty.
    #[serde(default)]
    pub allow_from: Vec<String>,
    /// How long to wait for what.
    #[serde(default)]
    pub timeouts: Timeouts,
    /// What requests may upgrade to, as [`crate::upgrade`] has it; [`crate::upgrade::DEFAULT`] where it is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upgrades: Option<Vec<String>>,
    /// What browsers have to remember; nothing is said to them where it is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hsts: Option<Hsts>,
}

/// A hostname whose TLS does not end at the relay: what is asked for by SNI goes to one service as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sealed {
    /// Where all connections for the hostname go.
    pub service: ServiceName,
    /// Who ends TLS.
    pub end: TlsEnd,
}

/// Who ends the TLS of a sealed hostname.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum TlsEnd {
    /// The origin: it has the certificate.
    #[serde(rename = "passthrough")]
    Origin,
    /// The agent, with a certificate of its own.
    #[serde(rename = "agent")]
    Agent,
}

/// A path and the service behind it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// Which requests.
    pub path: PathPattern,
    /// Where they go.
    pub service: ServiceName,
}

/// Header fields to take away from and to set in a response; names and values as [`crate::field`] has them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HeaderEdit {
    /// Names of fields to remove.
    pub remove: Vec<String>,
    /// Fields to set, in place of what the origin sent.
    pub set: BTreeMap<String, String>,
}

/// A [`HeaderEdit`] for some paths.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HeaderRule {
    /// Which requests.
    pub paths: Vec<PathPattern>,
    /// What changes.
    #[serde(flatten)]
    pub edit: HeaderEdit,
}

/// How long a hostname's requests may stand still, in milliseconds; the relay's own values where one is missing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Timeouts {
    /// From the whole request to the first byte of the response.
    pub first_byte_ms: Option<u64>,
    /// Between two pieces of a body.
    pub idle_ms: Option<u64>,
    /// Between two pieces of an upgraded connection.
    pub upgrade_idle_ms: Option<u64>,
}

/// Relay to agent: what became of a [`Register`]. Sent again when grants change.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Registered {
    /// The revision that this answers.
    pub revision: u64,
    /// Every hostname of it.
    pub hostnames: Vec<HostnameState>,
}

/// What became of one hostname.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostnameState {
    /// Which.
    pub hostname: HostnamePattern,
    /// Why it is not served; it is where this is missing.
    #[serde(default)]
    pub refused: Option<String>,
}

/// Relay to agent: what became of an enrollment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "result", rename_all = "lowercase")]
pub enum EnrollAnswer {
    /// A person has to approve; another answer follows.
    Pending {
        /// What to give to `relay peer approve`.
        code: String,
        /// How long the request stays open, in seconds.
        expires_in_s: u64,
    },
    /// The device is a peer now.
    Accepted {
        /// Its name.
        peer: PeerName,
        /// The hostnames it may expose.
        hostnames: Vec<HostnamePattern>,
        /// The services it may reach, as far as this version knows their patterns.
        #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "known_patterns")]
        services: Vec<ServicePattern>,
    },
    /// It is not.
    Refused {
        /// Why, for a person.
        reason: String,
    },
}

/// Patterns are for people here: one of a later version must not keep a device from becoming a peer.
fn known_patterns<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<ServicePattern>, D::Error> {
    let texts = Vec::<String>::deserialize(deserializer)?;
    Ok(texts.iter().filter_map(|text| text.parse().ok()).collect())
}

/// A message that is a frame of its own.
pub trait Message: Serialize + for<'a> Deserialize<'a> {
    /// Its number on the wire.
    const KIND: FrameKind;

    /// The frame for the wire.
    ///
    /// # Errors
    ///
    /// Never for the messages of this module: all of them are plain JSON.
    fn to_frame(&self) -> Result<Frame, serde_json::Error> {
        serde_json::to_vec(self).map(|body| Frame::new(Self::KIND, body))
    }

    /// The message in a frame; none where the frame is of another kind.
    ///
    /// # Errors
    ///
    /// Where the frame is of this kind and its body is malformed.
    fn from_frame(frame: &Frame) -> Result<Option<Self>, serde_json::Error> {
        if frame.kind() == Some(Self::KIND) {
            serde_json::from_slice(&frame.body).map(Some)
        } else {
            Ok(None)
        }
    }
}

impl Message for Register {
    const KIND: FrameKind = FrameKind::Register;
}

impl Message for Registered {
    const KIND: FrameKind = FrameKind::Registered;
}

impl Message for EnrollAnswer {
    const KIND: FrameKind = FrameKind::EnrollAnswer;
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn register() -> Register {
        Register {
            revision: 3,
            services: vec![Service {
                name: "web".parse().unwrap(),
                protocol: ServiceProtocol::H2c,
                per_visitor: false,
            }],
            expose: vec![Expose {
                hostname: "koda.example.com".parse().unwrap(),
                routes: vec![Route { path: "/*".parse().unwrap(), service: "web".parse().unwrap() }],
                sealed: None,
                response_headers: HeaderEdit { remove: vec!["server".into()], set: BTreeMap::new() },
                headers: vec![],
                max_body: Some(7),
                allow_from: vec![],
                timeouts: Timeouts { idle_ms: Some(5), ..Timeouts::default() },
                upgrades: None,
                hsts: None,
            }],
            private: vec![],
        }
    }

    fn with_everything() -> Register {
        let mut message = register();
        message.services[0].per_visitor = true;
        message.expose[0].upgrades = Some(vec!["x-thing".into()]);
        message.expose[0].hsts = Some(Hsts { max_age_s: 9, include_subdomains: true, preload: false });
        message.expose[0].sealed = Some(Sealed { service: "web".parse().unwrap(), end: TlsEnd::Origin });
        message.private = vec![PrivateService { name: "dns".parse().unwrap(), carries: Carries::Udp }];
        message
    }

    #[test]
    fn golden_bytes() {
        let body = concat!(
            r#"{"revision":3,"services":[{"name":"web","protocol":"h2c"}],"expose":[{"hostname":"koda.example.com","#,
            r#""routes":[{"path":"/*","service":"web"}],"response_headers":{"remove":["server"],"set":{}},"headers":[],"#,
            r#""max_body":7,"allow_from":[],"timeouts":{"first_byte_ms":null,"idle_ms":5,"upgrade_idle_ms":null}}]}"#
        );
        let frame = register().to_frame().unwrap();
        assert_eq!((frame.number, std::str::from_utf8(&frame.body).unwrap()), (32, body));
        // What is not asked for is not said: an older relay is sent what it always was.
        let more = concat!(
            r#""upgrade_idle_ms":null},"upgrades":["x-thing"],"#,
            r#""hsts":{"max_age_s":9,"include_subdomains":true,"preload":false}}],"#,
            r#""private":[{"name":"dns","carries":"udp"}]}"#
        );
        let body = body.replace(r#""h2c"}"#, r#""h2c","per_visitor":true}"#);
        let body = body.replace(r#""upgrade_idle_ms":null}}]}"#, more);
        let sealed = r#"}],"sealed":{"service":"web","end":"passthrough"},"response"#;
        let body = body.replace(r#"}],"response"#, sealed);
        let frame = with_everything().to_frame().unwrap();
        assert_eq!(std::str::from_utf8(&frame.body).unwrap(), body);
        let pending = EnrollAnswer::Pending { code: "abc".into(), expires_in_s: 600 }.to_frame().unwrap();
        assert_eq!(pending.body, br#"{"result":"pending","code":"abc","expires_in_s":600}"#);
    }

    fn accepted(services: &[&str]) -> EnrollAnswer {
        EnrollAnswer::Accepted {
            peer: "home".parse().unwrap(),
            hostnames: vec!["a.example".parse().unwrap()],
            services: services.iter().map(|service| service.parse().unwrap()).collect(),
        }
    }

    #[test]
    fn golden_bytes_of_an_acceptance() {
        let bare = r#"{"result":"accepted","peer":"home","hostnames":["a.example"]}"#;
        let more = r#"{"result":"accepted","peer":"home","hostnames":["a.example"],"services":["home/web","tag:x/*"]}"#;
        for (answer, body) in [(accepted(&[]), bare), (accepted(&["home/web", "tag:x/*"]), more)] {
            let frame = answer.to_frame().unwrap();
            assert_eq!(std::str::from_utf8(&frame.body).unwrap(), body);
            assert_eq!(EnrollAnswer::from_frame(&frame).unwrap(), Some(answer));
        }
        let later = more.replace("tag:x/*", "later?x");
        let read = EnrollAnswer::from_frame(&Frame::new(FrameKind::EnrollAnswer, later.into())).unwrap();
        assert_eq!(read, Some(accepted(&["home/web"])));
    }

    #[test]
    fn what_is_unknown_is_ignored_and_what_is_missing_takes_its_default() {
        let body =
            br#"{"future":1,"services":[{"name":"a"}],"expose":[{"hostname":"a.example.com","routes":[],"colour":"red"}]}"#
                .to_vec();
        let read = Register::from_frame(&Frame::new(FrameKind::Register, body)).unwrap().unwrap();
        assert_eq!((read.revision, read.expose[0].max_body), (0, None));
        assert_eq!((&read.expose[0].upgrades, read.expose[0].hsts), (&None, None));
        assert_eq!(read.expose[0].sealed, None);
        assert!(!read.services[0].per_visitor && read.private.is_empty());
        let unknown = Frame { number: 999, body: b"?".to_vec() };
        assert_eq!(Register::from_frame(&unknown).unwrap(), None);
    }

    /// What a relay of the first version knew of a registration.
    #[derive(Debug, Deserialize)]
    struct First {
        services: Vec<FirstService>,
        expose: Vec<FirstExpose>,
    }

    #[derive(Debug, Deserialize)]
    struct FirstService {
        name: ServiceName,
        protocol: ServiceProtocol,
    }

    #[derive(Debug, Deserialize)]
    struct FirstExpose {
        hostname: HostnamePattern,
        timeouts: Timeouts,
    }

    #[test]
    fn an_older_relay_reads_all_that_it_knows() {
        let message = with_everything();
        let First { services, expose } = serde_json::from_slice(&message.to_frame().unwrap().body).unwrap();
        assert_eq!(
            (&services[0].name, services[0].protocol),
            (&message.services[0].name, ServiceProtocol::H2c)
        );
        assert_eq!(
            (&expose[0].hostname, expose[0].timeouts),
            (&message.expose[0].hostname, message.expose[0].timeouts)
        );
    }

    #[test]
    fn names_are_checked_on_the_way_in() {
        for body in [
            r#"{"services":[{"name":"../x"}]}"#,
            r#"{"expose":[{"hostname":"a b","routes":[]}]}"#,
            r#"{"expose":[{"hostname":"a.b.c","routes":[{"path":"/../*","service":"x"}]}]}"#,
        ] {
            assert!(Register::from_frame(&Frame::new(FrameKind::Register, body.into())).is_err(), "{body}");
        }
    }

    proptest! {
        #[test]
        fn corrupted_bytes_never_panic(at in 0usize..480, with: u8) {
            let mut frame = with_everything().to_frame().unwrap();
            let at = at % frame.body.len();
            frame.body[at] = with;
            let _ = Register::from_frame(&frame);
        }

        #[test]
        fn round_trip(
            revision: u64,
            max_body: Option<u64>,
            service in "[a-z][a-z0-9-]{0,20}",
            per_visitor: bool,
            upgrades in proptest::option::of(proptest::collection::vec("[a-z/.0-9]{0,9}", 0..3)),
            hsts: Option<(u64, bool, bool)>,
        ) {
            let mut message = register();
            message.services[0].per_visitor = per_visitor;
            message.expose[0].upgrades = upgrades;
            message.expose[0].hsts = hsts.map(|(max_age_s, include_subdomains, preload)| Hsts {
                max_age_s,
                include_subdomains,
                preload,
            });
            message.revision = revision;
            message.expose[0].max_body = max_body;
            message.services[0].name = service.parse().unwrap();
            prop_assert_eq!(Register::from_frame(&message.to_frame().unwrap()).unwrap(), Some(message));
        }
    }
}
