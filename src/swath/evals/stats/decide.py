"""A decision, not a score: "A", "B" or "cannot tell", from the same rows under both.

A unit (a row, or a prompt) is a win for one side or a tie, however strong the verdict. A winner is
named where the interval around its share leaves out one half and, for units that are independent,
the exact sign test agrees.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from swath.errors import InputError, listing
from swath.evals.stats.estimate import (
    LEVEL,
    Estimate,
    Floats,
    Ints,
    codes,
    normal_quantile,
    numbers,
    same_length,
    student_quantile,
    wilson,
)
from swath.evals.stats.position import settle
from swath.evals.stats.tables import item_table, score, verdict_table, with_items, with_unit

POWER = 0.8  # of seeing, with `needed` rows, a difference as large as the one seen so far
_MANY = 100_000


@dataclass(frozen=True)
class Decision:
    """`winner` is `a`, `b` or None: cannot tell. `win_rate` is the share of units where `b` beats
    `a`, ties half. `needed` is how many units in all would settle it (80% power at the difference
    seen so far, so a rough guide); None where it is settled, or where both are even."""

    a: str
    b: str
    winner: str | None
    win_rate: Estimate
    wins_a: int
    wins_b: int
    ties: int
    unparsed: int
    n: int
    needed: int | None
    sentence: str


@dataclass(frozen=True)
class Paired:
    """The mean of second minus first over the same units, with its standard error and interval;
    on how many units either was better; `p` of the exact sign test on those."""

    difference: Estimate
    se: float
    first_better: int
    second_better: int
    ties: int
    p: float


def decide(
    differences: Sequence[float | None] | Floats,
    *,
    clusters: Sequence[Any] | None = None,
    a: str = "A",
    b: str = "B",
    level: float = LEVEL,
) -> Decision:
    """Which is better, from one number a unit: above 0 where `b` is better, below where `a` is, 0
    for a tie, None or NaN where the verdict could not be parsed (left out: neither tie nor loss).

    `clusters` says which units were not drawn independently (one value each): the interval is then
    as wide as their likeness asks for. Raises InputError for lists of different length.
    """
    values = numbers(differences, "The differences")
    same_length(differences=values, clusters=clusters)
    known = ~np.isnan(values)
    unparsed = int((~known).sum())
    signs = np.sign(values[known])
    n = len(signs)
    wins_a, wins_b, ties = (int((signs == s).sum()) for s in (-1, 1, 0))
    group = None
    if clusters is not None:
        names, group = codes([c for c, k in zip(clusters, known, strict=True) if k])
        group = None if len(names) == n else group
    rate, spread = _share((1 + signs) / 2, group, level)
    loser_out = rate.low > 0.5 or rate.high < 0.5
    settled = loser_out and (group is not None or _sign_p(wins_a, wins_b) < 1 - level)
    winner = None if not settled else (b if rate.estimate > 0.5 else a)
    needed = None if settled or not n else _needed(rate.estimate, n, ties / n, spread, level)
    return Decision(
        a=a,
        b=b,
        winner=winner,
        win_rate=rate,
        wins_a=wins_a,
        wins_b=wins_b,
        ties=ties,
        unparsed=unparsed,
        n=n,
        needed=needed,
        sentence=_say(a, b, winner, rate, needed, unparsed),
    )


def decide_between(
    items: pl.DataFrame,
    verdicts: pl.DataFrame,
    a: str,
    b: str,
    *,
    unit: str | None = None,
    level: float = LEVEL,
) -> Decision:
    """`decide` over the items where models `a` and `b` met: both orders make one verdict (a tie
    where they differ), several judges one majority. Raises InputError for an unknown model."""
    checked = item_table(items)
    for model in (a, b):
        names = {*checked["model_a"], *checked["model_b"]} if "model_a" in checked.columns else ()
        if model not in names:
            known = [str(name) for name in names if name is not None]
            raise InputError(
                f"The items know no model '{model}'.",
                hint=listing(known, model) if known else "They need model_a and model_b.",
            )
    table = with_unit(with_items(verdict_table(verdicts), checked), unit)
    return decide_of(table, a, b, level=level)


def decide_of(table: pl.DataFrame, a: str, b: str, *, level: float = LEVEL) -> Decision:
    """`decide_between` of a table with `_unit`, `model_a` and `model_b`."""
    straight = (pl.col("model_a") == a) & (pl.col("model_b") == b)
    turned = (pl.col("model_a") == b) & (pl.col("model_b") == a)
    met = table.filter(straight | turned)
    sides = met.select("item_id", "_unit", _turned=turned).unique("item_id", maintain_order=True)
    toward = pl.when(pl.col("_turned")).then(2 * score("verdict") - 1)
    units = (
        settle(met)
        .join(sides, on="item_id", how="inner", maintain_order="left")
        .with_columns(_for_b=toward.otherwise(1 - 2 * score("verdict")))
        .group_by("item_id", maintain_order=True)
        .agg(pl.col("_for_b").mean(), pl.col("_unit").first())
        if met.height
        else pl.DataFrame({"_for_b": [], "_unit": []})
    )
    clusters = units["_unit"].to_list()
    return decide(units["_for_b"].to_list(), clusters=clusters, a=a, b=b, level=level)


def paired(
    first: Sequence[float] | Floats,
    second: Sequence[float] | Floats,
    *,
    clusters: Sequence[Any] | None = None,
    level: float = LEVEL,
) -> Paired:
    """Second against first on the same units, one score each (NaN or None in either leaves the unit
    out). The paired error is what the comparison has; two separate intervals waste it."""
    x, y = numbers(first, "The first scores"), numbers(second, "The second scores")
    same_length(first=x, second=y, clusters=clusters)
    known = ~(np.isnan(x) | np.isnan(y))
    apart = (y - x)[known]
    n = len(apart)
    if n < 2:
        raise InputError(
            f"{n} units have a score from both.", hint="A paired comparison needs two at least."
        )
    kept = None if clusters is None else [c for c, k in zip(clusters, known, strict=True) if k]
    groups, group = codes(kept if kept is not None else list(range(n)))
    error = clustered_error(apart, group, len(groups))
    reach = student_quantile(max(len(groups) - 1, 1), level) * error
    middle = float(apart.mean())
    better, worse = int((apart > 0).sum()), int((apart < 0).sum())
    return Paired(
        Estimate(middle, middle - reach, middle + reach, n),
        error,
        worse,
        better,
        n - better - worse,
        _sign_p(worse, better),
    )


def clustered_error(values: Floats, group: Ints, groups: int) -> float:
    """The standard error of a mean whose values fall into `groups` clusters; clusters of one give
    the usual sd / sqrt(n)."""
    sums = np.bincount(group, values - values.mean(), minlength=groups)
    return math.sqrt(float((sums**2).sum()) * groups / max(groups - 1, 1)) / len(values)


def _share(scores: Floats, group: Ints | None, level: float) -> tuple[Estimate, float]:
    """The share with Wilson's interval over the units there are in effect, and how many rows in
    clusters stand for one independent row."""
    n = len(scores)
    if not n:
        return Estimate(float("nan"), 0.0, 1.0, 0), 1.0
    rate, ties = float(scores.mean()), float((scores == 0.5).mean())
    if group is None:
        return Estimate(rate, *wilson(rate, n, normal_quantile(level), ties), n), 1.0
    groups = int(group.max()) + 1
    if groups < 2:
        return Estimate(rate, 0.0, 1.0, n), float(n)
    alone = float(scores.std(ddof=1)) / n**0.5
    spread = (clustered_error(scores, group, groups) / alone) ** 2 if alone > 0 else n / groups
    spread = max(1.0, spread)
    low, high = wilson(rate, n / spread, student_quantile(groups - 1, level), ties)
    return Estimate(rate, low, high, n), spread


def _sign_p(one: int, other: int) -> float:
    """Two-sided exact sign test."""
    from scipy.special import bdtr

    n = one + other
    return min(1.0, 2 * float(bdtr(min(one, other), n, 0.5))) if n else 1.0


def _needed(rate: float, n: int, ties: float, spread: float, level: float) -> int | None:
    apart = abs(rate - 0.5)
    if apart == 0:
        return None
    reach = normal_quantile(level) + normal_quantile(2 * POWER - 1)
    variance = (1 - ties) / 4
    return max(n + 1, math.ceil((reach / apart) ** 2 * variance * spread))


def _say(
    a: str, b: str, winner: str | None, rate: Estimate, needed: int | None, unparsed: int
) -> str:
    left_out = f" {_rows(unparsed)} could not be parsed and left out." if unparsed else ""
    if not rate.n:
        return f"Nothing can be told about {a} and {b}: no row was judged.{left_out}"
    if winner is not None:
        share, low, high = rate.estimate, rate.low, rate.high
        if winner == a:
            share, low, high = 1 - share, 1 - high, 1 - low
        loser = a if winner == b else b
        return (
            f"{winner} beats {loser} in {share:.0%} ({low * 100:.0f} to {high * 100:.0f}) of "
            f"{_rows(rate.n)}.{left_out}"
        )
    told = f"No difference between {a} and {b} can be told from {_rows(rate.n)}"
    if needed is None:
        return f"{told}: so far they are even.{left_out}"
    if needed > _MANY:
        return f"{told}; more than {_MANY:,} would be needed: they are as good as even.{left_out}"
    return f"{told}; about {_rounded(needed):,} would be needed.{left_out}"


def _rounded(n: int) -> int:
    """Up to two digits: 287 is about 290."""
    step: int = 10 ** max(0, len(str(n)) - 2)
    return math.ceil(n / step) * step


def _rows(n: int) -> str:
    return f"{n:,} row" if n == 1 else f"{n:,} rows"
