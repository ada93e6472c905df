"""Calls origin.py by gRPC over TLS, and tells what it found.

    python visit.py HOST ADDRESS PORT CA_FILE

Prints one JSON object: {"passed": [NAME, ...], "failed": {NAME: WHY, ...}}.
"""

import asyncio
import json
import sys
from pathlib import Path

import grpc

PATIENCE = 30


def same(left, right):
    assert left == right, f"{left!r} is not {right!r}"


async def messages(count):
    for index in range(count):
        yield b"%d" % index


async def unary_calls_keep_their_metadata(channel):
    call = channel.unary_unary("/adit.Test/Echo")(b"hello", metadata=(("x-mine", "1"),), timeout=PATIENCE)
    same(await call, b"hello")
    same(dict(await call.initial_metadata())["x-initial"], "1")
    trailing = dict(await call.trailing_metadata())
    same((trailing["x-trailing"], trailing["x-raw-bin"]), ("last", b"\x00\xff"))


async def large_messages_arrive(channel):
    message = bytes(index % 251 for index in range(3 << 20))
    assert await channel.unary_unary("/adit.Test/Echo")(message, timeout=PATIENCE) == message
    squeezed = channel.unary_unary("/adit.Test/Echo")(message, compression=grpc.Compression.Gzip, timeout=PATIENCE)
    assert await squeezed == message


async def streams_of_the_server(channel):
    call = channel.unary_stream("/adit.Test/Count")(b"5000", timeout=PATIENCE)
    same([int(message) async for message in call], list(range(5000)))


async def streams_of_the_client(channel):
    same(await channel.stream_unary("/adit.Test/Add")(messages(5000), timeout=PATIENCE), b"12497500")


async def conversations(channel):
    call = channel.stream_stream("/adit.Test/Converse")(timeout=PATIENCE)
    for index in range(500):
        # The answer to each before the next is sent.
        await call.write(b"<%d" % index)
        same(await call.read(), (b"<%d" % index)[::-1])
    await call.done_writing()
    same(await call.read(), grpc.aio.EOF)
    same(await call.code(), grpc.StatusCode.OK)


async def status_of(call):
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return error.code(), error.details()
    return None


async def errors_keep_code_and_message(channel):
    found = await status_of(channel.unary_unary("/adit.Test/Refuse")(b"", timeout=PATIENCE))
    same(found, (grpc.StatusCode.NOT_FOUND, "there is no such thing: äöü %"))
    code, _ = await status_of(channel.unary_unary("/adit.Test/Nothing")(b"", timeout=PATIENCE))
    same(code, grpc.StatusCode.UNIMPLEMENTED)


async def is_cancelled(channel, count):
    async with asyncio.timeout(PATIENCE):
        while int(await channel.unary_unary("/adit.Test/Cancelled")(b"")) < count:
            await asyncio.sleep(0.05)


async def deadlines_and_cancellations_reach_the_server(channel):
    linger = channel.unary_unary("/adit.Test/Linger")
    code, _ = await status_of(linger(b"", timeout=0.5))
    same(code, grpc.StatusCode.DEADLINE_EXCEEDED)
    await is_cancelled(channel, 1)
    call = channel.unary_stream("/adit.Test/Drip")(b"", timeout=PATIENCE)
    same(await call.read(), b"drop")
    call.cancel()
    await is_cancelled(channel, 2)


async def many_calls_at_once(channel):
    echo = channel.unary_unary("/adit.Test/Echo")
    answers = await asyncio.gather(*(echo(b"%d" % index, timeout=PATIENCE) for index in range(1000)))
    same(answers, [b"%d" % index for index in range(1000)])


CHECKS = [
    unary_calls_keep_their_metadata,
    large_messages_arrive,
    streams_of_the_server,
    streams_of_the_client,
    conversations,
    errors_keep_code_and_message,
    deadlines_and_cancellations_reach_the_server,
    many_calls_at_once,
]


async def main(host, address, port, ca):
    credentials = grpc.ssl_channel_credentials(Path(ca).read_bytes())
    options = [("grpc.ssl_target_name_override", host), ("grpc.default_authority", f"{host}:{port}")]
    passed, failed = [], {}
    async with grpc.aio.secure_channel(f"ipv4:{address}:{port}", credentials, options) as channel:
        for check in CHECKS:
            try:
                await check(channel)
                passed.append(check.__name__)
            except Exception as error:
                failed[check.__name__] = f"{type(error).__name__}: {error}"
    print(json.dumps({"passed": passed, "failed": failed}))


asyncio.run(main(*sys.argv[1:]))
