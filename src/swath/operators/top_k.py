"""`top_k`: the rows that fit a question best."""

from __future__ import annotations

from typing import Any

from swath.errors import InputError
from swath.operators.ordering import Order, partition, tournament
from swath.operators.rank import Ranking

FEW = 100  # more than so many are found in fewer rounds by parting the rows
MARGIN = 1  # points around the cut in which scores are not trusted


class TopK(Ranking):
    kind = "top_k"

    def __init__(self, k: int, by: str, **settings: Any) -> None:
        if not isinstance(k, int) or k < 1:
            raise InputError(f"top_k takes a number of rows, not {k!r}.", hint="For example 5.")
        super().__init__(by, **settings)
        self.k = k

    def wanted(self, rows: int) -> int:
        return min(self.k, rows)

    def order(self, items: list[int], scores: dict[int, int] | None, most: int) -> Order:
        if scores is not None and len(items) > self.k:
            cut = sorted((scores[item] for item in items), reverse=True)[self.k - 1]
            items = [item for item in items if scores[item] >= cut - MARGIN]
        if self.k <= FEW:
            return lambda rank: tournament(items, self.k, most, rank)
        return lambda rank: partition([items], self.k, most, rank, self.seed)

    def describe(self) -> str:
        return f"top_k({self.k}, {', '.join(dict.fromkeys(self.item.names))})"
