"""Whether a cascade keeps its promise: `python -m benchmarks.cascade`

Tables of answers that two models might give, friendly ones and hostile ones; on each, many runs
that differ in the sample they draw. Counted are the runs that kept the promise, which must be at
least the stated confidence, and the rows that went to the large model. Thresholds are learned by
the code that frames use (`swath.operators.cascading.learn`), over stored answers.

Beside it, LOTUS's way (arXiv 2407.11418, and its `learn_cascade_thresholds`): importance sampling
by the root of the score, a normal bound at each threshold, and a union over thresholds. It has no
target for agreement: there its bound for precision is applied to "the small model agrees".
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks import _report
from swath.messages import Completion, Message, Request
from swath.operators.cascade import Cascade
from swath.operators.cascading import learn
from swath.operators.guarantees import Cut, Target, tolerance

ROWS = 5000
CONFIDENCE = 0.95
QUALITIES = (0.9, 0.95, 0.99)
SAMPLES = (150, 400, 1000, None)
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


@dataclass
class World:
    """A table as two models see it: `score` of the small one's answer, whether that differs from
    the large one's (`slip`), and whether the large one says yes."""

    score: Floats
    slip: Bools
    truth: Bools
    small: list[Completion] = field(default_factory=list)
    large: list[Completion] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)

    def __post_init__(self) -> None:
        words = {True: "yes", False: "no"}
        for i, (score, says, truth) in enumerate(
            zip(self.score.tolist(), self.says.tolist(), self.truth.tolist(), strict=True)
        ):
            scores = {words[says]: score, words[not says]: 1 - score}
            self.small.append(Completion(text=words[says], model="small", scores=scores))
            self.large.append(Completion(text=words[truth], model="large"))
            self.requests.append(Request(model="large", messages=(Message("user", str(i)),)))

    @property
    def says(self) -> Bools:
        return self.truth ^ self.slip


Draw = Callable[[np.random.Generator, float, int], tuple[Floats, Bools]]
"""Scores and slips, for a quality that will be asked and a size of the sample."""


def _honest(rng: np.random.Generator, quality: float, n: int) -> tuple[Floats, Bools]:
    score = 0.5 + rng.beta(4, 1, ROWS) / 2
    return score, rng.random(ROWS) > score


def _overconfident(rng: np.random.Generator, quality: float, n: int) -> tuple[Floats, Bools]:
    """Right in 70% to 97%, and 99% sure of nearly all."""
    score, _ = _honest(rng, quality, n)
    return 1 - (1 - score) ** 3 / 2, rng.random(ROWS) > 0.7 + 0.27 * (2 * score - 1)


def _uninformative(rng: np.random.Generator, quality: float, n: int) -> tuple[Floats, Bools]:
    """As often wrong as would only just be allowed, whatever the score."""
    return 0.5 + rng.random(ROWS) / 2, rng.random(ROWS) < 1.2 * (1 - quality)


def _backwards(rng: np.random.Generator, quality: float, n: int) -> tuple[Floats, Bools]:
    """The surer, the more often wrong."""
    score = 0.5 + rng.random(ROWS) / 2
    return score, rng.random(ROWS) < 3 * (1 - quality) * (2 * score - 1)


def _ties(rng: np.random.Generator, quality: float, n: int) -> tuple[Floats, Bools]:
    """Three scores in all."""
    score = rng.choice([0.6, 0.9, 1.0], p=[0.2, 0.3, 0.5], size=ROWS)
    wrong = {0.6: 0.4, 0.9: 0.1, 1.0: (1 - quality) / 2}
    return score, rng.random(ROWS) < np.vectorize(wrong.get)(score)


def _confident_few(rng: np.random.Generator, quality: float, n: int) -> tuple[Floats, Bools]:
    """A tiny mass of wrong answers above all right ones."""
    score, _ = _honest(rng, quality, n)
    slip = np.zeros(ROWS, dtype=np.bool_)
    few = rng.choice(ROWS, size=round(ROWS * (1 - quality) * 1.1), replace=False)
    score[few], slip[few] = 0.999 + rng.random(few.size) / 1000, True
    return score, slip


def _adversary(rng: np.random.Generator, quality: float, n: int) -> tuple[Floats, Bools]:
    """Knows the rule: exactly as many wrong answers, all at the top, as break the promise whenever
    the sample shows no more of them than it may."""
    score = np.sort(0.5 + rng.random(ROWS) / 2)[::-1].copy()
    allowed = max(tolerance(n, quality, 1 - CONFIDENCE, ROWS), 0)
    wrong = int((1 - quality) * ROWS + 1e-9) + 1 + allowed
    return score, np.arange(ROWS) < wrong


