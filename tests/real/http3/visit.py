"""Visits an origin over HTTP/3 with aioquic, and tells what it found.

    python visit.py HOST ADDRESS PORT CA_FILE

HOST is asked for at ADDRESS:PORT, over UDP and over TCP. What answers has to be the origin of
`tests/real/echo.mjs`. Prints one JSON object: {"passed": [NAME, ...], "failed": {NAME: WHY, ...}}.
"""

import asyncio
import dataclasses
import json
import sys
import traceback

from visitor import Refused, tls, visiting

H3_REQUEST_CANCELLED = 0x10C
H3_REQUEST_INCOMPLETE = 0x10D
H3_MESSAGE_ERROR = 0x10E
MEBIBYTE = 1 << 20


@dataclasses.dataclass
class Place:
    host: str
    address: str
    port: int
    ca: str

    @property
    def authority(self):
        return f"{self.host}:{self.port}"


def head(place, method, path, *fields):
    pseudo = [(":method", method), (":scheme", "https"), (":authority", place.authority), (":path", path)]
    return [*pseudo, *fields]


async def ask(visitor, fields, body=None):
    exchange = visitor.open(fields, end=body is None)
    if body is not None:
        visitor.send(exchange, body, end=True)
    return await exchange.until(lambda: exchange.ended)


async def seen(visitor, place):
    """What the origin has counted."""
    return json.loads((await ask(visitor, head(place, "GET", "/counts"))).body)


async def eventually(visitor, place, condition):
    async with asyncio.timeout(20):
        while not condition(counts := await seen(visitor, place)):
            await asyncio.sleep(0.05)
        return counts


def same(left, right, what=""):
    assert left == right, f"{what} {left!r} is not {right!r}"


async def fetch(place):
    async with visiting(place) as visitor:
        answer = await ask(visitor, head(place, "GET", "/hello?a=%2F", ("cookie", "a=1"), ("cookie", "b=2")))
        same((answer.status, bytes(answer.body)), (200, b"hello"))
        told = json.loads((await ask(visitor, head(place, "GET", "/told"))).body)
        same(told["host"], place.authority)
        same(told["x-forwarded-proto"], "https")
        same(told["x-forwarded-for"], "127.0.0.1")
        cookies = json.loads((await ask(visitor, head(place, "GET", "/told", ("cookie", "a=1"), ("cookie", "b=2")))).body)
        same(cookies["cookie"], "a=1; b=2", "cookie fields are joined:")


async def heads_and_not_modified_have_no_body(place):
    async with visiting(place) as visitor:
        # Not of a page with a length: aioquic takes that and no body for a broken message, HEAD or not.
        answer = await ask(visitor, head(place, "HEAD", "/page"))
        same((answer.status, answer.headers["content-type"], bytes(answer.body)), (200, "text/html", b""))
        answer = await ask(visitor, head(place, "GET", "/hello", ("if-none-match", '"5"')))
        same((answer.status, bytes(answer.body)), (304, b""))


async def downloads(place):
    async with visiting(place) as visitor:
        answer = await ask(visitor, head(place, "GET", f"/large?{4 * MEBIBYTE}"))
        same((answer.status, len(answer.body)), (200, 4 * MEBIBYTE))
        assert all(byte == index % 251 for index, byte in enumerate(answer.body)), "the bytes differ"


async def uploads(place):
    body = bytes(index % 241 for index in range(3 * MEBIBYTE))
    async with visiting(place) as visitor:
        for length in [[], [("content-length", str(len(body)))]]:
            answer = await ask(visitor, head(place, "POST", "/echo", *length), body)
            same(answer.status, 200)
            assert answer.body == body, f"{len(answer.body)} bytes of {len(body)} came back, or others"


