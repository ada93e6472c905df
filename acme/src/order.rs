//! One order, from wherever it stands to its certificate. Each step is kept before the next one is taken, so that whoever
//! comes after a crash goes on from there.

use std::sync::Arc;
use std::time::Duration;

use instant_acme::{
    Account, AuthorizationHandle, AuthorizationStatus, ChallengeStatus, ChallengeType, Error, Identifier,
    KeyAuthorization, NewOrder, Order, OrderStatus, Problem, RetryPolicy,
};
use protocol::hostname::{Hostname, HostnamePattern};
use rustls::sign::CertifiedKey;

use crate::account::Desk;
use crate::certificate;
use crate::challenge::{Answering, Challenges};
use crate::failure::{OrderError, short_type};
use crate::keep::{Entry, Issued, OpenOrder, Secret};
use crate::publish::Publish;
use crate::settings::ChallengeKind;

/// How often a CA is asked how far it is, where it does not say itself when to ask.
const POLL: RetryPolicy = RetryPolicy::new()
    .initial_delay(Duration::from_millis(500))
    .backoff(1.5)
    .timeout(Duration::from_secs(300));
/// Pending, ready, processing, valid: an order that takes more steps goes in circles.
const STEPS: usize = 6;

/// What an order is placed for.
#[derive(Debug)]
pub(crate) struct Job<'a> {
    pub(crate) name: &'a HostnamePattern,
    pub(crate) desk: &'a Desk,
    pub(crate) challenges: &'a Arc<Challenges>,
    /// What there is of it.
    pub(crate) entry: Entry,
    /// The certificate whose place the new one takes.
    pub(crate) replaced: Option<Arc<CertifiedKey>>,
}

/// What an order's challenges are answered with, for as long as it takes.
#[derive(Debug, Default)]
struct Shown {
    answers: Vec<Answering>,
    records: Vec<(String, String)>,
}

