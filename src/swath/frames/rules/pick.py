"""pushdown and limit: rows are picked before models are asked about them.

pushdown  plain filters go below model calls
limit     what else picks rows (limit, tail, sample, sort, unique, semi and anti joins) goes
          below model columns
"""

from __future__ import annotations

from collections.abc import Callable

from swath.frames.plan import Ask, Cache, Keep, Node, Rows, Step, Udf, Whole
from swath.frames.rules.base import Context, Nodes


def pushdown(nodes: Nodes, _: Context) -> tuple[Nodes, list[str]]:
    return _sink(nodes, lambda step: step.kind == "filter" and step.local)


def limit(nodes: Nodes, _: Context) -> tuple[Nodes, list[str]]:
    return _sink(nodes, lambda step: step.rows is Rows.SUBSET and not step.local)


def _sink(nodes: Nodes, which: Callable[[Step], bool]) -> tuple[Nodes, list[str]]:
    """Each step that picks rows goes as far down as it may, if that takes it below a model call;
    plain columns that it rests on go with it."""
    nodes = list(nodes)
    whats: list[str] = []
    for step in [n for n in nodes if isinstance(n, Step) and which(n)]:
        at = nodes.index(step)
        group: list[Step] = [step]
        others: Nodes = []  # what was passed, in order
        best: tuple[int, list[Step], Nodes, int] | None = None
        asked = 0
        for place in range(at - 1, -1, -1):
            node = nodes[place]
            if all(_passes(member, node) for member in group):
                others.insert(0, node)
                if isinstance(node, Ask | Keep | Udf):
                    asked += 1
                    best = (place, list(group), list(others), asked)
            elif _companion(node, group):
                assert isinstance(node, Step)
                group.insert(0, node)
            else:
                break
        if best is not None:
            place, group, others, asked = best
            nodes[place : at + 1] = [*group, *others]
            calls = [str(n) for n in others if isinstance(n, Ask | Keep | Udf)]
            whats.append(f"[{step}] goes below [{'], ['.join(calls)}]")
    return nodes, whats


def _passes(step: Step, node: Node) -> bool:
    """Whether `step`, now after `node`, may as well come before it."""
    if isinstance(node, Cache | Whole) or node.rows is Rows.NEW or step.rows is Rows.NEW:
        return False
    if step.reads & node.writes or step.writes & (node.reads | node.writes):
        return False
    if step.rows is Rows.SAME:
        # A plain column that travels with a filter.
        if isinstance(node, Ask | Udf):
            return True
        if isinstance(node, Keep):
            return step.local
        return node.kind == "with_columns" and node.local and step.local
    if isinstance(node, Ask | Udf):
        return True
    if node.rows is Rows.SUBSET:
        # Two filters commute, and a filter with a (stable) sort; nothing else that counts rows.
        calm = isinstance(node, Keep) or node.local or node.kind == "sort"
        return step.local and calm
    return isinstance(node, Step) and node.local


def _companion(node: Node, group: list[Step]) -> bool:
    """A plain column that the group reads, and that can travel with it."""
    return (
        isinstance(node, Step)
        and node.kind == "with_columns"
        and node.local
        and not node.wild
        and any(member.reads & node.writes for member in group)
    )
