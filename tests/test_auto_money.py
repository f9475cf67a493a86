"""`sw.auto` and money: budgets, kills, and errors that come before anything is spent."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import swath as sw
from swath.errors import InputError
from swath.session import Session
from tests.conftest import model_table
from tests.servers import OpenAIServer, serve
from tests.test_auto import CHEAP, auto, house, label, large, small, texts, truth

ROOT = Path(__file__).parent.parent


def test_a_budget_stops_it_and_what_was_bought_is_not_bought_again(tmp_path: Any) -> None:
    with (
        serve(OpenAIServer(respond=small)) as few,
        serve(OpenAIServer(respond=large)) as much,
        serve(OpenAIServer()) as other,
    ):
        models = {
            "small": model_table(few, **CHEAP, model="tiny"),
            "large": model_table(much, model="huge"),
            "vectors": model_table(other, **CHEAP, model="vectors"),
        }
        store = f"sqlite:///{tmp_path}/swath.db"
        with Session({"models": models, "store": store}, check=False):
            chosen = sw.auto(["small", "large"], embedding="vectors", sample=150)
            frame = sw.frame({"text": texts(400)}).with_columns(x=label(chosen))
            with pytest.raises(sw.BudgetReached):
                frame.run(max_cost=0.004)
            assert few.stats.answered_by_prompt
            run = frame.run(max_cost=10)
            assert run.table["x"].null_count() == 0
        for server in (few, much):
            assert max(server.stats.answered_by_prompt.values()) == 1
        embedded = [t for batch in other.stats.answered_by_prompt for t in batch.split("\n")]
        assert embedded
        assert len(embedded) == len(set(embedded))


RUN = """
import sys, polars as pl, swath as sw
from tests.test_auto import LABELS, texts
config, out = sys.argv[1:]
with sw.Session(config, check=False):
    chosen = sw.auto(["small", "large"], embedding="vectors", sample=150, quality=0.9)
    frame = sw.frame({"text": texts(500)}).with_columns(x=sw.classify("text", LABELS, model=chosen))
    frame.collect().write_parquet(out)
"""


def test_killed_while_it_learns_and_while_it_routes_nothing_is_paid_twice(tmp_path: Any) -> None:
    flight = 8
    with (
        serve(OpenAIServer(respond=small, latency=(0.002, 0.01))) as few,
        serve(OpenAIServer(respond=large, latency=(0.002, 0.01))) as much,
        serve(OpenAIServer()) as other,
    ):
        lines = [f'store = "sqlite:///{tmp_path}/swath.db"']
        for alias, server in (("small", few), ("large", much), ("vectors", other)):
            table = model_table(server, concurrency=flight, model=alias)
            table["price"] = {"input": 0.1 if alias == "small" else 1.0, "output": 4.0}
            lines.append(f"[models.{alias}]")
            lines += [f"{key} = {json.dumps(v)}" for key, v in table.items() if key != "price"]
            price = table["price"]
            lines.append(f"price = {{ input = {price['input']}, output = {price['output']} }}")
        config, out = tmp_path / "swath.toml", tmp_path / "out.parquet"
        config.write_text("\n".join(lines))

        def start() -> subprocess.Popen[bytes]:
            command = [sys.executable, "-c", RUN, str(config), str(out)]
            return subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE)

        # 150 rows are asked of both to learn from, then the other 350 of one each.
        for target in (80, 420):
            process = start()
            deadline = time.monotonic() + 120
            while few.stats.answered + much.stats.answered < target:
                assert process.poll() is None, process.stderr and process.stderr.read().decode()
                assert time.monotonic() < deadline
                time.sleep(0.002)
            process.kill()
            process.wait()
            assert not out.exists()
        process = start()
        _, errors = process.communicate(timeout=240)
        assert process.returncode == 0, errors.decode()
        answers = pl.read_parquet(out)
        right = [truth(t) == x for t, x in zip(answers["text"], answers["x"], strict=True)]
        assert np.mean(right) >= 0.9
        for server in (few, much):
            counts = server.stats.answered_by_prompt
            assert sum(n - 1 for n in counts.values()) <= 2 * flight
        # Sampled rows keep the large one's answer; each other row was asked of one model.
        asked = len(few.stats.answered_by_prompt) + len(much.stats.answered_by_prompt)
        assert asked == 500 + 150


def test_grades_that_are_none_are_refused() -> None:
    with house():
        chosen = auto(judge=lambda text, answer: 3.0)
        with pytest.raises(InputError, match="the grade 3"):
            sw.frame({"text": texts(200)}).with_columns(x=sw.map("{text}", model=chosen)).run()


def test_a_model_that_is_not_configured_is_named_before_anything_is_asked() -> None:
    with house() as them:
        chosen = sw.auto(["small", "lagre"], embedding="vectors")
        with pytest.raises(sw.SwathError, match="lagre"):
            sw.frame({"text": texts(200)}).with_columns(x=label(chosen)).run()
        assert them.asked == (0, 0)
