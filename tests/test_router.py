"""Every kind of router: what it learns, what it keeps, what it refuses."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from swath.errors import ColumnNotFound, InputError, OutputError
from swath.routing.artifact import ArtifactError, load, save, to_bytes
from swath.routing.evaluate import evaluate
from swath.routing.graded import Graded
from swath.routing.kinds import KINDS
from swath.routing.router import Learned
from swath.routing.training import load as find
from swath.routing.training import train
from tests.conftest import Open
from tests.router_kit import encode, graded, prompts
from tests.servers import OpenAIServer, serve

LEARNS = [
    *("similarity", "factorization", "neighbours", "boosted", "difficulty", "linear", "ensemble")
]

# These compute with the packaged weights: their own files test them without, and the rest here.
HEAVY = ("bert", "causal")
ALL = [
    pytest.param(kind, marks=[pytest.mark.local, pytest.mark.slow]) if kind in HEAVY else kind
    for kind in KINDS
]


@pytest.fixture(scope="module")
def trained() -> Callable[[str], Learned]:
    made: dict[str, Learned] = {}

    def of(kind: str) -> Learned:
        if kind not in made:
            made[kind] = train(graded(), kind, encode=encode)
        return made[kind]

    return of


@pytest.mark.parametrize("kind", ALL)
def test_quality_has_a_column_a_model_and_lies_between_0_and_1(
    kind: str, trained: Callable[[str], Learned]
) -> None:
    router = trained(kind)
    texts = prompts(30, seed=9)[0]
    quality, score = router.predict(texts), router.score(texts)
    assert router.models == ("huge", "large", "small", "tiny")
    assert quality.shape == (30, 4)
    assert score.shape == (30,)
    assert np.isfinite(score).all()
    assert (quality >= 0).all()
    assert (quality <= 1).all()
    assert router.predict([]).shape == (0, 4)
    assert router.score([]).shape == (0,)


@pytest.mark.parametrize("kind", ALL)
def test_a_batch_is_its_prompts_one_by_one(kind: str, trained: Callable[[str], Learned]) -> None:
    router = trained(kind)
    texts = [*prompts(4, seed=3)[0], "", "?", "日本語の質問です", "x" * 5000, "Line\none\ttab\x00"]
    together = router.predict(texts)
    alone = np.vstack([router.predict([t]) for t in texts])
    np.testing.assert_allclose(together, alone, atol=1e-6)


@pytest.mark.parametrize("kind", LEARNS)
def test_what_is_learned_holds_on_prompts_not_seen(
    kind: str, trained: Callable[[str], Learned]
) -> None:
    texts, hard = prompts(400, seed=77)
    rng = np.random.default_rng(5)
    weak = 1 / (1 + np.exp(-(0.0 - 5 * (hard - 0.5))))
    strong = 1 / (1 + np.exp(-(2.5 - 5 * (hard - 0.5))))
    found = evaluate(
        trained(kind).score(texts),
        (rng.random(400) < weak).astype(float),
        (rng.random(400) < strong).astype(float),
        resamples=100,
    )
    assert found.apgr.low > 0.5, found.apgr
    # The difficulty itself is what was planted.
    assert np.corrcoef(trained(kind).score(texts), hard)[0, 1] > 0.5


@pytest.mark.parametrize("kind", [k for k in LEARNS if k != "similarity"])
def test_an_abler_model_is_expected_to_do_better(
    kind: str, trained: Callable[[str], Learned]
) -> None:
    mean = dict(
        zip(trained(kind).models, trained(kind).predict(prompts(100, 5)[0]).mean(0), strict=True)
    )
    assert mean["tiny"] < mean["small"] < mean["large"] < mean["huge"]
    truth = graded().group_by("model").agg(pl.col("quality").mean())
    for name, value in truth.iter_rows():
        assert abs(mean[name] - value) < 0.1, (name, mean[name], value)


@pytest.mark.parametrize("kind", ALL)
def test_the_order_of_rows_and_models_changes_nothing(kind: str) -> None:
    table = graded(80)
    rng = np.random.default_rng(0)
    mixed = table[rng.permutation(table.height)].select("quality", "source", "model", "prompt")
    assert to_bytes(train(table, kind, encode=encode)) == to_bytes(
        train(mixed, kind, encode=encode)
    )


@pytest.mark.parametrize("kind", ["difficulty", "boosted", "factorization", "similarity"])
def test_other_names_for_the_models_change_no_score(kind: str) -> None:
    table = graded(80)
    names = {"tiny": "z", "small": "b", "large": "y", "huge": "a"}
    renamed = table.with_columns(pl.col("model").replace(names))
    texts = prompts(20, 8)[0]
    one, other = train(table, kind, encode=encode), train(renamed, kind, encode=encode)
    np.testing.assert_allclose(one.score(texts), other.score(texts), atol=1e-3)
    for name, new in names.items():
        np.testing.assert_allclose(
            one.predict(texts)[:, one.models.index(name)],
            other.predict(texts)[:, other.models.index(new)],
            atol=1e-3,
        )


@pytest.mark.parametrize("kind", ALL)
def test_a_reloaded_router_is_the_same(
    kind: str, trained: Callable[[str], Learned], tmp_path: Path
) -> None:
    router = trained(kind)
    again = load(save(router, tmp_path / "a.router"), encode=encode)
    texts = prompts(50, seed=2)[0]
    np.testing.assert_array_equal(router.score(texts), again.score(texts))
    np.testing.assert_array_equal(router.predict(texts), again.predict(texts))
    assert again.explain(texts[0]) == router.explain(texts[0])
    assert (again.kind, again.models, again.training) == (kind, router.models, router.training)
    assert to_bytes(again) == to_bytes(router)
    with zipfile.ZipFile(tmp_path / "a.router") as file:
        assert all(n.endswith((".json", ".npy", ".sha256")) for n in file.namelist())
        whole = b"".join(file.read(n) for n in file.namelist())
    assert b"Tell me about" not in whole  # no prompt text is kept


def test_explanations_name_what_counts(trained: Callable[[str], Learned]) -> None:
    text = "Tell me about integral eigenvalue theorem tensor kernel lattice"
    near = trained("neighbours").explain(text)
    assert near.neighbours[0].likeness >= near.neighbours[-1].likeness > 0
    assert np.mean([n.difficulty for n in near.neighbours]) > 0
    assert set(near.quality) == {"tiny", "small", "large", "huge"}
    assert dict(trained("transfer").explain(text).parts)["length"] > 0
    assert "code" in dict(trained("rules").explain("```python\ndef f(): ...\n```").parts)


def test_each_source_is_judged_by_itself() -> None:
    """One source's grades on another scale change nothing in what is hard."""
    table = graded(160)
    low = table.with_columns(
        pl.when(pl.col("source") == "one").then(pl.col("quality") * 0.2).otherwise("quality")
    )
    texts = prompts(60, 4)[0]
    one, other = (train(t, "difficulty").score(texts) for t in (table, low))
    assert np.corrcoef(one, other)[0, 1] > 0.9


