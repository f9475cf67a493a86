"""The optimizer: small named rules over the plan. Each returns the new plan and what it did.

A rule sees only the traits that nodes declare. In the order in which they run:

    prune     model columns that nothing uses are not asked for
    dedupe    the same question in two places is asked once
    pushdown  plain filters go below model calls, so fewer rows are asked about
    limit     what picks rows (limit, tail, sample, sort, unique, semi and anti joins) goes below
              model columns
    order     model conditions before model columns, those first that save most for their price
    merge     model columns over one row are asked for at once
    group     rows whose prompts begin alike are asked one after the other
    fuse      several questions about one text become one           (only where it is switched on)
    pack      several short rows go into one call, if answers agree (only where it is switched on)

None changes a result, but for the last two: they put questions differently, so the user must say
`rules={"fuse": True}`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from swath.errors import InputError, listing
from swath.frames.plan import Plan, Step, Whole
from swath.frames.rules.base import Context, Nodes, Rule
from swath.frames.rules.dedupe import dedupe
from swath.frames.rules.fuse import fuse
from swath.frames.rules.group import group
from swath.frames.rules.merge import merge
from swath.frames.rules.order import order
from swath.frames.rules.pack import pack
from swath.frames.rules.pick import limit, pushdown
from swath.frames.rules.prune import prune
from swath.operators.base import Operator

Cost = Callable[[Operator], float]
Passing = Callable[[Operator], float | None]


@dataclass(frozen=True)
class Done:
    """One thing that a rule did; `saves`, in words, where that was estimated."""

    rule: str
    what: str
    saves: str = ""

    def __str__(self) -> str:
        return f"{self.rule}: {self.what}" + (f"; saves {self.saves}" if self.saves else "")


def optimize(
    plan: Plan,
    rules: Mapping[str, bool] | None = None,
    cost: Cost | None = None,
    passing: Passing | None = None,
) -> tuple[Plan, list[Done]]:
    """`rules` switches rules on and off by name; `cost` compares model conditions (any unit, per
    row), `passing` tells the share of rows that one lets through, where that was measured."""
    flags = dict(rules or {})
    for name in flags:
        if name not in RULES:
            raise InputError(f"There is no rule '{name}'.", hint=listing(RULES, name))
    done: list[Done] = []
    nodes: Nodes = []
    for node in plan.nodes:
        if isinstance(node, Step | Whole) and node.others:
            pairs = [optimize(other, rules, cost, passing) for other in node.others]
            done += [what for _, whats in pairs for what in whats]
            node = replace(node, others=tuple(other for other, _ in pairs))
        nodes.append(node)
    context = Context(
        frozenset(plan.schema), plan, cost or length_cost, passing or (lambda operator: None)
    )
    for name, rule in RULES.items():
        if flags.get(name, name not in ON_REQUEST):
            nodes, whats = rule(nodes, context)
            done += [Done(name, what) for what in whats]
    return plan.with_nodes(tuple(nodes)), done


def length_cost(operator: Operator) -> float:
    """Without prices: a question about fewer columns is taken to be cheaper."""
    request = operator.ask("x", "")
    return float(sum(len(message.content) for message in request.messages))


RULES: dict[str, Rule] = {
    "prune": prune,
    "dedupe": dedupe,
    "pushdown": pushdown,
    "limit": limit,
    "order": order,
    "merge": merge,
    "group": group,
    "fuse": fuse,
    "pack": pack,
}
ON_REQUEST = frozenset({"fuse", "pack"})
