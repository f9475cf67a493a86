"""The test servers keep to the providers' formats, limits and books.

Nothing here waits for a clock: limits are driven by a clock of the test's own.
"""

from __future__ import annotations

import http.client
import json
import signal
import socket
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.servers import Answer, Fault, Limits, OpenAIServer, digest, serve, spawn, tokens
from tests.servers.asking import SCHEMA, SPEECH, Reply, ask, openai_body, openai_format
from tests.servers.openai_words import go_duration


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def server() -> Iterator[OpenAIServer]:
    with serve(OpenAIServer()) as running:
        yield running


def chat(server: Any, text: str = SPEECH, **more: Any) -> Reply:
    return ask(f"{server.base_url}/chat/completions", openai_body(text, **more))


def connected(server: Any) -> socket.socket:
    parts = urlsplit(server.url)
    return socket.create_connection((parts.hostname, parts.port), timeout=10)


def wait_for(condition: Any) -> None:
    """What another thread is about to do; the deadline only bounds a failure."""
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.002)


# -- HTTP --------------------------------------------------------------------------------


def test_keep_alive_pipelining_and_expect(server: OpenAIServer) -> None:
    body = json.dumps(openai_body("one")).encode()
    head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n" % len(body)
    with connected(server) as sock:
        sock.sendall((head + b"\r\n" + body) * 5)
        sock.sendall(head + b"connection: close\r\n\r\n" + body)
        seen = b""
        while part := sock.recv(65536):
            seen += part
    assert seen.count(b"HTTP/1.1 200 OK") == 6
    assert server.stats.connections == 1
    with connected(server) as sock:
        sock.sendall(head + b"expect: 100-continue\r\n\r\n")
        assert sock.recv(1000).startswith(b"HTTP/1.1 100")
        sock.sendall(body)
        assert sock.recv(1000).startswith(b"HTTP/1.1 200")


def test_bad_requests(server: OpenAIServer) -> None:
    assert ask(server.url + "/v1/nothing").status == 404
    assert ask(f"{server.base_url}/chat/completions", b"{broken").status == 400
    with connected(server) as sock:
        sock.sendall(b"no http at all\r\n\r\n")
        assert sock.recv(100).startswith(b"HTTP/1.1 400")
    assert server.stats.rejected == 1
    assert server.stats.other == 1


# -- limits ------------------------------------------------------------------------------


@pytest.mark.parametrize("window", ["bucket", "fixed", "sliding"])
def test_a_window_lets_its_limit_through(window: Any) -> None:
    clock = Clock()
    limits = Limits(rpm=600, window=window, clock=clock)
    passed = 0
    for _ in range(12_000):  # ten minutes of twice the limit
        passed += limits.admit() is None
        clock.now += 0.05
    assert 6000 <= passed <= 6000 + (600 if window != "bucket" else 10)


def test_the_bucket_holds_a_second_and_tells_the_wait() -> None:
    clock = Clock()
    limits = Limits(rpm=600, clock=clock)
    assert [limits.admit() is None for _ in range(11)] == [True] * 10 + [False]
    refusal = limits.admit()
    assert refusal is not None
    assert refusal.by == "requests"
    assert refusal.wait == pytest.approx(0.1)
    clock.now += refusal.wait
    assert limits.admit() is None
    limit, remaining, reset = limits.state()["requests"]
    assert (limit, remaining) == (600, 0)
    assert reset == pytest.approx(1.0)


def test_token_limits_take_from_all_gauges_or_none() -> None:
    clock = Clock()
    limits = Limits(rpm=60, input_tpm=6000, output_tpm=600, burst_seconds=60, clock=clock)
    assert limits.admit(100, 590) is None
    refusal = limits.admit(100, 20)
    assert refusal is not None
    assert refusal.by == "output_tokens"
    assert limits.state()["requests"][1] == 59
    assert limits.state()["input_tokens"][1] == 5900
    never = limits.admit(100_000, 0)
    assert never is not None
    assert never.wait == float("inf")


