"""What share of rows a model's conditions let through, measured on a sample of the source.

Conditions that may be asked in any order are best asked in the order of cost over the share that
they drop. From stored answers that share can be read without asking; a run over many rows asks the
sample first, whose answers count for the run like any other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING

import polars as pl

from swath.engine.shape import Invalid
from swath.errors import ProviderError
from swath.frames.plan import Ask, Keep, Plan, Step
from swath.frames.survey import count
from swath.messages import Completion, Request
from swath.operators.base import Operator

if TYPE_CHECKING:
    from swath.engine.engine import Engine
    from swath.frames.run_local import Execution

SAMPLE = 32  # rows that are asked about
WORTH = 20 * SAMPLE  # rows from which on asking a sample pays
LOOKED_AT = 200  # rows whose answers are looked up
SEED = 0
ENOUGH = 8  # answers that tell something


class Sampled:
    """The conditions of a plan that may change places, and some rows that reach them."""

    def __init__(self, plan: Plan) -> None:
        table = plan.source.table
        nodes = list(plan.nodes)
        while nodes and isinstance(step := nodes[0], Step) and not step.others:
            table = step.apply(table, [])
            nodes.pop(0)
        self.table = table
        self.conditions: list[Operator] = []
        have = frozenset(table.collect_schema().names())
        for node in nodes:
            if not isinstance(node, Ask | Keep):
                break
            if isinstance(node, Keep) and node.operator.single and node.reads <= have:
                self.conditions.append(node.operator)

    @property
    def useful(self) -> bool:
        return len(self.conditions) > 1

    def read(self, wanted: int) -> tuple[pl.DataFrame, int | None]:
        """Rows drawn from the table (the same each time), and how many it has. Where counting takes
        long, its first rows."""
        rows = count(self.table, patience=1.0)
        table = self.table
        if rows is not None:
            table = table.filter(pl.int_range(pl.len()).shuffle(seed=SEED) < wanted)
        return table.head(wanted).collect(engine="streaming"), rows


def stored(
    engine: Engine, sampled: Sampled, table: pl.DataFrame, default: str
) -> dict[Operator, float]:
    """Shares as far as answers in the store tell. On the engine's loop."""
    known: dict[Operator, float] = {}
    for operator in sampled.conditions:
        requests = [r for r in operator.requests(table, default) if r is not None]
        share = _share(operator, engine.lookup(requests))
        if share is not None:
            known[operator] = share
    return known


async def measured(execution: Execution, plan: Plan) -> Mapping[Operator, float]:
    """Shares for a run, asking about a sample where that pays. Raises Stopped."""
    from swath.frames.asking import Asker

    sampled = Sampled(plan)
    if not sampled.useful:
        return {}
    table, rows = await asyncio.to_thread(sampled.read, LOOKED_AT)
    known = stored(execution.engine, sampled, table, execution.default_model)
    if rows is None or rows < WORTH:
        return known
    few = table.sample(min(SAMPLE, table.height), seed=SEED)
    for operator in sampled.conditions:
        if operator in known:
            continue
        asker = Asker(execution, operator.kind)
        requests: list[Request | None] = list(operator.requests(few, execution.default_model))
        replies = await asker.many(requests, operator.check, operator.fallback)
        share = _share(operator, [r if isinstance(r, Completion) else None for r in replies])
        if share is not None:
            known[operator] = share
    return known


def _share(operator: Operator, replies: list[Completion | None]) -> float | None:
    passed = told = 0
    for reply in replies:
        if reply is None:
            continue
        try:
            passed += bool(operator.value(reply))
            told += 1
        except (Invalid, ProviderError):
            continue
    return passed / told if told >= ENOUGH else None
