"""`map`: a prompt filled from the row, its answer as text or in a given shape."""

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
from swath.operators.examples import Examples, as_json, as_text, shots
from swath.operators.long import Long, merged
from swath.operators.parts import Part
from swath.operators.prompts import fields
from swath.operators.schema import Shape, shape_of
from swath.operators.template import Template, about


class Map(Operator):
    kind = "map"

    def __init__(
        self, template: Template, shape: Shape | None, instructions: str | None, **common: Any
    ) -> None:
        super().__init__(template, **common)
        self.shape = shape
        self._template = template
        self.instructions = instructions
        self._dtype, self._convert = column_of(shape.value_schema) if shape else (pl.String(), None)

    @property
    def dtype(self) -> pl.DataType:
        return self._dtype

    @property
    def settings(self) -> tuple[Hashable, ...]:
        return (self.shape.key if self.shape else None, self.instructions)

    @cached_property
    def system(self) -> tuple[Message, ...]:
        parts = [self.instructions or ""]
        if self.shape:
            parts.append(fields(self.shape.schema.json))
        said = "\n\n".join(part for part in parts if part)
        return (Message("system", said),) if said else ()

    def ask(self, text: str, model: str) -> Request:
        return Request(
            model=model,
            messages=(*self.system, *self.shots, Message("user", text)),
            schema=self.shape.schema if self.shape else None,
            source=(self._template.filling(text) or text) if self.shape else None,
            temperature=self.temperature,
            max_tokens=self.max_tokens,
        )

    @property
    def check(self) -> Check | None:
        return self.shape.check if self.shape else None

    def value(self, completion: Completion) -> Any:
        if self.shape is None:
            return completion.text.strip()
        value = completion.parsed
        if value is None:
            value = self.shape.check(completion.text)
        return self._convert(value) if self._convert else value

    @property
    def part(self) -> Part | None:
        column = about(self._template)
        if self.shots or self.long != "refuse" or column is None:
            return None
        said = "\n\n".join([*(m.content for m in self.system), column[1]])
        if self.shape is None:
            return Part(column[0], said, {"type": "string"}, lambda v: str(v).strip(), exact=False)
        part = Part(column[0], said, self.shape.schema.json, self._read)
        return replace(part, exact=not part.quotes)

    def _read(self, answer: Any) -> Any:
        assert self.shape is not None
        value = self.shape.check(msgspec.json.encode(answer).decode())
        return self._convert(value) if self._convert else value

    async def combine(self, ask: Ask, request: Request, values: list[Any]) -> Any:
        return merged(values) if self.shape else "\n\n".join(values)


def map(
    template: str,
    *,
    response: Any = None,
    model: ModelChoice = None,
    instructions: str | None = None,
    examples: Examples = None,
    long: Long = "refuse",
    max_tokens: int | None = None,
    temperature: float | None = None,
) -> Map:
    """The answer to `template`, whose `{column}`s are filled from the row.

    Text, or with `response` (a Pydantic model, a JSON Schema, …) a typed column. A row in which a
    named column is null, or all are blank, gives null without a call. `{{` is a plain brace;
    `{column.field}` goes into a struct. `examples` are pairs of a text (or a dict of columns) and
    its answer. `long` says what becomes of a text over the model's window: "refuse", "truncate", or
    "chunk" (the answers to its pieces, joined; `sw.summarize` makes one of them).

        sw.map("Answer this customer in two sentences: {text}", model="strong")
    """
    if response is None:  # an `sw.Prompt` may bring both
        response = getattr(template, "schema", None)
    parsed = Template(template)
    shape = None if response is None else shape_of(response)
    return Map(
        parsed,
        shape,
        instructions or getattr(template, "instructions", None),
        shots=shots(examples, as_json(shape) if shape else as_text, parsed),
        long=long,
        model=model,
        max_tokens=max_tokens,
        temperature=temperature,
    )
