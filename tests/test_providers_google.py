"""Google's payload, over the Gemini API and Vertex AI."""

from __future__ import annotations

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
    fault,
    model,
    reply,
    sent,
    sse,
    streamed,
)

GOOGLE = provider("google")
FLASH = model("google", "gemini-2.5-flash")
CLOUD = model("vertex", "gemini-2.5-flash", options={"project": "p1"})


def test_a_plain_request():
    http = GOOGLE.encode(ask(), FLASH)
    root = "https://generativelanguage.googleapis.com/v1beta/models/gemini-2.5-flash"
    assert http.url == f"{root}:generateContent"
    assert http.headers == {"content-type": "application/json", "x-goog-api-key": KEY}
    assert sent(ask(), FLASH) == {
        "contents": [{"role": "user", "parts": [{"text": "What is 2 + 2?"}]}],
        "systemInstruction": {"parts": [{"text": "You are terse."}]},
    }
    stream = GOOGLE.encode(ask(), FLASH, stream=True)
    assert stream.url == f"{root}:streamGenerateContent?alt=sse"
    assert stream.body == http.body


@pytest.mark.parametrize(
    ("knob", "config"),
    [
        ({"temperature": 0.0}, {"temperature": 0.0}),
        ({"top_p": 0.9}, {"topP": 0.9}),
        ({"max_tokens": 7}, {"maxOutputTokens": 7}),
        ({"stop": ("a",)}, {"stopSequences": ["a"]}),
        ({"seed": 3}, {"seed": 3}),
        ({"logprobs": 0}, {"responseLogprobs": True}),
        ({"logprobs": 50}, {"responseLogprobs": True, "logprobs": 20}),
        (
            {"temperature": 1.0, "extra": {"generationConfig": {"topK": 3}}},
            {"temperature": 1.0, "topK": 3},
        ),
    ],
)
def test_each_knob(knob, config):
    assert sent(ask(**knob), FLASH)["generationConfig"] == config


def test_options():
    options = {"thinking_budget": 0, "top_k": 5, "safety_settings": [{"category": "X"}]}
    body = sent(ask(), model("google", "gemini-2.5-flash", options=options))
    assert body["generationConfig"] == {"topK": 5, "thinkingConfig": {"thinkingBudget": 0}}
    assert body["safetySettings"] == [{"category": "X"}]
    assert options.keys() <= GOOGLE.options
    body = sent(ask(), model("google", "gemini-3-flash", options={"thinking_level": "minimal"}))
    assert body["generationConfig"]["thinkingConfig"] == {"thinkingLevel": "minimal"}


def test_a_schema_keeps_what_is_optional():
    config = sent(ask(schema=PERSON), FLASH)["generationConfig"]
    assert config == {
        "responseMimeType": "application/json",
        "responseJsonSchema": {
            "type": "object",
            "properties": {
                "name": {"type": "string", "description": "(minLength: 1)"},
                "age": {"type": "integer", "minimum": 0},
                "said": {"type": "string"},
            },
            "required": ["name", "said"],
        },
    }
    asked = GOOGLE.json_mode(ask(schema=PERSON, temperature=0.0))
    assert sent(asked, FLASH)["generationConfig"] == {
        "temperature": 0.0,
        "responseMimeType": "application/json",
    }


def test_tools_and_their_results():
    body = sent(ask(*USED_TOOL, tools=(LOOKUP,), tool_choice="lookup"), FLASH)
    assert body["tools"] == [
        {
            "functionDeclarations": [
                {
                    "name": "lookup",
                    "description": "Find a word.",
                    "parametersJsonSchema": LOOKUP.parameters,
                }
            ]
        }
    ]
    assert body["toolConfig"] == {
        "functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["lookup"]}
    }
    assert body["contents"][1:] == [
        {
            "role": "model",
            "parts": [{"functionCall": {"name": "lookup", "args": {"word": "swath"}}}],
        },
        {
            "role": "user",
            "parts": [
                {
                    "functionResponse": {
                        "name": "lookup",
                        "response": {"result": "A broad strip."},
                    }
                }
            ],
        },
    ]
    for choice, mode in (("auto", "AUTO"), ("none", "NONE"), ("required", "ANY")):
        config = sent(ask(tools=(LOOKUP,), tool_choice=choice), FLASH)["toolConfig"]
        assert config == {"functionCallingConfig": {"mode": mode}}


def test_a_thought_signature_comes_back_with_its_call():
    part = {"functionCall": {"name": "lookup", "args": {"word": "x"}, "id": "fc1"}}
    body = answered({"parts": [{**part, "thoughtSignature": "sig=="}]})
    (call,) = decoded(ask(), FLASH, body).tool_calls
    assert call.arguments == '{"word": "x"}'
    turns = (
        Message("user", "?"),
        Message("assistant", "", (call,)),
        Message("tool", '{"found": 1}', tool_call_id=call.id),
    )
    contents = sent(ask(*turns), FLASH)["contents"]
    assert contents[1]["parts"] == [{**part, "thoughtSignature": "sig=="}]
    assert contents[2]["parts"] == [
        {"functionResponse": {"name": "lookup", "response": {"found": 1}, "id": "fc1"}}
    ]


