//! What an operator has said once is said again by the relay: nobody acts on it twice.

use protocol::close::StreamReset;

use super::{Bed, Led, for_host, to};

#[tokio::test(flavor = "multi_thread")]
async fn a_recorded_connection_does_nothing_again() {
    let mut bed = Bed::new().await;
    let mut led = bed.led().await;
    led.pipe.say(b"open the door").await;
    let record = led.operator.message().await;
    let Led { header, greeting, .. } = led;
    let mut stream = bed.host.open(&header).await;
    stream.say(&greeting).await;
    let _answer = stream.message().await;
    stream.say(&record).await;
    assert_eq!(stream.reset().await, StreamReset::Unproven);
    assert!(bed.web.is_left_alone(), "the origin heard of what was recorded");
}

#[tokio::test(flavor = "multi_thread")]
async fn it_leads_nowhere_else() {
    let mut bed = Bed::new().await;
    let led = bed.led().await;
    let Led { header, greeting, .. } = led;
    for elsewhere in [for_host(&header, "phone"), to("ssh", &header)] {
        assert_eq!(bed.is_refused(&elsewhere, &greeting).await, StreamReset::Unproven);
    }
}
