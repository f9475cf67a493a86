"""Replies of Google's generateContent, whole and streamed, and its embeddings.

A stream is one reply after the other, each with the next parts; usage grows, the last one holds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from swath.catalog.model import Model
from swath.errors import Kind, ProviderError
from swath.messages import Chunk, Completion, Embeddings, Finish, TokenLogprob, ToolCall, Usage
from swath.providers.wire import EventReader, failure

MADE_UP = "call_"
"""How the ids begin that Swath gives to calls which came without one."""
SIGNED = "|"
"""Between a call's id and its thought signature, in `ToolCall.id`."""


class Struct(msgspec.Struct, rename="camel"):
    pass


class FunctionCall(Struct):
    name: str = ""
    args: msgspec.Raw = msgspec.Raw(b"{}")
    id: str | None = None


class Part(Struct):
    text: str | None = None
    thought: bool | None = None
    function_call: FunctionCall | None = None
    thought_signature: str | None = None


class Content(Struct):
    parts: list[Part] | None = None


class TokenInfo(Struct):
    token: str = ""
    log_probability: float = 0.0


class TopTokens(Struct):
    candidates: list[TokenInfo] | None = None


class LogprobsResult(Struct):
    chosen_candidates: list[TokenInfo] | None = None
    top_candidates: list[TopTokens] | None = None


class Candidate(Struct):
    content: Content | None = None
    finish_reason: str | None = None
    logprobs_result: LogprobsResult | None = None


class WireUsage(Struct):
    prompt_token_count: int | None = None
    candidates_token_count: int | None = None
    thoughts_token_count: int | None = None
    cached_content_token_count: int | None = None
    tool_use_prompt_token_count: int | None = None


class Feedback(Struct):
    block_reason: str | None = None


class Reply(Struct):
    candidates: list[Candidate] | None = None
    prompt_feedback: Feedback | None = None
    usage_metadata: WireUsage | None = None
    model_version: str | None = None
    response_id: str | None = None
    error: Any = None


class Vector(Struct):
    values: list[float] | None = None


class Vectors(Struct):
    """Of batchEmbedContents; of embedContent, which gives a single `embedding`."""

    embeddings: list[Vector] | None = None
    embedding: Vector | None = None
    usage_metadata: WireUsage | None = None


decode_reply = msgspec.json.Decoder(Reply).decode
decode_vectors = msgspec.json.Decoder(Vectors).decode

