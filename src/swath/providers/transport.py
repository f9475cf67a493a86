"""The one HTTP transport: HTTP/1.1 over asyncio, parsed by llhttp (httptools).

All network I/O of Swath happens here. It keeps connections alive and takes the one used last, so
that a burst of calls opens no more connections than it has calls in flight. It knows nothing of
providers and never retries: a connection that breaks is one CONNECTION error, and the engine
decides. Proxies come from the customary environment variables (HTTPS_PROXY, NO_PROXY, …).

Rules followed: RFC 9112 (messages, persistence, bodies that end with the connection), RFC 9110
section 10.1.1 (interim 1xx replies are skipped).
"""

from __future__ import annotations

import asyncio
import ssl
import zlib
from collections import deque
from collections.abc import Callable
from functools import lru_cache
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

import httptools

from swath.errors import Kind, ProviderError
from swath.providers.base import HttpReply, HttpRequest

CONNECT_TIMEOUT = 15.0
Origin = tuple[str, str, int]


def _failed(kind: Kind, message: str, *, charged: bool) -> ProviderError:
    return ProviderError(kind, message, charged=charged)


@lru_cache(maxsize=256)
def _split(url: str) -> tuple[Origin, str, str]:
    """(origin, path with query, value of the host header)"""
    parts: SplitResult = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ProviderError(
            Kind.BAD_REQUEST,
            f"'{parts.scheme}://{parts.netloc}' is not an http(s) address.",
            hint="Check base_url in swath.toml.",
        )
    port = parts.port or (443 if parts.scheme == "https" else 80)
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    if parts.port:
        host = f"{host}:{parts.port}"
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return (parts.scheme, parts.hostname, port), path, host