impl Job<'_> {
    /// Goes on with the order that is open, or begins one.
    pub(crate) async fn run(mut self) -> Result<Issued, OrderError> {
        let account = self.desk.account().await?;
        let (mut order, key) = match self.resume(&account).await? {
            Some(open) => open,
            None => self.begin_with_some_account(account).await?,
        };
        for _ in 0..STEPS {
            match order.state().status {
                OrderStatus::Pending => self.show(&mut order).await?,
                OrderStatus::Ready => {
                    let request = certificate::request(self.name, &key)?;
                    order.finalize_csr(&request).await.map_err(OrderError::Follow)?;
                    tracing::info!(hostname = %self.name, "the CA makes the certificate");
                }
                OrderStatus::Processing | OrderStatus::Valid => {
                    let chain = order.poll_certificate(&POLL).await.map_err(OrderError::Follow)?;
                    let directory = self.directory().to_owned();
                    return Ok(Issued { directory, chain, key });
                }
                OrderStatus::Invalid => return Err(OrderError::Invalid),
            }
        }
        Err(OrderError::Invalid)
    }

    fn directory(&self) -> &str {
        self.desk.plan.settings.directory.as_str()
    }

    /// The order that is open, where the CA still knows it and has not given it up.
    async fn resume(&mut self, account: &Account) -> Result<Option<(Order, Secret)>, OrderError> {
        let Some(open) = self.entry.order.take().filter(|open| open.directory == self.directory()) else {
            return Ok(None);
        };
        let mut order = match account.order(open.url).await {
            Ok(order) => order,
            // It has forgotten it, or it belongs to an earlier account.
            Err(Error::Api(problem)) if is_gone(&problem) => {
                tracing::debug!(hostname = %self.name, %problem, "the order that was open is gone");
                return Ok(None);
            }
            Err(error) => return Err(OrderError::Follow(error)),
        };
        let status = order.state().status;
        tracing::info!(hostname = %self.name, ?status, "going on with an order");
        Ok((status != OrderStatus::Invalid).then_some((order, open.key)))
    }

    /// Begins an order, with a new account where the CA no longer serves the one that there is.
    async fn begin_with_some_account(&self, account: Account) -> Result<(Order, Secret), OrderError> {
        match self.begin(&account).await {
            Err(error) if error.is_account_gone() => {
                let error = process::terminal::chain(&error);
                tracing::warn!(error, "the CA does not serve the account any longer; making another");
                self.begin(&self.desk.replace_account(&account).await?).await
            }
            begun => begun,
        }
    }

    async fn begin(&self, account: &Account) -> Result<(Order, Secret), OrderError> {
        self.check_profile(account)?;
        let key = certificate::new_key()?;
        let order = self.place(account).await.map_err(OrderError::Order)?;
        let (directory, url) = (self.directory().to_owned(), order.url().to_owned());
        let open = OpenOrder { directory, url, key: key.clone() };
        self.desk.keep.put_order(self.name, open).await.map_err(OrderError::Keep)?;
        tracing::info!(hostname = %self.name, order = order.url(), "the CA takes the order");
        Ok((order, key))
    }

    /// Some CAs give a certificate of another kind where they do not know the one that is asked for.
    fn check_profile(&self, account: &Account) -> Result<(), OrderError> {
        let Some(profile) = &self.desk.plan.settings.profile else { return Ok(()) };
        let mut known: Vec<_> = account.profiles().map(|known| known.name.to_owned()).collect();
        if known.contains(profile) {
            return Ok(());
        }
        known.sort();
        Err(OrderError::Profile { profile: profile.clone(), known: known.join(", ") })
    }

    /// Says what is replaced only to a CA that listens: it counts renewals apart (RFC 9773, section 5).
    async fn place(&self, account: &Account) -> Result<Order, Error> {
        let identifiers = [Identifier::Dns(self.name.to_string())];
        let order = || match &self.desk.plan.settings.profile {
            Some(profile) => NewOrder::new(&identifiers).profile(profile),
            None => NewOrder::new(&identifiers),
        };
        let Some(replaced) = self.replaced.as_deref().and_then(certificate::identifier) else {
            return account.new_order(&order()).await;
        };
        match account.new_order(&order().replaces(replaced)).await {
            Err(error) if is_about_replacing(&error) => account.new_order(&order()).await,
            placed => placed,
        }
    }

    /// Shows that the hostname is ours, and waits for the CA to see it.
    async fn show(&self, order: &mut Order) -> Result<(), OrderError> {
        let mut shown = Shown::default();
        let seen = self.show_all(order, &mut shown).await;
        if let Some(publish) = &self.desk.plan.publish {
            withdraw(publish.as_ref(), &shown.records).await;
        }
        seen
    }

    async fn show_all(&self, order: &mut Order, shown: &mut Shown) -> Result<(), OrderError> {
        let mut kind = None;
        let mut authorizations = order.authorizations();
        while let Some(next) = authorizations.next().await {
            let authorization = next.map_err(OrderError::Follow)?;
            match authorization.status {
                AuthorizationStatus::Valid => {}
                AuthorizationStatus::Pending => kind = Some(self.answer(authorization, shown).await?),
                AuthorizationStatus::Invalid
                | AuthorizationStatus::Revoked
                | AuthorizationStatus::Expired
                | AuthorizationStatus::Deactivated => return Err(OrderError::Invalid),
            }
        }
        match order.poll_ready(&POLL).await {
            Ok(OrderStatus::Ready) => {
                tracing::info!(hostname = %self.name, "the CA found that the hostname is ours");
                Ok(())
            }
            Ok(_) | Err(Error::Api(_)) => Err(self.refused(order, kind).await),
            Err(error) => Err(OrderError::Follow(error)),
        }
    }

    /// Answers one of the challenges of an authorization, and says so to the CA.
    async fn answer(
        &self,
        mut authorization: AuthorizationHandle<'_>,
        shown: &mut Shown,
    ) -> Result<ChallengeKind, OrderError> {
        let kind = self.choose(&authorization)?;
        let Some(mut challenge) = authorization.challenge(wire_kind(kind)) else {
            return Err(OrderError::NoChallenge(self.desk.plan.settings.challenges.clone()));
        };
        self.publish(kind, &challenge.token, &challenge.key_authorization(), shown).await?;
        tracing::info!(hostname = %self.name, challenge = %kind, "answering the CA's challenge");
        // One that is under way since before a crash is not to be started again.
        if challenge.status == ChallengeStatus::Pending {
            challenge.set_ready().await.map_err(OrderError::Follow)?;
        }
        Ok(kind)
    }

    async fn publish(
        &self,
        kind: ChallengeKind,
        token: &str,
        answer: &KeyAuthorization,
        shown: &mut Shown,
    ) -> Result<(), OrderError> {
        match kind {
            ChallengeKind::Http => {
                let hostname = self.exact()?;
                shown.answers.push(self.challenges.answer_http(&hostname, token, answer.as_str()));
            }
            ChallengeKind::TlsAlpn => {
                let digest = answer.digest();
                let digest = digest.as_ref().try_into().map_err(|_| OrderError::Follow(Error::Crypto))?;
                shown.answers.push(self.challenges.answer_tls(&self.exact()?, digest)?);
            }
            ChallengeKind::Dns => {
                let publish = self.desk.plan.publish.as_deref();
                let publish = publish.ok_or_else(|| OrderError::WildcardWithoutDns(self.name.clone()))?;
                let record = (record_name(self.name), answer.dns_value());
                shown.records.push(record.clone());
                publish.publish(&record.0, &record.1).await.map_err(OrderError::Publish)?;
            }
        }
        Ok(())
    }

    fn exact(&self) -> Result<Hostname, OrderError> {
        self.name.exact().ok_or_else(|| OrderError::WildcardWithoutDns(self.name.clone()))
    }

    /// The challenge whose turn it is among those that may be answered and that the CA offers: the next one after each
    /// failure.
    fn choose(&self, authorization: &AuthorizationHandle<'_>) -> Result<ChallengeKind, OrderError> {
        let allowed =
            allowed(self.name, &self.desk.plan.settings.challenges, self.desk.plan.publish.is_some());
        if allowed.is_empty() {
            return Err(OrderError::WildcardWithoutDns(self.name.clone()));
        }
        let offers = |kind: &ChallengeKind, status: Option<ChallengeStatus>| {
            let wire = wire_kind(*kind);
            let same = authorization.challenges.iter().filter(|challenge| challenge.r#type == wire);
            same.into_iter().any(|challenge| status.is_none_or(|status| challenge.status == status))
        };
        let under_way = allowed.iter().find(|kind| offers(kind, Some(ChallengeStatus::Processing)));
        let offered: Vec<_> = allowed.iter().filter(|kind| offers(kind, None)).collect();
        let failures = self.entry.failed.as_ref().map_or(0, |failed| failed.count);
        let turn = usize::try_from(failures).unwrap_or(0).checked_rem(offered.len());
        let kind = under_way.or_else(|| turn.and_then(|turn| offered.get(turn).copied()));
        kind.copied().ok_or(OrderError::NoChallenge(allowed))
    }

    /// What the CA says was wrong with its look at us.
    async fn refused(&self, order: &mut Order, kind: Option<ChallengeKind>) -> OrderError {
        let said = words(order).await;
        match (said, kind) {
            (Some(said), Some(kind)) => OrderError::Challenge { kind, name: self.name.clone(), said },
            _ => OrderError::Invalid,
        }
    }
}

