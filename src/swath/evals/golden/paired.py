"""Plain statistics of scores: how sure a mean is, and whether paired rows got worse.

The test is the sign-flip permutation test (Fisher 1935): if nothing changed, each row's difference
is as likely to be plus as minus. For right and wrong it is McNemar's exact test. It assumes nothing
of how scores are spread, and holds its level for few rows as well. Several checks are held to one
level together by Holm's step-down (1979). Nothing here needs an extra.
"""

from __future__ import annotations

import random
from collections.abc import Hashable, Sequence
from math import comb, sqrt
from statistics import NormalDist

import msgspec

LEVEL = 0.95
ALPHA = 0.05
FLIPS = 10_000
_TINY = 1e-9


class Interval(msgspec.Struct, frozen=True):
    """A mean, and the 95% interval around it."""

    mean: float
    low: float
    high: float


def mean_interval(
    values: Sequence[float], clusters: Sequence[Hashable] | None = None
) -> Interval | None:
    """The mean of scores from 0 to 1. Wilson's interval (1927) where it is over right and wrong;
    else by the spread of rows, or of clusters, whichever is wider. None without values."""
    if not values:
        return None
    mean = sum(values) / len(values)
    n = len(set(clusters)) if clusters is not None else len(values)
    low, high = _wilson(mean, n)
    if clusters is not None or any(_TINY < v < 1 - _TINY for v in values):
        half = _z() * _error(values, clusters)
        if half > _TINY:
            low, high = max(mean - half, 0.0), min(mean + half, 1.0)
    return Interval(mean, low, high)


def difference_interval(
    differences: Sequence[float], clusters: Sequence[Hashable] | None = None
) -> Interval:
    """The mean of paired differences, each from -1 to 1."""
    mean = sum(differences) / max(len(differences), 1)
    half = _z() * _error(differences, clusters)
    return Interval(mean, max(mean - half, -1.0), min(mean + half, 1.0))


def worse(differences: Sequence[float], clusters: Sequence[Hashable] | None = None) -> float:
    """The one-sided p-value that differences as low as these, in sum, come from chance alone. Rows
    of one cluster flip together. 1.0 where nothing differs."""
    units = [abs(d) for d in _sums(differences, clusters) if abs(d) > _TINY]
    total = sum(differences)
    if not units:
        return 1.0
    if max(units) - min(units) < _TINY:  # McNemar: how many of n coins fall on plus
        n = len(units)
        plus = round((total / units[0] + n) / 2)
        ways: int = sum(comb(n, k) for k in range(plus + 1))
        return ways / float(2**n)
    source = random.Random(0)
    as_low = 0
    for _ in range(FLIPS):
        signs = source.getrandbits(len(units))
        drawn = sum(unit if signs >> i & 1 else -unit for i, unit in enumerate(units))
        as_low += drawn <= total + _TINY
    return (as_low + 1) / (FLIPS + 1)  # the one that was seen counts: never 0


def holm(p_values: Sequence[float], alpha: float = ALPHA) -> list[bool]:
    """Which of several tests hold, where the chance of any false one is at most `alpha`."""
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    found = [False] * len(p_values)
    for rank, i in enumerate(order):
        if p_values[i] > alpha / (len(p_values) - rank):
            break
        found[i] = True
    return found


def _z() -> float:
    return NormalDist().inv_cdf(0.5 + LEVEL / 2)


def _wilson(rate: float, n: int) -> tuple[float, float]:
    z = _z()
    middle = (rate + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * sqrt(rate * (1 - rate) / n + z * z / (4 * n * n))
    return max(middle - half, 0.0), min(middle + half, 1.0)


def _error(values: Sequence[float], clusters: Sequence[Hashable] | None) -> float:
    """The standard error of the mean, over rows or clusters."""
    count = len(values)
    if count < 2:
        return 0.0
    mean = sum(values) / count
    sums = _sums([v - mean for v in values], clusters)
    n = len(sums)
    return 0.0 if n < 2 else sqrt(n / (n - 1) * sum(s * s for s in sums)) / count


def _sums(values: Sequence[float], clusters: Sequence[Hashable] | None) -> list[float]:
    if clusters is None:
        return list(values)
    found: dict[Hashable, float] = {}
    for cluster, value in zip(clusters, values, strict=True):
        found[cluster] = found.get(cluster, 0.0) + value
    return list(found.values())
