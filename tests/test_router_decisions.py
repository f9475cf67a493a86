"""Decisions on top of predictions, calibration and what it promises, drift."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from swath.errors import InputError
from swath.routing.calibrate import drift, for_budget, for_quality, for_share
from swath.routing.decide import by_threshold, by_value, costs_of, within_budget
from swath.routing.router import percentiles

WHO = {"weak": "w", "strong": "s"}
scores_of = st.lists(st.integers(-20, 20), min_size=1, max_size=60)
quality_of = st.lists(st.lists(st.integers(0, 10), min_size=3, max_size=3), min_size=1, max_size=6)


@given(quality_of, st.floats(0, 3), st.permutations([0, 1, 2]))
def test_value_is_the_best_trade_and_models_have_no_place(
    rows: list[list[int]], rate: float, order: list[int]
) -> None:
    quality, cost = np.array(rows) / 10, np.array([0.1, 0.25, 1.0])
    chosen = by_value(quality, cost, rate)
    value = quality - rate * cost
    here = np.arange(len(rows))
    assert (value[here, chosen] >= value.max(axis=1) - 1e-9).all()
    moved = by_value(quality[:, order], cost[order], rate)
    assert [order[i] for i in moved] == chosen.tolist()


@settings(max_examples=60)
@given(quality_of, st.integers(0, 24))
def test_a_budget_is_kept_and_well_spent(rows: list[list[int]], extra: int) -> None:
    quality, cost = np.array(rows) / 10, np.array([1.0, 2.0, 5.0])
    budget = len(rows) + extra
    chosen = within_budget(quality, cost, budget)
    here = np.arange(len(rows))
    assert cost[chosen].sum() <= budget + 1e-9
    best = max(
        sum(quality[i, m] for i, m in enumerate(pick))
        for pick in itertools.product(range(3), repeat=len(rows))
        if cost[list(pick)].sum() <= budget
    )
    # Never worse than the best by more than one row's whole range, as of any such relaxation.
    assert quality[here, chosen].sum() >= best - 1.0 - 1e-9
    more = within_budget(quality, cost, 5.0 * len(rows))
    np.testing.assert_allclose(quality[here, more], quality.max(axis=1))


def test_budgets_and_costs_that_make_no_sense() -> None:
    with pytest.raises(InputError, match="more than the budget"):
        within_budget(np.ones((3, 2)), np.array([1.0, 2.0]), 2.5)
    with pytest.raises(InputError, match="do not fit"):
        by_value(np.ones((3, 2)), np.ones(3), 1.0)
    assert costs_of(("a", "b"), {"b": 2.0, "a": 1.0}).tolist() == [1.0, 2.0]
    for prices, says in (
        ({"a": 1.0}, "no cost for 'b'"),
        ({"a": 1.0, "b": 1.0, "c": 1.0}, "does not know 'c'"),
        ({"a": 1.0, "b": float("nan")}, "cost of 'b'"),
    ):
        with pytest.raises(InputError, match=says):
            costs_of(("a", "b"), prices)


@given(scores_of, st.floats(0, 1), st.floats(0, 1))
def test_share_is_monotone_and_near(values: list[int], one: float, other: float) -> None:
    scores = np.array(values, float)
    low, high = (for_share(scores, s, **WHO) for s in sorted((one, other)))
    assert low.threshold >= high.threshold
    assert low.share <= high.share
    ties = max(values.count(v) for v in values)
    for share, made in ((min(one, other), low), (max(one, other), high)):
        assert abs(made.share - share) <= ties / len(values) + 1e-9
        assert by_threshold(scores, made.threshold).mean() == made.share


@given(scores_of, st.floats(0, 100), st.floats(0, 100))
def test_budget_is_monotone_and_kept(values: list[int], one: float, other: float) -> None:
    scores, n = np.array(values, float), len(values)
    made = [for_budget(scores, n + b, (1.0, 3.0), **WHO) for b in sorted((one, other))]
    assert made[0].threshold >= made[1].threshold
    for budget, found in zip(sorted((one, other)), made, strict=True):
        assert found.reached["cost"] <= n + budget + 1e-6
        strong = int((scores >= found.threshold).sum())
        assert found.reached["cost"] == pytest.approx(n + 2 * strong)


def test_a_budget_below_all_weak_is_refused() -> None:
    with pytest.raises(InputError, match="Even the weak model"):
        for_budget(np.arange(10.0), 5.0, (1.0, 2.0), **WHO)
    with pytest.raises(InputError, match="parts them only"):
        for_budget(np.arange(10.0), 50.0, (3.0, 2.0), **WHO)


def traffic(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores of a fair router, and grades: the weak model fails where scores are high."""
    hard = rng.normal(size=n)
    score = hard + rng.normal(size=n)
    weak = (rng.random(n) < 1 / (1 + np.exp(-(1.0 - 2 * hard)))).astype(float)
    strong = (rng.random(n) < 1 / (1 + np.exp(-(3.0 - 1 * hard)))).astype(float)
    return score, weak, strong


