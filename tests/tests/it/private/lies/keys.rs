//! Keys: the relay tells them, and cannot take another one's place once they are known.

use protocol::control::Carries;
use protocol::key::PublicKey;
use protocol::private::{AwaitDecision, AwaitHost, Context, Opened, Proven};
use protocol::roster::Role;
use protocol::stream::PrivateHeader;
use tests::bed::Agent;
use tests::operator::Piped;

use super::relay::{offering, reaching, secret};
use super::{Bed, for_host, refusal};

/// The liar's own key, which it passes off for everybody's.
const OWN: u8 = 77;

fn own() -> PublicKey {
    secret(OWN).public()
}

fn context<'c>(header: &'c PrivateHeader, names: &'c [protocol::id::PeerName; 2]) -> Context<'c> {
    Context { operator: &names[0], host: &names[1], purpose: &header.purpose, binding: &[] }
}

fn names() -> [protocol::id::PeerName; 2] {
    ["laptop", "home"].map(|name| name.parse().expect("a name"))
}

/// The liar as the host: answers the operator's greeting with its own key.
fn as_host(header: &PrivateHeader, greeting: &[u8]) -> (Vec<u8>, Proven) {
    let names = names();
    let decision = AwaitDecision::receive(&secret(OWN), &context(header, &names), &greeting[2..]);
    decision.expect("it is for this key").accept().expect("an answer")
}

/// One record's words.
fn opened(records: &mut protocol::private::Records, record: &[u8]) -> Vec<u8> {
    match records.open(&record[2..]).expect("a record") {
        Opened::Data(data) => data,
        Opened::End => vec![],
    }
}

/// The words of `agent peer verify`, and its exit code.
fn words(device: &Agent, other: &str) -> (Option<i32>, String) {
    let output = device.command(&["peer", "verify", other]);
    (output.status.code(), String::from_utf8(output.stdout).expect("text").trim().to_owned())
}

