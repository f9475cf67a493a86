"""Noise fails no build, and a loss is found: the test of paired scores, simulated."""

from __future__ import annotations

from itertools import product
from math import comb
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import swath as sw
from swath.evals.golden.paired import difference_interval, holm, mean_interval, worse
from tests.conftest import Open
from tests.golden_kit import noisy, suite, tickets
from tests.servers import OpenAIServer, serve


def alarms(before: float, now: float, rows: int, checks: int, runs: int, seed: int) -> float:
    """How often at least one of several checks is called worse, where each version is right in a
    share of rows of its own."""
    rng = np.random.default_rng(seed)
    found = 0
    for _ in range(runs):
        a, b = rng.random((2, checks, rows)) < np.array([before, now])[:, None, None]
        p_values = [worse((y.astype(float) - x).tolist()) for x, y in zip(a, b, strict=True)]
        found += any(holm(p_values))
    return found / runs


@pytest.mark.parametrize(("rows", "checks"), [(20, 1), (100, 1), (200, 4)])
def test_false_alarms_stay_below_5_percent(rows: int, checks: int) -> None:
    runs = 600
    error = 3 * (0.05 * 0.95 / runs) ** 0.5
    for seed, share in enumerate((0.6, 0.9)):
        assert alarms(share, share, rows, checks, runs, seed) <= 0.05 + error


def test_a_model_that_varies_fails_no_build(tmp_path: Path, open_session: Open) -> None:
    """The whole way: the same quality under two versions of a prompt, twelve times."""
    tickets(tmp_path, 60)
    needs = "threshold = 0"
    found = []
    for seed in range(12):
        with serve(OpenAIServer(respond=noisy({"One": 0.8, "Two": 0.8}, seed))) as server:
            session = open_session(store=f"sqlite:///{tmp_path}/{seed}.db", fast=server)
            path = suite(tmp_path, needs, 'prompt = { name = "route", text = "One." }')
            before = sw.golden(path, session=session)
            path = suite(tmp_path, needs, 'prompt = { name = "route", text = "Two." }')
            found.append(sw.golden(path, against=before, session=session))
            session.close()
    assert len({report.regressions[0].now for report in found}) > 3  # it does vary
    assert sum(not report.ok for report in found) <= 2  # of 12 at 5%, more has a chance of 0.02


def test_scores_between_0_and_1_make_no_more_alarms() -> None:
    rng = np.random.default_rng(3)
    runs = 80
    found = sum(
        worse((rng.beta(2, 1, 40) - rng.beta(2, 1, 40)).tolist()) <= 0.05 for _ in range(runs)
    )
    assert found / runs <= 0.05 + 3 * (0.05 * 0.95 / runs) ** 0.5


def test_a_loss_of_15_points_over_200_rows_is_found() -> None:
    assert alarms(0.85, 0.70, 200, 1, 200, 5) > 0.95
    assert alarms(0.85, 0.70, 200, 3, 200, 6) > 0.95


def test_a_gain_is_no_alarm() -> None:
    assert alarms(0.6, 0.9, 100, 1, 200, 7) == 0


def test_clusters_that_move_together_are_one_piece_of_evidence() -> None:
    """Ten documents of twenty rows each: what shifts a document is not twenty facts."""
    rng = np.random.default_rng(4)
    runs, by_rows, by_clusters = 300, 0, 0
    clusters = [c for c in range(10) for _ in range(20)]
    for _ in range(runs):
        shift = np.repeat(rng.choice([-1.0, 0.0, 1.0], 10), 20) * (rng.random(200) < 0.5)
        by_rows += worse(shift.tolist()) <= 0.05
        by_clusters += worse(shift.tolist(), clusters) <= 0.05
    assert by_clusters / runs <= 0.05 + 3 * (0.05 * 0.95 / runs) ** 0.5
    assert by_rows / runs > 0.2


@given(st.lists(st.sampled_from([-1.0, 0.0, 1.0]), max_size=9))
def test_it_is_the_share_of_sign_flips_that_are_as_low(differences: list[float]) -> None:
    units = [d for d in differences if d]
    flips = [sum(s * abs(d) for s, d in zip(signs, units, strict=True)) for signs in
             product((-1, 1), repeat=len(units))]  # fmt: skip
    share = sum(f <= sum(units) for f in flips) / len(flips)
    assert worse(differences) == pytest.approx(share)


def test_mcnemar_by_hand() -> None:
    # 3 better, 12 worse: the chance of at most 3 heads in 15.
    differences = [1.0] * 3 + [-1.0] * 12 + [0.0] * 50
    assert worse(differences) == pytest.approx(sum(comb(15, k) for k in range(4)) / 2**15)
    assert worse([]) == worse([0.0, 0.0]) == 1.0


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == [True, False, False, True]
    assert holm([]) == []


@pytest.mark.parametrize("share", [0.5, 0.9])
def test_intervals_cover(share: float) -> None:
    rng = np.random.default_rng(5)
    runs, inside, paired = 1000, 0, 0
    for _ in range(runs):
        one = mean_interval((rng.random(60) < share).astype(float).tolist())
        assert one is not None
        inside += one.low <= share <= one.high
        two = difference_interval((rng.random(60) - rng.random(60)).tolist())
        paired += two.low <= 0 <= two.high
    assert inside / runs >= 0.92
    assert paired / runs >= 0.92


def test_intervals_at_the_ends() -> None:
    assert mean_interval([]) is None
    sure = mean_interval([1.0] * 5)
    assert sure is not None
    assert (sure.mean, sure.high) == (1.0, 1.0)
    assert sure.low < 0.7
    one = mean_interval([0.5])
    assert one is not None
    assert one.low < 0.5 < one.high
