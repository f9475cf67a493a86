"""Anthropic's Messages API: what is sent, what is read, what errors mean."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from swath.errors import Kind, ProviderError
from swath.messages import EmbedRequest, Message, Request, Schema, ToolCall, Usage
from swath.providers import provider

from .providers_kit import (
    KEY,
    LOOKUP,
    PERSON,
    USED_TOOL,
    ask,
    decoded,
    fault,
    model,
    reply,
    sent,
    sse,
    streamed,
)

ANTHROPIC = provider("anthropic")
HAIKU = model("anthropic", "claude-haiku-4-5")
NEW = model("anthropic", "claude-sonnet-5-5")
OLD = model("anthropic", "claude-3-haiku-20240307")
NATIVE_SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "description": "(minLength: 1)"},
        "age": {"type": ["integer", "null"], "description": "(minimum: 0)"},
        "said": {"type": "string"},
    },
    "required": ["name", "age", "said"],
    "additionalProperties": False,
}


def test_a_plain_request():
    http = ANTHROPIC.encode(ask(), HAIKU)
    assert http.url == "https://api.anthropic.com/v1/messages"
    assert http.headers == {
        "content-type": "application/json",
        "anthropic-version": "2023-06-01",
        "x-api-key": KEY,
    }
    assert sent(ask(), HAIKU) == {
        "model": "claude-haiku-4-5",
        "max_tokens": 1024,
        "system": "You are terse.",
        "messages": [{"role": "user", "content": "What is 2 + 2?"}],
    }


def test_a_base_url_may_end_in_v1():
    mine = model("anthropic", "claude-haiku-4-5", base_url="http://localhost:1/v1/")
    assert ANTHROPIC.encode(ask(), mine).url == "http://localhost:1/v1/messages"


@pytest.mark.parametrize(
    ("knob", "wire"),
    [
        ({"temperature": 0.0}, {"temperature": 0.0}),
        ({"top_p": 0.9}, {"top_p": 0.9}),
        ({"max_tokens": 7}, {"max_tokens": 7}),
        ({"stop": ("a",)}, {"stop_sequences": ["a"]}),
        ({"seed": 3}, {}),
        ({"logprobs": 3}, {}),
        ({"extra": {"metadata": {"user_id": "1"}}}, {"metadata": {"user_id": "1"}}),
    ],
)
def test_each_knob(knob, wire):
    body = sent(ask(**knob), HAIKU)
    rest = {k: v for k, v in body.items() if k not in ("model", "messages", "system")}
    assert rest == {"max_tokens": 1024, **wire}
    assert sent(ask(), HAIKU, stream=True)["stream"] is True


def test_what_a_model_does_not_take_is_left_out_and_said():
    request = ask(temperature=0.5, top_p=0.5, seed=1)
    assert not {"temperature", "top_p"} & sent(request, NEW).keys()
    assert "temperature" in sent(request, HAIKU)
    assert "top_p" not in sent(request, HAIKU)
    assert {"temperature", "top_p"} <= sent(request, OLD).keys()
    for one, left in ((NEW, ["temperature", "top_p", "seed"]), (HAIKU, ["top_p", "seed"])):
        assert [n.split()[0] for n in decoded(request, one, message("4")).notes] == left


@pytest.mark.parametrize(
    ("id", "samples", "native"),
    [
        ("claude-3-5-sonnet-20241022", True, False),
        ("claude-sonnet-4-20250514", True, False),
        ("claude-opus-4-0", True, False),
        ("claude-opus-4-1", True, True),
        ("claude-sonnet-4-5-20250929", True, True),
        ("claude-opus-4-6", True, True),
        ("claude-opus-4-7", False, True),
        ("claude-haiku-5-5", False, True),
        ("claude-fable-5", False, True),
    ],
)
def test_generations_are_known_by_name(id, samples, native):
    body = sent(ask(temperature=0.0, schema=PERSON), model("anthropic", id))
    assert ("temperature" in body) is samples
    assert ("output_config" in body) is native
    assert ("tools" in body) is not native


def test_turns_alternate():
    turns = (
        Message("user", "a"),
        Message("user", "b"),
        Message("assistant", "c"),
        Message("system", "late"),
        Message("assistant", ""),
        Message("user", "d"),
    )
    body = sent(ask(*turns), HAIKU)
    assert body["system"] == "late"
    text = lambda *parts: [{"type": "text", "text": part} for part in parts]  # noqa: E731
    assert body["messages"] == [
        {"role": "user", "content": text("a", "b")},
        {"role": "assistant", "content": text("c")},
        {"role": "user", "content": "d"},
    ]


def test_only_a_system_message_is_a_turn():
    body = sent(ask(Message("system", "Say hi.")), HAIKU)
    assert body["messages"] == [{"role": "user", "content": "Say hi."}]
    assert "system" not in body


def test_tools_and_their_results():
    turns = (*USED_TOOL, Message("user", "Thanks."))
    body = sent(ask(*turns, tools=(LOOKUP,), tool_choice="lookup"), HAIKU)
    assert body["tools"] == [
        {"name": "lookup", "description": "Find a word.", "input_schema": LOOKUP.parameters}
    ]
    assert body["tool_choice"] == {"type": "tool", "name": "lookup"}
    assert body["messages"][1]["content"] == [
        {"type": "tool_use", "id": "call_1", "name": "lookup", "input": {"word": "swath"}}
    ]
    assert body["messages"][2] == {
        "role": "user",
        "content": [
            {"type": "tool_result", "tool_use_id": "call_1", "content": "A broad strip."},
            {"type": "text", "text": "Thanks."},
        ],
    }
    for choice, wire in (("auto", "auto"), ("none", "none"), ("required", "any")):
        body = sent(ask(tools=(LOOKUP,), tool_choice=choice), HAIKU)
        assert body["tool_choice"] == {"type": wire}
    thinking = model("anthropic", "claude-haiku-4-5", options={"thinking": {"type": "adaptive"}})
    body = sent(ask(tools=(LOOKUP,), tool_choice="required"), thinking)
    assert body["tool_choice"] == {"type": "auto"}
    assert body["thinking"] == {"type": "adaptive"}


def test_a_schema_is_native_where_it_can_be():
    body = sent(ask(schema=PERSON), HAIKU)
    assert body["output_config"] == {"format": {"type": "json_schema", "schema": NATIVE_SCHEMA}}
    answer = decoded(ask(schema=PERSON), HAIKU, message('{"name":"Ada","age":null,"said":"x"}'))
    assert answer.text == '{"name":"Ada","said":"x"}'
    mine = model("anthropic", "claude-haiku-4-5", options={"effort": "low"})
    assert sent(ask(schema=PERSON), mine)["output_config"].keys() == {"format", "effort"}


def test_else_it_is_a_forced_tool_whose_input_is_the_answer():
    request = ask(schema=PERSON)
    body = sent(request, OLD)
    assert body["tool_choice"] == {"type": "tool", "name": "reply"}
    assert body["tools"][0]["input_schema"]["properties"]["said"] == {"type": "string"}
    answer = decoded(request, OLD, message(None, "tool_use", [use("reply", {"name": "Ada"})]))
    assert (answer.text, answer.finish, answer.tool_calls) == ('{"name": "Ada"}', "stop", ())


def test_a_schema_with_no_strict_form_is_a_tool_too():
    shape = {"type": "object", "additionalProperties": {"type": "integer"}}
    assert "output_config" not in sent(ask(schema=Schema("Counts", shape)), HAIKU)


def test_json_mode_is_the_tool():
    request = ANTHROPIC.json_mode(ask(schema=PERSON))
    assert request.schema is None
    assert sent(request, HAIKU)["tool_choice"] == {"type": "tool", "name": "reply"}
    answer = decoded(request, HAIKU, message(None, "tool_use", [use("reply", {"a": 1})]))
    assert answer.text == '{"a": 1}'


def test_the_prompt_cache_marks_the_static_prefix():
    mine = model("anthropic", "claude-haiku-4-5", options={"prompt_cache": True})
    body = sent(ask(tools=(LOOKUP,)), mine)
    assert body["system"][0]["cache_control"] == {"type": "ephemeral"}
    assert "cache_control" not in body["tools"][0]
    body = sent(ask(Message("user", "x"), tools=(LOOKUP,)), mine)
    assert body["tools"][0]["cache_control"] == {"type": "ephemeral"}
    long = model("anthropic", "claude-haiku-4-5", options={"prompt_cache": "1h"})
    assert sent(ask(), long)["system"][0]["cache_control"] == {"type": "ephemeral", "ttl": "1h"}


def test_betas_are_a_header():
    mine = model("anthropic", "claude-haiku-4-5", options={"betas": ["a", "b"]})
    assert ANTHROPIC.encode(ask(), mine).headers["anthropic-beta"] == "a,b"


def test_there_are_no_embeddings():
    with pytest.raises(ProviderError) as caught:
        ANTHROPIC.encode(EmbedRequest(model="m", texts=("a",)), HAIKU)
    assert (caught.value.kind, caught.value.feature) == (Kind.UNSUPPORTED, "embed")


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


def test_features_by_name():
    assert {"json_schema", "json_object", "tools"} <= ANTHROPIC.features(HAIKU)
    assert "seed" not in ANTHROPIC.features(HAIKU)
    assert "top_p" not in ANTHROPIC.features(NEW)
    assert isinstance(ANTHROPIC.json_mode(ask()), Request)
