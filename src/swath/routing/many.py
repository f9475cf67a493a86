"""Routers among any number of models: the cost-quality hull of RouterBench (arXiv 2403.12031).

At a rate of dollars for quality a router sends each prompt to the model with the best predicted
quality less the rate times the model's mean cost. Rates from nothing to all give points of mean
cost and mean quality; the upper hull of these, averaged over the costs between the cheapest and the
dearest single model, is AIQ. Beside the routers stand the best single model, the zero router (the
hull of the single models, which a coin reaches without reading a prompt), and the oracle, which
knows every answer. Prompts are held out by a hash of their cluster, so that near-duplicates of one
are on one side.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from swath.errors import InputError, listing
from swath.routing.evaluate import Interval, Result, aiq, evaluate, hull
from swath.routing.graded import Graded, require
from swath.routing.router import Learned
from swath.routing.shared import uniform

if TYPE_CHECKING:
    import polars as pl

Floats = NDArray[np.float64]
RATES = 41
BEST, ZERO, ORACLE = "best single", "zero router", "oracle"


@dataclass(frozen=True)
class Priced:
    """Graded prompts and what each model's answer cost, dollars, shape (n, m) as the qualities."""

    graded: Graded
    cost: Floats

    def rows(self, keep: NDArray[np.bool_]) -> Priced:
        return Priced(self.graded.rows(keep), self.cost[keep])

    def whole(self) -> Priced:
        """Only the prompts that every model was graded on."""
        lacking = np.isnan(self.graded.quality).sum(axis=1)
        return self.rows(lacking == 0)


@dataclass(frozen=True)
class Many:
    """One router on prompts: AIQ, and the corners of its hull (cost, quality), shape (k, 2). `pair`
    are RouteLLM's figures where there are two models."""

    router: str
    n: int
    aiq: Interval
    corners: Floats
    pair: Result | None = None

    def as_dict(self) -> dict[str, Any]:
        made: dict[str, Any] = {"router": self.router, "n": self.n}
        made["aiq"] = {
            "estimate": self.aiq.estimate,
            "low": self.aiq.low,
            "high": self.aiq.high,
        }
        made["hull"] = [{"cost": c, "quality": q} for c, q in self.corners.tolist()]
        return made | ({"pair": self.pair.as_dict()} if self.pair else {})


def read(
    table: pl.DataFrame, *, cost: str = "cost", costs: Mapping[str, float] | None = None
) -> Priced:
    """Rows of prompt, model, quality and a column of dollars; or prices a prompt by model in
    `costs`. Raises ColumnNotFound, InputError."""
    import polars as pl

    graded = Graded.read(table)
    if costs is not None:
        if missing := [m for m in graded.models if m not in costs]:
            raise InputError(
                f"There is no cost of '{missing[0]}'.", hint=listing(sorted(costs), missing[0])
            )
        each = np.array([costs[m] for m in graded.models], np.float64)
        return Priced(graded, _checked(np.tile(each, (len(graded), 1)), graded))
    require(table, (cost,), "The graded table (name the column with --cost, or give --costs)")
    if not table.schema[cost].is_numeric():
        raise InputError(f"The column '{cost}' holds {table.schema[cost]}.", hint="Give dollars.")
    source = pl.col("source").cast(pl.String).fill_null("") if "source" in table.columns else ""
    rows = table.select(
        (source if isinstance(source, pl.Expr) else pl.lit(source)).alias("source"),
        pl.col("prompt").cast(pl.String),
        pl.col("model").cast(pl.String),
        pl.col(cost).cast(pl.Float64).alias("cost"),
    ).drop_nulls()
    mean = rows.group_by("source", "prompt", "model").agg(pl.col("cost").sort().mean())
    column = {m: j for j, m in enumerate(graded.models)}
    place = {
        (graded.sources[s], p): i
        for i, (s, p) in enumerate(zip(graded.source.tolist(), graded.prompts, strict=True))
    }
    made = np.full(graded.quality.shape, np.nan)
    for name, prompt, model, value in mean.iter_rows():
        if (name, prompt) in place and model in column:
            made[place[name, prompt], column[model]] = value
    if lost := int((np.isnan(made) & np.isfinite(graded.quality)).sum()):
        raise InputError(f"{lost:,} graded answers have no '{cost}'.", hint="Give each its cost.")
    return Priced(graded, _checked(made, graded))


