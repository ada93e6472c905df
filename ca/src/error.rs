//! Why a CA cannot be used.

use std::path::PathBuf;

use process::private_file::PrivateFileError;

/// Why there is no CA, or no certificate of it.
#[derive(Debug, thiserror::Error)]
pub enum CaError {
    #[error("the CA's files cannot be used")]
    File(#[from] PrivateFileError),
    #[error("the root in `{}` cannot be read", .path.display())]
    Root {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("`{}` is not text", .0.display())]
    NotText(PathBuf),
    #[error("`{}` holds no certificate that can be understood", .0.display())]
    Malformed(PathBuf),
    #[error("the root in `{}` is not of the key beside it, or was made by another program", .0.display())]
    Foreign(PathBuf),
    #[error("the CA cannot sign")]
    Sign(#[from] rcgen::Error),
    #[error("a certificate of the CA cannot be used")]
    Leaf(#[from] rustls::Error),
}

impl CaError {
    /// The way out, where there is one.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::File(error) => error.hint(),
            Self::Malformed(path) | Self::Foreign(path) => Some(format!(
                "move `{}` away and start again: a root of the key beside it is made then",
                path.display()
            )),
            Self::Root { .. } | Self::NotText(_) | Self::Sign(_) | Self::Leaf(_) => None,
        }
    }
}
