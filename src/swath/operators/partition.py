"""Groups of equal things out of judged pairs, which need not agree with one another.

Connected components chain: one wrong "same" welds two groups. Here each answer is a vote, +1 or -1,
pairs that nobody asked about are 0, and groups are merged as long as the votes between them add up
to more than nothing, the strongest first: greedy additive edge contraction, a heuristic for
correlation clustering (Keuper et al., "Efficient Decomposition of Image and Mesh Graphs by Lifted
Multicuts", ICCV 2015).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from heapq import heapify, heappop, heappush

Pair = tuple[int, int]

CHECKS = 3  # further questions for each member of a group of three or more


def components(n: int, pairs: Iterable[Pair]) -> list[list[int]]:
    """Groups of 0 … n-1 that chains of `pairs` hold together, in order of their first members."""
    parent = list(range(n))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    for i, j in pairs:
        a, b = sorted((root(i), root(j)))
        parent[b] = a
    groups: dict[int, list[int]] = {}
    for i in range(n):
        groups.setdefault(root(i), []).append(i)
    return list(groups.values())


def doubtful(n: int, said: Mapping[Pair, bool]) -> list[Pair]:
    """Pairs to ask about before groups of three or more are believed: those within a component
    that are not judged yet, up to CHECKS for each member, so that every member is looked at."""
    asked: list[Pair] = []
    for group in components(n, (pair for pair, same in said.items() if same)):
        if len(group) < 3:
            continue
        open_ = [
            (i, j) for at, i in enumerate(group) for j in group[at + 1 :] if (i, j) not in said
        ]
        count = dict.fromkeys(group, 0)
        for i, j in open_:
            if count[i] < CHECKS or count[j] < CHECKS:
                count[i] += 1
                count[j] += 1
                asked.append((i, j))
    return asked


def partition(n: int, said: Mapping[Pair, bool]) -> list[int]:
    """The group of each of 0 … n-1, numbered by first occurrence."""
    votes: list[dict[int, int]] = [{} for _ in range(n)]
    for (i, j), same in said.items():
        if i != j:
            votes[i][j] = votes[j][i] = 1 if same else -1
    heap = [(-v, i, j) for i in range(n) for j, v in votes[i].items() if i < j and v > 0]
    heapify(heap)
    group = list(range(n))
    gone: set[int] = set()
    while heap:
        weight, i, j = heappop(heap)
        if i in gone or j in gone or votes[i].get(j) != -weight:
            continue  # a merger has changed it since
        gone.add(j)
        group[j] = i
        for other, vote in votes[j].items():
            if other == i:
                continue
            votes[other].pop(j)
            total = votes[i].get(other, 0) + vote
            votes[i][other] = votes[other][i] = total
            if total > 0:
                a, b = sorted((i, other))
                heappush(heap, (-total, a, b))
        votes[i].pop(j)
        votes[j] = {}
    return _numbered(group)


def _numbered(group: Sequence[int]) -> list[int]:
    numbers: dict[int, int] = {}
    found: list[int] = []
    for i in range(len(group)):
        root = i
        while group[root] != root:
            root = group[root]
        found.append(numbers.setdefault(root, len(numbers)))
    return found
