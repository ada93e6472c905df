//! Random connections: mostly sound messages, with every kind of fault thrown in between.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

const MESSAGES: [&str; 9] = [
    "GET / HTTP/1.1\r\nhost: a\r\n\r\n",
    "\r\nGET /?x=1 HTTP/1.1\r\nHost: a\r\naccept: */*\r\nx:\r\n\r\n",
    "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nabcde",
    "POST / HTTP/1.1\r\ncontent-length:\t0 \r\nhost: a\r\n\r\n",
    "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    "POST / HTTP/1.1\r\nhost: a\r\nTransfer-Encoding:chunked\r\n\r\n1;a=\"b\"\r\nx\r\n12 ;c\r\n0123456789abcdefgh\r\n0\r\n\r\n",
    "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0;x\r\nx-sum: 1\r\nx-b:\r\n\r\n",
    "POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n\r\n",
    "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 37\r\n\r\nGET /hidden HTTP/1.1\r\nhost: hidden\r\n\r\n",
];

const SPLINTERS: [&str; 22] = [
    "\r\n",
    "\n",
    "\r",
    " ",
    "\t",
    "\0",
    ":",
    ";",
    ",",
    "0",
    "3",
    "f",
    "_",
    "\"",
    "\u{e9}",
    "x: y\r\n",
    " z\r\n",
    "content-length: 1\r\n",
    "transfer-encoding: chunked\r\n",
    "Transfer_Encoding: chunked\r\n",
    "0\r\n\r\n",
    "upgrade: websocket\r\n",
];

/// Messages end to end; then some splinters put in, or put over what was there.
pub(super) fn stream() -> impl Strategy<Value = Vec<u8>> {
    let messages = vec(select(&MESSAGES[..]), 1..5).prop_map(|messages| messages.concat().into_bytes());
    let splinters = vec((any::<prop::sample::Index>(), select(&SPLINTERS[..]), any::<bool>()), 0..3);
    (messages, splinters).prop_map(|(mut bytes, splinters)| {
        for (at, splinter, over) in splinters {
            let at = at.index(bytes.len());
            let end = if over { (at + splinter.len()).min(bytes.len()) } else { at };
            bytes.splice(at..end, splinter.bytes());
        }
        bytes
    })
}
