//! Connections that come and go leave nothing behind, in any of the three programs.

use tests::bed::Process;
use tests::origin::Origin;
use tests::wait::eventually_blocking;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::{Bed, hear, private, reset};

/// Connections, and how many of them at once.
const COUNT: usize = 1000;
const AT_ONCE: usize = 20;
/// What may come on top that is no leak of a connection each: descriptors, and KiB of memory.
const FEW: usize = 4;
const SOME_KIB: usize = 8 << 10;

/// What a process holds.
#[derive(Debug, Clone, Copy)]
struct Holds {
    descriptors: usize,
    threads: usize,
    kib: usize,
}

fn holds(process: &Process) -> Holds {
    let proc = format!("/proc/{}", process.id());
    let entries = |folder: &str| std::fs::read_dir(format!("{proc}/{folder}")).expect("it runs").count();
    let status = std::fs::read_to_string(format!("{proc}/status")).expect("it runs");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("a size");
    let kib = line.split_whitespace().nth(1).and_then(|text| text.parse().ok()).expect("a number");
    Holds { descriptors: entries("fd"), threads: entries("task"), kib }
}

fn all(bed: &mut Bed) -> [Holds; 3] {
    [holds(&bed.relay.process), holds(bed.home.process()), holds(bed.laptop.agent.process())]
}

/// One connection: most are ended well, some are broken off, some say nothing at all.
async fn one(door: std::net::SocketAddr, number: usize) {
    let mut client = TcpStream::connect(door).await.expect("the door is open");
    match number % 10 {
        0 => reset(client),
        1 => drop(client),
        _ => {
            let said = number.to_string();
            client.write_all(said.as_bytes()).await.expect("it takes bytes");
            client.shutdown().await.expect("it takes the end");
            assert_eq!(hear(&mut client).await, said.as_bytes());
        }
    }
}

async fn many(door: std::net::SocketAddr, count: usize) {
    for batch in 0..count / AT_ONCE {
        let batch = (0..AT_ONCE).map(|at| one(door, batch * AT_ONCE + at));
        futures_util::future::join_all(batch).await;
    }
}

/// A bed whose origin says what it hears.
async fn echoing() -> (Bed, Origin) {
    let mut bed = Bed::new().await;
    let origin = Origin::tcp(|mut stream: TcpStream| async move {
        let (mut read, mut write) = stream.split();
        let _broken = tokio::io::copy(&mut read, &mut write).await;
        let _broken = write.shutdown().await;
    })
    .await;
    bed.home.write_config(&private("web", &format!("tcp://{}", origin.address), "role:operator"));
    bed.home.process().wait_for_log("the configuration was read anew");
    (bed, origin)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_connections_leave_nothing_behind() {
    let (mut bed, _origin) = echoing().await;
    // What is made once for all is there by then.
    many(bed.door, 200).await;
    let before = settled(&mut bed);
    many(bed.door, COUNT).await;
    eventually_blocking("as much is held as before", || {
        let now = all(&mut bed);
        let fits = before.iter().zip(&now).all(|(before, now)| {
            now.descriptors <= before.descriptors + FEW
                && now.threads <= before.threads + 1
                && now.kib <= before.kib + SOME_KIB
        });
        if !fits {
            println!("{before:?} {now:?}");
        }
        fits.then_some(())
    });
}

/// Once nothing changes any more.
fn settled(bed: &mut Bed) -> [Holds; 3] {
    eventually_blocking("all connections are gone", || {
        let first = all(bed);
        std::thread::sleep(std::time::Duration::from_millis(100));
        let then = all(bed);
        let is_same = |(first, then): (&Holds, &Holds)| first.descriptors == then.descriptors;
        first.iter().zip(&then).all(is_same).then_some(then)
    })
}
