"""What the wire formats have in common: durations, retry times, what an error may repeat.

Sources: RFC 9110 section 10.2.3 (Retry-After), Go's time.Duration notation (the rate-limit headers
of OpenAI and Groq), RFC 3339 (those of Anthropic).
"""

from __future__ import annotations

import re
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from datetime import datetime
from email.utils import parsedate_to_datetime
from hashlib import blake2b
from typing import Any

import msgspec

from swath.catalog.model import Model
from swath.errors import Kind, ProviderError
from swath.messages import Chunk
from swath.providers.base import EventStream, HttpReply, Window

encode_json = msgspec.json.Encoder().encode

_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|us|µs|ns|d|h|m|s)")
_UNITS = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6}
_AGAIN = re.compile(
    r"(?:try again|retry)\s+(?:in|after)\s+((?:\d+(?:\.\d+)?(?:ms|d|h|m|s))+|\d+(?:\.\d+)?)", re.I
)


def seconds(text: str | None) -> float | None:
    """Seconds in '12', '1.5s', '6m0s', '20ms', '1h2m3s'; None where it is no duration."""
    if not text:
        return None
    try:
        return float(text)
    except ValueError:
        parts = _PART.findall(text)
        return sum(float(n) * _UNITS.get(unit, 1e-9) for n, unit in parts) if parts else None


