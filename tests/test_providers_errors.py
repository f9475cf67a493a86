"""Errors and limits in OpenAI's format: which kind, how long to wait, what may be repeated."""

from __future__ import annotations

from email.utils import formatdate

import pytest

from swath.errors import Kind
from swath.providers import provider
from swath.providers.base import RateLimits, Window

from .providers_kit import KEY, fault, model

OPENAI = provider("openai")
NANO = model("openai", "gpt-4.1-nano")


def error(message, code=None, type="invalid_request_error", param=None):
    return {"error": {"message": message, "type": type, "param": param, "code": code}}


@pytest.mark.parametrize(
    ("status", "body", "kind", "feature"),
    [
        (401, error("Incorrect API key provided: sk-proj-***.", "invalid_api_key"), "auth", ""),
        (403, error("Country, region, or territory not supported"), "auth", ""),
        (403, error("Project does not have access to model x", "model_not_found"), "not_found", ""),
        (404, error("The model `x` does not exist", "model_not_found"), "not_found", ""),
        (404, {"detail": "Not Found"}, "not_found", ""),
        (301, b"", "not_found", ""),
        (
            400,
            error("This model's maximum context length is 8192 tokens.", "context_length_exceeded"),
            "context",
            "",
        ),
        (
            400,
            {"error": {"code": 400, "type": "exceed_context_size_error", "message": "too big"}},
            "context",
            "",
        ),
        (
            400,
            {"object": "error", "message": "max_tokens is too large: maximum context length is 9"},
            "context",
            "",
        ),
        (413, error("Payload too large"), "bad_request", ""),
        (
            400,
            error("Invalid schema for response_format 'x'", None, param="response_format"),
            "unsupported",
            "json_schema",
        ),
        (400, error("Unknown parameter: 'guided_json'."), "unsupported", "json_schema"),
        (
            400,
            {"error": "'response_format.type' must be 'json_schema' or 'text'"},
            "unsupported",
            "json_object",
        ),
        (400, error("This response_format type is unavailable now"), "unsupported", "json_schema"),
        (500, {"error": {"message": "failed to parse grammar"}}, "unsupported", "json_schema"),
        (
            400,
            error(
                "Unsupported value: 'temperature' does not support 0.0 with this model.",
                "unsupported_value",
                param="temperature",
            ),
            "unsupported",
            "temperature",
        ),
        (400, error("Unsupported parameter: 'stop'", param="stop"), "unsupported", "stop"),
        (
            422,
            {"detail": [{"loc": ["body", "seed"], "msg": "Extra inputs are not permitted"}]},
            "unsupported",
            "seed",
        ),
        (400, {"error": "registry.ollama.ai/x does not support tools"}, "unsupported", "tools"),
        (400, error("Invalid value for 'messages'", param="messages"), "bad_request", ""),
        (400, error("flagged as potentially violating", "invalid_prompt"), "refusal", ""),
        (
            400,
            error("triggered Azure's content management policy", "content_filter"),
            "refusal",
            "",
        ),
        (408, error("timed out"), "timeout", ""),
        (
            429,
            error("Rate limit reached. Please try again in 1.2s.", "rate_limit_exceeded"),
            "throttled",
            "",
        ),
        (429, error("You exceeded your current quota", "insufficient_quota"), "quota", ""),
        (
            429,
            error("Billing hard limit has been reached", "billing_hard_limit_reached"),
            "quota",
            "",
        ),
        (402, {"error": {"message": "Insufficient Balance"}}, "quota", ""),
        (
            429,
            error("Request too large for gpt-4o on tokens per min (TPM): Limit 9, Requested 99"),
            "context",
            "",
        ),
        (
            429,
            error("Rate limit reached on requests per day (RPD). Please try again in 7m12s."),
            "quota",
            "",
        ),
        (
            429,
            error("Rate limit reached on requests per day (RPD). Please try again in 8.64s."),
            "throttled",
            "",
        ),
        (500, error("The server had an error", type="server_error"), "server", ""),
        (500, error("The engine is currently overloaded"), "overloaded", ""),
        (502, b"<html><head>502 Bad Gateway</head></html>", "server", ""),
        (503, {"error": {"message": "Loading model", "code": 503}}, "overloaded", ""),
        (504, b"", "server", ""),
        (520, b"cloudflare", "server", ""),
        (529, b"", "overloaded", ""),
        (418, ["odd"], "bad_request", ""),
    ],
)
def test_what_errors_mean(status, body, kind, feature):
    found = fault(NANO, body, status)
    assert (found.kind, found.feature, found.status) == (Kind(kind), feature, status)
    assert found.model == "m"
    assert found.charged is (found.kind in (Kind.TIMEOUT, Kind.REFUSAL))


def test_an_error_says_what_to_do():
    assert "OPENAI_API_KEY" in str(fault(NANO, error("bad key"), 401))
    assert "swath models" in str(fault(NANO, error("no such model"), 404))
    assert "credit" in str(fault(NANO, error("x", "insufficient_quota"), 429))
    assert "an HTML page" in str(fault(NANO, b"<!DOCTYPE html><p>secret", 502))


def test_an_error_repeats_neither_key_nor_prompt():
    prompt = "the patient's name is Ada Lovelace " * 9
    bodies = [
        error(f"Incorrect API key provided: {KEY}"),
        error(f"You sent {KEY} as a prompt"),
        error(f"Invalid value: '{prompt}'"),
        error("Invalid value: 'the patients' names: Ada Lovelace', not 'low'"),
        {"detail": [{"loc": ["body"], "msg": "bad", "input": prompt}]},
        {"message": f"[{{'msg': 'bad', 'input': '{prompt[:40]}'}}]"},
    ]
    for body in bodies:
        for status in (400, 401, 500):
            text = str(fault(NANO, body, status))
            assert KEY not in text
            assert "Lovelace" not in text


@pytest.mark.parametrize(
    ("headers", "message", "wait"),
    [
        ({"retry_after": "3"}, "", 3.0),
        ({"retry_after_ms": "250", "retry_after": "9"}, "", 0.25),
        ({}, "Please try again in 1.2s.", 1.2),
        ({}, "Please try again in 6m0s.", 360.0),
        ({}, "Please try again in 20ms.", 0.02),
        ({}, "Please retry after 20 seconds.", 20.0),
        ({}, "Slow down.", None),
        ({"retry_after": "soon"}, "", None),
        (
            {"retry_after": formatdate(100, usegmt=True), "date": formatdate(60, usegmt=True)},
            "",
            40.0,
        ),
        ({"retry_after": formatdate(100, usegmt=True)}, "", 0.0),
    ],
)
def test_how_long_to_wait(headers, message, wait):
    assert fault(NANO, error(message), 429, **headers).retry_after == wait


def test_rate_limit_headers():
    headers = {
        "x-ratelimit-limit-requests": "500",
        "x-ratelimit-remaining-requests": "499",
        "x-ratelimit-reset-requests": "120ms",
        "x-ratelimit-limit-tokens": "200000",
        "x-ratelimit-remaining-tokens": "199000",
        "x-ratelimit-reset-tokens": "1h6m0.5s",
    }
    assert OPENAI.limits(headers) == RateLimits(
        Window(500.0, 499.0, 0.12), Window(200000.0, 199000.0, 3960.5)
    )
    assert OPENAI.limits({"content-type": "application/json"}) is None
    odd = {"x-ratelimit-limit-requests": "many", "x-ratelimit-reset-requests": ""}
    assert OPENAI.limits(odd) == RateLimits(Window(None, None, None))
