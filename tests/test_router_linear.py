"""`linear`, the router that `sw.auto` learns from few rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from swath import routing
from swath.routing.graded import Graded
from swath.routing.lexicon import lexicon
from swath.routing.linear import Linear
from swath.routing.router import Texts
from tests.test_auto import is_hard, texts


def table(n: int, seed: int = 0) -> Graded:
    made = texts(n, seed=seed)
    draw = np.random.default_rng(seed)
    good = draw.random(n) < np.where([is_hard(t) for t in made], 0.3, 0.95)
    quality = np.stack([good * 1.0, np.ones(n)], axis=1)
    return Graded(tuple(made), ("small", "large"), quality, np.zeros(n, np.intp), ("",))


@pytest.mark.parametrize("n", [60, 300])  # fewer rows than columns, and more
def test_it_ranks_unseen_prompts_and_comes_back_from_its_file_the_same(
    n: int, tmp_path: Path
) -> None:
    router = routing.train(table(n), "linear", encode=lexicon().mean)
    fresh = texts(200, seed=9)
    scores = router.score(fresh)
    hard = np.array([is_hard(t) for t in fresh])
    assert scores[hard].mean() > scores[~hard].mean() + 0.5
    path = routing.save(router, tmp_path / "a.router")
    assert not any(t.encode() in path.read_bytes() for t in texts(n))
    again = routing.load(path, lexicon().mean)
    assert np.array_equal(again.score(fresh), scores)
    assert np.array_equal(again.predict(fresh), router.predict(fresh))


@pytest.mark.parametrize("n", [40, 250])
def test_what_it_leaves_out_is_what_refitting_without_a_row_would_say(
    n: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With one block and one pull there is nothing to choose, so each row can be left out in
    truth. The columns' means and spreads are those of all rows: a difference of 1 in n."""
    monkeypatch.setattr("swath.routing.linear.PARTS", (0.5,))
    monkeypatch.setattr("swath.routing.linear.PULLS", (10.0,))
    graded = table(n)
    read = Texts(graded.prompts, lexicon().mean)
    assert len(read.lexical) == len(read.vectors) == n
    target = graded.quality[:, 0] - graded.quality[:, 0].mean()
    told = Linear(models=graded.models)._learn_leaving_out(read, target, graded)
    for row in range(0, n, n // 8):
        keep = np.arange(n) != row
        other = Linear(models=graded.models)
        part = read.only(np.flatnonzero(keep))
        other.learn(part, target[keep], graded.rows(keep), 0)
        mean = float(other.hardness(part).mean()) - float(target[keep].mean())
        alone = float(other.hardness(read.only(np.array([row])))[0]) - mean
        assert told[row] == pytest.approx(alone, abs=0.08)
