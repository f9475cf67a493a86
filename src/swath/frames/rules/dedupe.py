"""dedupe: the same question in two places is asked once."""

from __future__ import annotations

from collections.abc import Hashable

import polars as pl

from swath.frames.plan import Ask, Cache, Keep, Rows, Step
from swath.frames.rules.base import Context, Nodes, part
from swath.operators.base import Operator


def dedupe(nodes: Nodes, _: Context) -> tuple[Nodes, list[str]]:
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
                out.append(part(node, columns))
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