def retry_after(headers: Mapping[str, str], message: str = "") -> float | None:
    """How long the provider asks us to wait, in seconds: the most exact statement wins."""
    milliseconds = seconds(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1e3
    stated = headers.get("retry-after")
    if stated:
        wait = seconds(stated) if not stated[:1].isalpha() else _until(stated, headers)
        if wait is not None:
            return max(wait, 0.0)
    again = _AGAIN.search(message)
    return seconds(again[1]) if again else None


def _until(date: str, headers: Mapping[str, str]) -> float | None:
    """Seconds until an HTTP date, by the server's own clock where it sent one."""
    try:
        then = parsedate_to_datetime(date).timestamp()
        now = headers.get("date")
        return then - (parsedate_to_datetime(now).timestamp() if now else time.time())
    except (TypeError, ValueError):
        return None


def moment(text: str | None) -> float | None:
    """Seconds from now until an RFC 3339 time; never negative."""
    if not text:
        return None
    try:
        return max(datetime.fromisoformat(text).timestamp() - time.time(), 0.0)
    except ValueError:
        return None


def number(text: str | None) -> float | None:
    try:
        return float(text) if text else None
    except ValueError:
        return None


def go_window(headers: Mapping[str, str], what: str) -> Window | None:
    """The `x-ratelimit-{limit,remaining,reset}-WHAT` headers; reset is a Go duration."""
    limit = headers.get(f"x-ratelimit-limit-{what}")
    remaining = headers.get(f"x-ratelimit-remaining-{what}")
    if limit is None and remaining is None:
        return None
    reset = seconds(headers.get(f"x-ratelimit-reset-{what}"))
    return Window(number(limit), number(remaining), reset)


_KEYLIKE = re.compile(r"(?:sk-|gsk_|AIza|ya29\.|Bearer )[\w*.-]{6,}")
# What stands in quotes may be the prompt, unless it is a plain name such as 'max_tokens'.
_NAME = re.compile(r"(?<!\w)(['\"`])([\w.$/:\[\]-]{1,60})\1(?!\w)")
_QUOTE = re.compile(r"(?<!\w)(['\"`])(?:.*\1|.*)", re.S)
# Validation errors of pydantic-based servers repeat the input they did not like.
_ECHO = re.compile(r"['\"]?\binput(?:_value)?['\"]?\s*[:=]")


def repeatable(text: Any, model: Model) -> str:
    """The part of a provider's message that may be shown: no key, no prompt, one short line."""
    if not isinstance(text, str):
        return ""
    shown: str = _ECHO.split(text[:2000], maxsplit=1)[0]
    if model.key:
        shown = shown.replace(model.key.reveal(), "***")
    shown = _NAME.sub("\0\\2\0", _KEYLIKE.sub("***", shown))
    shown = _QUOTE.sub("'…'", shown).replace("\0", "'")
    shown = " ".join(shown.split())
    return shown if len(shown) <= 240 else shown[:239] + "…"


def kind_of_status(status: int) -> Kind:
    """What a status says where the body says nothing."""
    if status in (401, 403):
        return Kind.AUTH
    if status in (404, 405) or 300 <= status < 400:
        return Kind.NOT_FOUND
    if status == 402:
        return Kind.QUOTA
    if status == 408:
        return Kind.TIMEOUT
    if status == 429:
        return Kind.THROTTLED
    if status in (498, 503, 529):  # 498: Groq's flex tier is full; 529: Anthropic is overloaded
        return Kind.OVERLOADED
    return Kind.SERVER if status >= 500 else Kind.BAD_REQUEST


def failure(
    kind: Kind,
    model: Model,
    reply: HttpReply | None = None,
    said: Any = "",
    *,
    wait: float | None = None,
    feature: str = "",
    charged: bool | None = None,
    request_id: str = "",
) -> ProviderError:
    """A `ProviderError` in Swath's words with what the provider `said`, and what to do."""
    status = reply.status if reply else None
    detail = "" if kind is Kind.AUTH else repeatable(said, model)
    words = _WORDS.get(kind, "the call failed")
    if kind is Kind.UNSUPPORTED and feature:
        words = f"this model or server does not take '{feature}'"
    where = f" (status {status})" if status and status != 200 else ""
    return ProviderError(
        kind,
        f"{words}{where}" + (f": {detail.rstrip('.')}." if detail else "."),
        hint=_hint(kind, model),
        provider=model.provider,
        model=model.alias,
        status=status,
        retry_after=wait,
        request_id=request_id,
        feature=feature,
        charged=charged,
    )


_WORDS = {
    Kind.AUTH: "the key was refused",
    Kind.NOT_FOUND: "there is no such model or address",
    Kind.BAD_REQUEST: "the request was refused",
    Kind.UNSUPPORTED: "the request asks for something this model or server lacks",
    Kind.CONTEXT: "the request is longer than the model takes",
    Kind.THROTTLED: "too many requests or tokens at once",
    Kind.QUOTA: "the quota or the credit is used up",
    Kind.OVERLOADED: "the provider is overloaded",
    Kind.SERVER: "the provider failed",
    Kind.TIMEOUT: "the provider took too long",
    Kind.CONNECTION: "the reply ended before it was whole",
    Kind.MALFORMED: "the reply is not of this wire format",
    Kind.REFUSAL: "the model or its filter declined",
    Kind.INVALID: "the model's answer was not of the shape asked for",
}


def _hint(kind: Kind, model: Model) -> str:
    if kind is Kind.AUTH:
        if not model.api_key_env:
            return f"Name the key's variable: api_key_env in [models.{model.alias}]."
        return f"Check the variable {model.api_key_env}: the key, and what it may use."
    if kind is Kind.NOT_FOUND:
        return (
            f"[models.{model.alias}] asks for '{model.id}' at {model.base_url}. Correct one of "
            f"them; `swath models --provider {model.provider}` lists what exists."
        )
    if kind is Kind.QUOTA:
        return "Waiting does not help soon: add credit or raise the limit, or name a fallback."
    if kind is Kind.CONTEXT:
        return "Shorten the text, or name a fallback with a larger context window."
    return ""


_PLAIN_ID = re.compile(r"[A-Za-z0-9_-]{1,40}")


def plain_id(id: str) -> str:
    """A tool call's id that every provider takes: another's may be too long or oddly spelt."""
    if _PLAIN_ID.fullmatch(id):
        return id
    return "call_" + blake2b(id.encode(), digest_size=12).hexdigest()


def as_dict(value: Any) -> dict[str, Any]:
    """`value` where it is a JSON object, else an empty one: error bodies come in all shapes."""
    return value if isinstance(value, dict) else {}


def loads(body: bytes) -> Any:
    """The body as JSON, or None: for error bodies, which may be anything."""
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def stray_text(body: bytes) -> str:
    """What may be said of an error body that is not JSON."""
    start = body[:200].lstrip().lower()
    if start.startswith((b"<!doctype", b"<html", b"<head", b"<?xml")):
        return "an HTML page came back"
    return body[:300].decode("utf-8", "replace")


class EventReader(ABC):
    """What the stream decoders share: events from bytes, and the body of a server that answers a
    stream's request with a plain JSON body (kept in `plain`). Subclasses define `take`."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.plain: bytes | None = None
        self.events = EventStream()
        self._started = False

    def feed(self, data: bytes) -> list[Chunk]:
        if not self._started:
            data = data.lstrip()
            if not data:
                return []
            self._started = True
            if data[:1] in b"{[":
                self.plain = b""
        if self.plain is not None:
            self.plain += data
            return []
        chunks: list[Chunk] = []
        for _, event in self.events.feed(data):
            self.take(event, chunks)
        return chunks

    @abstractmethod
    def take(self, event: bytes, chunks: list[Chunk]) -> None:
        """Read one event's data; append the chunks that became whole."""

    def malformed(self, said: str = "an event is not as documented") -> ProviderError:
        return failure(Kind.MALFORMED, self.model, said=said)
