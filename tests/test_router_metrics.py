"""RouteLLM's metrics: against an independent reading of the recipe, and its published figures."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from swath.errors import InputError
from swath.routing.benchmarks import benchmark, published, training
from swath.routing.evaluate import Curve, aiq, curve, evaluate, hull, oracle, random_curve
from swath.routing.features import word_count
from swath.routing.training import load
from tests.router_kit import study_data

grade = st.sampled_from([0.0, 0.5, 1.0])
grades = st.lists(
    st.tuples(
        st.sampled_from([0.0, 0.5, 1.0]), st.sampled_from([0.0, 0.5, 1.0]), st.integers(-99, 99)
    ),
    min_size=3,
    max_size=60,
)


def by_the_recipe(scores: np.ndarray, weak: np.ndarray, strong: np.ndarray) -> Curve:
    """README.md of the data, word for word; no two scores are equal."""
    edges = np.quantile(scores, np.linspace(0, 1, 11))
    points = []
    for i, edge in enumerate(edges):
        goes = scores > edge if i == 10 else scores >= edge
        points.append((goes.mean(), np.where(goes, strong, weak).mean()))
    x, y = (np.array(v) for v in zip(*sorted(points), strict=True))
    return Curve(x, y, weak.mean(), strong.mean())


@settings(max_examples=200)
@given(grades, st.integers(0, 5))
def test_curves_follow_the_recipe(rows: list[tuple[float, float, int]], seed: int) -> None:
    # Where an edge falls on a row, numpy's 0.30000000000000004 puts it just above: no such sizes.
    rows = rows[: len(rows) - ((len(rows) - 1) % 5 == 0)]
    weak, strong = (np.array([r[i] for r in rows]) for i in (0, 1))
    if weak.mean() == strong.mean():
        return
    scores = np.random.default_rng(seed).permutation(len(rows)) / 7.0
    wanted, found = by_the_recipe(scores, weak, strong), curve(scores, weak, strong)
    np.testing.assert_allclose(found.x, wanted.x)
    np.testing.assert_allclose(found.y, wanted.y)
    assert found.apgr == pytest.approx(wanted.apgr)
    half = (wanted.weak + wanted.strong) / 2
    if np.abs(wanted.y - half).min() > 1e-9:  # on a level stretch the last bit decides
        assert found.cpt(0.5) == pytest.approx(wanted.cpt(0.5))


@settings(max_examples=60)
@given(grades)
def test_the_oracle_bounds_every_router(rows: list[tuple[float, float, int]]) -> None:
    weak, strong, scores = (np.array([r[i] for r in rows], float) for i in range(3))
    if weak.mean() == strong.mean():
        return
    best = curve(oracle(weak, strong), weak, strong)
    mine = curve(scores, weak, strong)
    assert (best.y >= mine.y - 1e-9).all()
    # Any rising transformation of the scores is the same router.
    np.testing.assert_allclose(curve(np.cbrt(scores) + 1, weak, strong).y, mine.y)


def test_random_recovers_half_and_intervals_cover() -> None:
    rng = np.random.default_rng(0)
    weak = (rng.random(2000) < 0.6).astype(float)
    strong = (rng.random(2000) < 0.8).astype(float)
    apgr = [curve(rng.random(2000), weak, strong).apgr for _ in range(300)]
    assert np.mean(apgr) == pytest.approx(0.5, abs=4 * np.std(apgr) / 300**0.5)
    assert random_curve(weak, strong).apgr == pytest.approx(0.5, abs=0.05)
    inside = 0
    for _ in range(60):
        w, s = (rng.random(300) < 0.5).astype(float), (rng.random(300) < 0.9).astype(float)
        found = evaluate(rng.random(300), w, s, resamples=200).apgr
        assert found.low <= found.high
        inside += found.low <= 0.5 <= found.high
    assert inside >= 50


def test_equal_scores_are_chance_and_not_the_order_of_the_file() -> None:
    weak = np.zeros(1000)
    strong = (np.arange(1000) < 500).astype(float)  # the file's order would be an oracle
    assert curve(np.zeros(1000), weak, strong).apgr == pytest.approx(0.5, abs=0.1)
    assert curve(oracle(weak, strong), weak, strong).apgr > 0.7


@pytest.mark.parametrize(
    ("scores", "weak", "strong", "says"),
    [
        ([1.0, 2.0], [0.0, 1.0], [1.0, 0.0], "equally good"),
        ([1.0, 2.0], [0.0], [1.0, 0.0], "differ in shape"),
        ([1.0, float("nan")], [0.0, 0.0], [1.0, 0.0], "'score'"),
        ([1.0, 2.0], [0.0, float("inf")], [1.0, 0.0], "'weak'"),
        ([1.0], [0.0], [1.0], "two prompts"),
    ],
)
def test_bad_numbers_are_refused(
    scores: list[float], weak: list[float], strong: list[float], says: str
) -> None:
    with pytest.raises(InputError, match=says):
        curve(np.array(scores), np.array(weak), np.array(strong))


def test_the_hull_of_more_than_two_models() -> None:
    points = {"a": (1.0, 0.5), "b": (2.0, 0.55), "c": (3.0, 0.9), "d": (4.0, 0.8), "e": (5.0, 0.95)}
    assert hull(points) == ["a", "c", "e"]
    assert aiq([(0.0, 0.0), (1.0, 1.0)], 0.0, 1.0) == pytest.approx(0.5)
    assert aiq([(0.0, 0.0), (0.5, 0.1), (1.0, 1.0)], 0.0, 1.0) == pytest.approx(0.5)
    with pytest.raises(InputError):
        aiq([(0.0, 1.0)], 1.0, 1.0)


# -- the study's data

ENDPOINTS = {  # n, weak, strong, APGR of the oracle, and where single random draws lie (its README)
    "mt-bench": (72, 8.281, 9.212, 0.953, 0.37, 0.62),
    "mmlu": (14037, 0.6809, 0.8059, 1.268, 0.483, 0.517),
    "gsm8k": (1307, 0.6373, 0.8577, 1.115, 0.46, 0.54),
}


@pytest.mark.parametrize("name", ENDPOINTS)
def test_published_endpoints_are_recomputed(name: str) -> None:
    n, weak, strong, best, low, high = ENDPOINTS[name]
    data = benchmark(study_data(), name)
    assert len(data.prompts) == n
    assert data.weak.mean() == pytest.approx(weak, abs=6e-4)
    assert data.strong.mean() == pytest.approx(strong, abs=6e-4)
    ceiling = curve(oracle(data.weak, data.strong), data.weak, data.strong)
    assert ceiling.apgr == pytest.approx(best, abs=6e-4)
    # RouteLLM's random router: random.seed(0), ten runs. Its workers share no order of prompts, so
    # the table's own figures come out up to the noise of ten draws.
    random.seed(0)
    runs = [
        curve(np.array([random.uniform(0, 1) for _ in range(n)]), data.weak, data.strong)
        for _ in range(10)
    ]
    assert np.mean([low < r.apgr < high for r in runs]) >= 0.8
    theirs = next(r for r in published(study_data(), name) if r["router"] == "random")
    spread = (high - low) / 4 / 10**0.5
    assert np.mean([r.apgr for r in runs]) == pytest.approx(float(theirs["apgr"]), abs=4 * spread)


def test_the_word_count_baseline_is_the_published_one() -> None:
    for name, wanted in (("mt-bench", 0.563), ("mmlu", 0.592), ("gsm8k", 0.600)):
        data = benchmark(study_data(), name)
        scores = np.array([word_count(p) for p in data.prompts], float)
        assert curve(scores, data.weak, data.strong).apgr == pytest.approx(wanted, abs=0.005)


def test_the_default_router_is_above_chance_out_of_domain() -> None:
    """Out of its domain on all three: what docs/routing.md reports, and not below."""
    router = load("default")
    for name, least in (("mt-bench", 0.75), ("mmlu", 0.59), ("gsm8k", 0.60)):
        data = benchmark(study_data(), name)
        found = evaluate(router.score(data.prompts), data.weak, data.strong, resamples=200)
        assert found.apgr.low > 0.5, (name, found.apgr)
        assert found.apgr.estimate > least, (name, found.apgr)


def test_training_grades_keep_two_scales_apart() -> None:
    graded = training(study_data())
    assert len(graded.sources) == 7
    assert {"alpaca_eval/win_vs_gpt4_1106_preview", "mmlu-pro/stemez"} <= set(graded.sources)
    assert int(np.isfinite(graded.quality).sum()) == 255_982
    assert not set(graded.prompts) & set(benchmark(study_data(), "mmlu").prompts)


def test_a_folder_without_the_data_says_so(tmp_path: object) -> None:
    with pytest.raises(InputError, match="routellm_eval") as caught:
        benchmark(str(tmp_path), "mmlu")
    assert "--data" in caught.value.hint
    with pytest.raises(InputError, match="mt-bench"):
        benchmark(str(tmp_path), "gsm9k")
