"""Groq: OpenAI's format with a few differences. https://console.groq.com/docs/openai

- The requests headers count a day, the tokens headers a minute (…/docs/rate-limits).
- A 413 says that one request is larger than a minute's tokens; 498 that the flex tier is full.
- A stream's usage may come in `x_groq` (read for every dialect in openai_replies.py).
- No logprobs, no embeddings.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from swath.catalog.model import Model
from swath.errors import Kind
from swath.messages import AnyRequest, EmbedRequest
from swath.providers.base import HttpRequest, RateLimits, Window
from swath.providers.openai import OpenAI
from swath.providers.wire import failure, go_window


class Groq(OpenAI):
    name: ClassVar[str] = "groq"
    base_url: ClassVar[str] = "https://api.groq.com/openai/v1"
    key_env: ClassVar[str] = "GROQ_API_KEY"
    body_options: ClassVar[frozenset[str]] = frozenset(
        {
            "reasoning_effort",
            "reasoning_format",
            "include_reasoning",
            "service_tier",
            "parallel_tool_calls",
        }
    )
    header_options: ClassVar[Mapping[str, str]] = {}
    options: ClassVar[frozenset[str]] = body_options | {"stream_usage"}

    def features(self, model: Model) -> frozenset[str]:
        found = super().features(model) - {"logprobs", "embed"}
        # Known by https://console.groq.com/docs/structured-outputs; the rest have JSON mode.
        schema = ("gpt-oss", "llama-4", "kimi-k2", "qwen3.")
        return found if any(name in model.id for name in schema) else found - {"json_schema"}

    def encode(self, request: AnyRequest, model: Model, *, stream: bool = False) -> HttpRequest:
        if isinstance(request, EmbedRequest):
            raise failure(Kind.UNSUPPORTED, model, feature="embed")
        return super().encode(request, model, stream=stream)

    def classify(self, status: int, fields: Mapping[str, Any], said: str) -> tuple[Kind, str]:
        return (Kind.CONTEXT, "") if status == 413 else super().classify(status, fields, said)

    def limits(self, headers: Mapping[str, str]) -> RateLimits | None:
        tokens, day = go_window(headers, "tokens"), go_window(headers, "requests")
        if tokens is None and day is None:
            return None
        requests = day and Window(None, day.remaining, day.reset)
        return RateLimits(requests=requests, tokens=tokens)
