"""Running a server: in a thread of this process, or as a process of its own.

`serve` is for tests: knobs and counters are attributes. `spawn` is for benchmarks, where the
server must not share the client's interpreter: the same knobs, by name, and the same
counters, over HTTP.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from .server import Server

S = TypeVar("S", bound=Server)


def new_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop


@contextmanager
def serve(server: S, host: str = "127.0.0.1", port: int = 0) -> Iterator[S]:
    """Run `server` in a thread for the length of a `with` block.

    A bug in the server or in a `respond` hook was answered by a 500 and is raised at the
    end, so that no test passes over it.
    """
    loop = new_loop()
    loop.set_exception_handler(
        lambda _, context: server.bug(f"{context['message']}: {context.get('exception')!r}")
    )
    ready = threading.Event()
    failure: list[BaseException] = []

    async def main() -> None:
        try:
            listener = await server.listen(host, port)
        except BaseException as error:
            failure.append(error)
            return
        finally:
            ready.set()
        await stopped.wait()
        listener.close()
        server.hang_up()
        # One turn for the connections to say that they are lost, so that the books balance.
        await asyncio.sleep(0.01)

    stopped = asyncio.Event()

    def run() -> None:
        asyncio.set_event_loop(loop)
        try:
            loop.run_until_complete(main())
        finally:
            loop.close()

    thread = threading.Thread(target=run, name="test-server", daemon=True)
    thread.start()
    ready.wait()
    if failure:
        thread.join()
        raise failure[0]
    try:
        yield server
    finally:
        loop.call_soon_threadsafe(stopped.set)
        thread.join(10)
    if server.stats.bugs:
        raise AssertionError("the test server had a bug:\n" + "\n".join(server.stats.bugs))


class Remote:
    """A server in another process."""

    def __init__(self, url: str, base_url: str, process: subprocess.Popen[str]) -> None:
        self.url = url
        self.base_url = base_url
        self.process = process

    def _ask(self, path: str, body: Any = None, *, post: bool = False) -> Any:
        data = json.dumps(body or {}).encode() if post else None
        with urllib.request.urlopen(self.url + path, data, timeout=30) as reply:
            return json.load(reply)

    def stats(self, *, by_prompt: bool = False, requests: bool = False) -> dict[str, Any]:
        """The counters; prompts by their `digest`."""
        wanted = [name for name, on in (("by_prompt", by_prompt), ("requests", requests)) if on]
        out: dict[str, Any] = self._ask("/__stats" + ("?" + "&".join(wanted) if wanted else ""))
        return out

    def configure(self, **knobs: Any) -> dict[str, Any]:
        out: dict[str, Any] = self._ask("/__config", knobs, post=True)
        return out

    def reset(self) -> None:
        self._ask("/__reset", post=True)

    def cpu_seconds(self) -> float:
        """What the server has used, to be taken off a benchmark's total (Linux)."""
        import os

        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def spawn(kind: str, *, port: int = 0, **knobs: Any) -> Iterator[Remote]:
    """Run `python -m tests.servers KIND` with these knobs for the length of a `with` block."""
    command = [sys.executable, "-m", "tests.servers", kind, "--port", str(port)]
    for name, value in knobs.items():
        text = value if isinstance(value, str) else json.dumps(value)
        command += [f"--{name.replace('_', '-')}", text]
    root = Path(__file__).parents[2]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            if not line:
                raise RuntimeError(f"the server did not start: {' '.join(command)}")
            ready = json.loads(line)
            yield Remote(ready["url"], ready["base_url"], process)
        finally:
            process.terminate()
            process.wait(10)
