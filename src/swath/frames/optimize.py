"""The optimizer: small named rules over the plan. Each returns the new plan and what it did.

A rule sees only the traits that nodes declare, and none changes a result: the same rows in the
same order, with the same columns. In the order in which they run:

    prune     model columns that nothing uses are not asked for
    dedupe    the same question in two places is asked once
    pushdown  plain filters go below model calls, so fewer rows are asked about
    limit     what picks rows (limit, tail, sample, sort, unique, semi and anti joins) goes below
              model columns
    order     model conditions before model columns, the cheapest first
    merge     model columns over one row are asked for at once
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, replace

import polars as pl

from swath.errors import InputError, listing
from swath.frames.plan import Ask, Cache, Keep, Node, Plan, Rows, Step, Udf, Whole
from swath.operators.base import Operator

Cost = Callable[[Operator], float]


@dataclass(frozen=True)
class Done:
    """One thing that a rule did."""

    rule: str
    what: str

    def __str__(self) -> str:
        return f"{self.rule}: {self.what}"


Nodes = list[Node]
Rule = Callable[[Nodes, frozenset[str], Plan, Cost], tuple[Nodes, list[str]]]
"""(nodes, columns the result must have, the plan, cost of an operator) -> nodes, what was done"""


def optimize(
    plan: Plan, rules: Mapping[str, bool] | None = None, cost: Cost | None = None
) -> tuple[Plan, list[Done]]:
    """`rules` switches rules off by name; `cost` compares model conditions (any unit, per row)."""
    flags = dict(rules or {})
    for name in flags:
        if name not in RULES:
            raise InputError(f"There is no rule '{name}'.", hint=listing(RULES, name))
    done: list[Done] = []
    nodes: Nodes = []
    for node in plan.nodes:
        if isinstance(node, Step | Whole) and node.others:
            pairs = [optimize(other, rules, cost) for other in node.others]
            done += [what for _, whats in pairs for what in whats]
            node = replace(node, others=tuple(other for other, _ in pairs))
        nodes.append(node)
    for name, rule in RULES.items():
        if flags.get(name, True):
            nodes, whats = rule(nodes, frozenset(plan.schema), plan, cost or length_cost)
            done += [Done(name, what) for what in whats]
    return plan.with_nodes(tuple(nodes)), done


def length_cost(operator: Operator) -> float:
    """Without prices: a question about fewer columns is taken to be cheaper."""
    request = operator.ask("x", "")
    return float(sum(len(message.content) for message in request.messages))


# -- prune


def prune(nodes: Nodes, wanted: frozenset[str], _: Plan, __: Cost) -> tuple[Nodes, list[str]]:
    needed = set(wanted)
    kept: Nodes = []
    dropped: list[str] = []
    for i in range(len(nodes) - 1, -1, -1):
        node = nodes[i]
        if isinstance(node, Cache):
            # What is kept there must be all that was asked for.
            return [*nodes[:i], node, *reversed(kept)], _pruned(dropped)
        if isinstance(node, Ask):
            columns = tuple(c for c in node.columns if c[0] in needed)
            dropped += [name for name, _ in node.columns if name not in needed]
            needed -= {name for name, _ in columns}
            if not columns:
                continue
            node = _part(node, columns)
            needed |= node.reads
        elif isinstance(node, Whole | Udf) and node.rows is Rows.SAME and not node.writes & needed:
            dropped += sorted(node.writes)
            continue
        elif isinstance(node, Step) and node.renames:
            back = {new: old for old, new in node.renames.items()}
            needed = {back.get(name, name) for name in needed}
        elif node.projects:
            needed = set(node.reads)
        else:
            needed = (needed - node.writes) | node.reads
        kept.append(node)
    return list(reversed(kept)), _pruned(dropped)


def _pruned(names: list[str]) -> list[str]:
    return [f"'{name}' is used by nothing and is not asked for" for name in reversed(names)]


# -- dedupe


def dedupe(nodes: Nodes, _: frozenset[str], __: Plan, ___: Cost) -> tuple[Nodes, list[str]]:
    out: Nodes = []
    whats: list[str] = []
    known: dict[Hashable, tuple[str, frozenset[str]]] = {}  # signature -> column, what it rests on
    kept: dict[Hashable, frozenset[str]] = {}
    for node in nodes:
        if isinstance(node, Keep):
            sign = node.operator.signature
            if sign in kept:
                whats.append(f"the second {node.operator.describe()} is the first and is left out")
                continue
            if sign in known:
                column = known[sign][0]
                out.append(_mask(column))
                whats.append(f"{node.operator.describe()} is taken from column '{column}'")
                continue
            kept[sign] = node.reads
            out.append(node)
        elif isinstance(node, Ask):
            columns, copies = _split(node, known)
            whats += [f"'{new}' is the same as '{old}' and is asked once" for new, old in copies]
            _forget(known, kept, node.writes)
            if columns:
                out.append(_part(node, columns))
            for name, operator in columns:
                own = operator.roots(node.reads)
                if name not in own:
                    known[operator.signature] = (name, own | {name})
            if copies:
                out.append(_copy(copies))
        else:
            if node.rows is Rows.NEW or node.projects or isinstance(node, Cache):
                known.clear()
                kept.clear()
            else:
                _forget(known, kept, node.writes | node.removes)
            out.append(node)
    return out, whats


def _split(
    node: Ask, known: dict[Hashable, tuple[str, frozenset[str]]]
) -> tuple[tuple[tuple[str, Operator], ...], list[tuple[str, str]]]:
    """The columns of `node` that must be asked, and (new, existing) for those that are copies."""
    columns: list[tuple[str, Operator]] = []
    copies: list[tuple[str, str]] = []
    here: dict[Hashable, str] = {}
    for name, operator in node.columns:
        sign = operator.signature
        before = known.get(sign)
        if sign in here:
            copies.append((name, here[sign]))
        elif before is not None and not (before[1] & node.writes):
            copies.append((name, before[0]))
        else:
            columns.append((name, operator))
            here[sign] = name
    return tuple(columns), copies


def _forget(
    known: dict[Hashable, tuple[str, frozenset[str]]],
    kept: dict[Hashable, frozenset[str]],
    changed: frozenset[str],
) -> None:
    for sign in [s for s, (_, rests) in known.items() if rests & changed]:
        del known[sign]
    for sign in [s for s, rests in kept.items() if rests & changed]:
        del kept[sign]


def _copy(pairs: list[tuple[str, str]]) -> Step:
    exprs = [pl.col(old).alias(new) for new, old in pairs]
    return Step(
        kind="with_columns",
        text=", ".join(f"{new} = {old}" for new, old in pairs),
        apply=lambda table, _: table.with_columns(*exprs),
        reads=frozenset(old for _, old in pairs),
        writes=frozenset(new for new, _ in pairs),
        local=True,
    )


def _mask(column: str) -> Step:
    mask = pl.col(column)
    return Step(
        kind="filter",
        text=column,
        apply=lambda table, _: table.filter(mask),
        reads=frozenset({column}),
        rows=Rows.SUBSET,
        local=True,
        mask=mask,
    )


# -- pushdown and limit: rows are picked before models are asked


def pushdown(nodes: Nodes, _: frozenset[str], __: Plan, ___: Cost) -> tuple[Nodes, list[str]]:
    return _sink(nodes, lambda step: step.kind == "filter" and step.local)


def limit(nodes: Nodes, _: frozenset[str], __: Plan, ___: Cost) -> tuple[Nodes, list[str]]:
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


# -- order


def order(nodes: Nodes, _: frozenset[str], __: Plan, cost: Cost) -> tuple[Nodes, list[str]]:
    out: Nodes = []
    whats: list[str] = []
    run: list[Ask | Keep] = []
    for node in [*nodes, None]:
        if isinstance(node, Ask | Keep):
            run.append(node)
            continue
        arranged = _arrange(run, cost)
        if arranged != run:
            whats.append("asked in the order " + ", ".join(f"[{n}]" for n in arranged))
        out += arranged
        run = []
        if node is not None:
            out.append(node)
    return out, whats


def _arrange(run: list[Ask | Keep], cost: Cost) -> list[Ask | Keep]:
    left = list(run)
    out: list[Ask | Keep] = []

    def free(node: Ask | Keep) -> bool:
        before = left[: left.index(node)]
        return not any(_conflict(other, node) for other in before)

    while left:
        keeps = [n for n in left if isinstance(n, Keep)]
        ready = [n for n in keeps if free(n)]
        if ready:
            chosen: Ask | Keep = min(ready, key=lambda n: cost(n.operator))
        elif keeps:
            # The first condition waits for columns: those it rests on come first.
            chosen = next(n for n in left if free(n) and _leads_to(n, keeps[0], left))
        else:
            chosen = left[0]
        left.remove(chosen)
        out.append(chosen)
    return out


def _leads_to(node: Ask | Keep, target: Keep, left: list[Ask | Keep]) -> bool:
    if node is target:
        return True
    later = left[left.index(node) + 1 : left.index(target) + 1] if target in left else []
    return any(_conflict(node, n) and _leads_to(n, target, left) for n in later)


def _conflict(first: Ask | Keep, second: Ask | Keep) -> bool:
    return bool(
        first.writes & second.reads or first.reads & second.writes or first.writes & second.writes
    )


# -- merge


def merge(nodes: Nodes, _: frozenset[str], __: Plan, ___: Cost) -> tuple[Nodes, list[str]]:
    out: Nodes = []
    whats: list[str] = []
    for node in nodes:
        last = out[-1] if out else None
        if isinstance(node, Ask) and isinstance(last, Ask) and not _conflict(last, node):
            node = Ask((*last.columns, *node.columns), last.reads | node.reads)
            out[-1] = node
        else:
            out.append(node)
    for node in out:
        if isinstance(node, Ask) and len(node.columns) > 1:
            names = ", ".join(f"'{name}'" for name, _ in node.columns)
            whats.append(f"{names} are asked for at once")
    return out, whats


def _part(node: Ask, columns: tuple[tuple[str, Operator], ...]) -> Ask:
    """`node` with some of its columns only."""
    names: set[str] = set()
    for _, operator in columns:
        names |= operator.roots(node.reads)
    return Ask(columns, frozenset(names))


RULES: dict[str, Rule] = {
    "prune": prune,
    "dedupe": dedupe,
    "pushdown": pushdown,
    "limit": limit,
    "order": order,
    "merge": merge,
}
