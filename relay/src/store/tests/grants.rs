//! Hostnames, services and tags alike: how they come and go, how many there can be, and how files from before there were
//! other grants than hostnames get to have them.

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection as _, query_scalar, raw_sql};

use super::*;

fn grants(hosts: &[&str], services: &[&str], tags: &[&str]) -> Grants {
    Grants {
        hostnames: hostnames(hosts),
        services: services.iter().map(|service| service.parse().unwrap()).collect(),
        tags: tags.iter().map(|tag| tag.parse().unwrap()).collect(),
    }
}

/// So many services.
fn many(count: usize) -> Grants {
    let services = (0..count).map(|number| format!("home/s{number:03}").parse().unwrap());
    Grants { services: services.collect(), ..Grants::default() }
}

fn operator(called: &str, grants: Grants) -> NewPeer {
    NewPeer { name: Some(name(called)), role: Role::Operator, grants }
}

#[tokio::test]
async fn a_token_carries_all_kinds_of_grants() {
    let bed = Bed::new().await;
    let carried =
        grants(&["a.example.com"], &["*/ssh", "home/dashboard", "tag:media/*"], &["family", "phones"]);
    let laptop = bed.enrolled(1, &operator("laptop", carried.clone())).await;
    assert_eq!((laptop.role, &laptop.grants), (Role::Operator, &carried));
    assert_eq!(bed.store.tokens(NOW).await.unwrap()[0].grant.grants, carried);
    assert_eq!(bed.store.peers().await.unwrap(), [laptop]);
    let expected =
        "token 1 enrolled laptop: a.example.com, */ssh, home/dashboard, tag:media/*, tag family, tag phones";
    assert_eq!(bed.actions().await[2], expected);
}

#[tokio::test]
async fn each_kind_comes_and_goes_and_is_audited_once() {
    let bed = Bed::new().await;
    let laptop = bed.enrolled(1, &operator("laptop", grants(&[], &["home/dashboard"], &[]))).await;
    let more = grants(&["a.example.com"], &["nas/*", "home/dashboard"], &["family", "family"]);
    for _ in 0..2 {
        let granted = bed.store.grant(&laptop.name, &more, NOW).await.unwrap().unwrap();
        assert_eq!(granted.grants, grants(&["a.example.com"], &["home/dashboard", "nas/*"], &["family"]));
    }
    // Taken word for word: that a pattern covers something does not mean that it goes with it.
    let less = grants(&["a.example.com"], &["nas/web", "home/*", "home/dashboard"], &["family"]);
    for _ in 0..2 {
        let left = bed.store.ungrant(&laptop.name, &less, NOW).await.unwrap().unwrap();
        assert_eq!(left.grants, grants(&[], &["nas/*"], &[]));
    }
    let expected = [
        "admin granted laptop: a.example.com, nas/*, tag family",
        "admin ungranted laptop: a.example.com, home/dashboard, tag family",
    ];
    assert_eq!(bed.actions().await[3..], expected);
}

#[tokio::test]
async fn a_text_is_of_one_kind() {
    let bed = Bed::new().await;
    let home = bed.enrolled(1, &operator("home", grants(&["family"], &[], &["family"]))).await;
    let left = bed.store.ungrant(&home.name, &grants(&["family"], &[], &[]), NOW).await.unwrap().unwrap();
    assert_eq!(left.grants, grants(&[], &[], &["family"]));
}

#[tokio::test]
async fn approval_grants_all_kinds() {
    let bed = Bed::new().await;
    bed.store.request_enrollment(&key(1), None, address("::1"), "ABCD", NOW).await.unwrap();
    let said = grants(&["a.example.com"], &["home/dashboard"], &["family"]);
    let peer = bed.store.approve("ABCD", &operator("laptop", said.clone()), NOW).await.unwrap().unwrap();
    assert_eq!((peer.role, peer.grants), (Role::Operator, said));
    let expected = "admin approved laptop: a.example.com, home/dashboard, tag family";
    assert_eq!(bed.actions().await, [expected]);
}

fn is_too_many<T: std::fmt::Debug>(outcome: Result<T, StoreError>) -> bool {
    let error = outcome.unwrap_err();
    assert_eq!(error.to_string(), "a peer or a token has 256 services at most");
    matches!(error, StoreError::TooMany(_))
}

