//! The file: whose it is, what survives, what is refused.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection as _, raw_sql};

use super::*;

impl Bed {
    fn file(&self) -> PathBuf {
        self.folder.path().join("relay.db")
    }
}

async fn run_sql(file: &Path, sql: &str) {
    let options = SqliteConnectOptions::new().filename(file).create_if_missing(true);
    let mut db = options.connect().await.unwrap();
    raw_sql(AssertSqlSafe(sql)).execute(&mut db).await.unwrap();
    db.close().await.unwrap();
}

#[tokio::test]
async fn its_files_are_for_their_owner_alone() {
    let bed = Bed::new().await;
    bed.enrolled(1, &host(None, &[])).await;
    let modes: Vec<_> = fs::read_dir(bed.folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().metadata().unwrap().permissions().mode() & 0o777)
        .collect();
    assert_eq!(modes, [0o600; 3], "the file, its -wal and its -shm");

    bed.store.close().await;
    fs::set_permissions(bed.file(), Permissions::from_mode(0o644)).unwrap();
    bed.opened_again().await;
    assert_eq!(fs::metadata(bed.file()).unwrap().permissions().mode() & 0o777, 0o600);
}

/// SQLite ends the transaction by itself when the disk is full; the next one must begin all the same.
#[tokio::test]
async fn a_full_disk_is_forgotten_when_there_is_room_again() {
    let bed = Bed::new().await;
    let fill = async |db: &mut Connection| raw_sql("PRAGMA max_page_count = 1").execute(db).await.map(drop);
    bed.store.pools.write("fill the disk", fill).await.unwrap();
    let long = ["a"; 50].join(".");
    let many: Vec<String> = (0..256).map(|number| format!("h{number}.{long}.example.com")).collect();
    let grant = host(None, &many.iter().map(String::as_str).collect::<Vec<_>>());
    assert!(bed.store.create_token(&TokenHash::of(&[1; 32]), &grant, NOW, NOW + 1).await.is_err());
    bed.store.create_token(&TokenHash::of(&[2; 32]), &host(None, &[]), NOW, NOW + 1).await.unwrap();
}

#[tokio::test]
async fn everything_is_there_after_a_restart() {
    let bed = Bed::new().await;
    bed.store.relay_secret([5; 32]).await.unwrap();
    bed.enrolled(1, &host(Some("home"), &["a.example.com"])).await;
    bed.token(2, &host(None, &["*.example.com"])).await;
    bed.store.request_enrollment(&key(3), None, address("2001:db8::1"), "ABCD-EFGH", NOW).await.unwrap();
    let all = async |store: &Store| {
        let lists = (store.peers().await, store.tokens(NOW).await, store.pending(NOW).await);
        (lists.0.unwrap(), lists.1.unwrap(), lists.2.unwrap(), store.audit(100).await.unwrap())
    };
    let before = all(&bed.store).await;
    assert_eq!((before.0.len(), before.1.len(), before.2.len(), before.3.len()), (1, 2, 1, 4));
    bed.store.close().await;
    assert!(bed.store.peers().await.is_err());

    let reopened = bed.opened_again().await;
    assert_eq!(all(&reopened).await, before);
    assert_eq!(reopened.relay_secret([6; 32]).await.unwrap().expose_bytes(), &[5; 32]);
}

#[tokio::test]
async fn what_was_written_survives_a_crash() {
    let bed = Bed::new().await;
    let home = bed.enrolled(1, &host(Some("home"), &["a.example.com"])).await;
    // What `kill -9` leaves behind: the files as they are, without anybody having closed them.
    let copy = tempfile::tempdir().unwrap();
    for suffix in ["", "-wal"] {
        let file = format!("relay.db{suffix}");
        fs::copy(bed.folder.path().join(&file), copy.path().join(&file)).unwrap();
    }
    let survivor = Store::open(&copy.path().join("relay.db")).await.unwrap();
    assert_eq!(survivor.peers().await.unwrap(), [home]);
}

#[tokio::test]
async fn the_audit_log_tells_of_every_change_and_of_no_secret() {
    let bed = Bed::new().await;
    let home = bed.enrolled(1, &host(Some("home"), &["a.example.com"])).await;
    bed.token(2, &host(None, &[])).await;
    bed.store.revoke_token(2, NOW).await.unwrap();
    bed.store.revoke_peer(&home.name, NOW + 1).await.unwrap();
    let expected = [
        "admin token created token 1",
        &format!("{} token redeemed token 1", home.key.fingerprint()),
        "token 1 enrolled home: a.example.com",
        "admin token created token 2",
        "admin token revoked token 2",
        "admin revoked home",
    ];
    assert_eq!(bed.actions().await, expected);
    let latest =
        AuditEntry { at: NOW + 1, actor: "admin".into(), action: "revoked".into(), subject: "home".into() };
    assert_eq!(bed.store.audit(1).await.unwrap(), [latest]);
}

#[tokio::test]
async fn a_file_that_is_no_store_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("relay.db");
    fs::write(&file, "this is not a database, ".repeat(100)).unwrap();
    let error = Store::open(&file).await.unwrap_err();
    assert!(matches!(error, StoreError::Damaged { .. }), "{error:?}");
    assert!(fs::read_to_string(&file).unwrap().starts_with("this is not"));

    let foreign = folder.path().join("other.db");
    run_sql(&foreign, "CREATE TABLE bookmarks (url TEXT)").await;
    let before = fs::read(&foreign).unwrap();
    let error = Store::open(&foreign).await.unwrap_err();
    assert!(matches!(error, StoreError::Foreign { .. }), "{error:?}");
    assert_eq!(fs::read(&foreign).unwrap(), before);

    let nowhere = Store::open(&folder.path().join("missing/relay.db")).await.unwrap_err();
    assert!(matches!(nowhere, StoreError::Private { .. }), "{nowhere:?}");
}

#[tokio::test]
async fn a_damaged_store_is_refused() {
    let bed = Bed::new().await;
    for number in 1..30 {
        bed.enrolled(number, &host(None, &["a.example.com"])).await;
    }
    bed.store.close().await;
    let whole = fs::read(bed.file()).unwrap();
    let mut overwritten = whole.clone();
    overwritten[8192..12288].fill(0x5a);
    for broken in [&whole[..whole.len() / 2], &overwritten] {
        fs::write(bed.file(), broken).unwrap();
        let error = Store::open(&bed.file()).await.unwrap_err();
        let is_damage = matches!(error, StoreError::Damaged { .. } | StoreError::Inconsistent { .. });
        assert!(is_damage && error.to_string().contains("is damaged"), "{error:?}");
    }
}

#[tokio::test]
async fn a_store_of_a_later_version_is_refused_clearly() {
    let bed = Bed::new().await;
    bed.store.close().await;
    run_sql(&bed.file(), "PRAGMA user_version = 7").await;
    let error = Store::open(&bed.file()).await.unwrap_err();
    assert!(matches!(error, StoreError::Later { found: 7, known: 3, .. }), "{error:?}");
    assert!(error.to_string().ends_with("it was written by a later version"));
}

#[tokio::test]
async fn what_cannot_be_read_is_an_error_and_not_a_guess() {
    let bed = Bed::new().await;
    bed.enrolled(1, &host(None, &["a.example.com"])).await;
    run_sql(&bed.file(), "UPDATE grants SET value = 'not a hostname'").await;
    let error = bed.store.peers().await.unwrap_err();
    assert!(matches!(error, StoreError::Operation { operation: "list the peers", .. }), "{error:?}");
    assert!(!error.to_string().contains("not a hostname"));
}