/// Whether the CA has forgotten an order, or it belongs to an earlier account; not where the CA is only busy or broken.
fn is_gone(problem: &Problem) -> bool {
    let is_known_to_be = problem.status.is_some_and(|status| (400..500).contains(&status) && status != 429);
    is_known_to_be && !matches!(short_type(problem), Some("badNonce" | "rateLimited"))
}

/// Whether an order may be refused for what it says that it replaces. CAs have many words for that: the certificate was
/// replaced already, or belongs to another account, or its name cannot be read.
fn is_about_replacing(error: &Error) -> bool {
    if let Error::Api(problem) = error {
        return is_gone(problem);
    }
    // It did not say so in its answer; `instant-acme` has no kind of its own for that.
    let mismatch = |other: &dyn std::error::Error| other.to_string().starts_with("replaces field mismatch");
    matches!(error, Error::Unsupported(_)) || matches!(error, Error::Other(other) if mismatch(other.as_ref()))
}

/// The error of the first challenge that has one.
async fn words(order: &mut Order) -> Option<String> {
    let mut authorizations = order.authorizations();
    while let Some(next) = authorizations.next().await {
        let mut authorization = next.ok()?;
        let state = authorization.refresh().await.ok()?;
        let error = state.challenges.iter().find_map(|challenge| challenge.error.as_ref());
        if let Some(error) = error {
            return Some(error.detail.clone().unwrap_or_else(|| error.to_string()));
        }
    }
    None
}

