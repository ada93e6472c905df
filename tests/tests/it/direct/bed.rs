//! A home and a laptop at two sites of a lab, and a service that echoes lines and sends as many bytes as it is asked for.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use tests::bed::{Agent, Relay};
use tests::lab::{Host, Lab, Nat, Site};
use tests::wait::eventually_blocking;

/// Longer than anything here should take.
const LONG: Duration = Duration::from_secs(20);

pub(super) struct Bed {
    pub(super) laptop: Agent,
    _home: Agent,
    pub(super) relay: Relay,
    door: SocketAddr,
    /// From the session to the first path.
    pub(super) took: Duration,
    up: Instant,
    laptop_host: Host,
    pub(super) home_site: Site,
    laptop_site: Option<Site>,
    pub(super) lab: Lab,
}

impl Bed {
    pub(super) fn new(home: Nat, laptop: Nat) -> Self {
        Self::at_two_sites(Lab::new(), home, laptop, false)
    }

    pub(super) fn with_ipv6(home: Nat, laptop: Nat) -> Self {
        Self::at_two_sites(Lab::with_ipv6(), home, laptop, false)
    }

    pub(super) fn cut_from_the_start() -> Self {
        Self::at_two_sites(Lab::new(), Nat::EndpointIndependent, Nat::EndpointIndependent, true)
    }

    fn at_two_sites(mut lab: Lab, home: Nat, laptop: Nat, cut: bool) -> Self {
        let (home, laptop) = (lab.site(home, 1), lab.site(laptop, 1));
        if cut {
            lab.cut_between(&home, &laptop);
        }
        let host = laptop.host(0).clone();
        Self::of(lab, home, Some(laptop), host)
    }

    /// Both at one site.
    pub(super) fn in_one_network(nat: Nat) -> Self {
        let mut lab = Lab::new();
        let site = lab.site(nat, 2);
        let host = site.host(1).clone();
        Self::of(lab, site, None, host)
    }

    fn of(lab: Lab, home_site: Site, laptop_site: Option<Site>, laptop_host: Host) -> Self {
        let relay = Relay::in_namespace(lab.relay(), "");
        let origin = origin(home_site.host(0));
        let config = format!(
            "[service.echo]\norigin = \"tcp://{origin}\"\n[[private]]\nservice = \"echo\"\nallow = [\"role:operator\"]\n"
        );
        let mut home = Agent::in_namespace(home_site.host(0));
        home.enroll(&relay, &relay.ask(&["token", "create", "--name", "home"]));
        home.write_config(&config);
        home.run();
        home.wait_until_up();
        let mut laptop = Agent::in_namespace(&laptop_host);
        let token = ["token", "create", "--name", "laptop", "--operator", "--service", "home/echo"];
        laptop.enroll(&relay, &relay.ask(&token));
        laptop.write_config("[[connect]]\nservice = \"home/echo\"\nlisten = \"127.0.0.1:0\"\n");
        laptop.run();
        laptop.wait_until_up();
        let up = Instant::now();
        let door = eventually_blocking("the door is open", || {
            laptop.status()?["doors"][0]["address"].as_str()?.parse().ok()
        });
        let mut bed = Self {
            laptop,
            _home: home,
            relay,
            door,
            took: Duration::ZERO,
            up,
            laptop_host,
            home_site,
            laptop_site,
            lab,
        };
        bed.took = bed.time_to_direct();
        bed
    }

    /// Not for those that never are.
    fn time_to_direct(&self) -> Duration {
        while self.up.elapsed() < Duration::from_secs(3) && !self.is_direct() {
            thread::sleep(Duration::from_millis(50));
        }
        self.up.elapsed()
    }

    fn path(&self) -> Option<Value> {
        Some(self.laptop.status()?["paths"][0].clone())
    }

    fn is_direct(&self) -> bool {
        self.path().is_some_and(|path| path["direct"] == true)
    }

    /// Connections bring new attempts along.
    pub(super) fn becomes_direct(&self) {
        eventually_blocking("the path is direct", || {
            if self.is_direct() {
                return Some(());
            }
            self.fetch(10);
            None
        });
    }

    /// Why, once it has been tried.
    pub(super) fn stays_relayed(&self) -> String {
        let why = eventually_blocking("it is known why it is relayed", || {
            let path = self.path()?;
            let why = path["why_not"].as_str()?;
            (why != "being tried" && why != "not tried yet").then(|| why.to_owned())
        });
        assert!(!self.is_direct());
        why
    }

    /// Where the path leads.
    pub(super) fn address(&self) -> SocketAddr {
        let path = self.path().expect("a status");
        path["address"].as_str().and_then(|text| text.parse().ok()).expect("an address")
    }

    pub(super) fn cut(&self) {
        self.lab.cut_between(&self.home_site, self.laptop_site.as_ref().expect("two sites"));
    }

    pub(super) fn restore(&self) {
        self.lab.restore_between(&self.home_site, self.laptop_site.as_ref().expect("two sites"));
    }

    pub(super) fn connect(&self) -> TcpStream {
        let tcp = self.laptop_host.within(|| TcpStream::connect(self.door)).expect("the door is open");
        tcp.set_read_timeout(Some(LONG)).expect("a timeout");
        tcp
    }

    pub(super) fn open(&self) -> Line {
        Line(BufReader::new(self.connect()))
    }

    /// Has the service send so many bytes; how many came.
    pub(super) fn fetch(&self, count: usize) -> usize {
        let mut tcp = self.connect();
        tcp.write_all(format!("send {count}\n").as_bytes()).expect("it is asked");
        let mut all = Vec::new();
        tcp.read_to_end(&mut all).map_or(0, |_| all.len())
    }
}

/// A connection on which lines come back.
pub(super) struct Line(BufReader<TcpStream>);

impl Line {
    pub(super) fn echo(&mut self, text: &[u8]) {
        self.0.get_mut().write_all(&[text, b"\n"].concat()).expect("it takes a line");
        let mut back = Vec::new();
        self.0.read_until(b'\n', &mut back).expect("a line comes back");
        assert_eq!(back, [text, b"\n"].concat());
    }

    /// Waits until it is reset.
    pub(super) fn breaks(&mut self) {
        let error = self.0.read_until(b'\n', &mut Vec::new()).expect_err("no clean end");
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{error}");
    }
}

/// Serves until the test ends.
fn origin(host: &Host) -> SocketAddr {
    let listener = host.within(|| TcpListener::bind("127.0.0.1:0")).expect("a port");
    let address = listener.local_addr().expect("an address");
    thread::spawn(move || {
        for tcp in listener.incoming().flatten() {
            thread::spawn(move || serve(&tcp));
        }
    });
    address
}

fn serve(mut tcp: &TcpStream) {
    let mut lines = BufReader::new(tcp);
    let mut line = String::new();
    while matches!(lines.read_line(&mut line), Ok(1..)) {
        if let Some(count) = line.strip_prefix("send ") {
            let count = count.trim().parse().unwrap_or(0);
            let _sent = tcp.write_all(&vec![b'x'; count]);
            return;
        }
        let _sent = tcp.write_all(line.as_bytes());
        line.clear();
    }
}
