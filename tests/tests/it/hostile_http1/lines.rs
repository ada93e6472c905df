//! Request lines: their signs, targets of every form, versions; and what does not end as a line does.

use super::Verdict::{Last, One, Refused};
use super::{Arrival, Case, GET, arrival, case};

pub(super) const COUNT: usize = 79;

/// First lines, before `\r\n` and the one good `Host`.
const REFUSED: [(&str, u16); 62] = [
    ("GET  /case HTTP/1.1", 400),
    ("GET /case  HTTP/1.1", 400),
    ("GET /case HTTP/1.1 ", 400),
    (" GET /case HTTP/1.1", 400),
    ("\tGET /case HTTP/1.1", 400),
    ("GET\t/case HTTP/1.1", 400),
    ("GET\u{b}/case HTTP/1.1", 400),
    ("GET /case\tHTTP/1.1", 400),
    ("GET /ca se HTTP/1.1", 400),
    ("GET /case\r HTTP/1.1", 400),
    ("GET /case HTTP/1.1\r", 505),
    ("GET /case HTTP/1.1\0", 505),
    ("GET /ca\rse HTTP/1.1", 400),
    ("GET /ca\0se HTTP/1.1", 400),
    ("GET /ca\u{7f}se HTTP/1.1", 400),
    ("GET /ca\u{1b}[31mse HTTP/1.1", 400),
    ("GET /c\u{e4}se HTTP/1.1", 400),
    ("GET /ca\u{ff}se HTTP/1.1", 400),
    ("GET /case#fragment HTTP/1.1", 400),
    ("GET /case?a#b HTTP/1.1", 400),
    ("GET /<case> HTTP/1.1", 400),
    ("GET /case?a\nb HTTP/1.1", 400),
    ("\n\nGET /case HTTP/1.1", 400),
    ("\nGET /case HTTP/1.1", 400),
    ("\r\n\r\nGET /case HTTP/1.1", 400),
    ("GET /case", 400),
    ("GET", 400),
    ("GET HTTP/1.1", 400),
    ("/case HTTP/1.1", 400),
    ("/case", 400),
    ("GET /case HTTP", 400),
    ("GET /case http1.1", 400),
    ("GET /case HTTP/", 505),
    ("GET /case http/1.1", 505),
    ("GET /case HTTP/1", 505),
    ("GET /case HTTP/1.", 505),
    ("GET /case HTTP/01.1", 505),
    ("GET /case HTTP/1.01", 505),
    ("GET /case HTTP/1.12", 505),
    ("GET /case HTTP/1.2", 505),
    ("GET /case HTTP/0.9", 505),
    ("GET /case HTTP/2.0", 505),
    ("PRI * HTTP/2.0", 505),
    // Methods.
    ("G(T /case HTTP/1.1", 400),
    ("G\0T /case HTTP/1.1", 400),
    ("GET: /case HTTP/1.1", 400),
    ("G\u{c4}T /case HTTP/1.1", 400),
    ("\"GET\" /case HTTP/1.1", 400),
    ("CONNECT a.example.com:443 HTTP/1.1", 405),
    ("CONNECT 127.0.0.1:22 HTTP/1.1", 405),
    ("CONNECT /case HTTP/1.1", 405),
    ("TRACE /case HTTP/1.1", 405),
    ("ADIT-REFUSE /case HTTP/1.1", 400),
    // Forms of the target.
    ("GET case HTTP/1.1", 400),
    ("GET * HTTP/1.1", 400),
    ("GET a.example.com:443 HTTP/1.1", 400),
    ("GET ?case HTTP/1.1", 400),
    ("GET \\case HTTP/1.1", 400),
    ("GET ftp://a.example.com/case HTTP/1.1", 400),
    ("GET http:/case HTTP/1.1", 400),
    ("GET http:///case HTTP/1.1", 400),
    ("GET http://a.example.com#x HTTP/1.1", 400),
];

/// Targets whose bytes arrive as they are.
const VERBATIM: [&str; 7] = [
    "GET /case?a=b&c=%20%0d%0a HTTP/1.1",
    "GET /case%0d%0aX:y HTTP/1.1",
    "GET /ca%5cse HTTP/1.1",
    "GET /case;a=b HTTP/1.1",
    "GET /case?/../../x HTTP/1.1",
    "GET /CASE?{}|^` HTTP/1.1",
    "M-SEARCH /case HTTP/1.1",
];

pub(super) fn cases() -> Vec<Case> {
    let whole = |line: &str, verdict| case(format!("{line}\r\n$\r\n"), verdict);
    let mut all: Vec<Case> = REFUSED.iter().map(|(line, status)| whole(line, Refused(*status))).collect();
    all.extend(VERBATIM.iter().map(|line| whole(line, One(arrival(line, &[], "")))));
    let long = format!("GET /{} HTTP/1.1", "x".repeat(17 << 10));
    let endless = "x".repeat(100 << 10);
    let head = Arrival { start: "HEAD /case HTTP/1.1", ..GET };
    all.extend([
        whole("GET /case HTTP/1.1", One(GET)),
        whole("\r\nGET /case HTTP/1.1", One(GET)),
        whole("HEAD /case HTTP/1.1", One(head)),
        whole("GET http://a.example.com/case HTTP/1.1", One(GET)),
        whole("GET HTTPS://a.example.com/case HTTP/1.1", One(GET)),
        whole("GET /case HTTP/1.0", Last(GET)),
        case("GET /case HTTP/1.1\n$\r\n", Refused(400)),
        case("GET /case HTTP/1.1\r$\r\n", Refused(400)),
        whole(&long, Refused(414)),
        whole(&endless, Refused(414)),
    ]);
    all
}
