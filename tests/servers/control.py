"""`/__stats`, `/__config` and `/__reset`: the knobs and counters of a server far away."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, get_type_hints

import msgspec

from .core import JSON, Exchange

if TYPE_CHECKING:
    from .server import Server

_NO_JSON = frozenset({"respond", "tokens", "clock", "wall_clock"})


def control(server: Server, exchange: Exchange, path: str) -> None:
    query = exchange.query
    status, body = 200, None
    if path == "/__stats":
        body = server.stats.as_dict(prompts="by_prompt" in query, requests="requests" in query)
    elif path == "/__reset" and exchange.method == "POST":
        server.reset()
        body = {"ok": True}
    elif path == "/__config":
        try:
            if exchange.method == "POST":
                configure(server, msgspec.json.decode(exchange.body or b"{}"))
            body = config(server)
        except (ValueError, AttributeError) as error:  # msgspec's errors are ValueErrors
            status, body = 400, {"error": str(error)}
    else:
        status, body = 404, {"error": f"{exchange.method} {path}: no such control"}
    exchange.reply(status, msgspec.json.encode(body), JSON)


def knobs(kind: type[Server]) -> dict[str, Any]:
    """Name and type of all that can be set from outside the process."""
    from . import knobs as home

    hints = get_type_hints(kind, {**vars(home), "Stats": Any})
    return {
        f.name: hints[f.name] for f in dataclasses.fields(kind) if f.init and f.name not in _NO_JSON
    }


def convert(kind: type[Server], values: dict[str, Any]) -> dict[str, Any]:
    """Values from JSON in the types that the knobs have; a wrong name or type is an error."""
    known = knobs(kind)
    out = {}
    for name, value in values.items():
        if name not in known:
            raise AttributeError(f"no knob named {name!r}; there are {', '.join(sorted(known))}")
        try:
            out[name] = msgspec.convert(value, known[name])
        except msgspec.ValidationError as error:
            raise ValueError(f"{name}: {error}") from None
    return out


def configure(server: Server, values: dict[str, Any]) -> None:
    for name, value in convert(type(server), values).items():
        setattr(server, name, value)


def config(server: Server) -> dict[str, Any]:
    """The knobs as they stand. Keys are counted and not shown."""
    out = {name: getattr(server, name) for name in knobs(type(server))}
    out["keys"] = None if server.keys is None else len(server.keys)
    return out
