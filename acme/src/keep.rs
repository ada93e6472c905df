//! What has to survive a crash, and where it lies: the relay keeps it in its store, an agent in private files.

use std::error::Error;
use std::fmt;
use std::pin::Pin;

use protocol::hostname::HostnamePattern;
use zeroize::Zeroizing;

/// What is wrong with whatever keeps it.
pub type KeepError = Box<dyn Error + Send + Sync>;

/// An operation under way.
pub type Kept<'a, T> = Pin<Box<dyn Future<Output = Result<T, KeepError>> + Send + 'a>>;

/// A private key or what holds one, as text. Not to be seen in any log.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// A certificate as a CA gave it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issued {
    /// The directory of that CA.
    pub directory: String,
    /// PEM, the leaf first.
    pub chain: String,
    /// PEM.
    pub key: Secret,
}

/// An order that a CA has taken and that has not come to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenOrder {
    /// The directory of that CA.
    pub directory: String,
    pub url: String,
    /// PEM; the key that the certificate will be for.
    pub key: Secret,
}

/// How it went wrong the last time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failed {
    /// In a row.
    pub count: u32,
    pub error: String,
    /// Not before this.
    pub retry_at: i64,
}

/// Everything about one hostname.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Entry {
    pub issued: Option<Issued>,
    pub order: Option<OpenOrder>,
    pub failed: Option<Failed>,
}

/// Keeps accounts, certificates and orders. Each operation happens as a whole or not at all.
pub trait Keep: fmt::Debug + Send + Sync {
    /// The credentials of the account with this directory.
    fn account<'a>(&'a self, directory: &'a str) -> Kept<'a, Option<Secret>>;

    /// Keeps other credentials in their place.
    fn put_account<'a>(&'a self, directory: &'a str, credentials: Secret) -> Kept<'a, ()>;

    /// All hostnames of which anything is kept.
    fn names(&self) -> Kept<'_, Vec<HostnamePattern>>;

    fn entry<'a>(&'a self, name: &'a HostnamePattern) -> Kept<'a, Entry>;

    /// Claims the right to order for a hostname until a moment, where nobody else has it at `now`. Who asks again keeps
    /// it. False where somebody else has it.
    fn claim<'a>(
        &'a self,
        name: &'a HostnamePattern,
        holder: &'a str,
        now: i64,
        until: i64,
    ) -> Kept<'a, bool>;

    /// Keeps an order before anything is done for it.
    fn put_order<'a>(&'a self, name: &'a HostnamePattern, order: OpenOrder) -> Kept<'a, ()>;

    /// Keeps a certificate; its order, earlier failures and the claim are over.
    fn put_issued<'a>(&'a self, name: &'a HostnamePattern, issued: Issued) -> Kept<'a, ()>;

    /// Keeps a failure. The claim is over, and with `order_over` the order as well.
    fn put_failed<'a>(&'a self, name: &'a HostnamePattern, failed: Failed, order_over: bool) -> Kept<'a, ()>;

    /// Forgets everything about a hostname.
    fn forget<'a>(&'a self, name: &'a HostnamePattern) -> Kept<'a, ()>;
}