DRAWS: dict[str, Draw] = {
    "honest": _honest,
    "overconfident": _overconfident,
    "uninformative": _uninformative,
    "backwards": _backwards,
    "ties": _ties,
    "confident few": _confident_few,
    "adversary": _adversary,
}


def world(name: str, quality: float, n: int, target: Target, seed: int = 0) -> World:
    rng = np.random.default_rng([seed, *name.encode(), round(1000 * quality), n])
    score, slip = DRAWS[name](rng, quality, n)
    truth = rng.random(ROWS) < 0.4
    if target == "both" and name == "adversary":
        # All that the small model is wrong about is missed: the promise at stake is recall.
        truth = truth | slip
    return World(score, slip, truth)


# -- what became of a run


@dataclass
class Outcome:
    """`out`: the column. `large`: the share of the rows that the large model was asked about."""

    out: Bools
    large: float


def kept(table: World, target: Target, quality: float, out: Bools) -> bool:
    """Whether the promise holds for the column `out`."""
    if target == "agreement":
        return bool((out == table.truth).mean() >= quality)
    right = float((out & table.truth).sum())
    recall = right / max(float(table.truth.sum()), 1.0)
    precision = right / max(float(out.sum()), 1.0)
    return (target == "recall" or precision >= quality) and (
        target == "precision" or recall >= quality
    )


class _Stored:
    """An `Ask` over a table's answers."""

    def __init__(self, table: World) -> None:
        self._answers = {"small": table.small, "large": table.large}

    async def many(self, requests: Sequence[Any], check: Any = None) -> list[Any]:
        return [self._answers[r.model][int(r.messages[-1].content)] for r in requests]

    def note(self, text: str, times: int = 1) -> None: ...

    def model(self, alias: str) -> Any:
        return type("Free", (), {"price": None})()


def ours(
    table: World, target: Target, quality: float, n: int | None, rng: np.random.Generator
) -> Outcome:
    """By the code that frames use; without `n`, as many rows are sampled as pay."""
    cascade = Cascade("small", "large", quality, CONFIDENCE, target, n)
    place = rng.permutation(ROWS)[: n or cascade.most(target)]
    pool = [table.requests[i] for i in place]
    promise, known = asyncio.run(
        learn(
            _Stored(table),  # type: ignore[arg-type]
            cascade,
            pool,
            ROWS,
            lambda reply: reply.text == "yes",
            None,
            target,
        )
    )
    sampled = np.zeros(ROWS, dtype=np.bool_)
    sampled[[int(messages[-1].content) for messages in known]] = True
    level = promise.cut or Cut()
    stands = (table.score >= np.where(table.says, level.yes, level.no)) & ~sampled
    return Outcome(np.where(stands, table.says, table.truth), 1 - float(stands.mean()))


def lotus(
    table: World, target: Target, quality: float, n: int, rng: np.random.Generator
) -> Outcome:
    """By LOTUS's rule, with half of its importance weights uniform. Sampled rows keep the large
    model's answer, as here."""
    risk = 1 - CONFIDENCE
    chance = np.where(table.says, table.score, 1 - table.score)
    proxy = table.score if target == "agreement" else _quantiles(chance)
    weight = np.sqrt(proxy)
    weight = 0.5 * weight / weight.sum() + 0.5 / ROWS
    place = rng.choice(ROWS, size=n, p=weight)
    order = np.argsort(-proxy[place], kind="stable")
    place = place[order]
    score, factor = proxy[place], (1 / ROWS) / weight[place]
    sampled = np.zeros(ROWS, dtype=np.bool_)
    sampled[place] = True
    if target == "agreement":
        edge = _tau_precise(score, ~table.slip[place], quality, risk)
        stands = (proxy >= edge) & ~sampled
        return Outcome(np.where(stands, table.says, table.truth), 1 - float(stands.mean()))
    true = table.truth[place].astype(float)
    below = _tau_recall(score, true, factor, quality)
    z1, z2 = true * factor * (score >= below), true * factor * (score < below)
    upper, lower = _normal(z1, n, risk / 2, 1), _normal(z2, n, risk / 2, -1)
    corrected = min(1.0, upper / (upper + lower)) if upper + lower > 0 else 1.0
    below = _tau_recall(score, true, factor, corrected)
    above = max(below, _tau_precise(score, true > 0, quality, risk))
    yes, no = (proxy >= above) & ~sampled, (proxy <= below) & (proxy < above) & ~sampled
    return Outcome(np.where(yes, True, np.where(no, False, table.truth)), 1 - (yes | no).mean())


