"""Groq and OpenRouter: what they do otherwise than OpenAI."""

from __future__ import annotations

import pytest

from swath.catalog.model import Price
from swath.errors import Kind, ProviderError
from swath.messages import EmbedRequest, Usage
from swath.providers import provider
from swath.providers.base import RateLimits, Window

from .providers_kit import PERSON, ask, decoded, fault, model, reply, sent, sse, streamed

GROQ = model("groq", "llama-3.1-8b-instant")
ROUTER = model("openrouter", "openai/gpt-4o")


def whole(**more):
    return {"choices": [{"message": {"content": "4"}, "finish_reason": "stop"}], **more}


def test_groq_counts_requests_by_the_day():
    headers = {
        "x-ratelimit-limit-requests": "14400",
        "x-ratelimit-remaining-requests": "14370",
        "x-ratelimit-reset-requests": "2m59.56s",
        "x-ratelimit-limit-tokens": "18000",
        "x-ratelimit-remaining-tokens": "17997",
        "x-ratelimit-reset-tokens": "7.66s",
    }
    assert provider("groq").limits(headers) == RateLimits(
        Window(None, 14370.0, 179.56), Window(18000.0, 17997.0, 7.66)
    )
    assert provider("groq").limits({}) is None


def test_groq_has_no_embeddings():
    with pytest.raises(ProviderError) as caught:
        provider("groq").encode(EmbedRequest(model="m", texts=("a",)), GROQ)
    assert (caught.value.kind, caught.value.feature) == (Kind.UNSUPPORTED, "embed")


def test_groq_knows_schemas_on_some_models():
    assert "json_schema" not in provider("groq").features(GROQ)
    assert "json_schema" in provider("groq").features(model("groq", "openai/gpt-oss-20b"))
    assert "json_object" in provider("groq").features(GROQ)


@pytest.mark.parametrize(
    ("status", "error", "kind"),
    [
        (
            413,
            {"message": "Request too large for model x", "code": "rate_limit_exceeded"},
            "context",
        ),
        (498, {"message": "Flex tier capacity exceeded"}, "overloaded"),
        (
            429,
            {"message": "Rate limit reached on tokens per day (TPD): try again in 9m2s."},
            "quota",
        ),
        (
            429,
            {"message": "Rate limit reached on tokens per minute (TPM): try again in 2s."},
            "throttled",
        ),
        (
            400,
            {"message": "Failed to generate JSON.", "code": "json_validate_failed"},
            "invalid",
        ),
        (
            400,
            {"message": "This model does not support response format `json_schema`."},
            "unsupported",
        ),
        (400, {"message": "x was retired", "code": "model_decommissioned"}, "not_found"),
    ],
)
def test_groq_errors(status, error, kind):
    found = fault(GROQ, {"error": {"type": "invalid_request_error", **error}}, status)
    assert found.kind is Kind(kind)
    assert found.charged is (found.kind is Kind.INVALID)


def test_groq_streams_put_usage_in_their_own_place():
    events = [
        {"choices": [{"delta": {"content": "4"}}]},
        {
            "choices": [{"delta": {}, "finish_reason": "stop"}],
            "x_groq": {"usage": {"prompt_tokens": 3, "completion_tokens": 1}},
        },
        "[DONE]",
    ]
    assert streamed(ask(), GROQ, sse(events))[1].usage == Usage(3, 1)


def test_openrouter_routing():
    options = {
        "sort": "price",
        "order": ["a", "b"],
        "allow_fallbacks": False,
        "max_price": {"prompt": 1},
        "models": ["x/y"],
        "transforms": ["middle-out"],
        "title": "My table",
        "referer": "https://example.org",
    }
    mine = model("openrouter", "openai/gpt-5-mini", options=options)
    assert options.keys() <= provider("openrouter").options
    body = sent(ask(temperature=0.0, max_tokens=5), mine)
    assert body["provider"] == {
        "sort": "price",
        "order": ["a", "b"],
        "allow_fallbacks": False,
        "max_price": {"prompt": 1},
    }
    assert body["models"] == ["x/y"]
    assert body["transforms"] == ["middle-out"]
    assert body["usage"] == {"include": True}
    assert (body["temperature"], body["max_tokens"]) == (0.0, 5)
    headers = provider("openrouter").encode(ask(), mine).headers
    assert (headers["x-title"], headers["http-referer"]) == ("My table", "https://example.org")
    assert "provider" not in sent(ask(), ROUTER)


