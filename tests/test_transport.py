"""The transport over real sockets: TLS, proxies, keep-alive, odd bodies, broken servers."""

from __future__ import annotations

import asyncio
import gzip
import itertools
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import trustme
from hypothesis import given, settings
from hypothesis import strategies as st

from swath.errors import Kind, ProviderError
from swath.providers.base import HttpReply, HttpRequest
from swath.providers.transport import Transport

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def read_request(reader: asyncio.StreamReader) -> tuple[str, bytes]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    length = next(
        int(line.split(":")[1])
        for line in head.lower().split("\r\n")
        if line.startswith("content-length")
    )
    return head, await reader.readexactly(length)


def answering(*pieces: bytes, close: bool = False, log: list[str] | None = None) -> Handler:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head, _ = await read_request(reader)
                if log is not None:
                    log.append(head)
                for piece in pieces:
                    writer.write(piece)
                    await writer.drain()
                    await asyncio.sleep(0)
                if close:
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        writer.close()

    return handle


class Listening:
    def __init__(self, handler: Handler, tls: ssl.SSLContext | None = None) -> None:
        self.handler, self.tls = handler, tls
        self.connections = 0

    async def __aenter__(self) -> str:
        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self.connections += 1
            await self.handler(reader, writer)

        self.server = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=self.tls)
        port = self.server.sockets[0].getsockname()[1]
        return f"{'https' if self.tls else 'http'}://localhost:{port}"

    async def __aexit__(self, *_: object) -> None:
        self.server.close()


def post(url: str, body: bytes = b"{}") -> HttpRequest:
    return HttpRequest("POST", f"{url}/v1/x?a=b", {"authorization": "Bearer k"}, body)


PLAIN = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nX-Thing: A\r\n\r\nhello"


@pytest.fixture
def authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> trustme.CA:
    made = trustme.CA()
    made.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    return made


def server_tls(authority: trustme.CA, name: str = "localhost") -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    return context


async def test_a_plain_exchange_and_keep_alive() -> None:
    log: list[str] = []
    listening = Listening(answering(PLAIN, log=log))
    async with listening as url:
        transport = Transport()
        for _ in range(3):
            reply = await transport.send(post(url), timeout=5)
            assert reply == HttpReply(200, {"content-length": "5", "x-thing": "A"}, b"hello")
        assert listening.connections == transport.opened == 1
        assert log[0].startswith("POST /v1/x?a=b HTTP/1.1\r\nhost: localhost:")
        await transport.close()


