"""Kappas, alpha, decisions, PPI and strengths: known values, invariants, edges."""

from __future__ import annotations

import math
from importlib.util import find_spec
from itertools import pairwise as neighbours

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from swath.evals.stats import agreement, pairwise, position, strength
from swath.evals.stats.decide import decide, decide_between
from swath.evals.stats.estimate import wilson
from swath.evals.stats.ppi import tuned_ppi_mean
from swath.evals.stats.summarize import FIGURES, summarize
from tests.stats_kit import pairs_of

LABELS = st.sampled_from(["A", "B", "tie"])
PAIRS = st.lists(st.tuples(LABELS, LABELS), min_size=1, max_size=40)


# -- agreement


def test_cohens_kappa_of_a_textbook_table() -> None:
    """Cohen's own kind of table: 20 yes-yes, 5 yes-no, 10 no-yes, 15 no-no; kappa 0.4."""
    pairs = [("y", "y")] * 20 + [("y", "n")] * 5 + [("n", "y")] * 10 + [("n", "n")] * 15
    a, b = [p[0] for p in pairs], [p[1] for p in pairs]
    assert agreement.cohen_kappa(a, b) == pytest.approx(0.4)
    assert agreement.raw_agreement(a, b) == pytest.approx(0.7)


@given(st.lists(st.tuples(st.integers(1, 5), st.integers(1, 5)), min_size=2, max_size=60))
def test_kappa_is_scikit_learns(pairs: list[tuple[int, int]]) -> None:
    from sklearn.metrics import cohen_kappa_score

    a, b = [p[0] for p in pairs], [p[1] for p in pairs]
    for weights in (None, "linear", "quadratic"):
        # scikit-learn leaves out categories between those that occur: name all of them.
        found = agreement.cohen_kappa(a, b, weights=weights, order=range(1, 6))
        if len({*a, *b}) == 1:
            assert found is None
        else:
            said = cohen_kappa_score(a, b, weights=weights, labels=list(range(1, 6)))
            assert found == pytest.approx(said, abs=1e-9)


@given(PAIRS)
def test_kappa_does_not_care_who_is_first(pairs: list[tuple[str, str]]) -> None:
    a, b = [p[0] for p in pairs], [p[1] for p in pairs]
    one, other = agreement.cohen_kappa(a, b), agreement.cohen_kappa(b, a)
    assert one == other if one is None else one == pytest.approx(other)
    table = pl.DataFrame({"verdict": a, "label": b})
    assert agreement.table_kappa(table) == pytest.approx(one)
    same = agreement.cohen_kappa(a, a)
    assert same is None or same == pytest.approx(1)


def test_none_is_left_out_and_nothing_gives_none() -> None:
    assert agreement.raw_agreement(["A", None, "B"], ["A", "A", None]) == 1
    assert agreement.cohen_kappa([None], ["A"]) is None
    assert agreement.cohen_kappa(["A", "A"], ["A", "A"]) is None  # chance explains all
    assert agreement.krippendorff_alpha([["A"], ["B", None]]) is None
    assert agreement.fleiss_kappa(agreement.fleiss_table([["A"], ["B"]])) is None


def test_fleiss_of_his_own_table() -> None:
    """The worked example of Fleiss (1971): 10 subjects, 14 raters, 5 categories: 0.210."""
    table = [
        [0, 0, 0, 0, 14],
        [0, 2, 6, 4, 2],
        [0, 0, 3, 5, 6],
        [0, 3, 9, 2, 0],
        [2, 2, 8, 1, 1],
        [7, 7, 0, 0, 0],
        [3, 2, 6, 3, 0],
        [2, 5, 3, 2, 2],
        [6, 5, 2, 1, 0],
        [0, 2, 2, 3, 7],
    ]
    assert agreement.fleiss_kappa(table) == pytest.approx(0.2099, abs=1e-4)


