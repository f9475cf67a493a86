"""The inference stage: batches in, the same batches with a model's columns out, in order.

    begin(batch)    writes the questions, looks all of them up in the store at once, and queues
                    those that it does not hold, equal ones once
    finish(batch)   once every answer is there: the columns

A lane per model keeps a bounded number of calls in flight over whatever batches are under way. A
row whose call fails is null and recorded; what would fail for every row (a key, a quota, the
budget) stops the run, and rows left unasked then leave the table.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import polars as pl

from swath.engine.shape import Invalid
from swath.errors import BudgetReached, Kind, ProviderError
from swath.frames.asking import HOPELESS, Asker
from swath.frames.plan import Ask, Keep
from swath.frames.spool import Batch
from swath.messages import Completion, Request
from swath.operators.asking import Stopped
from swath.operators.base import Operator

if TYPE_CHECKING:
    from swath.frames.run_local import Execution

NARROW = 16  # calls at once
UNASKED = object()  # in a cell: the run stopped before its turn
LONG_ROW = 2048  # bytes: a row of twice this counts for two
BLANK = "no text in the row: null without a call"


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


class Lane:
    """Calls to one model: at most `width` at once, first come first asked."""

    __slots__ = ("active", "queue", "width")

    def __init__(self, width: int) -> None:
        self.width = width
        self.active = 0
        self.queue: deque[Job] = deque()


class Stage:
    def __init__(self, execution: Execution, node: Ask | Keep, *, entry: bool) -> None:
        self.node = node
        self.execution = execution
        self.engine = execution.engine
        self.names = [name for name, _ in node.columns]
        self.operators: Sequence[Operator] = [operator for _, operator in node.columns]
        self.progress = execution.progress.stage(self.names, entry=entry)
        self._checks = [operator.check for operator in self.operators]
        self._lanes: dict[str, Lane] = {}
        self._jobs: dict[tuple[Any, ...], Job] = {}

    # -- in

    def begin(self, batch: Batch) -> list[Pending]:
        """`batch` as one or more pending batches, in order; those with nothing to wait for are
        whole, the others small enough that the first rows need not wait for the last."""
        columns = [self._answers(c, batch) for c in range(len(self.operators))]
        values = [known for known, _ in columns]
        self.progress.rows(batch.table.height)
        if not any(missing for _, missing in columns):
            self.progress.done(batch.table.height)
            return [Pending(batch, values)]
        return self._ask(batch, values, [missing for _, missing in columns])

    def _answers(self, c: int, batch: Batch) -> tuple[list[Any], list[tuple[Request, list[int]]]]:
        """A column's cells as far as the store knows them, and the questions that it does not,
        each with its rows."""
        operator, default = self.operators[c], self.execution.default_model
        requests = operator.requests(batch.table, default)
        rows_of: dict[int, list[int]] = {}
        distinct: list[Request] = []
        for row, request in enumerate(requests):
            if request is None:
                continue
            rows = rows_of.get(id(request))
            if rows is None:
                rows_of[id(request)] = [row]
                distinct.append(request)
            else:
                rows.append(row)
        blank = requests.count(None)
        if blank:
            self.execution.run.note(BLANK, blank)
        values: list[Any] = [None] * len(requests)
        missing: list[tuple[Request, list[int]]] = []
        stored: dict[str, int] = {}
        known = self.engine.lookup(distinct) if operator.single else [None] * len(distinct)
        for request, found in zip(distinct, known, strict=True):
            rows = rows_of[id(request)]
            if found is None:
                missing.append((request, rows))
                continue
            try:
                value = operator.value(found)
            except Invalid:
                missing.append((request, rows))  # the schema's own checks have changed since
                continue
            for row in rows:
                values[row] = value
            stored[request.model] = stored.get(request.model, 0) + 1
            self.execution.trace(batch.ids, rows, found)
        for model, count in stored.items():
            self.execution.run.count(model, cached=count)
        return values, missing

    def _ask(
        self,
        batch: Batch,
        values: list[list[Any]],
        missing: list[list[tuple[Request, list[int]]]],
    ) -> list[Pending]:
        lanes = {r.model: self._lane(r.model) for column in missing for r, _ in column}
        width = min(lane.width for lane in lanes.values())
        # A narrow lane is a slow model's: each row goes on at once, to the next stage and the bar.
        size = 1 if width <= NARROW else min(4 * width, 1024)
        pieces = [
            Pending(batch.slice(at, size), [column[at : at + size] for column in values])
            for at in range(0, batch.table.height, size)
        ]
        # Row by row, so that the first piece is complete first, whatever the number of columns.
        jobs = [(rows[0], c, q, rows) for c, column in enumerate(missing) for q, rows in column]
        if len(missing) > 1:
            jobs.sort(key=lambda job: job[:2])
        for _, c, request, rows in jobs:
            self._submit(c, request, rows, pieces, size, lanes[request.model])
        for piece in pieces:
            if not piece.left and not piece.stopped:
                self.progress.done(piece.rows)
        return pieces

    def _submit(
        self,
        c: int,
        request: Request,
        rows: list[int],
        pieces: list[Pending],
        size: int,
        lane: Lane,
    ) -> None:
        key = (c, request.model, request.messages[-1].content)
        job = self._jobs.get(key)
        new = job is None
        if job is None:
            job = Job(c, request, key)
        waiting: dict[int, list[int]] = {}
        for row in rows:
            waiting.setdefault(row // size, []).append(row % size)
        for place, inside in waiting.items():
            pieces[place].left += 1
            job.cells.append((pieces[place], inside))
        if not new:
            return
        if self.execution.stopped is not None:
            self._fill(job, UNASKED)
            return
        self._jobs[key] = job
        lane.queue.append(job)
        if lane.active < lane.width:
            lane.active += 1
            self.execution.spawn(self._work(lane))

    def _lane(self, alias: str) -> Lane:
        lane = self._lanes.get(alias)
        if lane is None:
            # A few more than may be in flight, so that the limiter always has one to send.
            concurrency = self.execution.models[alias].concurrency
            lane = self._lanes[alias] = Lane(concurrency + max(concurrency // 8, 1))
        return lane

    @property
    def width(self) -> int:
        """Calls that may be in flight, over the models asked so far."""
        return sum(lane.width for lane in self._lanes.values())

    @property
    def ahead(self) -> int:
        """The weight that may be under way or wait for a row before it: enough that a row which
        is tried again for a while holds nobody up."""
        return min(max(128 * self.width, 2048), 65536)

    def abandon(self) -> None:
        """Nobody wants the rest: what is queued is not asked."""
        for lane in self._lanes.values():
            lane.queue.clear()

    # -- asking

    async def _work(self, lane: Lane) -> None:
        """Answers queued jobs one after the other until there are none."""
        job: Job | None = None
        try:
            while lane.queue:
                job = lane.queue.popleft()
                if self.execution.stopped is not None:
                    self._fill(job, UNASKED)
                else:
                    await self._answer(job)
                job = None
        finally:
            lane.active -= 1
            if job is not None:
                self._fill(job, UNASKED)
            if self.execution.stopped is not None:
                while lane.queue:
                    self._fill(lane.queue.popleft(), UNASKED)

    async def _answer(self, job: Job) -> None:
        c = job.column
        operator = self.operators[c]
        answers: list[Completion] = []
        try:
            if operator.single:
                completion = await self.engine.complete(
                    job.request,
                    run=self.execution.run,
                    check=self._checks[c],
                    label=self.names[c],
                    fallback=operator.fallback,
                    known_miss=True,
                )
                answers.append(completion)
                value = operator.value(completion)
            else:
                asker = Asker(self.execution, self.names[c], answers=answers)
                value = await operator.answer(asker, job.request)
        except Stopped:
            self._fill(job, UNASKED)
        except ProviderError as error:
            if error.kind in HOPELESS:
                self.execution.stop(error)
                self._fill(job, UNASKED)
            else:
                self._fail(job, str(error.kind), error.message, error.model)
        except Invalid as error:
            self._fail(job, str(Kind.INVALID), error.public, "")
        except BudgetReached as error:
            self.execution.stop(error)
            self._fill(job, UNASKED)
        except Exception as error:  # the store, a bug, a check of the user's own that raises
            self.execution.stop(error)
            self._fill(job, UNASKED)
        else:
            self._fill(job, value, answers)

    def _fill(self, job: Job, value: Any, answers: Sequence[Completion] = ()) -> None:
        self._jobs.pop(job.key, None)
        c = job.column
        for pending, rows in job.cells:
            column = pending.values[c]
            for row in rows:
                column[row] = value
            if value is UNASKED:
                pending.stopped = True
            pending.settle()
            if not pending.left and not pending.stopped:
                self.progress.done(pending.rows)
        for completion in answers:
            first, rows = job.cells[0]
            self.execution.trace(first.batch.ids, rows, completion)
        self.execution.progress.show()

    def _fail(self, job: Job, kind: str, reason: str, model: str) -> None:
        alias = model or job.request.model
        for pending, rows in job.cells:
            for row in rows:
                self.execution.failed(
                    pending.batch.ids[row], self.names[job.column], alias, kind, reason
                )
            self.progress.failed(len(rows))
        self._fill(job, None)

    # -- out

    def finish(self, pending: Pending) -> Batch:
        """The batch with its columns; without rows that were not asked about."""
        batch, values = pending.batch, pending.values
        if pending.stopped:
            asked = [all(v is not UNASKED for v in row) for row in zip(*values, strict=True)]
            batch = batch.filter(pl.Series(asked, dtype=pl.Boolean))
            values = [[v for v, ok in zip(c, asked, strict=True) if ok] for c in values]
            self.progress.done(batch.table.height)
        if isinstance(self.node, Keep):
            return batch.filter(pl.Series(values[0], dtype=pl.Boolean).fill_null(False))
        columns = [self._column(c, batch, cells) for c, cells in enumerate(values)]
        return Batch(batch.table.with_columns(columns), batch.ids)

    def _column(self, c: int, batch: Batch, cells: list[Any]) -> pl.Series:
        name, operator = self.names[c], self.operators[c]

        def failed(row: int, reason: str) -> None:
            model = operator.model_name(self.execution.default_model)
            self.execution.failed(batch.ids[row], name, model, str(Kind.INVALID), reason)
            self.progress.failed(1)

        return column_or_failures(name, cells, operator.dtype, failed)


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
