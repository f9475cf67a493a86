"""`frame.group_by(…)`: groups that wait for what to compute of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl

from swath.errors import InputError
from swath.frames import steps
from swath.frames.traits import expressions, named_expr, reads
from swath.operators.base import Operator

if TYPE_CHECKING:
    from swath.frames.frame import Frame


class GroupBy:
    """Groups in the order in which they first occur."""

    def __init__(self, frame: Frame, keys: list[pl.Expr]) -> None:
        reads(keys, frame.schema)
        self._frame = frame
        self._keys = keys

    def agg(self, *exprs: Any, **named: Any) -> Frame:
        """A row for each group: its keys, and these Polars expressions."""
        for item in (*exprs, *named.values()):
            if isinstance(item, Operator):
                raise InputError(
                    f"{item.describe()} looks at one row and cannot stand in agg.",
                    hint="Ask per row first, then aggregate the column.",
                )
        aggs = expressions(exprs, "agg")
        aggs += [named_expr(name, value) for name, value in named.items()]
        return self._frame.then(steps.aggregate(self._frame.schema, self._keys, aggs))

    def len(self, name: str = "len") -> Frame:
        """How many rows each group has."""
        return self.agg(pl.len().alias(name))
