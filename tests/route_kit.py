"""Two models behind the tests of routing: their servers, sessions over them, routers for them."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from swath.messages import Message, Request
from swath.routing.training import train
from swath.routing.vectors import gist
from swath.session import Session
from tests.conftest import model_table
from tests.servers import OpenAIServer, serve
from tests.servers.answers import embedding

CHEAP = {"price": {"input": 0.1, "output": 0.4}}
EASY = "Say hello."
HARD = 2 * (
    "A train of 120 m passes a bridge of 480 m in 30 seconds, and another of 90 m comes towards it "
    "at 54 km/h. Calculate after how many seconds they have passed each other, and find the total "
    "distance that both have covered by then, if each slows down by 2 percent a second. "
)


_WORDS = "why does the train to town leave late when rain and snow fall on a hill"


class House:
    """Two servers, `small` and `large`, and sessions over them."""

    def __init__(self, small: OpenAIServer, large: OpenAIServer, store: str) -> None:
        self.small, self.large = small, large
        self._store = store
        self._open: list[Session] = []

    def session(self, small: Any = None, large: Any = None, **router: Any) -> Session:
        models = {
            "small": model_table(self.small, model="tiny", **{**CHEAP, **(small or {})}),
            "large": model_table(self.large, model="huge", **(large or {})),
        }
        config = {"models": models, "store": self._store}
        config["router"] = {"weak": "small", "strong": "large", **router}
        made = Session(config, check=False)
        self._open.append(made)
        return made

    @property
    def asked(self) -> tuple[int, int]:
        return self.small.stats.received, self.large.stats.received

    def close(self) -> None:
        for session in self._open:
            session.close()


@contextmanager
def house(tmp_path: Path, small: Any = None, large: Any = None) -> Iterator[House]:
    with (
        serve(small or OpenAIServer(respond=lambda p, b: "from small")) as few,
        serve(large or OpenAIServer(respond=lambda p, b: "from large")) as much,
    ):
        made = House(few, much, f"sqlite:///{tmp_path}/swath.db")
        try:
            yield made
        finally:
            made.close()


def ledger(session: Session) -> list[dict[str, Any]]:
    return session.engine.store.query("SELECT * FROM calls ORDER BY at")


def request(text: str, model: str = "auto") -> Request:
    return Request(model=model, messages=(Message("user", text),))


def prompts(n: int, seed: int = 0) -> list[str]:
    draw = random.Random(seed)
    words = [
        "why",
        "does",
        "the",
        "train",
        "to",
        "town",
        "leave",
        "late",
        "when",
        "rain",
        "and",
        "snow",
        "fall",
        "on",
        "a",
        "hill",
    ]
    return [
        f"{i}: " + " ".join(draw.choices(words, k=draw.choice([3, 8, 30, 90]))) for i in range(n)
    ]


def trained(texts: list[str], kind: str = "difficulty") -> Any:
    """Trained on long prompts being hard for `small`."""
    long = [len(text.split()) > 10 for text in texts]
    rows = [(t, "small", 0.2 if hard else 0.9) for t, hard in zip(texts, long, strict=True)]
    rows += [(t, "large", 0.8 if hard else 0.95) for t, hard in zip(texts, long, strict=True)]
    table = pl.DataFrame(rows, schema=["prompt", "model", "quality"], orient="row")
    return train(table, kind, embedding="small", encode=encode)


def encode(texts: Any) -> Any:
    """What the test server gives as embeddings."""
    return np.array([embedding(gist(text), 64) for text in texts], np.float64)