def test_openrouter_says_what_it_charged():
    body = whole(usage={"prompt_tokens": 9, "completion_tokens": 1, "cost": 0.00014})
    assert decoded(ask(), ROUTER, body).usage.cost_usd == 0.00014
    events = [
        {"choices": [{"delta": {"content": "4"}, "finish_reason": "stop"}]},
        {"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 1, "cost": 0.5}},
        "[DONE]",
    ]
    body = b": OPENROUTER PROCESSING\n\n" + sse(events)
    assert streamed(ask(), ROUTER, body)[1].usage.cost_usd == 0.5
    # What another server calls cost is not known to be dollars.
    assert decoded(ask(), GROQ, whole(usage={"cost": {"x": 1}})).usage.cost_usd is None


@pytest.mark.parametrize(
    ("status", "error", "kind", "feature"),
    [
        (402, {"message": "Insufficient credits"}, "quota", ""),
        (429, {"message": "Rate limit exceeded: free-models-per-day"}, "quota", ""),
        (429, {"message": "Rate limit exceeded: free-models-per-min"}, "throttled", ""),
        (
            403,
            {"message": "Input was flagged", "metadata": {"reasons": ["violence"]}},
            "refusal",
            "",
        ),
        (404, {"message": "No endpoints found that support tool use."}, "unsupported", "tools"),
        (
            404,
            {"message": "No endpoints found that can handle the requested parameters."},
            "unsupported",
            "json_schema",
        ),
        (404, {"message": "No endpoints found matching your data policy"}, "bad_request", ""),
        (404, {"message": "No endpoints found for x/y."}, "not_found", ""),
        (502, {"message": "Provider returned error"}, "server", ""),
        (503, {"message": "No available model provider"}, "overloaded", ""),
    ],
)
def test_openrouter_errors(status, error, kind, feature):
    found = fault(ROUTER, {"error": {"code": status, **error}}, status)
    assert (found.kind, found.feature) == (Kind(kind), feature)


def test_openrouter_errors_with_status_200():
    for body in (
        {"error": {"code": 502, "message": "Provider returned error"}},
        {"choices": [{"error": {"code": 502, "message": "x"}, "message": {"content": ""}}]},
    ):
        with pytest.raises(ProviderError) as caught:
            decoded(ask(), ROUTER, body)
        assert caught.value.kind is Kind.SERVER
    event = {
        "error": {"code": 429, "message": "slow down"},
        "choices": [{"delta": {"content": ""}, "finish_reason": "error"}],
    }
    with pytest.raises(ProviderError) as caught:
        streamed(ask(), ROUTER, sse([event]))
    assert caught.value.kind is Kind.THROTTLED
    assert not caught.value.charged


def test_openrouter_probe_needs_the_key_and_the_list_has_prices():
    assert provider("openrouter").probe(ROUTER).url == "https://openrouter.ai/api/v1/key"
    assert provider("openrouter").list_models(ROUTER).url == "https://openrouter.ai/api/v1/models"
    pricing = {"prompt": "0.0000025", "completion": "0.00001", "input_cache_read": "0.00000125"}
    row = {
        "id": "openai/gpt-4o",
        "context_length": 128000,
        "architecture": {"input_modalities": ["text", "image"], "output_modalities": ["text"]},
        "pricing": pricing,
        "top_provider": {"max_completion_tokens": 16384},
    }
    auto = {"id": "openrouter/auto", "pricing": {"prompt": "-1", "completion": "-1"}}
    free = {"id": "a/b:free", "pricing": {"prompt": "0", "completion": "0"}}
    one, any_, none = provider("openrouter").models(reply({"data": [row, auto, free]}))
    assert one.price == Price(input=2.5, output=10.0, cached_input=1.25)
    assert (one.context_window, one.max_output_tokens) == (128000, 16384)
    assert one.modalities == ("text", "image")
    assert any_.price is None
    assert none.price == Price(input=0.0, output=0.0)


def test_dialects_take_schemas_as_openai_does():
    for one in (GROQ, ROUTER):
        assert sent(ask(schema=PERSON), one)["response_format"]["json_schema"]["strict"]
