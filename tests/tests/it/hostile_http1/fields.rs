//! Field lines: what is not one, what `Connection` names, who the visitor claims to be, what it expects.

use super::Verdict::{Last, One, Refused};
use super::{Arrival, Case, GET, arrival, case, refused_fields};

pub(super) const COUNT: usize = 96;

const MALFORMED: [&str; 31] = [
    "X: y\nZ: w\r\n",
    "X: y\n\r\n",
    "X: y\r\r\n",
    "X: y\rZ: w\r\n",
    "X: a\rb\r\n",
    "X: \r a\r\n",
    "\nX: y\r\n",
    "X: a\0b\r\n",
    "X: \0\r\n",
    "X: a\u{1}b\r\n",
    "X: a\u{8}b\r\n",
    "X: a\u{1b}[31m\r\n",
    "X: a\u{7f}b\r\n",
    "X: a\r\n folded\r\n",
    "X: a\r\n\tfolded\r\n",
    "X: a\r\n \r\n",
    " X: a\r\n",
    "\tX: a\r\n",
    "X : a\r\n",
    "X\t: a\r\n",
    "X\0: a\r\n",
    "X\r: a\r\n",
    "X y: a\r\n",
    ": a\r\n",
    " : a\r\n",
    "X\r\n",
    "GET /smuggled HTTP/1.1\r\n",
    "X(y): a\r\n",
    "\"X\": a\r\n",
    "X\u{e4}: a\r\n",
    "X\u{ff}: a\r\n",
];

/// What claims to know who the visitor is.
const CLAIMS: [&str; 24] = [
    "X-Forwarded-For",
    "x-forwarded-for",
    "X_Forwarded_For",
    "X-Forwarded_For",
    "X.Forwarded.For",
    "X~Forwarded~For",
    "X-Forwarded-Proto",
    "X_FORWARDED_PROTO",
    "X-Forwarded-Host",
    "X.Forwarded-Host",
    "X-Forwarded-Port",
    "X-Forwarded-Prefix",
    "X-Forwarded-Server",
    "X-Forwarded-Client-Cert",
    "X_Forwarded_Client_Cert",
    "X-Real-IP",
    "X_Real_IP",
    "X.Real.IP",
    "Forwarded",
    "FORWARDED",
    "Proxy",
    "Proxy-Connection",
    "Proxy-Authorization",
    "Proxy_Authorization",
];

/// Connection fields, and what still arrives of them.
const CONNECTION: [(&str, &[(&str, &str)]); 15] = [
    ("Connection: host\r\n", &[]),
    ("Connection: Host, X-Forwarded-For, X-Real-IP, Forwarded, X-Forwarded-Proto\r\n", &[]),
    ("Connection: x-forwarded-for\r\nConnection: x-forwarded-host, x-forwarded-port\r\n", &[]),
    ("Connection: cookie\r\nCookie: a=b\r\n", &[("cookie", "a=b")]),
    ("Connection: authorization\r\nAuthorization: Basic x\r\n", &[("authorization", "Basic x")]),
    ("Connection: x-mine\r\nX-Mine: 1\r\nX-Other: 2\r\n", &[("x-other", "2")]),
    ("Connection: ,, x-mine ,\tX-OTHER\r\nX-Mine: 1\r\nX-Other: 2\r\n", &[]),
    ("Connection: \u{ff}\r\nX-Mine: 1\r\n", &[("x-mine", "1")]),
    ("Connection: connection\r\n", &[]),
    ("Keep-Alive: timeout=5\r\nConnection: keep-alive\r\n", &[]),
    ("TE: gzip\r\n", &[]),
    ("TE: trailers, gzip\r\n", &[("te", "trailers")]),
    ("TE: chunked\r\nConnection: TE\r\n", &[]),
    ("X: a\tb\r\n", &[("x", "a\tb")]),
    ("X: \u{e4}\u{ff}\r\n", &[("x", "\u{e4}\u{ff}")]),
];

pub(super) fn cases() -> Vec<Case> {
    let mut all: Vec<Case> =
        MALFORMED.iter().map(|lines| refused_fields(&format!("${lines}"), 400)).collect();
    let claim = |name: &&str| case(format!("GET /case HTTP/1.1\r\n${name}: 6.6.6.6\r\n\r\n"), One(GET));
    all.extend(CLAIMS.iter().map(claim));
    let get = |lines: &str| format!("GET /case HTTP/1.1\r\n${lines}\r\n");
    all.extend(CONNECTION.iter().map(|(lines, fields)| case(get(lines), One(Arrival { fields, ..GET }))));
    all.extend(framing_cannot_be_named_away());
    all.extend(expectations());
    let many = |count: usize| get(&"X: y\r\n".repeat(count));
    all.extend([
        case(many(200), Refused(431)),
        case(get(&format!("X: {}\r\n", "y".repeat(300 << 10))), Refused(431)),
        case(get(&format!("{}: y\r\n", "x".repeat(70 << 10))), Refused(431)),
    ]);
    all
}

fn framing_cannot_be_named_away() -> Vec<Case> {
    let body = arrival("POST /case HTTP/1.1", &[("content-length", "3")], "abc");
    let chunked = arrival("POST /case HTTP/1.1", &[("transfer-encoding", "chunked")], "abc");
    let posted = |lines: &str, body: &str| format!("POST /case HTTP/1.1\r\n${lines}\r\n{body}");
    let mut all = Vec::new();
    for names in ["content-length", "Content-Length, x", "host, content-length, transfer-encoding"] {
        let lines = format!("Connection: {names}\r\nContent-Length: 3\r\n");
        all.push(case(posted(&lines, "abc"), One(body)));
        let lines = format!("Connection: {names}\r\nTransfer-Encoding: chunked\r\n");
        all.push(case(posted(&lines, "3\r\nabc\r\n0\r\n\r\n"), One(chunked)));
        let lines = format!("Connection: {names}\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n");
        all.push(case(posted(&lines, "3\r\nabc\r\n0\r\n\r\n"), Refused(400)));
    }
    let lines = "Connection: host, x-forwarded-for, content-length, close\r\nContent-Length: 3\r\n";
    all.push(case(posted(lines, "abc"), Last(body)));
    all.push(case("GET /case HTTP/1.1\r\n$Connection: close\r\n\r\n", Last(GET)));
    all
}

fn expectations() -> Vec<Case> {
    let told = &[("content-length", "3"), ("expect", "100-continue")];
    let body = arrival("POST /case HTTP/1.1", told, "abc");
    let expecting = |value: &str| format!("POST /case HTTP/1.1\r\n$Content-Length: 3\r\n{value}\r\nabc");
    let mut all = vec![
        case(expecting("Expect: 100-continue\r\n"), One(body)),
        case(expecting("expect:100-CONTINUE\r\n"), One(body)),
        case("GET /case HTTP/1.1\r\n$Expect: 100-continue\r\n\r\n", One(GET)),
    ];
    let odd = [
        "Expect: 200-ok\r\n",
        "Expect:\r\n",
        "Expect: 100-continue, x\r\n",
        "Expect: x, 100-continue\r\n",
        "Expect: 100-continue;q=1\r\n",
        "Expect: \"100-continue\"\r\n",
        "Expect: 100-continue\r\nExpect: 100-continue\r\n",
        "Expect: 100-continue\r\nExpect: x\r\n",
        "Expect: 100\r\n",
    ];
    all.extend(odd.iter().map(|line| case(expecting(line), Refused(417))));
    all
}
