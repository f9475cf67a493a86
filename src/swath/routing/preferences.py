"""Quality from preferences: who was preferred to whom, as a grade of each model on each prompt.

A model's quality on a prompt is how far its answer is preferred to that of the strongest model
there: 1 preferred, 0.5 even, 0 not; so the strongest is 0.5 by definition. (Shares of wins against
each other would not do: on every prompt they add up to the same, so that no prompt would be harder
than another.) The strongest is the one with the highest Bradley-Terry strength over all verdicts of
a source. Where a model did not meet it on a prompt, its other verdicts there stand in:

    quality = chance to be preferred to the strongest, by the strengths
              + the mean, over its verdicts on this prompt, of (won - chance to win)

held within 0 and 1. So a win against the second best says more than one against the worst.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from swath.errors import InputError
from swath.routing.graded import Graded, require

if TYPE_CHECKING:
    import polars as pl

Floats = NDArray[np.float64]

VERDICTS = ("verdict", "winner", "label")
SCORE = {"A": 1.0, "B": 0.0, "tie": 0.5}  # what a verdict gives to the first model
_SPELLED = {
    "a": "A",
    "model_a": "A",
    "b": "B",
    "model_b": "B",
    "tie": "tie",
    "tie (bothbad)": "tie",
    "both_bad": "tie",
    "bothbad": "tie",
}
_ONE_HOT = {"winner_model_a": "A", "winner_model_b": "B", "winner_tie": "tie"}
ROUNDS = 50


def of_pairs(table: pl.DataFrame, items: pl.DataFrame | None = None) -> Graded:
    """Grades from verdicts on pairs of answers.

    `table` has `model_a`, `model_b`, a verdict, and the prompt: `prompt`, else `instruction` and
    `input` (joined by a blank line, where both are there). The verdict stands in `verdict`,
    `winner` or `label`, as A, B, tie, or model_a, model_b, tie, or the winning model's name; or in
    `winner_model_a`, `winner_model_b`, `winner_tie`, as LMSYS' files have it. With an `item_id`,
    several verdicts may say something of one pair: both `order`s are settled into one (a tie where
    they differ), those of several judges or annotators averaged. `items` has what the table lacks,
    by `item_id`. Verdicts of each `source` are fitted apart. Verdicts that are null are left out.

    Raises ColumnNotFound; InputError where verdicts cannot be read, where there is nothing to learn
    (one model always wins), or where groups of models never meet.
    """
    import polars as pl

    from swath.evals.stats.position import settle

    table = _with_verdict(table)
    if "item_id" not in table.columns:
        table = table.with_row_index("item_id")
    table = table.with_columns(pl.col("item_id").cast(pl.String))
    about = table if items is None else items.with_columns(pl.col("item_id").cast(pl.String))
    about = _with_prompt(about, "The table of pairs" if items is None else "The table of items")
    kept = ("item_id", "prompt", "model_a", "model_b", "source", "answer_a", "answer_b")
    about = about.select([name for name in kept if name in about.columns]).unique()
    if about["item_id"].is_duplicated().any():
        raise InputError(
            "An item_id of the pairs stands for several prompts or models.",
            hint="Verdicts on one pair of answers share an item_id; other pairs need their own.",
        )
    if items is not None:
        own = [name for name in about.columns if name != "item_id" and name in table.columns]
        table = table.drop(own).join(about, on="item_id", how="inner")
    table = _named(table)
    if items is not None and not table.height:
        raise InputError(
            "No item_id of the verdicts is in the table of items.",
            hint="Give the items that were judged: item_id must be the same in both.",
        )
    said = ("item_id", "judge", "annotator", "strategy", "repeat", "order", "verdict")
    settled = settle(table.select([name for name in said if name in table.columns]))
    left = settled["verdict"].null_count()
    rows = settled.select("item_id", "verdict").drop_nulls().join(about, on="item_id")
    rows = rows.with_columns(won=pl.col("verdict").replace_strict(SCORE, return_dtype=pl.Float64))
    notes = (f"{left:,} verdicts that could not be read were left out",) if left else ()
    return graded(rows.drop_nulls(["prompt", "model_a", "model_b"]), notes)


def graded(rows: pl.DataFrame, notes: Sequence[str] = ()) -> Graded:
    """`Graded` from rows of `prompt, model_a, model_b, won` (by model_a: 1, 0, or between), and,
    where they are known, `source`, and `answer_a, answer_b`, of which a cascade learns when to
    trust the answer itself. Raises InputError."""
    from dataclasses import replace

    import polars as pl

    if "source" not in rows.columns:
        rows = rows.with_columns(source=pl.lit(""))
    rows = rows.with_columns(
        pl.col("source").cast(pl.String).fill_null(""),
        pl.col("prompt", "model_a", "model_b").cast(pl.String),
    ).filter(pl.col("model_a") != pl.col("model_b"))
    learnable(rows)
    said, parts = list(notes), []
    for (source,), part in sorted(rows.group_by("source"), key=lambda found: str(found[0])):
        best, table = _one_source(part)
        where = f" of '{source}'" if source else ""
        said.append(f"0.5 is the quality of '{best}', the strongest{where}; others against it")
        parts.append(table)
    table = pl.concat(parts)
    if "answer_a" in rows.columns and "answer_b" in rows.columns:
        table = table.join(_answers(rows), on=["source", "prompt", "model"], how="left")
    return replace(Graded.read(table), notes=tuple(said))


def learnable(rows: pl.DataFrame) -> None:
    """Raise InputError where rows of `model_a, model_b, won` leave nothing to choose."""
    import polars as pl

    if not rows.height:
        raise InputError(
            "There is no verdict that could be read.",
            hint="A router learns from pairs of answers of two models, and which is better.",
        )
    if rows.select((pl.col("won") == 0.5).all()).item():
        raise InputError(
            "All verdicts are ties, so there is nothing to choose.",
            hint="Ask the cheaper model always, or give pairs that tell the models apart.",
        )
    for name in sorted({*rows["model_a"], *rows["model_b"]}):
        best = (pl.col("model_a") == name) & (pl.col("won") == 1)
        other = (pl.col("model_b") == name) & (pl.col("won") == 0)
        if rows.select((best | other).all()).item():
            raise InputError(
                f"'{name}' wins every pair, so there is nothing to choose.",
                hint=f"Ask '{name}' always; or give more pairs, or those of a closer model.",
            )


def strengths(won: Floats) -> Floats:
    """Bradley-Terry strengths, in logits with mean 0, shape (k,), of models that won `won[i, j]`
    times against each other, ties half (k, k). Half a win is added either way to each pair that
    met, so that one that never lost has a strength too. Newton's method; the same in any order."""
    met = won + won.T > 0
    won = won + 0.5 * met
    battles = won + won.T
    made = np.zeros(len(won))
    for _ in range(ROUNDS):
        p = 1 / (1 + np.exp(made[None, :] - made[:, None]))
        slope = (won - battles * p).sum(axis=1)
        bend = battles * p * (1 - p)
        hessian = np.diag(bend.sum(axis=1)) - bend + 1e-9 * np.eye(len(won))
        step = np.clip(np.linalg.solve(hessian, slope), -1, 1)
        made = made + step - (made + step).mean()
        if np.abs(step).max() < 1e-10:
            break
    return made