def test_quality_is_kept_as_often_as_promised() -> None:
    """200 calibrations on 400 graded prompts each; the truth is what 200,000 others say."""
    rng = np.random.default_rng(0)
    score, weak, strong = traffic(rng, 200_000)
    target, kept, saved = 0.9, [], []
    for _ in range(200):
        made = for_quality(*traffic(rng, 400), target, confidence=0.9)
        routed = np.where(score >= made.threshold, strong, weak)
        kept.append(routed.mean() >= target * strong.mean())
        saved.append(1 - (score >= made.threshold).mean())
    print(f"kept in {np.mean(kept):.1%} of trials; {np.mean(saved):.1%} of strong calls saved")
    assert np.mean(kept) >= 0.9
    assert np.mean(saved) > 0.2


def test_routers_that_do_not_help_are_not_believed() -> None:
    """Scores that say nothing, and a weak model that always fails: all-strong, nearly always."""
    rng = np.random.default_rng(1)
    wrong = 0
    for _ in range(100):
        strong = (rng.random(300) < 0.8).astype(float)
        made = for_quality(rng.random(300), np.zeros(300), strong, 0.95)
        # Of strong's quality 0.95 is kept at a share of 0.95 and no less.
        wrong += made.share < 0.95 - 1e-9
    assert wrong <= 15
    same = for_quality(rng.random(300), strong, strong, 0.95)
    assert same.share < 0.2
    assert same.reached["quality_kept"] == 1.0


@settings(max_examples=25)
@given(st.integers(0, 50), st.floats(0.3, 1), st.floats(0.3, 1))
def test_quality_is_monotone(seed: int, one: float, other: float) -> None:
    data = traffic(np.random.default_rng(seed), 150)
    low, high = (for_quality(*data, t) for t in sorted((one, other)))
    assert low.threshold >= high.threshold
    assert low.share <= high.share
    loose, tight = (for_quality(*data, one, confidence=c) for c in (0.7, 0.95))
    assert loose.threshold >= tight.threshold


def test_calibration_refuses_what_it_cannot_use() -> None:
    with pytest.raises(InputError, match="too few"):
        for_quality(np.arange(5.0), np.ones(5), np.ones(5), 0.9)
    with pytest.raises(InputError, match="differ in length"):
        for_quality(np.arange(50.0), np.ones(50), np.ones(49), 0.9)
    with pytest.raises(InputError, match="from 0 to 1"):
        for_quality(np.arange(50.0), np.ones(50) * 7, np.ones(50), 0.9)
    with pytest.raises(InputError, match="The share is 1"):
        for_share(np.arange(5.0), 1.5, **WHO)
    with pytest.raises(InputError, match="not all finite"):
        for_share(np.array([1.0, np.nan]), 0.5, **WHO)
    with pytest.raises(InputError, match="too few"):
        for_share(np.array([]), 0.5, **WHO)


def test_drift_is_seen_where_it_is_and_only_there() -> None:
    rng = np.random.default_rng(0)
    reference = percentiles(rng.normal(size=3000))
    alarms = [drift(reference, rng.normal(size=500)) for _ in range(100)]
    assert sum(d.moved for d in alarms) == 0
    assert np.mean([d.p < 0.05 for d in alarms]) < 0.2
    for moved in (rng.normal(1.0, 1, 500), rng.normal(0, 3, 500)):
        assert drift(reference, moved).moved
        assert "moved" in str(drift(reference, moved))
    flat = percentiles(np.zeros(10))
    assert not drift(flat, np.zeros(50)).moved
    assert drift(flat, np.ones(50)).moved
