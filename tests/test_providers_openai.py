"""OpenAI's format: what is sent, what is read, what errors mean."""

from __future__ import annotations

import base64
import struct

import msgspec
import pytest

from swath.errors import Kind, ProviderError
from swath.messages import Embeddings, EmbedRequest, Message, ToolCall, Usage
from swath.providers import provider

from .providers_kit import (
    KEY,
    LOOKUP,
    PERSON,
    USED_TOOL,
    ask,
    decoded,
    model,
    reply,
    sent,
)

OPENAI = provider("openai")
NANO = model("openai", "gpt-4.1-nano")
REASONER = model("openai", "gpt-5-mini")
SERVER = model("openai", "llama3", base_url="http://localhost:8000/v1/", key=type(NANO.key)(""))


def test_a_plain_request():
    http = OPENAI.encode(ask(), NANO)
    assert http.method == "POST"
    assert http.url == "https://api.openai.com/v1/chat/completions"
    assert http.headers == {"content-type": "application/json", "authorization": f"Bearer {KEY}"}
    assert sent(ask(), NANO) == {
        "model": "gpt-4.1-nano",
        "messages": [
            {"role": "system", "content": "You are terse."},
            {"role": "user", "content": "What is 2 + 2?"},
        ],
    }


def test_a_server_without_a_key_gets_no_authorization():
    http = OPENAI.encode(ask(), SERVER)
    assert http.url == "http://localhost:8000/v1/chat/completions"
    assert "authorization" not in http.headers


@pytest.mark.parametrize(
    ("knob", "wire"),
    [
        ({"temperature": 0.0}, {"temperature": 0.0}),
        ({"top_p": 0.9}, {"top_p": 0.9}),
        ({"max_tokens": 7}, {"max_tokens": 7}),
        ({"stop": ("a", "b")}, {"stop": ["a", "b"]}),
        ({"seed": 3}, {"seed": 3}),
        ({"logprobs": 0}, {"logprobs": True}),
        ({"logprobs": 50}, {"logprobs": True, "top_logprobs": 20}),
        ({"extra": {"min_p": 0.1}}, {"min_p": 0.1}),
    ],
)
def test_each_knob(knob, wire):
    body = sent(ask(**knob), NANO)
    assert {k: v for k, v in body.items() if k not in ("model", "messages")} == wire


def test_streams_ask_for_usage_unless_told_not_to():
    body = sent(ask(), NANO, stream=True)
    assert body["stream"] is True
    assert body["stream_options"] == {"include_usage": True}
    old = msgspec.structs.replace(NANO, options={"stream_usage": False})
    assert "stream_options" not in sent(ask(), old, stream=True)


def test_tools_and_their_results():
    body = sent(ask(*USED_TOOL, tools=(LOOKUP,), tool_choice="lookup"), NANO)
    assert body["tools"] == [
        {
            "type": "function",
            "function": {
                "name": "lookup",
                "description": "Find a word.",
                "parameters": LOOKUP.parameters,
            },
        }
    ]
    assert body["tool_choice"] == {"type": "function", "function": {"name": "lookup"}}
    assert body["messages"][1] == {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {
                "id": "call_1",
                "type": "function",
                "function": {"name": "lookup", "arguments": '{"word":"swath"}'},
            }
        ],
    }
    assert body["messages"][2] == {
        "role": "tool",
        "content": "A broad strip.",
        "tool_call_id": "call_1",
    }
    for choice in ("auto", "none", "required"):
        assert sent(ask(tools=(LOOKUP,), tool_choice=choice), NANO)["tool_choice"] == choice


def test_another_providers_call_id_is_made_one_that_is_taken():
    id = "x|" + "s" * 300
    turns = (
        Message("user", "?"),
        Message("assistant", "", (ToolCall(id, "lookup"),)),
        Message("tool", "!", tool_call_id=id),
    )
    messages = sent(ask(*turns), NANO)["messages"]
    assert messages[1]["tool_calls"][0]["id"] == messages[2]["tool_call_id"]
    assert len(messages[2]["tool_call_id"]) <= 40


def test_empty_content_is_still_sent():
    assert sent(ask(Message("user", "")), NANO)["messages"] == [{"role": "user", "content": ""}]


