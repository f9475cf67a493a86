"""`Judge`: which models judge, how, and by what; and `judge`, the same as a column of a frame."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from swath.errors import InputError, listing
from swath.evals.judging import Graded, Grades, Paired, PairedBothWays
from swath.operators.template import Template

Mode = Literal["pairwise", "rubric", "reference"]
MODES = ("pairwise", "rubric", "reference")
Criteria = str | Sequence[str] | Mapping[str, str] | None
QUALITY = {"quality": "does what the task asks, correctly and completely, and nothing else"}
CORRECT = {"correct": "says the same as the reference in everything that matters"}


@dataclass(frozen=True)
class Judge:
    """How answers are judged.

    `model`: an alias, or several for a jury, whose verdict is the majority's. `mode`: `pairwise`
    says which of two answers is better; `rubric` scores each answer from 1 to `scale` by every
    criterion; `reference` scores it against a correct answer. `criteria`: a sentence, names, or
    names with what they mean. `instructions` are added to what the judge is told anyway: the
    original instructions, the input and the answers, without the models' names.

    `orders`: `both` asks about each pair twice, each answer first once, so that a taste for the
    first answer cancels out; `one` asks once, in an order drawn per item. `ties` allows "neither".
    `reason` has a justification written before the verdict; without one the verdict is a single
    word, which is cheaper, and surer from a small local model.
    """

    model: str | Sequence[str] | None = None
    mode: Mode = "pairwise"
    criteria: Criteria = None
    instructions: str | None = None
    orders: Literal["both", "one"] = "both"
    ties: bool = True
    reason: bool = True
    scale: int = 5
    temperature: float | None = 0.0
    max_tokens: int | None = None
    named: Mapping[str, str] = field(init=False, repr=False, compare=False, default_factory=dict)

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise InputError(f"A judge has no mode '{self.mode}'.", hint=listing(MODES, self.mode))
        if self.orders not in ("both", "one"):
            raise InputError(f"orders='{self.orders}' is not known.", hint="Say both, or one.")
        if not isinstance(self.scale, int) or self.scale < 2:
            raise InputError("A scale needs at least two steps.", hint="For example scale=5.")
        if isinstance(self.model, Sequence) and not self.model:
            raise InputError("The jury is empty.", hint="Name its models: Judge(['a', 'b', 'c']).")
        object.__setattr__(self, "named", _criteria(self.criteria, self.mode))

    def models(self, default: str) -> tuple[str, ...]:
        """The aliases that judge."""
        if self.model is None:
            return (default,)
        names = (self.model,) if isinstance(self.model, str) else tuple(self.model)
        return tuple(dict.fromkeys(names))

    def pairing(
        self, task: str | Template, first: str, second: str, model: str | None, **columns: Any
    ) -> Paired:
        """The operator that judges `first` against `second` (columns), `first` shown first."""
        return Paired(
            task,
            {"1": first, "2": second},
            system=self._pairwise(),
            ties=self.ties,
            reason=self.reason,
            model=model,
            temperature=self.temperature,
            max_tokens=self.max_tokens,
            **columns,
        )

    def grading(
        self, task: str | Template, answer: str, model: str | None, **columns: Any
    ) -> Graded:
        """The operator that scores the column `answer`."""
        from swath.evals import judge_prompts

        system = judge_prompts.rubric(
            self.named,
            self.instructions,
            self.scale,
            reason=self.reason,
            reference=columns.get("reference") is not None,
        )
        return Graded(
            task,
            {"answer": answer},
            grades=Grades(tuple(self.named), self.scale, self.reason),
            system=system,
            model=model,
            temperature=self.temperature,
            max_tokens=self.max_tokens,
            **columns,
        )

    def _pairwise(self) -> str:
        from swath.evals import judge_prompts

        return judge_prompts.pairwise(
            self.named, self.instructions, ties=self.ties, reason=self.reason
        )


def as_judge(given: Judge | str | Sequence[str]) -> Judge:
    """A judge as people write one: itself, an alias, or the aliases of a jury."""
    return given if isinstance(given, Judge) else Judge(given)


def _criteria(given: Criteria, mode: Mode) -> dict[str, str]:
    if given is None:
        return {"rubric": QUALITY, "reference": CORRECT}.get(mode, {})
    if isinstance(given, Mapping):
        named = {str(name): str(about) for name, about in given.items()}
    elif isinstance(given, str):
        named = {given if mode == "pairwise" else "quality": "" if mode == "pairwise" else given}
    else:
        named = {str(name): "" for name in given}
    if not named or not all(name.strip() for name in named):
        raise InputError(
            "criteria= is empty.", hint="For example criteria=['correct', 'complete', 'short']."
        )
    return named


def judge(
    task: str,
    answers: Mapping[str, str] | str,
    *,
    model: str | None = None,
    reference: str | None = None,
    mode: Mode | None = None,
    criteria: Criteria = None,
    instructions: str | None = None,
    orders: Literal["both", "one"] = "both",
    ties: bool = True,
    reason: bool = True,
    scale: int = 5,
    temperature: float | None = 0.0,
    max_tokens: int | None = None,
) -> Paired | Graded:
    """A judge's opinion of columns of one's own table, as a struct column.

    `task` is what was asked: a column, or a template (`"Summarize: {text}"`). With two `answers`
    (name → column) the column holds `verdict` (a name, or "tie"; null where the judge said nothing
    that can be read) and `justification`; where both orders were asked, `orders` has the verdict
    of each, and two that differ make a tie. With one answer (a column's name) it holds, for each
    of the `criteria`, `score` from 1 to `scale` and `justification`.

        sw.judge("question", {"fast": "fast_answer", "strong": "strong_answer"}, model="big")
        sw.judge("question", "answer", criteria=["correct", "kind"], model="big")
    """
    named = {"answer": answers} if isinstance(answers, str) else dict(answers)
    if len(named) not in (1, 2):
        raise InputError(
            f"A judge looks at one answer, or at two, not at {len(named)}.",
            hint="sw.compare(…) judges all pairs of several models.",
        )
    graded = len(named) == 1
    mode = mode or (("reference" if reference else "rubric") if graded else "pairwise")
    if graded != (mode != "pairwise"):
        raise InputError(
            f"mode='{mode}' takes {'two answers' if mode == 'pairwise' else 'one answer'}.",
            hint='Give answers={"A": "column_a", "B": "column_b"}, or answers="column".',
        )
    made = Judge(
        model=model,
        mode=mode,
        criteria=criteria,
        instructions=instructions,
        orders=orders,
        ties=ties,
        reason=reason,
        scale=scale,
        temperature=temperature,
        max_tokens=max_tokens,
    )
    text = Template(task) if "{" in task else task
    if graded:
        (answer,) = named.values()
        return made.grading(text, answer, model, reference=reference)
    first, second = named.values()
    one = made.pairing(text, first, second, model, reference=reference, names=tuple(named))
    return one if orders == "one" else PairedBothWays.of(one)
