//! Where an enrollment token comes from, and how it stays out of sight.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use protocol::token::{EnrollmentToken, TokenError};
use zeroize::Zeroizing;

/// The variable that may hold the token.
pub(super) const VARIABLE: &str = "ADIT_TOKEN";

/// Longer than any token with blanks around it.
const LONGEST: u64 = 4096;

/// Why there is no token to use. Never repeats it.
#[derive(Debug, thiserror::Error)]
pub(super) enum TokenSourceError {
    #[error("cannot read the token from `{}`", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("the token cannot be used")]
    Token(#[source] TokenError),
}

/// The token of a file, or of standard input where the file is `-`.
pub(super) fn from_file(path: &Path) -> Result<EnrollmentToken, TokenSourceError> {
    let failed = |source| TokenSourceError::Read { path: path.to_owned(), source };
    let mut text = Zeroizing::new(String::with_capacity(LONGEST as usize));
    if path == Path::new("-") {
        io::stdin().take(LONGEST).read_to_string(&mut text).map_err(failed)?;
    } else {
        fs::File::open(path).map_err(failed)?.take(LONGEST).read_to_string(&mut text).map_err(failed)?;
    }
    from_text(&text)
}

pub(super) fn from_text(text: &str) -> Result<EnrollmentToken, TokenSourceError> {
    text.trim().parse().map_err(TokenSourceError::Token)
}

/// The arguments without the token, and the token, where it was among them.
pub(super) fn removed(arguments: impl Iterator<Item = OsString>) -> (Vec<OsString>, Option<OsString>) {
    let mut rest = Vec::new();
    let mut token = None;
    let mut arguments = arguments;
    while let Some(argument) = arguments.next() {
        if argument == "--token" {
            token = arguments.next();
        } else if let Some(value) = argument.to_str().and_then(|text| text.strip_prefix("--token=")) {
            token = Some(value.into());
        } else {
            rest.push(argument);
        }
    }
    (rest, token)
}

/// Becomes this program again with the token in its environment, which only the same user can read, in place of its
/// arguments, which everybody can. Returns where no token was among them.
#[cfg(unix)]
pub(super) fn hide() -> io::Result<()> {
    use std::os::unix::process::CommandExt as _;
    let mut arguments = std::env::args_os();
    let name = arguments.next().unwrap_or_else(|| "agent".into());
    let (rest, token) = removed(arguments);
    let Some(token) = token else { return Ok(()) };
    let mut again = std::process::Command::new(std::env::current_exe()?);
    Err(again.arg0(name).args(rest).env(VARIABLE, token).exec())
}

/// Without `exec` there is no way; the help recommends a file.
#[cfg(not(unix))]
pub(super) fn hide() -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_is_taken_out_of_the_arguments() {
        let take = |arguments: &[&str]| removed(arguments.iter().map(OsString::from));
        let (rest, token) = take(&["enroll", "--token", "secret", "--relay", "a"]);
        assert_eq!(
            (rest, token),
            (vec!["enroll".into(), "--relay".into(), "a".into()], Some("secret".into()))
        );
        let (rest, token) = take(&["enroll", "--token=secret"]);
        assert_eq!((rest, token), (vec!["enroll".into()], Some("secret".into())));
        assert_eq!(take(&["enroll", "--token-file", "-"]).1, None);
    }

    #[test]
    fn a_wrong_token_is_not_repeated() {
        let error = from_text("adit-c2VjcmV0").unwrap_err();
        assert!(!process::terminal::report(&error, None).contains("c2VjcmV0"));
    }
}