/// Starts `agent connect` and names this key as the home's; the liar hears no stream before that.
async fn dial(bed: &Bed, key: PublicKey) -> (Piped, super::Session) {
    let (pipe, mut session) = bed.dial(&bed.laptop, "laptop").await;
    session.tell(vec![offering("home", key, Carries::Tcp)]).await;
    (pipe, session)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_liar_at_first_contact_reads_everything_and_is_found_out_by_the_words() {
    let mut bed = Bed::new().await;
    let (mut pipe, session) = dial(&bed, own()).await;
    bed.host.tell(vec![reaching("laptop", own(), Role::Operator)]).await;
    let (header, mut operator) = session.next().await;
    let greeting = operator.message().await;
    let (answer, proven) = as_host(&header, &greeting);
    operator.say(&answer).await;
    let mut from_operator = proven.records().expect("records");
    let mut host = bed.host.open(&for_host(&header, "laptop")).await;
    let names = names();
    let (greeting, awaiting) =
        AwaitHost::start(&secret(OWN), &bed.host.key, &context(&header, &names)).expect("a greeting");
    host.say(&greeting).await;
    let answer = host.message().await;
    let mut to_host = awaiting.receive(&answer[2..]).expect("a proof").records().expect("records");
    host.say(&to_host.seal_ready().expect("a record")).await;
    from_operator.open_ready(&operator.message().await[2..]).expect("it is there");
    pipe.say(b"a secret").await;
    let read = opened(&mut from_operator, &operator.message().await);
    assert_eq!(read, b"a secret", "which nobody can prevent who has never met");
    host.say(&to_host.seal(&read).expect("a record")).await;
    let mut origin = bed.web.next().await;
    let mut heard = [0; 8];
    tokio::io::AsyncReadExt::read_exact(&mut origin, &mut heard).await.expect("it passes");
    assert_eq!(&heard, b"a secret");
    let (at_laptop, at_home) = (words(&bed.laptop.agent, "home"), words(&bed.home, "laptop"));
    assert_eq!((at_laptop.0, at_home.0), (Some(0), Some(0)));
    assert_eq!([&at_laptop.1, &at_home.1].map(|words| words.split(' ').count()), [12, 12]);
    assert_ne!(at_laptop.1, at_home.1);
    drop(pipe);
    // Nor can it go back to the truth without being noticed.
    let (pipe, _session) = dial(&bed, bed.host.key).await;
    assert!(refusal(pipe).await.contains("the key of `home` is not the one that was first seen"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_changes_is_refused_until_a_person_accepts_it() {
    let mut bed = Bed::new().await;
    drop(bed.led().await);
    let honest = words(&bed.laptop.agent, "home");
    assert_eq!((honest.0, &honest), (Some(0), &words(&bed.home, "laptop")));
    for _ in 0..2 {
        let (pipe, session) = dial(&bed, own()).await;
        let said = refusal(pipe).await;
        assert!(said.contains("the key of `home` is not the one that was first seen"), "{said}");
        assert!(said.contains("\nhint: ") && said.contains("`agent peer verify home`"), "{said}");
        assert!(said.contains(&own().fingerprint()) && said.contains(&bed.host.key.fingerprint()), "{said}");
        assert!(session.connection.accept_bi().await.is_err(), "the liar is told nothing");
    }
    // The truth is still believed, and a person who compares sees what the new words would be.
    drop(bed.led().await);
    let (pipe, _session) = dial(&bed, own()).await;
    let _said = refusal(pipe).await;
    let changed = words(&bed.laptop.agent, "home");
    assert!(changed.0 == Some(1) && changed.1 != honest.1, "{changed:?}");
    let list = bed.laptop.agent.command(&["peer", "list"]);
    assert!(String::from_utf8_lossy(&list.stdout).contains("not believed"), "{list:?}");
    let accept = |fingerprint: &str| bed.laptop.agent.command(&["peer", "accept", "home", fingerprint]);
    let another = accept(&secret(OWN + 1).public().fingerprint());
    assert!(String::from_utf8_lossy(&another.stderr).contains("has now is another"), "{another:?}");
    assert!(accept(&own().fingerprint()).status.success());
    let (mut pipe, session) = dial(&bed, own()).await;
    let (header, mut operator) = session.next().await;
    let (answer, proven) = as_host(&header, &operator.message().await);
    operator.say(&answer).await;
    pipe.say(b"believed").await;
    let mut records = proven.records().expect("records");
    records.open_ready(&operator.message().await[2..]).expect("it is there");
    assert_eq!(opened(&mut records, &operator.message().await), b"believed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proof_of_another_key_is_none() {
    let bed = Bed::new().await;
    let names = names();
    let mut refused = 0;
    for lie in 0..4 {
        let (mut pipe, session) = dial(&bed, bed.host.key).await;
        pipe.say(b"a secret").await;
        let (header, mut operator) = session.next().await;
        let greeting = operator.message().await;
        // The liar has no part in this, as the greeting is for the home.
        let own = secret(OWN);
        assert!(AwaitDecision::receive(&own, &context(&header, &names), &greeting[2..]).is_err());
        let (to_itself, _) =
            AwaitHost::start(&secret(3), &own.public(), &context(&header, &names)).expect("keys");
        match lie {
            0 => operator.say(&as_host(&header, &to_itself).0).await,
            1 => operator.say(&greeting).await,
            2 => operator.say(&[&[0, 48][..], &[7; 48]].concat()).await,
            _ => operator.say(&[255, 255, 1, 2, 3]).await,
        }
        let said = refusal(pipe).await;
        assert!(said.contains("`home/web` cannot be reached"), "{said}");
        assert!(said.contains("the other peer's proof of its key failed"), "{said}");
        refused += 1;
    }
    assert_eq!(refused, 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_in_the_name_of_another_is_refused_by_the_key_that_was_first_seen() {
    let mut bed = Bed::allowing("peer:laptop").await;
    drop(bed.led().await);
    // A device of the liar's own choice, which it calls `laptop` everywhere.
    let thief = tests::operator::Operator { agent: bed.liar.enroll("laptop").await };
    let (pipe, mut session) = bed.dial(&thief, "laptop").await;
    session.tell(vec![bed.offer()]).await;
    bed.host.tell(vec![reaching("laptop", session.key, Role::Operator)]).await;
    let (header, mut operator) = session.next().await;
    let greeting = operator.message().await;
    let code = bed.is_refused(&for_host(&header, "laptop"), &greeting).await;
    assert_eq!(code, protocol::close::StreamReset::Unproven);
    bed.home.process().wait_for_log("the key of `laptop` is not the one that was first seen");
    assert!(bed.home.process().log().contains("agent peer verify laptop"));
    assert_eq!(words(&bed.home, "laptop").0, Some(1));
    drop(pipe);
}
