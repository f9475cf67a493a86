"""Routers for prompts like their training prompts: the score of two models, its distribution on
prompts not seen, embeddings without a model, and data as users have it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from swath.errors import InputError
from swath.routing.artifact import load, save, to_bytes
from swath.routing.ensemble import Ensemble, stacked
from swath.routing.graded import Graded
from swath.routing.router import Learned
from swath.routing.training import train
from swath.routing.vectors import WORDS
from tests import router_kit
from tests.router_kit import graded, prompts

PAIR = ("tiny", "huge")
CHEAP = ["similarity", "factorization", "neighbours", "difficulty", "linear"]
KINDS = [*CHEAP, "boosted", "ensemble", "transfer", "rules", "words", "random"]
ODD = ["", " ", "\x00", "🙂🙂", "\ud800", "x" * 100_000, "日本語", "same", "Which?\nA. 1\nB. 2"]


def encode(texts: Sequence[str]) -> np.ndarray:
    """The kit's, which hashes words: a lone surrogate is no text to hash."""
    return router_kit.encode([t.encode(errors="replace").decode() for t in texts])


def hump(count: int, seed: int) -> tuple[pl.DataFrame, list[str], np.ndarray]:
    """Two models of which the strong one helps with prompts of middling difficulty only."""
    texts, hard = prompts(count, seed)
    weak = 1 / (1 + np.exp(-(-1.0 - 9 * (hard - 0.5))))
    strong = 1 / (1 + np.exp(-(1.0 - 9 * (hard - 0.5)) + 0.0))
    rng = np.random.default_rng(seed)
    columns = {
        "prompt": texts * 2,
        "model": ["weak"] * count + ["strong"] * count,
        "quality": (rng.random(2 * count) < np.concatenate([weak, strong])).astype(float),
    }
    return pl.DataFrame(columns), texts, strong - weak


@pytest.mark.parametrize("kind", [k for k in CHEAP if k != "similarity"])
def test_of_two_models_the_score_is_the_gain_and_not_the_difficulty(
    kind: str, tmp_path: Path
) -> None:
    router = train(hump(500, 0)[0], kind, encode=encode)
    _, texts, gain = hump(300, 1)
    quality, score = router.predict(texts), router.score(texts)
    strong, weak = (router.models.index(m) for m in ("strong", "weak"))
    np.testing.assert_allclose(score, quality[:, strong] - quality[:, weak])
    assert np.corrcoef(score, gain)[0, 1] > 0.3
    fails = 1 - quality.mean(axis=1)
    assert np.corrcoef(score, gain)[0, 1] > np.corrcoef(fails, gain)[0, 1] + 0.1
    again = load(save(router, tmp_path / "a.router"), encode=encode)
    np.testing.assert_array_equal(again.score(texts), score)


def test_names_do_not_say_which_model_is_strong() -> None:
    table = hump(200, 0)[0]
    turned = table.with_columns(
        pl.col("model").replace({"weak": "strong", "strong": "weak"}).alias("model")
    )
    texts = prompts(30, 5)[0]
    for kind in ("difficulty", "factorization", "similarity"):
        one, other = (train(t, kind, encode=encode).score(texts) for t in (table, turned))
        np.testing.assert_allclose(one, other, atol=1e-3)


@pytest.mark.parametrize("models", [PAIR, ("tiny", "small", "huge")])
@pytest.mark.parametrize("kind", KINDS)
def test_a_share_chosen_by_training_scores_holds_on_prompts_not_seen(
    kind: str, models: tuple[str, ...]
) -> None:
    router = train(graded(200, models=models), kind, encode=encode)
    threshold = float(np.interp(0.7, np.linspace(0, 1, 101), router.quantiles))
    share = float((router.score(prompts(1000, seed=9)[0]) >= threshold).mean())
    # Four standard errors of a share of 200 prompts and of one of 1,000; word counts come in steps.
    error = 4 * (0.21 / 200 + 0.21 / 1000) ** 0.5
    assert abs(share - 0.3) <= error + (0.1 if kind in ("words", "rules") else 0.0)