def _quantiles(chance: Floats) -> Floats:
    edges = np.percentile(chance, np.linspace(0, 100, 51))
    return np.clip((np.digitize(chance, edges) - 1) / 50, 0, 1)


def _normal(values: Floats, n: int, risk: float, side: int) -> float:
    if not values.size:
        return 0.0
    spread = values.std() / np.sqrt(n) * np.sqrt(2 * np.log(1 / risk))
    return float(values.mean() + side * spread)


def _tau_recall(score: Floats, true: Floats, factor: Floats, recall: float) -> float:
    """The highest score above which `recall` of the true ones lie: at or below it is a no."""
    weight = true * factor
    edges, first = np.unique(-score, return_index=True)  # score falls
    above = np.concatenate([[0.0], np.cumsum(weight)])[first]
    enough = above >= recall * weight.sum()
    return float(-edges[enough.argmax()]) if enough.any() else -1.0


def _tau_precise(score: Floats, right: Bools, quality: float, risk: float) -> float:
    """The lowest score above which the bound on the share of right ones clears `quality`."""
    edges, first = np.unique(-score, return_index=True)  # score falls
    count = np.append(first[1:], score.size)
    mean = np.cumsum(right)[count - 1] / count
    spread = np.sqrt(mean * (1 - mean) / count * 2 * np.log(score.size / risk))
    clear = np.flatnonzero(mean - spread > quality)
    return float(-edges[clear[-1]]) if clear.size else 1.0 + 1e-9


# -- the table


@dataclass(frozen=True)
class Line:
    """Of `runs` runs: the share that kept the promise, and the mean share of rows that the large
    model was asked about."""

    table: str
    target: Target
    quality: float
    sample: int | None
    runs: int
    kept: float
    large: float
    lotus_kept: float = float("nan")
    lotus_large: float = float("nan")


def line(
    name: str, target: Target, quality: float, sample: int | None, runs: int, beside: bool = True
) -> Line:
    """One setting. The table is the same in all runs; the sample is another in each."""
    table = world(name, quality, sample or 400, target)
    found: dict[str, list[Outcome]] = {"ours": [], "lotus": []}
    for run in range(runs):
        found["ours"].append(ours(table, target, quality, sample, np.random.default_rng(run)))
        if beside and sample is not None:
            rng = np.random.default_rng(run)
            found["lotus"].append(lotus(table, target, quality, sample, rng))
    shares = []
    for outcomes in found.values():
        held = [kept(table, target, quality, outcome.out) for outcome in outcomes]
        shares += [
            sum(held) / len(held) if held else float("nan"),
            sum(o.large for o in outcomes) / len(outcomes) if outcomes else float("nan"),
        ]
    return Line(name, target, quality, sample, runs, *shares)


def least_kept(runs: int) -> float:
    """A share that a promise which holds is below in one of ten thousand settings."""
    from scipy.stats import binom

    return float(binom.ppf(1e-4, runs, CONFIDENCE)) / runs


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cascade")
    parser.add_argument("--runs", type=int, default=200)
    args = parser.parse_args()
    began = time.time()
    _report.heading(
        "Cascades: is the promise kept?",
        f"{ROWS:,} rows, {args.runs} runs a line, {CONFIDENCE:.0%} confidence: kept must be at "
        f"least that, within the error of {args.runs} runs ({least_kept(args.runs):.1%}).",
        "large: share of the rows that the large model was asked about, the sample included.",
        "sample 'pays': grown for as long as that saves calls.",
    )
    targets: tuple[Target, ...] = ("agreement", "both")
    settings = product(targets, DRAWS, QUALITIES, SAMPLES)
    lines = [line(name, target, q, n, args.runs) for target, name, q, n in settings]
    _report.table(
        ("target", "table", "quality", "sample", "kept", "large", "LOTUS kept", "LOTUS large"),
        [
            (
                one.target,
                one.table,
                one.quality,
                one.sample or "pays",
                f"{one.kept:.1%}",
                f"{one.large:.0%}",
                "" if one.sample is None else f"{one.lotus_kept:.1%}",
                "" if one.sample is None else f"{one.lotus_large:.0%}",
            )
            for one in lines
        ],
    )
    worst = min(lines, key=lambda one: one.kept)
    missed = [one for one in lines if one.lotus_kept < least_kept(args.runs)]
    print(
        f"\nLeast kept here: {worst.kept:.1%} ({worst.target}, {worst.table}, {worst.quality}). "
        f"LOTUS's way stays below {least_kept(args.runs):.1%} in {len(missed)} of "
        f"{sum(one.sample is not None for one in lines)} settings. {time.time() - began:.0f} s."
    )


if __name__ == "__main__":
    main()