def halves(data: Priced, clusters: Mapping[str, str], seed: int) -> tuple[Priced, Priced]:
    """A half to train on and a half to measure on, by a hash of each prompt's cluster (itself where
    it has none). Raises InputError where a half has fewer than two prompts."""
    out = np.array([uniform(clusters.get(p, p), seed) < 0.5 for p in data.graded.prompts])
    if min(out.sum(), (~out).sum()) < 2:
        raise InputError(
            f"{len(out)} prompts are too few to hold half of them out.",
            hint="Give more prompts, or those to measure on with --test.",
        )
    return data.rows(~out), data.rows(out)


def measure(
    routers: Mapping[str, Learned],
    known: Priced,
    held: Priced,
    *,
    resamples: int = 1000,
    seed: int = 0,
    note: Callable[[str], None] = lambda text: None,
) -> list[Many]:
    """Each router on the prompts of `held` that every model was graded on, then the best single
    model, the zero router and the oracle. Costs to expect are the means of `known`; the models are
    those of `held`. Raises InputError."""
    held = held.whole()
    models, n = held.graded.models, len(held.graded)
    if n < 2:
        raise InputError(
            "Fewer than two held-out prompts were graded for every model.",
            hint="Leave models with few grades out.",
        )
    quality, cost = held.graded.quality, held.cost
    if float(np.ptp(cost.mean(axis=0))) == 0:
        raise InputError("All models cost the same.", hint="AIQ needs costs that differ.")
    column = {m: j for j, m in enumerate(known.graded.models)}
    if lost := [m for m in models if m not in column]:
        raise InputError(
            f"'{lost[0]}' is not in the training rows.", hint=listing(known.graded.models)
        )
    expected = np.nanmean(known.cost, axis=0)[[column[m] for m in models]]
    count = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), resamples)
    made = []
    for name, router in routers.items():
        note(f"measuring {name}")
        if lost := [m for m in models if m not in router.models]:
            raise InputError(
                f"'{name}' does not know '{lost[0]}'.", hint=listing(router.models, lost[0])
            )
        texts = router.texts(held.graded.prompts)
        guess = router.quality(texts)[:, [router.models.index(m) for m in models]]
        pair = None
        weak, strong = np.argsort(quality.mean(axis=0), kind="stable")[[0, -1]]
        if len(models) == 2 and quality[:, weak].mean() < quality[:, strong].mean():
            pair = evaluate(
                router.wants(texts),
                quality[:, weak],
                quality[:, strong],
                router=name,
                resamples=resamples,
                seed=seed,
            )
        choice = choices(guess, expected)
        own = (np.take_along_axis(cost, choice, 1), np.take_along_axis(quality, choice, 1))
        made.append(_many(name, own[0], own[1], cost, count, pair))
    alone = [_many(m, cost[:, [j]], quality[:, [j]], cost, count) for j, m in enumerate(models)]
    best = max(alone, key=lambda one: one.aiq.estimate)
    made.append(Many(f"{BEST}: {best.router}", n, best.aiq, best.corners))
    made.append(_many(ZERO, cost, quality, cost, count))
    made.append(_oracle(quality, cost, count))
    return made


