//! Certificates, orders and who may place them.

use acme::keep::{Entry, Failed, Issued, Keep, OpenOrder, Secret};
use protocol::hostname::HostnamePattern;

use super::*;

const CA: &str = "https://ca.example/dir";

fn hostname() -> HostnamePattern {
    "a.example.com".parse().unwrap()
}

fn order(url: &str) -> OpenOrder {
    OpenOrder { directory: CA.into(), url: url.into(), key: Secret::new("key".into()) }
}

fn failed(count: u32) -> Failed {
    Failed { count, error: "no".into(), retry_at: NOW + 60 }
}

#[tokio::test]
async fn an_account_is_kept_for_each_ca() {
    let bed = Bed::new().await;
    assert_eq!(bed.store.account(CA).await.unwrap(), None);
    for credentials in ["one", "two"] {
        bed.store.put_account(CA, Secret::new(credentials.into())).await.unwrap();
    }
    let kept = bed.opened_again().await.account(CA).await.unwrap().unwrap();
    assert_eq!(kept.expose(), "two");
    assert_eq!(bed.store.account("https://other.example/dir").await.unwrap(), None);
}

#[tokio::test]
async fn an_order_goes_from_step_to_step() {
    let (bed, name) = (Bed::new().await, hostname());
    bed.store.put_order(&name, order("https://ca.example/1")).await.unwrap();
    bed.store.put_failed(&name, failed(1), false).await.unwrap();
    let entry = bed.opened_again().await.entry(&name).await.unwrap();
    assert_eq!((entry.order, entry.failed), (Some(order("https://ca.example/1")), Some(failed(1))));
    bed.store.put_failed(&name, failed(2), true).await.unwrap();
    let entry = bed.store.entry(&name).await.unwrap();
    assert_eq!((entry.order, entry.failed), (None, Some(failed(2))));
    let issued = Issued { directory: CA.into(), chain: "chain".into(), key: Secret::new("key".into()) };
    bed.store.put_issued(&name, issued.clone()).await.unwrap();
    let entry = bed.store.entry(&name).await.unwrap();
    assert_eq!((entry.issued, entry.order, entry.failed), (Some(issued), None, None));
    assert_eq!(bed.store.names().await.unwrap(), std::slice::from_ref(&name));
    bed.store.put_failed(&name, failed(1), false).await.unwrap();
    bed.store.forget(&name).await.unwrap();
    assert_eq!(bed.store.entry(&name).await.unwrap(), Entry::default());
}

#[tokio::test]
async fn of_all_who_ask_at_once_one_orders() {
    let (bed, name) = (Bed::new().await, hostname());
    let stores = [bed.opened_again().await, bed.opened_again().await];
    let mut asking = tokio::task::JoinSet::new();
    for number in 0..16 {
        let (store, name) = (stores[number % 2].clone(), name.clone());
        asking.spawn(async move {
            store.claim(&name, &format!("relay {number}"), NOW, NOW + HOUR).await.unwrap()
        });
    }
    let won = asking.join_all().await.into_iter().filter(|won| *won).count();
    assert_eq!(won, 1);
}

#[tokio::test]
async fn a_claim_ends_by_itself_with_a_failure_or_with_the_certificate() {
    let (bed, name) = (Bed::new().await, hostname());
    let claim = async |holder: &str, now| bed.store.claim(&name, holder, now, now + HOUR).await.unwrap();
    assert!(claim("a", NOW).await && claim("a", NOW + 1).await);
    assert!(!claim("b", NOW + HOUR).await);
    assert!(claim("b", NOW + HOUR + 1).await);
    bed.store.put_failed(&name, failed(1), false).await.unwrap();
    assert!(claim("a", NOW + HOUR + 2).await);
    let issued = Issued { directory: CA.into(), chain: "chain".into(), key: Secret::new("key".into()) };
    bed.store.put_issued(&name, issued).await.unwrap();
    assert!(claim("b", NOW + HOUR + 3).await);
}
