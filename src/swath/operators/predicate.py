"""`predicate`: whether a statement about the row is true."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import polars as pl

from swath.engine.shape import read_label
from swath.errors import InputError
from swath.messages import Completion, Message, Request
from swath.operators.base import Ask, ModelChoice, Operator
from swath.operators.cascade import Cascade
from swath.operators.cascaded import by
from swath.operators.examples import Examples, shots
from swath.operators.long import Long
from swath.operators.parts import Part
from swath.operators.template import Template, about

_CHOICES = ("yes", "no")
_TASK = Message("system", "Is this true? Answer yes or no.")


class Predicate(Operator):
    kind = "predicate"

    def __init__(self, template: Template, instructions: str | None, **common: Any) -> None:
        super().__init__(template, **common)
        self.instructions = instructions
        self._template = template
        self._system = (
            Message("system", f"{instructions}\n\n{_TASK.content}") if instructions else _TASK
        )

    @property
    def dtype(self) -> pl.DataType:
        return pl.Boolean()

    @property
    def settings(self) -> tuple[Hashable, ...]:
        return (self.instructions,)

    def ask(self, text: str, model: str) -> Request:
        return Request(
            model=model,
            messages=(self._system, *self.shots, Message("user", text)),
            choices=_CHOICES,
            source=self._template.filling(text),
            temperature=self.temperature,
            max_tokens=self.max_tokens,
        )

    def value(self, completion: Completion) -> bool:
        text = completion.text
        return (text if text in _CHOICES else read_label(text, _CHOICES)) == "yes"

    @property
    def part(self) -> Part | None:
        column = about(self._template)
        if self.shots or self.long != "refuse" or column is None:
            return None
        said = "\n\n".join(filter(None, [self.instructions, column[1], "Is this true?"]))
        label = {"type": "string", "enum": list(_CHOICES)}
        return Part(column[0], said, label, lambda v: read_label(str(v), _CHOICES) == "yes")

    async def combine(self, ask: Ask, request: Request, values: list[Any]) -> bool:
        return any(values)


def predicate(
    template: str,
    *,
    model: ModelChoice | Cascade = None,
    instructions: str | None = None,
    examples: Examples = None,
    long: Long = "refuse",
    max_tokens: int | None = None,
    temperature: float | None = None,
) -> Operator:
    """Whether the statement holds for the row: a Boolean column, or a condition for `filter`.

    `examples` are pairs of a text (or a dict of columns) and True or False. `long` says what
    becomes of a text over the model's window: "refuse", "truncate", or "chunk" (it holds where it
    holds for any piece). `model` may be an `sw.cascade`.

        frame.filter(sw.predicate("The customer lost a card: {text}"))
    """
    parsed = Template(template)
    return by(
        model,
        lambda alias: Predicate(
            parsed,
            instructions or getattr(template, "instructions", None),
            shots=shots(examples, _said, parsed),
            long=long,
            model=alias,
            max_tokens=max_tokens,
            temperature=temperature,
        ),
    )


def _said(answer: Any) -> str:
    if not isinstance(answer, bool):
        raise InputError("its answer is neither True nor False.", hint="Give (text, True).")
    return "yes" if answer else "no"