def test_rate_headers_and_refusals(server: OpenAIServer) -> None:
    clock = Clock()
    server.clock, server.rpm, server.tpm = clock, 120, 60_000
    first = chat(server)
    assert first.headers["x-ratelimit-limit-requests"] == "120"
    assert first.headers["x-ratelimit-remaining-requests"] == "1"
    assert first.headers["x-ratelimit-reset-requests"] == "500ms"
    assert int(first.headers["x-ratelimit-remaining-tokens"]) < 1000
    chat(server)
    refused = chat(server)
    assert refused.status == 429
    assert refused.json["error"]["code"] == "rate_limit_exceeded"
    assert refused.json["error"]["type"] == "requests"
    assert refused.headers["retry-after"] == "1"
    server.retry_after = "ms"
    assert chat(server).headers["retry-after-ms"] == "500"
    server.retry_after, server.headers = False, False
    bare = chat(server)
    assert not [name for name in bare.headers if "ratelimit" in name or "retry" in name]
    clock.now += 0.5
    assert chat(server).status == 200
    assert server.stats.refused == 3
    assert server.stats.refused_by == {"requests": 3}
    assert server.stats.accepted == 3


def test_concurrency_and_the_peak() -> None:
    with serve(OpenAIServer(concurrency=1, faults=[Fault("hang", nth=frozenset({1}))])) as server:
        parts = urlsplit(server.url)
        held = http.client.HTTPConnection(parts.hostname or "", parts.port)
        held.request("POST", "/v1/chat/completions", json.dumps(openai_body()))
        wait_for(lambda: server.stats.active == 1)
        assert chat(server).status == 429
        assert server.stats.in_flight_peak == 2
        held.close()
        wait_for(lambda: server.stats.in_flight == 0)
        assert chat(server).status == 200
        assert server.stats.failed == 1
        assert server.stats.settled


def test_scope_keeps_models_apart() -> None:
    with serve(OpenAIServer(rpm=60, scope="model", clock=Clock())) as server:
        assert chat(server).status == 200
        assert chat(server).status == 429
        assert chat(server, model="gpt-4.1").status == 200


# -- faults ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "status", "code"),
    [
        ("429", 429, "rate_limit_exceeded"),
        ("429_no_retry_after", 429, "rate_limit_exceeded"),
        ("quota", 429, "insufficient_quota"),
        ("500", 500, None),
        ("503", 503, None),
        ("529", 529, None),
        ("stream_error", 500, None),
        ("context", 400, "context_length_exceeded"),
        ("unauthorized", 401, None),
        ("not_found", 404, "model_not_found"),
    ],
)
def test_faults_with_a_status(server: OpenAIServer, kind: Any, status: int, code: Any) -> None:
    server.faults = [Fault(kind, times=1)]
    reply = chat(server)
    assert (reply.status, reply.json["error"]["code"]) == (status, code)
    assert ("retry-after" in reply.headers) == (kind == "429")
    assert chat(server).status == 200
    assert server.stats.faults == {kind: 1}
    assert (server.stats.failed, server.stats.answered) == (1, 1)


def test_faults_of_the_connection(server: OpenAIServer) -> None:
    server.faults = [Fault("cut", nth=frozenset({1, 2})), Fault("reset", nth=frozenset({3}))]
    with pytest.raises(http.client.IncompleteRead):
        chat(server)
    with pytest.raises(http.client.IncompleteRead):
        chat(server, stream=True)
    with pytest.raises((http.client.RemoteDisconnected, ConnectionError)):
        chat(server)
    server.faults = [Fault("rst", times=1)]
    with pytest.raises((http.client.RemoteDisconnected, ConnectionError)):
        chat(server)
    assert (server.stats.failed, server.stats.charged, server.stats.answered) == (4, 2, 0)


