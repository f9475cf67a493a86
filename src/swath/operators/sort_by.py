"""`sort_by`: all rows by how well they fit a question."""

from __future__ import annotations

from typing import Any

from swath.operators.ordering import Order, partition
from swath.operators.rank import Ranking


class SortBy(Ranking):
    kind = "sort_by"

    def __init__(self, by: str, *, descending: bool, **settings: Any) -> None:
        super().__init__(by, **settings)
        self.worst_first = not descending

    def wanted(self, rows: int) -> int:
        return rows

    def order(self, items: list[int], scores: dict[int, int] | None, most: int) -> Order:
        parts = [items]
        if scores is not None:
            parts = [[i for i in items if scores[i] == score] for score in range(10, -1, -1)]
        return lambda rank: partition(parts, len(items), most, rank, self.seed)