def test_alpha_of_krippendorffs_own_table() -> None:
    """Four observers, twelve units with gaps: nominal 0.743, ordinal 0.815, interval 0.849."""
    gap = None
    observers = [
        [1, 2, 3, 3, 2, 1, 4, 1, 2, gap, gap, gap],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, gap, 3],
        [gap, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, gap],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, gap],
    ]
    units = [list(unit) for unit in zip(*observers, strict=True)]
    for level, said in (("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849)):
        found = agreement.krippendorff_alpha(units, level=level)  # type: ignore[arg-type]
        assert found == pytest.approx(said, abs=5e-4), level


def test_the_order_of_named_categories_can_be_said() -> None:
    units = [["low", "mid"], ["high", "high"], ["mid", "high"], ["low", "low"]]
    numbers = [[1, 2], [3, 3], [2, 3], [1, 1]]
    said = agreement.krippendorff_alpha(numbers, level="ordinal")
    order = ["low", "mid", "high"]
    assert agreement.krippendorff_alpha(units, level="ordinal", order=order) == pytest.approx(said)


# -- decisions


def test_the_sentence_of_a_decision() -> None:
    found = decide([1.0] * 122 + [-1.0] * 78, a="small", b="large")
    assert found.winner == "large"
    assert found.sentence == "large beats small in 61% (54 to 67) of 200 rows."
    assert found.needed is None
    turned = decide([-1.0] * 122 + [1.0] * 78, a="small", b="large")
    assert turned.winner == "small"
    assert turned.sentence == "small beats large in 61% (54 to 67) of 200 rows."


def test_cannot_tell_says_how_many_rows_would() -> None:
    found = decide([1.0] * 22 + [-1.0] * 16 + [0.0] * 2, a="x", b="y")
    assert found.winner is None
    assert found.needed is not None
    assert found.needed > 300
    said = r"No difference between x and y can be told from 40 rows; about \d+ would be needed."
    import re

    assert re.fullmatch(said, found.sentence)


def test_even_unjudged_and_unparsed() -> None:
    even = decide([1.0, -1.0, 0.0, None])
    assert (even.winner, even.needed, even.unparsed, even.n) == (None, None, 1, 3)
    assert even.sentence.endswith("so far they are even. 1 row could not be parsed and left out.")
    nothing = decide([None, None], a="x", b="y")
    assert nothing.sentence.startswith("Nothing can be told about x and y: no row was judged.")
    assert math.isnan(nothing.win_rate.estimate)
    assert (nothing.win_rate.low, nothing.win_rate.high) == (0, 1)


def test_a_few_rows_alike_prove_little() -> None:
    assert decide([1.0] * 5).winner is None  # the exact sign test: 1 in 16
    assert decide([1.0] * 6).winner == "B"
    assert decide([0.0] * 3).win_rate.high > 0.7


def test_strong_verdicts_are_no_more_evidence() -> None:
    weak = decide([0.1, 0.2, -0.1, 0.3])
    assert weak == decide([9.0, 1.0, -50.0, 2.0])


def test_one_cluster_tells_nothing_and_clusters_of_one_are_rows() -> None:
    signs = [1.0] * 30 + [-1.0] * 5
    assert decide(signs, clusters=["p"] * 35).winner is None
    assert decide(signs, clusters=list(range(35))) == decide(signs)
    wide = decide(signs, clusters=[i // 5 for i in range(35)])
    assert wide.win_rate.low < decide(signs).win_rate.low


@settings(max_examples=60)
@given(st.lists(st.sampled_from([-1.0, 0.0, 1.0, None]), max_size=60))
def test_a_decision_is_the_same_from_both_sides(signs: list[float | None]) -> None:
    one = decide(signs, a="x", b="y")
    other = decide([None if s is None else -s for s in signs], a="y", b="x")
    assert one.winner == other.winner
    assert (one.wins_a, one.wins_b, one.ties) == (other.wins_b, other.wins_a, other.ties)
    assert one.needed == other.needed
    if one.n:
        assert one.win_rate.estimate == pytest.approx(1 - other.win_rate.estimate)
        assert one.win_rate.low == pytest.approx(1 - other.win_rate.high)
        assert 0 <= one.win_rate.low <= one.win_rate.estimate <= one.win_rate.high <= 1


@given(st.integers(1, 200), st.floats(0, 1))
def test_wilson_contains_its_rate(n: int, rate: float) -> None:
    low, high = wilson(rate, n, 1.96)
    assert 0 <= low <= rate + 1e-9
    assert rate - 1e-9 <= high <= 1
    assert high - low > 0.001


def test_two_orders_make_one_verdict() -> None:
    items, verdicts = pairs_of(
        [
            ("same", "AB", "B"),
            ("same", "BA", "B"),
            ("differ", "AB", "A"),
            ("differ", "BA", "B"),
            ("half", "AB", "A"),
            ("half", "BA", None),
            ("single", "AB", "A"),
        ]
    )
    settled = dict(position.settle(verdicts).select("item_id", "verdict").iter_rows())
    assert settled == {"same": "B", "differ": "tie", "half": None, "single": "A"}
    found = decide_between(items, verdicts, "x", "y")
    assert (found.wins_a, found.wins_b, found.ties, found.unparsed) == (1, 1, 1, 1)


def test_a_jury_decides_by_majority() -> None:
    items, verdicts = pairs_of([("i", "AB", "A")])
    jury = pl.concat([verdicts.with_columns(judge=pl.lit(j)) for j in "abc"])
    split = jury.with_columns(
        verdict=pl.when(pl.col("judge") == "c").then(pl.lit("B")).otherwise("verdict")
    )
    found = decide_between(items, split, "x", "y")
    assert (found.wins_a, found.n) == (1, 1)


# -- PPI


@pytest.mark.skipif(not find_spec("ppi_py"), reason="ppi-python is not installed")
def test_tuned_ppi_is_ppi_pythons() -> None:
    from ppi_py import ppi_mean_ci, ppi_mean_pointestimate

    random = np.random.default_rng(0)
    y = random.random(80)
    f, u = y + random.normal(0, 0.3, 80), random.normal(0.5, 0.4, 700)
    found = tuned_ppi_mean(y, f, u)
    low, high = ppi_mean_ci(y, f, u, alpha=0.05)
    assert found.estimate == pytest.approx(float(ppi_mean_pointestimate(y, f, u)[0]))
    assert [found.low, found.high] == pytest.approx([float(low[0]), float(high[0])])


def test_tuned_ppi_is_its_formula() -> None:
    """PPI++ (arXiv 2311.01453), section 6: lambda minimises the variance of the estimate."""
    random = np.random.default_rng(1)
    y = random.random(90)
    f, u = y + random.normal(0, 0.2, 90), random.normal(0.5, 0.35, 810)
    found = tuned_ppi_mean(y, f, u)
    shared = np.mean((y - y.mean()) * (f - f.mean()))
    lam = shared / ((1 + 90 / 810) * np.concatenate([f, u]).var(ddof=1))
    assert found.power == pytest.approx(lam)
    assert found.estimate == pytest.approx(lam * u.mean() + (y - lam * f).mean())
    error = math.sqrt(lam**2 * u.var() / 810 + (y - lam * f).var() / 90)
    assert found.high - found.estimate == pytest.approx(1.959964 * error, rel=1e-6)
    widths = [
        (lambda e: e.high - e.low)(tuned_ppi_mean(y, f, u, power=p)) for p in np.linspace(0, 1, 101)
    ]
    assert found.high - found.low <= min(widths) * 1.01  # the paper pools the variance


def test_ppi_with_nothing_to_add() -> None:
    labels = [0.0, 1.0, 1.0, 0.5] * 10
    constant = tuned_ppi_mean(labels, [0.7] * 40, [0.7] * 100)
    assert (constant.estimate, constant.power, constant.correlation) == (0.625, 0.0, None)
    whole = tuned_ppi_mean(labels, labels, [])
    assert whole.estimate == whole.labels.estimate
    assert whole.sentence == "All 40 items have labels: the judge has nothing to add."
    against = tuned_ppi_mean(labels, [1 - x for x in labels], [0.5] * 100)
    assert against.power == 0  # never below: a judge that is wrong is not turned round


def test_few_labels_are_given_students_t() -> None:
    found = tuned_ppi_mean([0.0, 1.0, 1.0], [0.5] * 3, [0.5] * 50)
    error = np.std([0, 1, 1]) / math.sqrt(3)
    assert found.high - found.estimate == pytest.approx(4.3027 * error, rel=1e-4)


# -- strengths


def test_bradley_terry_of_two_models_is_their_odds() -> None:
    items, verdicts = pairs_of([(str(i), "AB", "A" if i < 30 else "B") for i in range(40)])
    found = strength.bradley_terry(items, verdicts)
    assert {m: e.estimate for m, e in found.items()} == pytest.approx({"x": 0.75, "y": 0.25})
    assert found["x"].n == 40


def test_a_model_that_never_lost_is_not_made_equal() -> None:
    """evalica answers 1/k for all of them here, without a word."""
    items, verdicts = pairs_of([(str(i), "AB", "A") for i in range(10)])
    found = strength.bradley_terry(items, verdicts)
    assert found["x"].estimate == pytest.approx(10.5 / 11)
    assert sum(e.estimate for e in found.values()) == pytest.approx(1)


def test_separate_groups_have_no_common_strength() -> None:
    items = pl.DataFrame(
        {"item_id": list("1234"), "model_a": ["a", "b", "c", "d"], "model_b": ["b", "a", "d", "c"]}
    )
    verdicts = items.select("item_id", verdict=pl.lit("A"))
    assert strength.bradley_terry(items, verdicts) == {}
    (found,) = summarize(verdicts, items)
    assert found["bradley_terry"] is None
    assert set(found["win_rate"]) == {"a", "b", "c", "d"}


def test_newman_elo_and_the_win_matrix() -> None:
    items, verdicts = pairs_of([(str(i), "AB", "A" if i % 4 else "tie") for i in range(40)])
    newman = strength.newman(items, verdicts)
    assert sum(newman.values()) == pytest.approx(1)
    assert newman["x"] > 0.9
    elo = strength.elo(items, verdicts)
    assert elo["x"] > 1000 > elo["y"]
    assert elo["x"] + elo["y"] == pytest.approx(2000)
    matrix = {(a, b): (w, n) for a, b, w, n in pairwise.win_matrix(items, verdicts).iter_rows()}
    assert matrix == {("x", "y"): (0.875, 40), ("y", "x"): (0.125, 40)}


def test_marked_repeats_share_one_vote() -> None:
    """One item asked nine times over weighs no more than the other, and is one unit all along."""
    items, verdicts = pairs_of([("once", "AB", "B")] + [("often", "AB", "A")] * 9)
    rates = pairwise.win_rates(items, verdicts.with_columns(repeat=pl.int_range(pl.len())))
    assert rates["x"].estimate == pytest.approx(0.5)
    assert rates["x"].n == 2


@settings(max_examples=15)
@given(st.lists(LABELS, min_size=1, max_size=30))
def test_the_order_of_rows_changes_nothing(labels: list[str]) -> None:
    items, verdicts = pairs_of([(str(i), "AB", label) for i, label in enumerate(labels)])
    mixed = verdicts.sample(fraction=1, shuffle=True, seed=1)
    one = summarize(verdicts, items, resamples=100)[0]
    other = summarize(mixed, items.reverse(), resamples=100)[0]
    for name in FIGURES[:7]:
        assert one[name] == other[name]
    for model, rate in one["win_rate"].items():
        assert rate["estimate"] == pytest.approx(other["win_rate"][model]["estimate"])
    total = sum(rate["estimate"] for rate in one["win_rate"].values())
    assert total == pytest.approx(1)


def test_the_same_seed_gives_the_same() -> None:
    items, verdicts = pairs_of([(str(i), "AB", "AB"[i % 3 == 0]) for i in range(50)])
    once = summarize(verdicts, items, resamples=150, seed=3)
    assert summarize(verdicts, items, resamples=150, seed=3) == once
    others = [summarize(verdicts, items, resamples=150, seed=seed) for seed in (4, 5, 6)]
    assert any(other != once for other in others)


def test_more_rows_narrow() -> None:
    widths = []
    for n in (20, 80, 320):
        items, verdicts = pairs_of([(str(i), "AB", "AB"[i % 2]) for i in range(n)])
        rate = pairwise.win_rates(items, verdicts)["x"]
        widths.append(rate.high - rate.low)
    assert all(after < 0.7 * before for before, after in neighbours(widths))