#[tokio::test]
async fn what_one_peer_or_token_has_is_bounded_and_a_refusal_changes_nothing() {
    let bed = Bed::new().await;
    let hash = TokenHash::of(&[1; 32]);
    assert!(is_too_many(bed.store.create_token(&hash, &operator("a", many(257)), NOW, NOW + HOUR).await));
    bed.store.request_enrollment(&key(1), None, address("::1"), "ABCD", NOW).await.unwrap();
    assert!(is_too_many(bed.store.approve("ABCD", &operator("a", many(257)), NOW).await));
    assert_eq!((bed.store.tokens(NOW).await.unwrap(), bed.store.peers().await.unwrap()), (vec![], vec![]));
    assert_eq!(bed.store.pending(NOW).await.unwrap().len(), 1);

    let full = bed.store.approve("ABCD", &operator("a", many(256)), NOW).await.unwrap().unwrap();
    let audited = bed.actions().await;
    let other = grants(&[], &["nas/web"], &[]);
    assert!(is_too_many(bed.store.grant(&full.name, &other, NOW).await));
    assert_eq!(bed.store.peers().await.unwrap(), std::slice::from_ref(&full));
    assert_eq!(bed.actions().await, audited);
    let tagged = grants(&[], &["home/s000"], &["family"]);
    bed.store.grant(&full.name, &tagged, NOW).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_token_that_carries_too_much_for_its_peer_stays_open() {
    let bed = Bed::new().await;
    let full = bed.enrolled(1, &operator("a", many(256))).await;
    let hash = bed.token(2, &operator("a", grants(&[], &["nas/web"], &[]))).await;
    assert!(is_too_many(bed.store.redeem_token(&hash, &full.key, None, NOW).await));
    assert_eq!(bed.store.tokens(NOW).await.unwrap()[1].state, TokenState::Open);
    assert_eq!(bed.store.peers().await.unwrap(), [full]);
    let another = bed.store.redeem_token(&hash, &key(2), None, NOW).await.unwrap();
    assert_eq!(peer(another).unwrap().grants, grants(&[], &["nas/web"], &[]));
}

/// A file as a relay of schema 2 left it, with a peer, its grants, and a token that nobody has used yet.
async fn file_of_version_2(path: &Path) {
    let filled = "
        INSERT INTO peers (id, name, key, role, enrolled_at) VALUES (4, 'home', zeroblob(32), 'host', 5);
        INSERT INTO grants VALUES (4, 'hostname', '*.example.com'), (4, 'hostname', 'a.example.org');
        INSERT INTO tokens (id, hash, name, role, created_at, expires_at)
            VALUES (7, zeroblob(32), 'nas', 'host', 5, 1900000000);
        INSERT INTO token_grants VALUES (7, 'hostname', 'nas.example.com');";
    let mut db = SqliteConnectOptions::new().filename(path).create_if_missing(true).connect().await.unwrap();
    for sql in [include_str!("../schema.sql"), include_str!("../certificates.sql"), filled] {
        raw_sql(sql).execute(&mut db).await.unwrap();
    }
    db.close().await.unwrap();
}

#[tokio::test]
async fn a_file_of_version_2_keeps_its_grants_and_takes_the_new_kinds() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("relay.db");
    file_of_version_2(&path).await;
    let store = Store::open(&path).await.unwrap();
    let [home] = <[Peer; 1]>::try_from(store.peers().await.unwrap()).unwrap();
    assert_eq!((home.id, home.grants), (4, exposing(&hostnames(&["*.example.com", "a.example.org"]))));
    let [token] = <[Token; 1]>::try_from(store.tokens(NOW).await.unwrap()).unwrap();
    assert_eq!((token.id, &token.state), (7, &TokenState::Open));
    assert_eq!(token.grant.grants, exposing(&hostnames(&["nas.example.com"])));

    let more = grants(&[], &["nas/*"], &["family"]);
    let granted = store.grant(&home.name, &more, NOW).await.unwrap().unwrap();
    assert_eq!(granted.grants.minus(&more), exposing(&hostnames(&["*.example.com", "a.example.org"])));
    store.create_token(&TokenHash::of(&[1; 32]), &operator("laptop", more), NOW, NOW + HOUR).await.unwrap();
    store.close().await;
    // And is not changed a second time.
    assert_eq!(Store::open(&path).await.unwrap().peers().await.unwrap(), [granted]);
}

#[tokio::test]
async fn tables_that_were_made_anew_are_as_strict_as_before() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("relay.db");
    file_of_version_2(&path).await;
    let store = Store::open(&path).await.unwrap();
    let count = "SELECT (SELECT count(*) FROM grants) * 1000 + (SELECT count(*) FROM token_grants)";
    let left = async |db: &mut Connection| query_scalar::<_, i64>(count).fetch_one(db).await;
    assert_eq!(store.pools.read("count", left).await.unwrap(), 2001);
    for (table, wrong) in
        [("grants", "(4, 'port', '1')"), ("grants", "(9, 'tag', 'a')"), ("token_grants", "(7, 'x', 'a')")]
    {
        let insert = sqlx::AssertSqlSafe(format!("INSERT INTO {table} VALUES {wrong}"));
        let insert = async |db: &mut Connection| raw_sql(insert).execute(db).await.map(drop);
        store.pools.write("break the rules", insert).await.unwrap_err();
    }
    let kinds =
        "SELECT sum(strict * 10 + wr) FROM pragma_table_list WHERE name IN ('grants', 'token_grants')";
    let kinds = async |db: &mut Connection| query_scalar::<_, i64>(kinds).fetch_one(db).await;
    assert_eq!(store.pools.read("look at the tables", kinds).await.unwrap(), 22);

    // Grants go with whom they were granted to.
    store.revoke_peer(&name("home"), NOW).await.unwrap();
    let delete = async |db: &mut Connection| raw_sql("DELETE FROM tokens").execute(db).await.map(drop);
    store.pools.write("forget the tokens", delete).await.unwrap();
    assert_eq!(store.pools.read("count", left).await.unwrap(), 0);
}

#[test]
fn what_was_more_than_the_bound_before_there_was_one_does_not_stand_in_the_way() {
    let (before, tag) = (many(300), grants(&[], &[], &["family"]));
    let tagged = Grants { tags: tag.tags, ..before.clone() };
    assert_eq!(tagged.check_growth(&before), Ok(()));
    assert_eq!(many(299).check_growth(&before), Ok(()));
    assert!(many(301).check_growth(&before).is_err());
}
