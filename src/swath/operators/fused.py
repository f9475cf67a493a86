"""`Fused`: several operators over one text as one question; its cells are structs of theirs.

The optimizer's rule `fuse` makes it, where the user allows that.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from functools import cached_property
from typing import Any

import polars as pl

from swath.engine.shape import conforming, read_json
from swath.messages import Completion, Message, Request, Schema
from swath.operators.base import Check, Operator
from swath.operators.parts import Part


class Fused(Operator):
    kind = "fused"

    def __init__(self, columns: Sequence[tuple[str, Operator]]) -> None:
        first = columns[0][1]
        parts = [operator.part for _, operator in columns]
        self._parts: list[Part] = [part for part in parts if part is not None]
        most = first.max_tokens
        super().__init__(
            self._parts[0].column,
            model=first.model,
            temperature=first.temperature,
            max_tokens=None if most is None else most * len(columns),
        )
        self.fallback = first.fallback
        self.columns = tuple(columns)

    @property
    def dtype(self) -> pl.DataType:
        return pl.Struct([pl.Field(name, operator.dtype) for name, operator in self.columns])

    @property
    def settings(self) -> tuple[Hashable, ...]:
        return tuple((name, operator.signature) for name, operator in self.columns)

    @cached_property
    def system(self) -> Message:
        asked = zip(self.columns, self._parts, strict=True)
        tasks = "\n\n".join(f"{name}:\n{part.task}" for (name, _), part in asked)
        return Message("system", f"Answer each of these about the text.\n\n{tasks}")

    @cached_property
    def schema(self) -> Schema:
        names = [name for name, _ in self.columns]
        fields = zip(names, self._parts, strict=True)
        return Schema(
            "answers",
            {
                "type": "object",
                "properties": {name: dict(part.schema) for name, part in fields},
                "required": names,
                "additionalProperties": False,
            },
        )

    def ask(self, text: str, model: str) -> Request:
        return Request(
            model=model,
            messages=(self.system, Message("user", text)),
            schema=self.schema,
            source=text,
            temperature=self.temperature,
            max_tokens=self.max_tokens,
        )

    @property
    def check(self) -> Check:
        return self._read

    def _read(self, text: str) -> dict[str, Any]:
        given = conforming(read_json(text), self.schema)
        asked = zip(self.columns, self._parts, strict=True)
        return {name: part.read(given[name]) for (name, _), part in asked}

    def value(self, completion: Completion) -> Any:
        parsed = completion.parsed
        return self._read(completion.text) if parsed is None else parsed

    def describe(self) -> str:
        return f"fused({', '.join(operator.describe() for _, operator in self.columns)})"
