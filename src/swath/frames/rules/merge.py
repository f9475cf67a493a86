"""merge: model columns over one row are asked for at once."""

from __future__ import annotations

from swath.frames.plan import Ask
from swath.frames.rules.base import Context, Nodes, conflict


def merge(nodes: Nodes, _: Context) -> tuple[Nodes, list[str]]:
    out: Nodes = []
    whats: list[str] = []
    for node in nodes:
        last = out[-1] if out else None
        if isinstance(node, Ask) and isinstance(last, Ask) and not conflict(last, node):
            node = Ask((*last.columns, *node.columns), last.reads | node.reads)
            out[-1] = node
        else:
            out.append(node)
    for node in out:
        if isinstance(node, Ask) and len(node.columns) > 1:
            names = ", ".join(f"'{name}'" for name, _ in node.columns)
            whats.append(f"{names} are asked for at once")
    return out, whats