def test_faults_of_the_content(server: OpenAIServer) -> None:
    def one(kind: Any, **more: Any) -> Reply:
        server.faults = [Fault(kind)]
        return chat(server, response_format=openai_format(SCHEMA), **more)

    def said(reply: Reply) -> Any:
        return reply.json["choices"][0]["message"]["content"]

    with pytest.raises(ValueError, match=r"Expecting|Unterminated|Invalid"):
        _ = one("malformed").json
    with pytest.raises(ValueError, match="Unterminated"):
        json.loads(said(one("malformed_content")))
    assert "unexpected" in json.loads(said(one("wrong_schema")))
    assert one("truncated").json["choices"][0]["finish_reason"] == "length"
    assert one("content_filter").json["choices"][0]["finish_reason"] == "content_filter"
    assert one("refusal").json["choices"][0]["message"]["refusal"]
    assert said(one("empty")) == ""
    assert b"502 Bad Gateway" in one("html").body
    events = one("stream_error", stream=True).events
    assert "error" in events[-1]


def test_random_faults_are_repeatable_and_may_belong_to_the_prompt(server: OpenAIServer) -> None:
    def statuses() -> list[int]:
        return [chat(server, f"prompt {i % 40}").status for i in range(80)]

    server.faults = [Fault("500", rate=0.3)]
    first = statuses()
    server.reset()
    assert statuses() == first
    assert 8 < first.count(500) < 40
    server.faults = [Fault("500", rate=0.3, per="prompt")]
    fates = statuses()
    assert fates[:40] == fates[40:]
    server.faults = [Fault("500", per="prompt", times=1)]
    assert statuses() == [500] * 40 + [200] * 40
    server.faults = [Fault("500", match="prompt 7"), Fault("503", model="nano", times=1)]
    assert [chat(server, f"prompt {i}").status for i in (7, 7, 8, 8)] == [500, 500, 503, 200]


# -- answers and counting -------------------------------------------------------------------


def test_quotes_are_real_invented_or_repaired(server: OpenAIServer) -> None:
    def quotes(*users: str) -> list[str]:
        said = []
        for i in range(8):
            messages = [{"role": "user", "content": f"{text}{' ' * i}"} for text in users]
            body = openai_body(messages=messages, response_format=openai_format(SCHEMA))
            reply = ask(f"{server.base_url}/chat/completions", body).json
            said.append(json.loads(reply["choices"][0]["message"]["content"])["quote"])
        return said

    row = SPEECH.split("\n\n")[1]
    assert all(quote in row for quote in quotes(SPEECH))
    server.quotes = "invent"
    assert not any(quote in row for quote in quotes(SPEECH))
    server.quotes = "repair"
    assert not any(quote in row for quote in quotes(SPEECH))
    assert all(quote in row for quote in quotes(SPEECH, "That is not in the text."))
    server.quotes = "real"
    assert all(quote in "Tag me." for quote in quotes("Do it.\n\n<text>\nTag me.\n</text>"))


def test_respond_hook_usage_and_dollars() -> None:
    def respond(prompt: str, request: dict[str, Any]) -> str | dict[str, Any] | Answer:
        if "dict" in prompt:
            return {"model": request["model"]}
        return Answer("Yes", top_logprobs={"Yes": -0.1, "No": -2.4})

    price = {"input": 10.0, "cached_input": 1.0, "output": 100.0}
    with serve(OpenAIServer(respond=respond, price=price, cached=0.5, reasoning=3)) as server:
        reply = chat(server, "a dict now").json
        assert json.loads(reply["choices"][0]["message"]["content"]) == {"model": "gpt-4.1-nano"}
        usage = reply["usage"]
        assert usage["prompt_tokens"] == tokens("a dict now") == 3
        assert usage["prompt_tokens_details"]["cached_tokens"] == 1
        assert usage["completion_tokens_details"]["reasoning_tokens"] == 3
        assert usage["completion_tokens"] == 3 + tokens('{"model":"gpt-4.1-nano"}')
        stats = server.stats
        assert stats.prompt_tokens == 3
        assert stats.completion_tokens == usage["completion_tokens"]
        expected = (2 * 10.0 + 1 * 1.0 + usage["completion_tokens"] * 100.0) / 1e6
        assert stats.dollars == pytest.approx(expected)
        likely = chat(server, "yes?", logprobs=True, top_logprobs=2).json["choices"][0]["logprobs"]
        assert [t["token"] for t in likely["content"][0]["top_logprobs"]] == ["Yes", "No"]


