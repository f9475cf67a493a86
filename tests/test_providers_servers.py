"""Providers against local servers that speak the real wire formats, over plain http.client."""

from __future__ import annotations

import http.client
import json
from contextlib import contextmanager
from urllib.parse import urlsplit

import jsonschema_rs
import pytest

from swath.errors import Kind, ProviderError
from swath.messages import Embeddings, EmbedRequest, Message
from swath.providers import provider
from swath.providers.base import HttpReply, HttpRequest

from .providers_kit import LOOKUP, PERSON, ask, model

servers = pytest.importorskip("tests.servers")

FORMATS = {
    "openai": ("gpt-4.1-nano", lambda **k: servers.OpenAIServer(**k)),
    "groq": ("openai/gpt-oss-20b", lambda **k: servers.OpenAIServer(dialect="groq", **k)),
    "openrouter": ("openai/gpt-4o", lambda **k: servers.OpenAIServer(dialect="openrouter", **k)),
    "anthropic": ("claude-haiku-4-5", lambda **k: servers.AnthropicServer(**k)),
    "google": ("gemini-2.5-flash", lambda **k: servers.GoogleServer(**k)),
    "vertex": ("gemini-2.5-flash", lambda **k: servers.GoogleServer(**k)),
}
everywhere = pytest.mark.parametrize("name", list(FORMATS))


@contextmanager
def serving(name, **knobs):
    id, make = FORMATS[name]
    with servers.serve(make(**knobs)) as server:
        options = {"project": "p", "location": "europe-west4"} if name == "vertex" else {}
        yield server, model(name, id, base_url=server.base_url, options=options)


def exchange(request: HttpRequest) -> HttpReply:
    url = urlsplit(request.url)
    connection = http.client.HTTPConnection(url.netloc, timeout=10)
    try:
        target = url.path + (f"?{url.query}" if url.query else "")
        connection.request(request.method, target, request.body or None, dict(request.headers))
        answer = connection.getresponse()
        headers = {k.lower(): v for k, v in answer.getheaders()}
        return HttpReply(answer.status, headers, answer.read())
    finally:
        connection.close()


def call(request, to):
    wire = provider(to.provider)
    reply = exchange(wire.encode(request, to))
    if reply.status != 200:
        raise wire.error(to, reply)
    return wire.decode(request, to, reply), reply


def streaming(request, to, size=7):
    wire = provider(to.provider)
    reply = exchange(wire.encode(request, to, stream=True))
    if reply.status != 200:
        raise wire.error(to, reply)
    decoder = wire.decoder(request, to)
    chunks = []
    for start in range(0, len(reply.body), size):
        chunks += decoder.feed(reply.body[start : start + size])
    return chunks, decoder.finish()


@everywhere
def test_asks_and_streams_the_same_answer(name):
    request = ask(max_tokens=200, temperature=0.0, stop=("\n\n\n",))
    with serving(name) as (_, one):
        answer, _ = call(request, one)
        chunks, streamed = streaming(request, one)
    assert answer.text
    assert answer.usage.input_tokens > 0
    assert answer.usage.output_tokens > 0
    assert streamed.text == answer.text == "".join(c.text for c in chunks)
    assert streamed.usage == answer.usage
    assert answer.finish == "stop"


@everywhere
def test_a_schema_is_taken_and_its_answer_fits(name):
    request = ask(Message("user", "Ada is 36. She said it twice."), schema=PERSON)
    with serving(name) as (_, one):
        for answer in (call(request, one)[0], streaming(request, one)[1]):
            value = json.loads(answer.text)
            jsonschema_rs.validator_for(dict(PERSON.json)).validate(value)


@everywhere
def test_json_mode_is_taken(name):
    wire = provider(name)
    prompt = Message("user", "Answer in json about Ada.")
    with serving(name) as (_, one):
        request = wire.json_mode(ask(prompt, schema=PERSON))
        assert isinstance(json.loads(call(request, one)[0].text), dict)


@everywhere
def test_a_tool_is_called(name):
    request = ask(tools=(LOOKUP,), tool_choice="required")
    with serving(name) as (_, one):
        answer, _ = call(request, one)
        chunks, streamed = streaming(request, one)
        (found,) = answer.tool_calls
        assert (found.name, answer.finish) == ("lookup", "tool_calls")
        assert [c.tool_call.name for c in chunks if c.tool_call] == ["lookup"]
        assert streamed.tool_calls[0].arguments == found.arguments
        # And its result is taken back.
        turns = (
            Message("user", "Look it up."),
            Message("assistant", "", (found,)),
            Message("tool", "A strip.", tool_call_id=found.id),
        )
        call(ask(*turns, tools=(LOOKUP,)), one)


