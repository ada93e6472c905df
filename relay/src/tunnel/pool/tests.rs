//! Which stream goes to whom, and that no crowd of visitors makes a pool grow.

use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{DuplexStream, duplex};
use tokio::task::JoinSet;

use super::*;

fn visitor(port: u16) -> SocketAddr {
    ([192, 0, 2, 7], port).into()
}

fn opener() -> RequestId {
    RequestId::from_bytes([1; 16])
}

/// Streams whose far ends are held open and say nothing.
#[derive(Default)]
struct Streams {
    tasks: JoinSet<()>,
    far: Vec<DuplexStream>,
}

impl Streams {
    fn end(&mut self) -> TokioIo<DuplexStream> {
        let (near, far) = duplex(1024);
        self.far.push(far);
        TokioIo::new(near)
    }

    async fn http1(&mut self, port: u16) -> Http1Stream {
        let (mut sender, connection) = http1::handshake(self.end()).await.unwrap();
        let task = self.tasks.spawn(async move { drop(connection.await) });
        sender.ready().await.unwrap();
        Http1Stream {
            sender,
            failure: FailureCell::default(),
            opener: opener(),
            visitor: visitor(port),
            task,
        }
    }

    async fn http2(&mut self, port: u16) -> Http2Stream {
        let (sender, connection) = http2::handshake(TokioExecutor::new(), self.end()).await.unwrap();
        self.tasks.spawn(async move { drop(connection.await) });
        Http2Stream::new(sender, FailureCell::default(), opener(), visitor(port))
    }
}

#[tokio::test]
async fn a_stream_of_one_visitor_waits_for_that_visitor() {
    let (pool, mut streams) = (Pool::default(), Streams::default());
    for port in [1, 2, 3] {
        pool.put(streams.http1(port).await);
    }
    assert!(pool.take(Reuse::Any, Some(visitor(4))).is_none());
    let other_address: SocketAddr = "192.0.2.8:2".parse().unwrap();
    assert!(pool.take(Reuse::Any, Some(other_address)).is_none());
    assert_eq!(pool.take(Reuse::Any, Some(visitor(2))).unwrap().visitor, visitor(2));
    assert!(pool.take(Reuse::Any, Some(visitor(2))).is_none());
    assert_eq!(pool.take(Reuse::Any, None).unwrap().visitor, visitor(3));
}

#[tokio::test]
async fn requests_over_h2c_share_with_their_own_visitor() {
    let (pool, mut streams) = (Pool::default(), Streams::default());
    for port in [1, 2] {
        pool.share(streams.http2(port).await);
    }
    assert!(pool.shared(Some(visitor(3))).is_none());
    let under_way: Vec<_> = (0..MOST_SHARING).map(|_| pool.shared(Some(visitor(2))).unwrap()).collect();
    assert!(under_way.iter().all(|stream| stream.visitor == visitor(2)));
    assert!(pool.shared(Some(visitor(2))).is_none());
    assert_eq!(pool.shared(None).unwrap().visitor, visitor(1));
}

#[tokio::test]
async fn a_crowd_pushes_out_who_was_idle_for_the_longest() {
    let (pool, mut streams) = (Pool::default(), Streams::default());
    let most = u16::try_from(MOST_IDLE).unwrap();
    let busy = streams.http2(0).await;
    pool.share(busy.clone());
    for port in 0..=most {
        pool.put(streams.http1(port).await);
        pool.share(streams.http2(port + 1).await);
    }
    assert_eq!((lock(&pool.idle).len(), lock(&pool.shared).len()), (MOST_IDLE, MOST_IDLE));
    assert!(pool.take(Reuse::Any, Some(visitor(0))).is_none());
    assert!(pool.take(Reuse::Any, Some(visitor(most))).is_some());
    // What is in use stays, whoever has to go.
    assert!(pool.shared(Some(visitor(0))).is_some() && pool.shared(Some(visitor(1))).is_none());
    assert!(pool.shared(Some(visitor(most + 1))).is_some());
    drop(busy);
}

#[tokio::test]
async fn what_nobody_uses_is_closed() {
    let (pool, mut streams) = (Pool::default(), Streams::default());
    let busy = streams.http2(1).await;
    pool.share(busy.clone());
    pool.share(streams.http2(2).await);
    pool.put(streams.http1(3).await);
    let later = Instant::now() + IDLE;
    pool.prune(later);
    assert_eq!((lock(&pool.idle).len(), lock(&pool.shared).len()), (0, 1));
    drop(busy);
    pool.prune(later + IDLE / 2);
    assert_eq!(lock(&pool.shared).len(), 1);
    pool.prune(later + IDLE);
    assert!(lock(&pool.shared).is_empty());
}
