"""Routers measured: many models on simulated grades, the commands, and files that were damaged."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from swath.errors import ColumnNotFound, InputError, MissingExtra, WeightsError
from swath.routing import many, study
from swath.routing.artifact import ArtifactError, of_bytes, to_bytes
from swath.routing.benchmarks import commercial
from swath.routing.evaluate import aiq, curve, hull
from swath.routing.graded import Graded
from swath.routing.kinds import KINDS, kind_of
from swath.routing.router import Learned, Texts
from swath.routing.training import train
from tests.cli_kit import Cli, cli
from tests.router_kit import MODELS, encode, graded, prompts, study_data

__all__ = ["cli"]

PRICES = {"tiny": 0.001, "small": 0.003, "large": 0.01, "huge": 0.03}
# Kinds that no fake encoder stands in for are tested in files of their own.
PLAIN = [k for k in KINDS if k not in ("bert", "causal")]


def table(count: int = 160, seed: int = 0) -> pl.DataFrame:
    made = graded(count, seed)
    return made.with_columns(cost=pl.col("model").replace_strict(PRICES))


class Fixed(Learned):
    """A router that says what it is told to: qualities by prompt."""

    kind = "fixed"
    summary = "for tests"

    def __init__(self, models: tuple[str, ...], say: Callable[[str], np.ndarray]) -> None:
        super().__init__(models=models, _encode=encode)
        self.say = say

    def fit(self, graded: Graded, texts: Texts, seed: int) -> Fixed:
        return self

    def quality(self, texts: Texts) -> np.ndarray:
        return np.array([self.say(p) for p in texts.prompts]).reshape(-1, len(self.models))

    def wants(self, texts: Texts) -> np.ndarray:
        quality = self.quality(texts)
        gain: np.ndarray = quality[:, -1] - quality[:, 0]
        return gain

    def state(self) -> tuple[dict[str, object], dict[str, np.ndarray]]:
        return {}, {}

    def restore(self, values: object, arrays: object) -> None:
        return


def says_it(quality: np.ndarray) -> Callable[[str], np.ndarray]:
    return lambda prompt: quality


def by_name(found: list[many.Many]) -> dict[str, many.Many]:
    return {one.router.split(":")[0]: one for one in found}


@settings(max_examples=15)
@given(st.integers(0, 10_000), st.integers(2, 5), st.integers(3, 40))
def test_the_oracle_bounds_all_and_the_zero_router_is_the_hull(seed: int, m: int, n: int) -> None:
    """Also where a model costs another sum on each prompt."""
    rng = np.random.default_rng(seed)
    models = tuple(f"m{j}" for j in range(m))
    texts = [f"prompt {i}" for i in range(n)]
    rows = [
        {"prompt": p, "model": name, "quality": float(rng.random() < 0.6), "cost": (j + 1) * c}
        for p in texts
        for c in [float(rng.uniform(0.5, 1.5))]
        for j, name in enumerate(models)
    ]
    data = many.read(pl.DataFrame(rows))
    guess = {p: rng.random(m) for p in texts}
    found = by_name(
        many.measure({"any": Fixed(models, guess.__getitem__)}, data, data, resamples=20)
    )
    top = found[many.ORACLE]
    for name in ("any", many.BEST, many.ZERO):
        assert found[name].aiq.estimate <= top.aiq.estimate + 1e-6
        x, y = top.corners.T
        for cost, quality in found[name].corners:
            if len(x) <= 200:  # all its corners are there
                assert quality <= np.interp(cost, x, y) + 1e-9
    assert found[many.BEST].aiq.estimate <= found[many.ZERO].aiq.estimate + 1e-9
    alone = {
        name: (float(data.cost[:, j].mean()), float(data.graded.quality[:, j].mean()))
        for j, name in enumerate(models)
    }
    costs = [c for c, _ in alone.values()]
    assert found[many.ZERO].aiq.estimate == pytest.approx(
        aiq(list(alone.values()), min(costs), max(costs))
    )
    steps = np.array([alone[k] for k in hull(alone)])
    for cost, quality in found[many.ZERO].corners:
        assert quality == pytest.approx(np.interp(cost, *steps.T))


def test_a_router_that_knows_every_answer_is_the_oracle_between_two_models() -> None:
    data = many.read(table().filter(pl.col("model").is_in(["tiny", "huge"])))
    known = dict(zip(data.graded.prompts, data.graded.quality, strict=True))
    knows = Fixed(data.graded.models, known.__getitem__)
    found = by_name(many.measure({"knows": knows}, data, data, resamples=20))
    assert found["knows"].aiq.estimate == pytest.approx(found[many.ORACLE].aiq.estimate, abs=1e-6)
    pair = found["knows"].pair
    assert pair is not None
    weak, strong = (data.graded.quality[:, data.graded.models.index(m)] for m in ("tiny", "huge"))
    assert abs(pair.apgr.estimate) == pytest.approx(
        abs(curve(knows.score(data.graded.prompts), weak, strong).apgr)
    )


def test_a_constant_router_is_a_single_model() -> None:
    data = many.read(table())
    models = data.graded.models
    for j, name in enumerate(models):
        says = np.zeros(len(models))
        says[j] = 1e9  # worth any price
        choice = many.choices(np.tile(says, (len(data.graded), 1)), data.cost[0])
        assert (choice[:, 1:] == j).all(), name
        found = many.measure({"one": Fixed(models, says_it(says))}, data, data, resamples=20)
        cheapest = int(np.argmin(data.cost[0]))
        ends = {
            str(k): (float(data.cost[:, k].mean()), float(data.graded.quality[:, k].mean()))
            for k in (cheapest, j)
        }
        np.testing.assert_allclose(found[0].corners, [ends[k] for k in hull(ends)])


def test_other_names_and_order_of_models_change_no_figure() -> None:
    one = table(80)
    names = {"tiny": "z", "small": "b", "large": "y", "huge": "a"}
    other = one.sample(fraction=1, shuffle=True, seed=3).with_columns(
        pl.col("model").replace(names)
    )
    figures = []
    for rows in (one, other):
        known, held = many.halves(many.read(rows), {}, 0)
        router = train(known.graded, "difficulty", encode=encode)
        found = by_name(many.measure({"difficulty": router}, known, held, resamples=20))
        figures.append([found[k].aiq.estimate for k in sorted(found)])
    np.testing.assert_allclose(figures[0], figures[1], atol=1e-6)


def test_halves_hold_whole_clusters_out() -> None:
    data = many.read(table())
    clusters = {p: str(i // 4) for i, p in enumerate(data.graded.prompts)}
    known, held = many.halves(data, clusters, 0)
    assert len(known.graded) + len(held.graded) == len(data.graded)
    assert not {clusters[p] for p in known.graded.prompts} & {
        clusters[p] for p in held.graded.prompts
    }
    again = many.halves(data, clusters, 1)[0]
    assert again.graded.prompts != known.graded.prompts


def test_steps_of_rates_go_from_the_cheapest_to_the_best() -> None:
    rng = np.random.default_rng(0)
    quality, cost = rng.random((50, 4)), np.array([3.0, 1.0, 10.0, 5.0])
    choice = many.choices(quality, cost)
    assert (choice[:, 0] == 1).all()
    assert (choice[:, -1] == quality.argmax(axis=1)).all()
    spent = cost[choice].mean(axis=0)
    assert all(a <= b + 1e-12 for a, b in pairwise(spent))


def test_bad_costs_are_refused() -> None:
    rows = table(40)
    with pytest.raises(ColumnNotFound, match="'price'"):
        many.read(rows, cost="price")
    with pytest.raises(InputError, match="no cost of 'huge'"):
        many.read(rows, costs={k: v for k, v in PRICES.items() if k != "huge"})
    for wrong in (-1.0, float("nan"), float("inf")):
        with pytest.raises(InputError, match="no dollars"):
            many.read(rows, costs=PRICES | {"huge": wrong})
    with pytest.raises(InputError, match="no 'cost'"):
        many.read(
            rows.with_columns(cost=pl.when(pl.col("model") == "huge").then(None).otherwise("cost"))
        )
    same = many.read(rows, costs=dict.fromkeys(PRICES, 1.0))
    with pytest.raises(InputError, match="cost the same"):
        many.measure({}, same, same)
    data = many.read(rows)
    with pytest.raises(InputError, match="does not know 'huge'"):
        many.measure({"x": Fixed(("a", "b"), lambda p: np.zeros(2))}, data, data)


# -- the command


def test_eval_on_the_users_own_grades(cli: Cli) -> None:
    table().write_parquet(cli.folder / "g.parquet")
    done = cli(
        *("router", "eval", "--graded", "g.parquet", "--routers", "difficulty,random"),
        *("--json", "o.json", "--plot", "o.svg", "--resamples", "50"),
    )
    assert done.status == 0, done.err
    assert "zero router" in done.out
    assert "swath router eval --graded g.parquet" in done.out
    assert "numpy" in done.out
    found = json.loads((cli.folder / "o.json").read_text())
    assert [r["router"].split(":")[0] for r in found["results"]] == [
        "difficulty",
        "random",
        many.BEST,
        many.ZERO,
        many.ORACLE,
    ]
    for one in found["results"]:
        assert one["aiq"]["low"] <= one["aiq"]["estimate"] <= one["aiq"]["high"]
    svg = (cli.folder / "o.svg").read_text()
    assert all(name in svg for name in (*MODELS, "difficulty", "oracle"))
    # The same command gives the same figures; a table of prices does for a column of them.
    rows = pl.DataFrame({"model": list(PRICES), "cost": list(PRICES.values())})
    rows.write_csv(cli.folder / "prices.csv")
    table().drop("cost").write_parquet(cli.folder / "n.parquet")
    done = cli(
        *("router", "eval", "--graded", "n.parquet", "--costs", "prices.csv"),
        *("--routers", "difficulty,random", "--json", "p.json", "--resamples", "50"),
    )
    assert done.status == 0, done.err
    assert json.loads((cli.folder / "p.json").read_text())["results"] == found["results"]


def test_eval_of_two_models_has_both_figures_and_a_test_file(cli: Cli) -> None:
    two = table().filter(pl.col("model").is_in(["tiny", "huge"]))
    two.write_parquet(cli.folder / "a.parquet")
    new = table(100, 7).filter(pl.col("model").is_in(["tiny", "huge"]))
    new.write_parquet(cli.folder / "b.parquet")
    done = cli(
        *("router", "eval", "--graded", "a.parquet", "--test", "b.parquet"),
        *("--routers", "difficulty", "--resamples", "50"),
    )
    assert done.status == 0, done.err
    assert "APGR" in done.out
    assert "100 held-out prompts, 2 models; trained on 160" in " ".join(done.out.split())


def test_eval_says_what_is_missing(cli: Cli) -> None:
    done = cli("router", "eval", "--routers", "rules")
    assert done.status == 1
    assert "--graded" in done.err
    table(20).drop("cost").write_parquet(cli.folder / "g.parquet")
    done = cli("router", "eval", "--graded", "g.parquet", "--routers", "rules")
    assert done.status == 1
    assert "--costs" in done.err
    table(20).write_parquet(cli.folder / "g.parquet")
    done = cli("router", "eval", "--graded", "g.parquet", "--routers", "oracle")
    assert done.status == 1
    assert "neither a kind of router nor a file" in done.err


def test_all_leaves_out_what_is_slow_or_lacks_an_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    real = train

    def lacking(graded: Graded, kind: str, **settings: object) -> Learned:
        if kind == "boosted":
            raise MissingExtra("Boosted trees", "routing")
        if kind == "neighbours":
            raise WeightsError("There are no weights.", hint="Pull them.")
        return real(graded, "words", encode=encode)

    monkeypatch.setattr(study, "train", lacking)
    notes: list[str] = []
    made = study.trained(many.read(table(20)).graded, ["all"], note=notes.append)
    slow = {k for k in KINDS if getattr(kind_of(k), "slow", False)}
    assert set(made) == set(KINDS) - {"boosted", "neighbours"} - slow
    assert any("boosted is left out" in n for n in notes)
    assert any("neighbours is left out" in n for n in notes)
    with pytest.raises(MissingExtra):
        study.trained(many.read(table(20)).graded, ["boosted"])


def test_commercial_points_are_those_published() -> None:
    """RouteLLM's repository: Unify AI 8.757862 at 45.625%, Martian 8.3125 at about 50%."""
    unify, martian = commercial("mt-bench")
    assert (unify["quality"], unify["strong_share"]) == (8.757862, 45.625)
    assert (martian["quality"], martian["strong_share"]) == (8.3125, 50)
    part = (unify["quality"] - unify["weak"]) / (unify["strong"] - unify["weak"])
    assert part == pytest.approx(0.470, abs=1e-3)  # a coin at 45.6% recovers 45.6
    assert commercial("mmlu") == []
    # The ends of Unify's pair are those of the study's own data, all 80 questions.
    rows = pl.read_parquet(study_data() / "routellm_eval.parquet").filter(bench="mt-bench")
    assert rows["weak"].mean() == pytest.approx(unify["weak"], abs=1e-6)
    assert rows["strong"].mean() == pytest.approx(unify["strong"], abs=1e-6)


