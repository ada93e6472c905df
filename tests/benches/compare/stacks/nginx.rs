//! nginx: alone, and as the front that other tunnels need.

use std::net::SocketAddr;

use crate::daemon::Daemon;
use crate::ground::Ground;
use crate::place::Side;

pub(crate) fn start(ground: &Ground, https: u16) -> anyhow::Result<Vec<Daemon>> {
    Ok(vec![front(ground, https, ground.origin)?])
}

/// Ends TLS and asks this address, as a tunnel's documentation would have it: connections kept, headers set, upgrades
/// let through, bodies of requests passed on as they come.
pub(crate) fn front(ground: &Ground, https: u16, upstream: SocketAddr) -> anyhow::Result<Daemon> {
    let folder = ground.folder.display();
    let config = format!(
        r"daemon off; worker_processes auto; worker_rlimit_nofile 65536; pid {folder}/nginx.pid;
error_log {folder}/nginx.error.log;
events {{ worker_connections 8192; }}
http {{
  access_log {folder}/access.log;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  keepalive_requests 1000000000; keepalive_timeout 1h; client_max_body_size 0;
  map $http_upgrade $connection_upgrade {{ default upgrade; '' ''; }}
  upstream behind {{ server {upstream}; keepalive 256; keepalive_requests 1000000000; keepalive_timeout 1h; }}
  server {{
    listen 127.0.0.1:{https} ssl http2;
    ssl_certificate {certificate}; ssl_certificate_key {key}; ssl_protocols TLSv1.2 TLSv1.3;
    location / {{
      proxy_pass http://behind; proxy_http_version 1.1;
      proxy_set_header Host $host;
      proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection $connection_upgrade;
      proxy_set_header X-Real-IP $remote_addr; proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_set_header X-Forwarded-Proto $scheme; proxy_set_header X-Forwarded-Host $host;
      proxy_set_header X-Forwarded-Port $server_port;
      proxy_request_buffering off; proxy_read_timeout 1h; proxy_send_timeout 1h;
    }}
  }}
}}
",
        certificate = ground.certificate.display(),
        key = ground.key.display(),
    );
    let file = ground.write("nginx.conf", &config)?;
    let mut command = ground.place.command(Side::Relay, "nginx");
    command.arg("-e").arg(ground.log("nginx.early")).arg("-c").arg(file);
    Daemon::start("nginx", command, ground.log("nginx"))
}
