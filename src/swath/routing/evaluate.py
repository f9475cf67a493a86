"""How good a router is, as RouteLLM measures it (arXiv 2406.18665; its `evals` code).

Prompts are scored, the higher the more they want the strong model. Eleven thresholds at the edges
of ten equal-count bins give eleven shares of strong calls and the mean quality at each. Everything
else is read off that curve:

- PGR: the part of the gap between the weak and the strong model that the routed answers recover;
- APGR: the mean of PGR over all shares of strong calls (trapezoid): 0.5 at random, above 1 where
  the weak model is right where the strong one is wrong;
- CPT(p): the share of strong calls, in percent, that recovers p of the gap.

Equal scores are put in a random order, which is seeded: a router that does not tell two prompts
apart is worth chance on them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from swath.errors import InputError

Floats = NDArray[np.float64]
EDGES = 11
RESAMPLES = 1000


@dataclass(frozen=True)
class Interval:
    """A figure, and where 95% of its bootstrap replicates over prompts lie."""

    estimate: float
    low: float
    high: float


@dataclass(frozen=True)
class Curve:
    """Share of strong calls `x` (rising from 0 to 1) and mean quality `y`, 11 points each; `weak`
    and `strong` are the mean qualities of the two models."""

    x: Floats
    y: Floats
    weak: float
    strong: float

    @property
    def pgr(self) -> Floats:
        """The part of the gap recovered at each point. Shape (11,)."""
        return (self.y - self.weak) / (self.strong - self.weak)

    @property
    def apgr(self) -> float:
        return float(np.trapezoid(self.pgr, self.x))

    def cpt(self, part: float) -> float:
        """Percent of strong calls that recovers `part` of the gap. As RouteLLM's code, it does not
        check that the curve rises."""
        target = self.weak + part * (self.strong - self.weak)
        return 100 * float(np.interp(target, self.y, self.x))


@dataclass(frozen=True)
class Result:
    """One router on one benchmark."""

    router: str
    benchmark: str
    n: int
    apgr: Interval
    cpt50: Interval
    cpt80: Interval
    curve: Curve

    def as_dict(self) -> dict[str, Any]:
        """For JSON: the figures with their intervals, and the points of the curve."""
        made: dict[str, Any] = {"router": self.router, "benchmark": self.benchmark, "n": self.n}
        for name in ("apgr", "cpt50", "cpt80"):
            value: Interval = getattr(self, name)
            made[name] = {"estimate": value.estimate, "low": value.low, "high": value.high}
        made["weak"], made["strong"] = self.curve.weak, self.curve.strong
        made["curve"] = [
            {"strong_share": x, "quality": y, "pgr": p}
            for x, y, p in zip(
                self.curve.x.tolist(), self.curve.y.tolist(), self.curve.pgr.tolist(), strict=True
            )
        ]
        return made


def curve(scores: Floats, weak: Floats, strong: Floats, *, seed: int = 0) -> Curve:
    """The curve of `scores` (n,) over prompts with qualities `weak` and `strong` (n,).

    Raises InputError where lengths differ, a value is not finite, or the models are equally good.
    """
    scores, weak, strong = _checked(scores, weak, strong)
    order = ranking(scores, seed)
    return _curve(weak[order], strong[order])


def random_curve(weak: Floats, strong: Floats, *, runs: int = 10, seed: int = 0) -> Curve:
    """RouteLLM's random router: the mean of `runs` curves at random scores. All have the same x."""
    rng = np.random.default_rng(seed)
    curves = [curve(rng.random(len(weak)), weak, strong) for _ in range(runs)]
    first = curves[0]
    return Curve(first.x, np.mean([c.y for c in curves], axis=0), first.weak, first.strong)