# -- files that are no routers


def test_damaged_files_are_refused(trained: Callable[[str], Learned], tmp_path: Path) -> None:
    good = to_bytes(trained("boosted"))
    for place in range(0, len(good), max(1, len(good) // 40)):
        path = tmp_path / "bad.router"
        path.write_bytes(good[:place] + bytes([good[place] ^ 0x5A]) + good[place + 1 :])
        try:  # a bit that carries no content may differ; no other router may come out
            again = load(path, encode=encode)
        except ArtifactError:
            continue
        assert to_bytes(again) == good
    for cut in (0, 10, len(good) // 2, len(good) - 1):
        (tmp_path / "cut.router").write_bytes(good[:cut])
        with pytest.raises(ArtifactError, match="no router, or is damaged"):
            load(tmp_path / "cut.router")


def _rewritten(data: bytes, change: Callable[[dict[str, object]], None]) -> bytes:
    """The file with its header changed, and sealed anew."""
    import hashlib

    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, "w") as new:
        header = json.loads(old.read("header.json"))
        change(header)
        text = json.dumps(header).encode()
        for name in old.namelist():
            body = {"header.json": text}.get(name, old.read(name))
            if name == "header.sha256":
                body = hashlib.sha256(text).hexdigest().encode()
            new.writestr(name, body)
    return out.getvalue()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda h: h.update(format="other"), "but no router"),
        (lambda h: h.update(version=99), "format version 99"),
        (lambda h: h.update(kind="oracle"), "no kind of router 'oracle'"),
        (lambda h: h.update(models=["one"]), "does not fit its kind"),
        (lambda h: h.pop("values"), "does not fit its kind"),
        (lambda h: h["sha256"].update(level="0" * 64), "no router, or is damaged"),
        (lambda h: h["sha256"].update(extra="0" * 64), "no router, or is damaged"),
    ],
)
def test_foreign_headers_are_refused(
    change: Callable[[dict[str, object]], None],
    says: str,
    trained: Callable[[str], Learned],
    tmp_path: Path,
) -> None:
    path = tmp_path / "x.router"
    path.write_bytes(_rewritten(to_bytes(trained("difficulty")), change))
    with pytest.raises(ArtifactError, match=says) as caught:
        load(path)
    assert caught.value.hint


def test_a_header_that_was_edited_is_refused(
    trained: Callable[[str], Learned], tmp_path: Path
) -> None:
    out = io.BytesIO()
    data = io.BytesIO(to_bytes(trained("words")))
    with zipfile.ZipFile(data) as old, zipfile.ZipFile(out, "w") as new:
        for name in old.namelist():
            new.writestr(name, old.read(name).replace(b'"huge"', b'"hugo"'))
    (tmp_path / "x.router").write_bytes(out.getvalue())
    with pytest.raises(ArtifactError, match="changed after it was written"):
        load(tmp_path / "x.router")