async def streams_both_ways(place):
    async with visiting(place) as visitor:
        exchange = visitor.open(head(place, "POST", "/echo"), end=False)
        for index in range(10):
            visitor.send(exchange, b"%09d\n" % index)
            await exchange.until(lambda expected=10 * (index + 1): len(exchange.body) == expected)
        visitor.send(exchange, b"", end=True)
        await exchange.until(lambda: exchange.ended)
        same(exchange.body, b"".join(b"%09d\n" % index for index in range(10)))


async def trailers(place):
    async with visiting(place) as visitor:
        exchange = visitor.open(head(place, "POST", "/echo", ("te", "trailers"), ("trailer", "x-sum")), end=False)
        visitor.send(exchange, b"body")
        visitor.send_trailers(exchange, [("x-sum", "31")])
        await exchange.until(lambda: exchange.ended)
        same((exchange.status, bytes(exchange.body), exchange.trailers), (200, b"body", {"x-sum": "31"}))


async def early_hints(place):
    async with visiting(place) as visitor:
        answer = await ask(visitor, head(place, "GET", "/hinted"))
        same((answer.status, bytes(answer.body)), (200, b"hello"))
        same([hints[":status"] for hints in answer.interim], ["103"])
        same(answer.interim[0]["link"], "</a.css>; rel=preload")


async def opens_many_streams(place):
    async with visiting(place) as visitor:
        async def one(index):
            body = b"%d" % index * 200
            answer = await ask(visitor, head(place, "POST", "/echo"), body)
            same((answer.status, bytes(answer.body)), (200, body))

        # No more at once than the relay lets a visitor open.
        lane = asyncio.Semaphore(50)

        async def queued(index):
            async with lane:
                await one(index)

        await asyncio.gather(*(queued(index) for index in range(1000)))


async def cancelled_downloads_end_at_the_origin(place):
    async with visiting(place) as visitor:
        before = (await seen(visitor, place))["downloads_dropped"]
        exchange = visitor.open(head(place, "GET", "/endless"))
        await exchange.until(lambda: len(exchange.body) > 100_000)
        visitor.cancel(exchange, H3_REQUEST_CANCELLED)
        await eventually(visitor, place, lambda counts: counts["downloads_dropped"] > before)
        same((await ask(visitor, head(place, "GET", "/hello"))).status, 200, "the connection goes on:")


async def cancelled_uploads_never_look_complete(place):
    async with visiting(place) as visitor:
        before = await seen(visitor, place)
        exchange = visitor.open(head(place, "POST", "/sink"), end=False)
        visitor.send(exchange, b"x" * 10_000)
        await eventually(visitor, place, lambda counts: counts["uploads_begun"] > before["uploads_begun"])
        visitor.reset(exchange, H3_REQUEST_CANCELLED)
        after = await eventually(visitor, place, lambda counts: counts["uploads_broken"] > before["uploads_broken"])
        same(after["uploads_whole"], before["uploads_whole"], "uploads that seemed whole:")


async def a_broken_origin_is_no_clean_end(place):
    async with visiting(place) as visitor:
        exchange = visitor.open(head(place, "GET", "/broken"))
        try:
            await exchange.until(lambda: exchange.ended)
        except Refused as refused:
            assert "stream" in str(refused), refused
            same((await ask(visitor, head(place, "GET", "/hello"))).status, 200, "the connection goes on:")
            return
        raise AssertionError(f"it ended cleanly with {len(exchange.body)} bytes")


async def an_origin_s_answer_before_the_end_of_the_upload_arrives(place):
    async with visiting(place) as visitor:
        exchange = visitor.open(head(place, "POST", "/refuse"), end=False)
        visitor.send(exchange, b"x" * 1000)
        await exchange.until(lambda: exchange.headers is not None)
        same(exchange.status, 403)


