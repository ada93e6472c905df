//! Records in the zone of a hostname, for DNS-01 (RFC 8555, section 8.4).

use std::error::Error;
use std::fmt;
use std::pin::Pin;

/// What a zone's owner has against a record.
pub type PublishError = Box<dyn Error + Send + Sync>;

/// An operation under way.
pub type Publishing<'a> = Pin<Box<dyn Future<Output = Result<(), PublishError>> + Send + 'a>>;

/// Writes TXT records. Others of the same name stay: an order for `*.example.com` and one for `example.com` share it.
pub trait Publish: fmt::Debug + Send + Sync {
    /// Comes back when the CA can see the record.
    fn publish<'a>(&'a self, name: &'a str, value: &'a str) -> Publishing<'a>;

    fn withdraw<'a>(&'a self, name: &'a str, value: &'a str) -> Publishing<'a>;
}
