"""The best ten of many: calls and quality. `python -m benchmarks.ranking`

Each text has a true value. The pretended model sees it with noise, drawn anew for each text of each
question, as a model's judgement varies with what stands beside it; it then answers in good faith.
Beside `top_k`: asking about all pairs, a quick-select of pairs (what LOTUS does by default) and a
heap of pairs (its other way). All are asked the same question by the same judge.

    calls      model calls
    recall     share of the true best ten that came out
    rounds     calls one after the other, with no limit to how many are asked at once

To add a contender: a function of (judge, n, k, seed) that gives the places in order, in CONTENDERS.
"""

from __future__ import annotations

import argparse
import asyncio
import heapq
import json
import random
import re
import statistics
import tempfile
from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import Any

from benchmarks import _report

QUESTION = "Which ticket is more urgent?"


class Judge:
    """Values are spread evenly over 0 to 1; `noise` is the deviation of how one is seen."""

    def __init__(self, n: int, noise: float, seed: int) -> None:
        self.values = random.Random(seed).sample([i / n for i in range(n)], n)
        self.noise = noise
        self.calls = 0
        self.rounds = 0
        self.places = sorted(range(n), key=lambda i: -self.values[i])

    def order(self, items: Sequence[int]) -> list[int]:
        """Positions in `items`, the best first. The same question gets the same answer."""
        self.calls += 1
        said = blake2b(repr((list(items), self.values[:3])).encode(), digest_size=8).digest()
        draw = random.Random(said)
        seen = [self.values[i] + draw.gauss(0, self.noise) for i in items]
        return sorted(range(len(items)), key=lambda place: -seen[place])

    def better(self, a: int, b: int) -> bool:
        return self.order([a, b])[0] == 0

    def score(self, item: int) -> int:
        self.calls += 1
        draw = random.Random(blake2b(f"{item} {self.values[:3]}".encode(), digest_size=8).digest())
        return round(10 * min(max(self.values[item] + draw.gauss(0, self.noise), 0), 1))


def top_k(items_per_call: int, pointwise: bool = False) -> Callable[..., list[int]]:
    """Swath's own, over a server that answers as the judge does."""

    def contender(judge: Judge, n: int, k: int, seed: int) -> list[int]:
        import polars as pl

        import swath as sw
        from tests.servers import OpenAIServer, serve

        def respond(said: str, body: dict[str, Any]) -> str:
            items = [int(found) for found in re.findall(r"ticket (\d+)", said)]
            if len(items) == 1:
                return str(judge.score(items[0]))
            order = [place + 1 for place in judge.order(items)]
            return str(order[0]) if len(items) == 2 else json.dumps({"order": order})

        with serve(OpenAIServer(respond=respond)) as server, tempfile.TemporaryDirectory() as at:
            model = {"provider": "openai", "model": "m", "base_url": server.base_url}
            config = {"models": {"m": model}, "store": f"sqlite:///{at}/swath.db"}
            with sw.Session(config, check=False) as session:
                table = pl.DataFrame({"text": [f"ticket {i}" for i in range(n)], "i": range(n)})
                frame = sw.frame(table).top_k(
                    k,
                    by=QUESTION + "\n{text}",
                    items_per_call=items_per_call,
                    pointwise=pointwise,
                    seed=seed,
                )
                found: list[int] = frame.collect(session=session, progress=False)["i"].to_list()
        judge.rounds = rounds(judge, n, k, items_per_call, seed) if not pointwise else 0
        return found

    return contender


def rounds(judge: Judge, n: int, k: int, most: int, seed: int) -> int:
    """How often the same order waits for answers."""
    from swath.operators.ordering import tournament

    count = 0

    async def rank(groups: list[list[int]]) -> list[list[int]]:
        nonlocal count
        count += 1
        return [sorted(group, key=lambda i: -judge.values[i]) for group in groups]

    asyncio.run(tournament(random.Random(seed).sample(range(n), n), k, most, rank))
    return count


def all_pairs(judge: Judge, n: int, k: int, seed: int) -> list[int]:
    wins = [0] * n
    for a in range(n):
        for b in range(a + 1, n):
            wins[a if judge.better(a, b) else b] += 1
    judge.rounds = 1
    return sorted(range(n), key=lambda i: -wins[i])[:k]


def quick_select(judge: Judge, n: int, k: int, seed: int) -> list[int]:
    """Partition by a pivot drawn at random, then only what reaches into the first `k`."""
    draw = random.Random(seed)

    def sort(items: list[int], wanted: int, depth: int) -> list[int]:
        if len(items) < 2 or wanted < 1:
            return items
        judge.rounds = max(judge.rounds, depth)
        pivot = draw.choice(items)
        above, below = [], []
        for item in items:
            if item != pivot:
                (above if judge.better(item, pivot) else below).append(item)
        best = [*sort(above, wanted, depth + 1), pivot]
        return [*best, *sort(below, wanted - len(best), depth + 1)]

    return sort(list(range(n)), k, 1)[:k]


def heap(judge: Judge, n: int, k: int, seed: int) -> list[int]:
    class Item:
        def __init__(self, place: int) -> None:
            self.place = place

        def __lt__(self, other: Item) -> bool:
            return judge.better(self.place, other.place)

    found = [item.place for item in heapq.nsmallest(k, map(Item, range(n)))]
    judge.rounds = judge.calls  # each waits for the one before
    return found


CONTENDERS: dict[str, Callable[..., list[int]]] = {
    "all pairs": all_pairs,
    "quick-select of pairs (LOTUS)": quick_select,
    "heap of pairs (LOTUS)": heap,
    "swath, pairs": top_k(2),
    "swath, 4 a call (default)": top_k(4),
    "swath, 8 a call": top_k(8),
    "swath, scores then 4 a call": top_k(4, pointwise=True),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[100, 300])
    parser.add_argument("--k", type=int, default=10)
    parser.add_argument("--noise", type=float, nargs="+", default=[0.0, 0.02, 0.1])
    parser.add_argument("--repeat", type=int, default=5, help="tables, of which the mean counts")
    args = parser.parse_args()
    _report.heading(
        f"The best {args.k} of many",
        _report.machine(),
        _report.versions("swath", "polars"),
        f"mean of {args.repeat} tables; noise is the deviation of how a value of 0 to 1 is seen",
    )
    for n in args.rows:
        lines = []
        for name, contender in CONTENDERS.items():
            line: list[Any] = [name]
            for noise in args.noise:
                judges = [Judge(n, noise, seed) for seed in range(args.repeat)]
                recalls = []
                for seed, judge in enumerate(judges):
                    found = contender(judge, n, args.k, seed)
                    recalls.append(len(set(found) & set(judge.places[: args.k])) / args.k)
                if noise == args.noise[0]:
                    line.append(f"{statistics.mean(j.calls for j in judges):,.0f}")
                    waits = statistics.mean(j.rounds for j in judges)
                    line.append(f"{waits:,.0f}" if waits else "")
                line.append(f"{statistics.mean(recalls):.0%}")
            lines.append(tuple(line))
        print(f"\n{n} rows")
        heads = [f"recall, noise {noise:g}" for noise in args.noise]
        _report.table(["contender", "calls", "rounds", *heads], lines)


if __name__ == "__main__":
    main()
