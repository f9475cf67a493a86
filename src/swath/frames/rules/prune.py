"""prune: model columns that nothing uses are not asked for."""

from __future__ import annotations

from swath.frames.plan import Ask, Cache, Rows, Step, Udf, Whole
from swath.frames.rules.base import Context, Nodes, part


def prune(nodes: Nodes, context: Context) -> tuple[Nodes, list[str]]:
    needed = set(context.wanted)
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
            node = part(node, columns)
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
