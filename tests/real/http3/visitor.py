"""An HTTP/3 visitor over aioquic: what visit.py asks with."""

import asyncio
import contextlib
import ssl

from aioquic.asyncio.client import connect
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.h3.connection import H3_ALPN, H3Connection, Setting
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import ConnectionTerminated, StopSendingReceived, StreamReset

PATIENCE = 30


class Refused(Exception):
    """The other side ended a stream or the connection with an error code."""

    def __init__(self, what, code, why=""):
        super().__init__(f"{what} {code:#x} {why}")


class Exchange:
    """One request and what came back."""

    def __init__(self, stream_id):
        self.stream_id = stream_id
        self.interim = []
        self.headers = None
        self.body = bytearray()
        self.trailers = {}
        self.ended = False
        self.error = None
        self.stopped = None
        self.changed = asyncio.Event()

    @property
    def status(self):
        return int(self.headers[":status"])

    def take_headers(self, fields):
        fields = {name.decode(): value.decode() for name, value in fields}
        if self.headers is not None:
            self.trailers = fields
        elif fields[":status"].startswith("1"):
            self.interim.append(fields)
        else:
            self.headers = fields

    async def until(self, condition):
        async with asyncio.timeout(PATIENCE):
            while not condition():
                if self.error:
                    raise self.error
                self.changed.clear()
                await self.changed.wait()
        return self


class Visitor(QuicConnectionProtocol):
    """A connection, and the exchanges on it."""

    def __init__(self, *arguments, **keywords):
        super().__init__(*arguments, **keywords)
        self.http = H3Connection(self._quic)
        self.exchanges = {}
        self.terminated = None

    def quic_event_received(self, event):
        if isinstance(event, ConnectionTerminated):
            self.terminated = event
            for exchange in self.exchanges.values():
                exchange.error = exchange.error or Refused("connection", event.error_code, event.reason_phrase)
                exchange.changed.set()
            return
        exchange = self.exchanges.get(getattr(event, "stream_id", None))
        if isinstance(event, StreamReset) and exchange:
            exchange.error = Refused("stream", event.error_code)
            exchange.changed.set()
        if isinstance(event, StopSendingReceived) and exchange:
            exchange.stopped = event.error_code
            exchange.changed.set()
        for http_event in self.http.handle_event(event):
            self.take(http_event)

    def take(self, event):
        exchange = self.exchanges.get(event.stream_id)
        if exchange is None:
            return
        if isinstance(event, HeadersReceived):
            exchange.take_headers(event.headers)
        elif isinstance(event, DataReceived):
            exchange.body += event.data
        exchange.ended = exchange.ended or event.stream_ended
        exchange.changed.set()

    def open(self, fields, end=True):
        """Sends a head; the fields go out as they are."""
        stream_id = self._quic.get_next_available_stream_id()
        exchange = self.exchanges[stream_id] = Exchange(stream_id)
        encoded = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in fields]
        self.http.send_headers(stream_id, encoded, end_stream=end)
        self.transmit()
        return exchange

    def send(self, exchange, data, end=False):
        self.http.send_data(exchange.stream_id, data, end_stream=end)
        self.transmit()

    def send_trailers(self, exchange, fields):
        encoded = [(name.encode(), value.encode()) for name, value in fields]
        self.http.send_headers(exchange.stream_id, encoded, end_stream=True)
        self.transmit()

    def send_bytes(self, stream_id, data, end=False):
        """Bytes of a stream, beside what the library would have framed."""
        self._quic.send_stream_data(stream_id, data, end)
        self.transmit()

    def unidirectional(self):
        return self._quic.get_next_available_stream_id(is_unidirectional=True)

    def cancel(self, exchange, code):
        """Wants no more of the response; what is left of the request ends as well."""
        self._quic.stop_stream(exchange.stream_id, code)
        with contextlib.suppress(Exception):
            self._quic.reset_stream(exchange.stream_id, code)
        self.transmit()

    def reset(self, exchange, code):
        """Breaks the request off."""
        self._quic.reset_stream(exchange.stream_id, code)
        self.transmit()

    def settings(self):
        received = self.http.received_settings or {}
        return {int(key): value for key, value in received.items()}

    def max_field_section_size(self):
        return self.settings().get(int(Setting.MAX_FIELD_SECTION_SIZE))


def configuration(place):
    config = QuicConfiguration(is_client=True, alpn_protocols=H3_ALPN, server_name=place.host)
    config.load_verify_locations(cafile=place.ca)
    config.idle_timeout = PATIENCE
    return config


@contextlib.asynccontextmanager
async def visiting(place, session_ticket=None, on_ticket=None):
    """A connection of its own."""
    config = configuration(place)
    config.session_ticket = session_ticket
    async with connect(
        place.address,
        place.port,
        configuration=config,
        create_protocol=Visitor,
        session_ticket_handler=on_ticket,
    ) as visitor:
        yield visitor


def tls(place, alpn):
    """A TLS context for the TCP side of the same port."""
    context = ssl.create_default_context(cafile=place.ca)
    context.set_alpn_protocols([alpn])
    return context
