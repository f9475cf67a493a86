"""The stage of the user's own async functions: like a model's `Stage`, without a model."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import polars as pl
from pydantic import BaseModel

from swath.frames.lanes import NARROW, UNASKED, Pending, column_or_failures
from swath.frames.plan import Udf
from swath.frames.spool import Batch

if TYPE_CHECKING:
    from swath.frames.run_local import Execution

KIND = "udf"
REASON = 200  # characters of an exception's message that are kept


class Calling:
    def __init__(self, execution: Execution, node: Udf, *, entry: bool) -> None:
        self.name = node.name
        self.call = node.call
        self.udf = node.call.udf
        self.execution = execution
        self.progress = execution.progress.stage([node.name], entry=entry)
        self.width = self.udf.max_concurrency
        self.ahead = min(max(128 * self.width, 2048), 65536)
        self._gate = asyncio.Semaphore(self.width)
        self._abandoned = False

    def begin(self, batch: Batch) -> list[Pending]:
        """As `Stage.begin`."""
        size = 1 if self.width <= NARROW else min(4 * self.width, 1024)
        rows = batch.table.select(self.call.arguments).rows()
        self.progress.rows(len(rows))
        pieces = [
            Pending(batch.slice(at, size), [[None] * len(rows[at : at + size])])
            for at in range(0, len(rows), size)
        ]
        for row, arguments in enumerate(rows):
            if any(value is None for value in arguments):
                continue
            piece = pieces[row // size]
            piece.left += 1
            self.execution.spawn(self._fill(piece, row % size, arguments))
        for piece in pieces:
            if not piece.left:
                self.progress.done(piece.rows)
        return pieces

    def finish(self, pending: Pending) -> Batch:
        batch, cells = pending.batch, pending.values[0]
        if pending.stopped:
            called = [cell is not UNASKED for cell in cells]
            batch = batch.filter(pl.Series(called, dtype=pl.Boolean))
            cells = [cell for cell in cells if cell is not UNASKED]
            self.progress.done(len(cells))
        column = column_or_failures(self.name, cells, self.call.dtype, self._fail(batch))
        return Batch(batch.table.with_columns(column), batch.ids)

    def abandon(self) -> None:
        """Nobody wants the rest: what has not begun does not begin."""
        self._abandoned = True

    async def _fill(self, pending: Pending, row: int, arguments: tuple[Any, ...]) -> None:
        try:
            async with self._gate:
                if self._abandoned or self.execution.stopped is not None:
                    pending.values[0][row] = UNASKED
                    pending.stopped = True
                else:
                    pending.values[0][row] = await self._tried(arguments)
        except Exception as error:
            self._fail(pending.batch)(row, _reason(error, self.udf.timeout))
        finally:
            pending.settle()
            if not pending.left and not pending.stopped:
                self.progress.done(pending.rows)
            self.execution.progress.show()

    async def _tried(self, arguments: tuple[Any, ...]) -> Any:
        for attempt in range(self.udf.retries + 1):
            try:
                async with asyncio.timeout(self.udf.timeout):
                    return _plain(await self.call.start(arguments))
            except Exception:
                if attempt == self.udf.retries:
                    raise
            await asyncio.sleep(self.udf.backoff * 2**attempt)
        raise AssertionError("unreachable")

    def _fail(self, batch: Batch) -> Any:
        def fail(row: int, reason: str) -> None:
            self.execution.failed(batch.ids[row], self.name, "", KIND, reason)
            self.progress.failed(1)

        return fail


def _plain(value: Any) -> Any:
    return value.model_dump() if isinstance(value, BaseModel) else value


def _reason(error: Exception, timeout: float | None) -> str:
    if isinstance(error, TimeoutError) and not str(error):
        return f"no result within {timeout:g} seconds." if timeout else "it timed out."
    said = " ".join(str(error).split())[:REASON]
    return f"{type(error).__name__}: {said}" if said else type(error).__name__
