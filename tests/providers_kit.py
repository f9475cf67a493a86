"""What the provider tests share: models, requests, replies, and bodies in pieces."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Any

from swath.catalog.model import Model, Secret
from swath.errors import ProviderError
from swath.messages import Chunk, Completion, Message, Request, Schema, Tool, ToolCall
from swath.providers import provider
from swath.providers.base import HttpReply

KEY = "sk-proj-aVeryPrivateKey0123456789"

ASK = (Message("system", "You are terse."), Message("user", "What is 2 + 2?"))
LOOKUP = Tool(
    "lookup",
    "Find a word.",
    {"type": "object", "properties": {"word": {"type": "string"}}, "required": ["word"]},
)
USED_TOOL = (
    Message("user", "Define 'swath'."),
    Message("assistant", "", (ToolCall("call_1", "lookup", '{"word":"swath"}'),)),
    Message("tool", "A broad strip.", tool_call_id="call_1"),
)
PERSON = Schema(
    "Person",
    {
        "title": "Person",
        "type": "object",
        "properties": {
            "name": {"type": "string", "minLength": 1, "title": "Name"},
            "age": {"type": "integer", "minimum": 0, "default": 3},
            "said": {"type": "string", "format": "quote"},
        },
        "required": ["name", "said"],
    },
)


def model(name: str, id: str, **more: Any) -> Model:
    wire = provider(name)
    fields: dict[str, Any] = {
        "alias": "m",
        "provider": name,
        "id": id,
        "base_url": wire.base_url,
        "api_key_env": wire.key_env,
        "key": Secret(KEY),
    }
    return Model(**{**fields, **more})


def ask(*messages: Message, **knobs: Any) -> Request:
    return Request(model="m", messages=messages or ASK, **knobs)


def sent(request: Any, to: Model, *, stream: bool = False) -> dict[str, Any]:
    """The body that goes out, as JSON."""
    body = provider(to.provider).encode(request, to, stream=stream).body
    found: dict[str, Any] = json.loads(body)
    return found


def reply(body: Any, status: int = 200, **headers: str) -> HttpReply:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return HttpReply(status, {k.replace("_", "-"): v for k, v in headers.items()}, data)


def decoded(request: Request, of: Model, body: Any, **headers: str) -> Completion:
    found = provider(of.provider).decode(request, of, reply(body, **headers))
    assert isinstance(found, Completion)
    return found


def fault(of: Model, body: Any, status: int, **headers: str) -> ProviderError:
    return provider(of.provider).error(of, reply(body, status, **headers))


def sse(events: Iterable[Any], *, named: bool = False, end: str = "") -> bytes:
    """Events as a server writes them; strings stand as they are."""
    out = []
    for event in events:
        data = event if isinstance(event, str) else json.dumps(event)
        name = f"event: {event['type']}\n" if named and isinstance(event, Mapping) else ""
        out.append(f"{name}data: {data}\n\n")
    return ("".join(out) + end).encode()


def streamed(
    request: Request, of: Model, body: bytes, cuts: Iterable[int] = ()
) -> tuple[list[Chunk], Completion]:
    """The body fed in pieces cut at `cuts`."""
    decoder = provider(of.provider).decoder(request, of)
    places = [0, *sorted({c % (len(body) + 1) for c in cuts}), len(body)]
    chunks: list[Chunk] = []
    for start, stop in pairwise(places):
        chunks += decoder.feed(body[start:stop])
    return chunks, decoder.finish()
