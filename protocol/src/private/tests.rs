//! What two peers say to each other in a sealed stream, and what nobody else can.

use proptest::prelude::*;

use super::*;

fn key(byte: u8) -> SecretKey {
    SecretKey::from_bytes([byte; 32]).unwrap()
}

fn name<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> T {
    text.parse().unwrap()
}

fn start(operator: &str, host: &str, purpose: &Purpose) -> (Vec<u8>, AwaitHost) {
    let (operator, host) = (name(operator), name(host));
    AwaitHost::start(
        &key(1),
        &key(2).public(),
        &Context { operator: &operator, host: &host, purpose, binding: &[] },
    )
    .unwrap()
}

fn receive(operator: &str, purpose: &Purpose, wire: &[u8]) -> Result<AwaitDecision, PrivateError> {
    let (operator, host) = (name(operator), name("home"));
    AwaitDecision::receive(
        &key(2),
        &Context { operator: &operator, host: &host, purpose, binding: &[] },
        &wire[HEAD..],
    )
}

fn ssh() -> Purpose {
    Purpose::Tcp(name("ssh"))
}

/// Both ends after a handshake.
pub(crate) fn pair() -> (Proven, Proven) {
    let (greeting, awaiting) = start("laptop", "home", &ssh());
    let decision = receive("laptop", &ssh(), &greeting).unwrap();
    assert_eq!(decision.operator(), key(1).public());
    let (answer, host) = decision.accept().unwrap();
    (awaiting.receive(&answer[HEAD..]).unwrap(), host)
}

fn streams() -> (Records, Records) {
    let (operator, host) = pair();
    (operator.records().unwrap(), host.records().unwrap())
}

/// The records of some bytes of the wire.
fn records(mut wire: &[u8]) -> Vec<&[u8]> {
    let mut all = Vec::new();
    while let Some((head, rest)) = wire.split_first_chunk::<HEAD>() {
        let (record, after) = rest.split_at(record_length(*head).unwrap());
        all.push(record);
        wire = after;
    }
    all
}

fn open_all(to: &mut Records, wire: &[u8]) -> Result<Vec<u8>, PrivateError> {
    let mut said = Vec::new();
    for record in records(wire) {
        match to.open(record)? {
            Opened::Data(data) => said.extend(data),
            Opened::End => return Ok(said),
        }
    }
    Ok(said)
}

#[test]
fn two_peers_understand_each_other_both_ways() {
    let (mut operator, mut host) = streams();
    let long: Vec<u8> = (0..3 * LARGEST_RECORD + 7).map(|n| n as u8).collect();
    let wire = operator.seal(&long).unwrap();
    assert_eq!(wire.len(), long.len() + 4 * (HEAD + OVERHEAD));
    assert_eq!(open_all(&mut host, &wire).unwrap(), long);
    assert_eq!(open_all(&mut operator, &host.seal(b"yes").unwrap()).unwrap(), b"yes");
    let end = operator.seal_end().unwrap();
    assert_eq!(host.open(&end[HEAD..]).unwrap(), Opened::End);
    let late = operator.seal(b"late").unwrap();
    assert!(matches!(host.open(&late[HEAD..]), Err(PrivateError::AfterEnd)));
}

#[test]
fn a_host_hears_that_the_operator_is_there() {
    let (mut operator, mut host) = streams();
    let ready = operator.seal_ready().unwrap();
    host.open_ready(&ready[HEAD..]).unwrap();
    let (mut operator, mut host) = streams();
    assert!(host.open_ready(&ready[HEAD..]).is_err(), "of another stream");
    let other = operator.seal(b"steady").unwrap();
    assert!(host.open_ready(&other[HEAD..]).is_err());
}

#[test]
fn nobody_else_and_nothing_else_is_understood() {
    let (greeting, _) = start("laptop", "home", &ssh());
    assert!(receive("laptop", &ssh(), &greeting).is_ok());
    assert!(receive("desktop", &ssh(), &greeting).is_err(), "another's name");
    assert!(receive("laptop", &Purpose::Tcp(name("web")), &greeting).is_err(), "another service");
    assert!(receive("laptop", &Purpose::Udp(name("ssh")), &greeting).is_err(), "another kind");
    assert!(receive("laptop", &Purpose::Talk, &greeting).is_err());
    let (operator, host, purpose) = (name("laptop"), name("home"), ssh());
    let elsewhere = Context { operator: &operator, host: &host, purpose: &purpose, binding: &[1] };
    assert!(AwaitDecision::receive(&key(2), &elsewhere, &greeting[HEAD..]).is_err(), "another connection");
    let (elsewhere, _) = start("laptop", "nas", &ssh());
    assert!(receive("laptop", &ssh(), &elsewhere).is_err(), "meant for another host");
}