@everywhere
@pytest.mark.parametrize(
    ("trouble", "kinds"),
    [
        ("429", {Kind.THROTTLED}),
        ("429_no_retry_after", {Kind.THROTTLED}),
        ("quota", {Kind.QUOTA}),
        ("500", {Kind.SERVER}),
        ("503", {Kind.OVERLOADED}),
        ("529", {Kind.OVERLOADED}),
        ("html", {Kind.SERVER}),
        ("context", {Kind.CONTEXT}),
        ("unauthorized", {Kind.AUTH}),
        ("not_found", {Kind.NOT_FOUND}),
        ("malformed", {Kind.MALFORMED}),
    ],
)
def test_trouble(name, trouble, kinds):
    with serving(name, faults=[{"kind": trouble}]) as (_, one):
        for way in (call, streaming):
            with pytest.raises(ProviderError) as caught:
                way(ask(), one)
            # In a stream a malformed event and a stream that ends are both possible.
            allowed = kinds | ({Kind.CONNECTION} if trouble == "malformed" else set())
            assert caught.value.kind in allowed
            if trouble == "429":
                assert caught.value.retry_after == pytest.approx(1.0)


@everywhere
def test_an_error_in_the_middle_of_a_stream(name):
    with serving(name, faults=[{"kind": "stream_error"}]) as (_, one):
        with pytest.raises(ProviderError) as caught:
            streaming(ask(), one)
        assert caught.value.kind in (Kind.SERVER, Kind.OVERLOADED)
        assert caught.value.charged


@everywhere
@pytest.mark.parametrize(
    ("trouble", "finish"),
    [
        ("truncated", "length"),
        ("refusal", ("refusal", "content_filter")),
        ("content_filter", ("content_filter", "refusal")),
    ],
)
def test_answers_that_are_none(name, trouble, finish):
    with serving(name, faults=[{"kind": trouble}]) as (_, one):
        for answer in (call(ask(), one)[0], streaming(ask(), one)[1]):
            if trouble == "refusal" and answer.finish == "stop":
                continue  # declined in plain words, as some formats do
            assert answer.finish in finish


@pytest.mark.parametrize("name", ["openai", "groq", "openrouter", "anthropic"])
def test_rate_limit_headers(name):
    with serving(name, rpm=600, tpm=100_000) as (_, one):
        _, reply = call(ask(), one)
        limits = provider(name).limits(reply.headers)
    if name == "openrouter":
        return  # states limits only when they are reached
    assert limits is not None
    window = limits.tokens or limits.input_tokens
    assert window is not None
    assert window.limit == 100_000
    assert window.remaining is not None
    assert window.remaining < 100_000


@everywhere
def test_a_limit_that_is_reached(name):
    with serving(name, rpm=1, burst_seconds=60) as (_, one):
        call(ask(), one)
        with pytest.raises(ProviderError) as caught:
            call(ask(), one)
        assert caught.value.kind is Kind.THROTTLED
        if name != "vertex":
            assert caught.value.retry_after is None or caught.value.retry_after > 0


@everywhere
def test_a_probe_tells_a_wrong_key(name):
    wire = provider(name)
    with serving(name, keys=frozenset({"right"})) as (_, one):
        reply = exchange(wire.probe(one))
        assert wire.error(one, reply).kind is Kind.AUTH
    with serving(name) as (_, one):
        assert exchange(wire.probe(one)).status == 200


@pytest.mark.parametrize("name", ["openai", "openrouter", "anthropic", "google"])
def test_the_model_list(name):
    wire = provider(name)
    with serving(name, models=(FORMATS[name][0],)) as (_, one):
        assert FORMATS[name][0] in [m.id for m in wire.models(exchange(wire.list_models(one)))]


@pytest.mark.parametrize("name", ["openai", "openrouter", "google", "vertex"])
def test_embeddings(name):
    request = EmbedRequest(model="m", texts=("a strip", "a broad strip"))
    id = "gemini-embedding-001" if name == "google" else "text-embedding-005"
    with serving(name) as (_, one):
        embedder = model(name, id, base_url=one.base_url, options=dict(one.options))
        found, _ = call(request, embedder)
    assert isinstance(found, Embeddings)
    assert len(found.vectors) == 2
    assert len(found.vectors[0]) == len(found.vectors[1]) > 1


def test_logprobs():
    with serving("openai") as (_, one):
        answer, _ = call(ask(logprobs=2), one)
    assert answer.logprobs
    assert answer.logprobs[0].top
