"""The causal router: what is read of a prompt, what is made of it, and what is kept."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from swath.errors import InputError, WeightsError
from swath.routing import causal
from swath.routing.artifact import load, save, to_bytes
from swath.routing.causal import Causal, drawn, favoured, told
from swath.routing.causal_reading import ANSWERS, SCORES, WIDTH, Readings, gist
from swath.routing.features import checkable, word_count
from swath.routing.graded import Graded
from swath.routing.training import train
from tests.router_kit import HARD, graded, prompts

SMALL = "smollm2-135m"


class Fake:
    """A model that gives hard words high scores, sees no more, and counts what it is asked."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        self.texts += texts
        made = np.zeros((len(texts), WIDTH))
        for row, text in enumerate(texts):
            words = text.replace(",", "").split()
            share = sum(w in HARD for w in words) / max(len(words), 1)
            grade = np.exp(-((np.arange(SCORES) - 4 * share) ** 2))
            made[row, 1 : 1 + SCORES] = grade / grade.sum()
            made[row, 1 + SCORES :] = 1 / ANSWERS
        return made


def multiple(options: int, probabilities: Sequence[float]) -> np.ndarray:
    """A reading of a question with options."""
    row = np.zeros(WIDTH)
    row[0] = options
    row[1 : 1 + SCORES] = 0.2
    row[1 + SCORES : 1 + SCORES + options] = probabilities
    return row


def named(rows: np.ndarray, name: str) -> np.ndarray:
    return told(rows, favoured(rows))[:, causal.TELLS.index(name)]


# -- what is made of readings


def test_a_router_learns_from_scores_alone() -> None:
    router = train(graded(), "causal", encode=Fake())
    texts, hard = prompts(200, seed=5)
    assert np.corrcoef(router.score(texts), hard)[0, 1] > 0.7
    parts = dict(router.explain(texts[0]).parts)
    assert set(parts) & set(causal.TELLS)


def test_what_the_model_says_counts_beyond_the_cheap_features() -> None:
    texts, hard = prompts(200, seed=5)

    def deaf(given: Sequence[str]) -> np.ndarray:
        return np.repeat(Fake()(["the same"]), len(given), axis=0)

    heard = train(graded(), "causal", encode=Fake()).score(texts)
    unheard = train(graded(), "causal", encode=deaf).score(texts)
    gain = np.corrcoef(heard, hard)[0, 1] - np.corrcoef(unheard, hard)[0, 1]
    assert gain > 0.1


def test_a_letter_that_it_always_favours_is_no_certainty() -> None:
    always_a = np.array([multiple(4, [0.7, 0.1, 0.1, 0.1])] * 20)
    assert named(always_a, "certainty of the option") == pytest.approx(0, abs=1e-6)
    assert named(always_a, "margin of the option") == pytest.approx(0, abs=1e-6)
    mixed = np.vstack([always_a, multiple(4, [0.1, 0.7, 0.1, 0.1])])
    certain = named(mixed, "certainty of the option")
    assert certain[-1] > certain[0] + 0.2


@given(
    st.integers(2, 10).flatmap(
        lambda k: st.lists(st.floats(0, 1), min_size=k, max_size=k).filter(lambda p: sum(p) > 0.01)
    )
)
def test_certainty_lies_between_even_and_sure(weights: list[float]) -> None:
    p = np.array(weights) / sum(weights)
    rows = np.array([multiple(len(p), p.tolist())])
    made = told(rows, np.zeros(causal.LETTERS))
    assert np.isfinite(made).all()
    certain = made[0, causal.TELLS.index("certainty of the option")]
    assert -1e-6 <= certain <= 1 + 1e-6
    sure = multiple(len(p), np.eye(len(p))[0].tolist())[None]
    assert told(sure, np.zeros(causal.LETTERS))[0, 3] >= certain - 0.02


def test_readings_of_nothing_and_of_open_prompts() -> None:
    assert told(np.zeros((0, WIDTH)), np.zeros(10)).shape == (0, len(causal.TELLS))
    assert (favoured(np.zeros((0, WIDTH))) == 0).all()
    assert (favoured(Fake()(["open"])) == 0).all()
    assert np.isfinite(told(np.zeros((1, WIDTH)), np.zeros(10))).all()


# -- the cheap features beside them


@given(st.text())
def test_words_are_runs_of_letters(text: str) -> None:
    assert word_count(text) == len(re.findall("[A-Za-z]+", text))


def test_words_are_counted_in_any_text() -> None:
    assert word_count("") == 0
    assert word_count("a") == 1
    assert word_count("naïve \ud800 x9y") == 4
    assert word_count("日本語 in 2 Zeilen") == 2


@pytest.mark.parametrize(
    ("prompt", "right"),
    [
        ("What does `def f(x): return x` print?", True),
        ("Is undef (x) a word?", False),
        ("Define the term, def only.", False),
        ("Simplify \\frac{1}{2}.", True),
        ("How many are 3 apples and 4 pears?", True),
        ("How many are 3 apples?", False),
        ("Which?\nA. one\nB. two", True),
        ("Write a poem about 3 cats and 4 dogs.", False),
    ],
)
def test_what_is_plainly_right_or_wrong(prompt: str, right: bool) -> None:
    assert checkable(prompt) is right


# -- which prompts are read


