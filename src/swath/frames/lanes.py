"""What a stage works with: batches under way, questions in lines, and cells that become columns."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import polars as pl

from swath.frames.spool import Batch
from swath.messages import Request

NARROW = 16  # calls at once
UNASKED = object()  # in a cell: the run stopped before its turn
LONG_ROW = 2048  # bytes: a row of twice this counts for two


class Pending:
    """A batch under way: `values[c][r]` fills up, `left` counts the calls that are out. `weight`
    is its rows, or more where they are long."""

    __slots__ = ("batch", "done", "left", "rows", "stopped", "values", "weight")

    def __init__(self, batch: Batch, values: list[list[Any]]) -> None:
        self.batch = batch
        self.values = values
        self.rows = batch.table.height
        self.weight = max(self.rows, int(batch.table.estimated_size()) // LONG_ROW)
        self.left = 0
        self.stopped = False
        self.done: asyncio.Future[None] | None = None

    async def wait(self) -> None:
        if self.left:
            self.done = asyncio.get_running_loop().create_future()
            await self.done

    def settle(self) -> None:
        self.left -= 1
        if not self.left and self.done is not None and not self.done.done():
            self.done.set_result(None)


class Job:
    """One question, and the cells that wait for it."""

    __slots__ = ("cells", "column", "key", "request")

    def __init__(self, column: int, request: Request, key: tuple[Any, ...]) -> None:
        self.column = column
        self.request = request
        self.key = key
        self.cells: list[tuple[Pending, list[int]]] = []


class Pack:
    """Questions of one column that go into one call."""

    __slots__ = ("jobs",)

    def __init__(self, jobs: list[Job]) -> None:
        self.jobs = jobs


class Lane:
    """Calls to one model: at most `width` at once, first come first asked."""

    __slots__ = ("active", "queue", "width")

    def __init__(self, width: int) -> None:
        self.width = width
        self.active = 0
        self.queue: deque[Job | Pack] = deque()


Entry = tuple[int, int, Request, list[int]]
ALIKE = 2000  # characters that prompts must share for a provider to keep them


def alike_together(jobs: list[Entry]) -> list[Entry]:
    """Sorted by prompt, where that brings long equal beginnings together."""
    ordered = sorted(jobs, key=lambda job: (job[1], job[2].messages[-1].content))
    texts = [job[2].messages[-1].content for job in ordered]
    alike = sum(a[:ALIKE] == b[:ALIKE] for a, b in pairwise(texts) if len(a) > ALIKE)
    return ordered if alike > len(jobs) // 4 else jobs


def column_or_failures(
    name: str, cells: list[Any], dtype: pl.DataType, failed: Callable[[int, str], None]
) -> pl.Series:
    """The cells as a column. Values of the right shape that the type cannot hold (a number of 30
    digits) are null, and `failed` is told of them."""
    made = _series(name, cells, dtype)
    if made is not None and made.null_count() == sum(cell is None for cell in cells):
        return made
    for row, cell in enumerate(cells):
        one = _series(name, [cell], dtype)
        if cell is not None and (one is None or one[0] is None):
            cells[row] = None
            failed(row, f"the answer does not fit the column's type, {dtype}.")
    return pl.Series(name, cells, dtype=dtype, strict=False)


def _series(name: str, cells: list[Any], dtype: pl.DataType) -> pl.Series | None:
    try:
        return pl.Series(name, cells, dtype=dtype, strict=False)
    except (pl.exceptions.PolarsError, OverflowError, TypeError):
        return None