def _one_source(rows: pl.DataFrame) -> tuple[str, pl.DataFrame]:
    """The strongest model of one source's rows, and `prompt, model, quality, source`."""
    import polars as pl

    models = sorted({*rows["model_a"], *rows["model_b"]})
    place = {name: i for i, name in enumerate(models)}
    first = np.array([place[name] for name in rows["model_a"]])
    second = np.array([place[name] for name in rows["model_b"]])
    said = rows["won"].to_numpy()
    won = np.zeros((len(models), len(models)))
    np.add.at(won, (first, second), said)
    np.add.at(won, (second, first), 1 - said)
    _meet(won, models)
    strength = strengths(won)
    chance = 1 / (1 + np.exp(strength[None, :] - strength[:, None]))
    best = int(np.argmax(strength.round(9)))
    expected = chance[first, second]
    sides = [
        rows.select("prompt", "source", model="model_a").with_columns(
            pl.Series("over", said - expected),
            pl.Series("chance", chance[first, best]),
            pl.Series("met", second == best),
        ),
        rows.select("prompt", "source", model="model_b").with_columns(
            pl.Series("over", expected - said),
            pl.Series("chance", chance[second, best]),
            pl.Series("met", first == best),
        ),
    ]
    # What it did against the strongest itself is worth more than any guess from other verdicts.
    direct = pl.col("over").filter(pl.col("met")).sort().mean()
    over = pl.coalesce(direct, pl.col("over").sort().mean())
    quality = pl.when(pl.col("model") == models[best]).then(0.5)
    table = (
        pl.concat(sides)
        .group_by("source", "prompt", "model")
        .agg(over=over, chance=pl.col("chance").first())
        .select(
            "prompt",
            "model",
            # Sums of the same numbers in another order differ in their last bits.
            quality=quality.otherwise((pl.col("chance") + pl.col("over")).clip(0, 1).round(9)),
            source="source",
        )
    )
    return models[best], table


