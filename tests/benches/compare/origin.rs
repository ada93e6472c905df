//! The origin that all stacks share: nginx with files, and behind it a small server of our own that swallows uploads and
//! echoes WebSocket messages. What the origin spends is not counted.

use std::convert::Infallible;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Context;
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, UPGRADE};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

use crate::daemon::Daemon;
use crate::place::{Place, Side, free_port};

/// Bytes of the large file; as many are uploaded.
pub(crate) const LARGE: usize = 100_000_000;
/// Its name below the folder of files.
pub(crate) const LARGE_FILE: &str = "100m";

/// A file that no transfer comes to the end of; it takes no space.
pub(crate) const ENDLESS_FILE: &str = "endless";
const ENDLESS: u64 = 1 << 34;
/// Where the origin tells how many bytes of uploads have reached it.
pub(crate) const RECEIVED: &str = "/upload/received";

/// A running origin.
#[derive(Debug)]
pub(crate) struct Origin {
    pub(crate) address: SocketAddr,
    _daemons: [Daemon; 2],
}

impl Origin {
    /// Starts it on the home side, with a folder of its own.
    pub(crate) fn start(place: &Place, folder: &Path, files: &Path) -> anyhow::Result<Self> {
        let [address, swallow] =
            [free_port()?, free_port()?].map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
        let mut command = place.command(Side::Home, std::env::current_exe()?);
        command.args(["origin", &swallow.to_string()]);
        let own = Daemon::start("the origin", command, folder.join("origin.log"))?;
        let config = folder.join("origin.conf");
        fs::write(&config, nginx_conf(address, swallow, folder, files))?;
        let mut command = place.command(Side::Home, "nginx");
        command.arg("-e").arg(folder.join("nginx.early.log")).arg("-c").arg(config);
        let nginx = Daemon::start("the origin's nginx", command, folder.join("nginx.log"))?;
        Ok(Self { address, _daemons: [own, nginx] })
    }
}

/// Writes the files that are asked for.
pub(crate) fn write_files(folder: &Path) -> anyhow::Result<()> {
    for (name, length) in [("1k", 1024), ("64k", 65536), (LARGE_FILE, LARGE)] {
        let bytes: Vec<u8> = (0..=u8::MAX).cycle().take(length).collect();
        fs::write(folder.join(name), bytes).with_context(|| format!("writing {name}"))?;
    }
    let endless = fs::File::create(folder.join(ENDLESS_FILE))?;
    endless.set_len(ENDLESS).context("making a sparse file")
}

fn nginx_conf(address: SocketAddr, swallow: SocketAddr, folder: &Path, files: &Path) -> String {
    let (folder, files) = (folder.display(), files.display());
    format!(
        r"daemon off; worker_processes 1; worker_rlimit_nofile 65536; pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 8192; }}
http {{
  access_log off; sendfile on; tcp_nopush on;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  keepalive_requests 1000000000; keepalive_timeout 1h; client_max_body_size 0;
  map $http_upgrade $connection_upgrade {{ default upgrade; '' ''; }}
  server {{
    listen {address} backlog=4096;
    root {files};
    location /upload {{ proxy_pass http://{swallow}; proxy_http_version 1.1; proxy_request_buffering off; }}
    location /echo {{
      proxy_pass http://{swallow}; proxy_http_version 1.1; proxy_read_timeout 1h;
      proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection $connection_upgrade;
    }}
  }}
}}
"
    )
}

/// The process behind nginx: serves until it is killed.
pub(crate) async fn serve(address: SocketAddr) -> anyhow::Result<()> {
    let listener = TcpListener::bind(address).await?;
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await?;
        connections.spawn(serve_connection(stream));
        while connections.try_join_next().is_some() {}
    }
}

async fn serve_connection(stream: TcpStream) {
    let _only_speed = stream.set_nodelay(true);
    let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(answer));
    let _visitor_left = connection.with_upgrades().await;
}

async fn answer(mut request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    if let Some(key) = request.headers().get(SEC_WEBSOCKET_KEY) {
        let accept = derive_accept_key(key.as_bytes());
        let upgrade = hyper::upgrade::on(&mut request);
        drop(tokio::runtime::Handle::current().spawn(async move {
            if let Ok(upgraded) = upgrade.await {
                echo(WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, None).await)
                    .await;
            }
        }));
        let response = Response::builder().status(StatusCode::SWITCHING_PROTOCOLS);
        let response = response.header(CONNECTION, "upgrade").header(UPGRADE, "websocket");
        return Ok(response.header(SEC_WEBSOCKET_ACCEPT, accept).body(Full::default()).unwrap_or_default());
    }
    static TOTAL: AtomicUsize = AtomicUsize::new(0);
    if request.uri().path() == RECEIVED {
        return Ok(Response::new(Full::new(TOTAL.load(Ordering::Relaxed).to_string().into())));
    }
    let mut length = 0;
    let body = request.body_mut();
    while let Some(Ok(frame)) = body.frame().await {
        let bytes = frame.data_ref().map_or(0, Bytes::len);
        length += bytes;
        TOTAL.fetch_add(bytes, Ordering::Relaxed);
    }
    Ok(Response::new(Full::new(length.to_string().into())))
}

async fn echo(socket: WebSocketStream<TokioIo<hyper::upgrade::Upgraded>>) {
    let (mut sink, mut stream) = socket.split();
    while let Some(Ok(message)) = stream.next().await {
        if message.is_close() || sink.send(message).await.is_err() {
            return;
        }
    }
}
