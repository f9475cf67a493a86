"""Anthropic's Messages API: what is sent, what is read, what errors mean."""

from __future__ import annotations

import pytest

from swath.errors import Kind, ProviderError
from swath.messages import EmbedRequest, Message, Request, Schema
from swath.providers import provider

from .providers_kit import (
    KEY,
    LOOKUP,
    PERSON,
    USED_TOOL,
    ask,
    decoded,
    model,
    sent,
)
from .test_providers_anthropic_replies import message, use

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


def test_features_by_name():
    assert {"json_schema", "json_object", "tools"} <= ANTHROPIC.features(HAIKU)
    assert "seed" not in ANTHROPIC.features(HAIKU)
    assert "top_p" not in ANTHROPIC.features(NEW)
    assert isinstance(ANTHROPIC.json_mode(ask()), Request)
