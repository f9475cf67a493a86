"""The operators of a judge: a question about two answers of a row, or about one."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Hashable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import msgspec
import polars as pl

from swath.engine.shape import Invalid
from swath.errors import ProviderError
from swath.evals import judge_prompts as prompts
from swath.messages import Completion, Message, Request, Schema
from swath.operators.asking import Sizes
from swath.operators.base import Ask, Check, Operator
from swath.operators.template import Template, path

_VERDICT = {"verdict": pl.String(), "justification": pl.String()}
UNREADABLE = "a verdict could not be had"


class Judging(Operator):
    """What both share: the row as task, input, reference and answers, in tagged blocks.

    A row in which the task or an answer is null gives null without a call."""

    kind = "judge"

    def __init__(
        self,
        task: str | Template,
        answers: Mapping[str, str],
        *,
        system: str,
        input: str | None = None,
        reference: str | None = None,
        **common: Any,
    ) -> None:
        super().__init__(task, **common)
        self.answers = dict(answers)
        self.system = Message("system", system)
        self.input = input
        self.reference = reference

    @property
    @abstractmethod
    def tags(self) -> tuple[str, ...]:
        """The tag of each answer."""

    @property
    def settings(self) -> tuple[Hashable, ...]:
        return (*self.answers.items(), self.system.content, self.input, self.reference)

    def describe(self) -> str:
        return f"judge({', '.join(self.answers.values())})"

    def _more(self) -> tuple[str, ...]:
        """The columns it looks at beside the task's."""
        named = (self.input, self.reference, *self.answers.values())
        return tuple(name for name in named if name is not None)

    def roots(self, names: Collection[str]) -> frozenset[str]:
        more = {n if n in names else n.split(".")[0] for n in self._more()}
        return super().roots(names) | more

    def reads(self, schema: pl.Schema) -> frozenset[str]:
        for name in self._more():
            path(name, schema)
        return super().reads(schema)

    def exprs(self, schema: pl.Schema) -> tuple[pl.Expr, pl.Expr | None]:
        task, model = super().exprs(schema)
        answers = [path(name, schema)[1] for name in self.answers.values()]
        others = [
            (tag, pl.lit(None, pl.String) if name is None else path(name, schema)[1])
            for tag, name in (("input", self.input), ("reference", self.reference))
        ]
        parts = pl.struct(
            task.alias("task"),
            *(expr.alias(tag) for tag, expr in others),
            *(expr.alias(tag) for tag, expr in zip(self.tags, answers, strict=True)),
        )
        whole = pl.all_horizontal([expr.is_not_null() for expr in (task, *answers)])
        return pl.when(whole).then(parts.struct.json_encode()), model

    def _messages(self, text: str) -> tuple[Message, ...]:
        parts: dict[str, str | None] = msgspec.json.decode(text)
        return (self.system, Message("user", prompts.blocks(parts)))


class Paired(Judging):
    """Which of two answers is better: a struct of verdict (the answer's name) and justification,
    asked in the order of `answers`."""

    tags = ("answer_1", "answer_2")

    def __init__(
        self,
        task: str | Template,
        answers: Mapping[str, str],
        *,
        ties: bool,
        reason: bool,
        names: tuple[str, ...] = (prompts.FIRST, prompts.SECOND),
        **common: Any,
    ) -> None:
        super().__init__(task, answers, **common)
        self.ties = ties
        self.reason = reason
        self.names = names

    @property
    def dtype(self) -> pl.DataType:
        return pl.Struct(_VERDICT)

    @property
    def settings(self) -> tuple[Hashable, ...]:
        return (*super().settings, self.ties, self.reason, self.names)

    @cached_property
    def schema(self) -> Schema:
        return Schema("verdict", prompts.verdict_schema(self.ties))

    def ask(self, text: str, model: str) -> Request:
        return Request(
            model=model,
            messages=self._messages(text),
            schema=self.schema if self.reason else None,
            choices=() if self.reason else prompts.choices(self.ties),
            temperature=self.temperature,
            max_tokens=self.max_tokens,
        )

    @property
    def check(self) -> Check:
        if self.reason:
            return self._read
        return lambda text: self._read(text)[0]

    def _read(self, text: str) -> tuple[str, str | None]:
        return prompts.read_verdict(text, ties=self.ties, reason=self.reason)

    def _opinion(self, completion: Completion) -> tuple[str, str | None]:
        """(name or tie, justification)"""
        said, why = self._read(completion.text)
        return self._name(said), why

    def _name(self, said: str) -> str:
        return {prompts.FIRST: self.names[0], prompts.SECOND: self.names[1]}.get(said, said)

    def value(self, completion: Completion) -> dict[str, str | None]:
        verdict, why = self._opinion(completion)
        return {"verdict": verdict, "justification": why}


