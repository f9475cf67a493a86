"""Choosing the threshold on the user's own prompts: for a share of strong calls, for a quality with
stated confidence, or for a budget. And whether scores have drifted since.

The quality promise holds for any router, good or bad, however scores and grades are distributed:
thresholds are tried from all-strong downwards, each by a test that is valid at every sample size
(bets on the mean; Waudby-Smith and Ramdas, arXiv 2010.09686), until one fails. Testing in a fixed
order needs no correction for the number of thresholds (Learn then Test, arXiv 2110.01052). The
sizes of the bets do not depend on the target, so that a larger one is never easier to prove.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from swath.errors import InputError
from swath.routing.evaluate import ranking
from swath.routing.router import Calibration, percentiles

Floats = NDArray[np.float64]
GRID = 50  # shares that are tried
BETS = np.array([0.02, 0.05, 0.1, 0.2, 0.4, 0.7, 0.95])  # parts of the stake
ENOUGH = 20  # prompts, fewer tell nothing


@dataclass(frozen=True)
class Drift:
    """How far scores have moved: the population stability index over ten bins of the reference
    (below 0.1 steady, above 0.25 moved), and the Kolmogorov-Smirnov distance with its p-value."""

    psi: float
    ks: float
    p: float
    n: int

    @property
    def moved(self) -> bool:
        return self.psi > 0.25 and self.p < 0.01

    def __str__(self) -> str:
        verdict = "moved" if self.moved else "steady"
        return (
            f"scores {verdict}: PSI {self.psi:.3f}, KS {self.ks:.3f} (p {self.p:.2g}), n {self.n}"
        )


def for_share(scores: Floats, share: float, *, weak: str, strong: str) -> Calibration:
    """The threshold at which `share` of these prompts, to the nearest one, go to the strong model
    (as near as equal scores allow). A larger share never raises it."""
    scores = _finite(scores, 1)
    _between(share, "share")
    ordered = np.sort(scores)[::-1]
    count = round(share * len(ordered))
    threshold = _cut(ordered, count)
    return Calibration(
        threshold=threshold,
        share=float((scores >= threshold).mean()),
        weak=weak,
        strong=strong,
        goal={"share": share},
        reached={},
        quantiles=percentiles(scores),
    )


def for_quality(
    scores: Floats,
    weak: Floats,
    strong: Floats,
    target: float,
    *,
    confidence: float = 0.9,
    names: tuple[str, str] = ("weak", "strong"),
    seed: int = 0,
) -> Calibration:
    """The highest threshold for which, with `confidence`, the routed answers keep at least `target`
    of the strong model's mean quality. `weak`, `strong` (n,) are grades in [0, 1].

    All-strong, threshold -inf, is always sound; it is what comes out where there are too few grades
    or routing cannot help. A larger target or confidence never raises the threshold.
    """
    scores = _finite(scores, ENOUGH)
    weak, strong = np.asarray(weak, np.float64), np.asarray(strong, np.float64)
    if not weak.shape == strong.shape == scores.shape:
        raise InputError("Scores and grades differ in length.", hint="Give one of each a prompt.")
    for grades in (weak, strong):
        if not np.isfinite(grades).all() or grades.min() < 0 or grades.max() > 1:
            raise InputError("Grades are not all from 0 to 1.", hint="Divide by the maximum.")
    _between(target, "quality")
    _between(confidence, "confidence")
    order = ranking(scores, seed)[::-1]
    ordered = scores[order]
    # The test bets on rows one after another, so their order must not depend on the score.
    dealt = np.random.default_rng(seed).permutation(len(scores))
    threshold = -np.inf
    for step in range(GRID - 1, -1, -1):
        cut = _cut(ordered, round(step / GRID * len(scores)))
        routed = np.where(scores >= cut, strong, weak)
        if not _holds((routed - target * strong)[dealt], 1 - confidence):
            break
        threshold = cut
    chosen = scores >= threshold
    kept = float(np.where(chosen, strong, weak).mean() / max(strong.mean(), 1e-12))
    return Calibration(
        threshold=float(threshold),
        share=float(chosen.mean()),
        weak=names[0],
        strong=names[1],
        goal={"quality": target, "confidence": confidence},
        reached={
            "quality_kept": kept,
            "weak": float(weak.mean()),
            "strong": float(strong.mean()),
            "prompts": float(len(scores)),
        },
        quantiles=percentiles(scores),
    )


def for_budget(
    scores: Floats, budget: float, cost: tuple[float, float], *, weak: str, strong: str
) -> Calibration:
    """The threshold that spends at most `budget` dollars on prompts like these. `cost` is dollars a
    prompt, (weak, strong). A larger budget never raises it. Raises InputError where even all-weak
    costs more."""
    scores = _finite(scores, 1)
    cheap, dear = cost
    if cheap < 0 or dear < cheap:
        raise InputError(
            f"The strong model costs ${dear:.6g} a prompt and the weak one ${cheap:.6g}.",
            hint="A budget parts them only where the strong one costs more.",
        )
    n = len(scores)
    if cheap * n > budget:
        raise InputError(
            f"Even the weak model alone costs ${cheap * n:.6g} for these {n:,} prompts.",
            hint=f"Give a budget of that at least; it is ${budget:.6g}.",
        )
    afford = n if dear == cheap else min(n, int((budget - cheap * n) / (dear - cheap) + 1e-9))
    ordered = np.sort(scores)[::-1]
    threshold = _cut(ordered, afford)
    while (scores >= threshold).sum() > afford:  # equal scores go together: rather too few
        threshold = float(np.nextafter(threshold, np.inf))
    made = for_share(scores, 0.0, weak=weak, strong=strong)
    strong_calls = int((scores >= threshold).sum())
    return replace(
        made,
        threshold=threshold,
        share=strong_calls / n,
        goal={"budget": budget, "weak_cost": cheap, "strong_cost": dear},
        reached={"cost": cheap * (n - strong_calls) + dear * strong_calls},
    )


def drift(quantiles: tuple[float, ...], scores: Floats) -> Drift:
    """How far `scores` lie from a reference given by 101 quantiles of its scores."""
    scores = _finite(scores, 1)
    reference = np.asarray(quantiles, np.float64)
    edges = np.unique(reference[10:100:10])
    expected = np.diff(np.concatenate([[0.0], _below(reference, edges), [1.0]]))
    # searchsorted: a score equal to an edge counts as below it, as in _below.
    counts = np.bincount(np.searchsorted(edges, scores, side="left"), minlength=len(edges) + 1)
    n = len(scores)
    actual = (counts + 0.5) / (n + 0.5 * len(counts))
    expected = np.maximum(expected, 1e-4)
    psi = float(((actual - expected) * np.log(actual / expected)).sum())
    ordered = np.sort(scores)
    at = np.interp(ordered, *_distribution(reference), left=0.0, right=1.0)
    ks = float(max(np.abs(np.arange(1, n + 1) / n - at).max(), np.abs(at - np.arange(n) / n).max()))
    # Kolmogorov's limiting distribution; the first terms are all of it for any p of interest.
    x = (np.sqrt(n) + 0.12 + 0.11 / np.sqrt(n)) * ks
    k = np.arange(1, 20)
    p = float(np.clip(2 * ((-1.0) ** (k - 1) * np.exp(-2 * (k * x) ** 2)).sum(), 0, 1))
    return Drift(psi=psi, ks=ks, p=1.0 if x < 0.2 else p, n=n)


def _holds(difference: Floats, error: float) -> bool:
    """Whether the mean of `difference`, rows in [-1, 1], is above 0, at level `error`: the mean
    stake of bets of several sizes on it has grown to 1 / error. If the mean is 0 or less no bet
    gains, so by Ville's inequality that happens with probability `error` at most."""
    stakes = np.exp(np.cumsum(np.log1p(BETS[:, None] * difference), axis=1)).mean(axis=0)
    return bool(stakes.max() >= 1 / error)


def _cut(descending: Floats, count: int) -> float:
    """The threshold that `count` of these scores reach; inf for none, -inf for all."""
    if count <= 0:
        return float("inf")
    if count >= len(descending):
        return float("-inf")
    return float(descending[count - 1])


def _below(reference: Floats, edges: Floats) -> Floats:
    made: Floats = np.interp(edges, *_distribution(reference))
    return made


def _distribution(reference: Floats) -> tuple[Floats, Floats]:
    """The distribution function through the quantiles: values, each once, and shares."""
    share = np.linspace(0, 1, len(reference))
    values, first = np.unique(reference[::-1], return_index=True)
    return values, share[::-1][first]


def _finite(scores: Floats, least: int) -> Floats:
    scores = np.asarray(scores, np.float64)
    if len(scores) < least:
        raise InputError(
            f"{len(scores)} prompts are too few to calibrate on; {least} are the least.",
            hint="Give more of your own prompts.",
        )
    if not np.isfinite(scores).all():
        raise InputError("Scores are not all finite numbers.", hint="Train the router anew.")
    return scores


def _between(value: float, what: str) -> None:
    if not 0 <= value <= 1:
        raise InputError(f"The {what} is {value}.", hint="Give a number from 0 to 1.")
