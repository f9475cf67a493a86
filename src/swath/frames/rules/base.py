"""What a rule is, and what several of them use."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

from swath.frames.plan import Ask, Keep, Node, Plan
from swath.operators.base import Operator

Nodes = list[Node]


@dataclass(frozen=True)
class Context:
    """What rules may know besides the nodes: `wanted` are the columns that the result must have;
    `cost` is that of a question, in any unit; `passing` the share of rows for which a condition
    holds, where that was measured."""

    wanted: frozenset[str]
    plan: Plan
    cost: Callable[[Operator], float]
    passing: Callable[[Operator], float | None]


Rule = Callable[[Nodes, Context], tuple[Nodes, list[str]]]
"""nodes -> nodes, and what was done, a line each"""


def part(node: Ask, columns: tuple[tuple[str, Operator], ...]) -> Ask:
    """`node` with some of its columns only."""
    names: set[str] = set()
    for _, operator in columns:
        names |= operator.roots(node.reads)
    return Ask(columns, frozenset(names))


def conflict(first: Ask | Keep, second: Ask | Keep) -> bool:
    """Whether one looks at or makes what the other makes."""
    return bool(
        first.writes & second.reads or first.reads & second.writes or first.writes & second.writes
    )


def marked(
    nodes: Nodes, may: Callable[[Operator], bool], mark: Callable[[Operator], None]
) -> tuple[Nodes, list[str]]:
    """The nodes with `mark` set on a copy of each operator that `may` have it, and their names."""
    names: list[str] = []

    def changed(name: str, operator: Operator) -> Operator:
        if not may(operator):
            return operator
        names.append(f"'{name}'")
        made = copy.copy(operator)
        mark(made)
        return made

    out: Nodes = []
    for node in nodes:
        if isinstance(node, Keep):
            out.append(Keep(node.name, changed(node.name, node.operator), node.reads))
        elif isinstance(node, Ask):
            columns = tuple((name, changed(name, operator)) for name, operator in node.columns)
            out.append(Ask(columns, node.reads))
        else:
            out.append(node)
    return (out, names) if names else (nodes, [])
