"""`python -m tests.servers openai --port 0 --latency 0.05 --rpm 600 --fault 500:rate=0.1`

Every knob of the server is an option; values are JSON, or plain text where they are not.
`--latency 0.02:0.08` is a range, `--fault` adds one rule and may be repeated, and
`--respond module:function` names the hook. One line of JSON says when the server is ready.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import importlib
import json
import os
import signal
import sys
from typing import Any

from . import KINDS
from .control import convert, knobs
from .faults import parse_fault
from .running import new_loop
from .server import Server


def value_of(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        low, colon, high = text.partition(":")
        if colon:
            try:
                return [float(low), float(high)]
            except ValueError:
                return text
        return text


def parse(argv: list[str]) -> tuple[Server, str, int]:
    parser = argparse.ArgumentParser(
        prog="python -m tests.servers",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("kind", choices=sorted(KINDS))
    kind = KINDS[next((arg for arg in argv if arg in KINDS), "openai")]
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--fault", action="append", default=[], type=parse_fault)
    parser.add_argument("--respond", default=None)
    known = knobs(kind)
    for name in known:
        parser.add_argument(f"--{name.replace('_', '-')}", default=None)
    args = parser.parse_args(argv)
    given: dict[str, Any] = {}
    for name, hint in known.items():
        text = getattr(args, name)
        if text is None:
            continue
        value = text if hint == (str | None) else value_of(text)
        listed = any(word in str(hint) for word in ("tuple[str", "frozenset"))
        given[name] = value.split(",") if listed and isinstance(value, str) else value
    try:
        settings = convert(kind, given)
    except (ValueError, AttributeError) as error:
        parser.error(str(error))
    settings["faults"] = (*settings.get("faults", ()), *args.fault)
    if args.respond:
        module, _, function = args.respond.partition(":")
        settings["respond"] = getattr(importlib.import_module(module), function)
    return kind(**settings), args.host, args.port


async def run(server: Server, host: str, port: int) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stop.set)
    listener = await server.listen(host, port)
    gc.freeze()
    gc.set_threshold(50_000)  # a call leaves no cycles: looking for them would be the client's time
    ready = {"url": server.url, "base_url": server.base_url, "pid": os.getpid()}
    print(json.dumps(ready), flush=True)
    await stop.wait()
    listener.close()
    server.hang_up()
    await asyncio.sleep(0)


def main() -> int:
    server, host, port = parse(sys.argv[1:])
    loop = new_loop()
    loop.run_until_complete(run(server, host, port))
    loop.close()
    for bug in server.stats.bugs:
        print(bug, file=sys.stderr)
    return 1 if server.stats.bugs else 0


if __name__ == "__main__":
    sys.exit(main())
