"""group: rows whose prompts begin alike are asked one after the other.

Providers keep the beginnings of prompts for some minutes and charge a part of the price for them. A
template of several columns may begin with one that repeats (a policy, a document, a customer's
history): the stage then sorts each batch by its prompts. Rows come out in their order all the same.
"""

from __future__ import annotations

import copy

from swath.frames.plan import Ask, Keep
from swath.frames.rules.base import Context, Nodes
from swath.operators.base import Operator
from swath.operators.template import Template


def group(nodes: Nodes, _: Context) -> tuple[Nodes, list[str]]:
    out: Nodes = []
    names: list[str] = []
    for node in nodes:
        if isinstance(node, Ask | Keep) and any(_may(o) for _, o in node.columns):
            names += [f"'{name}'" for name, operator in node.columns if _may(operator)]
            columns = tuple((name, _grouped(operator)) for name, operator in node.columns)
            if isinstance(node, Keep):
                node = Keep(node.name, columns[0][1], node.reads)
            else:
                node = Ask(columns, node.reads)
        out.append(node)
    what = "where prompts of one batch begin alike, they are asked in a row"
    return out, [f"{', '.join(names)}: {what}"] if names else []


def _may(operator: Operator) -> bool:
    """A template that begins with its first of several columns, or nearly so."""
    return isinstance(operator.text, Template) and len(operator.text.names) > 1


def _grouped(operator: Operator) -> Operator:
    if not _may(operator):
        return operator
    made = copy.copy(operator)
    made.grouped = True
    return made