# Each is a request that must not reach the origin; what may come back instead is a 400 or an error of
# the stream or the connection.
MALFORMED = {
    "upper case": [("X-Upper", "1")],
    "connection": [("connection", "close")],
    "transfer-encoding": [("transfer-encoding", "chunked")],
    "keep-alive": [("keep-alive", "1")],
    "upgrade": [("upgrade", "websocket")],
    "te other than trailers": [("te", "gzip")],
    "cr lf in a value": [("x-a", "1\r\nx-b: 2")],
    "nul in a value": [("x-a", "1\x002")],
    "colon in a name": [("x-a: b", "1")],
    "space in a name": [("x a", "1")],
    "late pseudo-field": [("x-a", "1"), (":path", "/told")],
    "second path": [(":path", "/told")],
    "second authority": [(":authority", "b.example.com")],
    "unknown pseudo-field": [(":secret", "1")],
    "status in a request": [(":status", "200")],
    "host that differs": [("host", "b.example.com")],
    "two lengths": [("content-length", "1"), ("content-length", "2")],
    "length that is no number": [("content-length", "+3")],
}


async def malformed_requests_do_not_reach_the_origin(place):
    reached, ran = [], 0
    for name, fields in MALFORMED.items():
        if await reaches(place, head(place, "POST", "/sink", *fields), b"abc"):
            reached.append(name)
        ran += 1
    whole = head(place, "POST", "/sink")
    for missing in range(4):
        if await reaches(place, whole[:missing] + whole[missing + 1 :], b"abc"):
            reached.append(f"without {whole[missing][0]}")
        ran += 1
    for length in ["2", "4"]:
        if await reaches(place, head(place, "POST", "/sink", ("content-length", length)), b"abc", whole_only=True):
            reached.append(f"3 bytes that were announced as {length}")
        ran += 1
    assert not reached, f"reached the origin: {reached}"
    same(ran, 24, "cases:")


async def reaches(place, fields, body, whole_only=False):
    """Whether the origin heard of it; with `whole_only`, as a request that came to its end."""
    key = "uploads_whole" if whole_only else "uploads_begun"
    async with visiting(place) as observer, visiting(place) as visitor:
        before = (await seen(observer, place))[key]
        try:
            answer = await ask(visitor, fields, body)
            assert 400 <= answer.status < 500 or (await seen(observer, place))[key] > before, answer.status
        except (Refused, ConnectionError):
            pass
        return (await seen(observer, place))[key] > before


async def other_hostnames_are_not_served_here(place):
    async with visiting(place) as visitor:
        fields = [(":method", "GET"), (":scheme", "https"), (":authority", "other.example.com"), (":path", "/")]
        answer = await ask(visitor, fields)
        assert answer.status in (404, 421), answer.status


