"""`swath serve` as sockets see it, and as those who come from RouteLLM do."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import openai
import polars as pl
import pytest

from benchmarks.serving import CONTENDERS
from swath.gateway.server import Gateway
from swath.routing import save, train
from swath.routing.vectors import gist
from swath.session import Session
from tests.conftest import model_table
from tests.servers import Fault, OpenAIServer, serve
from tests.servers.answers import embedding
from tests.test_serve import CHEAP, EASY, House, _until, house

SECRET = "Words that belong to the user alone"
BODY = json.dumps({"model": "small", "messages": EASY}).encode()


@pytest.fixture(scope="module")
def plain() -> Iterator[House]:
    with house(OpenAIServer(respond=lambda prompt, body: f"You said: {prompt}")) as made:
        yield made


def talk(them: House, sent: bytes) -> tuple[int, dict[str, str], bytes]:
    """(status, headers, body) of the last answer to raw bytes, read until the server closes."""
    with them.socket() as link:
        link.sendall(sent)
        got = b""
        while part := link.recv(65536):
            got += part
    head, _, body = got[got.rindex(b"HTTP/1.1 ") :].partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines)
    return int(first.split()[1]), headers, body


def post(body: bytes, version: str = "1.1", more: str = "connection: close\r\n") -> bytes:
    head = f"POST /v1/chat/completions HTTP/{version}\r\nhost: x\r\n{more}"
    return f"{head}content-length: {len(body)}\r\n\r\n".encode() + body


# -- the wire


@pytest.mark.parametrize(
    "sent",
    [
        post(BODY, "1.0", ""),
        post(BODY, more="connection: close\r\ncontent-type: text/plain\r\n"),
        post(BODY, more="") + post(BODY),  # one after the other, sent together
        post(BODY, more="connection: close\r\nexpect: 100-continue\r\n"),
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nconnection: close\r\n"
        b"transfer-encoding: chunked\r\n\r\n"
        + b"".join(b"1\r\n" + BODY[i : i + 1] + b"\r\n" for i in range(len(BODY)))
        + b"0\r\n\r\n",
    ],
    ids=["http 1.0", "no content type", "pipelined", "expects 100", "chunks of a byte"],
)
def test_a_request_may_come_in_any_form_of_http(plain: House, sent: bytes) -> None:
    status, headers, body = talk(plain, sent)
    assert status == 200
    assert headers["x-swath-model"] == "small"
    assert json.loads(body)["choices"][0]["message"]["content"] == "You said: Say hello."


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\xfc\r\n\r\n",  # TLS, at a port that has none
        b"GET /health HTTP/1.1\r\nhost: x\r\ncontent-length: -5\r\n\r\n",
        b"POST /v1/embeddings HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        post(b"model=small&messages=hello"),
        post(b"\x1f\x8b\x08\x00", more="connection: close\r\ncontent-encoding: gzip\r\n"),
    ],
    ids=["tls", "length", "chunk", "form", "gzip"],
)
def test_what_is_no_request_is_a_400(plain: House, sent: bytes) -> None:
    assert talk(plain, sent)[0] == 400
    assert plain.chat().choices  # and it lives on


def test_head_is_get_without_the_body(plain: House) -> None:
    for path in ("/health", "/v1/models", "/v1/models/auto"):
        request = f"{{}} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
        got = talk(plain, request.format("GET").encode())
        head = talk(plain, request.format("HEAD").encode())
        assert (head[0], head[2]) == (200, b"")
        assert head[1]["content-length"] == got[1]["content-length"]
    assert talk(plain, request.format("OPTIONS").encode())[1]["allow"] == "get, head"


def test_one_connection_serves_many_and_many_are_served_at_once(plain: House) -> None:
    for i in range(50):
        messages = [{"role": "user", "content": f"in turn {i}"}]
        assert plain.chat(messages=messages).choices[0].message.content == f"You said: in turn {i}"

    async def crowd() -> list[str]:
        client = openai.AsyncOpenAI(base_url=plain.gateway.url, api_key="any", max_retries=0)

        async def ask(i: int) -> str:
            made: Any = await client.chat.completions.create(
                model="auto",
                messages=[{"role": "user", "content": f"crowd {i}"}],
                stream=i % 2 == 0,  # type: ignore[call-overload]
            )
            if i % 2:
                return str(made.choices[0].message.content)
            return "".join([c.choices[0].delta.content or "" async for c in made])

        async with client:
            return await asyncio.gather(*(ask(i) for i in range(100)))

    assert asyncio.run(crowd()) == [f"You said: crowd {i}" for i in range(100)]


# -- what the headers and bodies say


def test_a_stream_names_one_model_and_a_stored_one_its_cost(plain: House) -> None:
    given: Any = {"model": "auto", "messages": [{"role": "user", "content": "Which model?"}]}
    for cost in (None, "0.000000000"):
        raw = plain.client.chat.completions.with_raw_response.create(**given, stream=True)
        assert {chunk.model for chunk in raw.parse()} == {"gpt-4.1-nano"}
        assert raw.headers.get("x-swath-cost-usd") == cost
        assert raw.headers["x-swath-route"].startswith("auto; model=small; why=score")


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("fault", ["refusal", "500", "malformed", "html", "unauthorized", "quota"])
def test_failures_tell_route_cost_and_run_and_never_the_prompt(
    fault: Any, streamed: bool, caplog: Any
) -> None:
    server = OpenAIServer(faults=[Fault(fault)])
    with house(server, deadline=0.3, timeout=0.5, fallback=[]) as them:
        messages = [{"role": "user", "content": SECRET}]
        body = {"model": "small", "messages": messages, "stream": streamed}
        status, headers, told = talk(them, post(json.dumps(body).encode()))
        (row,) = them.session.engine.store.query("SELECT * FROM calls")
        assert SECRET not in f"{headers}{told!r}{row}{caplog.text}"
        assert headers["x-swath-request-id"] == row["run"]
        assert headers["x-swath-route"] == "direct"
        if status != 200:  # else it broke off within the stream
            assert float(headers["x-swath-cost-usd"]) == pytest.approx(row["cost_usd"], abs=1e-9)
            assert (row["cost_usd"] > 0) == (fault == "refusal")
        assert b'"error"' in told
        assert row["status"] != "ok"


# -- those who come from RouteLLM

PROMPTS = [f"{'Prove it, step by step. ' * (i % 7)}Question {i}?" for i in range(60)]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("router-mf-{}", "factorization"),
        ("router-sw_ranking-{}", "similarity"),
        ("router-random-{}", "random"),
    ],
)
def test_routellms_names_choose_by_their_threshold(tmp_path: Path, name: str, kind: str) -> None:
    with serve(OpenAIServer(respond=lambda prompt, body: str(body["model"]))) as server:
        models = {
            "small": model_table(server, model="tiny", **CHEAP),
            "large": model_table(server, model="huge"),
        }
        router = {"weak": "small", "strong": "large", "artifact": str(tmp_path / "my.router")}
        save(_trained(kind), tmp_path / "my.router")
        config = {"models": models, "store": "memory://", "router": router}
        with Session(config, check=False) as session, Gateway(session, port=0) as gateway:
            client = openai.OpenAI(base_url=gateway.url, api_key="any", max_retries=0)

            def ask(threshold: str) -> tuple[list[str], list[float]]:
                answered, scores = [], []
                for prompt in PROMPTS[:20]:
                    raw = client.chat.completions.with_raw_response.create(
                        model=name.format(threshold),
                        messages=[{"role": "user", "content": prompt}],
                    )
                    scores.append(float(raw.headers["x-swath-route"].rpartition("score=")[2]))
                    answered.append(str(raw.parse().choices[0].message.content))
                return answered, scores

            _, scores = ask("-1000")
            middle = sorted(scores)[10] - 1e-3
            answered, _ = ask(f"{middle:.5f}")
            assert answered == ["huge" if score > middle else "tiny" for score in scores]
            assert set(answered) == {"huge", "tiny"}
            assert set(ask("1000")[0]) == {"tiny"}


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("router-mf-0.11593", "factorization"),
        ("router-bert-0.7", "bert"),
        ("router-causal_llm-0.3", "causal"),
        ("router-sw_ranking-0.2", "similarity"),
    ],
)
def test_a_threshold_of_another_kind_is_refused_with_what_to_do(
    plain: House, name: str, kind: str
) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        plain.chat(model=name)
    assert f"swath router train --kind {kind}" in str(caught.value)
    assert "auto:share=0.5" in str(caught.value)


def _trained(kind: str) -> Any:
    rows = [(p, "weak", 0.2 if "Prove" in p else 0.9) for p in PROMPTS]
    rows += [(p, "strong", 0.9) for p in PROMPTS]
    table = pl.DataFrame(rows, schema=["prompt", "model", "quality"], orient="row")
    return train(table, kind, embedding="small", encode=_encode)


def _encode(texts: Any) -> Any:
    """What the test server gives as embeddings."""
    return np.array([embedding(gist(text), 64) for text in texts], np.float64)


# -- the end


@pytest.mark.parametrize("streamed", [False, True])
def test_who_is_still_waiting_when_the_time_is_up_is_told(streamed: bool, caplog: Any) -> None:
    pace = {"chunk_delay": 0.3} if streamed else {"latency": 60.0}
    server = OpenAIServer(respond=lambda prompt, body: "word " * 500, **pace)
    with serve(server) as up, Session(_one_model(up), check=False) as session:
        with Gateway(session, port=0, grace=1) as gateway:
            them = House(up, gateway, session)
            body = json.dumps({"model": "m", "messages": EASY, "stream": streamed}).encode()
            with ThreadPoolExecutor(1) as pool:
                waiting = pool.submit(talk, them, post(body))
                _until(lambda: up.stats.received == 1)
                gateway.stop()
                status, _, told = waiting.result(timeout=10)
        assert status == (200 if streamed else 503)
        assert b"The server is stopping." in told
        assert "Traceback" not in caplog.text


def _one_model(server: OpenAIServer) -> dict[str, Any]:
    return {"models": {"m": model_table(server)}, "store": "memory://"}


def test_a_stream_under_way_is_finished_at_sigterm(tmp_path: Path) -> None:
    slow = OpenAIServer(respond=lambda prompt, body: "word " * 40, chunk_delay=0.02)
    with serve(slow) as server:
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
            found = re.search(r"http://127\.0\.0\.1:\d+/v1", running.stdout.readline())
            assert found
            client = openai.OpenAI(base_url=found[0], api_key="any", max_retries=0)
            stream: Any = client.chat.completions.create(
                model="m",
                messages=[{"role": "user", "content": "A long one"}],
                stream=True,
            )
            text = next(iter(stream)).choices[0].delta.content or ""
            os.kill(running.pid, signal.SIGTERM)
            text += "".join(chunk.choices[0].delta.content or "" for chunk in stream)
            assert text == "word " * 40
            client.close()
            assert running.wait(timeout=20) == 0
            assert running.stderr is not None
            assert "Traceback" not in running.stderr.read()
        finally:
            running.kill()
            running.wait()


@pytest.mark.slow
def test_the_benchmark_prints_its_table() -> None:
    sizes = ["--requests", "20", "--repeat", "1"]
    command = [sys.executable, "-m", "benchmarks.serving", *sizes]
    root = Path(__file__).parents[1]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    lines = [line.strip("| ") for line in done.stdout.splitlines() if line.startswith("| ")]
    rows = [[cell.strip() for cell in line.split("|")] for line in lines[1:]]
    assert [row[0] for row in rows] == list(CONTENDERS)
    assert all(float(row[1].replace(",", "")) > 0 for row in rows)
