"""Operators over whole tables: joins, reductions, rankings, clusters.

One sees all rows of its table (and of others, for a join) at once and asks what it likes, in any
order, through `Ask`. What it declares is what the plan and `explain` know of it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, ClassVar

import polars as pl

from swath.errors import InputError
from swath.messages import Request
from swath.operators.asking import Ask, Sizes
from swath.operators.base import ModelChoice, as_choice

ROW = "__swath_row__"
"""The row's number in the source. A table comes with it, and what comes out must keep it where rows
are the same or some of them."""


class Rows(Enum):
    """What happens to rows: all stay; some stay, in some order; others come out."""

    SAME = "same"
    SUBSET = "subset"
    NEW = "new"


@dataclass
class Forecast:
    """What would be asked, for `explain`: `requests` are questions as they would be put (some of
    them, or all), `calls` how many there would be, per model alias; `rows` that come out."""

    requests: list[Request] = field(default_factory=list)
    calls: dict[str, float] = field(default_factory=dict)
    rows: float = 0.0
    assumed: tuple[str, ...] = ()


class TableOperator(ABC):
    """Immutable. Raises InputError, ColumnNotFound when it is built or put into a plan."""

    kind: ClassVar[str]
    rows: ClassVar[Rows] = Rows.SAME
    projects: ClassVar[bool] = False
    """Whether only columns that it reads go on."""

    def __init__(self, *, model: ModelChoice) -> None:
        if isinstance(model, pl.Expr):
            raise InputError(
                f"{self.kind} looks at many rows at once and cannot have a model for each.",
                hint="Give an alias: model='fast'.",
            )
        self.model, self.fallback = as_choice(model)

    # -- what a subclass says

    @abstractmethod
    def reads(self, schema: pl.Schema) -> frozenset[str]:
        """The columns of the table that it looks at. Raises ColumnNotFound."""

    @abstractmethod
    def after(self, schema: pl.Schema, *others: pl.Schema) -> pl.Schema:
        """The table that comes out. Raises InputError, ColumnNotFound."""

    @abstractmethod
    async def run(self, ask: Ask, table: pl.DataFrame, *others: pl.DataFrame) -> pl.DataFrame:
        """The table that comes out, of schema `after`, in any order of columns.

        `table` has `ROW`, `others` have not. A row that cannot be answered is reported
        (`ask.failed`) and null, or left out. `Stopped` may pass: then nothing comes out."""

    @abstractmethod
    def forecast(
        self, look: Sizes, table: pl.DataFrame, rows: float, *others: tuple[pl.DataFrame, float]
    ) -> Forecast:
        """What `run` would ask on `rows` rows of which `table` is a sample. Asks nothing."""

    @abstractmethod
    def describe(self) -> str:
        """One short line for plans; no prompt text."""

    @property
    def others_asked(self) -> tuple[str, ...]:
        """Aliases besides `model` and what steps in for it: known to exist before the run."""
        return ()

    # -- shared

    def alias(self, ask: Ask) -> str:
        return self.model if isinstance(self.model, str) else ask.default

    def model_name(self, default: str = "default") -> str:
        return self.model if isinstance(self.model, str) else default

    def __repr__(self) -> str:
        return f"<{self.describe()}, model={self.model_name()}>"

    def __bool__(self) -> bool:
        raise InputError(
            f"{self.describe()} is neither true nor false.",
            hint="Give it to a frame: .with_columns(x=…), .group_by(…).agg(x=…), .join(other, …).",
        )


class ColumnOperator(TableOperator):
    """One that gives every row a value: `frame.with_columns(name=…)`. `named(name)` says where it
    goes; `values` replaces `run` and `after`."""

    name: str = ""

    @property
    @abstractmethod
    def dtype(self) -> pl.DataType:
        """The type of the column."""

    @abstractmethod
    async def values(self, ask: Ask, table: pl.DataFrame) -> list[Any] | pl.Series:
        """A value a row."""

    def named(self, name: str) -> ColumnOperator:
        """This operator, for the column `name`."""
        import copy

        made = copy.copy(self)
        made.name = name
        return made

    def after(self, schema: pl.Schema, *others: pl.Schema) -> pl.Schema:
        self.reads(schema)
        return pl.Schema({**schema, self.name: self.dtype})

    async def run(self, ask: Ask, table: pl.DataFrame, *others: pl.DataFrame) -> pl.DataFrame:
        values = await self.values(ask, table)
        return table.with_columns(pl.Series(self.name, values, dtype=self.dtype, strict=False))
