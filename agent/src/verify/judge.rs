//! What is right and wrong about responses that were seen. Pure.

use std::fmt;

use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, LOCATION, SERVER, SET_COOKIE};
use http::{HeaderMap, HeaderName, StatusCode, Uri};
use serde::Serialize;

/// One response as it came.
#[derive(Debug, Clone)]
pub struct Seen {
    pub path: String,
    pub status: StatusCode,
    pub headers: HeaderMap,
    /// The beginning of the body.
    pub body: Vec<u8>,
}

/// How a check went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    Ok,
    Fail,
    /// There was nothing to judge.
    Skip,
}

/// One check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Judgement {
    pub check: String,
    pub outcome: Outcome,
    pub detail: String,
}

impl Judgement {
    pub(super) fn new(check: impl Into<String>, outcome: Outcome, detail: impl Into<String>) -> Self {
        Self { check: check.into(), outcome, detail: detail.into() }
    }

    fn of(check: impl Into<String>, problem: Option<String>, fine: impl Into<String>) -> Self {
        match problem {
            Some(problem) => Self::new(check, Outcome::Fail, problem),
            None => Self::new(check, Outcome::Ok, fine),
        }
    }
}

impl fmt::Display for Judgement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match self.outcome {
            Outcome::Ok => "ok  ",
            Outcome::Fail => "FAIL",
            Outcome::Skip => "--  ",
        };
        write!(f, "{word}  {:<34}  {}", self.check, self.detail)
    }
}

/// All values of a field, as text.
fn values(headers: &HeaderMap, name: HeaderName) -> Vec<String> {
    headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()).collect()
}

/// The front page is there and is a page.
#[must_use]
pub fn front(seen: &Seen) -> Judgement {
    let kind = values(&seen.headers, CONTENT_TYPE).join(", ");
    let problem = if seen.status != StatusCode::OK {
        Some(format!("status {}", seen.status))
    } else if !kind.to_ascii_lowercase().starts_with("text/html") {
        Some(format!("`Content-Type` is `{kind}`, not `text/html`"))
    } else {
        None
    };
    Judgement::of("front page", problem, format!("{} {kind}", seen.status))
}

/// The API answers JSON.
#[must_use]
pub fn api(seen: &Seen) -> Judgement {
    let problem = if seen.status != StatusCode::OK {
        Some(format!("status {}", seen.status))
    } else {
        serde_json::from_slice::<serde_json::Value>(&seen.body)
            .err()
            .map(|error| format!("not JSON: {error}"))
    };
    Judgement::of(format!("API {}", seen.path), problem, format!("{} JSON", seen.status))
}

/// Every cookie of every response is for TLS alone, out of reach of scripts and of other sites.
#[must_use]
pub fn cookies(seen: &[Seen]) -> Vec<Judgement> {
    let mut judged: Vec<Judgement> = Vec::new();
    for cookie in seen.iter().flat_map(|seen| values(&seen.headers, SET_COOKIE)) {
        let judgement = one_cookie(&cookie);
        if !judged.contains(&judgement) {
            judged.push(judgement);
        }
    }
    if judged.is_empty() {
        judged.push(Judgement::new(
            "cookies",
            Outcome::Skip,
            "no response set one; look again after signing in",
        ));
    }
    judged
}

fn one_cookie(cookie: &str) -> Judgement {
    let mut parts = cookie.split(';');
    let name = parts.next().and_then(|pair| pair.split('=').next()).unwrap_or_default().trim();
    let flags: Vec<String> = parts.map(|part| part.trim().to_ascii_lowercase()).collect();
    let has = |flag: &str| flags.iter().any(|have| have == flag);
    let same_site = has("samesite=strict") || has("samesite=lax");
    let wanted = [("Secure", has("secure")), ("HttpOnly", has("httponly")), ("SameSite", same_site)];
    let missing: Vec<&str> = wanted.into_iter().filter(|(_, there)| !there).map(|(flag, _)| flag).collect();
    let problem = (!missing.is_empty()).then(|| format!("without {}", missing.join(", ")));
    Judgement::of(format!("cookie {name}"), problem, "Secure, HttpOnly, SameSite")
}

/// A sign-in page has a strict content security policy and is not kept by caches.
#[must_use]
pub fn sign_in(seen: &Seen) -> Vec<Judgement> {
    if seen.status == StatusCode::NOT_FOUND {
        return vec![Judgement::new(format!("page {}", seen.path), Outcome::Skip, "there is no such page")];
    }
    let policies = values(&seen.headers, CONTENT_SECURITY_POLICY);
    let policy = if policies.is_empty() {
        Some("no `Content-Security-Policy`".to_owned())
    } else if policies.iter().any(|policy| policy.to_ascii_lowercase().contains("'unsafe-inline'")) {
        Some("`Content-Security-Policy` allows 'unsafe-inline'".to_owned())
    } else {
        None
    };
    let cache = values(&seen.headers, CACHE_CONTROL).join(", ");
    let kept = !cache.to_ascii_lowercase().split(',').any(|part| part.trim() == "no-store");
    let kept = kept.then(|| format!("`Cache-Control` is `{cache}`, without `no-store`"));
    vec![
        Judgement::of(format!("policy of {}", seen.path), policy, "strict"),
        Judgement::of(format!("caching of {}", seen.path), kept, cache),
    ]
}

