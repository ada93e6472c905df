//! What was said is changed on the way: whoever hears it breaks off, and never takes it for the whole.

use tokio::io::AsyncWriteExt;

use super::{Bed, Led, Stream};
use crate::private::{broken, hear};

/// What becomes of three records: `one`, `two` and the end.
type Lie = fn([Vec<u8>; 3]) -> Vec<Vec<u8>>;

/// With what the other side may have heard at the most.
const LIES: [(&str, Lie, &[u8]); 13] = [
    ("exchanged", |[one, two, end]| vec![two, one, end], b""),
    ("the first repeated", |[one, two, end]| vec![one.clone(), one, two, end], b"one"),
    ("all repeated", |[one, two, end]| vec![one.clone(), two.clone(), one, two, end], b"onetwo"),
    ("the first left out", |[_, two, end]| vec![two, end], b""),
    ("the last left out", |[one, _, end]| vec![one, end], b"one"),
    ("the end alone", |[_, _, end]| vec![end], b""),
    ("the end left out", |[one, two, _]| vec![one, two], b"onetwo"),
    ("nothing left", |[..]| vec![], b""),
    ("the end twice", |[one, two, end]| vec![one, two, end.clone(), end], b"onetwo"),
    ("a byte after the end", |[one, two, end]| vec![one, two, end, vec![0]], b"onetwo"),
    ("a bit of it changed", |[one, two, end]| vec![one, changed(&two, 3), end], b"one"),
    ("a bit of its length changed", |[one, two, end]| vec![one, changed(&two, 1), end], b"one"),
    ("cut inside a record", |[one, two, _]| vec![one, two[..two.len() - 1].to_vec()], b"one"),
];

fn changed(record: &[u8], at: usize) -> Vec<u8> {
    let mut record = record.to_vec();
    record[at] ^= 1;
    record
}

/// Says what was made of it, and that nothing follows.
async fn pass_on(to: &mut Stream, records: Vec<Vec<u8>>) {
    // Who has broken off already hears no more.
    let _gone = to.send.write_all(&records.concat()).await;
    let _gone = to.send.finish();
}

/// What the operator says, as three records.
async fn from_operator(led: &mut Led) -> [Vec<u8>; 3] {
    led.pipe.say(b"one").await;
    let one = led.operator.message().await;
    led.pipe.say(b"two").await;
    let two = led.operator.message().await;
    drop(led.pipe.stdin.take());
    [one, two, led.operator.message().await]
}

/// What the origin says, as three records.
async fn from_origin(led: &mut Led) -> [Vec<u8>; 3] {
    led.origin.write_all(b"one").await.expect("it takes bytes");
    let one = led.host.message().await;
    led.origin.write_all(b"two").await.expect("it takes bytes");
    let two = led.host.message().await;
    led.origin.shutdown().await.expect("it takes the end");
    [one, two, led.host.message().await]
}

#[tokio::test(flavor = "multi_thread")]
async fn left_as_they_are_they_are_the_whole() {
    let mut bed = Bed::new().await;
    let mut led = bed.led().await;
    let records = from_operator(&mut led).await;
    pass_on(&mut led.host, records.to_vec()).await;
    assert_eq!(hear(&mut led.origin).await, b"onetwo");
    let records = from_origin(&mut led).await;
    pass_on(&mut led.operator, records.to_vec()).await;
    assert_eq!(led.pipe.end().await, (Some(0), b"onetwo".to_vec(), String::new()));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_the_operator_the_origin_hears_a_break() {
    let mut bed = Bed::new().await;
    for (what, lie, most) in LIES {
        let mut led = bed.led().await;
        let records = from_operator(&mut led).await;
        pass_on(&mut led.host, lie(records)).await;
        let heard = broken(&mut led.origin).await;
        assert!(most.starts_with(&heard), "{what}: {heard:?}");
        let _code = led.host.reset().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_the_host_the_client_hears_a_break() {
    let mut bed = Bed::new().await;
    for (what, lie, most) in LIES {
        let mut led = bed.led().await;
        let records = from_origin(&mut led).await;
        pass_on(&mut led.operator, lie(records)).await;
        let (code, heard, said) = led.pipe.end().await;
        assert!(most.starts_with(&heard) && code == Some(1), "{what}: {code:?} {heard:?} {said}");
        let reasons = ["what the other peer said cannot be believed", "what the other side said was cut off"];
        assert!(reasons.iter().any(|reason| said.contains(reason)), "{what}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_says_is_not_what_the_other_says() {
    let mut bed = Bed::new().await;
    let mut led = bed.led().await;
    // The operator hears its own words.
    let records = from_operator(&mut led).await;
    pass_on(&mut led.operator, records.to_vec()).await;
    let (code, heard, said) = led.pipe.end().await;
    assert_eq!((code, heard.as_slice()), (Some(1), &b""[..]), "{said}");
    // And what was said in another connection.
    let mut other = bed.led().await;
    pass_on(&mut other.host, records.to_vec()).await;
    assert_eq!(broken(&mut other.origin).await, b"");
}