# -- files


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    return {kind: to_bytes(train(graded(60), kind, encode=encode)) for kind in PLAIN}


@pytest.mark.parametrize("kind", PLAIN)
@settings(max_examples=15)
@given(where=st.floats(0, 1, exclude_max=True), flip=st.integers(1, 255))
def test_a_flipped_byte_gives_the_same_router_or_an_error(
    kind: str, where: float, flip: int, files: dict[str, bytes]
) -> None:
    good = files[kind]
    place = int(where * len(good))
    bad = good[:place] + bytes([good[place] ^ flip]) + good[place + 1 :]
    try:
        again = of_bytes(bad, "x.router", encode)
    except ArtifactError:
        return
    assert to_bytes(again) == good


@pytest.mark.parametrize("kind", PLAIN)
@settings(max_examples=5)
@given(part=st.floats(0, 1, exclude_max=True))
def test_a_truncated_file_is_refused(kind: str, part: float, files: dict[str, bytes]) -> None:
    good = files[kind]
    with pytest.raises(ArtifactError):
        of_bytes(good[: int(part * len(good))], "x.router", encode)


@settings(max_examples=30)
@given(st.binary(max_size=300))
def test_a_foreign_file_is_refused(data: bytes) -> None:
    with pytest.raises(ArtifactError):
        of_bytes(data, "x.router")
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w") as file:
        file.writestr("header.json", data)
        file.writestr("header.sha256", data)
    with pytest.raises(ArtifactError):
        of_bytes(whole.getvalue(), "x.router")


@pytest.mark.parametrize("kind", PLAIN)
def test_a_reloaded_file_scores_alike_bit_for_bit(
    kind: str, files: dict[str, bytes], tmp_path: Path
) -> None:
    made = train(graded(60), kind, encode=encode)
    again = of_bytes(files[kind], "x.router", encode)
    texts = [*prompts(25, 4)[0], "", "日本語", "x" * 3000]
    np.testing.assert_array_equal(made.score(texts), again.score(texts))
    np.testing.assert_array_equal(made.predict(texts), again.predict(texts))
