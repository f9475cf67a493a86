"""How `sw.auto` learns: from texts and outcomes to a router, a threshold, and what it promises.

The rows of the sample fall in two parts at random. One teaches the router; the other, which it has
never seen, chooses the threshold, so that the promise holds for any router, good or bad, by the
bounds of `guarantees.py` (rows that are right or wrong) or `routing/calibrate.py` (grades).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from swath.operators.guarantees import tolerance
from swath.routing.calibrate import for_quality
from swath.routing.graded import Graded
from swath.routing.kinds import kind_of
from swath.routing.router import Calibration, Learned, Texts, percentiles
from swath.routing.training import train
from swath.routing.vectors import Encode

if TYPE_CHECKING:
    from swath.operators.auto import Sent

Floats = NDArray[np.float64]
KINDS = ("neighbours", "difficulty")
FOLDS = 5
EVEN = 0.5


def router_of(
    texts: Sequence[str],
    small: Floats,
    large: Floats,
    names: tuple[str, str],
    encode: Encode,
    embedding: str,
    seed: int,
    kinds: Sequence[str] = KINDS,
) -> tuple[Learned, float | None]:
    """The better of the quick kinds by cross-validation on these rows, and how well it ranks rows
    it has not seen (None where the outcomes are all alike). `small` and `large` (n,) are outcomes,
    0 to 1."""
    loss = large - small
    table = Graded(
        prompts=tuple(texts),
        models=names,
        quality=np.stack([small, large], axis=1),
        source=np.zeros(len(texts), np.intp),
        sources=("",),
    )
    fold = np.random.default_rng(seed).permutation(len(texts)) % FOLDS
    found: list[tuple[float, str]] = []
    read = Texts(texts, encode)
    for kind in kinds if loss.max() > loss.min() else ():
        made = kind_of(kind)(models=names)
        # Worked out for all rows before they are parted into folds.
        assert len(read.vectors if made.embeds else read.lexical) == len(read.words) == len(texts)
        scores = np.zeros(len(texts))
        for k in range(FOLDS):
            out = fold == k
            made.fit(table.rows(~out), read.only(np.flatnonzero(~out)), seed)
            scores[out] = made.wants(read.only(np.flatnonzero(out)))
        found.append((ranking(scores, loss), kind))
    auc, kind = max(found, default=(None, kinds[-1]), key=lambda one: one[0] or 0.0)
    return train(table, kind, seed=seed, embedding=embedding, encode=encode), auc


def ranking(scores: Floats, loss: Floats) -> float:
    """The chance that of two rows with another loss the one with more has the higher score; ties
    count half."""
    more = loss[:, None] > loss[None, :]
    if not more.any():
        return EVEN
    difference = scores[:, None] - scores[None, :]
    return float(((difference > 0) + 0.5 * (difference == 0))[more].mean())


def tells(scores: Floats, loss: Floats) -> bool:
    """Whether the scores rank losses better than chance does, at 5% (Mann-Whitney, two groups)."""
    bad = int((loss > 0).sum())
    good = len(loss) - bad
    if not bad or not good:
        return False
    error = ((bad + good + 1) / (12 * bad * good)) ** 0.5
    return ranking(scores, np.asarray(loss > 0, np.float64)) > EVEN + 1.645 * float(error)


def threshold_of(
    scores: Floats, slips: NDArray[np.bool_], quality: float, risk: float, rows: int
) -> float:
    """The highest threshold that keeps the promise: rows that score below it go to the small model.

    `scores`, `slips` (n,) are of a uniform sample of at most `rows` rows; -inf: no row may. Slips
    become only more as the threshold rises, so that it may rise until the sample shows one more
    than the bound allows (see `guarantees.py`)."""
    allowed = tolerance(len(scores), quality, risk, rows)
    if allowed < 0:
        return float("-inf")
    ranked = np.sort(scores[slips])
    return float("inf") if len(ranked) <= allowed else float(ranked[allowed])


def promised(
    sent: Sent, router: Learned, scores: Floats, small: Floats, large: Floats, risk: float
) -> float:
    """The threshold for `sent` by the rows checked, kept in the router; the share below it.
    `small` and `large` are outcomes, 0 to 1: of two alternatives alone unless they are grades."""
    if sent.measure == "grades":
        made = for_quality(
            scores, small, large, sent.quality, confidence=1 - risk, names=(sent.small, sent.large)
        )
        threshold = made.threshold
    else:
        left = sent.rows - sent.learned
        threshold = threshold_of(scores, small < large, sent.quality, risk, left)
    share = float((scores < threshold).mean())
    kept = np.where(scores < threshold, small, large).mean() / max(float(large.mean()), 1e-12)
    router.calibration = Calibration(
        threshold=threshold,
        share=1 - share,
        weak=sent.small,
        strong=sent.large,
        goal={"quality": sent.quality, "confidence": sent.confidence},
        reached={"quality_kept": float(kept), "prompts": float(len(scores))},
        quantiles=percentiles(scores),
    )
    sent.threshold = threshold
    return share


def known_vectors(table: dict[str, Any]) -> Encode:
    """An encoder that knows the texts in `table` alone."""

    def encode(prompts: Sequence[str]) -> Floats:
        return np.array([table[p] for p in prompts], np.float64).reshape(len(prompts), -1)

    return encode