#[test]
fn another_host_cannot_answer() {
    let (greeting, awaiting) = start("laptop", "home", &ssh());
    let purpose = ssh();
    let (operator, host) = (name("laptop"), name("home"));
    let context = Context { operator: &operator, host: &host, purpose: &purpose, binding: &[] };
    assert!(AwaitDecision::receive(&key(3), &context, &greeting[HEAD..]).is_err());
    // Nor with an answer of another handshake.
    let (other, _) = start("laptop", "home", &ssh());
    let (answer, _) = receive("laptop", &ssh(), &other).unwrap().accept().unwrap();
    assert!(awaiting.receive(&answer[HEAD..]).is_err());
}

#[test]
fn the_context_has_one_meaning() {
    let purpose = ssh();
    let (ab, c, a, bc): (PeerName, PeerName, PeerName, PeerName) =
        (name("ab"), name("c"), name("a"), name("bc"));
    let one = Context { operator: &ab, host: &c, purpose: &purpose, binding: &[] }.prologue();
    let other = Context { operator: &a, host: &bc, purpose: &purpose, binding: &[] }.prologue();
    assert_ne!(one, other);
    let golden = [b"adit/1 private\x01\x02ab\x01c\x03".as_slice(), b"ssh\0"].concat();
    assert_eq!(one, golden);
}

#[test]
fn records_cannot_be_repeated_left_out_or_exchanged() {
    let sealed = |from: &mut Records| ["a", "b"].map(|word| from.seal(word.as_bytes()).unwrap());
    let (mut operator, mut host) = streams();
    let [first, second] = sealed(&mut operator);
    assert!(host.open(&second[HEAD..]).is_err(), "one is missing");
    assert_eq!(host.open(&first[HEAD..]).unwrap(), Opened::Data(b"a".to_vec()));
    assert!(host.open(&first[HEAD..]).is_err(), "it was there before");
    assert_eq!(host.open(&second[HEAD..]).unwrap(), Opened::Data(b"b".to_vec()));
    assert!(operator.open(&first[HEAD..]).is_err(), "one's own words are no answer");
    let (_, mut stranger) = streams();
    assert!(stranger.open(&first[HEAD..]).is_err(), "another stream");
}

#[test]
fn keys_are_replaced_in_step_and_old_ones_open_nothing() {
    let (mut operator, mut host) = streams();
    for _ in 0..REKEY_AFTER {
        let record = operator.seal(b"x").unwrap();
        host.open(&record[HEAD..]).unwrap();
    }
    let record = operator.seal(b"new key").unwrap();
    // A reader that had not replaced its key understands nothing.
    host.noise.0.rekey_outgoing();
    assert_eq!(host.open(&record[HEAD..]).unwrap(), Opened::Data(b"new key".to_vec()));
    let record = operator.seal(b"x").unwrap();
    host.noise.0.rekey_incoming();
    assert!(host.open(&record[HEAD..]).is_err());
}

#[test]
fn impossible_lengths_are_refused_before_anything_is_read() {
    for length in [0, 1, OVERHEAD - 1, LARGEST_RECORD + OVERHEAD + 1, 65535] {
        assert!(record_length(u16::try_from(length).unwrap().to_be_bytes()).is_err(), "{length}");
    }
    assert_eq!(record_length([0, 16]).unwrap(), OVERHEAD);
    assert!(greeting_length([255, 255]).is_err() && greeting_length([0, 96]).is_ok());
}

#[test]
fn keys_are_never_printed() {
    let (operator, host) = streams();
    assert!(format!("{operator:?} {host:?}").contains("Hidden(..)"));
}

proptest! {
    #[test]
    fn a_changed_greeting_never_verifies(at in 0usize..96, with in 1u8..) {
        let (mut greeting, _) = start("laptop", "home", &ssh());
        let at = HEAD + at % (greeting.len() - HEAD);
        greeting[at] ^= with;
        prop_assert!(receive("laptop", &ssh(), &greeting).is_err());
    }

    #[test]
    fn rubbish_is_an_error(record in proptest::collection::vec(any::<u8>(), 0..100)) {
        let (mut operator, _) = streams();
        prop_assert!(operator.open(&record).is_err());
        prop_assert!(receive("laptop", &ssh(), &[[0, 0].as_slice(), &record].concat()).is_err());
        let (_, awaiting) = start("laptop", "home", &ssh());
        prop_assert!(awaiting.receive(&record).is_err());
    }
}
