//! `Strict-Transport-Security` of a hostname (RFC 6797): what browsers are told, and what cannot be told to them.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What browsers have to remember of a hostname.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Hsts {
    /// For how long they come over HTTPS alone, in seconds; zero makes them forget it.
    pub max_age_s: u64,
    /// Whether this holds for every name below as well.
    pub include_subdomains: bool,
    /// Whether the hostname may be built into browsers.
    pub preload: bool,
}

/// Ten years, in seconds: longer than anybody plans for, and within what every browser counts.
pub const LONGEST_S: u64 = 3650 * DAY_S;
/// The shortest time with which browsers' lists take a hostname up, in seconds.
pub const SHORTEST_PRELOAD_S: u64 = 365 * DAY_S;
const DAY_S: u64 = 24 * 60 * 60;

/// Why browsers cannot be told this.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HstsError {
    /// Over [`LONGEST_S`].
    #[error("`max_age` of `hsts` is at most `3650d`")]
    TooLong,
    /// The lists of browsers ask for more than this (hstspreload.org).
    #[error("`preload` needs a `max_age` of at least `365d` and `include_subdomains = true`")]
    Preload,
}

impl Hsts {
    /// Checks what was asked for.
    ///
    /// # Errors
    ///
    /// Where the time is too long, or the browsers' lists would not take the hostname.
    pub fn check(self) -> Result<Self, HstsError> {
        if self.max_age_s > LONGEST_S {
            return Err(HstsError::TooLong);
        }
        if self.preload && (self.max_age_s < SHORTEST_PRELOAD_S || !self.include_subdomains) {
            return Err(HstsError::Preload);
        }
        Ok(self)
    }
}

/// The field's value (RFC 6797, section 6.1).
impl fmt::Display for Hsts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "max-age={}", self.max_age_s)?;
        if self.include_subdomains {
            f.write_str("; includeSubDomains")?;
        }
        if self.preload {
            f.write_str("; preload")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const YEAR: Hsts = Hsts { max_age_s: SHORTEST_PRELOAD_S, include_subdomains: false, preload: false };

    #[test]
    fn what_browsers_read() {
        let shown = |hsts: Hsts| hsts.check().unwrap().to_string();
        assert_eq!(shown(Hsts::default()), "max-age=0");
        assert_eq!(shown(YEAR), "max-age=31536000");
        let all = Hsts { include_subdomains: true, preload: true, ..YEAR };
        assert_eq!(shown(all), "max-age=31536000; includeSubDomains; preload");
    }

    #[test]
    fn a_preloaded_hostname_is_one_that_the_lists_take() {
        let preload = Hsts { preload: true, ..YEAR };
        let short = Hsts { max_age_s: SHORTEST_PRELOAD_S - 1, include_subdomains: true, preload: true };
        assert_eq!([preload.check(), short.check()], [Err(HstsError::Preload); 2]);
        let ever = Hsts { max_age_s: u64::MAX, ..YEAR };
        assert_eq!(ever.check(), Err(HstsError::TooLong));
    }
}
