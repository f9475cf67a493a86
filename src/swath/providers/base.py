"""What a provider is: one wire format, without I/O.

A provider turns a `Request` into bytes and bytes into a `Completion`. It opens no socket, waits
for nothing, retries nothing and knows no policy: the engine and the one transport do that. So
every corner of a wire format can be tested without a server.

    encode(request, model)            -> HttpRequest    what to send
    decode(request, model, reply)     -> Completion     a whole reply with status 200
    decoder(request, model)           -> StreamDecoder  fed bytes, gives Chunks, then a Completion
    error(model, reply)               -> ProviderError  a reply with any other status
    limits(headers)                   -> RateLimits     what the reply says of the quota
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Protocol

import msgspec

from swath.catalog.model import Model, Price
from swath.errors import Kind, ProviderError
from swath.messages import AnyReply, AnyRequest, Chunk, Completion, Request


class HttpRequest(msgspec.Struct, frozen=True):
    """`url` is absolute. Header names are lower case; the transport adds host and length."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes = b""


class HttpReply(msgspec.Struct, frozen=True):
    """Header names are lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Window(msgspec.Struct, frozen=True):
    """One quota as a reply reports it: per-minute `limit`, what `remaining` now allows at once,
    and the seconds until it is full again (`reset`). None: not stated."""

    limit: float | None = None
    remaining: float | None = None
    reset: float | None = None


class RateLimits(msgspec.Struct, frozen=True):
    """What a reply's headers say of the account's quota."""

    requests: Window | None = None
    tokens: Window | None = None
    input_tokens: Window | None = None
    output_tokens: Window | None = None


class ModelInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A line of a provider's model list."""

    id: str
    context_window: int | None = None
    max_output_tokens: int | None = None
    price: Price | None = None
    modalities: tuple[str, ...] = ()


class StreamDecoder(Protocol):
    """Fed the bytes of a streamed body as they arrive, in pieces of any size."""

    def feed(self, data: bytes) -> Iterable[Chunk]:
        """The chunks that became whole. Raises `ProviderError` on an error sent mid-stream."""
        ...

    def finish(self) -> Completion:
        """The whole answer, at the end of the body. Raises `ProviderError` (CONNECTION) where the
        stream ended before the format's own end mark."""
        ...


class Provider(Protocol):
    """One wire format. Instances hold no state and are shared."""

    name: ClassVar[str]
    base_url: ClassVar[str]
    key_env: ClassVar[str]
    options: ClassVar[frozenset[str]]
    """Config keys of this provider's own, e.g. OpenRouter's `sort`; they arrive in Model.options"""

    def authorize(self, model: Model) -> Model:
        """The model with a key, where the provider mints one itself (Vertex); else as it is.
        May block: called once, off the loop, when a session opens. Raises KeyMissing,
        MissingExtra."""
        ...

    def features(self, model: Model) -> frozenset[str]:
        """What this model takes natively, of: json_schema, json_object, tools, logprobs, seed,
        stop, top_p, choices (scores labels itself), grounding (constrains quotes itself), embed.
        A guess is fine: the engine learns from UNSUPPORTED errors."""
        ...

    def encode(self, request: AnyRequest, model: Model, *, stream: bool = False) -> HttpRequest:
        """Raises UNSUPPORTED where the format has no such request (embeddings at Anthropic)."""
        ...

    def json_mode(self, request: Request) -> Request:
        """The same request with its `schema` taken off and the format's own JSON mode on, for a
        server that answered UNSUPPORTED to the schema. What the prompt says is the engine's."""
        ...

    def max_texts(self, model: Model) -> int:
        """How many texts one `EmbedRequest` may carry."""
        ...

    def decode(self, request: AnyRequest, model: Model, reply: HttpReply) -> AnyReply: ...

    def decoder(self, request: Request, model: Model) -> StreamDecoder: ...

    def error(self, model: Model, reply: HttpReply) -> ProviderError: ...

    def limits(self, headers: Mapping[str, str]) -> RateLimits | None: ...

    def probe(self, model: Model) -> HttpRequest:
        """A cheap authenticated request that fails with AUTH where the key is wrong."""
        ...

    def list_models(self, model: Model) -> HttpRequest:
        """Ask for the model list. Often the same as `probe`."""
        ...

    def models(self, reply: HttpReply) -> list[ModelInfo]:
        """The reply to `list_models`."""
        ...


def parse_json(body: bytes, model: Model) -> Any:
    """The body as JSON, or MALFORMED: a cut body, a proxy's HTML page."""
    try:
        return msgspec.json.decode(body)
    except msgspec.DecodeError:
        raise ProviderError(
            Kind.MALFORMED,
            f"the reply is not JSON ({len(body)} bytes).",
            provider=model.provider,
            model=model.alias,
        ) from None


class EventStream:
    """Server-sent events (WHATWG HTML, section 9.2): bytes in pieces of any size in, (event, data)
    out. Comments and empty events are dropped; both line endings are understood."""

    __slots__ = ("_buffer", "_data", "_event")

    def __init__(self) -> None:
        self._buffer = b""
        self._event = ""
        self._data: list[bytes] = []

    def feed(self, data: bytes) -> list[tuple[str, bytes]]:
        events: list[tuple[str, bytes]] = []
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        for raw in lines:
            line = raw.removesuffix(b"\r")
            if not line:
                if self._data:
                    events.append((self._event, b"\n".join(self._data)))
                self._event, self._data = "", []
            elif line.startswith(b"data:"):
                self._data.append(line[5:].removeprefix(b" "))
            elif line.startswith(b"event:"):
                self._event = line[6:].strip().decode()
        return events