def answered(content, finish="STOP", **more):
    return {
        "candidates": [{"content": {"role": "model", **content}, "finishReason": finish, **more}],
        "usageMetadata": {
            "promptTokenCount": 20,
            "candidatesTokenCount": 5,
            "thoughtsTokenCount": 30,
            "cachedContentTokenCount": 8,
            "totalTokenCount": 55,
        },
        "modelVersion": "gemini-2.5-flash-001",
        "responseId": "r1",
    }


def test_a_whole_reply():
    parts = [{"text": "hm", "thought": True}, {"text": "4"}, {"text": "!"}]
    answer = decoded(ask(), FLASH, answered({"parts": parts}))
    assert (answer.text, answer.finish) == ("4!", "stop")
    assert (answer.model_id, answer.request_id) == ("gemini-2.5-flash-001", "r1")
    assert answer.usage == Usage(20, 35, 8, 0, 30)


@pytest.mark.parametrize(
    ("reason", "finish"),
    [
        ("STOP", "stop"),
        ("MAX_TOKENS", "length"),
        ("SAFETY", "content_filter"),
        ("RECITATION", "content_filter"),
        ("PROHIBITED_CONTENT", "content_filter"),
    ],
)
def test_finish_reasons(reason, finish):
    answer = decoded(ask(), FLASH, answered({}, reason))
    assert (answer.text, answer.finish) == ("", finish)


def test_a_blocked_prompt():
    body = {"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": {"promptTokenCount": 4}}
    answer = decoded(ask(), FLASH, body)
    assert (answer.finish, answer.usage.input_tokens) == ("content_filter", 4)
    assert streamed(ask(), FLASH, sse([body]))[1].finish == "content_filter"


def test_a_call_that_the_model_bungled():
    with pytest.raises(ProviderError) as caught:
        decoded(ask(), FLASH, answered({}, "MALFORMED_FUNCTION_CALL"))
    assert caught.value.kind is Kind.INVALID
    assert caught.value.usage.output_tokens == 35


def test_logprobs():
    result = {
        "chosenCandidates": [{"token": "4", "logProbability": -0.1, "tokenId": 1}],
        "topCandidates": [{"candidates": [{"token": "4", "logProbability": -0.1}]}],
    }
    body = answered({"parts": [{"text": "4"}]}, logprobsResult=result)
    (found,) = decoded(ask(logprobs=1), FLASH, body).logprobs
    assert (found.token, found.logprob, found.top) == ("4", -0.1, {"4": -0.1})


def test_what_is_no_reply_is_malformed():
    for body in (b"", b"<html>", {}, {"candidates": 3}, []):
        with pytest.raises(ProviderError) as caught:
            decoded(ask(), FLASH, body)
        assert caught.value.kind is Kind.MALFORMED


def error(code, status, message="x", **details):
    typed = [{"@type": f"type.googleapis.com/google.rpc.{k}", **v} for k, v in details.items()]
    return {"error": {"code": code, "status": status, "message": message, "details": typed}}


def quota(id, value="10"):
    return {"violations": [{"quotaId": id, "quotaValue": value}]}


