//! Stand-ins for the two services of the Koda example: they set the cookies, policies and headers that its page asks
//! of a proxy to leave alone.

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, HeaderValue, SERVER, SET_COOKIE};
use hyper::{Request, Response};

use crate::origin::{Body, Origin, json, text};

/// As the dashboard sends it, byte for byte.
pub const SESSION_COOKIE: &str = "koda_operator_session=s3ss10n; Path=/; Secure; HttpOnly; SameSite=Strict";
/// As the pages for signing in send it.
pub const STRICT_POLICY: &str =
    "default-src 'self'; script-src 'self'; object-src 'none'; frame-ancestors 'none'";

const PAGE: &str = "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Koda</title>\
    <h1>Koda dashboard</h1><p>This page came from 127.0.0.1 through the tunnel.</p>\n";

/// The dashboard: pages, a session cookie at sign-in.
pub async fn dashboard() -> Origin {
    Origin::http(|request| async move { dashboard_page(&request) }).await
}

/// The control plane: JSON for the paths that are published, and something that nobody should see elsewhere.
pub async fn control_plane() -> Origin {
    Origin::http(|request| async move { control_plane_answer(&request) }).await
}

fn set(response: &mut Response<Body>, name: HeaderName, value: &'static str) {
    response.headers_mut().append(name, HeaderValue::from_static(value));
}

fn dashboard_page(request: &Request<Incoming>) -> Response<Body> {
    let mut response = text(Bytes::from_static(PAGE.as_bytes()));
    set(&mut response, CONTENT_TYPE, "text/html; charset=utf-8");
    set(&mut response, SERVER, "koda-dashboard");
    if matches!(request.uri().path(), "/login" | "/setup" | "/forgot-password") {
        set(&mut response, CONTENT_SECURITY_POLICY, STRICT_POLICY);
        set(&mut response, SET_COOKIE, SESSION_COOKIE);
    }
    response
}

fn control_plane_answer(request: &Request<Incoming>) -> Response<Body> {
    let path = request.uri().path();
    let published = ["/api/control-plane/", "/api/runtime/", "/openapi/"];
    let status = if published.iter().any(|prefix| path.starts_with(prefix)) { "ok" } else { "not published" };
    let mut response = json(&serde_json::json!({ "status": status, "path": path }));
    set(&mut response, SERVER, "koda-control-plane");
    response
}