async def too_many_header_bytes_are_refused(place):
    async with visiting(place) as visitor:
        same((await ask(visitor, head(place, "GET", "/hello"))).status, 200)
        limit = visitor.max_field_section_size()
        assert limit and limit < MEBIBYTE, f"MAX_FIELD_SECTION_SIZE is {limit}"
        fields = [(f"x-{index}", "v" * 1000) for index in range(limit // 1000 + 20)]
        try:
            same((await ask(visitor, head(place, "GET", "/told", *fields))).status, 431)
        except (Refused, ConnectionError):
            pass


async def connect_and_trace_are_refused(place):
    async with visiting(place) as visitor:
        for fields in (head(place, "TRACE", "/told"), [(":method", "CONNECT"), (":authority", "127.0.0.1:22")]):
            try:
                answer = await ask(visitor, fields)
                assert 400 <= answer.status < 600, answer.status
            except (Refused, ConnectionError):
                pass


async def unknown_frames_and_streams_are_ignored(place):
    async with visiting(place) as visitor:
        # Reserved types of RFC 9114, 7.2.8 and 6.2.3: 0x1f * N + 0x21.
        visitor.send_bytes(visitor.unidirectional(), bytes([0x21]) + b"whatever", end=True)
        exchange = visitor.open(head(place, "POST", "/echo"), end=False)
        visitor.send_bytes(exchange.stream_id, bytes([0x21, 3]) + b"abc")
        visitor.send(exchange, b"body", end=True)
        await exchange.until(lambda: exchange.ended)
        same((exchange.status, bytes(exchange.body)), (200, b"body"))


async def half_a_request_is_none(place):
    async with visiting(place) as visitor:
        before = (await seen(visitor, place))["uploads_begun"]
        exchange = visitor.open(head(place, "GET", "/hello"))
        await exchange.until(lambda: exchange.ended)
        stream_id = visitor._quic.get_next_available_stream_id()
        # A HEADERS frame of 100 bytes of which three come.
        visitor.send_bytes(stream_id, bytes([1, 0x40, 100, 0, 0, 0]), end=True)
        same((await seen_elsewhere(place))["uploads_begun"], before)


async def seen_elsewhere(place):
    async with visiting(place) as visitor:
        return await seen(visitor, place)


async def resumes_without_early_data(place):
    tickets = []
    async with visiting(place, on_ticket=tickets.append) as visitor:
        same((await ask(visitor, head(place, "GET", "/hello"))).status, 200)
        async with asyncio.timeout(10):
            while not tickets:
                await visitor.ping()
    assert not tickets[0].max_early_data_size, "0-RTT is offered"
    async with visiting(place, session_ticket=tickets[0]) as visitor:
        same((await ask(visitor, head(place, "GET", "/hello"))).status, 200)
        assert visitor._quic.tls.session_resumed, "the ticket was not taken"


async def survives_a_new_port(place):
    async with visiting(place) as visitor:
        same((await ask(visitor, head(place, "GET", "/hello"))).status, 200)
        loop, old = asyncio.get_running_loop(), visitor._transport
        # A router forgot the mapping: the same connection goes on from another port.
        family = old.get_extra_info("socket").family
        local = "::" if family.name == "AF_INET6" else "0.0.0.0"
        await loop.create_datagram_endpoint(lambda: visitor, local_addr=(local, 0))
        old.close()
        for _ in range(20):
            same((await ask(visitor, head(place, "GET", "/hello"))).status, 200)


async def is_announced_over_tcp(place):
    reader, writer = await asyncio.open_connection(
        place.address, place.port, ssl=tls(place, "http/1.1"), server_hostname=place.host
    )
    writer.write(f"GET /hello HTTP/1.1\r\nhost: {place.authority}\r\nconnection: close\r\n\r\n".encode())
    answer = (await asyncio.wait_for(reader.read(), 10)).decode().lower()
    writer.close()
    lines = [line for line in answer.split("\r\n") if line.startswith("alt-svc:")]
    same(len(lines), 1, "Alt-Svc fields:")
    assert f'h3=":{place.port}"' in lines[0], lines


CHECKS = [
    fetch,
    heads_and_not_modified_have_no_body,
    downloads,
    uploads,
    streams_both_ways,
    trailers,
    early_hints,
    opens_many_streams,
    cancelled_downloads_end_at_the_origin,
    cancelled_uploads_never_look_complete,
    a_broken_origin_is_no_clean_end,
    an_origin_s_answer_before_the_end_of_the_upload_arrives,
    malformed_requests_do_not_reach_the_origin,
    other_hostnames_are_not_served_here,
    too_many_header_bytes_are_refused,
    connect_and_trace_are_refused,
    unknown_frames_and_streams_are_ignored,
    half_a_request_is_none,
    resumes_without_early_data,
    survives_a_new_port,
    is_announced_over_tcp,
]


async def main(place):
    passed, failed = [], {}
    for check in CHECKS:
        try:
            async with asyncio.timeout(60):
                await check(place)
            passed.append(check.__name__)
        except Exception as error:
            where = traceback.extract_tb(error.__traceback__)
            lines = [frame.lineno for frame in where if frame.filename == __file__]
            failed[check.__name__] = f"{type(error).__name__}: {error} (line {lines[-1]})"
    print(json.dumps({"passed": passed, "failed": failed}))


if __name__ == "__main__":
    host, address, port, ca = sys.argv[1:]
    asyncio.run(main(Place(host, address, int(port), ca)))
