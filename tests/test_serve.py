"""`swath serve`, by the unmodified `openai` client and by raw sockets."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request as Call
from urllib.request import urlopen

import openai
import pytest
from pydantic import BaseModel

from swath.errors import OutputError
from swath.gateway.server import Gateway
from swath.session import Session
from tests.conftest import model_table
from tests.servers import Answer, Fault, OpenAIServer, serve

CHEAP = {"price": {"input": 0.1, "output": 0.4}}
EASY = [{"role": "user", "content": "Say hello."}]


class House:
    """A gateway before one test server, and a client of it."""

    def __init__(self, server: OpenAIServer, gateway: Gateway, session: Session) -> None:
        self.server, self.gateway, self.session = server, gateway, session
        self.client = openai.OpenAI(base_url=gateway.url, api_key="any", max_retries=0)

    def chat(self, **more: Any) -> Any:
        given = {"model": "small", "messages": EASY} | more
        return self.client.chat.completions.create(**given)

    def raw(self, body: bytes, path: str = "/v1/chat/completions", **headers: str) -> Any:
        """(status, headers, body) of a plain request."""
        url = self.gateway.url.removesuffix("/v1") + path
        call = Call(url, data=body, headers={"content-type": "application/json", **headers})
        try:
            with urlopen(call, timeout=10) as reply:
                return reply.status, dict(reply.headers), json.loads(reply.read())
        except HTTPError as error:
            return error.code, dict(error.headers), json.loads(error.read())

    def socket(self) -> socket.socket:
        return socket.create_connection((self.gateway.host, self.gateway.port), timeout=10)


@contextmanager
def house(server: OpenAIServer, max_body: int = 16 << 20, **settings: Any) -> Iterator[House]:
    with serve(server) as up:
        models = {
            "small": model_table(up, model="gpt-4.1-nano", **CHEAP, **settings),
            "large": model_table(up, model="gpt-4.1", **settings),
        }
        router = {"weak": "small", "strong": "large"}
        config = {"models": models, "store": "memory://", "router": router}
        with (
            Session(config, check=False) as session,
            Gateway(session, port=0, grace=3, max_body=max_body) as gateway,
        ):
            yield House(up, gateway, session)


@pytest.fixture(scope="module")
def plain() -> Iterator[House]:
    """One that answers, for tests which only look at what comes back."""
    with house(OpenAIServer(respond=_respond, keep_requests=True)) as made:
        yield made


def _respond(prompt: str, body: Any) -> Any:
    if body.get("tools") and body.get("tool_choice") != "none":
        return Answer(tool_calls=[("weather", {"city": "Bern"})])
    if body.get("response_format"):
        return json.dumps({"city": "Bern", "people": 134_000})
    return f"You said: {prompt}"


# -- the openai client


def test_a_chat(plain: House) -> None:
    reply = plain.chat()
    assert reply.choices[0].message.content == "You said: Say hello."
    assert reply.choices[0].finish_reason == "stop"
    assert reply.object == "chat.completion"
    assert reply.id.startswith("chatcmpl-")
    assert reply.usage.total_tokens == reply.usage.prompt_tokens + reply.usage.completion_tokens > 0
    assert reply.usage.prompt_tokens > 0


def test_headers_tell_model_cost_cache_and_route(plain: House) -> None:
    messages = [{"role": "user", "content": "What do the headers say?"}]
    seen = []
    for model in ("small", "auto", "auto"):
        raw = plain.client.chat.completions.with_raw_response.create(model=model, messages=messages)
        seen.append(raw.headers)
        assert raw.parse().choices[0].message.content == "You said: What do the headers say?"
    first, routed, _ = seen
    assert first["x-swath-model"] == routed["x-swath-model"] == "small"
    assert (first["x-swath-cache"], routed["x-swath-cache"]) == ("miss", "exact")
    assert float(first["x-swath-cost-usd"]) > 0 == float(routed["x-swath-cost-usd"])
    assert first["x-swath-route"] == "direct"
    assert re.fullmatch(r"auto; model=small; why=score; score=-\d\.\d{4}", routed["x-swath-route"])
    assert len({h["x-swath-request-id"] for h in seen}) == 3
    runs = plain.session.engine.store.query("SELECT run, cost_usd, route FROM calls")
    by_run = {row["run"]: row for row in runs}
    row = by_run[first["x-swath-request-id"]]
    assert row["cost_usd"] == pytest.approx(float(first["x-swath-cost-usd"]), abs=1e-9)
    assert by_run[routed["x-swath-request-id"]]["route"] == "auto"


def test_streaming(plain: House) -> None:
    messages = [{"role": "user", "content": "Stream this, word by word."}]
    chunks = list(
        plain.chat(messages=messages, stream=True, stream_options={"include_usage": True})
    )
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert text == "You said: Stream this, word by word."
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "stop"
    assert not chunks[-1].choices
    assert chunks[-1].usage.completion_tokens > 0
    assert len({c.id for c in chunks}) == 1
    # Stored by now: it comes whole, and says so.
    again = plain.client.chat.completions.with_raw_response.create(
        model="small", messages=messages, stream=True
    )
    assert again.headers["x-swath-cache"] == "exact"
    assert again.headers["x-swath-model"] == "small"
    parts = list(again.parse())
    assert "".join(c.choices[0].delta.content or "" for c in parts) == text
    assert all(c.usage is None for c in parts)


def test_the_clients_streaming_helper(plain: House) -> None:
    with plain.client.chat.completions.stream(
        model="small",
        messages=[{"role": "user", "content": "And the helper?"}],
        stream_options={"include_usage": True},
    ) as stream:
        deltas = [event.delta for event in stream if event.type == "content.delta"]
        final = stream.get_final_completion()
    assert "".join(deltas) == "You said: And the helper?"
    assert final.choices[0].message.content == "You said: And the helper?"
    assert final.usage is not None


WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Of a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}


@pytest.mark.parametrize("streamed", [False, True])
def test_tools(plain: House, streamed: bool) -> None:
    messages: list[Any] = [{"role": "user", "content": f"The weather? {streamed}"}]
    given = {"model": "small", "messages": messages, "tools": [WEATHER]}
    if streamed:
        with plain.client.chat.completions.stream(**given) as stream:
            reply = stream.get_final_completion()
    else:
        reply = plain.client.chat.completions.create(**given)
    message = reply.choices[0].message
    assert reply.choices[0].finish_reason == "tool_calls"
    (call,) = message.tool_calls
    assert call.function.name == "weather"
    assert json.loads(call.function.arguments) == {"city": "Bern"}
    messages += [
        {"role": "assistant", "tool_calls": [call.model_dump(exclude={"index"})]},
        {"role": "tool", "tool_call_id": call.id, "content": "sunny"},
    ]
    answered = plain.client.chat.completions.create(
        model="small", messages=messages, tools=[WEATHER], tool_choice="none"
    )
    assert answered.choices[0].message.content
    sent = plain.server.stats.requests[-1].body
    assert [m["role"] for m in sent["messages"]] == ["user", "assistant", "tool"]
    assert sent["tool_choice"] == "none"


class City(BaseModel):
    city: str
    people: int


def test_structured_answers(plain: House) -> None:
    parsed = plain.client.chat.completions.parse(
        model="small",
        messages=[{"role": "user", "content": "A city?"}],
        response_format=City,
    )
    assert parsed.choices[0].message.parsed == City(city="Bern", people=134_000)
    sent = plain.server.stats.requests[-1].body["response_format"]
    assert sent["type"] == "json_schema"
    assert set(sent["json_schema"]["schema"]["properties"]) == {"city", "people"}
    loose = plain.chat(
        messages=[{"role": "user", "content": "A city, as JSON?"}],
        response_format={"type": "json_object"},
    )
    assert json.loads(loose.choices[0].message.content)["city"] == "Bern"


@pytest.mark.parametrize("streamed", [False, True])
def test_logprobs(plain: House, streamed: bool) -> None:
    given: dict[str, Any] = {"logprobs": True, "top_logprobs": 2, "stream": streamed}
    given["messages"] = [{"role": "user", "content": f"How sure? {streamed}"}]
    reply = plain.chat(**given)
    if streamed:
        told = [c.choices[0].logprobs for c in reply]
        found = [token for part in told if part for token in part.content]
    else:
        found = reply.choices[0].logprobs.content
    assert "".join(t.token for t in found) == f"You said: How sure? {streamed}"
    assert all(t.logprob <= 0 and len(t.top_logprobs) == 2 for t in found)


def test_settings_reach_the_provider(plain: House) -> None:
    plain.chat(
        messages=[
            {"role": "developer", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": "All settings?"}]},
        ],
        temperature=0.3,
        top_p=0.9,
        max_completion_tokens=77,
        stop=["END"],
        seed=5,
        frequency_penalty=0.5,
        user="somebody",
        metadata={"a": "b"},
    )
    sent = plain.server.stats.requests[-1].body
    assert sent["temperature"] == 0.3
    assert sent["top_p"] == 0.9
    assert sent["max_tokens"] == 77
    assert sent["stop"] == ["END"]
    assert sent["seed"] == 5
    assert sent["frequency_penalty"] == 0.5
    assert "user" not in sent
    assert sent["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "All settings?"},
    ]


def test_embeddings(plain: House) -> None:
    texts = ["one text", "another text"]
    # The client asks for base64 of its own accord, and for floats when told to.
    coded = plain.client.embeddings.create(model="small", input=texts)
    floats = plain.client.embeddings.create(model="small", input=texts, encoding_format="float")
    assert len(coded.data) == 2
    assert coded.data[1].index == 1
    assert coded.data[0].embedding == pytest.approx(floats.data[0].embedding, rel=1e-6)
    assert coded.data[0].embedding != coded.data[1].embedding


def test_models_and_health(plain: House) -> None:
    names = [model.id for model in plain.client.models.list()]
    assert names == ["auto", "small", "large", "local"]
    assert plain.client.models.retrieve("auto").owned_by == "swath"
    assert plain.client.models.retrieve("small").owned_by == "openai"
    with pytest.raises(openai.NotFoundError):
        plain.client.models.retrieve("smal")
    with urlopen(plain.gateway.url.removesuffix("/v1") + "/health") as reply:
        assert json.loads(reply.read()) == {"status": "ok", "models": 3}


def test_many_at_once(plain: House) -> None:
    from concurrent.futures import ThreadPoolExecutor

    def ask(i: int) -> str:
        reply = plain.chat(messages=[{"role": "user", "content": f"number {i}"}])
        return str(reply.choices[0].message.content)

    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(ask, range(64))) == [f"You said: number {i}" for i in range(64)]


# -- what is refused


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"n": 2}, "n=1"),
        ({"messages": []}, "at least one message"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "role"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "only text"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "tool_call_id"),
        ({"messages": ["hello"]}, "object"),
        ({"temperature": "hot"}, "temperature"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": True}, "max_tokens"),
        ({"stop": [1]}, "stop"),
        ({"top_logprobs": 2}, "logprobs"),
        ({"logprobs": True, "top_logprobs": 50}, "from 0 to 20"),
        ({"tools": [{"type": "web_search"}]}, "type function"),
        ({"tools": [WEATHER], "tool_choice": "sometimes"}, "tool_choice"),
        ({"response_format": {"type": "xml"}}, "response_format"),
        ({"temprature": 1}, "temprature"),
        ({"stream": "yes"}, "stream"),
        ({"model": None}, "model"),
        ({"model": "auto:qualty=1"}, "quality"),
    ],
)
def test_a_bad_field_is_named(plain: House, given: dict[str, Any], says: str) -> None:
    before = plain.server.stats.received
    body = {"model": "small", "messages": EASY} | given
    status, _, told = plain.raw(json.dumps(body).encode())
    assert status == (404 if "auto" in str(given) else 400)
    assert says in told["error"]["message"]
    assert told["error"]["type"] == "invalid_request_error"
    assert plain.server.stats.received == before


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b'"x"', b"\xff\xfe", b"[" * 100_000, b'{"model": "small"'], ids=repr
)
def test_what_is_no_json_is_a_400(plain: House, body: bytes) -> None:
    status, _, told = plain.raw(body)
    assert status == 400
    assert told["error"]["code"] == "invalid_json"


def test_unknown_models_paths_and_methods(plain: House) -> None:
    with pytest.raises(openai.NotFoundError, match=r"smalll.*small") as caught:
        plain.chat(model="smalll")
    assert caught.value.code == "model_not_found"
    assert plain.raw(b"{}", "/v1/completions")[0] == 404
    status, headers, _ = plain.raw(b"{}", "/v1/models")
    assert (status, headers["allow"]) == (405, "GET, HEAD")


def test_bodies_are_bounded() -> None:
    with house(OpenAIServer(), max_body=1 << 20) as them:
        big = json.dumps({"model": "small", "messages": [], "x": "y" * (2 << 20)}).encode()
        with them.socket() as link:
            link.sendall(
                b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n"
                + f"content-length: {len(big)}\r\n\r\n".encode()
            )
            assert b"413" in link.recv(4096).split(b"\r\n")[0]
        with them.socket() as link:  # without a length, it is counted as it comes
            link.sendall(
                b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n"
                b"transfer-encoding: chunked\r\n\r\n"
            )
            try:
                for _ in range(3):
                    link.sendall(f"{1 << 19:x}\r\n".encode() + b" " * (1 << 19) + b"\r\n")
                answer = link.recv(4096)
            except ConnectionError:
                answer = b"413"
            assert b"413" in answer
        assert them.chat().choices  # and it lives on


# -- faults upstream


@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [
        ("429", 429, "rate_limit_exceeded"),
        ("quota", 429, "insufficient_quota"),
        ("unauthorized", 502, "upstream_auth"),
        ("not_found", 404, "model_not_found"),
        ("context", 400, "context_length_exceeded"),
        ("500", 502, "upstream_failed"),
        ("503", 503, "overloaded"),
        ("rst", 502, "upstream_unreachable"),
        ("content_filter", 400, "content_filter"),
        ("hang", 504, "upstream_timeout"),
    ],
)
@pytest.mark.parametrize("streamed", [False, True])
def test_faults_upstream_have_their_status(
    fault: Any, status: int, code: str, streamed: bool
) -> None:
    server = OpenAIServer(faults=[Fault(fault, retry_after=60)])
    with house(server, deadline=0.4, timeout=0.4) as them:
        with pytest.raises(openai.APIStatusError) as caught:
            list(them.chat(stream=streamed))
        assert caught.value.status_code == status
        assert caught.value.code == code
        assert "retry-after" in caught.value.response.headers or fault not in ("429", "503")


def test_a_stream_that_is_cut_ends_in_an_error() -> None:
    long = "word " * 2000
    server = OpenAIServer(respond=lambda p, b: long, faults=[Fault("cut")])
    with house(server, deadline=1) as them:
        got: list[str] = []
        stream = them.chat(stream=True)
        with pytest.raises(openai.APIError) as caught:
            got.extend(chunk.choices[0].delta.content or "" for chunk in stream)
        assert 0 < len("".join(got)) < len(long)
        assert "small" in str(caught.value)
        assert them.session.engine.store.query("SELECT status FROM calls")[0]["status"] != "ok"


@pytest.mark.parametrize("streamed", [True, False])
def test_a_client_that_goes_away_ends_the_call(streamed: bool) -> None:
    pace = {"chunk_delay": 0.05} if streamed else {"latency": 5.0}
    server = OpenAIServer(respond=lambda p, b: "word " * 500, **pace)
    with house(server) as them:
        body = json.dumps({"model": "small", "messages": EASY, "stream": streamed}).encode()
        link = them.socket()
        link.sendall(
            b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n"
            + f"content-length: {len(body)}\r\n\r\n".encode()
            + body
        )
        if streamed:
            assert link.recv(64).startswith(b"HTTP/1.1 200")
        _until(lambda: server.stats.received == 1)
        link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        link.close()
        rows: list[Any] = []

        def ended() -> bool:
            rows[:] = them.session.engine.store.query("SELECT status FROM calls")
            return bool(rows)

        _until(ended, seconds=2.5)
        assert rows[0]["status"] == "cancelled"


def test_half_a_request_blocks_nobody(plain: House) -> None:
    with plain.socket() as idle:
        idle.sendall(b"POST /v1/chat/completions HTTP/1.1\r\ncontent-length: 100\r\n\r\n{")
        assert plain.chat().choices


def test_keys_never_appear(monkeypatch: pytest.MonkeyPatch, caplog: Any) -> None:
    monkeypatch.setenv("HOUSE_KEY", "sk-do-not-tell")
    server = OpenAIServer(faults=[Fault("unauthorized")])
    with house(server, api_key_env="HOUSE_KEY") as them:
        raw = them.raw(json.dumps({"model": "small", "messages": EASY}).encode())
        listed = them.client.models.list().to_json()
        assert "sk-do-not-tell" not in f"{raw}{listed}{caplog.text}"
        assert raw[0] == 502


# -- the command


def test_a_taken_port_is_said(plain: House) -> None:
    with pytest.raises(OutputError, match=r"127\.0\.0\.1.*--port"):
        Gateway(plain.session, port=plain.gateway.port)


def test_the_command_serves_and_ends_gracefully(tmp_path: Path) -> None:
    with serve(OpenAIServer(latency=0.5)) as server:
        (tmp_path / "swath.toml").write_text(
            f'check_keys = false\n[models.m]\nprovider = "openai"\nmodel = "x"\n'
            f'base_url = "{server.base_url}"\n'
        )
        command = [sys.executable, "-m", "swath", "serve", "--port", "0"]
        running = subprocess.Popen(
            command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        try:
            assert running.stdout is not None
            line = running.stdout.readline()
            found = re.search(r"http://127\.0\.0\.1:\d+/v1", line)
            assert found, (line, running.stderr and running.stderr.read())
            client = openai.OpenAI(base_url=found[0], api_key="any", max_retries=0)
            assert client.chat.completions.create(model="m", messages=EASY).choices  # type: ignore[arg-type]
            from concurrent.futures import ThreadPoolExecutor

            with ThreadPoolExecutor(1) as pool:  # what is under way is still answered
                late: Any = pool.submit(
                    client.chat.completions.create,
                    model="m",
                    messages=[{"role": "user", "content": "late"}],
                )
                _until(lambda: server.stats.received == 2)
                os.kill(running.pid, signal.SIGTERM)
                assert late.result(timeout=10).choices
            assert running.wait(timeout=20) == 0
            assert running.stderr is not None
            assert "Traceback" not in running.stderr.read()
        finally:
            running.kill()
            running.wait()


def _until(done: Callable[[], bool], seconds: float = 5.0) -> None:
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end
        time.sleep(0.02)
