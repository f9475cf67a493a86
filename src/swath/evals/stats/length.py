"""Win rates with the length of the answers taken out: a judge that likes length is not a better
model.

After AlpacaEval's length-controlled win rate (Dubois et al. 2024, arXiv 2404.04475): a logistic
model of each verdict with a term for the two models and one for tanh of the difference in length,
in standard deviations; the rate is what the fit gives with the length term at nothing. The paper's
third term, how hard each instruction is for a baseline, needs many models over the same
instructions and is left out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from swath.errors import ColumnNotFound, listing
from swath.evals.stats.estimate import (
    RESAMPLES,
    Estimate,
    Floats,
    percentiles,
    resampled_counts,
)
from swath.evals.stats.pairwise import Votes, votes_of
from swath.evals.stats.tables import item_table, verdict_table, with_items, with_unit

_RIDGE = 0.5  # of a verdict's weight on each squared term: keeps a model that always wins finite
_STEPS = 50


@dataclass(frozen=True)
class LengthControl:
    """`rates`: each model's win rate at equal lengths, the best first. `length`: the fitted log
    odds that an answer much longer than the other wins by its length alone, with its interval."""

    rates: dict[str, Estimate]
    length: Estimate


def length_controlled(
    items: pl.DataFrame,
    verdicts: pl.DataFrame,
    *,
    unit: str | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> LengthControl | None:
    """Win rates of models against those they met, at equal lengths of the answers. None where
    nothing was decided between two models. Raises ColumnNotFound without `answer_a, answer_b`."""
    table = with_unit(with_items(verdict_table(verdicts), item_table(items)), unit)
    for column in ("model_a", "model_b", "answer_a", "answer_b"):
        if column not in table.columns:
            raise ColumnNotFound(
                f"Neither items nor verdicts have a column '{column}'.",
                hint=listing({*items.columns, *verdicts.columns}, column),
            )
    return length_controlled_of(table, resamples, seed)


def length_controlled_of(table: pl.DataFrame, resamples: int, seed: int) -> LengthControl | None:
    """`length_controlled` of a table with `_unit`."""
    longer = (
        pl.col("answer_a").str.len_chars().cast(pl.Float64) - pl.col("answer_b").str.len_chars()
    )
    table = table.with_columns(_longer=longer.fill_null(0.0))
    # The same rows in the same order as the votes.
    kept = table.filter(
        pl.col("verdict").is_not_null()
        & (pl.col("model_a").cast(pl.String) != pl.col("model_b").cast(pl.String))
    )
    cast = votes_of(kept)
    if not cast.units:
        return None
    apart = kept["_longer"].to_numpy()
    scale = float(apart.std()) or 1.0
    design = _design(cast, np.tanh(apart / scale))
    fitted = _fit(design, cast)
    expected = _expit(design @ fitted)
    slope = _curvature(design, expected, cast.weight)
    pushes = np.zeros((cast.units, design.shape[1]))
    np.add.at(pushes, cast.unit, (cast.weight * (cast.score - expected))[:, None] * design)
    moves = np.linalg.solve(slope, pushes.T).T  # how far each unit moves the fit
    fits = np.vstack(
        [
            fitted + (counts - 1) @ moves  # one Newton step for each resample
            for counts in resampled_counts(cast.units, resamples, seed)
        ]
    )
    return LengthControl(
        rates=_rates(cast, fitted, fits),
        length=Estimate(float(fitted[-1]), *percentiles(fits[:, -1]), cast.units),
    )


def _design(cast: Votes, lengths: Floats) -> Floats:
    """(verdicts, models + 1): 1 for a, -1 for b, and the length term."""
    design = np.zeros((len(cast.a), len(cast.models) + 1))
    rows = np.arange(len(cast.a))
    design[rows, cast.a] = 1
    design[rows, cast.b] = -1
    design[:, -1] = lengths
    return design


def _fit(design: Floats, cast: Votes) -> Floats:
    """Ridge logistic regression by Newton's method; ties are scores of a half."""
    fitted: Floats = np.zeros(design.shape[1])
    for _ in range(_STEPS):
        expected = _expit(design @ fitted)
        push = design.T @ (cast.weight * (cast.score - expected)) - _RIDGE * fitted
        step = np.linalg.solve(_curvature(design, expected, cast.weight), push)
        fitted = fitted + step
        if float(np.abs(step).max()) < 1e-9:
            break
    return fitted


def _curvature(design: Floats, expected: Floats, weight: Floats) -> Floats:
    spread = weight * expected * (1 - expected)
    curved: Floats = design.T @ (design * spread[:, None]) + _RIDGE * np.eye(design.shape[1])
    return curved


def _rates(cast: Votes, fitted: Floats, fits: Floats) -> dict[str, Estimate]:
    """Over the opponents that each model met, as often as it met them."""
    k = len(cast.models)
    met = np.zeros((k, k))
    took_part = np.zeros((cast.units, k), dtype=bool)
    for one, other in ((cast.a, cast.b), (cast.b, cast.a)):
        np.add.at(met, (one, other), cast.weight)
        took_part[cast.unit, one] = True
    found = {}
    for i, model in enumerate(cast.models):
        share = met[i] / met[i].sum()
        rate = float(_expit(fitted[i] - fitted[:k]) @ share)
        drawn = _expit(fits[:, i, None] - fits[:, :k]) @ share
        found[model] = Estimate(rate, *percentiles(drawn), int(took_part[:, i].sum()))
    return dict(sorted(found.items(), key=lambda pair: -pair[1].estimate))


def _expit(x: Floats) -> Floats:
    return 0.5 * (1 + np.tanh(x / 2))