@pytest.mark.parametrize(
    ("status", "body", "kind", "feature"),
    [
        (400, error(400, "INVALID_ARGUMENT", "API key not valid."), "auth", ""),
        (
            400,
            error(400, "INVALID_ARGUMENT", ErrorInfo={"reason": "API_KEY_INVALID"}),
            "auth",
            "",
        ),
        (403, error(403, "PERMISSION_DENIED"), "auth", ""),
        (401, error(401, "UNAUTHENTICATED"), "auth", ""),
        (404, error(404, "NOT_FOUND", "models/x is not found"), "not_found", ""),
        (
            400,
            error(
                400,
                "INVALID_ARGUMENT",
                "The input token count (9) exceeds the maximum number of tokens allowed (8).",
            ),
            "context",
            "",
        ),
        (
            400,
            error(400, "INVALID_ARGUMENT", 'Unknown name "responseJsonSchema": Cannot find field.'),
            "unsupported",
            "json_schema",
        ),
        (
            400,
            error(400, "INVALID_ARGUMENT", "JSON mode is not enabled for models/gemma-3"),
            "unsupported",
            "json_object",
        ),
        (
            400,
            error(400, "INVALID_ARGUMENT", "Logprobs is not enabled for models/x"),
            "unsupported",
            "logprobs",
        ),
        (400, error(400, "INVALID_ARGUMENT", "Please use a valid role"), "bad_request", ""),
        (
            400,
            error(400, "FAILED_PRECONDITION", "Please enable billing on your project"),
            "quota",
            "",
        ),
        (
            400,
            error(400, "FAILED_PRECONDITION", "User location is not supported"),
            "auth",
            "",
        ),
        (
            429,
            error(
                429,
                "RESOURCE_EXHAUSTED",
                "You exceeded your current quota",
                QuotaFailure=quota("GenerateRequestsPerMinutePerProjectPerModel-FreeTier"),
            ),
            "throttled",
            "",
        ),
        (
            429,
            error(
                429,
                "RESOURCE_EXHAUSTED",
                "You exceeded your current quota",
                QuotaFailure=quota("GenerateRequestsPerDayPerProjectPerModel-FreeTier"),
            ),
            "quota",
            "",
        ),
        (
            429,
            error(429, "RESOURCE_EXHAUSTED", QuotaFailure=quota("PerMinute", "0")),
            "quota",
            "",
        ),
        (
            429,
            error(429, "RESOURCE_EXHAUSTED", "Your prepayment credits are depleted."),
            "quota",
            "",
        ),
        (429, error(429, "RESOURCE_EXHAUSTED", "Resource exhausted."), "throttled", ""),
        (500, error(500, "INTERNAL"), "server", ""),
        (503, error(503, "UNAVAILABLE", "The model is overloaded."), "overloaded", ""),
        (504, error(504, "DEADLINE_EXCEEDED"), "timeout", ""),
        (429, [error(429, "RESOURCE_EXHAUSTED")], "throttled", ""),
        (502, b"<html>bad gateway</html>", "server", ""),
    ],
)
def test_what_errors_mean(status, body, kind, feature):
    for one in (FLASH, CLOUD):
        found = fault(one, body, status)
        assert (found.kind, found.feature, found.status) == (Kind(kind), feature, status)


def test_how_long_to_wait():
    body = error(429, "RESOURCE_EXHAUSTED", "x", RetryInfo={"retryDelay": "34.5s"})
    assert fault(FLASH, body, 429).retry_after == 34.5
    body = error(429, "RESOURCE_EXHAUSTED", "Please retry in 3.2s.")
    assert fault(FLASH, body, 429).retry_after == 3.2
    assert GOOGLE.limits({"x": "y"}) is None


def test_a_stream():
    first = {"candidates": [{"content": {"parts": [{"text": "He"}]}}], "responseId": "r1"}
    thought = {"candidates": [{"content": {"parts": [{"text": "hm", "thought": True}]}}]}
    call = {"functionCall": {"name": "lookup", "args": {}}}
    last = answered({"parts": [{"text": "y"}, call]})
    chunks, answer = streamed(ask(), FLASH, sse([first, thought, last]))
    wanted = ToolCall("call_0", "lookup", "{}")
    assert [c.text for c in chunks if c.text] == ["He", "y"]
    assert [c.tool_call for c in chunks if c.tool_call] == [wanted]
    assert (answer.text, answer.tool_calls) == ("Hey", (wanted,))
    assert answer.usage.output_tokens == 35
    for body, kind in (
        (sse([first]), Kind.CONNECTION),
        (b"", Kind.CONNECTION),
        (sse([first, error(503, "UNAVAILABLE")]), Kind.OVERLOADED),
        (sse(["{broken"]), Kind.MALFORMED),
    ):
        with pytest.raises(ProviderError) as caught:
            streamed(ask(), FLASH, body)
        assert caught.value.kind is kind


def test_embeddings():
    request = EmbedRequest(model="m", texts=("a", "b"), dimensions=2)
    embedder = model("google", "gemini-embedding-001", options={"task_type": "CLUSTERING"})
    assert GOOGLE.encode(request, embedder).url.endswith(":batchEmbedContents")
    assert sent(request, embedder)["requests"][1] == {
        "model": "models/gemini-embedding-001",
        "outputDimensionality": 2,
        "taskType": "CLUSTERING",
        "content": {"parts": [{"text": "b"}]},
    }
    body = {"embeddings": [{"values": [1.0, 2.0]}, {"values": [3.0, 4.0]}]}
    found = GOOGLE.decode(request, embedder, reply(body))
    assert isinstance(found, Embeddings)
    assert found.vectors == ((1.0, 2.0), (3.0, 4.0))
    with pytest.raises(ProviderError):
        GOOGLE.decode(request, embedder, reply({"embeddings": []}))


def test_the_model_list():
    assert GOOGLE.probe(FLASH).url.endswith("/v1beta/models?pageSize=1")
    rows = {"models": [{"name": "models/g", "inputTokenLimit": 9, "outputTokenLimit": 3}]}
    (found,) = GOOGLE.models(reply(rows))
    assert (found.id, found.context_window, found.max_output_tokens) == ("g", 9, 3)
    assert GOOGLE.features(model("google", "gemma-3-27b-it")) == {"seed", "stop", "top_p"}
