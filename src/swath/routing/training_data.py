"""Grades for training from what Swath has already: comparisons that were judged, golden sets.

A router is served the last message of the user's (`engine/deciding.prompt_of`), so that is what it
is trained on: the question as it was put to the models, and never the bare column. Models go by
their aliases. Preference pairs are in preferences.py, prompts that are yet to be asked in
replayed.py.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from swath.errors import InputError
from swath.routing import preferences
from swath.routing.graded import Graded
from swath.routing.preferences import of_pairs

if TYPE_CHECKING:
    import polars as pl

    from swath.config import Config
    from swath.evals.comparison import Comparison
    from swath.evals.golden.read import Suite
    from swath.evals.golden.report import Report

__all__ = ["combined", "held_out", "of_comparison", "of_golden", "of_pairs", "rows_of"]
Floats = NDArray[np.float64]
LAST = "last"
SCALE = 5  # of comparisons that do not say theirs: what a judge's scale is by default


# -- comparisons


def of_comparison(
    given: Comparison | str | os.PathLike[str], *, config: Config | None = None
) -> Graded:
    """The grades in a comparison, or a saved one: a folder, an id beside the store (or its
    beginning), or `last`, the newest. `config` says where the store is; else the current one.

    Pairwise: the quality of a model on a row is how far its answer is preferred to that of the
    strongest, which is 0.5 itself (`preferences.py`). A verdict is both orders settled into one; a
    jury's is the majority's; people's labels stand before the judge's word. Pairs whose verdict
    could not be read are left out. Scores of a rubric or a reference: the mean over criteria and
    judges, 1 to `scale` spread over 0 to 1. Raises InputError.
    """
    made = _loaded(given, config)
    if made.scores is None and made.verdicts is None and made.human is None:
        raise InputError(
            f"The comparison '{made.id}' was not judged, so it has no grades.",
            hint="Compare with a judge: sw.compare(…, judge='alias'), or swath compare --judge. "
            "The answers are stored: only the judge is paid.",
        )
    if made.items is None or not made.items.height:
        raise InputError(
            f"The comparison '{made.id}' has no row that two models answered.",
            hint="See why: swath compare --show ID.",
        )
    names = _aliases(made)
    if made.scores is not None:
        table, notes = _scored(made)
        spelled = _renamed(table, ("model",), names)
        _tells_apart(spelled)
        graded = Graded.read(spelled)
        return replace(graded, notes=(*notes, *graded.notes))
    table, notes = _judged(made)
    return preferences.graded(_renamed(table, ("model_a", "model_b"), names), notes)


def _loaded(given: Comparison | str | os.PathLike[str], config: Config | None) -> Comparison:
    from swath.evals import keeping
    from swath.evals.comparison import Comparison

    if isinstance(given, Comparison):
        return given
    config = config or keeping._config(None)
    if os.fspath(given) != LAST or os.path.isdir(given):
        return Comparison.load(keeping.find(given, config))
    folders = keeping.known(config)
    if not folders:
        raise InputError(
            f"There is no comparison in {keeping.home(config)}.",
            hint="Make one: swath compare data.csv … --judge ALIAS.",
        )
    return Comparison.load(folders[0])


def _aliases(made: Comparison) -> dict[str, str]:
    """The alias behind each name that is none (`fast temperature=1`), where no other contestant
    has that alias: what serves them is the alias."""
    asked: Mapping[str, str] = made.settings.get("asked") or {}
    by_name = {name: asked.get(name, name) for name in made.models}
    taken = list(by_name.values())
    return {n: a for n, a in by_name.items() if n != a and taken.count(a) == 1}


def _renamed(table: pl.DataFrame, columns: Sequence[str], names: Mapping[str, str]) -> pl.DataFrame:
    import polars as pl

    return table.with_columns(pl.col(name).replace(dict(names)) for name in columns)


def _prompts(made: Comparison) -> pl.DataFrame:
    """`row, prompt`: the last message of the user's. Examples, the same for all rows, stand before
    it in `items.input`; of replayed conversations a column of the table has it."""
    import polars as pl

    assert made.items is not None
    column = made.settings.get("prompt")
    if column in made.table.columns:
        rows = made.table.with_row_index("row").with_columns(pl.col("row").cast(pl.Int64))
        return rows.select("row", prompt=column)
    lead = int(made.settings.get("lead") or 0)
    return made.items.select("row", prompt=pl.col("input").str.slice(lead)).unique()


def _judged(made: Comparison) -> tuple[pl.DataFrame, list[str]]:
    """`prompt, model_a, model_b, won` of a comparison by verdicts or labels."""
    import polars as pl

    from swath.evals.concluding import opinions

    assert made.items is not None
    judge = made.trust.judge if made.trust is not None else ""
    score = {"A": 1.0, "B": 0.0, "tie": 0.5}
    said = opinions(made, judge).with_columns(
        judged=pl.col("verdict").replace_strict(score, default=None, return_dtype=pl.Float64)
    )
    rows = made.items.join(said.select("item_id", "judged"), on="item_id", how="left")
    notes = []
    if made.human is not None:
        label = pl.col("label").replace_strict(score, default=None, return_dtype=pl.Float64)
        people = made.human.group_by("item_id").agg(people=label.mean())
        rows = rows.join(people, on="item_id", how="left")
        notes.append(f"{rows['people'].count():,} pairs go by people's labels")
    else:
        rows = rows.with_columns(people=pl.lit(None, pl.Float64))
    # Equal answers are a tie, also where nobody was asked.
    same = pl.when(pl.col("answer_a") == pl.col("answer_b")).then(0.5)
    rows = rows.with_columns(won=pl.coalesce("people", "judged", same))
    if left := rows["won"].null_count():
        notes.append(f"{left:,} of {rows.height:,} pairs have no verdict and were left out")
    rows = rows.drop_nulls("won").join(_prompts(made), on="row")
    return rows.select("prompt", "model_a", "model_b", "won", "answer_a", "answer_b"), notes


def _scored(made: Comparison) -> tuple[pl.DataFrame, list[str]]:
    """`prompt, model, answer, quality` of a comparison by scores."""
    import polars as pl

    assert made.items is not None
    assert made.scores is not None
    read = made.scores.drop_nulls("score")
    notes = []
    if left := made.scores.height - read.height:
        notes.append(f"{left:,} of {made.scores.height:,} scores could not be read")
    if made.human is not None:
        notes.append("people's labels are of pairs, and are not mixed with scores")
    scale = made.settings.get("scale") or SCALE
    prompts = _prompts(made).filter(pl.col("row").is_in(made.items["row"].implode()))
    mean = read.group_by("row", "model").agg(pl.col("score").sort().mean())
    rows = mean.join(prompts, on="row", how="inner")
    if left := mean.height - rows.height:
        notes.append(f"{left:,} answers to rows that only one model answered were left out")
    quality = ((pl.col("score") - 1) / (scale - 1)).clip(0, 1)
    rows = rows.join(
        pl.concat(
            made.items.select("row", model=f"model_{side}", answer=f"answer_{side}")
            for side in ("a", "b")
        ).unique(["row", "model"]),
        on=["row", "model"],
        how="left",
    )
    return rows.select("prompt", "model", "answer", quality=quality), notes


# -- golden sets


def of_golden(report: Report, suite: Suite) -> Graded:
    """The grades in a report of `swath eval`: a model's quality on a row is the mean of its checks
    there; a row it did not answer is 0. `suite` is the golden set that was run: the prompts are put
    as it puts them. Raises InputError where the rows are no longer those of the report."""
    import polars as pl

    from swath.engine.deciding import prompt_of

    said = None if report.prompt is None else report.prompt.text
    operator = suite.maker.make(report.models[0], said)
    asked = operator.requests(suite.table, report.models[0])
    table = suite.table.select(sorted(operator.reads(suite.table.schema))).to_dicts()
    rows: list[dict[str, Any]] = []
    for row in report.rows:
        graded = [s.score for s in row.scores.values() if s.score is not None]
        if row.row >= len(asked) or not _same(table[row.row], row.input):
            raise InputError(
                f"{row.title} of the report is another one in '{suite.file}' by now.",
                hint=f"Check it again, which asks only what is new: swath eval {suite.file}.",
            )
        request = asked[row.row]
        if request is not None and graded:
            quality = sum(graded) / len(graded)
            rows.append({"prompt": prompt_of(request), "model": row.model, "quality": quality})
    made = pl.DataFrame(
        rows, schema={"prompt": pl.String(), "model": pl.String(), "quality": pl.Float64()}
    )
    if not made.height:
        raise InputError("No row of the report has a score.", hint="Are the labels filled in?")
    _tells_apart(made)
    return Graded.read(made)


def _same(row: Mapping[str, Any], told: Mapping[str, Any]) -> bool:
    import msgspec

    encode = msgspec.json.Encoder(order="sorted").encode
    return encode(row) == encode(told)


def _tells_apart(table: pl.DataFrame) -> None:
    """Raise InputError where all models have the same grade on every prompt."""
    import polars as pl

    spread = table.group_by("prompt").agg(pl.col("quality").max() - pl.col("quality").min())
    if table["model"].n_unique() > 1 and not spread["quality"].max():
        raise InputError(
            "All models have the same grade on every prompt, so there is nothing to choose.",
            hint="Ask the cheapest always; or give harder rows, or checks that tell them apart.",
        )


# -- several sources


def rows_of(graded: Graded) -> pl.DataFrame:
    """The grades as rows of `prompt, model, quality, source`, as `Graded.read` reads them."""
    import polars as pl

    at, column = np.nonzero(np.isfinite(graded.quality))
    made = {
        "prompt": pl.Series([graded.prompts[i] for i in at], dtype=pl.String),
        "model": pl.Series([graded.models[j] for j in column], dtype=pl.String),
        "quality": pl.Series(graded.quality[at, column], dtype=pl.Float64),
        "source": pl.Series([graded.sources[graded.source[i]] for i in at], dtype=pl.String),
    }
    return pl.DataFrame(made)


def combined(parts: Mapping[str, Graded]) -> Graded:
    """Several kinds of grades as one: each part is a source of its own (or several: `name/source`),
    since grades of two kinds are not on one scale. One part stays as it is."""
    if len(parts) == 1:
        return next(iter(parts.values()))
    models = tuple(sorted({model for part in parts.values() for model in part.models}))
    rows = sorted(
        (f"{name}/{part.sources[s]}" if part.sources[s] else name, prompt, name, row)
        for name, part in parts.items()
        for row, (prompt, s) in enumerate(zip(part.prompts, part.source, strict=True))
    )
    sources = tuple(sorted({row[0] for row in rows}))
    place = {name: [models.index(m) for m in part.models] for name, part in parts.items()}

    def gathered(values: Mapping[str, Floats]) -> Floats:
        made = np.full((len(rows), len(models)), np.nan)
        for i, (_, _, name, row) in enumerate(rows):
            if name in values:
                made[i, place[name]] = values[name][row]
        return made

    known = sorted({extra for part in parts.values() for extra in part.extra})
    return Graded(
        prompts=tuple(row[1] for row in rows),
        models=models,
        quality=gathered({name: part.quality for name, part in parts.items()}),
        source=np.array([sources.index(row[0]) for row in rows], np.intp),
        sources=sources,
        notes=tuple(n for part in parts.values() for n in part.notes),
        extra={
            extra: gathered({n: p.extra[extra] for n, p in parts.items() if extra in p.extra})
            for extra in known
        },
    )


def held_out(graded: Graded, share: float) -> tuple[Graded, Graded]:
    """(to train on, to calibrate on): by a hash of the prompt, so that a prompt is on the same side
    in every run and in every source. Raises InputError where a side would be too small."""
    drawn = np.array([_uniform(prompt) < share for prompt in graded.prompts], np.bool_)
    if min(drawn.sum(), (~drawn).sum()) < 2:
        raise InputError(
            f"Of {len(graded):,} prompts, none are left to hold out {share:.0%}.",
            hint="Give more rows, or train without --hold-out.",
        )
    kept = replace(graded.rows(~drawn), notes=graded.notes)
    return kept, graded.rows(drawn)


def _uniform(prompt: str) -> float:
    digest = blake2b(prompt.encode(errors="replace"), digest_size=7, salt=b"hold-out").digest()
    return int.from_bytes(digest, "big") / (1 << 56)
