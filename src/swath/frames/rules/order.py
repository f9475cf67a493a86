"""order: model conditions before model columns, and first the one that saves most for its price.

With the cost c of a question and the share p of rows that pass, conditions cost least in the order
of c / (1 - p) (Hellerstein and Stonebraker, "Predicate Migration", SIGMOD 1993).
"""

from __future__ import annotations

from swath.frames.plan import Ask, Keep
from swath.frames.rules.base import Context, Nodes, conflict

HALF = 0.5  # of the rows pass, where nothing is known


def order(nodes: Nodes, context: Context) -> tuple[Nodes, list[str]]:
    out: Nodes = []
    whats: list[str] = []
    run: list[Ask | Keep] = []
    for node in [*nodes, None]:
        if isinstance(node, Ask | Keep):
            run.append(node)
            continue
        arranged = _arrange(run, context)
        if arranged != run:
            whats.append("asked in the order " + ", ".join(_shown(n, context) for n in arranged))
        out += arranged
        run = []
        if node is not None:
            out.append(node)
    return out, whats


def _arrange(run: list[Ask | Keep], context: Context) -> list[Ask | Keep]:
    left = list(run)
    out: list[Ask | Keep] = []

    def free(node: Ask | Keep) -> bool:
        before = left[: left.index(node)]
        return not any(conflict(other, node) for other in before)

    while left:
        keeps = [n for n in left if isinstance(n, Keep)]
        ready = [n for n in keeps if free(n)]
        if ready:
            chosen: Ask | Keep = min(ready, key=lambda n: _rank(n, context))
        elif keeps:
            # The first condition waits for columns: those it rests on come first.
            chosen = next(n for n in left if free(n) and _leads_to(n, keeps[0], left))
        else:
            chosen = left[0]
        left.remove(chosen)
        out.append(chosen)
    return out


def _rank(node: Keep, context: Context) -> float:
    passing = context.passing(node.operator)
    share = HALF if passing is None else passing
    return context.cost(node.operator) / max(1.0 - share, 1e-6)


def _shown(node: Ask | Keep, context: Context) -> str:
    passing = context.passing(node.operator) if isinstance(node, Keep) else None
    return f"[{node}]" + ("" if passing is None else f" ({passing:.0%} of a sample pass)")


def _leads_to(node: Ask | Keep, target: Keep, left: list[Ask | Keep]) -> bool:
    if node is target:
        return True
    later = left[left.index(node) + 1 : left.index(target) + 1] if target in left else []
    return any(conflict(node, n) and _leads_to(n, target, left) for n in later)
