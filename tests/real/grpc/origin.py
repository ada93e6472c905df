"""A gRPC server over h2c, of bytes: what visit.py calls.

    python origin.py

Prints one line {"port": N} once it listens on 127.0.0.1, and serves until it is told to stop.
"""

import asyncio
import json

import grpc

CANCELLED = 0


async def echo(request, context):
    metadata = dict(context.invocation_metadata())
    await context.send_initial_metadata((("x-initial", metadata.get("x-mine", "")),))
    context.set_trailing_metadata((("x-trailing", "last"), ("x-raw-bin", b"\x00\xff")))
    return request


async def refuse(_request, context):
    await context.abort(grpc.StatusCode.NOT_FOUND, "there is no such thing: äöü %")


async def count(request, _context):
    for index in range(int(request)):
        yield b"%d" % index


async def add(requests, _context):
    return b"%d" % sum([int(request) async for request in requests])


async def converse(requests, _context):
    async for request in requests:
        yield request[::-1]


async def linger(_request, _context):
    global CANCELLED
    try:
        await asyncio.sleep(3600)
    except asyncio.CancelledError:
        CANCELLED += 1
        raise


async def drip(request, context):
    yield b"drop"
    await linger(request, context)


async def cancelled(_request, _context):
    return b"%d" % CANCELLED


HANDLERS = {
    "Echo": grpc.unary_unary_rpc_method_handler(echo),
    "Refuse": grpc.unary_unary_rpc_method_handler(refuse),
    "Count": grpc.unary_stream_rpc_method_handler(count),
    "Add": grpc.stream_unary_rpc_method_handler(add),
    "Converse": grpc.stream_stream_rpc_method_handler(converse),
    "Linger": grpc.unary_unary_rpc_method_handler(linger),
    "Drip": grpc.unary_stream_rpc_method_handler(drip),
    "Cancelled": grpc.unary_unary_rpc_method_handler(cancelled),
}


async def main():
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("adit.Test", HANDLERS),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(json.dumps({"port": port}), flush=True)
    await server.wait_for_termination()


asyncio.run(main())
