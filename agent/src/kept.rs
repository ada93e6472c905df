//! Certificates, orders and accounts in private files of the data folder: what an order needs to go on after a crash.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use acme::keep::{Entry, Failed, Issued, Keep, KeepError, Kept, OpenOrder, Secret};
use data_encoding::HEXLOWER;
use process::private_file::{self, PrivateFileError};
use protocol::hostname::HostnamePattern;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

/// Why a file is no use.
#[derive(Debug, thiserror::Error)]
enum FileError {
    #[error(transparent)]
    File(#[from] PrivateFileError),
    #[error("`{}` cannot be listed", .path.display())]
    List { path: PathBuf, source: std::io::Error },
    #[error("`{}` is damaged; remove it, and what it held is ordered anew", .path.display())]
    Damaged { path: PathBuf, source: serde_json::Error },
    #[error("`{}` cannot be removed", .path.display())]
    Remove { path: PathBuf, source: std::io::Error },
    #[error("`{}` cannot be written", .path.display())]
    Encode { path: PathBuf, source: serde_json::Error },
}

/// A folder of private files: one for each hostname, one for each CA.
#[derive(Debug, Clone)]
pub struct Folder(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    /// One change after the other.
    changing: Mutex<()>,
}

/// A hostname's file. Its secrets are wiped from memory with it.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Stored {
    issued: Option<StoredIssued>,
    order: Option<StoredOrder>,
    failed: Option<StoredFailed>,
}

#[derive(Debug, Serialize, Deserialize)]
struct StoredIssued {
    directory: String,
    chain: String,
    #[serde(with = "secret")]
    key: Secret,
}

#[derive(Debug, Serialize, Deserialize)]
struct StoredOrder {
    directory: String,
    url: String,
    #[serde(with = "secret")]
    key: Secret,
}

#[derive(Debug, Serialize, Deserialize)]
struct StoredFailed {
    count: u32,
    error: String,
    retry_at: i64,
}

#[derive(Debug, Serialize, Deserialize)]
struct StoredAccount {
    #[serde(with = "secret")]
    credentials: Secret,
}

mod secret {
    use acme::keep::Secret;
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(secret: &Secret, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(secret.expose())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Secret, D::Error> {
        String::deserialize(deserializer).map(Secret::new)
    }
}

impl From<Stored> for Entry {
    fn from(stored: Stored) -> Self {
        Self {
            issued: stored.issued.map(|StoredIssued { directory, chain, key }| Issued {
                directory,
                chain,
                key,
            }),
            order: stored.order.map(|StoredOrder { directory, url, key }| OpenOrder { directory, url, key }),
            failed: stored.failed.map(|StoredFailed { count, error, retry_at }| Failed {
                count,
                error,
                retry_at,
            }),
        }
    }
}

impl Folder {
    /// The files are made as they are needed.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        Self(Arc::new(Inner { path, changing: Mutex::new(()) }))
    }

    /// Runs what touches files on a thread that may wait for them.
    fn on_disk<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner) -> Result<T, FileError> + Send + 'static,
    ) -> Kept<'static, T> {
        let inner = Arc::clone(&self.0);
        Box::pin(async move {
            let done = tokio::task::spawn_blocking(move || work(&inner)).await;
            done.map_err(KeepError::from)?.map_err(KeepError::from)
        })
    }

    fn change(
        &self,
        name: &HostnamePattern,
        change: impl FnOnce(&mut Stored) + Send + 'static,
    ) -> Kept<'static, ()> {
        let name = name.clone();
        self.on_disk(move |inner| {
            let _one_at_a_time = inner.changing.lock().unwrap_or_else(PoisonError::into_inner);
            let path = inner.hostname(&name);
            let mut stored = read::<Stored>(&path)?.unwrap_or_default();
            change(&mut stored);
            inner.write(&path, &stored)
        })
    }
}

impl Inner {
    fn hostname(&self, name: &HostnamePattern) -> PathBuf {
        self.path.join(format!("{name}.json"))
    }

    fn account(&self, directory: &str) -> PathBuf {
        let digest = HEXLOWER.encode(&Sha256::digest(directory)[..8]);
        self.path.join(format!("account-{digest}.json"))
    }

    fn write(&self, path: &Path, value: &impl Serialize) -> Result<(), FileError> {
        let text = serde_json::to_string_pretty(value);
        let text = text.map_err(|source| FileError::Encode { path: path.to_owned(), source })?;
        private_file::create_folder(&self.path)?;
        Ok(private_file::write(path, Zeroizing::new(text).as_bytes())?)
    }

    /// Hostnames have a dot, or are no names of accounts.
    fn names(&self) -> Result<Vec<HostnamePattern>, FileError> {
        let failed = |source| FileError::List { path: self.path.clone(), source };
        let files = match fs::read_dir(&self.path) {
            Ok(files) => files,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(failed(error)),
        };
        let mut names = Vec::new();
        for file in files {
            let name = file.map_err(failed)?.file_name();
            let stem = name.to_str().and_then(|name| name.strip_suffix(".json"));
            let stem = stem.filter(|stem| !stem.starts_with("account-"));
            names.extend(stem.and_then(|stem| stem.parse::<HostnamePattern>().ok()));
        }
        Ok(names)
    }
}

