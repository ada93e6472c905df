//! Reads one TOML file into typed values and reports every mistake of the file in one run, each with its line and the
//! offending text underlined. Pure: the text comes in, a value or the report comes out.
//!
//! ```
//! use process::document;
//!
//! let text = "relay = \"relay.example.com\"\n[service.dashboard]\norigin = \"127.0.0.1:3000\"\n";
//! let origins = document::read("agent.toml", text, |root| {
//!     let relay = root.required_string("relay");
//!     let mut origins = Vec::new();
//!     for (name, mut service) in root.named_tables("service") {
//!         origins.push((name, service.required_parsed::<std::net::SocketAddr>("origin")));
//!     }
//!     // Every key is read before the first `?`: what was not read yet would be reported as unknown.
//!     relay?;
//!     Some(origins)
//! });
//! assert_eq!(origins.expect("no mistakes").len(), 1);
//! ```
//!
//! A [`Table`] knows which keys it was asked for; when it is dropped, every other key of it is reported as unknown.
//! Checks that need several values are made by the caller and reported with [`Problems::add`].

mod excerpt;
mod mask;
mod nearest;
mod place;
mod problems;
mod quantity;
mod rejected;
mod secret;
mod syntax;
mod table;
#[cfg(test)]
mod tests;
mod value;

pub use nearest::nearest;
pub use place::{Place, Spanned};
pub use problems::Problems;
pub use quantity::{QuantityError, byte_size, duration};
pub use rejected::{Mistake, Rejected};
pub use secret::Secret;
pub use table::Table;

use toml::de::DeTable;

/// Reads `text`, the contents of the file shown as `name`, with `decode`.
///
/// # Errors
///
/// [`Rejected`] with every mistake: what TOML itself forbids, what the tables found while `decode` read them, what
/// `decode` added, and the keys that nobody asked for. `decode` returning `None` rejects the file in any case.
pub fn read<T>(
    name: &str,
    text: &str,
    decode: impl FnOnce(&mut Table<'_>) -> Option<T>,
) -> Result<T, Rejected> {
    let (tree, errors) = DeTable::parse_recoverable(text);
    let problems = Problems::new(text);
    let value = {
        let mut root = Table::root(tree.get_ref(), &problems);
        decode(&mut root)
    };
    let (lines, found, mut hidden) = problems.into_parts();
    let found = syntax::merge(text, &lines, tree.get_ref(), &errors, found);
    match value {
        Some(value) if found.is_empty() => Ok(value),
        _ => {
            hidden.extend(mask::sensitive_values(text, tree.get_ref()));
            hidden.extend(mask::tokens(text));
            if !errors.is_empty() {
                hidden.extend(mask::sensitive_lines(text));
            }
            Err(Rejected::new(name, text, found, mask::merged(hidden)))
        }
    }
}
