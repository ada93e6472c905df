//! Answers the commands that talk to the running relay over its socket.

pub(crate) mod explain;

use std::net::SocketAddr;
use std::sync::Arc;

use acme::keeper::State;
use process::document::nearest;
use protocol::hostname::{Hostname, HostnamePattern};
use protocol::id::PeerName;
use serde::{Deserialize, Serialize};

use crate::certificates::{Automatic, CertRow};
use crate::enrollment::{Enrollment, now};
use crate::metrics::{Metrics, Standing};
use crate::route::exposure::Target;
use crate::store::{Grants, NewPeer, Peer, Role, StoreError, Token, TokenState};
use crate::tunnel::session::Session;

/// What a command asks.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Request {
    Status,
    TokenCreate { grant: NewPeer, lifetime_s: u64 },
    TokenList,
    TokenRevoke { id: i64 },
    PeerList,
    PeerApprove { code: String, grant: NewPeer },
    PeerRevoke { name: PeerName },
    PeerGrant { name: PeerName, grants: Grants },
    PeerUngrant { name: PeerName, grants: Grants },
    RouteList,
    RouteExplain { url: String },
    AuditList { limit: u32 },
    Metrics,
    CertList,
    CertRenew { name: HostnamePattern },
}

/// What it gets.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Answer {
    Status(Status),
    Token { id: i64, token: String, expires_at: i64 },
    Tokens(Vec<TokenRow>),
    Peers { peers: Vec<PeerRow>, pending: Vec<PendingRow> },
    Peer(PeerRow),
    Routes(Vec<RouteRow>),
    Explanation(Vec<String>),
    Audit(Vec<AuditRow>),
    Metrics(String),
    Certs(Vec<CertRow>),
    Done,
    Failed { message: String, hint: Option<String> },
}

/// The relay at a glance.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Status {
    pub(crate) name: Hostname,
    pub(crate) version: String,
    pub(crate) https: SocketAddr,
    pub(crate) http: Option<SocketAddr>,
    /// Where metrics are shown.
    #[serde(default)]
    pub(crate) metrics: Option<SocketAddr>,
    /// What a device that enrolls without a token can compare.
    pub(crate) fingerprint: String,
    pub(crate) peers: usize,
    pub(crate) sessions: Vec<SessionRow>,
    /// Hostnames whose certificate is missing, late or not to be had.
    #[serde(default)]
    pub(crate) certificates_wanting: Vec<HostnamePattern>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct SessionRow {
    pub(crate) peer: PeerName,
    pub(crate) instance: String,
    pub(crate) version: String,
    pub(crate) address: SocketAddr,
    pub(crate) up_s: u64,
    pub(crate) rtt_ms: u64,
}

impl SessionRow {
    fn of(session: &Session) -> Self {
        Self {
            peer: session.peer.clone(),
            instance: session.instance.clone(),
            version: session.software.clone(),
            address: session.connection.remote_address(),
            up_s: session.since.elapsed().as_secs(),
            rtt_ms: u64::try_from(session.connection.rtt().as_millis()).unwrap_or(u64::MAX),
        }
    }
}

/// Times are seconds since 1970.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct TokenRow {
    pub(crate) id: i64,
    pub(crate) state: String,
    pub(crate) name: Option<PeerName>,
    pub(crate) role: Role,
    #[serde(flatten)]
    pub(crate) grants: Grants,
    pub(crate) created_at: i64,
    pub(crate) expires_at: i64,
}

