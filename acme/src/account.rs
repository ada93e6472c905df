//! The account with a CA: the one that is kept, or a new one.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use data_encoding::BASE64URL_NOPAD;
use instant_acme::{Account, AccountCredentials, Error, ExternalAccountKey, NewAccount};
use rustls::sign::CertifiedKey;
use tokio::sync::Mutex;

use crate::ca::Ca;
use crate::certificate;
use crate::failure::OrderError;
use crate::keep::{Keep, Secret};
use crate::keeper::Plan;
use crate::schedule::Window;
use crate::settings::{ExternalAccount, Settings};

/// Where orders with one CA are placed.
pub(crate) struct Desk {
    pub(crate) plan: Arc<Plan>,
    pub(crate) keep: Arc<dyn Keep>,
    account: Mutex<Option<Account>>,
    /// No further orders before this: the CA said so.
    paused_until: AtomicI64,
}

impl Desk {
    pub(crate) fn new(plan: Arc<Plan>, keep: Arc<dyn Keep>) -> Self {
        Self { plan, keep, account: Mutex::default(), paused_until: AtomicI64::new(0) }
    }

    pub(crate) fn paused_until(&self) -> i64 {
        self.paused_until.load(Ordering::Relaxed)
    }

    pub(crate) fn pause_until(&self, moment: i64) {
        self.paused_until.fetch_max(moment, Ordering::Relaxed);
    }

    /// The account; made where there is none. Whoever comes second waits for it.
    pub(crate) async fn account(&self) -> Result<Account, OrderError> {
        let mut open = self.account.lock().await;
        let account = match self.opened(&open).await? {
            Some(account) => account,
            None => self.create().await?,
        };
        *open = Some(account.clone());
        Ok(account)
    }

    /// The account, where there is one.
    async fn existing(&self) -> Result<Option<Account>, OrderError> {
        let mut open = self.account.lock().await;
        *open = self.opened(&open).await?;
        Ok(open.clone())
    }

    async fn opened(&self, open: &Option<Account>) -> Result<Option<Account>, OrderError> {
        if open.is_some() {
            return Ok(open.clone());
        }
        let directory = self.plan.settings.directory.as_str();
        match self.keep.account(directory).await.map_err(OrderError::Keep)? {
            Some(credentials) => self.restore(&credentials).await.map(Some),
            None => Ok(None),
        }
    }

    /// A new account in place of one that the CA does not serve any longer, unless somebody else has made one already.
    pub(crate) async fn replace_account(&self, gone: &Account) -> Result<Account, OrderError> {
        let mut open = self.account.lock().await;
        if let Some(account) = open.as_ref().filter(|account| account.id() != gone.id()) {
            return Ok(account.clone());
        }
        let account = self.create().await?;
        *open = Some(account.clone());
        Ok(account)
    }

    async fn ca(&self) -> Result<Box<Ca>, OrderError> {
        let settings = &self.plan.settings;
        Ok(Box::new(Ca::new(settings.ca_file.clone(), settings.directory.as_str()).await?))
    }

    async fn restore(&self, credentials: &Secret) -> Result<Account, OrderError> {
        let credentials: AccountCredentials =
            serde_json::from_str(credentials.expose()).map_err(OrderError::Credentials)?;
        let builder = Account::builder_with_http(self.ca().await?);
        builder.from_credentials(credentials).await.map_err(OrderError::Account)
    }

    async fn create(&self) -> Result<Account, OrderError> {
        let Settings { directory, email, external_account, .. } = &self.plan.settings;
        let contact = email.as_ref().map(|email| format!("mailto:{email}"));
        let contact: Vec<&str> = contact.iter().map(String::as_str).collect();
        let new =
            NewAccount { contact: &contact, terms_of_service_agreed: true, only_return_existing: false };
        let external = match external_account {
            Some(account) => Some(external_key(account).await?),
            None => None,
        };
        let builder = Account::builder_with_http(self.ca().await?);
        let made = builder.create(&new, directory.to_string(), external.as_ref()).await;
        let (account, credentials) = made.map_err(OrderError::Account)?;
        let credentials = serde_json::to_string(&credentials).map_err(OrderError::Credentials)?;
        let kept = self.keep.put_account(directory.as_str(), Secret::new(credentials)).await;
        kept.map_err(OrderError::Keep)?;
        tracing::info!(%directory, account = account.id(), "there is an account with the CA");
        Ok(account)
    }

    /// When the CA would like this certificate to be renewed, and when to ask again; none where it has no opinion.
    pub(crate) async fn window(&self, certified: &CertifiedKey) -> Option<(Window, Duration)> {
        let certificate = certificate::identifier(certified)?;
        let account = self.existing().await.ok()??;
        match account.renewal_info(&certificate).await {
            Ok((info, again)) => {
                let (start, end) = (info.suggested_window.start, info.suggested_window.end);
                Some((Window { start: start.unix_timestamp(), end: end.unix_timestamp() }, again))
            }
            Err(Error::Unsupported(_)) => None,
            Err(error) => {
                tracing::debug!(error = process::terminal::chain(&error), "the CA said nothing of a renewal");
                None
            }
        }
    }
}

impl std::fmt::Debug for Desk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Desk").field("plan", &self.plan).finish_non_exhaustive()
    }
}

async fn external_key(account: &ExternalAccount) -> Result<ExternalAccountKey, OrderError> {
    let path = &account.key_file;
    let unreadable = |source| OrderError::ExternalAccount { path: path.clone(), source };
    let text = Secret::new(tokio::fs::read_to_string(path).await.map_err(unreadable)?);
    let encoded = text.expose().trim().trim_end_matches('=').as_bytes();
    let key = BASE64URL_NOPAD.decode(encoded).map_err(|_| OrderError::ExternalAccountKey(path.clone()))?;
    Ok(ExternalAccountKey::new(account.key_id.clone(), &zeroize::Zeroizing::new(key)))
}
