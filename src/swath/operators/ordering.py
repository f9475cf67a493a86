"""Order from few comparisons: which groups of items to compare, whoever compares them.

A comparison puts a small group in order. Asking for several at once tells more than as many pairs
do, for one call ("setwise" prompting: Zhuang et al., SIGIR 2024). All groups of a round are asked
about together.

No answer can contradict an earlier one here: only items whose order is open are compared. So the
result is an order of the items whatever is answered, and the right one where answers are right.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from itertools import pairwise
from random import Random

Rank = Callable[[list[list[int]]], Awaitable[list[list[int]]]]
"""Groups in, the same groups best first. An item that cannot be compared is left out."""

Order = Callable[[Rank], Awaitable[list[int]]]
"""Items in order, by way of who compares them."""


def dealt(items: Sequence[int], most: int) -> list[list[int]]:
    """Groups of `most` items; the last takes what is left."""
    return [list(items[at : at + most]) for at in range(0, len(items), most)]


async def tournament(items: Sequence[int], k: int, most: int, rank: Rank) -> list[int]:
    """The best `k` of `items` in order: about n/(most - 1) + k log n calls, in about k rounds.

    Each answer hangs the items of a group below one another; those below none go on. The next best
    is then among those that hang directly below the best."""
    below: dict[int, list[int]] = {item: [] for item in items}
    tops = list(items)
    best: list[int] = []
    while tops and len(best) < k:
        while len(tops) > 1:
            groups = dealt(tops, most)
            byes = groups.pop() if len(groups[-1]) == 1 else []
            tops = byes
            for group, order in zip(groups, await rank(groups), strict=True):
                for over, under in pairwise(order):
                    below[over].append(under)
                tops += order[:1]
                for lost in set(group) - set(order):
                    tops += below.pop(lost)
        if tops:
            best.append(tops.pop())
            tops = below[best[-1]]
    return best


async def partition(
    parts: Sequence[Sequence[int]], k: int, most: int, rank: Rank, seed: int
) -> list[int]:
    """The best `k` of `parts` in order, where each part is better than the next: a quicksort that
    leaves alone what lies beyond place `k`. About n log n / (most - 1) calls, in log n rounds."""
    draw = Random(seed)
    # (is in order, items)
    row = [(len(part) < 2, list(part)) for part in parts if part]
    while True:
        due: list[int] = []
        place = 0
        for i, (settled, part) in enumerate(row):
            if not settled and place < k:
                due.append(i)
            place += len(part)
        if not due:
            return [item for _, part in row for item in part][:k]
        small = [i for i in due if len(row[i][1]) <= most]
        large = [i for i in due if len(row[i][1]) > most]
        # A pivot is the middle of a few; a pair has none.
        few = [draw.sample(row[i][1], most if most > 2 else 1) for i in large]
        asked = [row[i][1] for i in small] + [group for group in few if len(group) > 1]
        orders = await rank(asked) if asked else []
        made: dict[int, list[tuple[bool, list[int]]]] = {}
        for i, order in zip(small, orders, strict=False):
            made[i] = [(True, order)]
        ranked = orders[len(small) :] if most > 2 else few
        made |= await _split([row[i][1] for i in large], large, few, ranked, most, rank)
        row = [piece for i, old in enumerate(row) for piece in made.get(i, [old]) if piece[1]]


async def _split(
    parts: list[list[int]],
    places: list[int],
    few: list[list[int]],
    ranked: list[list[int]],
    most: int,
    rank: Rank,
) -> dict[int, list[tuple[bool, list[int]]]]:
    """Each part as what is above its pivot, the pivot, and what is below."""
    groups: list[list[int]] = []
    of: list[int] = []  # which part a group is from
    for p, (part, drawn, order) in enumerate(zip(parts, few, ranked, strict=True)):
        if not order:
            continue
        known = set(drawn)
        pivot = order[len(order) // 2]
        rest = [item for item in part if item not in known]
        for others in dealt(rest, most - 1):
            groups.append([pivot, *others])
            of.append(p)
    above: list[list[int]] = [order[: len(order) // 2] for order in ranked]
    below: list[list[int]] = [order[len(order) // 2 + 1 :] for order in ranked]
    without: dict[int, list[int]] = {}  # of parts that lost their pivot
    for p, group, order in zip(of, groups, await rank(groups) if groups else [], strict=True):
        pivot = group[0]
        if pivot in order:
            above[p] += order[: order.index(pivot)]
            below[p] += order[order.index(pivot) + 1 :]
        else:
            without[p] = without.get(p, []) + order
    made: dict[int, list[tuple[bool, list[int]]]] = {}
    for p, place in enumerate(places):
        if not ranked[p]:  # none of the few could be compared
            left = [item for item in parts[p] if item not in set(few[p])]
            made[place] = [(len(left) < 2, left)]
        elif p in without:  # what the pivot told before its loss is not relied on
            left = above[p] + below[p] + without[p]
            made[place] = [(len(left) < 2, left)]
        else:
            pivot = ranked[p][len(ranked[p]) // 2]
            made[place] = [
                (len(above[p]) < 2, above[p]),
                (True, [pivot]),
                (len(below[p]) < 2, below[p]),
            ]
    return made


def simulated(order: Order, truth: Sequence[int]) -> list[list[int]]:
    """The groups that `order` would compare if `truth[i]` were item i's place. Nothing is awaited:
    such a rank answers at once."""
    seen: list[list[int]] = []

    async def rank(groups: list[list[int]]) -> list[list[int]]:
        seen.extend(groups)
        return [sorted(group, key=truth.__getitem__) for group in groups]

    work = order(rank).__await__()
    try:
        next(work)
    except StopIteration:
        return seen
    raise AssertionError("an order that waits for more than its rank")
