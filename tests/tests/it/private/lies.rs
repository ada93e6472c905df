//! A relay that lies: what it can do to two agents that know each other's keys is to keep them apart, and nothing else.

mod datagrams;
mod keys;
mod names;
mod records;
mod relay;
mod replays;

use protocol::close::StreamReset;
use protocol::control::Carries;
use protocol::private::Purpose;
use protocol::roster::{Role, RosterPeer};
use protocol::stream::PrivateHeader;
use tests::bed::Agent;
use tests::operator::{Operator, Piped};
use tokio::net::TcpStream;

use self::relay::{Liar, Session, Stream, offering, reaching};
use super::{Held, private};

/// A home with two private services, an operator's device, and the liar between them.
struct Bed {
    web: Held,
    ssh: Held,
    laptop: Operator,
    home: Agent,
    host: Session,
    liar: Liar,
}

impl Bed {
    async fn new() -> Self {
        Self::allowing("role:operator").await
    }

    async fn allowing(allow: &str) -> Self {
        let (liar, web, ssh) = (Liar::start(), Held::start().await, Held::start().await);
        let laptop = Operator { agent: liar.enroll("laptop").await };
        let mut home = liar.enroll("home").await;
        home.write_config(&(private("web", &web.url(), allow) + &private("ssh", &ssh.url(), allow)));
        home.run();
        let host = liar.admit("home").await;
        Self { web, ssh, laptop, home, host, liar }
    }

    /// The truth about the home.
    fn offer(&self) -> RosterPeer {
        offering("home", self.host.key, Carries::Tcp)
    }

    /// Starts `agent connect home/web --stdio` on a device, and lets it in under a name.
    async fn dial(&self, device: &Operator, name: &str) -> (Piped, Session) {
        let pipe = device.piped(&["home/web", "--stdio"]);
        (pipe, self.liar.admit(name).await)
    }

    /// The laptop's next connection to `web`, begun as it should be, for the liar to play with.
    async fn led(&mut self) -> Led {
        let (pipe, mut session) = self.dial(&self.laptop, "laptop").await;
        session.tell(vec![self.offer()]).await;
        self.host.tell(vec![reaching("laptop", session.key, Role::Operator)]).await;
        let (asked, mut operator) = session.next().await;
        let header = for_host(&asked, "laptop");
        let mut host = self.host.open(&header).await;
        let greeting = operator.message().await;
        host.say(&greeting).await;
        let answer = host.message().await;
        operator.say(&answer).await;
        // That the operator is there.
        host.say(&operator.message().await).await;
        let origin = self.web.next().await;
        Led { pipe, _session: session, operator, host, origin, header, greeting }
    }

    /// A stream to the host that it refuses before anybody is told of it.
    async fn is_refused(&mut self, header: &PrivateHeader, greeting: &[u8]) -> StreamReset {
        let mut stream = self.host.open(header).await;
        stream.say(greeting).await;
        let code = stream.reset().await;
        assert!(self.web.is_left_alone() && self.ssh.is_left_alone(), "the origin heard of it");
        code
    }
}

/// A connection of which the liar holds both streams.
struct Led {
    pipe: Piped,
    _session: Session,
    operator: Stream,
    host: Stream,
    origin: TcpStream,
    header: PrivateHeader,
    greeting: Vec<u8>,
}

/// What the relay makes of an operator's header.
fn for_host(asked: &PrivateHeader, operator: &str) -> PrivateHeader {
    PrivateHeader { peer: operator.parse().expect("a name"), ..asked.clone() }
}

fn to(service: &str, asked: &PrivateHeader) -> PrivateHeader {
    PrivateHeader { purpose: Purpose::Tcp(service.parse().expect("a name")), ..asked.clone() }
}

/// What the operator's device says where it is refused.
async fn refusal(pipe: Piped) -> String {
    let (code, heard, said) = pipe.end().await;
    assert_eq!((code, heard.as_slice()), (Some(1), &b""[..]), "{said}");
    said
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_liar_leaves_alone_passes() {
    let mut bed = Bed::new().await;
    let Led { mut pipe, operator, host, mut origin, _session, .. } = bed.led().await;
    relay::carry(operator, host);
    pipe.say(b"ping").await;
    drop(pipe.stdin.take());
    assert_eq!(super::hear(&mut origin).await, b"ping");
    super::say(&mut origin, b"pong").await;
    assert_eq!(pipe.end().await, (Some(0), b"pong".to_vec(), String::new()));
}
