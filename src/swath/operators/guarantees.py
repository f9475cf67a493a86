"""How far a sample lets a small model be trusted: thresholds that keep a promise. Only counting.

`rows` rows of a table, of which a uniform sample without replacement keeps the large model's
answer. Elsewhere the small model's answer stands where its score reaches a threshold, and the large
one is asked where it does not. A *slip* is a row whose small answer is not the large one's. With
confidence 1 - risk, over the draw of the sample and for any table, any scores, any models:

    agreement   at most (1 - quality) of the rows differ from what the large model says
    recall      of the rows that the large model calls true, at least `quality` come out true
    precision   of the rows that come out true, the large model calls at least `quality` true
    both        recall and precision, each with half of the risk

Slips left unseen can only become more as the threshold falls. So let the threshold fall until the
sample shows c + 1 slips above it, and stop short of the last. The promise breaks only if m + 1
slips were left out of the sample before c + 1 were drawn into it, where m is what may differ: that
is, if of the first c + m + 1 slips at most c were drawn. The chance of that is hypergeometric,
whatever the scores are, and c is the largest number that keeps it within the risk. Nothing is paid
for having looked at every threshold, ties do no harm, and the table's own size counts.

LOTUS (arXiv 2407.11418) takes a normal bound at each threshold with a union over all of them.
BARGAIN (arXiv 2509.02896) needs no union either, as it goes through thresholds in a fixed order,
and bounds each by betting (Waudby-Smith & Ramdas, arXiv 2010.09686). For a yes-or-no loss and a
sample of fixed size the exact tail is what such bets approach; monotone losses in general are the
subject of Bates et al. (arXiv 2101.02703). Where a sample grows, each look has its part of the
risk, so that when to stop may depend on all that was seen.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

Target = Literal["agreement", "precision", "recall", "both"]
NEVER = math.inf
ROUNDED = 1 + 1e-10  # a chance that is just the risk may come out a hair above it
TEETH = 4
ENDLESS = 10**7  # rows from which a table's size no longer matters


@dataclass(frozen=True, slots=True)
class Seen:
    """A row of the sample. `score`: how sure the small model is of its answer, from 0 to 1; below 0
    it gave none. `says`, `truth`: whether the small and the large one say true, where the question
    is a yes-or-no one. `slip`: their answers differ."""

    score: float
    slip: bool
    says: bool = True
    truth: bool = True


@dataclass(frozen=True, slots=True)
class Cut:
    """The small model's answer stands where its score is at least `no` for an answer that is
    false, else at least `yes`."""

    yes: float = NEVER
    no: float = NEVER

    def trusts(self, score: float, says: bool) -> bool:
        return score >= (self.yes if says else self.no)

    def share(self, sample: Sequence[Seen]) -> float:
        """Of the rows of `sample`, those whose small answer stands."""
        return sum(self.trusts(s.score, s.says) for s in sample) / len(sample) if sample else 0.0


def cut(
    sample: Sequence[Seen],
    target: Target,
    quality: float,
    risk: float,
    rows: int,
    scale: float = 1.0,
) -> Cut:
    """The lowest thresholds that keep the promise.

    `sample` is a uniform one of some set of at most `rows` rows (those that have a question). With
    `scale` above 1: what a sample so many times larger would allow, if it looked the same."""

    def grown(count: int) -> int:
        return round(count * scale)

    def threshold(scores: Iterable[float], slips: int) -> float:
        return lowest(scores, slips if slips < 0 else int(slips / scale))

    if target == "agreement":
        slips = tolerance(grown(len(sample)), quality, risk, rows)
        level = threshold((s.score for s in sample if s.slip), slips)
        return Cut(level, level)
    true = sum(s.truth for s in sample)
    yes = no = NEVER
    if target in ("recall", "both"):
        share = risk / 2 if target == "both" else risk
        slips = tolerance(grown(true), quality, share, rows - (len(sample) - true))
        no = threshold((s.score for s in sample if s.truth and not s.says), slips)
    if target in ("precision", "both"):
        # False ones may be (1 - q) / q of the true that come out; with recall at q as well, those
        # are q of all that are true.
        both = target == "both"
        wrong = (1 - quality) / (2 - quality) if both else 1 - quality
        slips = beside(grown(true), wrong, risk / 2 if both else risk)
        yes = threshold((s.score for s in sample if s.says and not s.truth), slips)
    return Cut(yes, no)


def lowest(slips: Iterable[float], allowed: int) -> float:
    """The lowest threshold with at most `allowed` of the `slips` (scores) at or above it."""
    if allowed < 0:
        return NEVER
    ranked = sorted((score for score in slips if score >= 0), reverse=True)
    return 0.0 if len(ranked) <= allowed else math.nextafter(ranked[allowed], NEVER)


@lru_cache(maxsize=4096)
def tolerance(n: int, quality: float, risk: float, rows: int) -> int:
    """Slips that a sample of `n` rows may show, of a set of at most `rows`; -1: too small for any.

    It holds for every size of the set from `n` to `rows`, as what it leaves out is not known."""
    return _largest(lambda c: _broken(c, n, quality, rows) <= risk * ROUNDED, n)


@lru_cache(maxsize=4096)
def beside(true: int, wrong: float, risk: float) -> int:
    """False ones that a sample may show beside `true` true ones, if more than `wrong` of both
    together is too much; -1: too few for any."""
    return _largest(lambda c: _tail_endless(c, c + true, wrong) <= risk, 10 * true + 10)


@lru_cache(maxsize=4096)
def least(quality: float, risk: float, rows: int) -> int:
    """The smallest sample that can bear the promise, if it shows no slip."""
    low, high = 0, min(math.ceil(math.log(risk) / math.log(quality)), rows)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (
            (low, middle) if _broken(0, middle, quality, rows) <= risk * ROUNDED else (middle, high)
        )
    return high


def _broken(c: int, n: int, quality: float, rows: int) -> float:
    """The chance of a broken promise where `c` slips are let pass, in the hardest table."""
    if rows >= ENDLESS:
        return _tail_endless(c, n, 1 - quality)
    sizes = _hardest(n, quality, rows)
    return max((_tail(c, n, c + 1 + m, size) for size, m in sizes), default=0.0)


@lru_cache(maxsize=4096)
def _hardest(n: int, quality: float, rows: int) -> list[tuple[int, int]]:
    """Sizes of a table, with the slips that may be left in each, where too many are hardest to
    tell: the largest, and those just before one more is allowed."""
    most = _allowed(rows, quality)
    found = [(rows, most)]
    for m in range(most - 1, max(most - 1 - TEETH, -1), -1):
        size = math.ceil((m + 1) / (1 - quality)) + 1
        while size > 0 and _allowed(size, quality) > m:
            size -= 1
        if n <= size <= rows:
            found.append((size, m))
    return found


def _allowed(rows: int, quality: float) -> int:
    return math.floor((1 - quality) * rows + 1e-9)


def _largest(fits: Callable[[int], bool], most: int) -> int:
    """The largest c from 0 to `most` that fits, where all below one that fits do; -1: none."""
    if not fits(0):
        return -1
    low, high = 0, 1
    while high <= most and fits(high):
        low, high = high, 2 * high
    high = min(high, most + 1)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def _tail(most: int, n: int, marked: int, rows: int) -> float:
    """The chance that at most `most` of `marked` rows are among `n` drawn of `rows`."""
    if marked > rows:
        return 0.0
    whole = _choose(rows, n)
    first = max(0, n - (rows - marked))
    return min(
        math.fsum(
            math.exp(_choose(marked, k) + _choose(rows - marked, n - k) - whole)
            for k in range(first, min(most, marked, n) + 1)
        ),
        1.0,
    )


def _tail_endless(most: int, n: int, share: float) -> float:
    """The same for `n` drawn where `share` of all are marked."""
    hit, miss = math.log(share), math.log1p(-share)
    return min(
        math.fsum(
            math.exp(_choose(n, k) + k * hit + (n - k) * miss) for k in range(min(most, n) + 1)
        ),
        1.0,
    )


def _choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
