"""`Threads`: what each row goes back to, where every row names at most one that it answers."""

from __future__ import annotations

import polars as pl

from swath.operators.asking import Ask, Sizes
from swath.operators.table import Forecast, TableOperator
from swath.operators.template import missing

NAME = "thread"


class Threads(TableOperator):
    """The column `thread`: the `id` that a chain of `parent`s ends in. Asks no model."""

    kind = "threads"

    def __init__(self, id: str, parent: str) -> None:
        super().__init__(model=None)
        self.id, self.parent = id, parent

    def reads(self, schema: pl.Schema) -> frozenset[str]:
        for name in (self.id, self.parent):
            if name not in schema:
                raise missing(name, schema.names())
        return frozenset({self.id, self.parent})

    def after(self, schema: pl.Schema, *others: pl.Schema) -> pl.Schema:
        self.reads(schema)
        return pl.Schema({**schema, NAME: schema[self.id]})

    async def run(self, ask: Ask, table: pl.DataFrame, *others: pl.DataFrame) -> pl.DataFrame:
        parents = dict(table.select(self.id, self.parent).iter_rows())
        found = []
        for start in table[self.id]:
            here, seen = start, set()
            while (above := parents.get(here)) is not None and here not in seen:
                seen.add(here)
                here = above
            found.append(here)
        return table.with_columns(pl.Series(NAME, found, dtype=table.schema[self.id]))

    def forecast(
        self, look: Sizes, table: pl.DataFrame, rows: float, *others: tuple[pl.DataFrame, float]
    ) -> Forecast:
        return Forecast(rows=rows)

    def describe(self) -> str:
        return f"threads({self.parent})"
