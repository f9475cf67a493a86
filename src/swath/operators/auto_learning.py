"""How `sw.auto` learns: from texts and outcomes to a router, a threshold, and what it promises.

The rows of the sample fall in two parts at random. One teaches the router; the other, which it has
never seen, chooses the threshold, so that the promise holds for any router, good or bad, by the
bounds of `guarantees.py` (rows that are right or wrong) or by betting (grades).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from swath.operators.guarantees import tolerance
from swath.routing.graded import Graded
from swath.routing.kinds import kind_of
from swath.routing.router import Calibration, Learned, Texts, percentiles
from swath.routing.shared import Shared
from swath.routing.training import train
from swath.routing.vectors import Encode

if TYPE_CHECKING:
    from swath.operators.auto import Sent

Floats = NDArray[np.float64]
KINDS = ("neighbours", "linear")
FOLDS = 5
STEP = 2  # percent of rows, by which the share for the small model is raised, for grades
MOST = 0.95  # of the stake that a bet may lose
EVEN = 0.5


def router_of(
    texts: Texts,
    small: Floats,
    large: Floats,
    names: tuple[str, str],
    embedding: str,
    seed: int,
    kinds: Sequence[str] = KINDS,
) -> tuple[Learned, float | None]:
    """The better of the quick kinds by cross-validation on these rows, and how well it ranks rows
    it has not seen (None where the outcomes are all alike). `small` and `large` (n,) are outcomes,
    0 to 1.

    What is learned is how much the small model loses, and not how hard a row is: on rows that are
    too hard for both the large one is no help.
    """
    loss = large - small
    gap = _graded(texts, names, (1 - loss) / 2, np.full(len(loss), EVEN))
    fold = np.random.default_rng(seed).permutation(len(texts)) % FOLDS
    found: list[tuple[float, str, Floats]] = []
    assert len(texts.lexical) == len(texts)  # worked out for all rows before they are parted
    for kind in kinds if loss.max() > loss.min() else ():
        made = kind_of(kind)(models=names)
        assert not made.embeds or len(texts.vectors) == len(texts)
        scores = np.zeros(len(texts))
        for k in range(FOLDS):
            out = fold == k
            made.fit(gap.rows(~out), texts.only(np.flatnonzero(~out)), seed)
            scores[out] = made.wants(texts.only(np.flatnonzero(out)))
        found.append((ranking(scores, loss), kind, scores))
    auc, kind, unseen = None, kinds[-1], np.zeros(len(texts))
    if found:
        auc, kind, unseen = max(found, key=lambda one: one[0])
    router = train(gap, kind, seed=seed, embedding=embedding, texts=texts)
    table = _graded(texts, names, small, large)
    if isinstance(router, Shared):  # what a score means for each model's quality, on unseen rows
        router.recast(table, unseen * router.spread)
        means = table.quality.mean(axis=0)
        router.training["mean_quality"] = {
            name: round(float(mean), 4) for name, mean in zip(names, means, strict=True)
        }
    return router, auc


def _graded(texts: Texts, names: tuple[str, str], small: Floats, large: Floats) -> Graded:
    return Graded(
        prompts=tuple(texts.prompts),
        models=names,
        quality=np.stack([small, large], axis=1),
        source=np.zeros(len(texts), np.intp),
        sources=("",),
    )


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


def threshold_of_grades(
    scores: Floats,
    small: Floats,
    large: Floats,
    quality: float,
    risk: float,
    rows: int,
    learned: Floats,
    cuts: Sequence[float],
) -> float:
    """The highest of the `cuts` at which `quality` of the large model's mean grade is kept. They
    rise, and were chosen without this sample.

    `scores`, grades `small` and `large` (n,) are of a uniform sample, without replacement, of at
    most `rows` rows; `learned` are the large model's grades of the rows learned from, which keep
    its answers and so leave the others so much more to lose. Cuts are tried from the lowest up
    until one fails, so that the number of them costs nothing (Learn then Test,
    arXiv 2110.01052). Each is tested by a bet on row after row that no more is lost than may be,
    against what the rows not drawn yet must then have lost on average (sampling without
    replacement: Waudby-Smith and Ramdas, arXiv 2006.04347). Where too much is lost no bet gains, so
    that the stake grows to 1 / risk with a chance of `risk` at most. The size of the bet is fixed
    beforehand: the best for losses that are just too frequent, by the rows learned from."""
    n, goal = len(scores), float(np.log(1 / risk))
    spare = (1 - quality) * float(learned.sum()) / max(rows, 1)  # what each row may lose beyond
    variance = max((1 - quality) * float(learned.mean()), 1e-3) if len(learned) else 1 - quality
    bet = (2 * goal / (n * variance)) ** 0.5
    order = np.random.default_rng(0).permutation(n)  # no row's place may depend on its score
    threshold = float("-inf")
    for cut in cuts:
        kept = (np.where(scores < cut, small, large) - quality * large)[order]
        drawn = np.concatenate([[0.0], np.cumsum(kept)[:-1]])
        worst = (-spare * rows - drawn) / (rows - np.arange(n))  # mean of the rest if it is broken
        sure = worst < -quality  # the rest cannot lose so much: it is not broken
        size = np.minimum(bet, MOST / np.maximum(quality + worst, 1e-9))
        size[worst > 0] = 0.0  # too much was lost already for any bet on how many are left
        stake = np.log1p(np.where(sure, 0.0, size * (kept - worst)))
        if not sure.any() and np.cumsum(stake).max() < goal:
            break
        threshold = cut
    return threshold


def promised(
    sent: Sent,
    router: Learned,
    scores: Floats,
    small: Floats,
    large: Floats,
    risk: float,
    learned: Floats,
) -> float:
    """The threshold for `sent` by the rows checked, kept in the router; the share below it.
    `small` and `large` are outcomes, 0 to 1: of two alternatives alone unless they are grades.
    `learned` are the large model's outcomes on the rows that the router learned from. They and the
    rows checked keep its answers: what may be lost may all be lost on the others."""
    left = sent.rows - len(learned)
    if sent.measure == "grades":
        cuts = (*router.quantiles[:-1:STEP], float("inf"))
        threshold = threshold_of_grades(
            scores, small, large, sent.quality, risk, left, learned, cuts
        )
    else:
        slack = 1 - (1 - sent.quality) * sent.rows / left
        threshold = threshold_of(scores, small < large, slack, risk, left)
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