/// No response says what software made it.
#[must_use]
pub fn server(seen: &[Seen]) -> Judgement {
    let named = seen.iter().find_map(|seen| {
        let value = values(&seen.headers, SERVER);
        (!value.is_empty()).then(|| format!("{} sends `Server: {}`", seen.path, value.join(", ")))
    });
    Judgement::of("no Server header", named, "absent")
}

/// Plain HTTP leads to the same place over TLS.
#[must_use]
pub fn redirect(seen: &Seen, host: &str) -> Judgement {
    let location = values(&seen.headers, LOCATION).join(", ");
    let target: Option<Uri> = location.parse().ok();
    let to_tls = target.as_ref().is_some_and(|uri| {
        uri.scheme_str() == Some("https") && uri.host().is_some_and(|there| there.eq_ignore_ascii_case(host))
    });
    let problem = if !seen.status.is_redirection() {
        Some(format!("status {} in place of a redirect", seen.status))
    } else if !to_tls {
        Some(format!("redirects to `{location}`"))
    } else {
        None
    };
    Judgement::of("http redirects to https", problem, format!("{} {location}", seen.status.as_u16()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(status: u16, headers: &[(&str, &str)], body: &str) -> Seen {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
        }
        let status = StatusCode::from_u16(status).unwrap();
        Seen { path: "/x".into(), status, headers: map, body: body.into() }
    }

    #[test]
    fn front_and_api() {
        assert_eq!(
            front(&seen(200, &[("content-type", "text/html; charset=utf-8")], "")).outcome,
            Outcome::Ok
        );
        assert_eq!(front(&seen(200, &[("content-type", "text/plain")], "")).outcome, Outcome::Fail);
        assert_eq!(front(&seen(502, &[("content-type", "text/html")], "")).outcome, Outcome::Fail);
        assert_eq!(api(&seen(200, &[], "{\"ok\":true}")).outcome, Outcome::Ok);
        assert_eq!(api(&seen(200, &[], "<html>")).outcome, Outcome::Fail);
    }

    #[test]
    fn a_cookie_needs_all_three_flags() {
        let judge = |cookie: &str| cookies(&[seen(200, &[("set-cookie", cookie)], "")]).remove(0);
        let good = judge("koda_operator_session=x; Path=/; Secure; HttpOnly; SameSite=Strict");
        assert_eq!((good.outcome, good.check.as_str()), (Outcome::Ok, "cookie koda_operator_session"));
        assert_eq!(judge("a=b; HttpOnly; SameSite=None").detail, "without Secure, SameSite");
        assert_eq!(cookies(&[seen(200, &[], "")])[0].outcome, Outcome::Skip);
    }

    #[test]
    fn sign_in_pages() {
        let outcomes = |status, headers: &[(&str, &str)]| {
            sign_in(&seen(status, headers, "")).iter().map(|judged| judged.outcome).collect::<Vec<_>>()
        };
        let strict = ("content-security-policy", "default-src 'self'");
        let no_store = ("cache-control", "no-store, no-cache");
        assert_eq!(outcomes(200, &[strict, no_store]), [Outcome::Ok, Outcome::Ok]);
        assert_eq!(outcomes(200, &[]), [Outcome::Fail, Outcome::Fail]);
        let loose = ("content-security-policy", "script-src 'Unsafe-Inline'");
        assert_eq!(outcomes(200, &[loose, no_store]), [Outcome::Fail, Outcome::Ok]);
        assert_eq!(outcomes(404, &[]), [Outcome::Skip]);
    }

    #[test]
    fn the_rest() {
        assert_eq!(server(&[seen(200, &[], "")]).outcome, Outcome::Ok);
        assert_eq!(server(&[seen(200, &[("server", "nginx")], "")]).outcome, Outcome::Fail);
        let to = |location: &str| redirect(&seen(301, &[("location", location)], ""), "a.example").outcome;
        assert_eq!(to("https://a.example/x"), Outcome::Ok);
        assert_eq!(to("https://b.example/x"), Outcome::Fail);
        assert_eq!(to("http://a.example/"), Outcome::Fail);
        assert_eq!(redirect(&seen(200, &[], ""), "a.example").outcome, Outcome::Fail);
    }
}
