"""What exploring and shadow calls behind `swath serve` leave for the next router to learn from."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import openai
import polars as pl
import pytest

import swath as sw
from swath import routing
from swath.gateway.server import Gateway
from swath.routing import replayed
from swath.session import Session
from tests.conftest import model_table
from tests.servers import Answer, OpenAIServer, serve
from tests.test_serve import CHEAP, _until

EASY = "Say hello to guest {}."
HARD = "Prove by induction that the sum of the first {} odd numbers is a square, step by step."
SERVED = 4096  # max_tokens, where a client sets none


class Door:
    """A gateway before two models, of which only `large` can prove things."""

    def __init__(self, server: OpenAIServer, session: Session, gateway: Gateway) -> None:
        self.server, self.session = server, session
        self._client = openai.OpenAI(base_url=gateway.url, api_key="any", max_retries=0)

    def ask(self, prompt: str) -> tuple[str, str]:
        """(answer, the run in the ledger)"""
        messages: Any = [{"role": "user", "content": prompt}]
        raw = self._client.chat.completions.with_raw_response.create(
            model="auto", messages=messages
        )
        said = raw.parse().choices[0].message.content
        return str(said), str(raw.headers["x-swath-request-id"])

    def stream(self, prompt: str) -> str:
        messages: Any = [{"role": "user", "content": prompt}]
        parts = self._client.chat.completions.create(model="auto", messages=messages, stream=True)
        return "".join(part.choices[0].delta.content or "" for part in parts)


def _respond(prompt: str, body: dict[str, Any]) -> Answer:
    able = body["model"] == "huge" or "Prove" not in prompt
    return Answer(text="right" if able else "wrong")


@contextmanager
def door_to(**router: Any) -> Iterator[Door]:
    with serve(OpenAIServer(respond=_respond)) as server:
        models = {
            "small": model_table(server, model="tiny", **CHEAP),
            "large": model_table(server, model="huge"),
        }
        table = {"weak": "small", "strong": "large", **router}
        config = {"models": models, "store": "memory://", "router": table}
        with Session(config, check=False) as session, Gateway(session, port=0) as gateway:
            yield Door(server, session, gateway)


def test_explored_answers_and_the_applications_grades_train_the_next_router(tmp_path: Path) -> None:
    prompts = [text.format(i) for i in range(70) for text in (EASY, HARD)]
    with door_to(explore=0.3, share=0.5) as door:
        kept = []  # what the application knows: prompt, run, and how good the answer was
        for prompt in prompts:
            answer, run = door.ask(prompt)
            kept.append((prompt, run, float(answer == "right")))
        feedback = pl.DataFrame(kept, schema=["prompt", "run", "quality"], orient="row")
        calls = sw.calls(session=door.session).filter(pl.col("route") != "").collect()
        drawn = calls.filter(pl.col("route_why") == "explore")
        assert 0.14 < drawn.height / len(prompts) < 0.46
        graded = feedback.join(calls.select("run", "model"), on="run").drop("run")
        assert graded.height == len(prompts)
        hard = pl.col("prompt").str.starts_with("Prove")
        both = graded.filter(hard)["model"].value_counts()
        assert both.height == 2  # without exploring, only one model would have been seen on these
        router = routing.train(graded, "difficulty")
        assert router.score([HARD.format(7)])[0] > router.score([EASY.format(7)])[0]
        routing.save(router, tmp_path / "next.router")
    with door_to(artifact=str(tmp_path / "next.router")) as door:
        assert door.ask(HARD.format(1000))[0] == "right"
        door.ask(EASY.format(1000))
        table = sw.calls(session=door.session).select("model").collect()
        assert sorted(table["model"]) == ["large", "small"]


@pytest.mark.parametrize("streamed", [False, True])
def test_what_shadows_bought_is_compared_without_paying_again(streamed: bool) -> None:
    prompts = [EASY.format(i) for i in range(8)]
    with door_to(shadow=1.0, share=0.0) as door:
        for prompt in prompts:
            door.stream(prompt) if streamed else door.ask(prompt)
        _until(lambda: door.server.stats.answered == 16)
        _until(lambda: _count(door) == 16)
        calls = sw.calls(session=door.session).collect()
        shadows = calls.filter(pl.col("route_why") == "shadow")
        assert set(shadows["model"]) == {"large"}
        assert shadows["run"].n_unique() == 1  # a run of its own, with its own budget
        asked = {
            model: sw.map("{prompt}", model=model, max_tokens=SERVED)
            for model in ("small", "large")
        }
        run = sw.frame({"prompt": prompts}).with_columns(**asked).run(session=door.session)
        assert (run.metrics.calls, run.metrics.cached) == (0, 16)
        # And so does what `swath router train --prompts` would ask.
        said, _ = replayed.conversations(pl.DataFrame({"prompt": prompts}))
        told = replayed.forecast(said, ["small", "large"], ["large"], session=door.session)
        assert told.stored == 16
        assert door.server.stats.answered == 16


def test_shadows_stop_at_their_budget_and_clients_notice_nothing() -> None:
    with door_to(shadow=1.0, share=0.0, shadow_budget=1e-9) as door:
        for i in range(5):
            assert door.ask(EASY.format(i))[0] == "right"
        calls = sw.calls(session=door.session).collect()
        spent = calls.filter(pl.col("route_why") == "shadow")["cost_usd"].sum()
        assert spent <= 1e-9
        assert door.server.stats.answered == 5


def _count(door: Door) -> int:
    return sw.calls(session=door.session).select(pl.len()).collect().item()