impl From<Token> for TokenRow {
    fn from(token: Token) -> Self {
        let state = match token.state {
            TokenState::Open => "open".to_owned(),
            TokenState::Expired => "expired".to_owned(),
            TokenState::Revoked { .. } => "revoked".to_owned(),
            TokenState::Used { by, .. } => format!("used by {by}"),
        };
        let NewPeer { name, role, grants } = token.grant;
        Self {
            id: token.id,
            state,
            name,
            role,
            grants,
            created_at: token.created_at,
            expires_at: token.expires_at,
        }
    }
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct PeerRow {
    pub(crate) name: PeerName,
    pub(crate) role: Role,
    #[serde(flatten)]
    pub(crate) grants: Grants,
    pub(crate) fingerprint: String,
    pub(crate) enrolled_at: i64,
    pub(crate) last_seen_at: Option<i64>,
    /// Sessions that are up.
    pub(crate) sessions: usize,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct PendingRow {
    pub(crate) code: String,
    pub(crate) wished_name: Option<PeerName>,
    pub(crate) fingerprint: String,
    pub(crate) address: String,
    pub(crate) expires_at: i64,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct RouteRow {
    pub(crate) hostname: HostnamePattern,
    pub(crate) path: String,
    pub(crate) peer: PeerName,
    pub(crate) service: String,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct AuditRow {
    pub(crate) at: i64,
    pub(crate) actor: String,
    pub(crate) action: String,
    pub(crate) subject: String,
}

/// What commands may see and change.
#[derive(Debug)]
pub(crate) struct Admin {
    pub(crate) enrollment: Arc<Enrollment>,
    pub(crate) automatic: Arc<Automatic>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) name: Hostname,
    pub(crate) https_address: SocketAddr,
    pub(crate) http_address: Option<SocketAddr>,
    pub(crate) metrics_address: Option<SocketAddr>,
}

impl Admin {
    /// Answers one command.
    pub(crate) async fn answer(&self, request: Request) -> Answer {
        let answer = match request {
            Request::Status => Ok(self.status()),
            Request::TokenCreate { grant, lifetime_s } => self.create_token(&grant, lifetime_s).await,
            Request::TokenList => self.tokens().await,
            Request::TokenRevoke { id } => self.revoke_token(id).await,
            Request::PeerList => self.peers().await,
            Request::PeerApprove { code, grant } => self.approve(code, grant).await,
            Request::PeerRevoke { name } => {
                self.changed(&name, self.enrollment.revoke(name.clone()).await).await
            }
            Request::PeerGrant { name, grants } => {
                self.changed(&name, self.enrollment.grant(name.clone(), grants).await).await
            }
            Request::PeerUngrant { name, grants } => {
                self.changed(&name, self.enrollment.ungrant(name.clone(), grants).await).await
            }
            Request::RouteList => Ok(self.routes()),
            Request::RouteExplain { url } => Ok(self.explain(&url)),
            Request::AuditList { limit } => self.audit(limit).await,
            Request::Metrics => Ok(Answer::Metrics(self.metrics())),
            Request::CertList => Ok(Answer::Certs(self.automatic.rows())),
            Request::CertRenew { name } => Ok(self.renew(&name)),
        };
        answer.unwrap_or_else(|error| {
            if let StoreError::TooMany(error) = error {
                return failed(error.to_string(), Some("one pattern covers many: `*.example.com`, `home/*`"));
            }
            tracing::error!(error = process::terminal::chain(&error), "a command failed at the store");
            failed(process::terminal::chain(&error), Some("nothing was changed; try again"))
        })
    }

    fn status(&self) -> Answer {
        let sessions = self.enrollment.registry.sessions();
        Answer::Status(Status {
            name: self.name.clone(),
            version: crate::VERSION.into(),
            https: self.https_address,
            http: self.http_address,
            metrics: self.metrics_address,
            fingerprint: self.enrollment.secret.public().fingerprint(),
            peers: self.enrollment.registry.peer_count(),
            sessions: sessions.iter().map(|session| SessionRow::of(session)).collect(),
            certificates_wanting: self.wanting(),
        })
    }

    /// A wildcard that is granted and not served itself wants nothing.
    fn wanting(&self) -> Vec<HostnamePattern> {
        let routes = self.enrollment.registry.routes();
        let wants = |row: &CertRow| match row.state {
            State::Missing => routes.is_served(&row.name),
            State::Warning => true,
            State::Ok | State::Ordering | State::Waiting => row.error.is_some(),
        };
        self.automatic.rows().into_iter().filter(wants).map(|row| row.name).collect()
    }

    /// What a scrape gets.
    pub(crate) fn metrics(&self) -> String {
        let registry = &self.enrollment.registry;
        let certificates = self.automatic.rows().into_iter();
        let expiries = certificates.filter_map(|row| Some((row.name.to_string(), row.not_after?)));
        let (issued, failed) = self.automatic.counts();
        let standing = Standing {
            sessions: registry.sessions().len(),
            peers: registry.peer_count(),
            expiries: expiries.collect(),
            orders: (issued, failed),
            between_peers: registry.between_peers(),
        };
        self.metrics.text(&standing)
    }

    async fn create_token(&self, grant: &NewPeer, lifetime_s: u64) -> Result<Answer, StoreError> {
        let (id, token) = self.enrollment.create_token(grant, lifetime_s).await?;
        let expires_at = now().saturating_add_unsigned(lifetime_s);
        Ok(Answer::Token { id, token: token.expose_text().to_string(), expires_at })
    }

    async fn tokens(&self) -> Result<Answer, StoreError> {
        let tokens = self.enrollment.store.tokens(now()).await?;
        Ok(Answer::Tokens(tokens.into_iter().map(TokenRow::from).collect()))
    }

    async fn revoke_token(&self, id: i64) -> Result<Answer, StoreError> {
        let revoked = self.enrollment.store.revoke_token(id, now()).await?;
        let missing =
            || failed(format!("no usable token has the id {id}"), Some("`relay token list` shows them"));
        Ok(if revoked { Answer::Done } else { missing() })
    }

    async fn peers(&self) -> Result<Answer, StoreError> {
        let (store, now) = (&self.enrollment.store, now());
        let peers = store.peers().await?.into_iter().map(|peer| self.row(peer)).collect();
        let pending = store.pending(now).await?.into_iter().map(|pending| PendingRow {
            code: pending.code,
            wished_name: pending.wished,
            fingerprint: pending.key.fingerprint(),
            address: pending.address.to_string(),
            expires_at: pending.expires_at,
        });
        Ok(Answer::Peers { peers, pending: pending.collect() })
    }

    fn row(&self, peer: Peer) -> PeerRow {
        let sessions = self.enrollment.registry.sessions();
        PeerRow {
            sessions: sessions.iter().filter(|session| session.key == peer.key).count(),
            fingerprint: peer.key.fingerprint(),
            name: peer.name,
            role: peer.role,
            grants: peer.grants,
            enrolled_at: peer.enrolled_at,
            last_seen_at: peer.last_seen_at,
        }
    }

    async fn approve(&self, code: String, grant: NewPeer) -> Result<Answer, StoreError> {
        let approved = self.enrollment.approve(code, grant).await?;
        Ok(approved.map_or_else(
            || failed("no device waits with this code".into(), Some("`relay peer list` shows who waits")),
            |peer| Answer::Peer(self.row(peer)),
        ))
    }

    /// The peer as a change left it, or that there is none.
    async fn changed(
        &self,
        name: &PeerName,
        changed: Result<Option<Peer>, StoreError>,
    ) -> Result<Answer, StoreError> {
        if let Some(peer) = changed? {
            return Ok(Answer::Peer(self.row(peer)));
        }
        let peers = self.enrollment.store.peers().await?;
        let hint = match nearest(name.as_str(), peers.iter().map(|peer| peer.name.as_str())) {
            Some(near) => format!("did you mean `{near}`? `relay peer list` shows all"),
            None => "`relay peer list` shows them".to_owned(),
        };
        Ok(failed(format!("there is no peer `{name}`"), Some(&hint)))
    }

    fn routes(&self) -> Answer {
        let routes = self.enrollment.registry.routes();
        let mut rows: Vec<RouteRow> = Vec::new();
        for serving in routes.served() {
            let row = |path: String, target: &Target| RouteRow {
                hostname: serving.exposure.hostname.clone(),
                path,
                peer: serving.session.peer.clone(),
                service: target.service.to_string(),
            };
            rows.extend(serving.exposure.routes().map(|(path, target)| row(path.to_string(), target)));
            // All of it, whatever the path.
            rows.extend(serving.exposure.sealed().map(|target| row("(sealed)".to_owned(), target)));
        }
        rows.sort_by(|a, b| (&a.hostname, &a.path, &a.peer).cmp(&(&b.hostname, &b.path, &b.peer)));
        Answer::Routes(rows)
    }

    fn explain(&self, url: &str) -> Answer {
        match explain::explain(&self.enrollment.registry.routes(), url) {
            Ok(lines) => Answer::Explanation(lines),
            Err(error) => failed(error.to_string(), Some("for example `https://koda.example.com/login`")),
        }
    }

    fn renew(&self, name: &HostnamePattern) -> Answer {
        if self.automatic.renew(name) {
            return Answer::Done;
        }
        let hint = match self.automatic.rows().into_iter().find(|row| row.name == *name) {
            Some(row) if row.source == "sealed" => {
                "its TLS ends at the agent or the origin, which has the certificate"
            }
            Some(row) if row.source == "file" => {
                "it has a file in `[[certificate]]`, which somebody else renews"
            }
            Some(_) => "the relay orders for what a session serves, where `[acme]` is in its file",
            None => "`relay cert list` shows all hostnames",
        };
        failed(format!("no certificate is ordered for `{name}`"), Some(hint))
    }

    async fn audit(&self, limit: u32) -> Result<Answer, StoreError> {
        let entries = self.enrollment.store.audit(limit).await?;
        let row = |entry: crate::store::AuditEntry| AuditRow {
            at: entry.at,
            actor: entry.actor,
            action: entry.action,
            subject: entry.subject,
        };
        Ok(Answer::Audit(entries.into_iter().map(row).collect()))
    }
}

fn failed(message: String, hint: Option<&str>) -> Answer {
    Answer::Failed { message, hint: hint.map(Into::into) }
}
