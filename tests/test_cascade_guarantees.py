"""The promise itself: exact against scipy, and over many samples of hostile tables."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, hypergeom

from benchmarks import cascade as simulation
from swath.operators.guarantees import (
    ENDLESS,
    NEVER,
    Cut,
    Seen,
    beside,
    cut,
    least,
    lowest,
    tolerance,
)

QUALITIES = st.sampled_from([0.5, 0.7, 0.8, 0.9, 0.93, 0.95, 0.97, 0.99])
RISKS = st.sampled_from([0.3, 0.1, 0.05, 0.0125])


def broken(c: int, n: int, quality: float, rows: int) -> float:
    """The chance that at most c of the first c + m + 1 slips are drawn, by scipy."""
    slips = c + 1 + math.floor((1 - quality) * rows + 1e-9)
    return float(hypergeom.cdf(c, rows, slips, n)) if slips <= rows else 0.0


@settings(max_examples=150)
@given(QUALITIES, RISKS, st.integers(2, 500), st.data())
def test_the_risk_is_kept_in_a_table_of_any_size(
    quality: float, risk: float, rows: int, data: Any
) -> None:
    n = data.draw(st.integers(1, rows))
    c = tolerance(n, quality, risk, rows)
    if c >= 0:
        assert all(broken(c, n, quality, size) <= risk + 1e-9 for size in range(n, rows + 1))


@settings(max_examples=100)
@given(QUALITIES, RISKS, st.integers(20, 500), st.data())
def test_no_more_slips_could_be_let_pass(quality: float, risk: float, rows: int, data: Any) -> None:
    n = data.draw(st.integers(1, rows - 1))
    c = tolerance(n, quality, risk, rows)
    if c < n:
        assert any(broken(c + 1, n, quality, size) > risk for size in range(n, rows + 1))


def test_a_chance_that_is_just_the_risk_is_borne() -> None:
    # 19 of 20 drawn: the row left out is one of 6 slips at a chance of 0.3.
    assert tolerance(19, 0.97, 0.3, 20) == 5


def test_an_endless_table_is_binomial() -> None:
    for n, quality, risk in [(59, 0.95, 0.05), (300, 0.99, 0.05), (500, 0.9, 0.01)]:
        c = tolerance(n, quality, risk, ENDLESS)
        assert binom.cdf(c, n, 1 - quality) <= risk < binom.cdf(c + 1, n, 1 - quality)
    assert least(0.95, 0.05, ENDLESS) == 59
    assert least(0.99, 0.05, ENDLESS) == 299
    assert tolerance(58, 0.95, 0.05, ENDLESS) == -1
    assert least(0.95, 0.05, 200) < 59  # a good part of a small table tells more


def test_false_beside_true() -> None:
    for true, wrong, risk in [(29, 0.1, 0.05), (200, 0.05, 0.05), (1000, 0.01, 0.025)]:
        k = beside(true, wrong, risk)
        assert binom.cdf(k, k + true, wrong) <= risk < binom.cdf(k + 1, k + 1 + true, wrong)
    assert beside(28, 0.1, 0.05) == -1
    assert beside(0, 0.1, 0.05) == -1


@given(st.lists(st.sampled_from([-1.0, 0.0, 0.2, 0.5, 0.5, 0.9, 1.0]), max_size=30), st.data())
def test_the_threshold_leaves_no_more_slips_above_it_than_allowed(
    slips: list[float], data: Any
) -> None:
    allowed = data.draw(st.integers(-1, 30))
    edge = lowest(slips, allowed)
    above = sum(score >= max(edge, 0) for score in slips)
    assert above <= max(allowed, 0)
    if allowed < 0:
        assert edge == NEVER
    elif edge > 0:  # a lower one would let one more pass
        assert sum(score >= math.nextafter(edge, 0) for score in slips if score >= 0) > allowed


def test_a_sample_that_tells_nothing_trusts_nothing() -> None:
    sure = [Seen(0.9, slip=False)] * 58
    assert cut(sure, "agreement", 0.95, 0.05, ENDLESS) == Cut()
    assert cut([], "both", 0.9, 0.05, 1000) == Cut()
    no_true = [Seen(0.9, slip=False, says=False, truth=False)] * 500
    assert cut(no_true, "recall", 0.9, 0.05, 10_000) == Cut()
    assert cut([*sure, sure[0]], "agreement", 0.95, 0.05, ENDLESS) == Cut(0.0, 0.0)


RUNS = 200
HOSTILE: list[tuple[str, simulation.Target, float, int | None]] = [
    ("adversary", "agreement", 0.9, 150),
    ("adversary", "agreement", 0.95, 400),
    ("adversary", "both", 0.9, 400),
    ("confident few", "agreement", 0.95, 150),
    ("uninformative", "agreement", 0.95, 150),
    ("uninformative", "recall", 0.9, 150),
    ("backwards", "precision", 0.9, 150),
    ("overconfident", "agreement", 0.99, 400),
    ("ties", "both", 0.9, 150),
    ("overconfident", "agreement", 0.95, None),
]


@pytest.mark.parametrize(("table", "target", "quality", "sample"), HOSTILE)
def test_the_promise_is_kept_in_the_stated_share_of_runs(
    table: str, target: simulation.Target, quality: float, sample: int | None
) -> None:
    line = simulation.line(table, target, quality, sample, RUNS, beside=False)
    assert line.kept >= simulation.least_kept(RUNS)
    assert line.large < 1  # not by asking the large model everything


def test_the_simulation_can_fail() -> None:
    """LOTUS's bound, which is a normal one, does break its promise on a small sample."""
    line = simulation.line("confident few", "both", 0.99, 150, RUNS)
    assert line.lotus_kept < simulation.least_kept(RUNS) <= line.kept
