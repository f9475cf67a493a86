"""OpenAI's format and its dialects, byte by byte; and the instances made of schemas."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Iterator
from typing import Any

import pytest

from tests.servers import OpenAIServer, serve
from tests.servers.asking import SCHEMA, SPEECH, Reply, ask, openai_body, openai_format
from tests.servers.schema import Draw, form

TOOL = {"type": "function", "function": {"name": "note", "parameters": SCHEMA, "strict": True}}
JUDGE: dict[str, Any] = {
    "type": "object",
    "$defs": {
        "Node": {
            "type": "object",
            "properties": {
                "name": {"type": "string", "maxLength": 20},
                "next": {"anyOf": [{"$ref": "#/$defs/Node"}, {"type": "null"}]},
                "children": {"type": "array", "items": {"$ref": "#/$defs/Node"}, "maxItems": 2},
            },
            "required": ["name", "next", "children"],
            "additionalProperties": False,
        }
    },
    "properties": {
        "tree": {"$ref": "#/$defs/Node"},
        "kind": {"const": "tree"},
        "many": {"type": "array", "items": {"type": "string"}, "minItems": 4, "maxItems": 5},
        "set": {"type": "array", "items": {"enum": [1, 2, 3]}, "uniqueItems": True, "minItems": 3},
        "share": {"type": "number", "minimum": 0, "maximum": 1},
        "odd": {"type": "integer", "exclusiveMinimum": 3, "exclusiveMaximum": 5},
        "step": {"type": "integer", "multipleOf": 7, "minimum": 10},
        "maybe": {"type": ["string", "null"], "minLength": 3},
        "day": {"type": "string", "format": "date"},
        "id": {"type": "string", "format": "uuid"},
        "code": {"type": "string", "pattern": "^[A-Z]{3}-\\d{2}$"},
        "pair": {"type": "array", "prefixItems": [{"type": "integer"}, {"type": "boolean"}]},
        "counts": {"type": "object", "additionalProperties": {"type": "integer"}},
        "both": {"allOf": [{"type": "string"}, {"minLength": 30}]},
        "nothing": {"type": "null"},
        "one": {"oneOf": [{"type": "boolean"}, {"type": "integer"}]},
    },
    "required": ["tree", "kind", "many", "set", "share", "odd", "maybe", "code"],
}


@pytest.fixture
def server() -> Iterator[OpenAIServer]:
    with serve(OpenAIServer()) as running:
        yield running


def chat(server: OpenAIServer, body: Any = None, **more: Any) -> Reply:
    key = {"authorization": "Bearer sk-test"}
    return ask(f"{server.base_url}/chat/completions", body or openai_body(**more), **key)


def test_every_instance_is_valid_and_the_same_again() -> None:
    checker = pytest.importorskip("jsonschema_rs").validator_for(JUDGE, validate_formats=True)
    seen = set()
    for i in range(300):
        prompt = f"{SPEECH} {i}"
        value = form(JUDGE).instance(Draw(prompt, prompt))
        checker.validate(value)
        assert value == form(JUDGE).instance(Draw(prompt, prompt))
        seen.add(json.dumps(value))
    assert len(seen) > 250
    assert form(JUDGE).instance(Draw("", ""))["kind"] == "tree"


def test_completion(server: OpenAIServer) -> None:
    reply = chat(server, response_format=openai_format(SCHEMA))
    body = reply.json
    assert reply.headers["x-request-id"].startswith("req_")
    assert body["object"] == "chat.completion"
    choice = body["choices"][0]
    assert choice["finish_reason"] == "stop"
    assert set(json.loads(choice["message"]["content"])) == {"topic", "quote", "score"}
    usage = body["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert server.stats.completion_tokens == usage["completion_tokens"]
    cut = chat(server, max_tokens=2).json
    assert cut["choices"][0]["finish_reason"] == "length"
    assert cut["usage"]["completion_tokens"] == 2
    assert chat(server, stop=" said").json["choices"][0]["message"]["content"] == "You"


def test_stream_says_the_same_however_it_is_cut(server: OpenAIServer) -> None:
    asked = openai_body(response_format=openai_format(SCHEMA), stream=True)
    asked["stream_options"] = {"include_usage": True}
    whole = chat(server, {**asked, "stream": False, "stream_options": None}).json
    for fragment in (None, 50):
        server.fragment = fragment
        events = chat(server, asked).events
        assert events[-1] == "[DONE]"
        assert events[-2]["choices"] == []
        assert events[-2]["usage"] == whole["usage"]
        deltas = [event["choices"][0] for event in events[:-2]]
        text = "".join(delta["delta"].get("content") or "" for delta in deltas)
        assert text == whole["choices"][0]["message"]["content"]
        assert [d["finish_reason"] for d in deltas if d["finish_reason"]] == ["stop"]
    del asked["stream_options"]
    assert all(e == "[DONE]" or e["choices"] for e in chat(server, asked).events)


def test_tools(server: OpenAIServer) -> None:
    call = chat(server, tools=[TOOL]).json["choices"][0]
    assert call["finish_reason"] == "tool_calls"
    made = call["message"]["tool_calls"][0]
    assert made["function"]["name"] == "note"
    assert set(json.loads(made["function"]["arguments"])) == set(SCHEMA["properties"])
    events = chat(server, tools=[TOOL], stream=True).events[:-1]
    parts = [
        one["function"]["arguments"]
        for event in events
        for one in event["choices"][0]["delta"].get("tool_calls") or ()
    ]
    assert "".join(parts) == made["function"]["arguments"]
    turns = [
        {"role": "user", "content": "x"},
        {"role": "assistant", "content": None, "tool_calls": [made]},
        {"role": "tool", "tool_call_id": made["id"], "content": "done"},
    ]
    after = chat(server, openai_body(messages=turns, tools=[TOOL])).json
    assert after["choices"][0]["finish_reason"] == "stop"
    assert chat(server, tools=[TOOL], tool_choice="none").json["choices"][0]["message"]["content"]


def test_logprobs(server: OpenAIServer) -> None:
    reply = chat(server, logprobs=True, top_logprobs=2).json["choices"][0]
    tokens = reply["logprobs"]["content"]
    assert "".join(token["token"] for token in tokens) == reply["message"]["content"]
    assert all(len(token["top_logprobs"]) == 2 for token in tokens)
    assert chat(server, top_logprobs=2).status == 400


def _without(key: str, value: Any) -> dict[str, Any]:
    return {**SCHEMA, key: value}


@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"response_format": openai_format(_without("required", ["topic"]))}, "response_format"),
        (
            {"response_format": openai_format(_without("additionalProperties", True))},
            "response_format",
        ),
        (
            {"response_format": openai_format({"type": "array", "items": {"type": "string"}})},
            "response_format",
        ),
        (
            {
                "response_format": openai_format(
                    _without("properties", {"a": {"type": "string", "default": "b"}})
                )
            },
            "response_format",
        ),
        ({"response_format": {"type": "json_object"}}, "messages"),
        ({"response_format": {"type": "yaml"}}, "response_format.type"),
        ({"model": "gpt-5-mini", "max_tokens": 5}, "max_tokens"),
        ({"model": "o3", "temperature": 0}, "temperature"),
        ({"n": 2}, "n"),
        ({"temperature": 3}, "temperature"),
        ({"provider": {"sort": "price"}}, "provider"),
        ({"messages": []}, "messages"),
    ],
)
def test_what_openai_refuses(server: OpenAIServer, more: dict[str, Any], param: str) -> None:
    reply = chat(server, **more)
    assert reply.status == 400
    assert reply.json["error"]["type"] == "invalid_request_error"
    assert reply.json["error"]["param"] == param


def test_formats_a_server_may_not_know(server: OpenAIServer) -> None:
    assert chat(server, model="gpt-5-mini", max_completion_tokens=50).status == 200
    loose = openai_format(_without("required", []), strict=False)
    assert chat(server, response_format=loose).status == 200
    server.json_schema = False
    assert chat(server, response_format=openai_format(SCHEMA)).status == 400
    as_json = {"type": "json_object"}
    prompt = f"Answer in JSON with this schema: {json.dumps(SCHEMA)}\n\nThe sky is blue."
    said = chat(server, text=prompt, response_format=as_json).json["choices"][0]["message"]
    assert json.loads(said["content"])["quote"] == "The sky is blue."
    server.json_object = False
    assert chat(server, text=prompt, response_format=as_json).status == 400
    server.fenced = True
    said = chat(server, text=prompt).json["choices"][0]["message"]
    assert said["content"].startswith("```json\n{")


def test_keys_models_and_window() -> None:
    with serve(OpenAIServer(keys=frozenset({"sk-right"}), models=("a",))) as server:
        wrong = chat(server, model="a")
        assert wrong.status == 401
        assert wrong.json["error"]["code"] == "invalid_api_key"
        key = {"authorization": "Bearer sk-right"}
        assert [m["id"] for m in ask(f"{server.base_url}/models", **key).json["data"]] == ["a"]
        assert ask(f"{server.base_url}/models").status == 401
        lost = ask(f"{server.base_url}/chat/completions", openai_body(), **key)
        assert (lost.status, lost.json["error"]["code"]) == (404, "model_not_found")
        server.context_window = 10
        long = ask(f"{server.base_url}/chat/completions", openai_body(model="a"), **key)
        assert long.json["error"]["code"] == "context_length_exceeded"
        assert server.stats.received == server.stats.rejected == 3
        assert server.stats.other == 2


def test_embeddings(server: OpenAIServer) -> None:
    url = f"{server.base_url}/embeddings"
    asked = {"model": "text-embedding-3-small", "input": ["blue sky", "sky blue", "stock market"]}
    data = ask(url, asked).json["data"]
    plain = [one["embedding"] for one in data]

    def likeness(a: list[float], b: list[float]) -> float:
        return sum(x * y for x, y in zip(a, b, strict=True))

    assert likeness(plain[0], plain[1]) > 0.9 > likeness(plain[0], plain[2])
    packed = ask(url, {**asked, "encoding_format": "base64"}).json["data"][0]["embedding"]
    values = struct.unpack("<64f", base64.b64decode(packed))
    assert values == pytest.approx(plain[0], abs=1e-6)
    assert len(ask(url, {**asked, "dimensions": 8}).json["data"][0]["embedding"]) == 8
    assert ask(url, {"model": "m", "input": []}).status == 400


def test_groq() -> None:
    with serve(OpenAIServer(dialect="groq", rpm=60_000, tpm=6_000_000)) as server:
        assert server.base_url.endswith("/openai/v1")
        reply = chat(server)
        assert reply.headers["x-ratelimit-limit-requests"] == "14400"
        assert reply.headers["x-ratelimit-limit-tokens"] == "6000000"
        assert reply.json["x_groq"]["id"].startswith("req_")
        last = chat(server, stream=True).events[-2]
        assert last["x_groq"]["usage"]["prompt_tokens"] > 0


def test_openrouter() -> None:
    price = {"input": 1.0, "output": 2.0}
    with serve(OpenAIServer(dialect="openrouter", price=price)) as server:
        assert server.base_url.endswith("/api/v1")
        usual = chat(server, usage={"include": True}).json
        assert usual["provider"] == "OpenAI"
        assert usual["usage"]["cost"] == pytest.approx(server.stats.dollars)
        cheap = chat(server, usage={"include": True}, provider={"sort": "price"}).json
        assert cheap["provider"] == "DeepInfra"
        assert cheap["usage"]["cost"] == pytest.approx(usual["usage"]["cost"] / 2)
        ordered = {"order": ["Azure", "OpenAI"], "allow_fallbacks": False}
        assert chat(server, provider=ordered).json["provider"] == "Azure"
        none = {"order": ["Nobody"], "allow_fallbacks": False}
        error = chat(server, provider=none)
        assert error.json["error"]["code"] == error.status == 404
        server.unavailable = frozenset({"gpt-4.1-nano"})
        assert chat(server, models=["backup/one"]).json["model"] == "backup/one"
        server.unavailable = frozenset()
        stream = chat(server, stream=True)
        assert stream.body.startswith(b": OPENROUTER PROCESSING\n\n")
        assert stream.events[-2]["usage"]["total_tokens"] > 0
        server.faults = [{"kind": "stream_error"}]
        assert chat(server, stream=True).events[-1]["choices"][0]["finish_reason"] == "error"
        in_body = chat(server)
        assert (in_body.status, in_body.json["error"]["code"]) == (200, 502)
        listed = ask(f"{server.base_url}/models").json["data"][0]
        assert listed["pricing"]["prompt"] == "0.000001"
        assert listed["context_length"] == 128_000
        assert listed["architecture"]["modality"] == "text->text"
        key = ask(f"{server.base_url}/key", authorization="Bearer sk-or-1").json["data"]
        assert key["usage"] == pytest.approx(server.stats.dollars)
        server.rpm = 1
        chat(server)
        refused = chat(server)
        assert refused.status == 429
        assert "X-RateLimit-Reset" in refused.json["error"]["metadata"]["headers"]
