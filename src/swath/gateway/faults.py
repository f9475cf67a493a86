"""Errors as OpenAI words them: a status, a body, and when to come back.

What failed at the provider is the provider's (502 to 504), unless the client can mend it: a prompt
too long, a model that is not there. A key that the provider refuses is the server's matter.
"""

from __future__ import annotations

import math
from typing import Any

from swath.errors import ConfigError, InputError, Kind, ProviderError, SwathError, UnknownModel
from swath.gateway.openai_api import BadRequest

Fault = tuple[int, dict[str, Any], dict[str, str]]
"""Status, body, headers."""

STATUS: dict[Kind, tuple[int, str, str]] = {
    Kind.AUTH: (502, "upstream_error", "upstream_auth"),
    Kind.NOT_FOUND: (404, "invalid_request_error", "model_not_found"),
    Kind.BAD_REQUEST: (400, "invalid_request_error", "upstream_refused"),
    Kind.UNSUPPORTED: (400, "invalid_request_error", "unsupported_value"),
    Kind.CONTEXT: (400, "invalid_request_error", "context_length_exceeded"),
    Kind.THROTTLED: (429, "rate_limit_error", "rate_limit_exceeded"),
    Kind.QUOTA: (429, "insufficient_quota", "insufficient_quota"),
    Kind.OVERLOADED: (503, "upstream_error", "overloaded"),
    Kind.SERVER: (502, "upstream_error", "upstream_failed"),
    Kind.TIMEOUT: (504, "upstream_error", "upstream_timeout"),
    Kind.CONNECTION: (502, "upstream_error", "upstream_unreachable"),
    Kind.MALFORMED: (502, "upstream_error", "upstream_malformed"),
    Kind.REFUSAL: (400, "invalid_request_error", "content_filter"),
    Kind.TRUNCATED: (400, "invalid_request_error", "max_tokens_reached"),
    Kind.INVALID: (502, "upstream_error", "invalid_answer"),
    Kind.UNGROUNDED: (502, "upstream_error", "invalid_answer"),
}
SOON = frozenset({Kind.THROTTLED, Kind.OVERLOADED})
AGAIN = 1.0  # seconds, where the provider does not say


def fault(error: BaseException) -> Fault:
    """What the client is told. Unexpected errors tell nothing of themselves."""
    if isinstance(error, ProviderError):
        status, kind, code = STATUS[error.kind]
        headers = {}
        if error.kind in SOON or error.retry_after is not None:
            wait = AGAIN if error.retry_after is None else error.retry_after
            headers["retry-after"] = str(max(math.ceil(wait), 1))
        return status, body(str(error), kind, code), headers
    if isinstance(error, BadRequest):
        told = body(error.message, "invalid_request_error", error.code, error.param)
        return 400, told, {}
    if isinstance(error, UnknownModel):
        return 404, body(str(error), "invalid_request_error", "model_not_found", "model"), {}
    if isinstance(error, InputError):
        return 400, body(str(error), "invalid_request_error"), {}
    if isinstance(error, ConfigError):
        return 500, body(str(error), "server_error", "misconfigured"), {}
    if isinstance(error, SwathError):
        return 500, body(str(error), "server_error"), {}
    return 500, body("The server failed on this request.", "server_error"), {}


def body(message: str, kind: str, code: str = "", param: str = "") -> dict[str, Any]:
    told = {"message": message, "type": kind, "param": param or None, "code": code or None}
    return {"error": told}