def test_words_stand_in_for_an_encoder(tmp_path: Path) -> None:
    for kind in ("neighbours", "linear", "ensemble"):
        router = train(graded(80), kind, embedding=WORDS)  # no encoder, no weights, no session
        assert not router.asks_encoder
        again = load(save(router, tmp_path / "a.router"))
        assert again.embedding == WORDS
        texts = [*prompts(5, 3)[0], *ODD]
        np.testing.assert_array_equal(router.predict(texts), again.predict(texts))
    assert train(graded(20), "neighbours", encode=encode).asks_encoder


def test_members_are_weighed_by_what_they_tell() -> None:
    rng = np.random.default_rng(0)
    target = rng.normal(size=4000)
    told = np.column_stack([target + rng.normal(size=4000), rng.normal(size=4000)])
    weights = stacked(told, target)
    assert weights.sum() == pytest.approx(1)
    assert weights[0] > 0.9
    few = stacked(told[:20], target[:20])
    assert abs(few[0] - 0.5) < 0.2  # twenty prompts do not tell
    np.testing.assert_allclose(stacked(np.zeros((5, 3)), np.zeros(5)), 1 / 3)


def test_an_ensemble_says_how_far_its_members_disagree() -> None:
    router = train(graded(150, models=PAIR), "ensemble", encode=encode)
    assert isinstance(router, Ensemble)
    assert [m.kind for m in router.members] == ["difficulty", "linear", "neighbours"]
    why = router.explain(prompts(1, 4)[0][0])
    assert why.doubt is not None
    assert 0 <= why.doubt < 1
    assert {name for name, _ in why.parts} == {"difficulty", "linear", "neighbours"}
    assert train(graded(40), "difficulty").explain("x").doubt is None


def tables() -> st.SearchStrategy[pl.DataFrame]:
    """What users may bring: odd prompts, models graded here and there, grades all alike."""
    row = st.fixed_dictionaries(
        {
            "prompt": st.sampled_from(ODD[:4] + ODD[6:] + [f"word {i}" for i in range(8)]),
            "model": st.sampled_from(["a", "b", "c"]),
            "quality": st.sampled_from([0.0, 0.5, 1.0]),
            "source": st.sampled_from(["", "s"]),
        }
    )
    return st.lists(row, min_size=1, max_size=40).map(pl.DataFrame)


def tried(table: pl.DataFrame, kind: str) -> Learned | None:
    refusal = None
    try:
        return train(table, kind, encode=encode)
    except InputError as error:
        refusal = error
    assert refusal.hint
    return None


@settings(max_examples=8, suppress_health_check=[HealthCheck.too_slow])
@pytest.mark.parametrize("kind", [*CHEAP, "transfer", "ensemble"])
@given(table=tables(), seed=st.integers(0, 100))
def test_whatever_the_table_a_router_or_a_clear_refusal(
    kind: str, table: pl.DataFrame, seed: int
) -> None:
    router = tried(table, kind)
    mixed = table[np.random.default_rng(seed).permutation(table.height)]
    other = tried(mixed, kind)
    assert (router is None) == (other is None)
    if router is None or other is None:
        return
    assert to_bytes(router) == to_bytes(other)
    quality, score = router.predict(ODD), router.score(ODD)
    assert np.isfinite(score).all()
    assert np.isfinite(quality).all()
    assert (quality >= 0).all()
    assert (quality <= 1).all()
    assert np.isfinite(router.quantiles).all()


@pytest.mark.parametrize("kind", [*CHEAP, "ensemble"])
@pytest.mark.parametrize("grade", [0.0, 1.0])
def test_three_grades_make_no_model_perfect(kind: str, grade: float) -> None:
    table = graded(60)
    few = table.filter(pl.col("model") == "tiny").head(3)
    few = few.with_columns(model=pl.lit("new"), quality=pl.lit(grade))
    router = train(pl.concat([table, few]), kind, encode=encode)
    told = router.predict(prompts(50, 3)[0])[:, router.models.index("new")]
    assert 0.02 < told.mean() < 0.98


def test_a_new_source_and_equal_grades() -> None:
    table = graded(60).with_columns(quality=pl.lit(0.5))
    for kind in CHEAP:
        told = train(table, kind, encode=encode).predict(prompts(20, 3)[0])
        np.testing.assert_allclose(told, 0.5, atol=0.06)
    two = Graded.read(graded(60).with_columns(source=pl.lit("elsewhere")))
    assert two.sources == ("elsewhere",)
