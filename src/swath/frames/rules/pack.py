"""pack: several short rows go into one call, if that does not change the answers.

The instructions are then paid for once for all of them. Whether a model answers alike is tried on
the first rows: see `frames/packing.py`.
"""

from __future__ import annotations

from swath.frames.rules.base import Context, Nodes, marked
from swath.operators.base import Operator


def pack(nodes: Nodes, _: Context) -> tuple[Nodes, list[str]]:
    nodes, names = marked(nodes, _may, _mark)
    what = "short rows go several to a call, if answers to the first of them agree"
    return nodes, [f"{', '.join(names)}: {what}"] if names else []


def _may(operator: Operator) -> bool:
    return operator.single and operator.part is not None and operator.part.exact


def _mark(operator: Operator) -> None:
    operator.packed = True
