"""An estimate with its interval, and how one is made: resample whole units, never rows of one.

A unit is what was drawn independently: an item, or the prompt or document that several items share.
Both orders of an item and repeats of it always fall together, so they never count as new evidence.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from swath.errors import InputError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
LEVEL = 0.95
RESAMPLES = 1000
_CELLS = 4_000_000  # of the matrix of resampled counts that is held at once: 32 MB


@dataclass(frozen=True)
class Estimate:
    """A figure, the 95% interval around it (`low`, `high`), and the units `n` that it rests on."""

    estimate: float
    low: float
    high: float
    n: int

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def normal_quantile(level: float = LEVEL) -> float:
    """1.96 for a level of 0.95. Raises InputError for a level that is none."""
    if not 0 < level < 1:
        raise InputError(f"A level of {level} is none.", hint="Give one between 0 and 1: 0.95.")
    return NormalDist().inv_cdf(0.5 + level / 2)


def student_quantile(freedom: float, level: float = LEVEL) -> float:
    """The t quantile for a two-sided interval with `freedom` degrees of freedom."""
    from scipy.special import stdtrit

    return float(stdtrit(freedom, 0.5 + level / 2))


def resampled_counts(units: int, resamples: int, seed: int) -> Iterator[Floats]:
    """How often each unit is drawn: blocks of (resamples in the block, units), drawn with
    replacement. The same seed draws the same."""
    if resamples < 1:
        raise InputError(f"{resamples} resamples are too few.", hint="Use 1000, or 200 at least.")
    random = np.random.default_rng(seed)
    block = max(1, _CELLS // max(units, 1))
    for start in range(0, resamples, block):
        drawn = min(block, resamples - start)
        picks = random.integers(0, units, size=(drawn, units))
        picks += np.arange(drawn)[:, None] * units
        yield (
            np.bincount(picks.ravel(), minlength=drawn * units).reshape(drawn, units).astype(float)
        )


def ratios(
    tops: Floats,
    bottoms: Floats,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
    level: float = LEVEL,
) -> list[Estimate | None]:
    """One rate for each column: sum of `tops` over sum of `bottoms`, both (units, columns), with
    its percentile bootstrap interval over units (Efron 1979). None where nothing was counted.

    Where all units say the same, resampling cannot see that others might not: the interval is
    then Wilson's for that many units.
    """
    tops, bottoms = _columns(tops), _columns(bottoms)
    units, columns = tops.shape
    if not units:
        return [None] * columns
    rates = _divide(tops.sum(0), bottoms.sum(0))
    drawn = np.vstack(
        [
            _divide(counts @ tops, counts @ bottoms)
            for counts in resampled_counts(units, resamples, seed)
        ]
    )
    counted = (bottoms > 0).sum(0)
    found: list[Estimate | None] = []
    for column in range(columns):
        if not counted[column]:
            found.append(None)
            continue
        rate, n = float(rates[column]), int(counted[column])
        low, high = percentiles(drawn[:, column], level)
        if high - low < 1e-12 and -1e-9 <= rate <= 1 + 1e-9:
            low, high = wilson(rate, n, normal_quantile(level))
        found.append(Estimate(rate, low, high, n))
    return found


def percentiles(drawn: Floats, level: float = LEVEL) -> tuple[float, float]:
    """The interval that holds `level` of the resampled values; those that are NaN are left out."""
    kept = drawn[~np.isnan(drawn)]
    if not kept.size:
        return float("nan"), float("nan")
    low, high = np.quantile(kept, [0.5 - level / 2, 0.5 + level / 2])
    return float(low), float(high)


def wilson(rate: float, n: float, quantile: float, ties: float = 0.0) -> tuple[float, float]:
    """Wilson's score interval (1927) for a rate over `n` units, of which a share `ties` counts
    half: a tie takes a quarter from the variance of a unit. Never of no width for finite `n`."""
    squared = quantile * quantile
    tied = ties * n / (n + squared)  # shrunk: a few ties do not prove that there is nothing else
    middle = (2 * n * rate + squared) / (2 * (n + squared))
    inside = middle**2 - (n * rate * rate + squared * tied / 4) / (n + squared)
    half = max(inside, 0.0) ** 0.5
    # The rate is inside by algebra, not always by rounding.
    return max(0.0, min(rate, middle - half)), min(1.0, max(rate, middle + half))


def codes(names: list[Any]) -> tuple[list[Any], Ints]:
    """The distinct names in order of appearance, and each name's number."""
    seen: dict[Any, int] = {}
    numbers = [seen.setdefault(name, len(seen)) for name in names]
    return list(seen), np.asarray(numbers, dtype=np.int64)


def numbers(values: Any, what: str) -> Floats:
    """A flat array of floats; a missing value is NaN. Raises InputError."""
    try:
        array = np.asarray([np.nan if v is None else v for v in values], dtype=np.float64)
    except (TypeError, ValueError):
        raise InputError(
            f"{what} are not numbers.", hint="Give one number a unit, None where there is none."
        ) from None
    if array.ndim != 1:
        raise InputError(f"{what} have {array.ndim} dimensions.", hint="Give one number a unit.")
    return array


def same_length(**lists: Any) -> None:
    """Raises InputError where the named lists are not equally long."""
    lengths = {name: len(values) for name, values in lists.items() if values is not None}
    if len(set(lengths.values())) > 1:
        said = ", ".join(f"{name} has {length}" for name, length in lengths.items())
        raise InputError(
            f"The lists differ in length: {said}.", hint="Give one value for each unit."
        )


def _columns(values: Floats) -> Floats:
    return values.reshape(len(values), -1)


def _divide(top: Floats, bottom: Floats) -> Floats:
    return np.divide(top, bottom, out=np.full_like(top, np.nan), where=bottom > 0)