def choices(quality: Floats, cost: Floats) -> NDArray[np.intp]:
    """The model for each prompt at each rate, from the dearest rate (only the cheapest model) to
    none. `quality` (n, m), `cost` (m,); shape (n, RATES). Equal ones go to the cheaper model."""
    order = np.argsort(cost, kind="stable")
    spread = max(float(np.ptp(cost)), 1e-300)
    rates = np.concatenate([[0.0], np.logspace(-3, 2, RATES - 2) / spread])
    cheapest = np.full(len(quality), order[0])
    ranked = quality[:, order]
    made = [cheapest, *(order[(ranked - r * cost[order]).argmax(axis=1)] for r in rates[::-1])]
    return np.stack(made, axis=1)


def _many(
    name: str,
    cost: Floats,
    quality: Floats,
    single: Floats,
    count: NDArray[np.int64],
    pair: Result | None = None,
) -> Many:
    """From the points of each prompt, (n, k); `single` (n, m) are the costs of the models alone,
    which set the range."""
    n = len(cost)
    points = list(zip(cost.mean(0).tolist(), quality.mean(0).tolist(), strict=True))
    ends = single.mean(0)
    whole = aiq(points, float(ends.min()), float(ends.max()))
    drawn = []
    drawn_cost, drawn_quality, drawn_ends = (count @ v / n for v in (cost, quality, single))
    for c, q, e in zip(drawn_cost, drawn_quality, drawn_ends, strict=True):
        if (low := float(e.min())) < (high := float(e.max())):
            drawn.append(aiq(list(zip(c.tolist(), q.tolist(), strict=True)), low, high))
    named = {str(i): p for i, p in enumerate(points)}
    corners = np.array([named[k] for k in hull(named)])
    return Many(name, n, _interval(whole, drawn), corners, pair)


def _oracle(quality: Floats, cost: Floats, count: NDArray[np.int64]) -> Many:
    """All steps up every prompt's own hull, the most quality for a dollar first: their sum is the
    hull of every way to choose."""
    n = len(quality)
    start = np.zeros((n, 2))
    steps: list[tuple[int, float, float]] = []
    for i in range(n):
        own = {str(j): (float(cost[i, j]), float(quality[i, j])) for j in range(quality.shape[1])}
        corners = [own[k] for k in hull(own)]
        start[i] = corners[0]
        for a, b in pairwise(corners):
            steps.append((i, b[0] - a[0], b[1] - a[1]))
    steps.sort(key=lambda s: -s[2] / s[1] if s[1] > 0 else -np.inf)
    row = np.array([s[0] for s in steps], np.intp)
    up = np.array([s[1:] for s in steps], np.float64).reshape(-1, 2)

    def curve(weight: Floats) -> Floats:
        first = (start * weight[:, None]).mean(axis=0)
        return np.vstack([first, first + np.cumsum(up * weight[row][:, None], axis=0) / n])

    def area(weight: Floats) -> float:
        found = curve(weight)
        ends = (cost * weight[:, None]).mean(axis=0)
        low, high = float(ends.min()), float(ends.max())
        if not low < high:
            return float("nan")
        x, y = found[:, 0], found[:, 1]
        grid = np.concatenate([[low], x[(x > low) & (x < high)], [high]])
        return float(np.trapezoid(np.interp(grid, x, y), grid) / (high - low))

    even = np.ones(n)
    drawn = [v for w in count if np.isfinite(v := area(w.astype(np.float64)))]
    whole = curve(even)
    few = whole[np.unique(np.linspace(0, len(whole) - 1, 201).astype(int))]
    return Many(ORACLE, n, _interval(area(even), drawn), few)


def _interval(value: float, drawn: Sequence[float]) -> Interval:
    low, high = np.quantile(np.array(drawn or [value]), [0.025, 0.975]).tolist()
    return Interval(value, low, high)


def _checked(cost: Floats, graded: Graded) -> Floats:
    given = cost[np.isfinite(graded.quality)]
    if bad := int((~np.isfinite(given) | (given < 0)).sum()):
        raise InputError(f"{bad:,} costs are no dollars.", hint="A cost is a number, 0 or more.")
    return cost
