"""A few labels and many verdicts in one estimate: prediction-powered inference.

The mean of the labels, corrected by how the judge differs between labelled and unlabelled items.
Valid whatever the judge is worth, as long as the labelled items are a random sample; tuned (PPI++,
Angelopoulos et al. 2023, arXiv 2311.01453) it is never much wider than the labels alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from swath.errors import InputError
from swath.evals.stats.estimate import (
    LEVEL,
    Estimate,
    Floats,
    codes,
    normal_quantile,
    numbers,
    same_length,
    student_quantile,
)

ENOUGH = 30  # labels, or clusters: below it the interval uses Student's t
WORTH = 0.05  # narrower by less than this is nothing


@dataclass(frozen=True)
class Corrected(Estimate):
    """The estimate from labels and judge together (`n` counts labels), beside its parts.

    `labels` is what the labels say alone, `judge` the judge's own mean over all items; `power` is
    the tuned lambda, how much of the judge was used; `correlation` of judge and label (None where
    either never varies); `narrower` the share of width that the judge saved; `useful` whether that
    is worth anything; `sentence` says it.
    """

    labels: Estimate
    judge: float
    power: float
    correlation: float | None
    narrower: float
    useful: bool
    sentence: str


def tuned_ppi_mean(
    labels: Sequence[float] | Floats,
    judge_on_labelled: Sequence[float] | Floats,
    judge_on_rest: Sequence[float] | Floats,
    *,
    clusters: Sequence[Any] | None = None,
    rest_clusters: Sequence[Any] | None = None,
    power: float | None = None,
    level: float = LEVEL,
) -> Corrected:
    """The mean label over all items, from the labels of a random sample of them.

    One number an item: its label (or mean label), and the judge's score of the same scale. `power`
    fixes lambda (1 is untuned PPI, 0 the labels alone). With `clusters` (of the labelled) and
    `rest_clusters`, whole clusters are the unit: labels must then be a random sample of clusters.
    Raises InputError for fewer than two labels, missing numbers, or lists of different length.
    """
    y = numbers(labels, "The labels")
    f = numbers(judge_on_labelled, "The judge's scores of the labelled items")
    u = numbers(judge_on_rest, "The judge's scores of the rest")
    same_length(labels=y, judge_on_labelled=f, clusters=clusters)
    same_length(judge_on_rest=u, rest_clusters=rest_clusters)
    if len(y) < 2:
        raise InputError(
            f"{len(y)} labels carry no interval.", hint="Label a random sample: 50 is a start."
        )
    if np.isnan(y).any() or np.isnan(f).any() or np.isnan(u).any():
        raise InputError(
            "Some labels or scores are missing.",
            hint="Leave out items without a label; give the judge a neutral score where it "
            "said nothing: any guess keeps the interval right.",
        )
    if (clusters is None) != (rest_clusters is None):
        raise InputError("Clusters are known for one part only.", hint="Give both, or neither.")
    if clusters is not None and rest_clusters is not None:
        groups, group = codes([*clusters, *rest_clusters])
        lam, centre, error, alone = _clustered(y, f, u, group, len(groups), power)
        units = min(len(groups), len(set(clusters)))
    else:
        lam, centre, error, alone = _plain(y, f, u, power)
        units = len(y)
    if units < 2:
        raise InputError("All labels are of one cluster.", hint="Label items of several.")
    reach = normal_quantile(level) if units >= ENOUGH and clusters is None else 0.0
    reach = reach or student_quantile(units - 1, level)
    by_label = float(y.mean())
    only = Estimate(by_label, by_label - reach * alone, by_label + reach * alone, len(y))
    correlation = (
        float(np.corrcoef(y, f)[0, 1]) if float(y.std()) > 0 and float(f.std()) > 0 else None
    )
    narrower = 1 - error / alone if alone > 0 else 0.0
    return Corrected(
        centre,
        centre - reach * error,
        centre + reach * error,
        len(y),
        labels=only,
        judge=float(np.concatenate([f, u]).mean()),
        power=lam,
        correlation=correlation,
        narrower=narrower,
        useful=narrower >= WORTH,
        sentence=_say(len(y), len(u), narrower, correlation),
    )


def _plain(
    y: Floats, f: Floats, u: Floats, power: float | None
) -> tuple[float, float, float, float]:
    """Lambda, estimate and its standard error, that of the labels alone: as ppi-python computes."""
    n, rest = len(y), len(u)
    alone = float(y.std()) / n**0.5
    if not rest:
        return 0.0, float(y.mean()), alone, alone
    spread = float(np.concatenate([f, u]).var(ddof=1))
    lam = power
    if lam is None:
        together = float(((y - y.mean()) * (f - f.mean())).mean())
        lam = _clip(together, (1 + n / rest) * spread)
    centre = lam * float(u.mean()) + float((y - lam * f).mean())
    error = (lam**2 * float(u.var()) / rest + float((y - lam * f).var()) / n) ** 0.5
    return lam, centre, error, alone


def _clustered(
    y: Floats, f: Floats, u: Floats, group: Any, groups: int, power: float | None
) -> tuple[float, float, float, float]:
    """The same from sums over clusters: the estimate moves by a - lambda b with each of them."""
    n, rest = len(y), len(u)
    a, b = np.zeros(groups), np.zeros(groups)
    np.add.at(a, group[:n], (y - y.mean()) / n)
    np.add.at(b, group[:n], (f - f.mean()) / n)
    few = len(set(group[:n].tolist()))
    alone = (float((a**2).sum()) * few / max(few - 1, 1)) ** 0.5
    if not rest:
        return 0.0, float(y.mean()), alone, alone
    np.add.at(b, group[n:], -(u - u.mean()) / rest)
    lam = power if power is not None else _clip(float((a * b).sum()), float((b**2).sum()))
    centre = lam * float(u.mean()) + float((y - lam * f).mean())
    moved = a - lam * b
    error = (float((moved**2).sum()) * few / max(few - 1, 1)) ** 0.5
    return lam, centre, error, alone


def _clip(top: float, bottom: float) -> float:
    return min(1.0, max(0.0, top / bottom)) if bottom > 0 else 0.0


def _say(n: int, rest: int, narrower: float, correlation: float | None) -> str:
    if not rest:
        return f"All {n} items have labels: the judge has nothing to add."
    known = "" if correlation is None else f" (its scores correlate {correlation:.2f} with them)"
    if narrower >= 1:
        return f"The judge says the same as all {n} labels."
    if narrower >= WORTH:
        return (
            f"The judge makes the interval {narrower:.0%} narrower than the {n} labels alone"
            f"{known}: as {n / (1 - narrower) ** 2:,.0f} labels would."
        )
    much = f"only {narrower:.0%}" if narrower >= 0.005 else "not at all"
    return (
        f"The judge adds nothing worth having to the {n} labels{known}: the interval gets {much} "
        "narrower. Label more rows, or take a better judge."
    )
