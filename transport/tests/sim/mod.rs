//! Real connections of quinn over simulated links, in virtual time: quinn's own pacer, acknowledgements and loss detection
//! drive the controller.

mod host;
pub(crate) mod link;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use quinn_proto::congestion::ControllerFactory;
use quinn_proto::{ClientConfig, Endpoint, EndpointConfig, ServerConfig, TransportConfig, VarInt};
use rcgen::{CertifiedKey, KeyPair};
use rustls_pki_types::PrivateKeyDer;

pub(crate) use host::{Host, Load};
pub(crate) use link::{Link, Shape};

static CERTIFIED: LazyLock<CertifiedKey<KeyPair>> =
    LazyLock::new(|| rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap());

/// A path: the links there and back, as indices of the world's links.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Path {
    pub(crate) there: usize,
    pub(crate) back: usize,
}

pub(crate) struct Flow {
    pub(crate) client: Host,
    pub(crate) server: Host,
    path: Path,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Side {
    Client,
    Server,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Occasion {
    at: Duration,
    order: u64,
    flow: usize,
    side: Side,
    /// What arrives; without, a timer is due.
    datagram: Option<BytesMut>,
}

pub(crate) struct World {
    epoch: Instant,
    pub(crate) now: Duration,
    pub(crate) links: Vec<Link>,
    pub(crate) flows: Vec<Flow>,
    agenda: BinaryHeap<Reverse<Occasion>>,
    order: u64,
    /// Timers fire at multiples of this, as a runtime's do.
    pub(crate) timer_grain: Duration,
}

impl World {
    #[expect(clippy::disallowed_methods, reason = "an `Instant` to count virtual time from")]
    pub(crate) fn new() -> Self {
        Self {
            epoch: Instant::now(),
            now: Duration::ZERO,
            links: Vec::new(),
            flows: Vec::new(),
            agenda: BinaryHeap::new(),
            order: 0,
            timer_grain: Duration::from_millis(1),
        }
    }

    /// One bottleneck there, a link of the same kind back.
    pub(crate) fn with_path(there: Shape, back: Shape, seed: u64) -> (Self, Path) {
        let mut world = Self::new();
        world.links = vec![Link::new(there, seed), Link::new(back, seed + 1)];
        (world, Path { there: 0, back: 1 })
    }

    /// Connects a client, which sends, and a server, which receives, at once.
    pub(crate) fn connect(&mut self, path: Path, transport: TransportConfig) -> usize {
        let flow = self.flows.len();
        let now = self.epoch + self.now;
        let transport = Arc::new(transport);
        let seed = |side: u8| Some([side.wrapping_add(2 * flow as u8); 32]);
        let endpoint = Arc::new(EndpointConfig::default());
        let mut server_config = server_config();
        server_config.transport_config(Arc::clone(&transport));
        let server = Endpoint::new(Arc::clone(&endpoint), Some(Arc::new(server_config)), true, seed(1));
        let mut client_config = client_config();
        client_config.transport_config(transport);
        let client = Endpoint::new(endpoint, None, true, seed(2));
        let mut client = Host::new(client, address(2), now);
        client.connect(now, client_config);
        self.flows.push(Flow { client, server: Host::new(server, address(1), now), path });
        self.drive(flow, Side::Client);
        flow
    }

    /// Sets what the client of a flow does from now on.
    pub(crate) fn load(&mut self, flow: usize, load: Load) {
        self.flows[flow].client.load = load;
        self.drive(flow, Side::Client);
    }

    pub(crate) fn run_until(&mut self, end: Duration) {
        while self.agenda.peek().is_some_and(|Reverse(next)| next.at <= end) {
            let Some(Reverse(Occasion { at, flow, side, datagram, .. })) = self.agenda.pop() else { break };
            self.now = self.now.max(at);
            let now = self.epoch + self.now;
            let host = self.host(flow, side);
            match datagram {
                Some(datagram) => host.receive(now, datagram),
                None if host.alarm == Some(at) => host.alarm = None,
                None => continue,
            }
            self.drive(flow, side);
        }
        self.now = end;
    }

    /// Mbit/s that the application of a flow receives, from now for so long.
    pub(crate) fn goodput(&mut self, flow: usize, span: Duration) -> f64 {
        let before = self.flows[flow].server.received;
        self.run_until(self.now + span);
        (self.flows[flow].server.received - before) as f64 * 8.0 / span.as_secs_f64() / 1e6
    }

    /// Bytes that the client of a flow may have in flight.
    pub(crate) fn window(&self, flow: usize) -> u64 {
        let connection = self.flows[flow].client.connection();
        connection.map_or(0, |connection| connection.congestion_state().window())
    }

    pub(crate) fn reshape(&mut self, path: Path, change: impl Fn(&mut Shape)) {
        for link in [path.there, path.back] {
            self.links[link].reshape(self.now, &change);
        }
    }

    fn host(&mut self, flow: usize, side: Side) -> &mut Host {
        let flow = &mut self.flows[flow];
        match side {
            Side::Client => &mut flow.client,
            Side::Server => &mut flow.server,
        }
    }

    fn drive(&mut self, flow: usize, side: Side) {
        let now = self.epoch + self.now;
        let datagrams = self.host(flow, side).drive(now);
        let Path { there, back } = self.flows[flow].path;
        let (link, other) = match side {
            Side::Client => (there, Side::Server),
            Side::Server => (back, Side::Client),
        };
        for datagram in datagrams {
            if let Some(at) = self.links[link].send(self.now, datagram.len()) {
                self.plan(at, flow, other, Some(datagram));
            }
        }
        if let Some(due) = self.host(flow, side).next_due() {
            let due = due.saturating_duration_since(self.epoch).max(self.now);
            let grain = self.timer_grain.as_nanos().max(1);
            let rounded = u64::try_from(due.as_nanos().div_ceil(grain) * grain).unwrap();
            let due = Duration::from_nanos(rounded);
            let alarm = &mut self.host(flow, side).alarm;
            if alarm.is_none_or(|earlier| due < earlier) {
                *alarm = Some(due);
                self.plan(due, flow, side, None);
            }
        }
    }

    fn plan(&mut self, at: Duration, flow: usize, side: Side, datagram: Option<BytesMut>) {
        self.order += 1;
        self.agenda.push(Reverse(Occasion { at, order: self.order, flow, side, datagram }));
    }
}

/// Windows so wide that they are never the limit.
pub(crate) fn transport(controller: Arc<dyn ControllerFactory + Send + Sync>) -> TransportConfig {
    let mut transport = TransportConfig::default();
    transport
        .congestion_controller_factory(controller)
        .stream_receive_window(VarInt::from_u32(256 << 20))
        .receive_window(VarInt::from_u32(256 << 20))
        .send_window(64 << 20)
        .max_idle_timeout(None);
    transport
}

fn server_config() -> ServerConfig {
    let key = PrivateKeyDer::Pkcs8(CERTIFIED.signing_key.serialize_der().into());
    ServerConfig::with_single_cert(vec![CERTIFIED.cert.der().clone()], key).unwrap()
}

fn client_config() -> ClientConfig {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CERTIFIED.cert.der().clone()).unwrap();
    ClientConfig::with_root_certificates(Arc::new(roots)).unwrap()
}

fn address(host: u8) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::new(192, 0, 2, host), 4433))
}
