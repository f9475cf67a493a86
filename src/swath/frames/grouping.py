"""`frame.group_by(…)`: groups that wait for what to compute of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import polars as pl

from swath.errors import InputError
from swath.frames import steps
from swath.frames.plan import Ask, Node
from swath.frames.traits import expressions, named_expr, reads
from swath.operators.base import Operator
from swath.operators.reduce import Reduce
from swath.operators.table import TableOperator

if TYPE_CHECKING:
    from swath.frames.frame import Frame

ALL = "__swath_all__"


class GroupBy:
    """Groups in the order in which they first occur."""

    def __init__(self, frame: Frame, keys: list[pl.Expr]) -> None:
        reads(keys, frame.schema)
        self._frame = frame
        self._keys = keys

    def agg(self, *exprs: Any, **named: Any) -> Frame:
        """A row for each group: its keys, Polars expressions, and `sw.reduce(…)` by name."""
        return self._frame.then(*nodes(self._frame.schema, self._keys, exprs, named))

    def len(self, name: str = "len") -> Frame:
        """How many rows each group has."""
        return self.agg(pl.len().alias(name))


def whole_table(frame: Frame, exprs: Sequence[Any], named: Mapping[str, Any]) -> Frame:
    """All rows as one group: one row, also where there are none."""
    made = nodes(frame.schema, [pl.lit(0).alias(ALL)], exprs, named)
    schema = frame.schema
    for node in made:
        schema = node.after(schema)
    return frame.then(*made, steps.drop(schema, [ALL]))


def nodes(
    schema: pl.Schema, keys: Sequence[pl.Expr], exprs: Sequence[Any], named: Mapping[str, Any]
) -> list[Node]:
    """Polars gathers each group's texts in a list, and a model is then asked about the lists."""
    for item in (*exprs, *named.values()):
        if isinstance(item, Reduce) and any(item is one for one in exprs):
            raise InputError(
                f"{item.describe()} needs a name for its column.", hint="Write .agg(name=…)."
            )
        if isinstance(item, Operator | TableOperator) and not isinstance(item, Reduce):
            raise InputError(
                f"{item.describe()} cannot stand in agg.",
                hint="Ask per row first, then aggregate the column; or use sw.reduce(…).",
            )
    aggs = expressions(exprs, "agg")
    aggs += [
        value.gathered(schema).alias(name) if isinstance(value, Reduce) else named_expr(name, value)
        for name, value in named.items()
    ]
    made: list[Node] = [steps.aggregate(schema, keys, aggs)]
    asked = {name: value.over(name) for name, value in named.items() if isinstance(value, Reduce)}
    if asked:
        after = made[0].after(schema)
        read = frozenset[str]().union(*(steps.reads_of(after, op) for op in asked.values()))
        made.append(Ask(tuple(asked.items()), read))
    return made
