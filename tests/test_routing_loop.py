"""The flywheel, from a comparison to a served router: compare, train, calibrate, then `auto` in a
frame and by OpenAI's own client. Over test servers; with two local models on real tickets it is
examples/routing_loop.py."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import openai
import polars as pl
import pytest

import swath as sw
from swath import routing
from swath.gateway.server import Gateway
from swath.session import Session
from tests.conftest import model_table
from tests.data_kit import data
from tests.servers import OpenAIServer, serve
from tests.test_auto import CHEAP, LABELS, is_hard, label, large, small, texts, truth

ROOT = Path(__file__).parent.parent


def gold(compared: sw.Comparison) -> pl.DataFrame:
    """People's labels of each pair, by what the tickets say."""
    assert compared.items is not None
    rows = []
    for pair in compared.items.iter_rows(named=True):
        said = [truth(pair["input"]) == pair[side] for side in ("answer_a", "answer_b")]
        won = "tie" if said[0] == said[1] else "A" if said[0] else "B"
        rows.append({"item_id": pair["item_id"], "annotator": "gold", "label": won})
    return pl.DataFrame(rows)


def test_compare_train_calibrate_then_auto_in_a_frame_and_served(tmp_path: Path) -> None:
    with (
        serve(OpenAIServer(respond=small)) as few,
        serve(OpenAIServer(respond=large)) as much,
    ):
        models = {
            "small": model_table(few, **CHEAP, model="tiny"),
            "large": model_table(much, model="huge"),
        }
        config: dict[str, Any] = {"models": models, "store": f"sqlite:///{tmp_path}/swath.db"}
        seen, fresh, asked = texts(200, seed=1), texts(100, seed=2), texts(80, seed=3)
        with Session(config, check=False):
            compared = sw.compare({"text": seen}, label("small"), ["small", "large"], n=None)
            graded = routing.of_comparison(compared.with_human(gold(compared)))
            router = routing.train(graded, "difficulty")
            scores = router.score(fresh)
            router.calibration = routing.for_share(scores, 0.45, weak="small", strong="large")
            path = routing.save(router, tmp_path / "tickets.router")
        assert set(graded.models) == {"small", "large"}
        config["router"] = {"artifact": str(path)}
        everything: dict[str, tuple[float, float]] = {}
        for name in ("small", "large", "auto"):
            with Session({**config, "store": "memory://"}, check=False):
                run = sw.frame({"text": asked}).with_columns(x=label(name)).run()
                right = [truth(t) == x for t, x in zip(asked, run.table["x"], strict=True)]
                everything[name] = float(np.mean(right)), run.metrics.cost_usd
        # Better than all-small, cheaper than all-large: 40% are hard, and it found them.
        assert everything["small"][0] < 0.8
        assert everything["auto"][0] > everything["small"][0] + 0.15
        assert everything["small"][1] < everything["auto"][1] < 0.7 * everything["large"][1]
        # The server sends each ticket where the frame did.
        with Session({**config, "store": "memory://"}, check=False) as session:
            before = few.stats.received, much.stats.received
            with Gateway(session, port=0) as gateway:
                client = openai.OpenAI(base_url=gateway.url, api_key="any", max_retries=0)
                by_large, right, dollars = [], [], 0.0
                for text in asked:
                    raw = client.chat.completions.with_raw_response.create(
                        model="auto",
                        messages=[
                            {"role": "system", "content": f"One of {LABELS}"},
                            {"role": "user", "content": text},
                        ],
                    )
                    by_large.append(raw.headers["x-swath-model"] == "large")
                    right.append(raw.parse().choices[0].message.content == truth(text))
                    dollars += float(raw.headers["x-swath-cost-usd"])
            assert few.stats.received - before[0] == by_large.count(False)
            assert much.stats.received - before[1] == by_large.count(True)
        assert by_large.count(True) == run.by_model["large"].calls
        assert np.mean(right) == pytest.approx(everything["auto"][0])
        assert dollars > 0
        hard = np.array([is_hard(text) for text in asked])
        assert np.mean(hard == by_large) > 0.75  # a coin: a half


@pytest.mark.local
@pytest.mark.slow
def test_the_example_on_real_tickets(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / "routing_loop.py"), "18"],
        cwd=tmp_path,
        env={**os.environ, "SWATH_DATA": str(data("."))},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    lines = {line[:13].strip(): line.split() for line in done.stdout.splitlines()}
    for door in ("frame", "served"):
        dollars, shares = zip(
            *(
                (float(lines[name][-2]), lines[name][-1])
                for name in (f"small, {door}", f"large, {door}")
            ),
            strict=True,
        )
        assert dollars[0] < dollars[1]
        assert shares == ("0%", "100%")
    by_large = [lines[f"auto, {door}"][-2] for door in ("frame", "served")]
    assert by_large[0] == by_large[1]