def test_reasoning_models_get_their_own_words_and_a_note():
    request = ask(temperature=0.0, top_p=0.5, max_tokens=9, stop=("x",), logprobs=1, seed=1)
    body = sent(request, REASONER)
    assert body["max_completion_tokens"] == 9
    assert not {"temperature", "top_p", "stop", "logprobs", "max_tokens"} & body.keys()
    answer = decoded(request, REASONER, WHOLE)
    assert [n.split()[0] for n in answer.notes] == ["temperature", "top_p", "stop", "logprobs"]
    assert "logprobs" not in OPENAI.features(REASONER)


@pytest.mark.parametrize("id", ["o3", "o4-mini", "gpt-5", "gpt-5.6-luna", "ft:gpt-5-mini:me"])
def test_reasoning_models_are_known_by_name(id):
    assert "temperature" not in sent(ask(temperature=0.0), model("openai", id))


@pytest.mark.parametrize("id", ["gpt-4o", "gpt-35-turbo", "gpt-5-chat-latest", "gpt-oss-20b"])
def test_others_keep_their_temperature(id):
    assert sent(ask(temperature=0.0), model("openai", id))["temperature"] == 0.0


def test_a_reasoning_model_told_not_to_reason_takes_a_temperature():
    still = msgspec.structs.replace(REASONER, options={"reasoning_effort": "none"})
    body = sent(ask(temperature=0.0), still)
    assert body["temperature"] == 0.0
    assert body["reasoning_effort"] == "none"


def test_options_go_to_body_and_headers():
    options = {"service_tier": "flex", "organization": "org-1", "project": "p1"}
    mine = msgspec.structs.replace(NANO, options=options)
    http = OPENAI.encode(ask(), mine)
    assert http.headers["openai-organization"] == "org-1"
    assert http.headers["openai-project"] == "p1"
    assert sent(ask(), mine)["service_tier"] == "flex"
    assert options.keys() <= OPENAI.options


def test_a_schema_is_sent_in_strict_form_and_undone_in_the_answer():
    form = sent(ask(schema=PERSON), NANO)["response_format"]
    assert form == {
        "type": "json_schema",
        "json_schema": {
            "name": "Person",
            "strict": True,
            "schema": {
                "type": "object",
                "properties": {
                    "name": {"type": "string", "description": "(minLength: 1)"},
                    "age": {"type": ["integer", "null"], "minimum": 0},
                    "said": {"type": "string"},
                },
                "required": ["name", "age", "said"],
                "additionalProperties": False,
            },
        },
    }
    body = said('{"name":"Ada","age":null,"said":"x"}')
    assert decoded(ask(schema=PERSON), NANO, body).text == '{"name":"Ada","said":"x"}'


def test_json_mode_takes_the_schema_off():
    request = OPENAI.json_mode(ask(schema=PERSON))
    assert request.schema is None
    assert sent(request, NANO)["response_format"] == {"type": "json_object"}


def said(text, **choice):
    return {
        "id": "chatcmpl-1",
        "model": "gpt-4.1-nano-2025-04-14",
        "choices": [
            {"index": 0, "message": {"role": "assistant", "content": text}, **choice},
        ],
    }


WHOLE = {
    **said("4", finish_reason="stop"),
    "usage": {
        "prompt_tokens": 20,
        "completion_tokens": 5,
        "prompt_tokens_details": {"cached_tokens": 8, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 3},
    },
}


def test_a_whole_reply():
    answer = decoded(ask(), NANO, WHOLE, x_request_id="req_7")
    assert answer.text == "4"
    assert answer.finish == "stop"
    assert answer.model == "m"
    assert answer.model_id == "gpt-4.1-nano-2025-04-14"
    assert answer.request_id == "req_7"
    assert answer.usage == Usage(20, 5, 8, 0, 3)


@pytest.mark.parametrize(
    ("reason", "finish"),
    [
        ("stop", "stop"),
        ("length", "length"),
        ("content_filter", "content_filter"),
        ("tool_calls", "tool_calls"),
        (None, "stop"),
        ("eos", "stop"),
    ],
)
def test_finish_reasons(reason, finish):
    assert decoded(ask(), NANO, said("x", finish_reason=reason)).finish == finish


def test_a_refusal():
    body = said(None)
    body["choices"][0]["message"]["refusal"] = "I can't."
    answer = decoded(ask(schema=PERSON), NANO, body)
    assert (answer.finish, answer.text) == ("refusal", "I can't.")


