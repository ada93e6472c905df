//! Queries on certificates, orders and accounts with a CA.

use acme::keep::{Entry, Failed, Issued, OpenOrder, Secret};
use protocol::hostname::HostnamePattern;
use sqlx::{Error, Row as _, query, query_scalar};

use super::row::undecodable;
use super::sqlite::{Connection, Row};

pub(super) async fn account(db: &mut Connection, directory: &str) -> Result<Option<Secret>, Error> {
    let found: Option<String> = query_scalar("SELECT credentials FROM acme_accounts WHERE directory = $1")
        .bind(directory)
        .fetch_optional(db)
        .await?;
    Ok(found.map(Secret::new))
}

pub(super) async fn put_account(
    db: &mut Connection,
    directory: &str,
    credentials: &Secret,
) -> Result<(), Error> {
    let insert = "INSERT INTO acme_accounts (directory, credentials) VALUES ($1, $2) \
                  ON CONFLICT (directory) DO UPDATE SET credentials = excluded.credentials";
    query(insert).bind(directory).bind(credentials.expose()).execute(db).await?;
    Ok(())
}

pub(super) async fn names(db: &mut Connection) -> Result<Vec<HostnamePattern>, Error> {
    let found: Vec<String> =
        query_scalar("SELECT name FROM certificates UNION SELECT name FROM orders").fetch_all(db).await?;
    found.iter().map(|name| name.parse().map_err(|error| undecodable("name", error))).collect()
}

pub(super) async fn entry(db: &mut Connection, name: &str) -> Result<Entry, Error> {
    let certificate = query("SELECT directory, chain, key FROM certificates WHERE name = $1");
    let issued =
        certificate.bind(name).fetch_optional(&mut *db).await?.map(|row| issued(&row)).transpose()?;
    let order = query("SELECT directory, url, key, failures, error, retry_at FROM orders WHERE name = $1");
    let Some(row) = order.bind(name).fetch_optional(db).await? else {
        return Ok(Entry { issued, ..Entry::default() });
    };
    Ok(Entry { issued, order: open_order(&row)?, failed: failed(&row)? })
}

fn issued(row: &Row) -> Result<Issued, Error> {
    let (directory, chain) = (row.try_get("directory")?, row.try_get("chain")?);
    Ok(Issued { directory, chain, key: Secret::new(row.try_get("key")?) })
}

fn open_order(row: &Row) -> Result<Option<OpenOrder>, Error> {
    let Some(url) = row.try_get("url")? else { return Ok(None) };
    Ok(Some(OpenOrder { directory: row.try_get("directory")?, url, key: Secret::new(row.try_get("key")?) }))
}

fn failed(row: &Row) -> Result<Option<Failed>, Error> {
    let Some(error) = row.try_get("error")? else { return Ok(None) };
    let count: i64 = row.try_get("failures")?;
    let count = u32::try_from(count).unwrap_or(u32::MAX);
    Ok(Some(Failed { count, error, retry_at: row.try_get("retry_at")? }))
}

pub(super) async fn claim(
    db: &mut Connection,
    name: &str,
    holder: &str,
    now: i64,
    until: i64,
) -> Result<bool, Error> {
    let claim = "INSERT INTO orders (name, holder, held_until) VALUES ($1, $2, $3) \
                 ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, held_until = excluded.held_until \
                 WHERE orders.holder IS NULL OR orders.holder = excluded.holder OR orders.held_until <= $4";
    let done = query(claim).bind(name).bind(holder).bind(until).bind(now).execute(db).await?;
    Ok(done.rows_affected() > 0)
}

pub(super) async fn put_order(db: &mut Connection, name: &str, order: &OpenOrder) -> Result<(), Error> {
    let insert = "INSERT INTO orders (name, directory, url, key) VALUES ($1, $2, $3, $4) \
                  ON CONFLICT (name) DO UPDATE \
                  SET directory = excluded.directory, url = excluded.url, key = excluded.key";
    let OpenOrder { directory, url, key } = order;
    query(insert).bind(name).bind(directory).bind(url).bind(key.expose()).execute(db).await?;
    Ok(())
}

pub(super) async fn put_issued(db: &mut Connection, name: &str, issued: &Issued) -> Result<(), Error> {
    let insert = "INSERT INTO certificates (name, directory, chain, key) VALUES ($1, $2, $3, $4) \
                  ON CONFLICT (name) DO UPDATE \
                  SET directory = excluded.directory, chain = excluded.chain, key = excluded.key";
    let Issued { directory, chain, key } = issued;
    query(insert).bind(name).bind(directory).bind(chain).bind(key.expose()).execute(&mut *db).await?;
    query("DELETE FROM orders WHERE name = $1").bind(name).execute(db).await?;
    Ok(())
}

pub(super) async fn put_failed(
    db: &mut Connection,
    name: &str,
    failed: &Failed,
    order_over: bool,
) -> Result<(), Error> {
    let insert = "INSERT INTO orders (name, failures, error, retry_at) VALUES ($1, $2, $3, $4) \
                  ON CONFLICT (name) DO UPDATE SET holder = NULL, held_until = 0, \
                  failures = excluded.failures, error = excluded.error, retry_at = excluded.retry_at";
    let Failed { count, error, retry_at } = failed;
    query(insert).bind(name).bind(i64::from(*count)).bind(error).bind(retry_at).execute(&mut *db).await?;
    if order_over {
        let forget = "UPDATE orders SET directory = NULL, url = NULL, key = NULL WHERE name = $1";
        query(forget).bind(name).execute(db).await?;
    }
    Ok(())
}

pub(super) async fn forget(db: &mut Connection, name: &str) -> Result<(), Error> {
    query("DELETE FROM certificates WHERE name = $1").bind(name).execute(&mut *db).await?;
    query("DELETE FROM orders WHERE name = $1").bind(name).execute(db).await?;
    Ok(())
}
