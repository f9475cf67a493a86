"""fuse: several questions about one text to one model become one, which reads the text once."""

from __future__ import annotations

from collections.abc import Hashable

import polars as pl

from swath.frames.plan import Ask, Step
from swath.frames.rules.base import Context, Nodes, part
from swath.operators.base import Operator
from swath.operators.fused import Fused


def fuse(nodes: Nodes, _: Context) -> tuple[Nodes, list[str]]:
    out: Nodes = []
    whats: list[str] = []
    for node in nodes:
        out.append(node)
        if not isinstance(node, Ask):
            continue
        groups: dict[Hashable, list[tuple[str, Operator]]] = {}
        for name, operator in node.columns:
            if operator.part is not None:
                groups.setdefault(_key(operator), []).append((name, operator))
        for together in groups.values():
            if len(together) < 2:
                continue
            fused = Fused(together)
            alias = ", ".join(name for name, _ in together)
            names = {name for name, _ in together}
            at = next(i for i in range(len(out) - 1, -1, -1) if isinstance(out[i], Ask))
            asked = out[at]
            assert isinstance(asked, Ask)
            rest = tuple(c for c in asked.columns if c[0] not in names)
            out[at] = part(asked, (*rest, (alias, fused)))
            out.append(_apart(alias, list(names)))
            whats.append(f"'{alias}' are asked for in one question")
    return out, whats


def _key(operator: Operator) -> Hashable:
    assert operator.part is not None
    return (
        operator.part.column,
        operator.model if isinstance(operator.model, str | None) else id(operator.model),
        operator.fallback,
        operator.temperature,
        operator.max_tokens,
    )


def _apart(alias: str, names: list[str]) -> Step:
    """The fields of the one answer as the columns that were asked for."""
    fields = [pl.col(alias).struct.field(name).alias(name) for name in names]
    return Step(
        kind="with_columns",
        text=", ".join(names),
        apply=lambda table, _: table.with_columns(fields).drop(alias),
        reads=frozenset({alias}),
        writes=frozenset(names),
        removes=frozenset({alias}),
        local=True,
    )
