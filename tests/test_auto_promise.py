"""The statistics of `sw.auto`: what it promises holds, whatever the scores; see benchmarks/auto.py
for 200 trials on graded data."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from benchmarks.auto import study
from swath.operators.auto_learning import ranking, router_of, threshold_of, threshold_of_grades
from swath.operators.guarantees import tolerance
from swath.routing.lexicon import lexicon
from swath.routing.router import Texts
from tests.test_auto import is_hard, texts


@pytest.mark.parametrize("good", [0.94, 0.95, 0.96, 0.99])
def test_the_threshold_keeps_its_promise_whatever_the_scores(good: float) -> None:
    """Over 400 tables the share of broken promises stays within the risk: with a router that knows
    something and with one that knows nothing."""
    rows, n, risk = 2000, 240, 0.1
    for knows in (0.0, 1.0):
        broken = 0
        for seed in range(400):
            draw = np.random.default_rng(seed)
            slips = draw.random(rows) > good
            scores = draw.normal(size=rows) + knows * slips
            seen = draw.permutation(rows)[:n]
            level = threshold_of(scores[seen], slips[seen], 0.95, risk, rows)
            left = np.ones(rows, bool)
            left[seen] = False
            broken += (slips & left & (scores < level)).sum() > 0.05 * rows
        assert broken <= 400 * risk + 3 * (400 * risk * (1 - risk)) ** 0.5
        if good == 0.99:
            assert level == np.inf


@pytest.mark.parametrize("measure", ["agreement", "grades"])
def test_auto_keeps_its_promise_over_resampled_tables(measure: str) -> None:
    """The benchmark in small (benchmarks/auto.py does 200 trials on graded data): most prompts are
    hard for the weak model if they are long, and it fails on one in thirty of the others."""
    draw = np.random.default_rng(3)
    made = texts(1500, seed=3)
    hard = np.array([is_hard(text) for text in made])
    weak = (draw.random(1500) < np.where(hard, 0.4, 0.97)) * 1.0
    one = study(Texts(made, lexicon().mean), weak, np.ones(1500), trials=8, measure=measure)
    assert one["held"] >= 0.9 - 3 * (0.09 / 8) ** 0.5
    assert one["saved_mean"] > 0.05


@pytest.mark.parametrize(("risk", "knows"), [(0.1, 0.0), (0.3, 1.0)])
def test_grades_keep_their_promise_whatever_the_scores(risk: float, knows: float) -> None:
    """The same for grades, where the large model fails too and the small one is right where it
    does: the rows learned from and checked keep the large one's answer, and what may be lost is
    counted over the whole table. The small model is about as bad as just too bad."""
    rows, learned, n, trials = 800, 130, 270, 400
    cuts = (*np.linspace(-2, 3, 30), np.inf)
    broken = used = 0
    for seed in range(trials):
        draw = np.random.default_rng(seed)
        high = np.asarray(draw.random(rows) < 0.8, np.float64)
        low = np.where(draw.random(rows) < 0.12, 1 - high, high)
        scores = draw.normal(size=rows) + knows * (high > low)
        order = draw.permutation(rows)
        first, seen, left = order[:learned], order[learned : learned + n], order[learned + n :]
        level = threshold_of_grades(
            scores[seen], low[seen], high[seen], 0.95, risk, rows - learned, high[first], cuts
        )
        kept = high.copy()
        kept[left] = np.where(scores[left] < level, low[left], high[left])
        broken += kept.mean() < 0.95 * high.mean()
        used += level > -np.inf
    assert broken <= trials * risk + 3 * (trials * risk * (1 - risk)) ** 0.5
    assert used > trials / 2  # or it would hold for want of trying


def test_grades_that_never_differ_let_all_rows_go_and_those_always_worse_none() -> None:
    scores, large = np.linspace(-1, 1, 300), np.full(300, 0.8)
    given: dict[str, Any] = {"rows": 2000, "learned": large[:100], "cuts": (-0.5, 0.5, np.inf)}
    assert threshold_of_grades(scores, large, large, 0.95, 0.1, **given) == np.inf
    assert threshold_of_grades(scores, 0 * large, large, 0.95, 0.1, **given) < 0


def test_the_router_learns_what_the_small_model_loses_and_not_what_is_hard_for_both() -> None:
    """Rows on which both fail are no reason to ask the large model."""
    draw = np.random.default_rng(0)
    made = texts(400, hard=0.5, seed=1)
    hard = np.array([is_hard(text) for text in made])
    large = np.where(hard, 0.0, 1.0)  # fails on all hard ones, as the small one does
    small = np.where(hard, 0.0, (draw.random(400) < 0.5) * 1.0)
    names = ("small", "large")
    router, _ = router_of(Texts(made, lexicon().mean), small, large, names, "", 0)
    scores = router.wants(Texts(made, lexicon().mean))
    assert ranking(scores, large - small) > 0.6
    assert scores[hard].mean() < scores[~hard].mean()


def test_a_stricter_promise_never_raises_the_threshold() -> None:
    draw = np.random.default_rng(1)
    scores, slips = draw.normal(size=300), draw.random(300) > 0.8
    levels = [threshold_of(scores, slips, q, 0.1, 5000) for q in np.arange(0.8, 0.99, 0.01)]
    assert levels == sorted(levels, reverse=True)
    assert threshold_of(scores[:20], slips[:20], 0.95, 0.1, 5000) == -np.inf
    assert tolerance(20, 0.95, 0.1, 5000) < 0


def test_ranking_is_one_half_for_what_tells_nothing() -> None:
    loss = np.array([0.0, 0, 1, 1])
    assert ranking(np.array([1.0, 2, 3, 4]), loss) == 1
    assert ranking(np.array([4.0, 3, 2, 1]), loss) == 0
    assert ranking(np.zeros(4), loss) == 0.5
    assert ranking(np.arange(4.0), np.zeros(4)) == 0.5
