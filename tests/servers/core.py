"""HTTP/1.1 for the test servers: bytes in, `Exchange`s out, as cheaply as Python allows.

The servers share two cores with the client under test, so a request costs no task, no
future and no copy of its headers: the parser's callbacks run straight into the handler,
and waiting is a timer. One request of a connection is worked on at a time; what is
pipelined behind it waits in a queue (RFC 9112, 9.3.2).
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import traceback
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol
from urllib.parse import parse_qsl

import httptools

REASONS = {
    200: "OK",
    400: "Bad Request",
    401: "Unauthorized",
    402: "Payment Required",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    413: "Payload Too Large",
    429: "Too Many Requests",
    500: "Internal Server Error",
    502: "Bad Gateway",
    503: "Service Unavailable",
    529: "Site Overloaded",
}
_HEADS = {
    code: f"HTTP/1.1 {code} {reason}\r\ncontent-type: ".encode() for code, reason in REASONS.items()
}
JSON = b"application/json"
SSE = b"text/event-stream; charset=utf-8"


class App(Protocol):
    """What a connection needs of the server behind it."""

    def handle(self, exchange: Exchange) -> None: ...
    def opened(self, connection: Connection) -> None: ...
    def closed(self, connection: Connection) -> None: ...
    def bug(self, text: str) -> None: ...


class Exchange:
    """One request and the way to answer it; every path ends in `finish`, exactly once."""

    __slots__ = ("body", "connection", "done", "headers", "keep_alive", "method", "on_done", "raw")

    def __init__(
        self,
        connection: Connection,
        method: str,
        raw: bytes,
        headers: list[tuple[bytes, bytes]],
        body: bytes,
        keep_alive: bool,
    ) -> None:
        self.connection = connection
        self.method = method
        self.raw = raw
        self.headers = headers
        self.body = body
        self.keep_alive = keep_alive
        self.done = False
        self.on_done: Callable[[], None] | None = None

    @property
    def path(self) -> str:
        return self.raw.split(b"?", 1)[0].decode()

    @property
    def query(self) -> dict[str, str]:
        _, _, query = self.raw.partition(b"?")
        return dict(parse_qsl(query.decode(), keep_blank_values=True))

    @property
    def alive(self) -> bool:
        """Whether the client is still there to be answered."""
        return not self.done and not self.connection.lost

    def header(self, name: bytes) -> str | None:
        size = len(name)
        for key, value in self.headers:
            if len(key) == size and key.lower() == name:
                return value.decode("latin-1")
        return None

    def header_dict(self) -> dict[str, str]:
        return {k.decode("latin-1").lower(): v.decode("latin-1") for k, v in self.headers}

    # -- answering -------------------------------------------------------------------

    def reply(self, status: int, body: bytes, kind: bytes = JSON, headers: bytes = b"") -> None:
        """A whole answer. `headers` are lines, each with its CRLF."""
        data = b"%b%b\r\ncontent-length: %d\r\n%b%b\r\n%b" % (
            _HEADS[status],
            kind,
            len(body),
            headers,
            b"" if self.keep_alive else b"connection: close\r\n",
            body,
        )
        self.finish(data)

    def start(self, kind: bytes = SSE, headers: bytes = b"") -> None:
        """The head of a chunked answer."""
        if self.alive:
            self.connection.transport.write(
                b"%b%b\r\ntransfer-encoding: chunked\r\ncache-control: no-cache\r\n%b%b\r\n"
                % (_HEADS[200], kind, headers, b"" if self.keep_alive else b"connection: close\r\n")
            )

    def chunk(self, data: bytes) -> None:
        if self.alive:
            self.connection.transport.write(b"%x\r\n%b\r\n" % (len(data), data))

    def end(self, chunks: bytes = b"") -> None:
        """Close a chunked answer, after `chunks` that are framed already."""
        self.finish(chunks + b"0\r\n\r\n")

    def drop(self, *, data: bytes = b"", reset: bool = False) -> None:
        """Write `data`, as it is, and close the connection; with `reset`, by RST."""
        self.keep_alive = False
        transport = self.connection.transport
        if reset and self.alive:
            raw: socket.socket | None = transport.get_extra_info("socket")
            if raw is not None:
                with contextlib.suppress(OSError):
                    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            transport.abort()
        self.finish(data)

    def finish(self, data: bytes = b"") -> None:
        """Write the last bytes and be done; a second call does nothing."""
        if self.done:
            return
        self.done = True
        # The books are closed before the client can see its answer: a test that has its
        # answer may look at the counters at once.
        if self.on_done is not None:
            self.on_done()
            self.on_done = None  # it refers to us: without the cycle nothing waits for the gc
        connection = self.connection
        if data and not connection.lost:
            connection.transport.write(data)
        connection.next(self.keep_alive)

    def later(self, delay: float, action: Callable[..., None], *args: Any) -> None:
        """Run `action` after `delay` seconds; a bug in it is recorded and answered by a 500."""
        if delay <= 0:
            self.guard(action, *args)
        else:
            self.connection.loop.call_later(delay, self.guard, action, *args)

    def guard(self, action: Callable[..., None], *args: Any) -> None:
        try:
            action(*args)
        except Exception:
            text = traceback.format_exc()
            self.connection.app.bug(text)
            self.reply(500, text.encode(), b"text/plain; charset=utf-8")


class Connection(asyncio.Protocol):
    """One client connection."""

    __slots__ = (
        "app",
        "body",
        "current",
        "headed",
        "headers",
        "loop",
        "lost",
        "parser",
        "queue",
        "transport",
        "url",
    )

    def __init__(self, app: App, loop: asyncio.AbstractEventLoop) -> None:
        self.app = app
        self.loop = loop
        self.parser: Any = httptools.HttpRequestParser(self)
        self.queue: deque[Exchange] = deque()
        self.current: Exchange | None = None
        self.lost = False
        self.headed = False  # the head is read and its body is not
        self.url = b""
        self.body: list[bytes] = []
        self.headers: list[tuple[bytes, bytes]] = []
        self.transport: asyncio.Transport = None  # type: ignore[assignment]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]
        self.app.opened(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        self.app.closed(self)
        waiting = [*([self.current] if self.current else []), *self.queue]
        self.queue.clear()
        for exchange in waiting:
            exchange.finish()

    def eof_received(self) -> bool:
        # A client that has shut its sending side is gone, as far as an HTTP client is:
        # closing here is what makes a killed client's calls end at once.
        return False

    def data_received(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except (httptools.HttpParserUpgrade, httptools.HttpParserError):
            self._bad()
        if self.headed:
            # A body still to come. Looked at here, so that a request in one piece, which is
            # nearly all of them, is spared the search.
            self.headed = False
            if any(name.lower() == b"expect" for name, _ in self.headers):
                self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _bad(self) -> None:
        if not self.lost:
            self.transport.write(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")
            self.transport.close()

    # -- called by the parser ----------------------------------------------------------

    def on_message_begin(self) -> None:
        self.url = b""
        self.body = []
        self.headers = []

    def on_url(self, url: bytes) -> None:
        self.url = self.url + url if self.url else url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        self.headed = True

    def on_body(self, body: bytes) -> None:
        self.body.append(body)

    def on_message_complete(self) -> None:
        self.headed = False
        body = self.body
        parser = self.parser
        exchange = Exchange(
            self,
            parser.get_method().decode(),
            self.url,
            self.headers,
            body[0] if len(body) == 1 else b"".join(body),
            parser.should_keep_alive(),
        )
        if self.current is not None:
            self.queue.append(exchange)
        else:
            self.current = exchange
            exchange.guard(self.app.handle, exchange)

    # -- called by the exchange --------------------------------------------------------

    def next(self, keep_alive: bool) -> None:
        self.current = None
        if self.lost:
            return
        if not keep_alive:
            self.transport.close()
        elif self.queue:
            # By way of the loop, so that a thousand pipelined requests do not nest.
            self.current = self.queue.popleft()
            self.loop.call_soon(self.current.guard, self.app.handle, self.current)


def header_lines(headers: dict[str, str]) -> bytes:
    return "".join(f"{name}: {value}\r\n" for name, value in headers.items()).encode("latin-1")
