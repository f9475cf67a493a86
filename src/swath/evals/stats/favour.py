"""Does a judge favour its own model? Its rate is held against people's on the same pairs.

A judge that gives its own model much may be right: the model may be good. So people's rate is the
baseline; and because a judge that is less noisy than people pushes every good model up and every
weak one down, the gap of the own model is held against the gaps of the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from swath.errors import InputError, listing
from swath.evals.stats.corrected import by_item
from swath.evals.stats.decide import clustered_error
from swath.evals.stats.estimate import (
    RESAMPLES,
    Estimate,
    Floats,
    codes,
    percentiles,
    resampled_counts,
)
from swath.evals.stats.tables import (
    item_table,
    label_table,
    verdict_table,
    with_items,
    with_unit,
)

FEW = 20  # items of another model below which its gap is not shown


@dataclass(frozen=True)
class SelfPreference:
    """Whether a judge favours its own model.

    `gap` is its win rate by the judge minus that by people on the same `n` items, `se` its standard
    error; `others` the gaps of other models that win more than half; `excess` what is left of the
    gap once the judge's decisiveness is taken out: a judge less noisy than people pushes every rate
    away from a half (a line through the other models).
    """

    models: tuple[str, ...]
    n: int
    judge_rate: float
    human_rate: float
    gap: Estimate
    se: float
    others: dict[str, Estimate]
    excess: Estimate | None
    found: bool
    sentence: str


def self_preference(
    items: pl.DataFrame,
    verdicts: pl.DataFrame,
    human: pl.DataFrame,
    own: str | Sequence[str],
    *,
    unit: str | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> SelfPreference:
    """How a judge treats `own` (its model, or several of one family), against people's votes on the
    same items. Raises InputError for an unknown model, or where no item of it has labels."""
    models = (own,) if isinstance(own, str) else tuple(own)
    table = with_unit(with_items(verdict_table(verdicts), item_table(items)), unit)
    return self_preference_of(table, label_table(human), models, resamples, seed)


def self_preference_of(
    table: pl.DataFrame, labels: pl.DataFrame, models: tuple[str, ...], resamples: int, seed: int
) -> SelfPreference:
    """`self_preference` of a table with `_unit` and checked labels."""
    scored = by_item(table, labels).filter(pl.col("human").is_not_null())
    if "model_a" not in scored.columns or not scored.height:
        raise InputError(
            "Self-preference needs model_a and model_b, and labels of the items judged.",
            hint=listing(table.columns),
        )
    known = {str(m) for m in (*scored["model_a"], *scored["model_b"]) if m is not None}
    for model in models:
        if model not in known:
            raise InputError(
                f"No labelled item has the model '{model}'.", hint=listing(known, model)
            )
    names = ["", *sorted(known - set(models))]  # the first column is all of `own`
    judge, people, met, rows = _sums(scored, models, names)
    counted = met.sum(0)
    rates_judge, rates_people = _rate(judge.sum(0), counted), _rate(people.sum(0), counted)
    gaps = rates_judge - rates_people
    strong = [i for i in range(1, len(names)) if rates_people[i] > 0.5 and counted[i] >= FEW]
    drawn, over = [], []
    for counts in resampled_counts(len(met), resamples, seed):
        times = counts @ met
        by_judge, by_people = _rate(counts @ judge, times), _rate(counts @ people, times)
        drawn.append(by_judge - by_people)
        over.append(_excess(by_judge, by_people))
    spread = np.vstack(drawn)
    excess = None
    if len(names) > 2:
        point = float(_excess(rates_judge[None], rates_people[None])[0])
        excess = Estimate(point, *percentiles(np.concatenate(over)), len(met))
    gap = Estimate(float(gaps[0]), *percentiles(spread[:, 0]), int(counted[0]))
    found = gap.low > 0 and (excess is None or excess.low > 0)
    others = {
        names[i]: Estimate(float(gaps[i]), *percentiles(spread[:, i]), int(counted[i]))
        for i in strong
    }
    preference = SelfPreference(
        models=models,
        n=int(counted[0]),
        judge_rate=float(rates_judge[0]),
        human_rate=float(rates_people[0]),
        gap=gap,
        se=_error(rows),
        others=others,
        excess=excess,
        found=found,
        sentence="",
    )
    return replace(preference, sentence=_say(preference))


def _sums(
    scored: pl.DataFrame, own: tuple[str, ...], names: list[str]
) -> tuple[Floats, Floats, Floats, pl.DataFrame]:
    """Sums of judge's scores, people's scores and items, each (units, models), and the items of
    `own` with how far the judge is from people. Items between two of `own` say nothing."""
    sides = pl.concat(
        scored.select(
            "_unit",
            model=pl.when(pl.col(me).is_in(own)).then(pl.lit("")).otherwise(pl.col(me)),
            other=pl.when(pl.col(you).is_in(own)).then(pl.lit("")).otherwise(pl.col(you)),
            judge=pl.col("judge") if me == "model_a" else 1 - pl.col("judge"),
            human=pl.col("human") if me == "model_a" else 1 - pl.col("human"),
        )
        for me, you in (("model_a", "model_b"), ("model_b", "model_a"))
    ).filter(pl.col("model") != pl.col("other"))
    number = {name: i for i, name in enumerate(names)}
    units, unit = codes(sides["_unit"].to_list())
    model = np.asarray([number[m] for m in sides["model"].to_list()])
    judge, people, met = (np.zeros((len(units), len(names))) for _ in range(3))
    np.add.at(judge, (unit, model), sides["judge"].to_numpy())
    np.add.at(people, (unit, model), sides["human"].to_numpy())
    np.add.at(met, (unit, model), 1.0)
    return judge, people, met, sides.filter(pl.col("model") == "")


def _rate(top: Floats, bottom: Floats) -> Floats:
    return np.divide(top, bottom, out=np.full_like(top, np.nan), where=bottom > 0)


def _excess(judge: Floats, people: Floats) -> Floats:
    """By how much the judge's rate of the first column is above a line through one half that is
    fitted to the other columns; rates (resamples, models) to (resamples,)."""
    x, y = np.nan_to_num(people[:, 1:] - 0.5), np.nan_to_num(judge[:, 1:] - 0.5)
    slope = _rate((x * y).sum(1), (x * x).sum(1))
    return judge[:, 0] - 0.5 - slope * (people[:, 0] - 0.5)


def _error(rows: pl.DataFrame) -> float:
    _, unit = codes(rows["_unit"].to_list())
    apart = (rows["judge"] - rows["human"]).to_numpy()
    return clustered_error(apart, unit, int(unit.max()) + 1)


def _say(found: SelfPreference) -> str:
    own = " and ".join(found.models)
    gap = found.gap
    said = (
        f"The judge gives {own} {found.judge_rate:.0%} where people give {found.human_rate:.0%} on "
        f"the same {gap.n} items: {_points(gap)}"
    )
    if gap.low <= 0:
        return f"{said}, which is no clear preference for itself."
    if found.excess is None:
        return f"{said}. There are too few other models to tell preference from decisiveness."
    if found.excess.low > 0:
        return f"{said}, and {_points(found.excess)} more than its decisiveness explains."
    return (
        f"{said}, but other models get as much: beyond what its decisiveness explains it is "
        f"{_points(found.excess)}."
    )


def _points(value: Estimate) -> str:
    low, high = value.low * 100, value.high * 100
    return f"{value.estimate * 100:+.1f} points ({low:+.1f} to {high:+.1f})"
