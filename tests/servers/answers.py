"""What the pretended model says: a `Call` in, an `Answer` out, always the same.

A `Call` is a request with its wire format taken off, as far as answering needs it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec

from .schema import Draw, Form, Schema, form

Quotes = Literal["real", "invent", "repair"]
Finish = Literal["stop", "length", "tool_calls", "content_filter", "refusal"]

REFUSAL = "I'm sorry, but I can't help with that."


def names(text: str) -> frozenset[str]:
    """A set of words, written as a sentence is."""
    return frozenset(text.split())


def tokens(text: str) -> int:
    """How many tokens a text counts for: a quarter of its characters, rounded up."""
    return (len(text) + 3) >> 2


@dataclass(slots=True)
class Call:
    """One model call, whatever format it came in."""

    body: dict[str, Any]
    model: str
    users: list[str] = field(default_factory=list)  # the users' messages
    system: str = ""
    other: str = ""  # assistant and tool messages
    schema: Form | None = None
    json_mode: bool = False
    tools: list[tuple[str, Form]] = field(default_factory=list)
    tool: str | None = None  # the one to call, if any
    stream: bool = False
    sse: bool = True  # or, at Google's, one JSON array
    max_tokens: int | None = None
    stop: list[str] = field(default_factory=list)
    logprobs: int | None = None  # how many alternatives, if any are wanted
    inputs: list[str] | None = None  # of an embedding
    key: str = ""
    # Filled in by the server.
    input_tokens: int = 0
    cached_tokens: int = 0
    cache_written: int = 0

    @property
    def last(self) -> str:
        return self.users[-1] if self.users else ""

    @property
    def conversation(self) -> str:
        """The name under which the call is counted: all that the users said."""
        users = self.users
        return users[0] if len(users) == 1 else "\n---\n".join(users)


@dataclass(slots=True)
class Answer:
    """What is said. A `respond` hook may return one for full control."""

    text: str = ""
    tool_calls: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    finish: Finish = "stop"
    refusal: str | None = None
    stop_sequence: str | None = None
    reasoning_tokens: int = 0
    # Log-probabilities of the first token's alternatives, for labels read off them.
    top_logprobs: dict[str, float] | None = None
    completion_tokens: int = 0  # filled in by the server, reasoning included


def default_answer(
    call: Call, quotes: Quotes, source_of: Callable[[Call], str], fenced: bool
) -> Answer:
    """The answer where no hook is given."""
    real = quotes == "real" or (quotes == "repair" and len(call.users) > 1)
    if call.tool is not None:
        schema = dict(call.tools).get(call.tool) or form({"type": "object"})
        value = schema.instance(Draw(call.key, source_of(call), real))
        return Answer(
            tool_calls=[(call.tool, value if isinstance(value, dict) else {})], finish="tool_calls"
        )
    wanted = call.schema or prompted_schema(call)
    if wanted is not None:
        value = wanted.instance(Draw(call.key, source_of(call), real))
        text = msgspec.json.encode(value).decode()
        return Answer(f"```json\n{text}\n```" if fenced and not call.schema else text)
    if call.json_mode:
        return Answer(msgspec.json.encode({"answer": call.last[:80]}).decode())
    return Answer(f"You said: {call.last[:80]}")


def prompted_schema(call: Call) -> Form | None:
    """A JSON schema written into the prompt, as clients do for servers that know none."""
    for text in (call.system, *call.users):
        at = text.find('"properties"')
        if at < 0:
            continue
        start = text.rfind("{", 0, at)
        while start >= 0:
            try:
                found, end = json.JSONDecoder().raw_decode(text, start)
            except ValueError:
                start = text.rfind("{", 0, start)
                continue
            # The outermost object that opens before the mark and holds it.
            outer = _outermost(text, start) or (found if end > at else None)
            return form(outer) if isinstance(outer, dict) else None
    return None


def _outermost(text: str, inner: int) -> Schema | None:
    at = text.find("{")
    while 0 <= at <= inner:
        try:
            found, end = json.JSONDecoder().raw_decode(text, at)
        except ValueError:
            at = text.find("{", at + 1)
            continue
        if end > inner and isinstance(found, dict) and "properties" in found:
            return found
        at = text.find("{", at + 1)
    return None


_TAGGED = re.compile(r"</(\w+)>\s*\Z")


def source_text(message: str, between: tuple[str, str] | None) -> str:
    """The part of a message that its row gave, as against the instructions around it.

    Between the marks, where they are set; else the block in `<tags>` that the message ends
    on; else its last paragraph that holds no JSON schema.
    """
    if between is not None:
        _, found, rest = message.partition(between[0])
        return rest.partition(between[1])[0].strip() if found else message
    if ">" in message[-8:] and (tag := _TAGGED.search(message, len(message) - 60)):
        start = message.rfind(f"<{tag[1]}>", 0, tag.start())
        if start >= 0:
            return message[start + len(tag[1]) + 2 : tag.start()].strip()
    if "\n\n" not in message:
        return message
    parts = [p for p in message.split("\n\n") if p.strip()]
    plain = [p for p in parts if '"properties"' not in p]
    return (plain or parts or [message])[-1]


def shaped(answer: Answer, call: Call, count: Callable[[str], int]) -> Answer:
    """Cut at stop sequences and at max_tokens, and count."""
    text = answer.text
    for stop in call.stop:
        at = text.find(stop)
        if at >= 0:
            text, answer.stop_sequence = text[:at], stop
    used = count(text) if text else 0
    for name, arguments in answer.tool_calls:
        used += count(name) + count(msgspec.json.encode(arguments).decode())
    used += count(answer.refusal) if answer.refusal else 0
    limit = call.max_tokens
    if limit is not None and used + answer.reasoning_tokens > limit and text:
        room = max(0, limit - answer.reasoning_tokens)
        text = text[: len(text) * room // max(used, 1)]
        answer.finish, used = "length", room
        answer.reasoning_tokens = min(answer.reasoning_tokens, limit)
    if answer.finish in ("stop", "tool_calls"):  # hooks and faults need not keep them in step
        answer.finish = "tool_calls" if answer.tool_calls else "stop"
    answer.text = text
    answer.completion_tokens = used + answer.reasoning_tokens
    return answer


def pieces(text: str, size: int) -> list[str]:
    """A text as a stream brings it."""
    return [text[i : i + size] for i in range(0, len(text), size)]


def embedding(text: str, size: int) -> list[float]:
    """A unit vector in which texts that share words lie near each other."""
    from zlib import crc32

    vector = [0.0] * size
    for word in text.lower().split() or [""]:
        code = crc32(word.encode("utf-8", "surrogatepass"))
        vector[code % size] += 1.0 if code >> 31 else -1.0
        vector[(code >> 8) % size] += 0.5
    norm = sum(v * v for v in vector) ** 0.5 or 1.0
    return [v / norm for v in vector]
