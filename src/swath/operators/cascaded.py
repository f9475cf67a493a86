"""`Cascaded`: an operator whose questions go to a small model first, and to a large one where that
is not sure."""

from __future__ import annotations

import random
from collections.abc import Callable, Hashable
from contextlib import suppress
from copy import copy
from typing import Any

import polars as pl

from swath.engine.shape import Invalid
from swath.errors import InputError, ProviderError
from swath.messages import Completion, Request
from swath.operators.asking import Ask, Failed, Sizes
from swath.operators.base import ModelChoice, Operator
from swath.operators.cascade import Cascade, Promise
from swath.operators.cascading import Key, learn, small_question, stands
from swath.operators.wrapping import Wrapping


def by(model: ModelChoice | Cascade, make: Callable[[ModelChoice], Operator]) -> Operator:
    """The operator that `make` gives for a model, or for a cascade of two."""
    return Cascaded(make(model.large), model) if isinstance(model, Cascade) else make(model)


class Cascaded(Wrapping):
    """`operator`, by `cascade`. What the rows get is the same column; where the sample does not
    bear the promise out, `prepare` gives the plain operator for the large model."""

    kind = "cascade"
    single = False

    def __init__(self, operator: Operator, cascade: Cascade) -> None:
        self.operator = operator.with_model(cascade.large)
        super().__init__(
            operator.text,
            model=(cascade.large, cascade.small),  # both, so that a plan names and checks both
            temperature=operator.temperature,
            max_tokens=operator.max_tokens,
            shots=operator.shots,
            long="refuse",
        )
        self.cascade = cascade
        self.instructions = getattr(operator, "instructions", None)
        self.target = cascade.target or "agreement"
        if self.target != "agreement" and operator.dtype != pl.Boolean():
            raise InputError(
                f"target='{self.target}' is for questions that are true or false.",
                hint=f"Leave target= out for {operator.kind}: agreement with the large model.",
            )
        self.sample = cascade.sample or cascade.most(self.target)
        self.assumed = (cascade.assumed,)
        self._promise: Promise | None = None
        self._known: dict[Key, Completion | Failed] = {}

    @property
    def settings(self) -> tuple[Hashable, ...]:
        return (self.operator.signature, self.cascade)

    async def prepare(self, ask: Ask, sample: pl.DataFrame, rows: int) -> Operator:
        pool = self.requests(sample, ask.default)
        random.Random(self.cascade.seed).shuffle(pool)
        promise, known = await learn(
            ask, self.cascade, pool, rows, self.value, self.check, self.target
        )
        if promise.cut is None:
            return self.operator
        other = copy(self)
        other.sample, other._promise, other._known = 0, promise, known
        return other

    async def answer(self, ask: Ask, request: Request) -> Any:
        promise = self._promise
        if promise is None or promise.cut is None:  # never prepared: the large one answers
            return await self.operator.answer(ask, request)
        sampled = self._known.get(request.messages)
        if sampled is not None and (isinstance(sampled, Completion) or self.operator.single):
            self._count(ask, promise, by_small=False)
            if isinstance(sampled, Completion):
                return self.value(sampled)
            raise sampled.again() if isinstance(sampled, ProviderError) else sampled
        question = small_question(self.cascade, request)
        assert question is not None
        small: Completion | None = None
        with suppress(ProviderError, Invalid):  # no answer is an unsure one
            small = await ask(question, self.check)
        promise.spent(small)
        if small is not None and stands(promise.cut, small, self.value):
            self._count(ask, promise, by_small=True)
            return self.value(small)
        self._count(ask, promise, by_small=False)
        if not self.operator.single:  # a long text
            return await self.operator.answer(ask, request)
        large = await ask(request, self.check)
        promise.spent(large)
        return self.value(large)

    @staticmethod
    def _count(ask: Ask, promise: Promise, by_small: bool) -> None:
        promise.by_small += by_small
        promise.by_large += not by_small
        ask.note(promise.answered_by(promise.small if by_small else promise.large))

    def questions(self, request: Request, sizes: Sizes) -> list[tuple[Request, float]]:
        small = small_question(self.cascade, request)
        assert small is not None
        calls = self.cascade.calls(1.0)
        large = self.operator.questions(request, sizes)
        return [
            (small, calls[self.cascade.small]),
            *((one, count * calls[self.cascade.large]) for one, count in large),
        ]

    def with_model(self, model: ModelChoice) -> Operator:  # type: ignore[override]
        """The plain operator, put to another model."""
        return self.operator.with_model(model)

    def describe(self) -> str:
        return f"{self.operator.describe()} by {self.cascade}"

    def model_name(self, default: str = "default") -> str:
        return str(self.cascade)
