"""pack: several short rows go into one call, if that does not change the answers.

The instructions are then paid for once for all of them. Whether a model answers alike is tried on
the first rows: see `frames/packing.py`.
"""

from __future__ import annotations

import copy

from swath.frames.plan import Ask, Keep
from swath.frames.rules.base import Context, Nodes
from swath.operators.base import Operator


def pack(nodes: Nodes, _: Context) -> tuple[Nodes, list[str]]:
    out: Nodes = []
    names: list[str] = []
    for node in nodes:
        if isinstance(node, Ask | Keep) and any(_may(o) for _, o in node.columns):
            names += [f"'{name}'" for name, operator in node.columns if _may(operator)]
            columns = tuple((name, _packed(operator)) for name, operator in node.columns)
            if isinstance(node, Keep):
                node = Keep(node.name, columns[0][1], node.reads)
            else:
                node = Ask(columns, node.reads)
        out.append(node)
    what = "short rows go several to a call, if answers to the first of them agree"
    return out, [f"{', '.join(names)}: {what}"] if names else []


def _may(operator: Operator) -> bool:
    return operator.single and operator.part is not None and operator.part.exact


def _packed(operator: Operator) -> Operator:
    if not _may(operator):
        return operator
    made = copy.copy(operator)
    made.packed = True
    return made