@settings(max_examples=30)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=5), st.integers(1, 120), st.integers(0, 5))
def test_the_sample_is_of_every_source_alike(sizes: list[int], most: int, seed: int) -> None:
    source = np.repeat(np.arange(len(sizes)), sizes)
    names = tuple(f"s{i}" for i in range(len(sizes)))
    texts = tuple(f"prompt {i}" for i in range(len(source)))
    table = Graded(texts, ("a", "b"), np.zeros((len(texts), 2)), source, names)
    chosen = drawn(table, most, seed)
    assert chosen.sum() == min(most, len(texts))
    taken = np.bincount(source[chosen], minlength=len(sizes))
    short = [t for t, size in zip(taken, sizes, strict=True) if t < size]
    assert not short or max(short) - min(short) <= 1
    assert not short or all(
        t >= min(short) or t == size for t, size in zip(taken, sizes, strict=True)
    )


def test_a_long_table_is_read_in_part_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(causal, "READ", 60)
    fake = Fake()
    router = train(graded(200), "causal", encode=fake)
    assert len(set(fake.texts)) == 60
    assert router.training["read"] == 60
    assert router.training["prompts"] == 200
    assert len(router.quantiles) == 101
    table = graded(200)
    mixed = table.sample(fraction=1.0, shuffle=True, seed=3)
    assert to_bytes(train(table, "causal", encode=Fake())) == to_bytes(
        train(mixed, "causal", encode=Fake())
    )


def test_a_study_s_embeddings_are_no_readings() -> None:
    from swath.routing.vectors import Vectors

    router = Causal(models=("a", "b"))
    router._encode = Vectors()
    assert isinstance(router.read, Readings)


def test_the_model_is_named_as_embeddings_are() -> None:
    router = train(graded(40), "causal", encode=Fake(), embedding="local/qwen2.5-coder-0.5b")
    assert isinstance(router, Causal)
    assert router.reader == "qwen2.5-coder-0.5b"


# -- what is kept


def test_it_comes_back_as_it_was(tmp_path: Path) -> None:
    router = train(graded(), "causal", encode=Fake())
    again = load(save(router, tmp_path / "a.router"), encode=Fake())
    texts = prompts(40, seed=8)[0]
    assert (router.score(texts) == again.score(texts)).all()
    assert (router.predict(texts) == again.predict(texts)).all()
    assert to_bytes(again) == to_bytes(router)
    assert not any(t.encode() in to_bytes(router) for t in graded()["prompt"])


def test_long_prompts_are_read_at_both_ends() -> None:
    text = "a" * 500 + "b" * 5000 + "c" * 300
    assert gist(text) == "a" * 500 + "\n" + "c" * 300
    assert gist(" short \n") == "short"


def test_weights_that_are_not_there_are_named(
    tmp_path: Path,
) -> None:
    with pytest.raises(WeightsError, match=r"no model file") as caught:
        Readings(str(tmp_path / "none.gguf"))(["hello"])
    assert "GGUF" in caught.value.hint
    with pytest.raises(WeightsError, match="no local model 'gpt-9'"):
        train(graded(20), "causal", embedding="local/gpt-9")
    with pytest.raises(InputError, match="'minilm-l6' makes embeddings") as refused:
        Readings("minilm-l6")(["hello"])
    assert SMALL in refused.value.hint


# -- the model itself


@pytest.mark.local
def test_a_reading_depends_on_its_text_alone_and_is_made_once(tmp_path: Path) -> None:
    question = "What is 2 + 2?\nA. 3\nB. 4\nC. 5\nD. 6\nAnswer:"
    texts = [question, "Write a poem about the sea.", "", "日本語\x00<|im_end|>"]
    store = tmp_path / "deep" / "readings.npz"
    readings = Readings(SMALL, store=store)
    heard: list[tuple[int, int]] = []
    rows = readings(texts, note=lambda done, total: heard.append((done, total)))
    assert heard[-1] == (4, 4)
    assert rows[:, 0].tolist() == [4, 0, 0, 0]
    np.testing.assert_allclose(rows[:, 1 : 1 + SCORES].sum(axis=1), 1, atol=1e-3)
    assert rows[0, 6:10].sum() == pytest.approx(1, abs=1e-3)
    assert (np.diff(rows[1, 6:]) <= 0).all()
    assert rows[1, 6:].sum() <= 1 + 1e-3
    # Alone, in another order, in another process' memory: the same to the bit.
    again = np.vstack([Readings(SMALL)([text]) for text in reversed(texts)])[::-1]
    assert (rows == again).all()
    readings.save()
    kept = Readings(SMALL, store=store)
    assert kept.known(texts).all()
    assert (kept(texts, note=lambda done, total: pytest.fail("read again")) == rows).all()
    assert not any(t.encode() in store.read_bytes() for t in texts if t)


@pytest.mark.local
def test_a_router_over_the_model_itself(tmp_path: Path) -> None:
    table = graded(6)
    router = causal.train(table, model=SMALL)
    texts = table["prompt"].unique(maintain_order=True).to_list()[:2]
    assert np.isfinite(router.predict(texts)).all()
    assert router.training["read"] == 6
    assert router.training["reader"] == SMALL
    again = load(save(router, tmp_path / "a.router"))
    assert (again.score(texts) == router.score(texts)).all()
    assert isinstance(again, Causal)
    assert again.readings is not router.readings


@pytest.mark.local
@pytest.mark.slow
def test_a_tuned_router_keeps_its_adapter(tmp_path: Path) -> None:
    pytest.importorskip("jax")
    pytest.importorskip("gguf")
    router = causal.train(graded(24), model=SMALL, tune=True)
    assert router.training["tuned"] is True
    # What the model was taught with is not what the regression learns from.
    assert 0 < router.training["read"] < 24
    texts = prompts(3, seed=12)[0]
    assert not np.allclose(router.readings(texts), Readings(SMALL)(texts), atol=0.01)
    again = load(save(router, tmp_path / "a.router"))
    assert isinstance(again, Causal)
    assert again.adapter is not None
    assert (again.score(texts) == router.score(texts)).all()
