"""Who won how often: win rates of models, from verdicts or from people's votes.

Every parsed verdict counts once in a rate (where a column `repeat` marks repeats, these share one
vote), a tie as a half; unparsed verdicts are left out. The interval resamples units.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from swath.errors import ColumnNotFound, InputError, listing
from swath.evals.stats.estimate import RESAMPLES, Estimate, Floats, Ints, codes, ratios
from swath.evals.stats.tables import item_table, score, verdict_table, with_items, with_unit

_SAME_VOTE = ("item_id", "judge", "strategy", "annotator", "order")


@dataclass(frozen=True)
class Votes:
    """Parsed verdicts between two different models, as arrays of one length (verdicts,): the
    numbers of model a, model b and unit, the score of a (1, a half, 0) and the weight."""

    models: tuple[str, ...]
    units: int
    unit: Ints
    a: Ints
    b: Ints
    score: Floats
    weight: Floats

    def number(self, model: str) -> int:
        """The place of a model. Raises InputError where it took part in nothing."""
        if model not in self.models:
            raise InputError(
                f"The verdicts know no model '{model}'.", hint=listing(self.models, model)
            )
        return self.models.index(model)


def win_rates(
    items: pl.DataFrame,
    verdicts: pl.DataFrame,
    *,
    unit: str | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, Estimate]:
    """Each model's share of the verdicts about it that it won, ties half, the best first.

    `n` of an estimate counts units. Raises ColumnNotFound without model_a and model_b.
    """
    return win_rates_of(votes(items, verdicts, unit), resamples, seed)


def win_rates_of(cast: Votes, resamples: int, seed: int) -> dict[str, Estimate]:
    """`win_rates` of votes."""
    shape = (cast.units, len(cast.models))
    won, met = np.zeros(shape), np.zeros(shape)
    for side, scored in ((cast.a, cast.score), (cast.b, 1 - cast.score)):
        np.add.at(won, (cast.unit, side), cast.weight * scored)
        np.add.at(met, (cast.unit, side), cast.weight)
    found = zip(cast.models, ratios(won, met, resamples=resamples, seed=seed), strict=True)
    kept = [(model, estimate) for model, estimate in found if estimate is not None]
    return dict(sorted(kept, key=lambda pair: -pair[1].estimate))


def win_matrix(items: pl.DataFrame, verdicts: pl.DataFrame) -> pl.DataFrame:
    """`model, opponent, win_rate, n`: a row for each model and each opponent that it met, both
    ways; `n` counts verdicts."""
    cast = votes(items, verdicts)
    k = len(cast.models)
    won, met = np.zeros((k, k)), np.zeros((k, k))
    for one, other, scored in ((cast.a, cast.b, cast.score), (cast.b, cast.a, 1 - cast.score)):
        np.add.at(won, (one, other), scored)
        np.add.at(met, (one, other), 1.0)
    rows, columns = np.nonzero(met)
    return pl.DataFrame(
        {
            "model": [cast.models[i] for i in rows],
            "opponent": [cast.models[j] for j in columns],
            "win_rate": won[rows, columns] / met[rows, columns],
            "n": met[rows, columns].astype(np.int64),
        },
        schema={
            "model": pl.String,
            "opponent": pl.String,
            "win_rate": pl.Float64,
            "n": pl.Int64,
        },
    )


def votes(items: pl.DataFrame, verdicts: pl.DataFrame, unit: str | None = None) -> Votes:
    """The verdicts as arrays. Raises InputError where a table is unusable."""
    table = with_unit(with_items(verdict_table(verdicts), item_table(items)), unit)
    for column in ("model_a", "model_b"):
        if column not in table.columns:
            raise ColumnNotFound(
                f"Neither items nor verdicts have a column '{column}'.",
                hint=listing({*items.columns, *verdicts.columns}, column),
            )
    return votes_of(table)


def votes_of(table: pl.DataFrame) -> Votes:
    """`votes` of a table with `_unit`, `model_a` and `model_b`."""
    parsed = table.with_columns(
        _score=score("verdict"),
        model_a=pl.col("model_a").cast(pl.String),
        model_b=pl.col("model_b").cast(pl.String),
    ).drop_nulls(["_score", "model_a", "model_b"])
    parsed = parsed.filter(pl.col("model_a") != pl.col("model_b"))
    weight = np.ones(parsed.height)
    if "repeat" in parsed.columns and parsed.height:
        keys = [c for c in _SAME_VOTE if c in parsed.columns]
        weight = parsed.select(1 / pl.len().over(keys)).to_series().to_numpy()
    a, b = parsed["model_a"].to_list(), parsed["model_b"].to_list()
    models, number = codes(sorted({*a, *b}) + a + b)
    units, unit = codes(parsed["_unit"].to_list())
    sides = number[len(models) :]
    return Votes(
        models=tuple(models),
        units=len(units),
        unit=unit,
        a=sides[: len(a)],
        b=sides[len(a) :],
        score=parsed["_score"].to_numpy(),
        weight=weight,
    )
