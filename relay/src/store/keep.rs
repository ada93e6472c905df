//! The store as what keeps certificates: each operation is one transaction of [`super::certificates`].

use acme::keep::{Entry, Failed, Issued, Keep, Kept, OpenOrder, Secret};
use protocol::hostname::HostnamePattern;

use super::Store;
use super::certificates;
use super::sqlite::Connection;

impl Keep for Store {
    fn account<'a>(&'a self, directory: &'a str) -> Kept<'a, Option<Secret>> {
        Box::pin(async move {
            let find = async |db: &mut Connection| certificates::account(db, directory).await;
            Ok(self.pools.read("read the account with the CA", find).await?)
        })
    }

    fn put_account<'a>(&'a self, directory: &'a str, credentials: Secret) -> Kept<'a, ()> {
        Box::pin(async move {
            let put =
                async |db: &mut Connection| certificates::put_account(db, directory, &credentials).await;
            Ok(self.pools.write("keep the account with the CA", put).await?)
        })
    }

    fn names(&self) -> Kept<'_, Vec<HostnamePattern>> {
        Box::pin(async move {
            Ok(self.pools.read("list the certificates", async |db| certificates::names(db).await).await?)
        })
    }

    fn entry<'a>(&'a self, name: &'a HostnamePattern) -> Kept<'a, Entry> {
        Box::pin(async move {
            let find = async |db: &mut Connection| certificates::entry(db, name.as_str()).await;
            Ok(self.pools.read("read a certificate", find).await?)
        })
    }

    fn claim<'a>(
        &'a self,
        name: &'a HostnamePattern,
        holder: &'a str,
        now: i64,
        until: i64,
    ) -> Kept<'a, bool> {
        Box::pin(async move {
            let claim =
                async |db: &mut Connection| certificates::claim(db, name.as_str(), holder, now, until).await;
            Ok(self.pools.write("claim the order of a certificate", claim).await?)
        })
    }

    fn put_order<'a>(&'a self, name: &'a HostnamePattern, order: OpenOrder) -> Kept<'a, ()> {
        Box::pin(async move {
            let put = async |db: &mut Connection| certificates::put_order(db, name.as_str(), &order).await;
            Ok(self.pools.write("keep the order of a certificate", put).await?)
        })
    }

    fn put_issued<'a>(&'a self, name: &'a HostnamePattern, issued: Issued) -> Kept<'a, ()> {
        Box::pin(async move {
            let put = async |db: &mut Connection| certificates::put_issued(db, name.as_str(), &issued).await;
            Ok(self.pools.write("keep a certificate", put).await?)
        })
    }

    fn put_failed<'a>(&'a self, name: &'a HostnamePattern, failed: Failed, order_over: bool) -> Kept<'a, ()> {
        Box::pin(async move {
            let put = async |db: &mut Connection| {
                certificates::put_failed(db, name.as_str(), &failed, order_over).await
            };
            Ok(self.pools.write("keep the failure of an order", put).await?)
        })
    }

    fn forget<'a>(&'a self, name: &'a HostnamePattern) -> Kept<'a, ()> {
        Box::pin(async move {
            let forget = async |db: &mut Connection| certificates::forget(db, name.as_str()).await;
            Ok(self.pools.write("forget a certificate", forget).await?)
        })
    }
}
