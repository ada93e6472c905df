//! Enrollments at a relay that is there for the test alone.

use protocol::control::EnrollAnswer;

use super::*;
use crate::testing::{FakeRelay, key};

fn applicant(relay: &FakeRelay) -> Applicant {
    Applicant {
        secret: key(1),
        relay: relay.address().to_string().parse().unwrap(),
        name: Some("home".parse().unwrap()),
        token: None,
        told: Some(relay.secret.public().fingerprint()),
        known: None,
    }
}

fn accepted() -> EnrollAnswer {
    EnrollAnswer::Accepted {
        peer: "home".parse().unwrap(),
        hostnames: vec!["a.example".parse().unwrap()],
        services: vec!["nas/web".parse().unwrap()],
    }
}

#[tokio::test]
async fn a_pending_request_outlives_its_connection() {
    let relay = FakeRelay::start();
    let mut told = Vec::new();
    let applicant = applicant(&relay);
    let device = enroll(&applicant, |pending| told.push(pending.code.clone()));
    let answers = async {
        let (first, _, mut control) = relay.enrolling().await.unwrap();
        let pending = EnrollAnswer::Pending { code: "ABCD".into(), expires_in_s: 60 };
        control.tell(&pending).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
        control.connection.close(SessionClose::Done.number().into(), b"");
        let (again, _, mut control) = relay.enrolling().await.unwrap();
        assert_eq!(first, again);
        control.tell(&pending).await;
        control.tell(&accepted()).await;
        control.connection.closed().await
    };
    let (device, _) = tokio::join!(device, answers);
    let device = device.unwrap();
    assert_eq!((device.peer.as_str(), device.relay_key), ("home", relay.secret.public()));
    assert_eq!(device.services, ["nas/web".parse().unwrap()]);
    assert_eq!(told, ["ABCD"]);
}

#[tokio::test]
async fn a_token_goes_only_to_the_relay_that_it_names() {
    let relay = FakeRelay::start();
    let with_token = |relay_key| Applicant {
        token: Some(EnrollmentToken::new([7; 32], relay_key)),
        told: None,
        ..applicant(&relay)
    };
    let right = with_token(relay.secret.public());
    let answer = async {
        let (_, request, mut control) = relay.enrolling().await.unwrap();
        control.tell(&accepted()).await;
        control.connection.closed().await;
        request.token.map(|token| token.hash())
    };
    let (device, hash) = tokio::join!(enroll(&right, |_| ()), answer);
    device.unwrap();
    assert_eq!(hash, right.token.as_ref().map(EnrollmentToken::hash));

    let wrong = with_token(key(9).public());
    let (device, heard) = tokio::join!(enroll(&wrong, |_| ()), relay.enrolling());
    assert!(matches!(device, Err(EnrollError::Trust(TrustError::Token { .. }))));
    assert!(heard.is_none());
}

#[tokio::test]
async fn a_self_signed_certificate_alone_is_not_trusted() {
    let relay = FakeRelay::start();
    let stranger = Applicant { told: None, ..applicant(&relay) };
    let (device, heard) = tokio::join!(enroll(&stranger, |_| ()), relay.enrolling());
    let error = device.unwrap_err();
    assert!(matches!(error, EnrollError::Trust(TrustError::Certificate { .. })), "{error:?}");
    assert!(error.hint().unwrap().contains(&relay.secret.public().fingerprint()));
    assert!(heard.is_none());
}

#[tokio::test]
async fn a_refusal_is_repeated_without_what_steers_terminals() {
    let relay = FakeRelay::start();
    let applicant = applicant(&relay);
    let answer = async {
        let (_, _, mut control) = relay.enrolling().await.unwrap();
        control.tell(&EnrollAnswer::Refused { reason: "full\u{7}".into() }).await;
        control.connection.closed().await
    };
    let (device, _) = tokio::join!(enroll(&applicant, |_| ()), answer);
    assert_eq!(device.unwrap_err().to_string(), "the relay refused: full?");
}