def test_counts_by_prompt_and_request_log() -> None:
    with serve(OpenAIServer(keep_requests=True)) as server:
        for text in ("a", "b", "a"):
            chat(server, text)
        assert server.stats.by_prompt == {"a": 2, "b": 1}
        assert server.stats.repeats == {1: 1, 2: 1}
        logged = server.stats.requests[1]
        assert logged.path == "/v1/chat/completions"
        assert logged.body["messages"][0]["content"] == "b"
        assert logged.headers["content-length"]


def test_a_client_that_leaves_is_abandoned_and_not_charged() -> None:
    with serve(OpenAIServer(latency=30)) as server:
        parts = urlsplit(server.url)
        held = http.client.HTTPConnection(parts.hostname or "", parts.port)
        held.request("POST", "/v1/chat/completions", json.dumps(openai_body()))
        wait_for(lambda: server.stats.in_flight == 1)
        held.close()
        wait_for(lambda: server.stats.in_flight == 0)
        assert (server.stats.abandoned, server.stats.charged) == (1, 0)
        # One that leaves in the middle of a stream had its answer begun, and is charged.
        server.latency, server.chunk_delay = 0, 30
        held = http.client.HTTPConnection(parts.hostname or "", parts.port)
        held.request("POST", "/v1/chat/completions", json.dumps(openai_body(stream=True)))
        wait_for(lambda: server.stats.answered == 1)
        held.close()
        wait_for(lambda: server.stats.in_flight == 0)
        assert (server.stats.broken_off, server.stats.charged) == (1, 1)
        assert server.stats.settled


def test_a_bug_in_a_hook_is_not_passed_over() -> None:
    def respond(prompt: str, request: dict[str, Any]) -> str:
        raise RuntimeError("oh no")

    with pytest.raises(AssertionError, match="oh no"), serve(OpenAIServer(respond=respond)) as s:
        assert chat(s).status == 500


def test_a_process_of_its_own() -> None:
    with spawn("openai", fixed="[]", keys=["sk-1"], faults=[{"kind": "500", "nth": [2]}]) as remote:
        url = f"{remote.base_url}/chat/completions"
        key = {"authorization": "Bearer sk-1"}
        assert ask(url, openai_body("x"), authorization="Bearer sk-2").status == 401
        assert ask(url, openai_body("x"), **key).status == 500
        assert ask(url, openai_body("x"), **key).json["choices"][0]["message"]["content"] == "[]"
        stats = remote.stats(by_prompt=True)
        assert (stats["received"], stats["rejected"], stats["answered"]) == (3, 1, 1)
        assert stats["by_prompt"] == {digest("x"): 2}
        assert remote.configure(rpm=5, faults=[])["rpm"] == 5
        assert ask(remote.url + "/__config", {"nonsense": 1}).status == 400
        assert ask(remote.url + "/__config", {"rpm": "many"}).status == 400
        remote.reset()
        assert remote.stats()["received"] == 0
        remote.process.send_signal(signal.SIGTERM)
        assert remote.process.wait(10) == 0


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.006, "6ms"), (1.5, "1.5s"), (60, "1m0s"), (360, "6m0s"), (3661, "1h1m1s"), (0, "0ms")],
)
def test_go_durations(seconds: float, text: str) -> None:
    assert go_duration(seconds) == text
