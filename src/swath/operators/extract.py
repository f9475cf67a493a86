"""`extract`: typed fields out of a text."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import replace
from functools import cached_property
from typing import Any

import msgspec
import polars as pl

from swath.messages import Completion, Message, Request
from swath.operators.base import Ask, Check, ModelChoice, Operator
from swath.operators.dtypes import column_of
from swath.operators.examples import Examples, as_json, shots
from swath.operators.long import Long, merged
from swath.operators.parts import Part
from swath.operators.prompts import fields
from swath.operators.schema import Shape, shape_of


class Extract(Operator):
    kind = "extract"

    def __init__(
        self, text: str | pl.Expr, shape: Shape, instructions: str | None, **common: Any
    ) -> None:
        super().__init__(text, **common)
        self.shape = shape
        self.instructions = instructions
        self._dtype, self._convert = column_of(shape.value_schema)

    @property
    def dtype(self) -> pl.DataType:
        return self._dtype

    @property
    def settings(self) -> tuple[Hashable, ...]:
        return (self.shape.key, self.instructions)

    @cached_property
    def system(self) -> Message:
        task = self.instructions or "Read the text and fill in each field from it alone."
        return Message("system", f"{task}\n\n{fields(self.shape.schema.json)}")

    def ask(self, text: str, model: str) -> Request:
        return Request(
            model=model,
            messages=(self.system, *self.shots, Message("user", text)),
            schema=self.shape.schema,
            source=text,
            temperature=self.temperature,
            max_tokens=self.max_tokens,
        )

    @property
    def check(self) -> Check:
        return self.shape.check

    def value(self, completion: Completion) -> Any:
        value = completion.parsed
        if value is None:
            value = self.shape.check(completion.text)
        return self._convert(value) if self._convert else value

    @property
    def part(self) -> Part | None:
        if self.shots or self.long != "refuse" or not isinstance(self.text, str):
            return None
        part = Part(self.text, self.system.content, self.shape.schema.json, self._read)
        return replace(part, exact=not part.quotes)

    def _read(self, answer: Any) -> Any:
        value = self.shape.check(msgspec.json.encode(answer).decode())
        return self._convert(value) if self._convert else value

    async def combine(self, ask: Ask, request: Request, values: list[Any]) -> Any:
        return merged(values)

    def describe(self) -> str:
        return f"extract({self._text_name()}, {self.shape.schema.name})"


def extract(
    text: str | pl.Expr,
    schema: Any,
    *,
    model: ModelChoice = None,
    instructions: str | None = None,
    examples: Examples = None,
    long: Long = "refuse",
    max_tokens: int | None = None,
    temperature: float | None = None,
) -> Extract:
    """Fields out of `text` (a column, or an expression of one) as a typed struct column.

    `schema`: a Pydantic model (its validators count, its field descriptions go into the prompt), a
    dataclass, a TypedDict, `list[Model]` for a list column, or a JSON Schema. A field typed
    `sw.Quote` holds words of the text itself. Null and blank texts give null without a call.
    `examples` are pairs of a text and its answer. `long` says what becomes of a text over the
    model's window: "refuse", "truncate", or "chunk" (lists found in its pieces are joined, of other
    fields the first that is there counts).

        sw.extract("speech", Argument, model="fast")
    """
    shape = shape_of(schema)
    return Extract(
        text,
        shape,
        instructions,
        shots=shots(examples, as_json(shape)),
        long=long,
        model=model,
        max_tokens=max_tokens,
        temperature=temperature,
    )
