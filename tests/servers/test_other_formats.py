"""Anthropic's and Google's formats, byte by byte."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.servers import AnthropicServer, Fault, GoogleServer, serve
from tests.servers.asking import SCHEMA, SPEECH, Reply, ask


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def claude() -> Iterator[AnthropicServer]:
    with serve(AnthropicServer()) as running:
        yield running


@pytest.fixture
def gemini() -> Iterator[GoogleServer]:
    with serve(GoogleServer()) as running:
        yield running


def message(server: AnthropicServer, text: str = SPEECH, **more: Any) -> Reply:
    body = {
        "model": "claude-haiku-4-5",
        "max_tokens": 500,
        "messages": [{"role": "user", "content": text}],
        **more,
    }
    body = {name: value for name, value in body.items() if value is not None}
    headers = {"x_api_key": "sk-ant-1", "anthropic_version": "2023-06-01"}
    return ask(f"{server.base_url}/v1/messages", body, **headers)


def generate(server: GoogleServer, how: str = "generateContent", **more: Any) -> Reply:
    body = {"contents": [{"role": "user", "parts": [{"text": SPEECH}]}], **more}
    url = f"{server.base_url}/v1beta/models/gemini-2.5-flash:{how}"
    return ask(url, body, x_goog_api_key="AIza-1")


# -- Anthropic -----------------------------------------------------------------------------


def test_message_and_stream(claude: AnthropicServer) -> None:
    output = {"format": {"type": "json_schema", "schema": SCHEMA}}
    reply = message(claude, output_config=output)
    body = reply.json
    assert reply.headers["request-id"]
    assert (body["type"], body["stop_reason"]) == ("message", "end_turn")
    text = body["content"][0]["text"]
    assert set(json.loads(text)) == set(SCHEMA["properties"])
    stream = message(claude, output_config=output, stream=True)
    kinds = [event["type"] for event in stream.events]
    assert kinds[:3] == ["message_start", "content_block_start", "ping"]
    assert kinds[-3:] == ["content_block_stop", "message_delta", "message_stop"]
    assert stream.body.startswith(b"event: message_start\ndata: ")
    parts = [e["delta"]["text"] for e in stream.events if e["type"] == "content_block_delta"]
    assert "".join(parts) == text
    assert stream.events[-2]["usage"]["output_tokens"] == body["usage"]["output_tokens"]
    assert message(claude, max_tokens=2).json["stop_reason"] == "max_tokens"
    stopped = message(claude, stop_sequences=[" said"]).json
    assert (stopped["stop_reason"], stopped["stop_sequence"]) == ("stop_sequence", " said")


def test_tool_use(claude: AnthropicServer) -> None:
    tool = {"name": "note", "input_schema": SCHEMA}
    body = message(claude, tools=[tool], tool_choice={"type": "tool", "name": "note"}).json
    assert body["stop_reason"] == "tool_use"
    assert set(body["content"][0]["input"]) == set(SCHEMA["properties"])
    events = message(claude, tools=[tool], stream=True).events
    parts = [e["delta"]["partial_json"] for e in events if e["type"] == "content_block_delta"]
    assert json.loads("".join(parts)) == body["content"][0]["input"]


def test_prompt_cache(claude: AnthropicServer) -> None:
    claude.price = {"input": 100.0, "cached_input": 10.0, "cache_write": 125.0, "output": 0.0}
    block = {"type": "text", "text": "s" * 400, "cache_control": {"type": "ephemeral"}}
    first = message(claude, "abcd", system=[block]).json["usage"]
    again = message(claude, "abcd", system=[block]).json["usage"]
    assert first["cache_creation_input_tokens"] == again["cache_read_input_tokens"] == 100
    assert first["input_tokens"] == again["input_tokens"] == 1
    assert claude.stats.dollars == pytest.approx((100 * 125 + 100 + 100 * 10 + 100) / 1e6)
    assert claude.stats.prompt_tokens == 202


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"max_tokens": None}, "max_tokens: Field required"),
        ({"seed": 1}, "seed: Extra inputs are not permitted"),
        ({"messages": [{"role": "system", "content": "x"}]}, 'Unexpected role "system"'),
        ({"temperature": 1.5}, "temperature"),
        (
            {
                "output_config": {
                    "format": {"type": "json_schema", "schema": {"type": "object"}},
                }
            },
            "'additionalProperties' must be explicitly set to false",
        ),
        (
            {
                "output_config": {
                    "format": {
                        "type": "json_schema",
                        "schema": {"type": "integer", "minimum": 1},
                    }
                }
            },
            "For 'integer' type, property 'minimum' is not supported",
        ),
    ],
)
def test_what_anthropic_refuses(claude: AnthropicServer, more: dict[str, Any], said: str) -> None:
    reply = message(claude, **more)
    assert reply.status == 400
    assert reply.json["type"] == "error"
    assert reply.json["error"]["type"] == "invalid_request_error"
    assert said in reply.json["error"]["message"]
    assert reply.json["request_id"]


@pytest.mark.parametrize(
    ("kind", "status", "name"),
    [
        ("429", 429, "rate_limit_error"),
        ("quota", 400, "invalid_request_error"),
        ("500", 500, "api_error"),
        ("529", 529, "overloaded_error"),
        ("context", 400, "invalid_request_error"),
        ("unauthorized", 401, "authentication_error"),
        ("not_found", 404, "not_found_error"),
    ],
)
def test_anthropic_errors(claude: AnthropicServer, kind: Any, status: int, name: str) -> None:
    claude.faults = [Fault(kind)]
    reply = message(claude)
    assert (reply.status, reply.json["error"]["type"]) == (status, name)


def test_anthropic_limits_headers_and_keys() -> None:
    server = AnthropicServer(
        rpm=60, input_tpm=60_000, output_tpm=6_000, clock=Clock(), wall_clock=lambda: 0.0
    )
    with serve(server):
        reply = message(server)
        names = {"requests", "input-tokens", "output-tokens"}
        assert {n.split("limit-")[1][:-6] for n in reply.headers if n.endswith("-limit")} == names
        assert reply.headers["anthropic-ratelimit-requests-remaining"] == "0"
        assert reply.headers["anthropic-ratelimit-requests-reset"] == "1970-01-01T00:00:01.000Z"
        refused = message(server)
        assert refused.status == 429
        assert refused.headers["retry-after"] == "1"
        server.rpm = None
        server.max_body = 10
        assert message(server).json["error"]["type"] == "request_too_large"
        server.keys = frozenset({"sk-ant-2"})
        assert message(server).status == 401
        assert ask(f"{server.base_url}/v1/models", x_api_key="sk-ant-2").status == 400
        listed = ask(f"{server.base_url}/v1/models", x_api_key="sk-ant-2", anthropic_version="1")
        assert listed.json["data"][0]["type"] == "model"


def test_anthropic_faults_of_the_content(claude: AnthropicServer) -> None:
    claude.faults = [Fault("refusal", times=1), Fault("stream_error")]
    assert message(claude).json["stop_reason"] == "refusal"
    events = message(claude, stream=True).events
    assert events[-1]["error"]["type"] == "overloaded_error"


# -- Google --------------------------------------------------------------------------------


def test_generate_and_stream(gemini: GoogleServer) -> None:
    config = {"responseMimeType": "application/json", "responseJsonSchema": SCHEMA}
    body = generate(gemini, generationConfig=config).json
    candidate = body["candidates"][0]
    assert candidate["finishReason"] == "STOP"
    text = candidate["content"]["parts"][0]["text"]
    assert set(json.loads(text)) == set(SCHEMA["properties"])
    usage = body["usageMetadata"]
    assert usage["totalTokenCount"] == usage["promptTokenCount"] + usage["candidatesTokenCount"]
    sse = generate(gemini, "streamGenerateContent?alt=sse", generationConfig=config).events
    array = generate(gemini, "streamGenerateContent", generationConfig=config).json
    for chunks in (sse, array):
        parts = [c["candidates"][0]["content"]["parts"][0]["text"] for c in chunks]
        assert "".join(parts) == text
        assert chunks[-1]["candidates"][0]["finishReason"] == "STOP"
        assert chunks[-1]["usageMetadata"] == usage
    short = generate(gemini, generation_config={"max_output_tokens": 2}).json
    assert short["candidates"][0]["finishReason"] == "MAX_TOKENS"
    likely_config = {"responseLogprobs": True, "logprobs": 2}
    likely = generate(gemini, generationConfig=likely_config).json["candidates"][0][
        "logprobsResult"
    ]
    assert len(likely["topCandidates"][0]["candidates"]) == 2
    gemini.reasoning = 7
    usage = generate(gemini).json["usageMetadata"]
    assert usage["thoughtsTokenCount"] == 7
    assert usage["totalTokenCount"] == sum(
        usage[n] for n in ("promptTokenCount", "candidatesTokenCount", "thoughtsTokenCount")
    )


def test_functions_and_schema_dialect(gemini: GoogleServer) -> None:
    parameters = {
        "type": "OBJECT",
        "properties": {"n": {"type": "INTEGER"}, "s": {"type": "STRING", "nullable": True}},
        "required": ["n"],
    }
    tools = [{"functionDeclarations": [{"name": "note", "parameters": parameters}]}]
    part = generate(gemini, tools=tools).json["candidates"][0]["content"]["parts"][0]
    assert part["functionCall"]["name"] == "note"
    assert isinstance(part["functionCall"]["args"]["n"], int)
    config = {"responseMimeType": "application/json", "responseSchema": parameters}
    assert generate(gemini, generationConfig=config).status == 200
    config["responseSchema"] = SCHEMA
    wrong = generate(gemini, generationConfig=config)
    assert 'Unknown name "additionalProperties"' in wrong.json["error"]["message"]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"messages": []}, 'Unknown name "messages"'),
        ({"contents": []}, "contents is not specified"),
        ({"generationConfig": {"maxTokens": 1}}, "at 'generation_config'"),
        ({"generationConfig": {"responseSchema": {"type": "STRING"}}}, "mime type"),
        ({"generationConfig": {"logprobs": 2}}, "response_logprobs"),
    ],
)
def test_what_google_refuses(gemini: GoogleServer, more: dict[str, Any], said: str) -> None:
    error = generate(gemini, **more).json["error"]
    assert (error["code"], error["status"]) == (400, "INVALID_ARGUMENT")
    assert said in error["message"]


def test_google_errors_and_limits(gemini: GoogleServer) -> None:
    for kind, status, name in (
        ("429", 429, "RESOURCE_EXHAUSTED"),
        ("quota", 429, "RESOURCE_EXHAUSTED"),
        ("503", 503, "UNAVAILABLE"),
        ("500", 500, "INTERNAL"),
        ("context", 400, "INVALID_ARGUMENT"),
        ("not_found", 404, "NOT_FOUND"),
    ):
        gemini.faults = [Fault(kind)]  # type: ignore[arg-type]
        reply = generate(gemini)
        assert (reply.status, reply.json["error"]["status"]) == (status, name)
        kinds = [d["@type"].rsplit(".", 1)[1] for d in reply.json["error"].get("details", ())]
        assert ("RetryInfo" in kinds) == (kind == "429")
        assert ("QuotaFailure" in kinds) == (status == 429)
    gemini.faults = [Fault("content_filter", times=1), Fault("refusal", times=1)]
    assert generate(gemini).json["candidates"][0]["finishReason"] == "SAFETY"
    assert generate(gemini).json["promptFeedback"]["blockReason"]
    gemini.clock, gemini.rpm = Clock(), 20
    assert generate(gemini).status == 200
    details = generate(gemini).json["error"]["details"]
    assert details[-1]["retryDelay"] == "3s"
    assert details[0]["violations"][0]["quotaValue"] == "20"


def test_google_keys_embeddings_models_and_vertex(gemini: GoogleServer) -> None:
    gemini.keys = frozenset({"AIza-1", "ya29"})
    base = f"{gemini.base_url}/v1beta/models"
    content = {"parts": [{"text": "blue sky"}]}
    one = ask(f"{base}/gemini-embedding-001:embedContent?key=AIza-1", {"content": content}).json
    many = ask(
        f"{base}/gemini-embedding-001:batchEmbedContents",
        {"requests": [{"content": content}, {"content": content}]},
        x_goog_api_key="AIza-1",
    ).json
    assert many["embeddings"] == [one["embedding"]] * 2
    listed = ask(f"{base}?key=AIza-1").json["models"]
    assert listed[0]["name"].startswith("models/gemini")
    assert ask(base).json["error"]["status"] == "PERMISSION_DENIED"
    wrong = ask(f"{base}?key=wrong").json["error"]
    assert (wrong["code"], wrong["details"][0]["reason"]) == (400, "API_KEY_INVALID")
    where = "projects/p/locations/l/publishers/google/models"
    url = f"{gemini.base_url}/v1/{where}/gemini-2.5-flash:generateContent"
    body = {"contents": [{"role": "user", "parts": [{"text": "hello"}]}]}
    assert ask(url, body, authorization="Bearer ya29").status == 200
    assert ask(url, body, authorization="Bearer no").json["error"]["code"] == 401
    gemini.embedding_size = 4
    url = f"{gemini.base_url}/v1/{where}/text-embedding-005:predict"
    told = ask(url, {"instances": [{"content": "a"}]}, authorization="Bearer ya29").json
    assert len(told["predictions"][0]["embeddings"]["values"]) == 4
