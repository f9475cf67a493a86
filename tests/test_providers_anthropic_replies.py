"""Anthropic's replies, errors, limits and streams."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from swath.errors import Kind, ProviderError
from swath.messages import ToolCall, Usage
from swath.providers import provider

from .providers_kit import LOOKUP, PERSON, ask, decoded, fault, model, reply, sse, streamed

ANTHROPIC = provider("anthropic")
HAIKU = model("anthropic", "claude-haiku-4-5")
OLD = model("anthropic", "claude-3-haiku-20240307")


def use(name, input, id="toolu_1"):
    return {"type": "tool_use", "id": id, "name": name, "input": input}


def message(text, stop="end_turn", blocks=(), **more):
    content = [] if text is None else [{"type": "text", "text": text}]
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-haiku-4-5-20251001",
        "content": [*content, *blocks],
        "stop_reason": stop,
        "usage": {"input_tokens": 10, "output_tokens": 3},
        **more,
    }


def test_a_whole_reply():
    usage = {
        "input_tokens": 10,
        "cache_read_input_tokens": 100,
        "cache_creation_input_tokens": 50,
        "output_tokens": 7,
        "output_tokens_details": {"thinking_tokens": 4},
        "service_tier": "standard",
    }
    thinking = [{"type": "thinking", "thinking": "hm", "signature": "x"}]
    body = message("4", usage=usage, blocks=thinking)
    answer = decoded(ask(), HAIKU, body, request_id="req_1")
    assert (answer.text, answer.finish, answer.request_id) == ("4", "stop", "req_1")
    assert answer.model_id == "claude-haiku-4-5-20251001"
    assert answer.usage == Usage(160, 7, 100, 50, 4)


@pytest.mark.parametrize(
    ("stop", "finish"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("refusal", "refusal"),
        ("tool_use", "tool_calls"),
    ],
)
def test_stop_reasons(stop, finish):
    assert decoded(ask(), HAIKU, message("x", stop)).finish == finish


def test_tool_calls():
    body = message("So:", "tool_use", [use("lookup", {"word": "x"})])
    answer = decoded(ask(tools=(LOOKUP,)), HAIKU, body)
    assert answer.text == "So:"
    assert answer.tool_calls == (ToolCall("toolu_1", "lookup", '{"word": "x"}'),)


def test_what_is_no_reply_is_malformed():
    for body in (b"", b"<html>", {}, {"content": 3}):
        with pytest.raises(ProviderError) as caught:
            decoded(ask(), HAIKU, body)
        assert caught.value.kind is Kind.MALFORMED


@pytest.mark.parametrize(
    ("status", "type", "text", "kind", "feature"),
    [
        (401, "authentication_error", "invalid x-api-key", "auth", ""),
        (403, "permission_error", "not allowed", "auth", ""),
        (404, "not_found_error", "model: claude-x", "not_found", ""),
        (400, "invalid_request_error", "prompt is too long: 9 tokens > 8 maximum", "context", ""),
        (
            400,
            "invalid_request_error",
            "input length and `max_tokens` exceed context limit: 1 + 2 > 2",
            "context",
            "",
        ),
        (413, "request_too_large", "Request exceeds the maximum size", "context", ""),
        (
            400,
            "invalid_request_error",
            "Your credit balance is too low to access the API.",
            "quota",
            "",
        ),
        (402, "billing_error", "Check your billing details", "quota", ""),
        (
            400,
            "invalid_request_error",
            "You have reached your specified API usage limits. You will regain access on 1 May.",
            "quota",
            "",
        ),
        (
            400,
            "invalid_request_error",
            "`temperature` is deprecated for this model.",
            "unsupported",
            "temperature",
        ),
        (
            400,
            "invalid_request_error",
            "`temperature` and `top_p` cannot both be specified for this model.",
            "unsupported",
            "top_p",
        ),
        (
            400,
            "invalid_request_error",
            "output_config.format: Extra inputs are not permitted",
            "unsupported",
            "json_schema",
        ),
        (400, "invalid_request_error", "messages: roles must alternate", "bad_request", ""),
        (
            400,
            "invalid_request_error",
            "Output blocked by content filtering policy",
            "refusal",
            "",
        ),
        (429, "rate_limit_error", "This request would exceed your limit", "throttled", ""),
        (500, "api_error", "Internal server error", "server", ""),
        (504, "timeout_error", "The request timed out", "timeout", ""),
        (529, "overloaded_error", "Overloaded", "overloaded", ""),
        (503, "", "", "overloaded", ""),
    ],
)
def test_what_errors_mean(status, type, text, kind, feature):
    body = {"type": "error", "error": {"type": type, "message": text}, "request_id": "req_9"}
    found = fault(HAIKU, body, status)
    assert (found.kind, found.feature, found.request_id) == (Kind(kind), feature, "req_9")
    if status != 413:
        # In a stream the same error comes with status 200.
        with pytest.raises(ProviderError) as caught:
            streamed(ask(), HAIKU, sse([{"type": "error", "error": body["error"]}]))
        if type:
            assert caught.value.kind is Kind(kind)


def test_how_long_to_wait():
    assert fault(HAIKU, {}, 429, retry_after="7").retry_after == 7.0


def test_rate_limit_headers():
    soon = (datetime.now(UTC) + timedelta(seconds=30)).isoformat().replace("+00:00", "Z")
    name = "anthropic-ratelimit-"
    headers = {
        f"{name}requests-limit": "50",
        f"{name}requests-remaining": "49",
        f"{name}requests-reset": soon,
        f"{name}input-tokens-limit": "40000",
        f"{name}input-tokens-remaining": "39000",
        f"{name}input-tokens-reset": "2020-01-01T00:00:00Z",
        f"{name}output-tokens-limit": "8000",
        f"{name}output-tokens-remaining": "8000",
        f"{name}tokens-limit": "48000",
        f"{name}tokens-remaining": "47000",
    }
    limits = ANTHROPIC.limits(headers)
    assert limits.requests.limit == 50.0
    assert 25 < limits.requests.reset <= 30
    assert limits.input_tokens.remaining == 39000.0
    assert limits.input_tokens.reset == 0.0
    assert limits.output_tokens.reset is None
    assert limits.tokens is None
    assert ANTHROPIC.limits({}) is None
    assert ANTHROPIC.limits({f"{name}tokens-limit": "5"}).tokens.limit == 5.0


def events(*blocks, stop="end_turn"):
    """The events of a message: each block is text, or (name, pieces of its input)."""
    start = message(None, None)
    start["usage"] = {"input_tokens": 10, "cache_read_input_tokens": 5, "output_tokens": 1}
    yield {"type": "message_start", "message": start}
    yield {"type": "ping"}
    for index, block in enumerate(blocks):
        if isinstance(block, str):
            opened, deltas = {"type": "text", "text": ""}, [block[:2], block[2:]]
            deltas = [{"type": "text_delta", "text": d} for d in deltas]
        else:
            opened = use(block[0], {}, f"toolu_{index}")
            deltas = [{"type": "input_json_delta", "partial_json": p} for p in block[1]]
        yield {"type": "content_block_start", "index": index, "content_block": opened}
        for delta in deltas:
            yield {"type": "content_block_delta", "index": index, "delta": delta}
        yield {"type": "content_block_stop", "index": index}
    delta = {"stop_reason": stop, "stop_sequence": None}
    yield {"type": "message_delta", "delta": delta, "usage": {"output_tokens": 12}}
    yield {"type": "message_stop"}


def test_a_stream():
    body = sse(events("Hello", ("lookup", ["", '{"wo', 'rd":1}']), stop="tool_use"), named=True)
    chunks, answer = streamed(ask(), HAIKU, body)
    call = ToolCall("toolu_1", "lookup", '{"word":1}')
    assert [c.text for c in chunks if c.text] == ["He", "llo"]
    assert [c.tool_call for c in chunks if c.tool_call] == [call]
    assert (answer.text, answer.finish) == ("Hello", "tool_calls")
    assert answer.tool_calls == (call,)
    assert answer.usage == Usage(15, 12, 5)
    assert answer.request_id == "msg_1"


def test_a_stream_of_the_reply_tool_is_text():
    body = sse(events(("reply", ['{"name"', ':"Ada"}']), stop="tool_use"), named=True)
    chunks, answer = streamed(ask(schema=PERSON), OLD, body)
    assert "".join(c.text for c in chunks) == answer.text == '{"name":"Ada"}'
    assert answer.finish == "stop"


def test_a_cut_stream_is_no_answer():
    whole = sse(list(events("Hello"))[:-2], named=True)
    for body in (b"", whole, whole[:-30]):
        with pytest.raises(ProviderError) as caught:
            streamed(ask(), HAIKU, body)
        assert caught.value.kind is Kind.CONNECTION


def test_an_error_after_some_text_may_have_been_charged():
    error = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    some = list(events("Hello"))[:4]
    with pytest.raises(ProviderError) as caught:
        streamed(ask(), HAIKU, sse([*some, error], named=True))
    assert (caught.value.kind, caught.value.charged) == (Kind.OVERLOADED, True)
    with pytest.raises(ProviderError) as caught:
        streamed(ask(), HAIKU, sse(["{broken"]))
    assert caught.value.kind is Kind.MALFORMED


def test_a_server_that_does_not_stream():
    assert streamed(ask(), HAIKU, reply(message("4")).body)[1].text == "4"


def test_the_model_list():
    assert ANTHROPIC.probe(HAIKU).url == "https://api.anthropic.com/v1/models?limit=1"
    rows = {"data": [{"id": "claude-x", "max_input_tokens": 200000, "max_tokens": 64000}]}
    (found,) = ANTHROPIC.models(reply(rows))
    assert (found.id, found.context_window, found.max_output_tokens) == ("claude-x", 200000, 64000)