fn read<T: for<'a> Deserialize<'a>>(path: &Path) -> Result<Option<T>, FileError> {
    match private_file::read(path) {
        Ok(bytes) => {
            let value = serde_json::from_slice(&bytes);
            value.map(Some).map_err(|source| FileError::Damaged { path: path.to_owned(), source })
        }
        Err(error) if error.is_missing() => Ok(None),
        Err(error) => Err(error.into()),
    }
}

impl Keep for Folder {
    fn account<'a>(&'a self, directory: &'a str) -> Kept<'a, Option<Secret>> {
        let directory = directory.to_owned();
        self.on_disk(move |inner| {
            let stored = read::<StoredAccount>(&inner.account(&directory))?;
            Ok(stored.map(|stored| stored.credentials))
        })
    }

    fn put_account<'a>(&'a self, directory: &'a str, credentials: Secret) -> Kept<'a, ()> {
        let directory = directory.to_owned();
        self.on_disk(move |inner| inner.write(&inner.account(&directory), &StoredAccount { credentials }))
    }

    fn names(&self) -> Kept<'_, Vec<HostnamePattern>> {
        self.on_disk(Inner::names)
    }

    fn entry<'a>(&'a self, name: &'a HostnamePattern) -> Kept<'a, Entry> {
        let name = name.clone();
        self.on_disk(move |inner| Ok(read::<Stored>(&inner.hostname(&name))?.unwrap_or_default().into()))
    }

    /// One process uses the folder at a time.
    fn claim<'a>(&'a self, _: &'a HostnamePattern, _: &'a str, _: i64, _: i64) -> Kept<'a, bool> {
        Box::pin(async { Ok(true) })
    }

    fn forget<'a>(&'a self, name: &'a HostnamePattern) -> Kept<'a, ()> {
        let name = name.clone();
        self.on_disk(move |inner| {
            let path = inner.hostname(&name);
            match fs::remove_file(&path) {
                Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                    Err(FileError::Remove { path, source })
                }
                _ => Ok(()),
            }
        })
    }

    fn put_order<'a>(&'a self, name: &'a HostnamePattern, order: OpenOrder) -> Kept<'a, ()> {
        let OpenOrder { directory, url, key } = order;
        self.change(name, move |stored| stored.order = Some(StoredOrder { directory, url, key }))
    }

    fn put_issued<'a>(&'a self, name: &'a HostnamePattern, issued: Issued) -> Kept<'a, ()> {
        let Issued { directory, chain, key } = issued;
        let issued = Some(StoredIssued { directory, chain, key });
        self.change(name, move |stored| *stored = Stored { issued, ..Stored::default() })
    }

    fn put_failed<'a>(&'a self, name: &'a HostnamePattern, failed: Failed, order_over: bool) -> Kept<'a, ()> {
        let Failed { count, error, retry_at } = failed;
        self.change(name, move |stored| {
            stored.failed = Some(StoredFailed { count, error, retry_at });
            if order_over {
                stored.order = None;
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_kept_is_private_and_comes_back() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("certificates");
        let (folder, name) = (Folder::new(path.clone()), "a.example.com".parse().unwrap());
        assert!(folder.names().await.unwrap().is_empty());
        assert_eq!(folder.entry(&name).await.unwrap(), Entry::default());
        let (directory, key) = ("https://ca.example/dir".to_owned(), Secret::new("key".into()));
        folder.put_account(&directory, Secret::new("account".into())).await.unwrap();
        let order = OpenOrder { directory: directory.clone(), url: "u".into(), key: key.clone() };
        folder.put_order(&name, order.clone()).await.unwrap();
        let failed = Failed { count: 1, error: "no".into(), retry_at: 7 };
        folder.put_failed(&name, failed.clone(), false).await.unwrap();
        let again = Folder::new(path.clone());
        let expected = Entry { issued: None, order: Some(order), failed: Some(failed) };
        assert_eq!(again.entry(&name).await.unwrap(), expected);
        let issued = Issued { directory: directory.clone(), chain: "chain".into(), key };
        folder.put_issued(&name, issued.clone()).await.unwrap();
        let expected = Entry { issued: Some(issued), order: None, failed: None };
        assert_eq!(again.entry(&name).await.unwrap(), expected);
        assert_eq!(again.names().await.unwrap(), std::slice::from_ref(&name));
        assert_eq!(again.account(&directory).await.unwrap().unwrap().expose(), "account");
        for file in fs::read_dir(&path).unwrap() {
            private_file::check_private(&file.unwrap().path()).unwrap();
        }
        private_file::check_private(&path).unwrap();
        folder.forget(&name).await.unwrap();
        folder.forget(&name).await.unwrap();
        assert!(again.names().await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn a_damaged_file_is_named() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("certificates");
        let (folder, name) = (Folder::new(path.clone()), "a.example.com".parse().unwrap());
        folder.put_failed(&name, Failed { count: 1, error: "no".into(), retry_at: 7 }, true).await.unwrap();
        private_file::write(&path.join("a.example.com.json"), b"{").unwrap();
        let error = folder.entry(&name).await.unwrap_err().to_string();
        assert!(error.contains("a.example.com.json` is damaged"), "{error}");
    }
}
