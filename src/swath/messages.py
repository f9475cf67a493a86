"""The one vocabulary that every part of Swath speaks.

Values are immutable and cheap (msgspec structs). Names follow the field: prompt, completion,
token, TTFT. A `Request` says everything that can change an answer and nothing else, so that its
canonical bytes (`content_hash`) are the key of the response store.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
from typing import Any, Literal

import msgspec

from swath.errors import InputError

Role = Literal["system", "user", "assistant", "tool"]
Finish = Literal["stop", "length", "tool_calls", "refusal", "content_filter"]


class ToolCall(msgspec.Struct, frozen=True, omit_defaults=True):
    """A call that the model asks for. `arguments` is the JSON text as the model wrote it."""

    id: str
    name: str
    arguments: str = "{}"


class Message(msgspec.Struct, frozen=True, omit_defaults=True):
    """One turn. A `tool` message answers the call named by `tool_call_id`."""

    role: Role
    content: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None


class Tool(msgspec.Struct, frozen=True, omit_defaults=True):
    """A function that the model may call; `parameters` is a JSON Schema."""

    name: str
    description: str = ""
    parameters: Mapping[str, Any] = {}


class Schema(msgspec.Struct, frozen=True):
    """The shape a reply must have: a JSON Schema (draft 2020-12) and a name for it.

    A string property with `"format": "quote"` must occur word for word in `Request.source`.
    """

    name: str
    json: Mapping[str, Any]


class Request(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One question to one model.

    `model` is an alias of the config. At most one of `schema` and `choices` is set: `schema` asks
    for JSON, `choices` for exactly one of the given labels. `logprobs` is the number of
    alternatives wanted per token (0: only the chosen token's). `extra` goes into the provider's
    body as it stands.
    """

    model: str
    messages: tuple[Message, ...]
    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None
    tools: tuple[Tool, ...] = ()
    tool_choice: str | None = None  # auto | none | required | a tool's name
    schema: Schema | None = None
    choices: tuple[str, ...] = ()
    source: str | None = None
    logprobs: int | None = None
    extra: Mapping[str, Any] = {}

    @property
    def system(self) -> str:
        """The system messages, joined: some wire formats carry them apart from the turns."""
        return "\n\n".join(m.content for m in self.messages if m.role == "system")

    @property
    def turns(self) -> tuple[Message, ...]:
        return tuple(m for m in self.messages if m.role != "system")


class EmbedRequest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Texts to turn into vectors, one each, in order."""

    model: str
    texts: tuple[str, ...]
    dimensions: int | None = None


class Usage(msgspec.Struct, frozen=True, omit_defaults=True):
    """Tokens as the provider counted them.

    `input_tokens` includes cached and cache-written ones; `output_tokens` includes reasoning.
    `cost_usd` is what the provider itself says it charged, where it says so.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cached_input_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    cost_usd: float | None = None

    def __add__(self, other: Usage) -> Usage:
        costs = [c for c in (self.cost_usd, other.cost_usd) if c is not None]
        return Usage(
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.cached_input_tokens + other.cached_input_tokens,
            self.cache_write_tokens + other.cache_write_tokens,
            self.reasoning_tokens + other.reasoning_tokens,
            sum(costs) if costs else None,
        )


class TokenLogprob(msgspec.Struct, frozen=True, omit_defaults=True):
    """One generated token: natural-log probability, and the alternatives where asked for."""

    token: str
    logprob: float
    top: Mapping[str, float] = {}


class Completion(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One answer.

    `model` is the alias that answered (a fallback's, if one stepped in), `model_id` the id that the
    provider reports. `scores` holds a probability per label where `choices` were asked for and the
    provider can tell. `parsed` is the validated value where a `schema` was asked for; it is not
    stored. `notes` says what was done differently from what was asked (a downgrade, a repair).
    """

    text: str
    finish: Finish = "stop"
    model: str = ""
    model_id: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    logprobs: tuple[TokenLogprob, ...] = ()
    scores: Mapping[str, float] = {}
    usage: Usage = Usage()
    cost_usd: float = 0.0
    cached: bool = False
    request_id: str = ""
    notes: tuple[str, ...] = ()
    parsed: Any = None

    def __str__(self) -> str:
        return self.text


class Embeddings(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One vector per text, in the order asked."""

    vectors: tuple[tuple[float, ...], ...]
    model: str = ""
    model_id: str = ""
    usage: Usage = Usage()
    cost_usd: float = 0.0
    cached: bool = False
    request_id: str = ""
    notes: tuple[str, ...] = ()


class Chunk(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A piece of a streamed answer. The first one names the `model` that answers, by alias; the
    last one carries the whole `completion`."""

    text: str = ""
    tool_call: ToolCall | None = None
    model: str = ""
    completion: Completion | None = None


AnyRequest = Request | EmbedRequest
AnyReply = Completion | Embeddings

_canonical = msgspec.msgpack.Encoder(order="deterministic")


def content_hash(request: AnyRequest, identity: tuple[str, ...]) -> bytes:
    """16 bytes that two requests share exactly when their answers are interchangeable.

    `identity` names the real model (provider, id, endpoint, routing options): the alias is only
    the user's name for it and does not enter.
    """
    anonymous = msgspec.structs.replace(request, model="")
    kind = type(request).__name__
    try:
        encoded = _canonical.encode((kind, identity, anonymous))
    except UnicodeEncodeError:
        raise InputError(
            "The prompt holds half of a surrogate pair, which is no character.",
            hint="Mend it: text.encode(errors='replace').decode().",
        ) from None
    return blake2b(encoded, digest_size=16).digest()