def test_a_pickle_is_not_opened(trained: Callable[[str], Learned], tmp_path: Path) -> None:
    blob = io.BytesIO()
    np.save(blob, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    out = io.BytesIO()
    import hashlib

    digest = hashlib.sha256(blob.getvalue()).hexdigest()
    data = _rewritten(to_bytes(trained("difficulty")), lambda h: h["sha256"].update(level=digest))
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, "w") as new:
        for name in old.namelist():
            new.writestr(name, blob.getvalue() if name == "level.npy" else old.read(name))
    (tmp_path / "x.router").write_bytes(out.getvalue())
    with pytest.raises(ArtifactError):
        load(tmp_path / "x.router")


def test_files_that_are_not_there_or_cannot_be_written(
    trained: Callable[[str], Learned], tmp_path: Path
) -> None:
    with pytest.raises(ArtifactError, match="no router to read") as caught:
        load(tmp_path / "none.router")
    assert "swath router train" in caught.value.hint
    with pytest.raises(OutputError):
        save(trained("words"), tmp_path / "no" / "such" / "a.router")
    with pytest.raises(ArtifactError):
        load(tmp_path)


# -- tables that cannot be learned from


def test_bad_tables_are_refused() -> None:
    table = graded(20)
    with pytest.raises(ColumnNotFound, match="'quality'") as caught:
        train(table.drop("quality"))
    assert "prompt" in caught.value.hint
    with pytest.raises(InputError, match="the table has 1"):
        train(table.filter(pl.col("model") == "tiny"))
    for wrong in (float("nan"), float("inf"), -0.1, 7.0):
        bad = table.with_columns(
            pl.when(pl.int_range(pl.len()) == 3).then(wrong).otherwise("quality").alias("quality")
        )
        with pytest.raises(InputError, match="1 of 80 qualities"):
            train(bad)
    with pytest.raises(InputError, match="not numbers"):
        train(table.with_columns(pl.col("quality").cast(pl.String)))
    with pytest.raises(InputError, match="fewer than two prompts"):
        train(table.filter(pl.col("prompt") == table["prompt"][0]))
    with pytest.raises(InputError, match=r"boosted.*difficulty") as unknown:
        train(table, "forest")
    assert "forest" in str(unknown.value)


def test_repeated_rows_are_averaged_and_ungraded_rows_left_out() -> None:
    table = graded(20)
    again = table.head(1).with_columns(quality=1 - pl.col("quality"))
    empty = table.tail(1).with_columns(pl.lit(None, pl.Float64).alias("quality"))
    read = Graded.read(pl.concat([table, again, empty.with_columns(model=pl.lit("tiny"))]))
    first = table.row(0, named=True)
    place = [i for i, p in enumerate(read.prompts) if p == first["prompt"]]
    assert read.quality[place[0], read.models.index(first["model"])] == 0.5
    assert read.notes == (
        "1 rows without prompt, model or quality were left out",
        "1 repeated rows of a prompt and model were averaged",
    )


@pytest.mark.parametrize("kind", ALL)
def test_little_and_lopsided_data_still_give_a_router(kind: str) -> None:
    table = pl.DataFrame(
        {
            "prompt": ["a", "a", "b", "b", "c", "c", "d", "d"],
            "model": ["x", "y"] * 4,
            "quality": [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0],
        }
    )
    router = train(table, kind, encode=encode)
    quality = router.predict(["a", "something else entirely"])
    assert np.isfinite(quality).all()
    assert (quality > 0.5).all()
    partly = train(graded(40).filter(pl.int_range(pl.len()) % 3 != 0), kind, encode=encode)
    assert np.isfinite(partly.predict(["a"])).all()


def test_prompts_must_be_text(trained: Callable[[str], Learned]) -> None:
    with pytest.raises(InputError, match="not text"):
        trained("words").score(["a", None])  # type: ignore[list-item]


# -- the one that ships


def test_the_default_router_ships_small_and_knows_chat_from_problems() -> None:
    router = find("default")
    assert router.kind == "transfer"
    assert router.models == ("weak", "strong")
    chat = "Write a friendly birthday message for my neighbour, please."
    problem = "A train covers 60 km in 45 minutes. How many km does it cover in 2 hours?"
    code = "```python\ndef f(x): return x[::-1]\n```\nWhat does f('abc') return?"
    score = router.score([chat, problem, code])
    assert score[0] < score[1]
    assert score[0] < score[2]
    quality = router.predict([chat, problem])
    assert (quality[:, 1] > quality[:, 0]).all()
    assert quality[0, 0] > quality[1, 0] + 0.2  # the weak model does for chat
    assert quality[1, 1] - quality[1, 0] > quality[0, 1] - quality[0, 0] + 0.1
    from importlib.resources import files

    home = files("swath.routing")
    size = sum(len((home / n).read_bytes()) for n in ("default.router", "words.npz"))
    assert size < 5e6


def test_any_configured_model_may_embed(open_session: Open, tmp_path: Path) -> None:
    with serve(OpenAIServer()) as server:
        open_session(embedder=(server, {"model": "text-embedding-3-small"}))
        router = train(graded(20), "neighbours", embedding="embedder")
        again = load(save(router, tmp_path / "a.router"))
        assert again.embedding == "embedder"
        texts = prompts(3, 1)[0]
        np.testing.assert_array_equal(router.score(texts), again.score(texts))
