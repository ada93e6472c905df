//! The relay reads nothing of what passes between two peers: neither its folder, nor a log that says everything, nor its
//! memory holds it.

use std::fs::{self, File};
use std::io::{self, BufRead, ErrorKind};
use std::net::SocketAddr;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use tests::bed::{Agent, Relay};
use tests::deploy::simple;
use tests::operator::Operator;
use tests::visitor::Visitor;
use tests::wait::{PATIENCE, eventually};
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};

use super::{Held, named, private};

const HOSTNAME: &str = "koda.example.com";
/// Read at once from a process' memory.
const PIECE: usize = 1 << 20;

/// Bytes that are nowhere else, made anew in every run: the test's own program is not what is searched, but may be copied.
fn marker(what: &str) -> Vec<u8> {
    let mut bytes = [0; 16];
    File::open("/dev/urandom")
        .and_then(|file| io::Read::read_exact(&mut &file, &mut bytes))
        .expect("random bytes");
    let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("<{what}:{text}>").into_bytes()
}

fn holds(bytes: &[u8], marker: &[u8]) -> bool {
    let mut rest = bytes;
    // In search of one byte the standard library is fast, also where this program is not optimised.
    while rest.skip_until(marker[0]).is_ok_and(|passed| passed > 0) {
        if rest.starts_with(&marker[1..]) {
            return true;
        }
    }
    false
}

/// The files below a folder that hold a marker.
fn files(folder: &Path, marker: &[u8], found: &mut Vec<String>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let entry = entry.expect("an entry");
        let (path, kind) = (entry.path(), entry.file_type().expect("a kind"));
        if kind.is_dir() {
            files(&path, marker, found);
        } else if kind.is_file() && holds(&fs::read(&path).expect("a file"), marker) {
            found.push(path.display().to_string());
        }
    }
}

/// Where in the memory of a process a marker is; an error where its memory may not be read.
fn memory(id: u32, marker: &[u8]) -> io::Result<Vec<String>> {
    let (maps, memory) =
        (fs::read_to_string(format!("/proc/{id}/maps"))?, File::open(format!("/proc/{id}/mem"))?);
    let (mut found, mut room, mut searched) = (Vec::new(), vec![0; PIECE + marker.len()], 0);
    for line in maps.lines().filter(|line| line.contains(" rw")) {
        let Some((start, end)) = line.split(' ').next().and_then(|range| range.split_once('-')) else {
            continue;
        };
        let parsed = |text: &str| u64::from_str_radix(text, 16).expect("an address");
        let (mut at, end) = (parsed(start), parsed(end));
        while at < end {
            let length = usize::try_from(end - at).unwrap_or(usize::MAX).min(room.len());
            // A page may be gone by then.
            let read = memory.read_at(&mut room[..length], at).unwrap_or(0);
            searched += read;
            if holds(&room[..read], marker) {
                found.push(line.to_owned());
            }
            at += PIECE as u64;
        }
    }
    assert!(searched > 1 << 20, "only {searched} bytes were read");
    Ok(found)
}

/// A relay that says all, a home, an operator's device.
struct Bed {
    relay: Relay,
    _home: Agent,
    laptop: Operator,
    web: Held,
    dns: UdpSocket,
}

impl Bed {
    async fn new() -> Self {
        let relay = Relay::with_everything_said();
        let (web, dns) = (Held::start().await, UdpSocket::bind("127.0.0.1:0").await.expect("a port"));
        let config = simple(HOSTNAME, &format!("http://{}", web.origin.address))
            + &private("dns", &format!("udp://{}", dns.local_addr().expect("an address")), "role:operator")
            + "[[private]]\nservice = \"web\"\nallow = [\"role:operator\"]\n";
        let home = named(&relay, &["--name", "home", "--hostname", HOSTNAME], &config);
        let mut laptop = Operator::enrolled(&relay, "laptop", &["home/*"]);
        laptop.connect(&["home/web", "home/dns", "--listen", "0", "--listen", "0"]);
        Self { relay, _home: home, laptop, web, dns }
    }

