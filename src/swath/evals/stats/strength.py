"""One strength a model out of many pairs: Bradley-Terry, and beside it Newman and Elo.

evalica does the fitting. It answers with equal scores where no finite estimate exists, so that is
looked for first: some model, or group, that never lost to the rest.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from swath.evals.stats.estimate import (
    RESAMPLES,
    Estimate,
    Floats,
    Ints,
    percentiles,
    resampled_counts,
)
from swath.evals.stats.pairwise import Votes, votes

TOLERANCE = 1e-10
LIMIT = 100_000  # iterations; a few dozen are usual
_HALF = 0.5  # of a win, given each way to each pair that met, where there is no finite estimate


def bradley_terry(
    items: pl.DataFrame,
    verdicts: pl.DataFrame,
    *,
    unit: str | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, Estimate]:
    """Bradley-Terry (1952) strengths that sum to 1, the strongest first: a beats b with the odds of
    their strengths, a tie is half a win each way. Intervals resample units.

    Where some model never lost (or won) no finite estimate exists: half a win is then added each
    way to each pair that met. Empty where the models were not compared through one another, as
    strengths of separate groups have no common measure. `n` counts the model's units.
    """
    return bradley_terry_of(votes(items, verdicts, unit), resamples, seed)


def bradley_terry_of(cast: Votes, resamples: int, seed: int) -> dict[str, Estimate]:
    """`bradley_terry` of votes."""
    k = len(cast.models)
    if k < 2:
        return {}
    cells = np.concatenate([cast.a * k + cast.b, cast.b * k + cast.a])
    wins = np.concatenate([cast.weight * cast.score, cast.weight * (1 - cast.score)])
    units = np.concatenate([cast.unit, cast.unit])
    strengths = _fit(_table(cells, wins, k), TOLERANCE)
    if strengths is None:
        return {}
    drawn = []
    for counts in resampled_counts(cast.units, resamples, seed):
        for row in counts:
            found = _fit(_table(cells, wins * row[units], k), 1e-6)
            if found is not None:
                drawn.append(found)
    spread = np.vstack(drawn) if drawn else np.full((1, k), np.nan)
    took_part = np.zeros((cast.units, k), dtype=bool)
    took_part[cast.unit, cast.a] = True
    took_part[cast.unit, cast.b] = True
    found_all = {}
    for i in np.argsort(-strengths, kind="stable"):
        low, high = percentiles(spread[:, i])
        found_all[cast.models[i]] = Estimate(
            float(strengths[i]), low, high, int(took_part[:, i].sum())
        )
    return found_all


def newman(items: pl.DataFrame, verdicts: pl.DataFrame) -> dict[str, float]:
    """Newman's (2023) strengths, which fit a tendency to tie beside; they sum to 1."""
    import evalica

    xs, ys, winners, weights, models = _long(votes(items, verdicts))
    result = evalica.newman(xs, ys, winners, weights=weights, tolerance=TOLERANCE, limit=LIMIT)
    scores = result.scores / result.scores.sum()
    return _best_first({models[int(i)]: float(s) for i, s in scores.items()})


def elo(items: pl.DataFrame, verdicts: pl.DataFrame, *, k: float = 4.0) -> dict[str, float]:
    """Elo (1978) ratings around 1000, in the order of the table: another order gives others, so
    Bradley-Terry is what to rank by."""
    import evalica

    xs, ys, winners, weights, models = _long(votes(items, verdicts))
    result = evalica.elo(xs, ys, winners, weights=weights, k=k)
    return _best_first({models[int(i)]: float(s) for i, s in result.scores.items()})


def _table(cells: Ints, wins: Floats, k: int) -> Floats:
    return np.bincount(cells, wins, minlength=k * k).astype(np.float64).reshape(k, k)


def _fit(wins: Floats, tolerance: float) -> Floats | None:
    """Strengths (models,) from wins (winner, loser), NaN for a model without a comparison; None
    where those that have one fall into separate groups."""
    import evalica
    import pandas as pd

    models = len(wins)
    met = wins + wins.T
    present = np.flatnonzero(met.sum(0) > 0)
    if not present.size:
        return None
    wins, met = wins[np.ix_(present, present)], met[np.ix_(present, present)]
    if not _all_reach_all(wins):
        if not _all_reach_all(met):
            return None
        wins = wins + _HALF * (met > 0)
    winners, losers = np.nonzero(wins)
    result = evalica.bradley_terry(
        winners.tolist(),
        losers.tolist(),
        [evalica.Winner.X] * len(winners),
        index=pd.RangeIndex(len(present)),
        weights=wins[winners, losers].tolist(),
        tolerance=tolerance,
        limit=LIMIT,
    )
    scores = np.full(models, np.nan)
    scores[present[result.scores.index.to_numpy()]] = result.scores.to_numpy()
    return scores / float(np.nansum(scores))


def _all_reach_all(edges: Floats) -> bool:
    """Whether each model leads to each other one over edges above 0: paths double in length with
    each squaring."""
    k = len(edges)
    reach = ((edges > 0) | np.eye(k, dtype=bool)).astype(np.float32)
    for _ in range(max(k - 1, 1).bit_length()):
        reach = (reach @ reach > 0).astype(np.float32)
    return bool(reach.all())


def _long(cast: Votes) -> tuple[list[int], list[int], list[Any], list[float], tuple[str, ...]]:
    import evalica

    outcome = {1.0: evalica.Winner.X, 0.0: evalica.Winner.Y, 0.5: evalica.Winner.Draw}
    winners = [outcome[float(s)] for s in cast.score]
    return cast.a.tolist(), cast.b.tolist(), winners, cast.weight.tolist(), cast.models


def _best_first(scores: dict[str, float]) -> dict[str, float]:
    return dict(sorted(scores.items(), key=lambda pair: -pair[1]))
