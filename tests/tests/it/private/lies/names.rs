//! Names, roles and places: the host believes of an operator what its own list and the proof of both say, whatever it is told.

use protocol::close::StreamReset;
use protocol::control::Carries;
use protocol::private::Purpose;
use protocol::roster::Role;

use super::relay::{offering, reaching};
use super::{Bed, for_host, refusal, to};

/// An operator's stream to `home/web`, which nobody has answered yet.
struct Asked {
    pipe: super::Piped,
    session: super::Session,
    header: super::PrivateHeader,
    operator: super::Stream,
    greeting: Vec<u8>,
}

async fn asked(bed: &Bed, name: &str) -> Asked {
    let (pipe, mut session) = bed.dial(&bed.laptop, name).await;
    session.tell(vec![bed.offer()]).await;
    let (header, mut operator) = session.next().await;
    let greeting = operator.message().await;
    Asked { pipe, session, header, operator, greeting }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_that_is_led_in_under_another_name_is_refused() {
    let mut bed = Bed::allowing("peer:admin").await;
    // The operator goes by the name of laptop.
    let Asked { session, header, greeting, .. } = asked(&bed, "laptop").await;
    bed.host.tell(vec![reaching("admin", session.key, Role::Operator)]).await;
    assert_eq!(bed.is_refused(&for_host(&header, "admin"), &greeting).await, StreamReset::Unproven);
    // The same under its own, which is not on the list.
    bed.host.tell(vec![reaching("laptop", session.key, Role::Operator)]).await;
    assert_eq!(bed.is_refused(&for_host(&header, "laptop"), &greeting).await, StreamReset::NotAllowed);
    bed.home.process().wait_for_log("`[[private]]` does not allow `laptop`");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_is_told_to_both_is_refused_once_its_key_is_known() {
    let mut bed = Bed::allowing("peer:laptop").await;
    drop(bed.led().await);
    let admin = tests::operator::Operator { agent: bed.liar.enroll("admin").await };
    let (_pipe, mut session) = bed.dial(&admin, "laptop").await;
    session.tell(vec![bed.offer()]).await;
    let (header, mut operator) = session.next().await;
    let greeting = operator.message().await;
    bed.host.tell(vec![reaching("laptop", session.key, Role::Operator)]).await;
    assert_eq!(bed.is_refused(&for_host(&header, "laptop"), &greeting).await, StreamReset::Unproven);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_is_not_on_the_list_is_refused_and_so_is_whom_nobody_has_named() {
    let mut bed = Bed::new().await;
    let Asked { session, header, greeting, .. } = asked(&bed, "laptop").await;
    let for_host = for_host(&header, "laptop");
    bed.host.tell(vec![reaching("laptop", session.key, Role::Host)]).await;
    assert_eq!(bed.is_refused(&for_host, &greeting).await, StreamReset::NotAllowed);
    bed.host.tell(vec![]).await;
    assert_eq!(bed.is_refused(&for_host, &greeting).await, StreamReset::NotGranted);
    // A key that nobody has named, under a name that somebody has.
    bed.host.tell(vec![reaching("laptop", bed.host.key, Role::Operator)]).await;
    assert_eq!(bed.is_refused(&for_host, &greeting).await, StreamReset::NotGranted);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_that_is_led_elsewhere_gets_no_answer() {
    let mut bed = Bed::new().await;
    let Asked { pipe, session, header, mut operator, greeting } = asked(&bed, "laptop").await;
    bed.host.tell(vec![reaching("laptop", session.key, Role::Operator)]).await;
    let header = for_host(&header, "laptop");
    let udp =
        super::PrivateHeader { purpose: Purpose::Udp("web".parse().expect("a name")), ..header.clone() };
    let talk = super::PrivateHeader { purpose: Purpose::Talk, ..header.clone() };
    for elsewhere in [to("ssh", &header), udp, talk] {
        assert_eq!(bed.is_refused(&elsewhere, &greeting).await, StreamReset::Unproven);
    }
    // Another home altogether, which offers the same.
    let (mut nas, mut web) = (bed.liar.enroll("nas").await, super::Held::start().await);
    nas.write_config(&super::private("web", &web.url(), "role:operator"));
    nas.run();
    let mut host = bed.liar.admit("nas").await;
    host.tell(vec![reaching("laptop", session.key, Role::Operator)]).await;
    let mut stream = host.open(&header).await;
    stream.say(&greeting).await;
    assert_eq!(stream.reset().await, StreamReset::Unproven);
    assert!(web.is_left_alone());
    drop(operator.send.reset(StreamReset::Unproven.number().into()));
    assert!(refusal(pipe).await.contains("the two peers' proof of their keys failed"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_private_is_not_reached_whatever_the_relay_offers() {
    let mut bed = Bed::new().await;
    let ssh = super::private("ssh", &bed.ssh.url(), "role:operator");
    bed.home.write_config(&(format!("[service.web]\norigin = \"{}\"\n", bed.web.url()) + &ssh));
    bed.home.process().wait_for_log("the configuration was read anew");
    let Asked { session, header, greeting, .. } = asked(&bed, "laptop").await;
    bed.host.tell(vec![reaching("laptop", session.key, Role::Operator)]).await;
    assert_eq!(bed.is_refused(&for_host(&header, "laptop"), &greeting).await, StreamReset::NotAllowed);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_home_that_is_told_to_be_another_has_no_answer_for_who_asks_for_it() {
    let mut bed = Bed::new().await;
    // The operator asks for `nas`, of which it is told the key of the home.
    let pipe = bed.laptop.piped(&["nas/web", "--stdio"]);
    let mut session = bed.liar.admit("laptop").await;
    session.tell(vec![offering("nas", bed.host.key, Carries::Tcp)]).await;
    bed.host.tell(vec![reaching("laptop", session.key, Role::Operator)]).await;
    let (header, mut operator) = session.next().await;
    let greeting = operator.message().await;
    assert_eq!(bed.is_refused(&for_host(&header, "laptop"), &greeting).await, StreamReset::Unproven);
    drop(pipe);
}
