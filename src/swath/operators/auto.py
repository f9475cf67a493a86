"""`auto`: a router learned from a sample of the table itself chooses the model of each row.

This is the user's word for it, and what became of it. How it is done is in `auto_learning.py`, and
`auto_routed.py` makes a row operator of it.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from swath.errors import InputError
from swath.messages import Completion
from swath.operators.guarantees import ENDLESS, least

if TYPE_CHECKING:
    from swath.operators.asking import Failed
    from swath.routing.router import Learned

Grader = Callable[[str, str], float | Awaitable[float]]
"""(the row's text, an answer) to how good it is, from 0 to 1."""

LEARN = 120  # rows that the router learns from
CHECK = 240  # rows that the promise is taken from, or so many times the least that can bear it:
TIMES = 3
FEWEST = 40  # rows to learn from
UNSURE = 0.5  # of the rows, before anything is known


@dataclass
class Sent:
    """What one operator of one run promised, and how it went.

    Rows whose score is below `threshold` are asked of `small`, the others of `large`; None: all go
    to `large`, and `why` says for what reason. Of `rows` rows, `learned` taught the router and
    `checked` chose the threshold: both kinds keep the large model's answer. `share` of those
    checked could have gone to `small`; `ranking` is the chance that the router tells which of two
    rows is the worse one for it (0.5: it knows nothing). `by_small` and `by_large` count questions,
    equal rows once, by whose answer they got.
    """

    small: str
    large: str
    measure: str
    quality: float
    confidence: float
    rows: int
    learned: int = 0
    checked: int = 0
    threshold: float | None = None
    share: float = 0.0
    ranking: float | None = None
    why: str = ""
    by_small: int = 0
    by_large: int = 0
    small_usd: float = 0.0
    large_usd: float = 0.0
    judge_usd: float = 0.0
    router: Learned | None = field(default=None, repr=False)
    _paid: int = field(default=0, repr=False)

    @property
    def saved_usd(self) -> float | None:
        """Dollars, against asking the large model everything: what it would have taken for the
        small one's rows, at its mean so far, less what the small one and the judge took, the sample
        included. None where all of the large one's answers were stored already."""
        if not self._paid:
            return None
        return self.by_small * self.large_usd / self._paid - self.small_usd - self.judge_usd

    @property
    def saved(self) -> float | None:
        """The same as a share of what asking the large model everything would take."""
        saved = self.saved_usd
        if saved is None or not self.large_usd:
            return None
        return saved / (saved + self.small_usd + self.judge_usd + self.large_usd)

    def spent(self, *answers: Completion | Failed | None) -> None:
        """What was had for the models' answers. Those of models not chosen count as the small's."""
        for reply in answers:
            if not isinstance(reply, Completion):
                continue
            if reply.model == self.large:
                self.large_usd += reply.cost_usd
                self._paid += not reply.cached
            else:
                self.small_usd += reply.cost_usd

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Keep the router, its threshold in it, for `[router] artifact = …` or `swath serve
        --router`. Raises InputError where none was learned, OutputError."""
        if self.router is None:
            raise InputError(
                "There is no router to save: everything goes to the large model.",
                hint=f"Because {self.why}.",
            )
        from swath.routing.artifact import save

        return save(self.router, path)

    @staticmethod
    def answered_by(alias: str) -> str:
        return f"auto: answered by '{alias}'"

    def __str__(self) -> str:
        if self.threshold is None:
            return f"auto: everything goes to '{self.large}': {self.why}"
        return (
            f"auto: '{self.small}' is asked {self.share:.0%} of the rows, '{self.large}' the rest. "
            f"{_PROMISED[self.measure].format(_percent(self.quality), self.large)} at "
            f"{_percent(self.confidence)} confidence, learned from {self.learned:,} rows and "
            f"checked on {self.checked:,}"
        )


_PROMISED = {
    "agreement": "At least {} of the answers are those of '{}'",
    "judge": "At least {} of the answers are no worse, by the judge, than those of '{}'",
    "grades": "At least {} of the mean grade of '{}' is kept",
}


def _percent(share: float) -> str:
    return f"{round(100 * share, 6):g}%"


@dataclass(frozen=True)
class Auto:
    """See `auto`. `promises` gathers a `Sent` for each time it was used, the newest last."""

    models: tuple[str, ...]
    quality: float = 0.95
    confidence: float = 0.9
    sample: int | None = None
    judge: str | Grader | None = None
    embedding: str = "local/minilm-l6"
    seed: int = 0
    promises: list[Sent] = field(default_factory=list, compare=False, repr=False)

    @property
    def large(self) -> str:
        return self.models[-1]

    @property
    def risk(self) -> float:
        """That each small model's promise may be broken with."""
        return (1 - self.confidence) / (len(self.models) - 1)

    @property
    def measure(self) -> str:
        if self.judge is None:
            return "agreement"
        return "judge" if isinstance(self.judge, str) else "grades"

    def __str__(self) -> str:
        return f"auto({' | '.join(self.models)})"

    def parts(self, rows: int = ENDLESS) -> tuple[int, int]:
        """Rows of the sample that are learned from, and that the promise is taken from; (0, 0)
        where `rows` are so few that the sample would be most of them."""
        need = least(self.quality, self.risk, rows)
        wanted = self.sample or LEARN + max(CHECK, TIMES * need)
        whole = min(wanted, rows // 2)
        learned = max(whole // 3, FEWEST)
        checked = whole - learned
        return (learned, checked) if checked >= max(need, 20) else (0, 0)

    @property
    def assumed(self) -> str:
        """For `explain`."""
        return f"{UNSURE:.0%} of the rows go to '{self.large}'"


def auto(
    models: Sequence[str],
    *,
    quality: float = 0.95,
    confidence: float = 0.9,
    sample: int | None = None,
    judge: str | Grader | None = None,
    embedding: str = "local/minilm-l6",
    seed: int = 0,
) -> Auto:
    """For `model=` of any operator over rows: the cheapest model that is good enough, row by row.

    `models` are aliases, the last the one to be measured by. All are asked about a random sample of
    the rows; a router learns from a part of it for which rows a smaller model is good enough, the
    rest of it says how far the router can be trusted, and the remaining rows are asked of one model
    each. With `confidence`, `quality` of the last model's own is kept:

        judge=None        at least that share of the rows has the very answer of the last model (for
                          labels, truth values and structs)
        judge="alias"     at least that share has an answer which this model, asked in both orders,
                          does not find worse
        judge=function    of (text, answer), giving grades from 0 to 1: that much of the mean grade

    `sample` is the number of rows to learn from; None: some 360. They keep the last model's answer.
    Where the router tells no better than chance, everything goes to it, the run's notes say so, and
    nothing but the sample was spent. `auto.promises[-1]` tells how it went; its `save(path)` keeps
    the router.

        sw.classify("text", labels, model=sw.auto(["small", "large"], quality=0.95))
    """
    names = (models,) if isinstance(models, str) else tuple(models)
    if len(set(names)) < max(len(names), 2) or not all(isinstance(n, str) for n in names):
        raise InputError(
            "sw.auto takes the aliases of two models or more, the best last.",
            hint='For example sw.auto(["small", "large"]).',
        )
    for name, value in (("quality", quality), ("confidence", confidence)):
        if not 0.5 <= value < 1:
            raise InputError(
                f"{name}={value} is out of range.",
                hint=f"Give a share from 0.5 to below 1, such as {name}=0.95.",
            )
    if sample is not None and sample < 1:
        raise InputError("sample= is a number of rows.", hint="Leave it out: some 360.")
    if judge is not None and not isinstance(judge, str) and not callable(judge):
        raise InputError(
            "judge= takes an alias, or a function of a text and an answer.",
            hint="Leave it out to compare labels and structs.",
        )
    return Auto(names, quality, confidence, sample, judge, embedding, seed)
