"""`cascade`: a small model answers where it is sure, a large one where it is not, with a promise.

This is the user's word for it, and what became of it. How it is done is in `cascading.py`, why the
promise holds in `guarantees.py`, and `cascaded.py` makes a row operator of it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import get_args

from swath.errors import InputError, listing
from swath.messages import Completion
from swath.operators.asking import Failed
from swath.operators.guarantees import ENDLESS, Cut, Target, least

LOOKS = 4  # at most, each twice as large as the one before
RARE = 2  # where only true rows tell something, half of the rows are expected to be true
UNSURE = 0.5  # of the rows, before anything is known


@dataclass
class Promise:
    """What one operator of one run promised, and how it went.

    The small model's answers stand from the thresholds of `cut` on; without one, everything went to
    the large model, and `why` says for what reason. `sampled` of `rows` rows were asked of both.
    `by_small` and `by_large` count questions, equal rows once, by whose answer they got.
    """

    small: str
    large: str
    target: Target
    quality: float
    confidence: float
    rows: int
    sampled: int = 0
    cut: Cut | None = None
    share: float = 0.0
    """Of the sample, what the small model could have answered."""
    why: str = ""
    by_small: int = 0
    by_large: int = 0
    small_usd: float = 0.0
    large_usd: float = 0.0
    _paid: int = field(default=0, repr=False)

    @property
    def saved_usd(self) -> float | None:
        """Dollars, against asking the large model everything: what it would have taken for the
        small one's answers, at its mean so far, less what the small one took. None where all its
        answers were stored already."""
        if not self._paid:
            return None
        return self.by_small * self.large_usd / self._paid - self.small_usd

    def spent(self, *answers: Completion | Failed | None) -> None:
        """What was had for the small one's and the large one's answers."""
        for reply in answers:
            if not isinstance(reply, Completion):
                continue
            if reply.model == self.small:
                self.small_usd += reply.cost_usd
            else:
                self.large_usd += reply.cost_usd
                self._paid += not reply.cached

    def notes(self) -> list[tuple[str, int]]:
        """How many questions got whose answer."""
        by = ((self.small, self.by_small), (self.large, self.by_large))
        return [(self.answered_by(alias), times) for alias, times in by if times]

    @staticmethod
    def answered_by(alias: str) -> str:
        return f"cascade: answered by '{alias}'"

    def __str__(self) -> str:
        if self.cut is None:
            return f"cascade: everything goes to '{self.large}': {self.why}"
        return (
            f"cascade: '{self.small}' answers {_where(self.cut)}, {self.share:.0%} of the rows; "
            f"'{self.large}' the rest. {_PROMISED[self.target].format(_percent(self.quality))} at "
            f"{_percent(self.confidence)} confidence, learned from {self.sampled:,} rows"
        )


_PROMISED = {
    "agreement": "At least {} of the answers are the large model's",
    "precision": "Precision against the large model is at least {}",
    "recall": "Recall against the large model is at least {}",
    "both": "Precision and recall against the large model are at least {}",
}


def _where(level: Cut) -> str:
    if level.yes == level.no:
        return f"where its probability is at least {level.yes:.3g}" if level.yes else "always"
    sides = [(level.yes, "yes"), (level.no, "no")]
    edges = [f"{edge:.3g} for a {word}" for edge, word in sides if edge < math.inf]
    return f"where its probability is at least {' and '.join(edges)}"


def _percent(share: float) -> str:
    return f"{round(100 * share, 6):g}%"


@dataclass(frozen=True)
class Cascade:
    """See `cascade`. `promises` gathers a `Promise` for each time it was used, the newest last."""

    small: str
    large: str
    quality: float = 0.95
    confidence: float = 0.95
    target: Target | None = None
    sample: int | None = None
    seed: int = 0
    promises: list[Promise] = field(default_factory=list, compare=False, repr=False)

    def __str__(self) -> str:
        return f"{self.small} → {self.large}"

    def calls(self, rows: float) -> dict[str, float]:
        """Calls per model, before anything is known."""
        return {self.small: rows, self.large: rows * UNSURE}

    @property
    def assumed(self) -> str:
        """What `calls` takes for granted, for `explain`."""
        return f"'{self.large}' is asked about {UNSURE:.0%} of what '{self.small}' is asked"

    def looks(self, target: Target, rows: int) -> tuple[list[int], float]:
        """Sizes of the sample to stop at, and the risk that each may take. None where `rows` are
        so few that the sample would be most of them."""
        risk = 1 - self.confidence
        if self.sample is not None:
            return ([self.sample], risk) if self.sample < rows else ([], risk)
        for count in range(LOOKS, 0, -1):
            each = risk / count
            if target == "agreement":
                first = least(self.quality, each, rows)
            else:
                first = RARE * least(self.quality, each / 2 if target == "both" else each, rows)
            sizes = [first * 2**i for i in range(count)]
            if sizes[-1] <= rows / 2:
                return sizes, each
        return [], risk

    def most(self, target: Target) -> int:
        """The largest sample that it may want."""
        return self.looks(target, ENDLESS)[0][-1]


def cascade(
    small: str,
    large: str,
    *,
    quality: float = 0.95,
    confidence: float = 0.95,
    target: Target | None = None,
    sample: int | None = None,
    seed: int = 0,
) -> Cascade:
    """For `model=`: the alias `small` answers where it is sure, `large` where it is not.

    How sure it must be is learned from a random sample of the rows, so that with `confidence` the
    column keeps `quality` against what `large` alone would have said:

        "agreement"  of all rows, at least `quality` have the same answer (the default)
        "recall"     of the rows that `large` calls true, at least `quality` come out true
        "precision"  of the rows that come out true, `large` calls at least `quality` true
        "both"       recall and precision (the default for `join`, where few pairs are true)

    `sample` is the number of rows to learn from; None: as many as pay. Sampled rows keep the large
    model's answer. Where the sample does not bear the promise out, everything goes to `large`, and
    the run's notes say so. `cascade.promises[-1]` tells how it went.

        sw.predicate("A card was lost: {text}", model=sw.cascade("small", "large", quality=0.95))
    """
    if not (isinstance(small, str) and isinstance(large, str)) or small == large:
        raise InputError(
            "A cascade takes the aliases of two models.",
            hint='For example sw.cascade("fast", "strong").',
        )
    for name, value in (("quality", quality), ("confidence", confidence)):
        if not 0.5 <= value < 1:
            raise InputError(
                f"{name}={value} is out of range.",
                hint=f"Give a share from 0.5 to below 1, such as {name}=0.95.",
            )
    if target is not None and target not in get_args(Target):
        raise InputError(f"There is no target='{target}'.", hint=listing(get_args(Target), target))
    if sample is not None and sample < 1:
        raise InputError("sample= is a number of rows.", hint="Leave it out: as many as pay.")
    return Cascade(small, large, quality, confidence, target, sample, seed)
