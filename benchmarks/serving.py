"""What `swath serve` costs a request: `python -m benchmarks.serving`

A mock answers prompts of 1,000 characters at once. `swath serve` stands before it, asked for an
alias by name, as `auto` (the router that ships decides), once more (stored answers), and for
streams; it does all it does (checks, store and ledger on disk). Beside it the least that could be
there: uvicorn and a raw ASGI function that reads the JSON, sends it on over the same transport, and
writes the reply's JSON. Each server is a process of its own; CPU time is the server's alone.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from benchmarks import _report
from benchmarks._speeches import ANSWER, speeches

CONTENDERS = {  # name, server, model, whether it streams, whether the same was asked before
    "bare proxy": ("bare", "small", False, False),
    "swath, an alias": ("swath", "small", False, False),
    "swath, auto": ("swath", "auto", False, False),
    "swath, auto, stored": ("swath", "auto", False, True),
    "bare proxy, streams": ("bare", "small", True, False),
    "swath, an alias, streams": ("swath", "small", True, False),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--requests", type=int, default=3_000)
    parser.add_argument("--flight", type=int, default=32)
    parser.add_argument("--repeat", type=int, default=3, help="the median counts")
    parser.add_argument("--as-server", nargs=3, metavar=("KIND", "URL", "FOLDER"))
    args = parser.parse_args()
    if args.as_server:
        kind, url, folder = args.as_server
        with bare(url) if kind == "bare" else gateway(url, folder) as address:
            measured(address)
    else:
        compare(args.requests, args.flight, args.repeat)


def compare(requests: int, flight: int, repeat: int) -> None:
    from tests.servers import spawn

    _report.heading(
        "Serving: CPU a request",
        _report.machine(),
        _report.versions("swath", "uvicorn", "h11", "uvloop", "msgspec"),
        f"{requests:,} requests, {flight} in flight, answers of {len(ANSWER)} characters; "
        f"median of {repeat}",
    )
    texts = speeches(requests)
    results: dict[str, list[dict[str, Any]]] = {}
    with spawn("openai", fixed=ANSWER) as mock:
        for _ in range(repeat):  # in turn, so that a busy minute falls on all of them
            for name, (kind, model, stream, again) in CONTENDERS.items():
                bodies = [_body(model, text, stream) for text in texts]
                with _server(kind, mock.base_url) as server:
                    warm = bodies if again else [_body(model, f"Warm {i}", stream) for i in (1, 2)]
                    server.ask(warm, flight)
                    results.setdefault(name, []).append(server.ask(bodies, flight))
    medians = {name: _report.medians(several) for name, several in results.items()}
    _report.table(
        ["server", "CPU µs/request", "requests/s", "peak RSS MiB"],
        [
            (name, f"{m['cpu_us']:,.0f}", f"{m['rows_s']:,.0f}", f"{m['peak_mib']:.0f}")
            for name, m in medians.items()
        ],
    )
    alias, auto = medians["swath, an alias"]["cpu_us"], medians["swath, auto"]["cpu_us"]
    print(f"{alias / medians['bare proxy']['cpu_us']:.2f} x the bare proxy's CPU a request")
    print(f"{auto - alias:,.0f} µs of CPU for a decision of the router")


# -- the client's side


class _Server:
    """A server in a process of its own, and this process as its client."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._url = self._line()

    def _line(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        return line.strip() or sys.exit("the server ended early")

    def _say(self, word: str) -> None:
        assert self._process.stdin is not None
        print(word, file=self._process.stdin, flush=True)

    def ask(self, bodies: list[bytes], flight: int) -> dict[str, Any]:
        """What the server says that these took."""
        self._say("begin")
        self._line()
        asyncio.run(_ask(f"{self._url}/chat/completions", bodies, flight))
        self._say(str(len(bodies)))
        told: dict[str, Any] = json.loads(self._line())
        return told


@contextmanager
def _server(kind: str, url: str) -> Iterator[_Server]:
    with tempfile.TemporaryDirectory() as folder:
        command = [_report.PYTHON, "-m", "benchmarks.serving", "--as-server", kind, url, folder]
        pipe = subprocess.PIPE
        with subprocess.Popen(
            command, cwd=_report.ROOT, stdin=pipe, stdout=pipe, text=True
        ) as process:
            yield _Server(process)
            assert process.stdin is not None
            process.stdin.close()


async def _ask(url: str, bodies: list[bytes], flight: int) -> None:
    from swath.providers.base import HttpRequest
    from swath.providers.transport import Transport

    transport = Transport()
    left = iter(bodies)

    async def worker() -> None:
        for body in left:
            headers = {"content-type": "application/json"}
            reply = await transport.send(HttpRequest("POST", url, headers, body), timeout=60)
            assert reply.status == 200, reply.body
            assert b"freight on rail" in reply.body or b"[DONE]" in reply.body

    await asyncio.gather(*(worker() for _ in range(flight)))
    await transport.close()


def _body(model: str, text: str, stream: bool) -> bytes:
    messages = [{"role": "user", "content": text}]
    return json.dumps({"model": model, "messages": messages, "stream": stream}).encode()


# -- the servers' side


def measured(address: str) -> None:
    """Between "begin" and a number of requests on stdin: what they took, as a line of JSON."""
    print(address, flush=True)
    while sys.stdin.readline():
        with _report.Meter() as meter:
            print("ready", flush=True)
            count = sys.stdin.readline()
        if count.strip():
            meter.tell(int(count))


@contextmanager
def gateway(url: str, folder: str) -> Iterator[str]:
    from swath.gateway.server import Gateway
    from swath.session import Session

    def model(id: str, dollars: float) -> dict[str, Any]:
        price = {"input": dollars, "output": 4 * dollars}
        return {"provider": "openai", "model": id, "base_url": url, "price": price}

    config = {
        "models": {"small": model("gpt-4.1-nano", 0.1), "large": model("gpt-4.1", 2.0)},
        "store": f"sqlite:///{Path(folder) / 'swath.db'}",
        "router": {"weak": "small", "strong": "large"},
    }
    with Session(config, check=False) as session, Gateway(session, port=0) as served:
        yield served.url


@contextmanager
def bare(url: str) -> Iterator[str]:
    """The same server (uvicorn, h11, uvloop) around nothing."""
    import uvicorn

    from swath.gateway.server import _listen
    from swath.providers.base import HttpRequest
    from swath.providers.transport import Transport

    transport = Transport()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        parts, more = [], True
        while more:
            message = await receive()
            parts.append(message.get("body", b""))
            more = message.get("more_body", False)
        asked = msgspec.json.decode(b"".join(parts))
        request = HttpRequest(
            "POST",
            f"{url}/chat/completions",
            {"content-type": "application/json", "authorization": "Bearer none"},
            msgspec.json.encode(asked),
        )
        stream = asked["stream"]
        kind = b"text/event-stream" if stream else b"application/json"
        start = {"type": "http.response.start", "status": 200}
        pieces: asyncio.Queue[bytes | None] = asyncio.Queue()
        on_body = pieces.put_nowait if stream else None
        asking = asyncio.ensure_future(transport.send(request, timeout=60, on_body=on_body))
        asking.add_done_callback(lambda _: pieces.put_nowait(None))
        if not stream:
            body = msgspec.json.encode(msgspec.json.decode((await asking).body))
            length = (b"content-length", str(len(body)).encode())
            await send({**start, "headers": [(b"content-type", kind), length]})
            await send({"type": "http.response.body", "body": body})
            return
        await send({**start, "headers": [(b"content-type", kind)]})
        while (piece := await pieces.get()) is not None:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    listening = _listen("127.0.0.1", 0)
    config = uvicorn.Config(
        app,
        http="h11",
        loop="uvloop",
        ws="none",
        lifespan="off",
        access_log=False,
        log_level="warning",
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    server.should_exit = True
    thread.join(10)


if __name__ == "__main__":
    main()
