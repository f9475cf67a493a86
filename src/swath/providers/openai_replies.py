"""Replies in OpenAI's chat format, whole and streamed, and its embeddings.

Every field may be missing or null: vLLM, Ollama, llama.cpp, LM Studio and the many gateways each
leave out something else. A stream ends at `data: [DONE]`, or where a server does not send that,
after a chunk with a `finish_reason`.
"""

from __future__ import annotations

import sys
from array import array
from binascii import Error as Base64Error
from binascii import a2b_base64
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from swath.catalog.model import Model
from swath.errors import Kind, ProviderError
from swath.messages import Chunk, Completion, Embeddings, Finish, TokenLogprob, ToolCall, Usage
from swath.providers.base import HttpReply
from swath.providers.wire import EventReader, encode_json, failure

Struct = msgspec.Struct


class PromptDetails(Struct):
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None


class OutputDetails(Struct):
    reasoning_tokens: int | None = None


class WireUsage(Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: PromptDetails | None = None
    completion_tokens_details: OutputDetails | None = None
    prompt_cache_hit_tokens: int | None = None  # DeepSeek
    cost: Any = None  # OpenRouter: dollars


class Top(Struct):
    token: str
    logprob: float


class TokenInfo(Struct):
    token: str
    logprob: float
    top_logprobs: list[Top] | None = None


class Logprobs(Struct):
    content: list[TokenInfo] | None = None


class Function(Struct):
    name: str | None = None
    arguments: Any = None  # JSON text; some servers send the object itself


class WireCall(Struct):
    id: str | None = None
    index: int | None = None
    function: Function | None = None


class WireMessage(Struct):
    content: str | list[Any] | None = None  # a list of parts at Mistral
    refusal: str | None = None
    tool_calls: list[WireCall] | None = None


class Choice(Struct):
    message: WireMessage | None = None
    delta: WireMessage | None = None
    finish_reason: str | None = None
    logprobs: Logprobs | None = None
    error: Any = None  # OpenRouter: this provider failed


class XGroq(Struct):
    usage: WireUsage | None = None
    error: Any = None


class Reply(Struct):
    """A whole completion, or one chunk of a stream: they differ in message and delta."""

    id: Any = None
    model: Any = None
    choices: list[Choice] | None = None
    usage: WireUsage | None = None
    error: Any = None
    object: Any = None
    x_groq: XGroq | None = None


class Vector(Struct):
    embedding: str | list[float]
    index: int | None = None


class Vectors(Struct):
    data: list[Vector] | None = None
    model: Any = None
    usage: WireUsage | None = None
    error: Any = None


decode_reply = msgspec.json.Decoder(Reply).decode
decode_vectors = msgspec.json.Decoder(Vectors).decode

_FINISHES: Mapping[str | None, Finish] = {
    "length": "length",
    "max_tokens": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
    "refusal": "refusal",
}


def usage_of(raw: WireUsage | None, *, costs: bool) -> Usage:
    """`costs`: whether the provider's `cost` is dollars charged."""
    if raw is None:
        return Usage()
    cached, written, thought = raw.prompt_cache_hit_tokens or 0, 0, 0
    if raw.prompt_tokens_details is not None:
        cached = raw.prompt_tokens_details.cached_tokens or cached
        written = raw.prompt_tokens_details.cache_write_tokens or 0
    if raw.completion_tokens_details is not None:
        thought = raw.completion_tokens_details.reasoning_tokens or 0
    charged = raw.cost if costs and isinstance(raw.cost, int | float) else None
    return Usage(
        raw.prompt_tokens or 0, raw.completion_tokens or 0, cached, written, thought, charged
    )


def text_of(content: str | list[Any] | None) -> str:
    if isinstance(content, str):
        return content
    if not content:
        return ""
    texts = (p.get("text") for p in content if isinstance(p, dict) and p.get("type") == "text")
    return "".join(t for t in texts if isinstance(t, str))


def call_of(call: WireCall, position: int) -> ToolCall:
    function = call.function or Function()
    arguments = function.arguments
    if not isinstance(arguments, str):
        arguments = encode_json(arguments if arguments is not None else {}).decode()
    return ToolCall(call.id or f"call_{position}", function.name or "", arguments or "{}")


def logprobs_of(raw: Logprobs | None) -> tuple[TokenLogprob, ...]:
    if raw is None or not raw.content:
        return ()
    return tuple(
        TokenLogprob(t.token, t.logprob, {o.token: o.logprob for o in t.top_logprobs or ()})
        for t in raw.content
    )


def completion(
    raw: Reply, model: Model, request_id: str, *, costs: bool, notes: tuple[str, ...]
) -> Completion:
    """A whole reply. Raises MALFORMED where it has no choice."""
    choice = raw.choices[0] if raw.choices else None
    message = choice.message if choice is not None else None
    if choice is None or message is None:
        raise failure(Kind.MALFORMED, model, said="it has no choices", request_id=request_id)
    text = text_of(message.content)
    finish = _FINISHES.get(choice.finish_reason, "stop")
    calls: tuple[ToolCall, ...] = ()
    if message.tool_calls:
        calls = tuple(call_of(c, i) for i, c in enumerate(message.tool_calls))
        finish = "tool_calls" if finish == "stop" else finish
    if message.refusal and not text:
        text, finish = message.refusal, "refusal"
    return Completion(
        text=text,
        finish=finish,
        model=model.alias,
        model_id=raw.model if isinstance(raw.model, str) else "",
        tool_calls=calls,
        logprobs=logprobs_of(choice.logprobs),
        usage=usage_of(raw.usage, costs=costs),
        request_id=request_id or (raw.id if isinstance(raw.id, str) else ""),
        notes=notes,
    )


class ChatStream(EventReader):
    """A streamed completion: `done` gets the pieces put together as one whole `Reply`."""

    def __init__(
        self,
        model: Model,
        done: Callable[[Reply], Completion],
        failed: Callable[[Any], ProviderError],
        whole: Callable[[bytes], Completion],
    ) -> None:
        super().__init__(model)
        self._done = done
        self._failed = failed
        self._whole = whole
        self._texts: list[str] = []
        self._refusals: list[str] = []
        self._calls: dict[int, WireCall] = {}
        self._logprobs: list[TokenInfo] = []
        self._head = Reply()
        self._finish: str | None = None
        self._ended = False

    def take(self, event: bytes, chunks: list[Chunk]) -> None:
        if self._ended:
            return
        if event == b"[DONE]":
            self._ended = True
            return
        try:
            raw = decode_reply(event)
        except msgspec.DecodeError:
            raise failure(
                Kind.MALFORMED, self.model, said="an event is not as documented"
            ) from None
        fault = raw.error or (raw.x_groq and raw.x_groq.error)
        if fault or raw.object == "error":
            raise self._fault(fault or msgspec.json.decode(event))
        head = self._head
        head.id = head.id or raw.id
        head.model = head.model or raw.model
        if raw.usage is not None:
            head.usage = raw.usage
        elif raw.x_groq is not None and raw.x_groq.usage is not None:
            head.usage = raw.x_groq.usage
        for choice in raw.choices or ():
            if choice.error:
                raise self._fault(choice.error)
            if choice.finish_reason:
                self._finish = choice.finish_reason
            if choice.logprobs is not None and choice.logprobs.content:
                self._logprobs += choice.logprobs.content
            delta = choice.delta or choice.message
            if delta is None:
                continue
            text = text_of(delta.content)
            if text:
                self._texts.append(text)
                chunks.append(Chunk(text=text))
            if delta.refusal:
                self._refusals.append(delta.refusal)
            if delta.tool_calls:
                self._add_calls(delta.tool_calls)
            if choice.finish_reason and self._calls:
                chunks += [Chunk(tool_call=call_of(c, i)) for i, c in self._in_order()]

    def _in_order(self) -> list[tuple[int, WireCall]]:
        return list(enumerate(self._calls[i] for i in sorted(self._calls)))

    def _add_calls(self, pieces: list[WireCall]) -> None:
        for piece in pieces:
            index = piece.index
            if index is None:  # no index: a new id begins a new call
                last = max(self._calls, default=-1)
                begins = last < 0 or (piece.id and piece.id != self._calls[last].id)
                index = last + 1 if begins else last
            call = self._calls.setdefault(index, WireCall(function=Function(arguments="")))
            call.id = call.id or piece.id
            new, whole = piece.function or Function(), call.function or Function(arguments="")
            whole.name = whole.name or new.name
            if isinstance(new.arguments, str):
                whole.arguments += new.arguments
            elif new.arguments is not None:
                whole.arguments = encode_json(new.arguments).decode()
            call.function = whole

    def _fault(self, error: Any) -> ProviderError:
        fault = self._failed(error)
        fault.charged = fault.charged or bool(self._texts or self._calls)
        return fault

    def finish(self) -> Completion:
        if self.plain is not None:
            return self._whole(self.plain)
        if not self._ended and self._finish is None:
            self._flush()
        if not self._ended and self._finish is None:
            raise failure(Kind.CONNECTION, self.model)
        text = "".join(self._texts)
        message = WireMessage(
            content=text,
            refusal="".join(self._refusals) or None,
            tool_calls=[call for _, call in self._in_order()],
        )
        head = self._head
        head.choices = [
            Choice(
                message=message,
                finish_reason=self._finish,
                logprobs=Logprobs(self._logprobs) if self._logprobs else None,
            )
        ]
        return self._done(head)

    def _flush(self) -> None:
        """A last event that the server did not end with an empty line."""
        for _, event in self.events.feed(b"\n\n"):
            if event == b"[DONE]":
                self._ended = True
                return
            try:
                raw = decode_reply(event)
            except msgspec.DecodeError:
                return  # cut in the middle
            self.take(encode_json(raw), [])


def embeddings(
    raw: Vectors, model: Model, request_id: str, wanted: int, *, costs: bool
) -> Embeddings:
    """Vectors in the order of the texts. Raises MALFORMED where there are not as many."""
    data = raw.data or []
    if len(data) != wanted:
        said = f"{len(data)} vectors came back for {wanted} texts"
        raise failure(Kind.MALFORMED, model, said=said, request_id=request_id)
    if all(v.index is not None for v in data):
        data = sorted(data, key=lambda v: v.index or 0)
    try:
        vectors = tuple(vector_of(v.embedding) for v in data)
    except (Base64Error, ValueError):
        said = "a vector is not base64"
        raise failure(Kind.MALFORMED, model, said=said, request_id=request_id) from None
    return Embeddings(
        vectors=vectors,
        model=model.alias,
        model_id=raw.model if isinstance(raw.model, str) else "",
        usage=usage_of(raw.usage, costs=costs),
        request_id=request_id,
    )


def vector_of(embedding: str | list[float]) -> tuple[float, ...]:
    """Floats, or the base64 of little-endian float32: a third of the bytes, a tenth of the time."""
    if isinstance(embedding, list):
        return tuple(embedding)
    numbers = array("f", a2b_base64(embedding))
    if sys.byteorder == "big":
        numbers.byteswap()
    return tuple(numbers)


def error_reply(error: Any, model: Model) -> HttpReply:
    """An error that came inside a reply with status 200, as the reply it should have been."""
    fields = error if isinstance(error, dict) else {"message": str(error)}
    code = fields.get("code")
    status = code if isinstance(code, int) and 400 <= code < 600 else 500
    return HttpReply(status, {}, encode_json({"error": fields}))
