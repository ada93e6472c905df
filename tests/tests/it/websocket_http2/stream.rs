//! A stream of HTTP/2 as a WebSocket's connection.

use bytes::Bytes;
use h2::SendStream;
use tests::visitor::background;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::Opened;

/// Speaks WebSocket on a stream that was accepted.
pub(super) async fn websocket(opened: Opened) -> WebSocketStream<DuplexStream> {
    let (near, far) = duplex(64 << 10);
    let (mut read, mut write) = tokio::io::split(far);
    let Opened { send, mut recv, .. } = opened;
    background(async move {
        while let Some(Ok(data)) = recv.data().await {
            let _taken = recv.flow_control().release_capacity(data.len());
            if write.write_all(&data).await.is_err() {
                return;
            }
        }
        let _gone = write.shutdown().await;
    });
    background(async move {
        let (mut send, mut buffer) = (send, vec![0; 16 << 10]);
        while let Ok(length @ 1..) = read.read(&mut buffer).await {
            if pass(&mut send, &buffer[..length]).await.is_none() {
                return;
            }
        }
        let _gone = send.send_data(Bytes::new(), true);
    });
    WebSocketStream::from_raw_socket(near, Role::Client, None).await
}

async fn pass(send: &mut SendStream<Bytes>, mut bytes: &[u8]) -> Option<()> {
    while !bytes.is_empty() {
        send.reserve_capacity(bytes.len());
        let room = std::future::poll_fn(|cx| send.poll_capacity(cx)).await?.ok()?;
        let (now, later) = bytes.split_at(room.min(bytes.len()));
        send.send_data(Bytes::copy_from_slice(now), false).ok()?;
        bytes = later;
    }
    Some(())
}

/// Takes an accepted stream back.
pub(super) fn abandon(opened: Opened) {
    let Opened { mut send, recv, .. } = opened;
    send.send_reset(h2::Reason::CANCEL);
    drop(recv);
}