/// A record that stays does no harm, so this is no reason to fail.
async fn withdraw(publish: &dyn Publish, records: &[(String, String)]) {
    for (name, value) in records {
        if let Err(error) = publish.withdraw(name, value).await {
            tracing::warn!(
                record = name,
                error = process::terminal::chain(error.as_ref()),
                "a record of dns-01 stays"
            );
        }
    }
}

/// What may be answered for a hostname, in the order of preference.
fn allowed(name: &HostnamePattern, challenges: &[ChallengeKind], has_dns: bool) -> Vec<ChallengeKind> {
    match name.exact() {
        Some(_) => challenges.iter().copied().filter(|kind| has_dns || *kind != ChallengeKind::Dns).collect(),
        None => has_dns.then_some(ChallengeKind::Dns).into_iter().collect(),
    }
}

/// Whether a hostname is shown to be ours in its zone alone, so that it need not lead here.
pub(crate) fn is_shown_in_dns(name: &HostnamePattern, challenges: &[ChallengeKind]) -> bool {
    name.exact().is_none() || challenges.iter().all(|kind| *kind == ChallengeKind::Dns)
}

fn record_name(name: &HostnamePattern) -> String {
    let domain = name.as_str().strip_prefix("*.").unwrap_or(name.as_str());
    format!("_acme-challenge.{domain}")
}

fn wire_kind(kind: ChallengeKind) -> ChallengeType {
    match kind {
        ChallengeKind::TlsAlpn => ChallengeType::TlsAlpn01,
        ChallengeKind::Http => ChallengeType::Http01,
        ChallengeKind::Dns => ChallengeType::Dns01,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(kind: &str, status: u16) -> Problem {
        let kind = format!("urn:ietf:params:acme:error:{kind}");
        serde_json::from_value(serde_json::json!({ "type": kind, "status": status })).unwrap()
    }

    #[test]
    fn what_is_replaced_is_left_out_where_the_ca_has_a_word_against_it() {
        for (kind, status) in [("alreadyReplaced", 409), ("unauthorized", 403), ("malformed", 404)] {
            assert!(is_about_replacing(&Error::Api(refused(kind, status))), "{kind}");
        }
        for (kind, status) in [("rateLimited", 429), ("badNonce", 400), ("serverInternal", 500)] {
            assert!(!is_about_replacing(&Error::Api(refused(kind, status))), "{kind}");
            assert!(!is_gone(&refused(kind, status)), "{kind}");
        }
        assert!(!is_about_replacing(&Error::Other("the CA did not answer".into())));
        assert!(is_about_replacing(&Error::Other("replaces field mismatch: expected".into())));
    }

    #[test]
    fn wildcards_are_shown_in_dns_alone() {
        use ChallengeKind::{Dns, Http, TlsAlpn};
        let (exact, wild) = ("a.example.com".parse().unwrap(), "*.example.com".parse().unwrap());
        assert_eq!(allowed(&wild, &[TlsAlpn, Http], true), [Dns]);
        assert_eq!(allowed(&wild, &[TlsAlpn, Dns], false), []);
        assert_eq!(allowed(&exact, &[Http, Dns, TlsAlpn], false), [Http, TlsAlpn]);
        assert!(is_shown_in_dns(&wild, &[Http]) && !is_shown_in_dns(&exact, &[Dns, Http]));
        assert_eq!(record_name(&wild), "_acme-challenge.example.com");
        assert_eq!(record_name(&exact), "_acme-challenge.a.example.com");
    }
}