def test_tool_calls_whatever_a_server_leaves_out():
    body = said(None, finish_reason="stop")
    body["choices"][0]["message"]["tool_calls"] = [
        {"id": "c1", "type": "function", "function": {"name": "lookup", "arguments": "{}"}},
        {"function": {"name": "lookup", "arguments": {"word": "x"}}},
    ]
    answer = decoded(ask(), NANO, body)
    assert answer.finish == "tool_calls"
    assert answer.tool_calls == (
        ToolCall("c1", "lookup", "{}"),
        ToolCall("call_1", "lookup", '{"word":"x"}'),
    )


def test_logprobs():
    logprobs = {
        "content": [
            {
                "token": "4",
                "logprob": -0.1,
                "bytes": [52],
                "top_logprobs": [{"token": "4", "logprob": -0.1}, {"token": "5", "logprob": -3.0}],
            }
        ]
    }
    found = decoded(ask(logprobs=2), NANO, said("4", logprobs=logprobs)).logprobs
    assert found[0].token == "4"
    assert found[0].top == {"4": -0.1, "5": -3.0}


@pytest.mark.parametrize(
    "body",
    [
        {"choices": [{"message": {"content": "hi"}}]},
        {"choices": [{"message": {"content": "hi", "reasoning_content": "hm"}}], "usage": None},
        {"id": 5, "choices": [{"message": {"content": [{"type": "text", "text": "hi"}]}}]},
        {"choices": [{"message": {"content": "hi", "tool_calls": None}, "logprobs": None}]},
        {"choices": [{"message": {"content": "hi"}}], "usage": {"prompt_tokens": None}},
    ],
)
def test_tolerates_what_compatible_servers_send(body):
    answer = decoded(ask(), SERVER, body)
    assert answer.text == "hi"
    assert answer.usage == Usage()


@pytest.mark.parametrize(
    "body", [b"", b"<html>x</html>", b'{"choices": [', {"choices": []}, {"choices": 3}, {"a": 1}]
)
def test_what_is_no_reply_is_malformed(body):
    with pytest.raises(ProviderError) as caught:
        decoded(ask(), NANO, body)
    assert caught.value.kind is Kind.MALFORMED
    assert caught.value.charged


def test_an_error_inside_a_reply_with_status_200():
    with pytest.raises(ProviderError) as caught:
        decoded(ask(), NANO, {"error": {"message": "slow down", "code": 429}})
    assert caught.value.kind is Kind.THROTTLED


def test_embeddings():
    request = EmbedRequest(model="m", texts=("a", "b"), dimensions=2)
    wire = sent(request, model("openai", "text-embedding-3-small"))
    assert wire == {
        "model": "text-embedding-3-small",
        "input": ["a", "b"],
        "encoding_format": "base64",
        "dimensions": 2,
    }
    packed = base64.b64encode(struct.pack("<2f", 0.5, -2.0)).decode()
    body = {
        "data": [{"index": 1, "embedding": [1.0, 2.0]}, {"index": 0, "embedding": packed}],
        "model": "text-embedding-3-small",
        "usage": {"prompt_tokens": 2, "total_tokens": 2},
    }
    found = OPENAI.decode(request, NANO, reply(body))
    assert isinstance(found, Embeddings)
    assert found.vectors == ((0.5, -2.0), (1.0, 2.0))
    assert found.usage.input_tokens == 2
    with pytest.raises(ProviderError) as caught:
        OPENAI.decode(request, NANO, reply({"data": []}))
    assert caught.value.kind is Kind.MALFORMED


def test_the_model_list():
    probe = OPENAI.probe(NANO)
    assert (probe.method, probe.url) == ("GET", "https://api.openai.com/v1/models")
    rows = {"data": [{"id": "a"}, {"id": "b", "max_model_len": 4096}, {"x": 1}]}
    assert [(m.id, m.context_window) for m in OPENAI.models(reply(rows))] == [
        ("a", None),
        ("b", 4096),
    ]
    assert OPENAI.models(reply(b"no")) == []


def test_features_by_name():
    assert "json_schema" in OPENAI.features(NANO)
    for id in ("gpt-3.5-turbo", "gpt-4", "gpt-4-turbo", "gpt-4o-2024-05-13"):
        assert "json_schema" not in OPENAI.features(model("openai", id))
    assert "json_schema" in OPENAI.features(model("openai", "gpt-4o"))
