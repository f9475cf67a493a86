"""Replies of Anthropic's Messages API, whole and streamed.

A stream is message_start, then per content block content_block_start, deltas and
content_block_stop, then message_delta (stop reason, final usage) and message_stop; `ping` and
unknown events are skipped, `error` ends it.
https://platform.claude.com/docs/en/build-with-claude/streaming
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from swath.catalog.model import Model
from swath.errors import Kind, ProviderError
from swath.messages import Chunk, Completion, Finish, ToolCall, Usage
from swath.providers.wire import EventReader, failure

Struct = msgspec.Struct


class OutputDetails(Struct):
    thinking_tokens: int | None = None


class WireUsage(Struct):
    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    output_tokens_details: OutputDetails | None = None


class Block(Struct):
    type: str = ""
    text: str | None = None
    id: str | None = None
    name: str | None = None
    input: msgspec.Raw = msgspec.Raw(b"{}")


class Reply(Struct):
    id: str | None = None
    model: str | None = None
    content: list[Block] | None = None
    stop_reason: str | None = None
    usage: WireUsage | None = None
    error: Any = None


class Delta(Struct):
    type: str = ""
    text: str | None = None
    partial_json: str | None = None
    stop_reason: str | None = None


class Event(Struct):
    type: str = ""
    index: int = 0
    message: Reply | None = None
    content_block: Block | None = None
    delta: Delta | None = None
    usage: WireUsage | None = None
    error: Any = None


decode_reply = msgspec.json.Decoder(Reply).decode
decode_event = msgspec.json.Decoder(Event).decode

_FINISHES: Mapping[str | None, Finish] = {
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "refusal",
}


def usage_of(raw: WireUsage | None) -> Usage:
    if raw is None:
        return Usage()
    read, written = raw.cache_read_input_tokens or 0, raw.cache_creation_input_tokens or 0
    details = raw.output_tokens_details
    return Usage(
        (raw.input_tokens or 0) + read + written,
        raw.output_tokens or 0,
        read,
        written,
        (details.thinking_tokens or 0) if details is not None else 0,
    )


def completion(
    raw: Reply,
    model: Model,
    request_id: str,
    *,
    notes: tuple[str, ...],
    reply_tool: str = "",
    restore: Callable[[str], str] | None = None,
) -> Completion:
    """A whole reply. The input of `reply_tool` is its text; `restore` undoes the schema's changes
    in it. Raises MALFORMED where there is no content."""
    if raw.content is None:
        raise failure(Kind.MALFORMED, model, said="it has no content", request_id=request_id)
    finish = _FINISHES.get(raw.stop_reason, "stop")
    texts, calls, answer = [], [], None
    for block in raw.content:
        if block.type == "text":
            texts.append(block.text or "")
        elif block.type == "tool_use":
            arguments = bytes(block.input).decode() or "{}"
            if reply_tool and block.name == reply_tool:
                answer = arguments
            else:
                calls.append(ToolCall(block.id or "", block.name or "", arguments))
    text = "".join(texts)
    if answer is not None:
        text, finish = answer, "stop" if finish == "tool_calls" else finish
    elif restore is not None and finish == "stop":
        text = restore(text)
    return Completion(
        text=text,
        finish=finish,
        model=model.alias,
        model_id=raw.model or "",
        tool_calls=tuple(calls),
        usage=usage_of(raw.usage),
        request_id=request_id or raw.id or "",
        notes=notes,
    )


class MessageStream(EventReader):
    """A streamed message: `done` gets the pieces put together as one whole `Reply`."""

    def __init__(
        self,
        model: Model,
        done: Callable[[Reply], Completion],
        failed: Callable[[Any], ProviderError],
        reply_tool: str,
    ) -> None:
        super().__init__(model)
        self._done = done
        self._failed = failed
        self._reply_tool = reply_tool
        self._reply = Reply(content=[])
        self._pieces: dict[int, list[str]] = {}
        self._blocks: dict[int, Block] = {}
        self._ended = False

    def take(self, event: bytes, chunks: list[Chunk]) -> None:
        try:
            self._event(decode_event(event), chunks)
        except msgspec.DecodeError:
            raise self.malformed() from None

    def _event(self, event: Event, chunks: list[Chunk]) -> None:
        kind = event.type
        if kind == "content_block_delta" and event.delta is not None:
            piece = event.delta.text if event.delta.text is not None else event.delta.partial_json
            if piece and event.delta.type in ("text_delta", "input_json_delta"):
                self._pieces.setdefault(event.index, []).append(piece)
                block = self._blocks.get(event.index)
                if event.delta.type == "text_delta" or self._is_reply(block):
                    chunks.append(Chunk(text=piece))
        elif kind == "content_block_start" and event.content_block is not None:
            self._blocks[event.index] = event.content_block
            if event.content_block.text:
                self._pieces[event.index] = [event.content_block.text]
                chunks.append(Chunk(text=event.content_block.text))
        elif kind == "content_block_stop":
            self._close(event.index, chunks)
        elif kind == "message_start" and event.message is not None:
            started = event.message
            self._reply.id, self._reply.model = started.id, started.model
            self._reply.usage = started.usage
        elif kind == "message_delta":
            if event.delta is not None and event.delta.stop_reason:
                self._reply.stop_reason = event.delta.stop_reason
            self._count(event.usage)
        elif kind == "message_stop":
            self._ended = True
        elif kind == "error":
            fault = self._failed(event.error)
            fault.charged = fault.charged or bool(self._blocks)
            raise fault

    def _is_reply(self, block: Block | None) -> bool:
        return block is not None and block.name == self._reply_tool

    def _close(self, index: int, chunks: list[Chunk]) -> None:
        block = self._blocks.get(index)
        if block is None:
            return
        text = "".join(self._pieces.pop(index, ()))
        if block.type == "tool_use":
            block.input = msgspec.Raw((text or "{}").encode())
            if not self._is_reply(block):
                call = ToolCall(block.id or "", block.name or "", text or "{}")
                chunks.append(Chunk(tool_call=call))
        else:
            block.text = text

    def _count(self, news: WireUsage | None) -> None:
        """The last event's counts are cumulative; what it leaves out stays as it was."""
        old = self._reply.usage
        if news is None or old is None:
            self._reply.usage = news or old
            return
        for field in news.__struct_fields__:
            value = getattr(news, field)
            if value is not None:
                setattr(old, field, value)

    def finish(self) -> Completion:
        if self.plain is not None:
            try:
                return self._done(decode_reply(self.plain))
            except msgspec.DecodeError:
                raise self.malformed("it is neither a stream nor a message") from None
        if not self._ended and self._reply.stop_reason is None:
            raise failure(Kind.CONNECTION, self.model)
        for index in list(self._pieces):
            self._close(index, [])
        self._reply.content = [self._blocks[i] for i in sorted(self._blocks)]
        return self._done(self._reply)