async def test_tls_is_verified(authority: trustme.CA) -> None:
    async with Listening(answering(PLAIN), server_tls(authority)) as url:
        transport = Transport()
        assert (await transport.send(post(url), timeout=5)).body == b"hello"
        await transport.close()
    async with Listening(answering(PLAIN), server_tls(authority, "other.example")) as url:
        transport = Transport()
        with pytest.raises(ProviderError) as caught:
            await transport.send(post(url), timeout=5)
        assert caught.value.kind is Kind.CONNECTION
        assert "secure" in str(caught.value)
        assert not caught.value.charged


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_proxy_is_asked_for_a_tunnel(
    loop: str, authority: trustme.CA, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    async def proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        asked.append(head)
        host, port = head.split()[1].split(":")
        up_reader, up_writer = await asyncio.open_connection(host, int(port))
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")

        async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            while data := await source.read(65536):
                sink.write(data)
            sink.close()

        await asyncio.gather(pump(reader, up_writer), pump(up_reader, writer))

    async def go() -> None:
        async with (
            Listening(answering(PLAIN), server_tls(authority)) as url,
            Listening(proxy) as via,
        ):
            monkeypatch.setenv("HTTPS_PROXY", via.replace("//", "//user:pass@"))
            transport = Transport()
            for _ in range(2):
                assert (await transport.send(post(url), timeout=5)).body == b"hello"
            await transport.close()

    if loop == "uvloop":
        pytest.importorskip("uvloop").run(go())
    else:
        asyncio.run(go())
    assert len(asked) == 1
    assert asked[0].startswith("CONNECT localhost:")
    assert "proxy-authorization: Basic dXNlcjpwYXNz" in asked[0]


async def test_a_plain_proxy_gets_the_whole_address(monkeypatch: pytest.MonkeyPatch) -> None:
    log: list[str] = []
    async with Listening(answering(PLAIN, log=log)) as via:
        monkeypatch.setenv("HTTP_PROXY", via)
        transport = Transport()
        await transport.send(post("http://api.invalid"), timeout=5)
        assert log[0].startswith("POST http://api.invalid/v1/x?a=b HTTP/1.1\r\nhost: api.invalid")
        await transport.close()


@pytest.mark.parametrize(
    "pieces",
    [
        (
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhe\r\n",
            b"3\r\nllo\r\n0\r\n\r\n",
        ),
        (b"HTTP/1.1 100 Continue\r\n\r\n", PLAIN),
        (
            b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: %d\r\n\r\n"
            % len(gzip.compress(b"hello", mtime=0)),
            gzip.compress(b"hello", mtime=0),
        ),
    ],
    ids=["chunked", "interim", "gzip"],
)
async def test_bodies_of_all_kinds(pieces: tuple[bytes, ...]) -> None:
    async with Listening(answering(*pieces)) as url:
        transport = Transport()
        for _ in range(2):
            assert (await transport.send(post(url), timeout=5)).body == b"hello"
        got: list[bytes] = []
        reply = await transport.send(post(url), timeout=5, on_body=got.append)
        assert (reply.status, reply.body, b"".join(got)) == (200, b"", b"hello")
        assert transport.opened == 1
        await transport.close()


async def test_a_body_that_ends_with_the_connection() -> None:
    async with Listening(answering(b"HTTP/1.1 200 OK\r\n\r\nhel", b"lo", close=True)) as url:
        transport = Transport()
        assert (await transport.send(post(url), timeout=5)).body == b"hello"
        assert (await transport.send(post(url), timeout=5)).body == b"hello"
        assert transport.opened == 2


@pytest.mark.parametrize(
    ("pieces", "kind"),
    [
        ((b"HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\nhalf",), Kind.CONNECTION),
        ((b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhe",), Kind.CONNECTION),
        ((), Kind.CONNECTION),
        ((b"SSH-2.0-OpenSSH\r\n",), Kind.MALFORMED),
        (
            (b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 5\r\n\r\nhello",),
            Kind.MALFORMED,
        ),
    ],
    ids=["cut", "cut-chunk", "nothing", "not-http", "not-gzip"],
)
async def test_broken_replies_are_one_error_and_the_connection_is_dropped(
    pieces: tuple[bytes, ...], kind: Kind
) -> None:
    async with Listening(answering(*pieces, close=True)) as url:
        transport = Transport()
        with pytest.raises(ProviderError) as caught:
            await transport.send(post(url), timeout=5)
        assert caught.value.kind is kind
        assert caught.value.charged
        assert not any(transport._idle.values())


async def test_timeouts() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhe")
        await asyncio.sleep(5)

    async with Listening(silent) as url:
        transport = Transport()
        for on_body in (None, lambda piece: None):
            with pytest.raises(ProviderError) as caught:
                await transport.send(post(url), timeout=0.05, on_body=on_body)
            assert caught.value.kind is Kind.TIMEOUT


async def test_nobody_there() -> None:
    transport = Transport()
    with pytest.raises(ProviderError) as caught:
        await transport.send(post("http://127.0.0.1:9"), timeout=5)
    assert caught.value.kind is Kind.CONNECTION
    assert not caught.value.charged


async def test_a_cancelled_exchange_closes_its_connection() -> None:
    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        gone.set_result(await reader.read())

    gone: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
    async with Listening(slow) as url:
        task = asyncio.create_task(Transport().send(post(url), timeout=5))
        await asyncio.sleep(0.05)
        task.cancel()
        assert await asyncio.wait_for(gone, 2) == b""


@settings(max_examples=30)
@given(cuts=st.lists(st.integers(1, len(PLAIN) - 1), max_size=6, unique=True))
def test_a_reply_may_arrive_in_pieces_of_any_size(cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), len(PLAIN)]
    pieces = [PLAIN[a:b] for a, b in itertools.pairwise(edges)]

    async def go() -> HttpReply:
        async with Listening(answering(*pieces)) as url:
            transport = Transport()
            reply = await transport.send(post(url), timeout=5)
            await transport.close()
            return reply

    assert asyncio.run(go()).body == b"hello"
