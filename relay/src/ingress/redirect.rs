//! Port 80: sends visitors to https, for hostnames that are served or granted and for no others, and answers the HTTP-01
//! challenges of orders that are open.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use http::header::{CONTENT_TYPE, HeaderValue, LOCATION};
use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use process::terminal;
use tokio::net::TcpStream;

use super::Ingress;
use super::access_log::AccessLine;
use super::body::ResponseBody;
use super::connection::{log_end, stalling};
use super::error::IngressError;
use super::http1;
use super::page::{self, Format};
use super::request::{self, Target};
use super::visitor::Visitor;
use crate::edge::admission::Slot;
use crate::edge::guarded::Guarded;
use crate::edge::proxy;

/// Serves one connection to its end.
pub(crate) async fn serve(ingress: Arc<Ingress>, mut stream: TcpStream, address: SocketAddr, mut slot: Slot) {
    let mut address = SocketAddr::new(address.ip().to_canonical(), address.port());
    if ingress.expects_proxy_header(address.ip()) {
        match proxy::visitor_in_time(&mut stream).await {
            Ok(Some(named)) if slot.claim(&ingress.admission, named.ip()).is_err() => return,
            Ok(named) => address = named.unwrap_or(address),
            Err(error) => {
                tracing::debug!(%address, error = terminal::chain(&error), "no visitor of a trusted proxy");
                return;
            }
        }
    }
    let limits = **ingress.limits.load();
    let (guarded, handle) = Guarded::new(stalling(stream, limits.stall_time), http1::guard(&limits));
    let visitor = Visitor::new(address, (None, None), Some(handle), slot);
    let stop = ingress.stop.clone();
    let answer = move |request| std::future::ready(answer(&ingress, &visitor, &request));
    log_end(http1::run(guarded, answer, stop, (limits.header_bytes, limits.header_count)).await, address);
}

fn answer(ingress: &Ingress, visitor: &Arc<Visitor>, request: &Request<Incoming>) -> Response<ResponseBody> {
    let underway = visitor.begin();
    let mut line =
        AccessLine::begin(request, ingress.request_ids.next(), visitor.ip(), ingress.access_log.load_full());
    let mut response = redirect(ingress, visitor.ip(), request, &mut line).unwrap_or_else(|error| {
        line.error = Some(error.answer().code);
        page::respond(error, line.id, Format::wanted(request.headers()))
    });
    if let Some(guard) = &visitor.guard {
        guard.upgrade_refused();
    }
    line.status = response.status().as_u16();
    response.body_mut().end_with(line, underway);
    response
}

fn redirect(
    ingress: &Ingress,
    visitor: IpAddr,
    request: &Request<Incoming>,
    line: &mut AccessLine,
) -> Result<Response<ResponseBody>, IngressError> {
    let may_ask = ingress.may_ask(visitor);
    let target = request::examine(request, &ingress.limits.load())?;
    line.host = Some(target.hostname.to_string());
    may_ask?;
    if let Some(answer) = ingress.challenges.http(&target.hostname, request.uri().path()) {
        tracing::info!(hostname = %target.hostname, %visitor, "a CA was told the answer to its challenge");
        return Ok(challenge_answer(answer));
    }
    if ingress.registry.routes().owner(&target.hostname).is_none() {
        return Err(IngressError::UnknownHostname);
    }
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    let location = HeaderValue::from_str(&location(&target, ingress.https_port, path));
    let mut response = Response::new(ResponseBody::local(""));
    // 308 keeps the method; 301 is what every old program understands.
    *response.status_mut() = match *request.method() {
        Method::GET | Method::HEAD => StatusCode::MOVED_PERMANENTLY,
        _ => StatusCode::PERMANENT_REDIRECT,
    };
    response.headers_mut().insert(LOCATION, location.map_err(|_| IngressError::BadHost)?);
    Ok(response)
}

/// RFC 8555, section 8.3.
fn challenge_answer(answer: String) -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::local(answer));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    response
}

/// The host is the one that the route table knows; a path always begins with its slash.
fn location(target: &Target, port: u16, path: &str) -> String {
    let hostname = &target.hostname;
    let slash = if path.starts_with('/') { "" } else { "/" };
    match port {
        443 => format!("https://{hostname}{slash}{path}"),
        _ => format!("https://{hostname}:{port}{slash}{path}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_never_escapes_the_host() {
        let target = Target {
            hostname: "koda.example.com".parse().unwrap(),
            port: Some(80),
            authority: String::new(),
        };
        assert_eq!(location(&target, 443, "/a?b=c"), "https://koda.example.com/a?b=c");
        assert_eq!(location(&target, 8443, "//evil.example"), "https://koda.example.com:8443//evil.example");
        assert_eq!(location(&target, 443, "\\evil.example"), "https://koda.example.com/\\evil.example");
        assert_eq!(location(&target, 443, "@evil.example"), "https://koda.example.com/@evil.example");
    }
}