class PairedBothWays(Paired):
    """`Paired` in both orders: what one order says and the other does not is a tie."""

    single = False

    @classmethod
    def of(cls, one: Paired) -> PairedBothWays:
        made = cls.__new__(cls)
        made.__dict__.update(one.__dict__)
        return made

    @property
    def dtype(self) -> pl.DataType:
        return pl.Struct({**_VERDICT, "orders": pl.List(pl.String())})

    def questions(self, request: Request, sizes: Sizes) -> list[tuple[Request, float]]:
        return [(request, 1.0), (self._turned(request), 1.0)]

    def _turned(self, request: Request) -> Request:
        system, user = request.messages
        other = Message("user", prompts.swapped(user.content))
        return msgspec.structs.replace(request, messages=(system, other))

    async def answer(self, ask: Ask, request: Request) -> dict[str, Any]:
        replies = await ask.many([request, self._turned(request)], self.check, self.fallback)
        verdicts: list[str | None] = []
        reasons: list[str | None] = []
        for turned, reply in enumerate(replies):
            if not isinstance(reply, Completion):
                verdicts.append(None)
                reasons.append(None)
                continue
            said, why = self._read(reply.text)
            if turned:
                said = {prompts.FIRST: prompts.SECOND, prompts.SECOND: prompts.FIRST}.get(
                    said, said
                )
            verdicts.append(self._name(said))
            reasons.append(why)
        failures = [reply for reply in replies if isinstance(reply, ProviderError | Invalid)]
        if len(failures) == len(replies):
            raise failures[0]
        if failures:
            ask.note(UNREADABLE)
        one, other = verdicts
        verdict = None if one is None or other is None else one if one == other else prompts.TIE
        # The reason that belongs to the verdict; where the orders differ, what the first said.
        return {
            "verdict": verdict,
            "justification": reasons[0] if reasons[0] is not None else reasons[1],
            "orders": verdicts,
        }


@dataclass(frozen=True)
class Grades:
    """What a graded answer is scored by, from 1 to `scale`."""

    criteria: tuple[str, ...]
    scale: int
    reason: bool


class Graded(Judging):
    """Scores of one answer: a struct with, for each criterion, score and justification."""

    tags = ("answer",)

    def __init__(
        self, task: str | Template, answers: Mapping[str, str], *, grades: Grades, **common: Any
    ) -> None:
        super().__init__(task, answers, **common)
        self.grades = grades

    @property
    def dtype(self) -> pl.DataType:
        one = pl.Struct({"score": pl.Int64(), "justification": pl.String()})
        return pl.Struct(dict.fromkeys(self.grades.criteria, one))

    @property
    def settings(self) -> tuple[Hashable, ...]:
        return (*super().settings, self.grades)

    @cached_property
    def schema(self) -> Schema:
        named = dict.fromkeys(self.grades.criteria, "")
        return Schema(
            "scores", prompts.rubric_schema(named, self.grades.scale, reason=self.grades.reason)
        )

    def ask(self, text: str, model: str) -> Request:
        return Request(
            model=model,
            messages=self._messages(text),
            schema=self.schema,
            temperature=self.temperature,
            max_tokens=self.max_tokens,
        )

    @property
    def check(self) -> Check:
        return self._read

    def _read(self, text: str) -> dict[str, tuple[int, str | None]]:
        named = dict.fromkeys(self.grades.criteria, "")
        return prompts.read_scores(text, named, self.grades.scale)

    def value(self, completion: Completion) -> dict[str, Any]:
        return {
            name: {"score": score, "justification": why}
            for name, (score, why) in self._read(completion.text).items()
        }
