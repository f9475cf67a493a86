"""The store's protocol, its rows, and the coding of values and tables that every store shares."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import msgspec
import zstandard

from swath.messages import AnyReply, Completion, Embeddings


class CallRow(msgspec.Struct, frozen=True, kw_only=True):
    """One call in the ledger. Times are in milliseconds; `at` is Unix time in seconds.

    `status` is "ok" or the error's kind; `wait_ms` is time spent on limits and budget, `backoff_ms`
    between tries, `provider_ms` in the provider's hands over all tries, `ttft_ms` to the first
    token (of a stream) or byte. `wanted` is the model asked first where another answered.
    `window_share` is how much of the model's context window prompt and completion took (0 where
    the window is not known).

    Where a router chose the model, `route` is the name that was asked for (`auto`, …), `route_why`
    how it came about, `route_scores` what the router said, as JSON (its score, and the quality it
    predicts by alias), `route_strong` the strong model's alias, and `strong_usd` what the same
    tokens would have cost there: `strong_usd - cost_usd` is what was saved. Both are 0 for stored
    answers.

    `repaired`: the answer is a second one; the first was of the wrong shape, or could not be read.
    `prompt` is what was asked, redacted, as JSON (a list of role and content), where the config
    keeps prompts.
    """

    run: str
    at: float
    label: str
    model: str
    provider: str
    model_id: str
    wanted: str
    status: str
    error: str
    cached: bool
    tries: int
    input_tokens: int
    cached_input_tokens: int
    output_tokens: int
    cost_usd: float
    total_ms: float
    wait_ms: float
    backoff_ms: float
    provider_ms: float
    ttft_ms: float
    hash: str
    window_share: float = 0.0
    route: str = ""
    route_why: str = ""
    route_scores: str = ""
    strong_usd: float = 0.0
    repaired: bool = False
    route_strong: str = ""
    prompt: str = ""


class RunRow(msgspec.Struct, frozen=True, kw_only=True):
    """One run in the ledger; `status` is running, done, budget, interrupted or failed.
    `window_share` is that of its fullest call."""

    id: str
    name: str
    at: float
    status: str
    rows: int
    ok: int
    failed: int
    calls: int
    cached: int
    retries: int
    input_tokens: int
    cached_input_tokens: int
    output_tokens: int
    cost_usd: float
    seconds: float
    window_share: float = 0.0


class PromptRow(msgspec.Struct, frozen=True, kw_only=True):
    """A version of a prompt. `id` is the hash of its content, `version` counts within `name`, from
    1 on; `tags` and `parents` (ids) are JSON arrays, `schema` is JSON or "". `promoted` is the
    Unix time at which the version was promoted, 0: never; the newest one counts."""

    id: str
    name: str
    version: int
    at: float
    text: str
    instructions: str
    schema: str
    tags: str
    parents: str
    promoted: float


class PromptUse(msgspec.Struct, frozen=True, kw_only=True):
    """That a run filled a column by a version of a prompt. `run` and `label` are those of the
    column's calls, so that the hot path writes nothing more for it."""

    prompt: str
    name: str
    run: str
    label: str


TABLES: Mapping[str, type[msgspec.Struct]] = {
    "calls": CallRow,
    "runs": RunRow,
    "prompts": PromptRow,
    "prompt_uses": PromptUse,
}


class Store(Protocol):
    """Keyed by `content_hash`. Reads are synchronous and fast; writes are grouped.

    All methods are called on one event loop. `put` gives a future that is done once the value is
    durable: it survives a killed process from then on. Every method raises StoreError.
    """

    def get_many(self, keys: Sequence[bytes]) -> dict[bytes, AnyReply]:
        """What is stored under `keys`. A value that this version cannot read is not there."""
        ...

    def put(self, key: bytes, reply: AnyReply) -> asyncio.Future[None]: ...

    def log_call(self, row: CallRow) -> None: ...

    def log_run(self, row: RunRow) -> None:
        """Insert or replace, by `id`."""
        ...

    def save_prompt(self, row: PromptRow) -> PromptRow:
        """Insert, where `name` has no version of this `id`, under the next version number (that of
        `row` does not count); else add its tags. Gives the row as it is stored. Waits for the
        commit: prompts are few."""
        ...

    def promote_prompt(self, name: str, id: str, at: float) -> None: ...

    def log_prompt(self, use: PromptUse) -> None:
        """Insert where it is not there. Waits for the commit."""
        ...

    def query(self, sql: str, parameters: Sequence[Any] = ()) -> list[dict[str, Any]]:
        """Rows of a SELECT over the tables `calls`, `runs`, `prompts` and `prompt_uses`; sees
        everything logged before.

        Parameters stand as `?`. SQL that SQLite and Postgres both know: `cached` is a truth value
        (`WHERE NOT cached`, `count(*) FILTER (WHERE cached)`), times are Unix seconds.
        """
        ...

    def close(self) -> None:
        """Write what is pending and let go."""
        ...


_COMPRESS_FROM = 512
_encode = msgspec.msgpack.Encoder()
_decode_completion = msgspec.msgpack.Decoder(Completion)
_decode_embeddings = msgspec.msgpack.Decoder(Embeddings)
_compressor = zstandard.ZstdCompressor(level=3, write_content_size=True)
_decompressor = zstandard.ZstdDecompressor()


def encode_reply(reply: AnyReply) -> bytes:
    """One tag byte (c: completion, e: embeddings; upper case: zstd), then msgpack."""
    if isinstance(reply, Completion):
        tag = b"c"
        if reply.parsed is not None or reply.cached:
            reply = msgspec.structs.replace(reply, parsed=None, cached=False)
    else:
        tag = b"e"
    return tag + _encode.encode(reply)


def compress(value: bytes) -> bytes:
    """What `encode_reply` gave, smaller where that is worth it. Runs on the writer's thread."""
    if len(value) < _COMPRESS_FROM:
        return value
    return value[:1].upper() + _compressor.compress(value[1:])


_UNREADABLE = (
    msgspec.DecodeError,
    zstandard.ZstdError,
    UnicodeDecodeError,
    RecursionError,
    MemoryError,
)


def decode_reply(value: bytes) -> AnyReply | None:
    """None where another version, or another program, wrote it: the question is asked anew."""
    tag, body = value[:1], value[1:]
    try:
        if tag.isupper():
            body = _decompressor.decompress(body)
        if tag in (b"c", b"C"):
            return _decode_completion.decode(body)
        if tag in (b"e", b"E"):
            return _decode_embeddings.decode(body)
    except _UNREADABLE:
        pass
    return None


def columns(row: type[msgspec.Struct]) -> Mapping[str, type]:
    """Name and Python type of each column of a row struct: the tables are made from these."""
    kinds = {"str": str, "int": int, "float": float, "bool": bool}
    return {f.name: kinds[f.type.__name__] for f in msgspec.structs.fields(row)}


def table(name: str, row: type[msgspec.Struct], types: Mapping[type, str], end: str = "") -> str:
    """CREATE TABLE for a row struct. Every column has a default, so that an older version can go
    on writing to a table that a newer one has widened."""
    body = ", ".join(f"{column} {types[kind]}" for column, kind in columns(row).items())
    return f"CREATE TABLE IF NOT EXISTS {name} ({body}{end})"
