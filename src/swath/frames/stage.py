"""The inference stage: batches in, the same batches with a model's columns out, in order.

    begin(batch)    writes the questions, looks all of them up in the store at once, and queues
                    those that it does not hold, equal ones once
    finish(batch)   once every answer is there: the columns

A lane per model keeps a bounded number of calls in flight over whatever batches are under way. A
row whose call fails is null and recorded; what would fail for every row (a key, a quota, the
budget) stops the run, and rows left unasked then leave the table.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import polars as pl

from swath.engine.shape import Invalid
from swath.errors import BudgetReached, Kind, ProviderError
from swath.frames.asking import HOPELESS, Asker
from swath.frames.lanes import (
    NARROW,
    UNASKED,
    Job,
    Lane,
    Pack,
    Pending,
    alike_together,
    column_or_failures,
)
from swath.frames.packing import Packing, packs
from swath.frames.plan import Ask, Keep
from swath.frames.spool import Batch
from swath.messages import Completion, Request
from swath.operators.asking import Stopped
from swath.operators.base import Operator

if TYPE_CHECKING:
    from swath.frames.run_local import Execution

BLANK = "no text in the row: null without a call"


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
        self._packing = {
            c: Packing(operator, self.names[c])
            for c, operator in enumerate(self.operators)
            if operator.packed
        }

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
        known: list[Completion | None] = [None] * len(distinct)
        if operator.single:
            known = self.engine.lookup(distinct)
        if operator.packed and None in known:
            # Packs must be the same each time to be found again: what is stored is seen to there.
            known = [None] * len(distinct)
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
            model = self.engine.routed(request).model
            stored[model] = stored.get(model, 0) + 1
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
        if any(operator.grouped for operator in self.operators):
            jobs = alike_together(jobs)
        to_pack: dict[int, list[Job]] = {c: [] for c in self._packing}
        for _, c, request, rows in jobs:
            job = self._wanted(c, request, rows, pieces, size)
            if job is not None and c in to_pack:
                to_pack[c].append(job)
            elif job is not None:
                self._submit(job, lanes[request.model])
        for c, packed in to_pack.items():
            for places in packs(self.operators[c], [job.request for job in packed]):
                together = [packed[place] for place in places]
                lane = lanes[together[0].request.model]
                self._submit(Pack(together) if len(together) > 1 else together[0], lane)
        for piece in pieces:
            if not piece.left and not piece.stopped:
                self.progress.done(piece.rows)
        return pieces

    def _wanted(
        self, c: int, request: Request, rows: list[int], pieces: list[Pending], size: int
    ) -> Job | None:
        """The question that these rows wait for, if it is to be put: not if it already is, or the
        run stops."""
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
            return None
        if self.execution.stopped is not None:
            self._fill(job, UNASKED)
            return None
        self._jobs[key] = job
        return job

    def _submit(self, job: Job | Pack, lane: Lane) -> None:
        lane.queue.append(job)
        if lane.active < lane.width:
            lane.active += 1
            self.execution.spawn(self._work(lane))

    def _lane(self, alias: str) -> Lane:
        lane = self._lanes.get(alias)
        if lane is None:
            # A few more than may be in flight, so that the limiter always has one to send.
            together = max(operator.together for operator in self.operators)
            concurrency = self.execution.models[alias].concurrency * together
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
        job: Job | Pack | None = None
        try:
            while lane.queue:
                job = lane.queue.popleft()
                if self.execution.stopped is not None:
                    self._unasked(job)
                elif isinstance(job, Pack):
                    await self._answer_pack(job)
                else:
                    await self._answer(job)
                job = None
        finally:
            lane.active -= 1
            if job is not None:
                self._unasked(job)
            if self.execution.stopped is not None:
                while lane.queue:
                    self._unasked(lane.queue.popleft())

    def _unasked(self, job: Job | Pack) -> None:
        for one in job.jobs if isinstance(job, Pack) else [job]:
            self._fill(one, UNASKED)

    async def _answer_pack(self, pack: Pack) -> None:
        c = pack.jobs[0].column
        asker = Asker(self.execution, self.names[c])
        left = list(pack.jobs)
        try:
            cells = await self._packing[c].answer(asker, [job.request for job in left])
            for job, cell in zip(pack.jobs, cells, strict=True):
                left.remove(job)
                if isinstance(cell, ProviderError):
                    self._fail(job, str(cell.kind), cell.message, cell.model)
                elif isinstance(cell, Invalid):
                    self._fail(job, str(Kind.INVALID), cell.public, "")
                else:
                    self._fill(job, cell)
        except Stopped:
            pass
        except Exception as error:  # a bug, a check of the user's own that raises
            self.execution.stop(error)
        finally:
            for job in left:
                self._fill(job, UNASKED)

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
