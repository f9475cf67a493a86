"""What an error means, whichever server sent it: providers agree on statuses, not on words.

OpenAI, Groq, vLLM 0.10+   {"error": {"message", "type", "param", "code"}}
Anthropic                  {"type": "error", "error": {"type", "message"}}
Google                     {"error": {"code": 400, "message", "status", "details"}}
llama.cpp                  {"error": {"code": 400, "message", "type"}}
older vLLM                 {"object": "error", "message", "type", "code"}
Ollama, LM Studio          {"error": "text"}
FastAPI                    {"detail": "text"} or {"detail": [{"loc", "msg", "input"}]}
Azure, gateways            {"message": "text"}, HTML, nothing
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from swath.errors import Kind
from swath.providers.wire import kind_of_status

_QUOTA = re.compile(
    r"insufficient_quota|billing_|exceeded your current quota|insufficient (?:balance|credit|fund)"
    r"|out of credit|credit balance|credits are (?:depleted|exhausted)|spend(?:ing)? (?:limit|cap)"
    r"|payment required|billing_error|usage limits?\. you will regain|extra usage is required"
)
_CONTEXT = re.compile(
    r"context_length_exceeded|maximum context length|context (?:length|window|size|limit)"
    r"|exceed_context_size|prompt is too long|too many (?:input )?tokens|string_above_max_length"
    r"|exceeds? the max(?:imum)? (?:input )?(?:length|(?:number of )?(?:input )?tokens)"
    r"|(?:request|input) (?:is )?too large|request_too_large|reduce the length"
    r"|longer than the (?:model|maximum)"
)
_REFUSED = re.compile(
    r"content_filter|content_policy|content filtering policy|content management policy"
    r"|invalid_prompt|usage polic|flagged as potentially"
)
_NO_MODEL = re.compile(
    r"not a valid model|(?:no such|unknown|invalid) model\b"
    r"|\bmodel .{0,80}(?:does not exist|not found)"
)
_UNSUPPORTED = re.compile(
    r"unsupported|not supported|n[o']t support|unrecognized (?:request )?argument"
    r"|unknown (?:parameter|field|name|argument)|extra inputs|not permitted|not allowed"
    r"|unexpected keyword|unavailable|is deprecated|not (?:implemented|available|enabled)"
    r"|does not accept|cannot both be"
)
_JSON_OBJECT = re.compile(
    r"json_object|json mode|must be ['\"]?json_schema|must contain the word .?json"
)
_SCHEMA = re.compile(
    r"response_?format|response format|response_?(?:json_?)?schema|json_schema|json schema"
    r"|output_config|output_format|structured output|grammar|guided"
)
_FEATURES = (
    ("logprobs", re.compile(r"logprob")),
    ("tools", re.compile(r"tool|function call")),
    ("seed", re.compile(r"\bseed\b")),
    ("top_p", re.compile(r"top_?p\b")),
    ("temperature", re.compile(r"temperature")),
    ("stop", re.compile(r"\bstop\b|stop_?sequences")),
    ("stream_usage", re.compile(r"stream_options|include_usage")),
    ("max_tokens", re.compile(r"max_(?:completion_|output_)?tokens")),
    ("embed", re.compile(r"embedding")),
    ("stream", re.compile(r"\bstream")),
)


def error_fields(body: Any) -> dict[str, Any]:
    """The error's fields, wherever the server put them; `message` is text."""
    if not isinstance(body, dict):
        return {}
    error = body.get("error")
    if isinstance(error, dict):
        return {**error, "message": _text(error.get("message"))}
    if isinstance(error, str):
        message = body.get("message")
        return {"message": message if isinstance(message, str) else error}
    detail = body.get("detail")
    if isinstance(detail, list):  # never `input`: that is the prompt
        said = [
            f"{'.'.join(map(str, d.get('loc', ())))} {d.get('msg', '')}".strip()
            for d in detail
            if isinstance(d, dict)
        ]
        return {"message": "; ".join(said)}
    return {**body, "message": _text(body.get("message") or detail)}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def feature_in(text: str) -> str:
    """The feature of `Provider.features` that an error's text (lower case) is about."""
    if _JSON_OBJECT.search(text) and "json_schema`" not in text:
        return "json_object"
    if _SCHEMA.search(text):
        return "json_schema"
    return next((name for name, pattern in _FEATURES if pattern.search(text)), "")


def classify(status: int, fields: Mapping[str, Any], said: str) -> tuple[Kind, str]:
    """The kind of an error, and for UNSUPPORTED the feature."""
    code, param = str(fields.get("code") or ""), str(fields.get("param") or "")
    text = f"{code} {fields.get('type') or ''} {said}".lower()
    if code in ("model_not_found", "model_not_available", "model_decommissioned"):
        return Kind.NOT_FOUND, ""
    if status == 400 and _NO_MODEL.search(text):
        return Kind.NOT_FOUND, ""
    if code in ("json_validate_failed", "tool_use_failed"):  # Groq
        return Kind.INVALID, ""
    if status in (400, 402, 403, 429) and _QUOTA.search(text):
        return Kind.QUOTA, ""
    if status in (400, 403, 422) and _REFUSED.search(text):
        return Kind.REFUSAL, ""
    if status in (400, 413, 422, 429, 500) and _CONTEXT.search(text):
        return Kind.CONTEXT, ""  # 429: one request larger than the tokens of a whole minute
    if status in (400, 422, 500, 501):
        about = f"{param} {text}".lower()
        feature = feature_in(about)
        # A schema that the server cannot take is a missing feature too: JSON mode may do.
        if feature in ("json_schema", "json_object"):
            return Kind.UNSUPPORTED, feature
        if _UNSUPPORTED.search(about):
            return Kind.UNSUPPORTED, feature or param
    if status == 429 or "rate_limit_exceeded" in text:
        return Kind.THROTTLED, ""
    if status >= 500 and "overload" in text:
        return Kind.OVERLOADED, ""
    if status >= 500 and "timeout_error" in text:
        return Kind.TIMEOUT, ""
    return kind_of_status(status), ""
