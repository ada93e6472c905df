//! `Host`: none, several, odd ones, and targets that say something else.

use super::Verdict::{Last, One, Refused};
use super::{Arrival, Case, GET, case};

pub(super) const COUNT: usize = 62;

const REFUSED: [&str; 43] = [
    "",
    "Host:\r\n",
    "Host: \t \r\n",
    "Host: a.example.com\r\nHost: a.example.com\r\n",
    "Host: a.example.com\r\nhost: b.example.com\r\n",
    "Host: b.example.com\r\nX: y\r\nHOST: a.example.com\r\n",
    "Host: a.example.com\r\nHost:\r\n",
    "Host:\r\nHost: a.example.com\r\n",
    " Host: a.example.com\r\n",
    "Host : a.example.com\r\n",
    "Host\t: a.example.com\r\n",
    "Host: a.example.com\r\n b.example.com\r\n",
    "Host:\r\n a.example.com\r\n",
    "Host: u@a.example.com\r\n",
    "Host: u:p@a.example.com\r\n",
    "Host: @a.example.com\r\n",
    "Host: a.example.com@b.example.com\r\n",
    "Host: a.example.com/\r\n",
    "Host: a.example.com/x\r\n",
    "Host: http://a.example.com\r\n",
    "Host: a.example.com?x\r\n",
    "Host: a.example.com#x\r\n",
    "Host: a.example.com\\x\r\n",
    "Host: a.example.com b.example.com\r\n",
    "Host: a.example.com\tb.example.com\r\n",
    "Host: a.example.com, b.example.com\r\n",
    "Host: a.example.com,a.example.com\r\n",
    "Host: a.example.com;x\r\n",
    "Host: \"a.example.com\"\r\n",
    "Host: a.example.com\0\r\n",
    "Host: a.example.com\u{b}\r\n",
    "Host: a.example.c\u{f6}m\r\n",
    "Host: a.example.com%00\r\n",
    "Host: a..example.com\r\n",
    "Host: .a.example.com\r\n",
    "Host: a.example.com:\r\n",
    "Host: a.example.com:x\r\n",
    "Host: a.example.com:0\r\n",
    "Host: a.example.com:+1\r\n",
    "Host: a.example.com:65536\r\n",
    "Host: a.example.com:443:443\r\n",
    "Host: [::1\r\n",
    "Host: [::1]\r\n",
];

/// Targets that contradict `Host: a.example.com`.
const CONTRADICTING: [&str; 12] = [
    "http://b.example.com/case",
    "https://b.example.com/case",
    "http://a.example.com.evil.example/case",
    "http://a.example.com:81/case",
    "https://a.example.com:444/case",
    "http://u@a.example.com/case",
    "http://u:p@a.example.com/case",
    "http://a.example.com@b.example.com/case",
    "http://a.example.com\\@b.example.com/case",
    "http://b.example.com?/case",
    "http://127.0.0.1/case",
    "http://[::1]/case",
];

pub(super) fn cases() -> Vec<Case> {
    let get = |hosts: &str| format!("GET /case HTTP/1.1\r\n{hosts}\r\n");
    let refused = |hosts: &&str| case(get(hosts), Refused(400));
    let mut all: Vec<Case> = REFUSED.iter().map(refused).collect();
    let contradicting = |target: &&str| case(format!("GET {target} HTTP/1.1\r\n$\r\n"), Refused(400));
    all.extend(CONTRADICTING.iter().map(contradicting));
    let named = |host| One(Arrival { host, ..GET });
    all.extend([
        case(get("Host: A.Example.COM\r\n"), named("A.Example.COM")),
        case(get("Host: a.example.com.\r\n"), named("a.example.com.")),
        case(get("Host: a.example.com:8443\r\n"), named("a.example.com:8443")),
        case(get("hOST:\t a.example.com \r\n"), One(GET)),
        case("GET /case HTTP/1.0\r\n\r\n", Refused(400)),
        case("GET /case HTTP/1.0\r\n$$\r\n", Refused(400)),
        case("GET http://a.example.com/case HTTP/1.0\r\n\r\n", Last(GET)),
    ]);
    all
}
