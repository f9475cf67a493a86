"""Judges whose bias is known: it is found, and 95% intervals cover in 95% of 1,000 simulations.

Sampling error over 1,000 simulations is 0.7 points: within three of them is right.
"""

from __future__ import annotations

import math

import numpy as np
import polars as pl
import pytest

from swath.evals.stats import pairwise, position, strength
from swath.evals.stats.decide import decide, paired
from swath.evals.stats.favour import self_preference
from swath.evals.stats.length import length_controlled
from swath.evals.stats.ppi import tuned_ppi_mean
from swath.evals.stats.summarize import summarize
from tests.stats_kit import biased_judge

RUNS = 1000
ERROR = 3 * math.sqrt(0.95 * 0.05 / RUNS)


def covers(hits: list[bool], *, over: float = 0.0) -> None:
    """`over`: how far above 95% an interval that is wide on purpose may cover."""
    assert 0.95 - ERROR <= np.mean(hits) <= 0.95 + ERROR + over


def many_models(
    scores: np.ndarray, units: list[str] | None = None
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Each simulation is a model of its own against one base, over the same items: one bootstrap
    then serves all of them. `scores` (simulations, items): 1, a half, 0 for the model."""
    runs, n = scores.shape
    ids = [f"{r}-{i}" for r in range(runs) for i in range(n)]
    items = pl.DataFrame(
        {
            "item_id": ids,
            "cluster": (units or [f"u{i}" for i in range(n)]) * runs,
            "model_a": [f"m{r}" for r in range(runs) for _ in range(n)],
            "model_b": ["base"] * (runs * n),
        }
    )
    names = {1.0: "A", 0.5: "tie", 0.0: "B"}
    verdicts = pl.DataFrame({"item_id": ids, "verdict": [names[s] for s in scores.ravel()]})
    return items, verdicts


def test_win_rate_intervals_cover() -> None:
    random = np.random.default_rng(1)
    chances = [0.5, 0.2, 0.3]
    scores = random.choice([1.0, 0.5, 0.0], size=(RUNS, 120), p=chances)
    rates = pairwise.win_rates(*many_models(scores))
    truth = 0.6
    covers([rates[f"m{r}"].low <= truth <= rates[f"m{r}"].high for r in range(RUNS)])


def test_win_rate_intervals_cover_by_cluster_and_not_by_row() -> None:
    """60 prompts of five rows that mostly agree: by row, an interval is about half as wide."""
    random = np.random.default_rng(2)
    prompts = np.clip(random.beta(0.8, 0.8, size=(RUNS, 60)), 0, 1)
    scores = (random.random((RUNS, 60, 5)) < prompts[:, :, None]).reshape(RUNS, 300).astype(float)
    rates = pairwise.win_rates(*many_models(scores, [f"p{i // 5}" for i in range(300)]))
    hits = [rates[f"m{r}"].low <= 0.5 <= rates[f"m{r}"].high for r in range(RUNS)]
    assert np.mean(hits) == pytest.approx(0.945, abs=ERROR)  # a percentile bootstrap of 60
    naive = pairwise.win_rates(*many_models(scores[:200]))  # each row its own unit
    missed = [not naive[f"m{r}"].low <= 0.5 <= naive[f"m{r}"].high for r in range(200)]
    assert np.mean(missed) > 0.15


@pytest.mark.parametrize("first", [0.0, 0.2, 0.4])
def test_position_bias_is_found(first: float) -> None:
    """Picks the first with this probability regardless: first_rate is then (1 + first) / 2."""
    _, verdicts = biased_judge(400, quality=0.8, first=first, seed=3)
    found = position.first_rate(verdicts)
    assert found is not None
    assert found.estimate == pytest.approx((1 + first) / 2, abs=0.03)
    assert (found.low > 0.5) == (first > 0)


def test_first_rate_intervals_cover() -> None:
    """Both orders of an item are one unit: a wrong unit would cover too often here."""
    hits = []
    for run in range(RUNS):
        _, verdicts = biased_judge(60, quality=0.75, first=0.3, seed=run)
        found = position.first_rate(verdicts, resamples=400, seed=run)
        assert found is not None
        hits.append(found.low <= 0.65 <= found.high)
    assert np.mean(hits) == pytest.approx(0.945, abs=ERROR)


def test_accuracy_is_of_both_orders_and_unparsed_is_not_right() -> None:
    items, verdicts = biased_judge(4000, quality=0.9, first=0.2, unparsed=0.1, seed=4)
    (found,) = summarize(verdicts, items, resamples=100)
    assert found["accuracy"] == pytest.approx(0.9 * (0.8 * 0.9 + 0.2 * 0.5), abs=0.02)
    assert found["unparsed"] == verdicts["verdict"].null_count()
    assert found["unparsed"] / 8000 == pytest.approx(0.1, abs=0.01)


@pytest.mark.parametrize(("noise", "narrower"), [(0.1, 0.3), (0.5, 0.1), (5.0, 0.0)])
def test_ppi_covers_and_is_narrower_where_the_judge_knows(noise: float, narrower: float) -> None:
    """Whatever the judge is worth, and however biased it is (0.3 here)."""
    random = np.random.default_rng(5)
    n, rest = 100, 900
    hits, saved, alone = [], [], []
    for _ in range(RUNS):
        truth = random.normal(0.4, 0.5, n + rest)
        judge = truth + 0.3 + random.normal(0, noise, n + rest)
        found = tuned_ppi_mean(truth[:n], judge[:n], judge[n:])
        hits.append(found.low <= 0.4 <= found.high)
        alone.append(found.labels.low <= 0.4 <= found.labels.high)
        saved.append(found.narrower)
    covers(hits)
    covers(alone)
    assert np.mean(saved) >= narrower - 0.01
    assert np.mean(saved) > -0.02


def test_clustered_ppi_covers_where_plain_ppi_does_not() -> None:
    random = np.random.default_rng(6)
    few, many, size = 40, 160, 5
    names = np.repeat(np.arange(few + many), size)
    hits, plain = [], []
    cut = few * size
    for _ in range(RUNS):
        prompt = np.repeat(random.normal(0, 0.5, few + many), size)
        truth = 0.2 + prompt + random.normal(0, 0.3, len(names))
        judge = truth + 0.1 + random.normal(0, 0.5, len(names))
        one = tuned_ppi_mean(
            truth[:cut],
            judge[:cut],
            judge[cut:],
            clusters=names[:cut].tolist(),
            rest_clusters=names[cut:].tolist(),
        )
        other = tuned_ppi_mean(truth[:cut], judge[:cut], judge[cut:])
        hits.append(one.low <= 0.2 <= one.high)
        plain.append(other.low <= 0.2 <= other.high)
    covers(hits)
    assert np.mean(plain) < 0.85


@pytest.mark.parametrize("n", [10, 40, 200])
def test_decisions_cover_and_rarely_name_a_winner_where_there_is_none(n: int) -> None:
    random = np.random.default_rng(7)
    hits, named = [], []
    for _ in range(RUNS):
        found = decide(random.choice([-1.0, 0.0, 1.0], n, p=[0.4, 0.2, 0.4]))
        hits.append(found.win_rate.low <= 0.5 <= found.win_rate.high)
        named.append(found.winner is not None)
    covers(hits, over=0.02)
    assert np.mean(named) <= 0.05 + ERROR


def test_decisions_over_clusters_rarely_err() -> None:
    random = np.random.default_rng(8)
    names = np.repeat(np.arange(30), 6)
    wrong, naive = [], []
    for _ in range(RUNS):
        prompt = random.beta(0.7, 0.7, 30)
        signs = np.where(random.random(180) < np.repeat(prompt, 6), 1.0, -1.0)
        wrong.append(decide(signs, clusters=names.tolist()).winner is not None)
        naive.append(decide(signs).winner is not None)
    assert np.mean(wrong) <= 0.05 + ERROR
    assert np.mean(naive) > 0.15


def test_the_rows_that_are_needed_do_settle_it() -> None:
    """At a true 60%, that many rows name the right winner in about 80% of tries."""
    unsettled = decide([1.0] * 24 + [-1.0] * 16)
    assert unsettled.winner is None
    assert unsettled.needed is not None
    random = np.random.default_rng(9)
    winners = [
        decide(np.where(random.random(unsettled.needed) < 0.6, 1.0, -1.0)).winner
        for _ in range(RUNS)
    ]
    assert np.mean([w == "B" for w in winners]) == pytest.approx(0.8, abs=0.06)
    assert "A" not in winners


def test_paired_intervals_cover() -> None:
    random = np.random.default_rng(10)
    hits = []
    for _ in range(RUNS):
        hard = random.random(80)
        first = (random.random(80) < hard).astype(float)
        second = (random.random(80) < np.clip(hard + 0.1, 0, 1)).astype(float)
        truth = 0.1 - 0.005  # what clipping leaves of it
        found = paired(first, second).difference
        hits.append(found.low <= truth <= found.high)
    covers(hits)


def test_bradley_terry_finds_the_strengths_and_covers() -> None:
    random = np.random.default_rng(11)
    names = ["a", "b", "c", "d"]
    strengths = np.array([0.4, 0.3, 0.2, 0.1])
    runs, pairs = 40, [(i, j) for i in range(4) for j in range(i)]
    hits = []
    for run in range(runs):
        rows = [(f"{i}{j}{r}", i, j) for i, j in pairs for r in range(40)]
        wins = [random.random() < strengths[i] / (strengths[i] + strengths[j]) for _, i, j in rows]
        items = pl.DataFrame(
            {
                "item_id": [r[0] for r in rows],
                "model_a": [names[r[1]] for r in rows],
                "model_b": [names[r[2]] for r in rows],
            }
        )
        verdicts = items.select("item_id", verdict=pl.Series(["A" if w else "B" for w in wins]))
        found = strength.bradley_terry(items, verdicts, resamples=120, seed=run)
        hits += [found[m].low <= s <= found[m].high for m, s in zip(names, strengths, strict=True)]
    assert np.mean(hits) == pytest.approx(0.945, abs=0.05)


def test_a_judge_that_likes_length_is_seen_through() -> None:
    """Two equal models, one of which writes more: the plain rate errs, the controlled one not."""
    random = np.random.default_rng(12)
    n = 1500
    long, short = random.integers(100, 900, n) + 200, random.integers(100, 900, n)
    apart = (long - short) / (long - short).std()
    wins = random.random(n) < 1 / (1 + np.exp(-1.5 * np.tanh(apart)))
    items = pl.DataFrame(
        {
            "item_id": [str(i) for i in range(n)],
            "model_a": ["long"] * n,
            "model_b": ["short"] * n,
            "answer_a": ["x" * int(k) for k in long],
            "answer_b": ["x" * int(k) for k in short],
        }
    )
    verdicts = items.select("item_id", verdict=pl.Series(["A" if w else "B" for w in wins]))
    plain = pairwise.win_rates(items, verdicts)["long"]
    found = length_controlled(items, verdicts)
    assert found is not None
    assert plain.low > 0.55
    assert found.rates["long"].low < 0.5 < found.rates["long"].high
    assert found.length.low < 1.5 < found.length.high
    assert sum(r.estimate for r in found.rates.values()) == pytest.approx(1)


def test_length_controlled_intervals_cover() -> None:
    random = np.random.default_rng(13)
    hits = []
    for run in range(300):
        n = 150
        apart = random.normal(0.3, 1, n)
        wins = random.random(n) < 1 / (1 + np.exp(-(0.4 + np.tanh(apart / apart.std()))))
        lengths = (1000 + 100 * apart).astype(int)
        items = pl.DataFrame(
            {
                "item_id": [str(i) for i in range(n)],
                "model_a": ["m"] * n,
                "model_b": ["o"] * n,
                "answer_a": ["x" * int(k) for k in lengths],
                "answer_b": ["x" * 1000] * n,
            }
        )
        verdicts = items.select("item_id", verdict=pl.Series(["A" if w else "B" for w in wins]))
        found = length_controlled(items, verdicts, resamples=300, seed=run)
        assert found is not None
        truth = 1 / (1 + math.exp(-0.4))
        hits.append(found.rates["m"].low <= truth <= found.rates["m"].high)
    assert np.mean(hits) == pytest.approx(0.945, abs=0.035)


@pytest.mark.parametrize("favour", [0.0, 0.3])
def test_self_preference_is_found_where_there_is_some(favour: float) -> None:
    """A judge less noisy than people, which turns a share of its own losses into wins."""
    random = np.random.default_rng(14)
    models = {"own": 0.7, "good": 0.68, "fair": 0.5, "poor": 0.3, "bad": 0.25}
    items, verdicts, human = [], [], []
    names = list(models)
    for i in range(3000):
        a, b = random.choice(names, 2, replace=False)
        better = 0.5 + (models[a] - models[b])
        item = f"i{i}"
        items.append({"item_id": item, "model_a": str(a), "model_b": str(b)})
        for annotator in range(2):
            label = "A" if random.random() < better else "B"
            human.append({"item_id": item, "annotator": str(annotator), "label": label})
        sharp = np.clip(0.5 + 1.4 * (better - 0.5), 0, 1)
        verdict = "A" if random.random() < sharp else "B"
        if "own" in (a, b) and random.random() < favour:
            verdict = "A" if a == "own" else "B"
        verdicts.append({"item_id": item, "judge": "own", "verdict": verdict})
    found = self_preference(pl.DataFrame(items), pl.DataFrame(verdicts), pl.DataFrame(human), "own")
    assert found.found == (favour > 0), found.sentence