    /// Where the relay holds a marker.
    fn found(&self, marker: &[u8]) -> Vec<String> {
        let mut found = Vec::new();
        files(self.relay.folder(), marker, &mut found);
        match memory(self.relay.process.id(), marker) {
            Ok(ranges) => found.extend(ranges),
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                eprintln!("the relay's memory is not searched: {error}");
            }
            Err(error) => panic!("{error}"),
        }
        found
    }
}

/// Writes a marker again and again, until everything on the way is full of it.
async fn fill(to: &mut (impl AsyncWrite + Unpin), marker: &[u8]) {
    let many = marker.repeat(1000);
    while let Ok(written) = tokio::time::timeout(Duration::from_millis(500), to.write_all(&many)).await {
        written.expect("it takes bytes");
    }
}

/// Reads until a marker has come.
async fn hears(origin: &mut TcpStream, marker: &[u8]) {
    let mut heard = Vec::new();
    while !holds(&heard, marker) {
        let read = tokio::time::timeout(PATIENCE, origin.read_buf(&mut heard)).await;
        assert!(read.expect("it comes").expect("it lives") > 0, "it ended before");
    }
}

/// Sends it by datagram until the origin has it.
async fn send(door: SocketAddr, origin: &UdpSocket, marker: &[u8]) {
    let (client, mut room) = (UdpSocket::bind("127.0.0.1:0").await.expect("a port"), [0; 2048]);
    for _ in 0..100 {
        eventually("the datagram comes and is answered", async || {
            client.send_to(marker, door).await.ok()?;
            let soon = Duration::from_millis(300);
            let (length, from) = tokio::time::timeout(soon, origin.recv_from(&mut room)).await.ok()?.ok()?;
            assert_eq!(&room[..length], marker);
            origin.send_to(marker, from).await.ok()?;
            tokio::time::timeout(soon, client.recv_from(&mut room)).await.ok()?.ok()
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_is_private_is_found_in_the_relay_and_everything_that_is_public_is() {
    let mut bed = Bed::new().await;
    let (streamed, sent, public) = (marker("stream"), marker("datagram"), marker("public"));
    let mut client = TcpStream::connect(bed.laptop.door("home/web")).await.expect("the door is open");
    let mut origin = bed.web.next().await;
    origin.write_all(&streamed).await.expect("it takes bytes");
    hears(&mut client, &streamed).await;
    fill(&mut client, &streamed).await;
    send(bed.laptop.door("home/dns"), &bed.dns, &sent).await;
    // Now the relay is full of it.
    for marker in [&streamed, &sent] {
        assert_eq!(bed.found(marker), [""; 0]);
    }
    hears(&mut origin, &streamed).await;
    assert_eq!(bed.found(&streamed), [""; 0]);

    let mut visitor = Visitor::of(&bed.relay).connect(HOSTNAME, &["http/1.1"]).await.expect("TLS");
    let head = format!("POST / HTTP/1.1\r\nHost: {HOSTNAME}\r\nContent-Length: 1000000000\r\n\r\n");
    visitor.write_all(head.as_bytes()).await.expect("a request");
    fill(&mut visitor, &public).await;
    let in_memory = memory(bed.relay.process.id(), &public);
    assert!(
        in_memory.as_ref().map_or(true, |found| !found.is_empty()),
        "the search of its memory finds nothing"
    );
    // And in what it writes.
    let path = format!("/{}", String::from_utf8_lossy(&public[1..public.len() - 1]));
    let _stuck = bed.web.next().await;
    let (visitor, answered) = (Visitor::of(&bed.relay), async {
        let mut origin = bed.web.next().await;
        origin.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.expect("it takes bytes");
        origin
    });
    let (answer, _origin) = tokio::join!(visitor.get(HOSTNAME, &path), answered);
    assert_eq!(answer.status, 204);
    eventually("the log tells of the public request", async || {
        let mut found = Vec::new();
        files(bed.relay.folder(), path.as_bytes(), &mut found);
        (!found.is_empty()).then_some(())
    })
    .await;
}