_FINISHES: Mapping[str | None, Finish] = {
    "MAX_TOKENS": "length",
    "SAFETY": "content_filter",
    "RECITATION": "content_filter",
    "LANGUAGE": "content_filter",
    "BLOCKLIST": "content_filter",
    "PROHIBITED_CONTENT": "content_filter",
    "SPII": "content_filter",
    "IMAGE_SAFETY": "content_filter",
}
_MISSED = frozenset({"MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "MALFORMED_RESPONSE"})


def usage_of(raw: WireUsage | None) -> Usage:
    if raw is None:
        return Usage()
    thought = raw.thoughts_token_count or 0
    return Usage(
        (raw.prompt_token_count or 0) + (raw.tool_use_prompt_token_count or 0),
        (raw.candidates_token_count or 0) + thought,
        raw.cached_content_token_count or 0,
        reasoning_tokens=thought,
    )


def call_of(part: Part, call: FunctionCall, position: int) -> ToolCall:
    id = call.id or f"{MADE_UP}{position}"
    if part.thought_signature:
        id += SIGNED + part.thought_signature
    return ToolCall(id, call.name, bytes(call.args).decode() or "{}")


def logprobs_of(raw: LogprobsResult | None) -> tuple[TokenLogprob, ...]:
    if raw is None or not raw.chosen_candidates:
        return ()
    tops = raw.top_candidates or []
    found = []
    for i, chosen in enumerate(raw.chosen_candidates):
        top = tops[i].candidates if i < len(tops) else None
        others = {t.token: t.log_probability for t in top or ()}
        found.append(TokenLogprob(chosen.token, chosen.log_probability, others))
    return tuple(found)


def completion(raw: Reply, model: Model) -> Completion:
    """A whole reply. A prompt or an answer that the filter stopped ends `content_filter`. Raises
    INVALID where the model tried a call and failed, MALFORMED where there is nothing."""
    request_id = raw.response_id or ""
    usage = usage_of(raw.usage_metadata)
    candidate = raw.candidates[0] if raw.candidates else None
    if candidate is None:
        if raw.prompt_feedback is None or not raw.prompt_feedback.block_reason:
            raise failure(Kind.MALFORMED, model, said="it has no candidates", request_id=request_id)
        candidate = Candidate(finish_reason="PROHIBITED_CONTENT")
    if candidate.finish_reason in _MISSED:
        fault = failure(
            Kind.INVALID, model, said=candidate.finish_reason, charged=True, request_id=request_id
        )
        fault.usage = usage
        raise fault
    texts: list[str] = []
    calls: list[ToolCall] = []
    for part in (candidate.content.parts if candidate.content else None) or ():
        if part.function_call is not None:
            calls.append(call_of(part, part.function_call, len(calls)))
        elif part.text and not part.thought:
            texts.append(part.text)
    finish = _FINISHES.get(candidate.finish_reason, "stop")
    return Completion(
        text="".join(texts),
        finish="tool_calls" if calls and finish == "stop" else finish,
        model=model.alias,
        model_id=raw.model_version or "",
        tool_calls=tuple(calls),
        logprobs=logprobs_of(candidate.logprobs_result),
        usage=usage,
        request_id=request_id,
    )


def embeddings(raw: Vectors, model: Model, wanted: int) -> Embeddings:
    found = raw.embeddings if raw.embedding is None else [raw.embedding]
    if len(found or ()) != wanted:
        said = f"{len(found or ())} vectors came back for {wanted} texts"
        raise failure(Kind.MALFORMED, model, said=said)
    return Embeddings(
        vectors=tuple(tuple(v.values or ()) for v in found or ()),
        model=model.alias,
        usage=usage_of(raw.usage_metadata),
    )


class ContentStream(EventReader):
    """A streamed answer: `done` gets the pieces put together as one whole `Reply`."""

    def __init__(
        self,
        model: Model,
        done: Callable[[Reply], Completion],
        failed: Callable[[bytes], ProviderError],
    ) -> None:
        super().__init__(model)
        self._done = done
        self._failed = failed
        self._parts: list[Part] = []
        self._chosen: list[TokenInfo] = []
        self._tops: list[TopTokens] = []
        self._calls = 0
        self._reply = Reply()
        self._finish: str | None = None

    def take(self, event: bytes, chunks: list[Chunk]) -> None:
        try:
            raw = decode_reply(event)
        except msgspec.DecodeError:
            raise self.malformed() from None
        if raw.error:
            fault = self._failed(event)
            fault.charged = fault.charged or bool(self._parts)
            raise fault
        head = self._reply
        head.model_version = head.model_version or raw.model_version
        head.response_id = head.response_id or raw.response_id
        head.usage_metadata = raw.usage_metadata or head.usage_metadata
        head.prompt_feedback = raw.prompt_feedback or head.prompt_feedback
        for candidate in (raw.candidates or ())[:1]:
            self._finish = candidate.finish_reason or self._finish
            for part in (candidate.content.parts if candidate.content else None) or ():
                self._parts.append(part)
                if part.function_call is not None:
                    call = call_of(part, part.function_call, self._calls)
                    self._calls += 1
                    chunks.append(Chunk(tool_call=call))
                elif part.text and not part.thought:
                    chunks.append(Chunk(text=part.text))
            if candidate.logprobs_result is not None:
                self._chosen += candidate.logprobs_result.chosen_candidates or []
                self._tops += candidate.logprobs_result.top_candidates or []

    def finish(self) -> Completion:
        if self.plain is not None:
            try:
                return self._done(decode_reply(self.plain))
            except msgspec.DecodeError:
                raise self.malformed("it is neither a stream nor an answer") from None
        blocked = self._reply.prompt_feedback and self._reply.prompt_feedback.block_reason
        if self._finish is None and not blocked:
            raise failure(Kind.CONNECTION, self.model)
        if self._finish is not None:
            logprobs = LogprobsResult(self._chosen, self._tops) if self._chosen else None
            candidate = Candidate(Content(self._parts), self._finish, logprobs)
            self._reply.candidates = [candidate]
        return self._done(self._reply)