def evaluate(
    scores: Floats,
    weak: Floats,
    strong: Floats,
    *,
    router: str = "",
    benchmark: str = "",
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Result:
    """APGR, CPT(50%) and CPT(80%) with bootstrap intervals over prompts; `seed` orders equal scores
    and draws the resamples."""
    scores, weak, strong = _checked(scores, weak, strong)
    order = ranking(scores, seed)
    weak, strong = weak[order], strong[order]
    rng = np.random.default_rng(seed)
    n = len(order)
    drawn = []
    for _ in range(resamples):
        # Rows lie in the order of their scores, so sorted positions are a sorted resample.
        rows = np.sort(rng.integers(0, n, n))
        try:
            one = _curve(weak[rows], strong[rows])
        except InputError:
            continue  # a resample in which both models are equally good has no gap to recover
        drawn.append((one.apgr, one.cpt(0.5), one.cpt(0.8)))
    whole = _curve(weak, strong)
    figures = (whole.apgr, whole.cpt(0.5), whole.cpt(0.8))
    low, high = np.quantile(np.array(drawn or [figures]), [0.025, 0.975], axis=0)
    apgr, cpt50, cpt80 = (
        Interval(value, float(a), float(b)) for value, a, b in zip(figures, low, high, strict=True)
    )
    return Result(router, benchmark, n, apgr, cpt50, cpt80, whole)


def oracle(weak: Floats, strong: Floats) -> Floats:
    """The scores of a router that knows both answers: what the strong model gains. Shape (n,)."""
    return np.asarray(strong, np.float64) - np.asarray(weak, np.float64)


def ranking(scores: Floats, seed: int = 0) -> NDArray[np.intp]:
    """Positions from the lowest score to the highest, equal ones in random order. Shape (n,)."""
    shuffled = np.random.default_rng(seed).permutation(len(scores))
    return shuffled[np.argsort(scores[shuffled], kind="stable")]


def hull(points: Mapping[str, tuple[float, float]]) -> list[str]:
    """The names on the upper cost-quality hull, the cheapest first. A point is (cost, quality).

    RouterBench's non-decreasing convex hull (arXiv 2403.12031): anything below it is beaten by a
    random mixture of two on it.
    """
    kept: list[str] = []
    for name in sorted(points, key=lambda k: (points[k][0], -points[k][1])):
        if kept and points[name][1] <= points[kept[-1]][1]:
            continue
        while len(kept) > 1 and _below(points[kept[-2]], points[kept[-1]], points[name]):
            kept.pop()
        kept.append(name)
    return kept


def aiq(points: Sequence[tuple[float, float]], low: float, high: float) -> float:
    """RouterBench's average improvement in quality: the area under the hull of (cost, quality)
    `points` between two costs, over their distance. Costs below the cheapest point count as 0."""
    if not high > low:
        raise InputError("AIQ needs a range of costs.", hint="Give low < high.")
    named = {str(i): point for i, point in enumerate(points)}
    corners = [named[name] for name in hull(named)]
    if not corners:
        raise InputError("AIQ needs at least one point.", hint="Give (cost, quality) pairs.")
    costs, qualities = (np.array(c, np.float64) for c in zip(*corners, strict=True))
    inside = costs[(costs > low) & (costs < high)]
    grid = np.concatenate([[low], inside, [high]])
    heights = np.interp(grid, costs, qualities, left=0.0)
    return float(np.trapezoid(heights, grid) / (high - low))


def _below(a: tuple[float, float], b: tuple[float, float], c: tuple[float, float]) -> bool:
    """Whether b lies on or below the line from a to c."""
    return (b[1] - a[1]) * (c[0] - a[0]) <= (c[1] - a[1]) * (b[0] - a[0])


def _curve(weak: Floats, strong: Floats) -> Curve:
    """The curve of rows in rising order of score."""
    n = len(weak)
    w, s = float(weak.mean()), float(strong.mean())
    if s == w:
        raise InputError(
            "Both models are equally good on these prompts, so there is no gap to recover.",
            hint="Give more prompts, or two models that differ.",
        )
    # At the edge i lies the order statistic (n - 1) * i / 10, interpolated between two where that
    # is no whole number: rows from the next one on are strong, and none at the last edge.
    cheap = np.array([-(-(n - 1) * i // (EDGES - 1)) for i in range(EDGES)])
    cheap[-1] = n
    gained = np.concatenate([[0.0], np.cumsum((strong - weak)[::-1])])
    x = (n - cheap) / n
    y = w + gained[n - cheap] / n
    return Curve(x[::-1], y[::-1], w, s)


def _checked(*given: Any) -> tuple[Floats, Floats, Floats]:
    scores, weak, strong = (np.asarray(g, np.float64) for g in given)
    if not (scores.shape == weak.shape == strong.shape and scores.ndim == 1):
        raise InputError(
            f"Scores and qualities differ in shape: {scores.shape}, {weak.shape}, {strong.shape}.",
            hint="Each is one number a prompt, in the same order.",
        )
    if len(scores) < 2:
        raise InputError(
            f"A curve needs two prompts at least; there are {len(scores)}.", hint="Give more."
        )
    for name, values in (("score", scores), ("weak", weak), ("strong", strong)):
        if bad := int((~np.isfinite(values)).sum()):
            raise InputError(
                f"{bad} of {len(values)} values of '{name}' are not finite numbers.",
                hint="Leave those prompts out, or grade them.",
            )
    return scores, weak, strong
