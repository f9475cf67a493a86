"""group: rows whose prompts begin alike are asked one after the other.

Providers keep the beginnings of prompts for some minutes and charge a part of the price for them. A
template of several columns may begin with one that repeats (a policy, a document, a customer's
history): the stage then sorts each batch by its prompts. Rows come out in their order all the same.
"""

from __future__ import annotations

from swath.frames.rules.base import Context, Nodes, marked
from swath.operators.base import Operator
from swath.operators.template import Template


def group(nodes: Nodes, _: Context) -> tuple[Nodes, list[str]]:
    nodes, names = marked(nodes, _may, _mark)
    what = "where prompts of one batch begin alike, they are asked in a row"
    return nodes, [f"{', '.join(names)}: {what}"] if names else []


def _may(operator: Operator) -> bool:
    """A template that begins with its first of several columns, or nearly so."""
    return isinstance(operator.text, Template) and len(operator.text.names) > 1


def _mark(operator: Operator) -> None:
    operator.grouped = True
