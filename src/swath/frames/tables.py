"""What a frame does with whole tables by way of a model. Part of `Frame`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from swath.frames.plan import Plan, Whole
from swath.operators.table import TableOperator

if TYPE_CHECKING:
    from swath.frames.frame import Frame


class Tables:
    """Mixed into `Frame`."""

    __slots__ = ()

    if TYPE_CHECKING:
        then: Callable[..., Frame]

        @property
        def plan(self) -> Plan: ...

    def whole(self, operator: TableOperator, *others: Frame, name: str | None = None) -> Frame:
        """With `operator` over all rows: what the methods below are made of. `name` stands for it
        in errors and the ledger."""
        plans: tuple[Plan, ...] = tuple(other.plan for other in others)
        taken = {known for known, _ in self.plan.operators()}
        name = name or operator.kind
        if name in taken:
            name = next(f"{name}_{i}" for i in range(2, 999) if f"{name}_{i}" not in taken)
        return self.then(Whole.over(self.plan.schema, name, operator, plans))