class _Connection(asyncio.Protocol):
    """One connection: at most one exchange at a time."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.transport: asyncio.Transport | None = None
        self.parser: Any = httptools.HttpResponseParser(self)
        self.reply: asyncio.Future[HttpReply] | None = None
        self.timer: asyncio.TimerHandle | None = None
        self.reusable = False
        self._begin(None, 0.0)

    # -- an exchange

    def _begin(self, on_body: Callable[[bytes], None] | None, timeout: float) -> None:
        self.on_body_piece = on_body
        self.timeout = timeout
        self.status = 0
        self.headers: dict[str, str] = {}
        self.pieces: list[bytes] = []
        self.inflate: Any = None
        self.streaming = False
        self.ends_with_connection = False

    def exchange(
        self, data: bytes, timeout: float, on_body: Callable[[bytes], None] | None
    ) -> asyncio.Future[HttpReply]:
        assert self.transport is not None
        self._begin(on_body, timeout)
        self.reusable = False
        self.reply = self.loop.create_future()
        self.timer = self.loop.call_later(timeout, self._timed_out)
        self.transport.write(data)
        return self.reply

    def _end(self, result: HttpReply | ProviderError) -> None:
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        reply, self.reply = self.reply, None
        if reply is None or reply.done():
            return
        if isinstance(result, ProviderError):
            self.close()
            reply.set_exception(result)
        else:
            reply.set_result(result)

    def _timed_out(self) -> None:
        what = "no more data" if self.streaming else "no reply"
        self._end(_failed(Kind.TIMEOUT, f"{what} within {self.timeout:g} s.", charged=True))

    def _whole(self) -> None:
        self._end(HttpReply(self.status, self.headers, b"".join(self.pieces)))

    def close(self) -> None:
        self.reusable = False
        if self.transport is not None:
            self.transport.close()

    # -- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport) or hasattr(transport, "write")
        self.transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        if self.reply is None:  # bytes that nobody asked for: the connection is out of step
            self.close()
            return
        try:
            self.parser.feed_data(data)
        except ProviderError as error:  # raised by the stream's own decoder
            self._end(error)
        except httptools.HttpParserUpgrade:
            self._end(_failed(Kind.MALFORMED, "the server changed protocols.", charged=True))
        except (httptools.HttpParserError, zlib.error) as error:
            inner = getattr(error, "__context__", None)
            if isinstance(inner, ProviderError):  # httptools wraps what callbacks raise
                self._end(inner)
            else:
                self._end(_failed(Kind.MALFORMED, "the reply is not HTTP.", charged=True))

    def connection_lost(self, exc: Exception | None) -> None:
        self.reusable = False
        if self.reply is None:
            return
        if self.ends_with_connection and exc is None:
            self._whole()
        else:
            when = "in the middle of its reply" if self.status else "without a reply"
            self._end(
                _failed(Kind.CONNECTION, f"the server closed the connection {when}.", charged=True)
            )

    # -- httptools callbacks

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        self.status = self.parser.get_status_code()
        headers = self.headers
        if 100 <= self.status < 200:
            return
        self.ends_with_connection = (
            "content-length" not in headers and "transfer-encoding" not in headers
        )
        if headers.get("content-encoding", "").lower() in ("gzip", "deflate"):
            self.inflate = zlib.decompressobj(zlib.MAX_WBITS | 32)
        self.streaming = self.on_body_piece is not None and self.status == 200

    def on_body(self, body: bytes) -> None:
        if self.inflate is not None:
            body = self.inflate.decompress(body)
        if not self.streaming:
            self.pieces.append(body)
            return
        if self.timer is not None:  # a stream may take long as a whole, but not between pieces
            self.timer.cancel()
            self.timer = self.loop.call_later(self.timeout, self._timed_out)
        assert self.on_body_piece is not None
        self.on_body_piece(body)

    def on_message_complete(self) -> None:
        if 100 <= self.status < 200:
            self.headers = {}
            return
        self.reusable = bool(self.parser.should_keep_alive())
        self._whole()
        if not self.reusable:
            self.close()


class Transport:
    """A pool of connections. Used on one event loop."""

    def __init__(self) -> None:
        self._idle: dict[Origin, deque[_Connection]] = {}
        self._tls: ssl.SSLContext | None = None
        self._proxies = getproxies()
        self.opened = 0

    async def send(
        self,
        request: HttpRequest,
        *,
        timeout: float,
        on_body: Callable[[bytes], None] | None = None,
    ) -> HttpReply:
        """Send `request`; give the whole reply, whatever its status.

        `timeout`, in seconds, bounds the whole exchange, and for a streamed body the gap between
        pieces. `on_body` receives the body of a 200 reply piece by piece, decoded, in place of
        `HttpReply.body`; a ProviderError that it raises ends the exchange. Raises ProviderError:
        CONNECTION, TIMEOUT or MALFORMED.
        """
        origin, path, host = _split(request.url)
        connection = self._take(origin)
        if connection is None:
            connection = await self._connect(origin, min(timeout, CONNECT_TIMEOUT))
        target = request.url if self._plain_proxy(origin) else path
        head = [f"{request.method} {target} HTTP/1.1\r\nhost: {host}\r\naccept-encoding: gzip\r\n"]
        head += [f"{name}: {value}\r\n" for name, value in request.headers.items()]
        head.append(f"content-length: {len(request.body)}\r\n\r\n")
        data = "".join(head).encode("latin-1") + request.body
        try:
            reply = await connection.exchange(data, timeout, on_body)
        except asyncio.CancelledError:
            connection.close()
            raise
        if connection.reusable:
            self._idle.setdefault(origin, deque()).append(connection)
        return reply

    async def close(self) -> None:
        for connections in self._idle.values():
            for connection in connections:
                connection.close()
        self._idle.clear()
        await asyncio.sleep(0)  # let the transports run their callbacks

    def _take(self, origin: Origin) -> _Connection | None:
        idle = self._idle.get(origin)
        while idle:
            connection = idle.pop()
            if connection.reusable:
                return connection
        return None

    def _proxy(self, origin: Origin) -> SplitResult | None:
        scheme, host, _ = origin
        proxy = self._proxies.get(scheme) or self._proxies.get("all")
        if not proxy or proxy_bypass(host):
            return None
        return urlsplit(proxy if "://" in proxy else f"http://{proxy}")

    def _plain_proxy(self, origin: Origin) -> bool:
        return bool(self._proxies) and origin[0] == "http" and self._proxy(origin) is not None

    async def _connect(self, origin: Origin, timeout: float) -> _Connection:
        scheme, host, port = origin
        try:
            async with asyncio.timeout(timeout):
                connection = await self._open(scheme, host, port, self._proxy(origin))
        except TimeoutError:
            raise _failed(
                Kind.TIMEOUT, f"{host}:{port} did not accept a connection.", charged=False
            ) from None
        except ssl.SSLError as error:
            reason = error.reason or "TLS failed"
            raise _failed(
                Kind.CONNECTION, f"no secure connection to {host}:{port} ({reason}).", charged=False
            ) from None
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise _failed(
                Kind.CONNECTION, f"cannot reach {host}:{port} ({reason}).", charged=False
            ) from None
        self.opened += 1
        return connection

    async def _open(
        self, scheme: str, host: str, port: int, proxy: SplitResult | None
    ) -> _Connection:
        loop = asyncio.get_running_loop()
        tls = self._context() if scheme == "https" else None
        if proxy is None:
            _, made = await loop.create_connection(lambda: _Connection(loop), host, port, ssl=tls)
            return made
        via = (proxy.hostname or "", proxy.port or 80)
        _, made = await loop.create_connection(lambda: _Connection(loop), *via)
        if tls is None:
            return made
        authority = f"{host}:{port}"
        lines = [f"CONNECT {authority} HTTP/1.1", f"host: {authority}"]
        if proxy.username:
            lines.append(f"proxy-authorization: Basic {_basic(proxy)}")
        tunnel = _Tunnel(loop)
        assert made.transport is not None
        made.transport.set_protocol(tunnel)
        made.transport.write(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))
        await tunnel.opened
        made.transport.set_protocol(made)
        secure = await loop.start_tls(made.transport, made, tls, server_hostname=host)
        assert secure is not None
        made.connection_made(secure)
        return made

    def _context(self) -> ssl.SSLContext:
        if self._tls is None:
            self._tls = ssl.create_default_context()
            self._tls.set_alpn_protocols(["http/1.1"])
        return self._tls


def _basic(proxy: SplitResult) -> str:
    from base64 import b64encode

    pair = f"{unquote(proxy.username or '')}:{unquote(proxy.password or '')}"
    return b64encode(pair.encode()).decode()


class _Tunnel(asyncio.Protocol):
    """Waits for a proxy's answer to CONNECT (RFC 9110 section 9.3.6)."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.opened: asyncio.Future[None] = loop.create_future()
        self._head = b""

    def data_received(self, data: bytes) -> None:
        self._head += data
        if b"\r\n\r\n" not in self._head or self.opened.done():
            return
        status = self._head.split(b" ", 2)[1:2]
        if status == [b"200"]:
            self.opened.set_result(None)
        else:
            self._refuse(status[0].decode("latin-1") if status else "no HTTP")

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.opened.done():
            self._refuse("connection closed")

    def _refuse(self, why: str) -> None:
        self.opened.set_exception(
            _failed(Kind.CONNECTION, f"the proxy opened no tunnel ({why}).", charged=False)
        )
