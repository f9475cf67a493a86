"""What the servers that speak OpenAI's format do in their own way.

A `Dialect` holds everything that differs: base path, errors, rate-limit headers, usage and
the listings. The first is OpenAI's own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from .answers import Call, names
from .core import Exchange, header_lines
from .limits import NEVER, Limits, Refusal
from .openai_words import body_of, go_duration, masked
from .trip import Rejected, Route

if TYPE_CHECKING:
    from .openai import OpenAIServer


class Dialect:
    base: ClassVar[str] = "/v1"
    completion_prefix: ClassVar[str] = "chatcmpl-"
    known: ClassVar[frozenset[str]] = frozenset()  # parameters besides OpenAI's
    always_usage: ClassVar[bool] = False
    org: ClassVar[str] = "org-test"

    def __init__(self, server: OpenAIServer) -> None:
        self.server = server

    def route(self, path: str) -> Route | None:
        return None

    def unknown(self, name: str) -> Rejected:
        message = f"Unknown parameter: '{name}'."
        return Rejected(400, body_of(message, param=name, code="unknown_parameter"))

    def no_format(self, kind: str) -> Rejected:
        message = (
            f"Invalid parameter: 'response_format' of type '{kind}' is not supported with this "
            "model. Learn more about supported models at the Structured Outputs guide."
        )
        return Rejected(400, body_of(message))

    def choose(self, call: Call) -> None:
        """Last word on which model answers."""

    def finish(self, body: dict[str, Any], call: Call) -> None:
        body["service_tier"] = "default"

    def usage(self, usage: dict[str, Any], call: Call) -> None: ...

    def comments(self) -> list[bytes]:
        return []

    def last_chunk(self, body: dict[str, Any], usage: dict[str, Any]) -> None: ...

    def error_chunk(self, call: Call) -> dict[str, Any]:
        return body_of("The server had an error while processing your request.", "server_error")

    def model(self, name: str) -> dict[str, Any]:
        return {"id": name, "object": "model", "created": 1_700_000_000, "owned_by": "system"}

    def listing(self, route: Route, exchange: Exchange) -> Any:
        return {}

    def rate_headers(self, limits: Limits) -> bytes:
        lines = {}
        for gauge, (limit, remaining, reset) in limits.state().items():
            if gauge in ("requests", "tokens"):
                lines[f"x-ratelimit-limit-{gauge}"] = str(limit)
                lines[f"x-ratelimit-remaining-{gauge}"] = str(remaining)
                lines[f"x-ratelimit-reset-{gauge}"] = go_duration(reset)
        return header_lines(lines)

    def limited(self, refusal: Refusal, call: Call, hint: bytes) -> Rejected:
        if refusal.by == "concurrency":
            message = f"Too many concurrent requests for {call.model}: Limit {refusal.limit}."
            return Rejected(429, body_of(message, "requests", code="rate_limit_exceeded"), hint)
        tokens = refusal.by != "requests"
        name = "tokens per min (TPM)" if tokens else "requests per min (RPM)"
        limits = f"on {name}: Limit {refusal.limit}, "
        if refusal.wait == NEVER:
            message = (
                f"Request too large for {call.model} in organization {self.org} {limits}Requested "
                f"{refusal.requested}. The input or output tokens must be reduced in order to run "
                "successfully."
            )
        else:
            message = (
                f"Rate limit reached for {call.model} in organization {self.org} {limits}Used "
                f"{refusal.used}, Requested {refusal.requested}. Please try again in "
                f"{go_duration(refusal.wait)}."
            )
        kind = "tokens" if tokens else "requests"
        return Rejected(429, body_of(message, kind, code="rate_limit_exceeded"), hint)

    def problem(self, kind: str, call: Call, hint: bytes, more: dict[str, Any]) -> Rejected:
        if kind == "429":
            message = f"Rate limit reached for {call.model} in organization {self.org}."
            return Rejected(429, body_of(message, "requests", code="rate_limit_exceeded"), hint)
        if kind == "quota":
            message = "You exceeded your current quota, please check your plan and billing details."
            code = "insufficient_quota"
            return Rejected(429, body_of(message, code, code=code))
        if kind == "unauthorized":
            return self.unauthorized(more.get("key"))
        if kind == "not_found":
            message = f"The model `{call.model}` does not exist or you do not have access to it."
            return Rejected(404, body_of(message, code="model_not_found"))
        if kind == "context":
            window = self.server.context_window or 8192
            used = call.input_tokens + (call.max_tokens or 0)
            message = (
                f"This model's maximum context length is {window} tokens. However, your messages "
                f"resulted in {max(used, window + 1)} tokens. Please reduce the length of the "
                "messages."
            )
            return Rejected(400, body_of(message, param="messages", code="context_length_exceeded"))
        if kind == "bad_json":
            message = "We could not parse the JSON body of your request."
            return Rejected(400, body_of(message))
        if kind == "too_large":
            return Rejected(413, body_of("Maximum content size limit exceeded."))
        if kind == "no_route":
            message = f"Invalid URL ({call.model})"
            return Rejected(404, body_of(message, code="unknown_url"))
        if kind in ("503", "529"):
            message = "That model is currently overloaded with other requests."
            return Rejected(int(kind), body_of(message, "server_error"))
        message = "The server had an error while processing your request. Sorry about that!"
        return Rejected(500, body_of(message, "server_error"))

    def unauthorized(self, key: str | None) -> Rejected:
        if key is None:
            message = "You didn't provide an API key."
            return Rejected(401, body_of(message))
        message = f"Incorrect API key provided: {masked(key)}."
        return Rejected(401, body_of(message, code="invalid_api_key"))


class Groq(Dialect):
    """https://console.groq.com/docs/api-reference and its page on rate limits."""

    base = "/openai/v1"
    known = names(
        "documents exclude_domains include_domains include_reasoning reasoning_format "
        "search_settings disable_tool_validation"
    )
    per_day = 14_400

    def unknown(self, name: str) -> Rejected:
        return Rejected(400, body_of(f"property '{name}' is unsupported"))

    def no_format(self, kind: str) -> Rejected:
        return Rejected(400, body_of(f"This model does not support response format `{kind}`."))

    def finish(self, body: dict[str, Any], call: Call) -> None:
        body["x_groq"] = {"id": self.server.request_id("req_")}

    def usage(self, usage: dict[str, Any], call: Call) -> None:
        usage |= {"queue_time": 0.01, "prompt_time": 0.002, "completion_time": 0.02}
        usage["total_time"] = 0.022

    def last_chunk(self, body: dict[str, Any], usage: dict[str, Any]) -> None:
        body["x_groq"] = {"id": self.server.request_id("req_"), "usage": usage}

    def rate_headers(self, limits: Limits) -> bytes:
        # Groq's request headers speak of the day and its token headers of the minute, so a
        # client that reads both alike is caught here.
        used = self.server.stats.accepted
        lines = {
            "x-ratelimit-limit-requests": str(self.per_day),
            "x-ratelimit-remaining-requests": str(max(0, self.per_day - used)),
            "x-ratelimit-reset-requests": go_duration(used * 86_400 / self.per_day),
        }
        tokens = limits.state().get("tokens")
        if tokens is not None:
            lines["x-ratelimit-limit-tokens"] = str(tokens[0])
            lines["x-ratelimit-remaining-tokens"] = str(tokens[1])
            lines["x-ratelimit-reset-tokens"] = go_duration(tokens[2])
        return header_lines(lines)

    def limited(self, refusal: Refusal, call: Call, hint: bytes) -> Rejected:
        rejected = super().limited(refusal, call, hint)
        rejected.status = 413 if refusal.wait == NEVER else 429
        return rejected

    def unauthorized(self, key: str | None) -> Rejected:
        return Rejected(401, body_of("Invalid API Key", code="invalid_api_key"))