def _answers(rows: pl.DataFrame) -> pl.DataFrame:
    """`source, prompt, model, answer`: one each, whatever the order of the rows."""
    import polars as pl

    sides = [
        rows.select("source", "prompt", model=f"model_{side}", answer=f"answer_{side}")
        for side in ("a", "b")
    ]
    return pl.concat(sides).group_by("source", "prompt", "model").agg(pl.col("answer").min())


def _meet(won: Floats, models: Sequence[str]) -> None:
    """Raise InputError where the models fall into groups that never meet."""
    met = won + won.T > 0
    reached = np.zeros(len(models), np.bool_)
    reached[0] = True
    for _ in models:
        reached |= met[reached].any(axis=0)
    apart = [name for name, seen in zip(models, reached, strict=True) if not seen]
    if apart:
        raise InputError(
            f"'{models[0]}' and '{apart[0]}' never meet, not even by way of others, so that they "
            "cannot be put on one scale.",
            hint="Give each group a `source` of its own, or pairs that join them.",
        )


# -- tables as they come


def _with_verdict(table: pl.DataFrame) -> pl.DataFrame:
    """`table` with `verdict`, in its own spelling."""
    import polars as pl

    if all(name in table.columns for name in _ONE_HOT):
        chosen = pl.lit(None, pl.String)
        for name, verdict in _ONE_HOT.items():
            chosen = (
                pl.when(pl.col(name).cast(pl.Float64) == 1).then(pl.lit(verdict)).otherwise(chosen)
            )
        return table.with_columns(verdict=chosen)
    found = next((name for name in VERDICTS if name in table.columns), None)
    if found is None:
        require(table, ("verdict",), "The table of pairs")
    return table.with_columns(verdict=pl.col(str(found)).cast(pl.String).str.strip_chars())


def _with_prompt(table: pl.DataFrame, what: str) -> pl.DataFrame:
    import polars as pl

    require(table, ("item_id", "model_a", "model_b"), what)
    if "prompt" in table.columns:
        return table.with_columns(pl.col("prompt").cast(pl.String))
    parts = [name for name in ("instruction", "input") if name in table.columns]
    if not parts:
        require(table, ("prompt",), what)
    text = [pl.col(name).cast(pl.String) for name in parts]
    filled = [pl.when(t.str.strip_chars() != "").then(t) for t in text]
    return table.with_columns(
        prompt=pl.when(pl.any_horizontal([f.is_not_null() for f in filled])).then(
            pl.concat_str(filled, separator="\n\n", ignore_nulls=True)
        )
    )


def _named(table: pl.DataFrame) -> pl.DataFrame:
    """`verdict` as A, B, tie or null."""
    import polars as pl

    said = pl.col("verdict")
    plain = said.str.to_lowercase().replace_strict(_SPELLED, default=None, return_dtype=pl.String)
    made = table.with_columns(
        _said=pl.when(said == pl.col("model_a").cast(pl.String))
        .then(pl.lit("A"))
        .when(said == pl.col("model_b").cast(pl.String))
        .then(pl.lit("B"))
        .otherwise(plain)
    )
    wrong = made.filter((pl.col("verdict").fill_null("") != "") & pl.col("_said").is_null())
    if wrong.height:
        raise InputError(
            f"{wrong.height:,} of {made.height:,} verdicts name no side of their pair.",
            hint="A verdict is A, B or tie; model_a, model_b or tie; or the winning model's name. "
            "Leave it empty where it could not be read.",
        )
    return made.with_columns(verdict="_said").drop("_said")
