"""The local executor: Polars segment → one asyncio inference stage → Polars segment, streaming.

A table is either *lazy* (a Polars query that holds row numbers) or a *flow* (batches). Polars'
steps run lazily until a model is asked; a stage turns the table into a flow; row-local steps are
applied to each batch of a flow; any other step gathers the flow and goes on lazily. Everything
here runs on the session's loop; Polars runs in threads.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING, Any

import polars as pl

from swath.engine.run import Run
from swath.frames.asking import Asker
from swath.frames.calling import Calling
from swath.frames.flows import (
    READ_ROWS,
    Demand,
    Flow,
    each,
    limit_ahead,
    limited,
    pieces,
    plain,
    reading_error,
    schemas_of,
    slices,
    span_of,
    start_of,
)
from swath.frames.lanes import Pending
from swath.frames.plan import (
    ROW,
    Ask,
    Cache,
    Keep,
    Plan,
    Rows,
    Step,
    Udf,
    Whole,
    apply_lazily,
)
from swath.frames.progress import Progress
from swath.frames.spool import Batch, Spool
from swath.frames.stage import Stage
from swath.messages import Completion
from swath.operators.asking import Stopped

if TYPE_CHECKING:
    from swath.catalog.model import Model
    from swath.engine.engine import Engine

SEED = 0  # of the samples that operators learn from: the same rows each time, so paid for once

Failure = tuple[int, str, str, str, str]
Trace = Callable[[pl.Series, list[int], Completion], None]


class Execution:
    """One run of one plan. `stopped` is why it ends early: no question is asked after it is set,
    answers under way still count, and the rows that are whole go on through the plan."""

    def __init__(
        self,
        engine: Engine,
        models: Mapping[str, Model],
        default_model: str,
        run: Run,
        progress: Progress,
        trace: Trace | None = None,
    ) -> None:
        self.engine = engine
        self.models = models
        self.default_model = default_model
        self.run = run
        self.progress = progress
        self.main: Plan | None = None
        self.stopped: Exception | None = None
        self.failures: list[Failure] = []
        self.trace: Trace = trace or (lambda ids, rows, completion: None)
        self._tasks: set[asyncio.Task[None]] = set()
        self._spools: list[Spool] = []
        self._readers: list[ThreadPoolExecutor] = []

    # -- what the outside calls

    async def collect(self, plan: Plan) -> Spool:
        """The plan's table, in its promised columns. Good until `close`."""
        self.main = self.main or plan  # joined tables are collected within
        return await self._gather(await self._open(plan), plan.schema, plan.schema.names())

    def stop(self, why: Exception) -> None:
        """Ask nothing more. What is under way goes on."""
        self.stopped = self.stopped or why

    def cancel(self) -> None:
        """Give up what is under way."""
        for task in self._tasks:
            task.cancel()

    async def settle(self) -> None:
        """Wait for what is under way: it is paid for."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    def close(self) -> None:
        for spool in self._spools:
            spool.close()
        for reader in self._readers:
            reader.shutdown(wait=False, cancel_futures=True)

    # -- what stages call

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def failed(self, row: int, column: str, model: str, kind: str, reason: str) -> None:
        self.failures.append((row, column, model, kind, reason))

    # -- building

    async def _open(self, plan: Plan) -> pl.LazyFrame | Flow:
        """The plan's table, with row numbers."""
        nodes = plan.nodes
        table: pl.LazyFrame | Flow
        start, table = start_of(plan)
        schemas = schemas_of(plan)
        demands: dict[int, Demand] = {}
        steps: list[Step] | None = [] if not start and plan.source.sliceable else None
        for i in range(start, len(nodes)):
            node = nodes[i]
            if isinstance(node, Ask | Keep | Udf):
                if not isinstance(node, Udf) and any(op.sample for _, op in node.columns):
                    spool = await self._gather(table, schemas[i])
                    table, steps = spool.lazy(), None
                    node = await self._prepared(node, spool)
                flow = self._read(table, plan, steps) if isinstance(table, pl.LazyFrame) else table
                steps = None
                entry = plan is self.main and self.progress.entry is None
                made: type[Stage | Calling] = Calling if isinstance(node, Udf) else Stage
                stage = made(self, node, entry=entry)  # type: ignore[arg-type]
                end = limit_ahead(nodes, i)
                if end is None:
                    table = self._ahead(flow, stage)
                    continue
                if end not in demands:
                    demands[end] = Demand(span_of(nodes[end]))
                    flow = demands[end].sized(flow, lambda: self.stopped is not None)
                table = self._in_turn(flow, stage)
            elif isinstance(node, Whole):
                steps = None
                table = await self._whole(node, await self._gather(table, schemas[i]))
            elif isinstance(node, Cache):
                spool = await self._gather(table, schemas[i])
                if self.stopped is None:
                    node.slot.table = await asyncio.to_thread(spool.table)
                table, steps = spool.lazy(), None
            elif isinstance(table, pl.LazyFrame):
                keeps = node.local and not node.wild and not node.others
                steps = [*steps, node] if steps is not None and keeps else None
                if node.wild and node.local:
                    table = each(self._read(table, plan), node)
                else:
                    table = apply_lazily(node, table, await self._joined(node))
            elif node.span is not None:
                table = limited(table, span_of(node), demands.get(i))
            elif node.local:
                table = each(table, node)
            else:
                spool = await self._gather(table, schemas[i])
                table = apply_lazily(node, spool.lazy(), await self._joined(node))
        return table

    async def _prepared(self, node: Ask | Keep, spool: Spool) -> Ask | Keep:
        """`node` with operators that have seen their sample."""
        rows = (await asyncio.to_thread(spool.lazy().select(pl.len()).collect)).item()
        columns = []
        for name, operator in node.columns:
            if operator.sample and self.stopped is None:
                place = pl.int_range(pl.len()).shuffle(seed=SEED)
                drawn = spool.lazy().drop(ROW).filter(place < operator.sample)
                sample = await asyncio.to_thread(drawn.collect)
                with suppress(Stopped):  # then no row will be asked about
                    operator = await operator.prepare(Asker(self, name), sample, rows)
            columns.append((name, operator))
        if isinstance(node, Keep):
            return Keep(node.name, columns[0][1], node.reads)
        return Ask(tuple(columns), node.reads)

    async def _whole(self, node: Whole, spool: Spool) -> pl.LazyFrame:
        """The table that an operator over all rows makes."""
        table = await asyncio.to_thread(spool.table)
        others = [await asyncio.to_thread(o.collect) for o in await self._joined(node)]
        stage = self.progress.stage([node.name], entry=False)
        model = node.operator.model_name(self.default_model)
        asker = Asker(self, node.name, ids=table[ROW], progress=stage, model=model)
        schema = pl.Schema(
            node.after(pl.Schema({k: v for k, v in table.schema.items() if k != ROW}))
        )
        try:
            made = await node.operator.run(asker, table, *others)
        except Stopped:
            made = pl.DataFrame(schema={**schema, ROW: pl.get_index_type()})
        finally:
            stage.total = stage.completed
        if node.rows is Rows.NEW:
            made = made.select(schema.names()).with_row_index(ROW)
        return made.select(*schema.names(), ROW).lazy()

    async def _joined(self, step: Step | Whole) -> list[pl.LazyFrame]:
        return [
            (await self.collect(other)).lazy()
            if other.asks
            else await asyncio.to_thread(plain, other)
            for other in step.others
        ]

    async def _gather(
        self, table: pl.LazyFrame | Flow, schema: pl.Schema, names: list[str] | None = None
    ) -> Spool:
        """All rows; with `names` only those columns, in that order, without row numbers."""
        if isinstance(table, pl.LazyFrame):
            query = table if names is None else table.select(names)
            spool = Spool.of(query, schema)
        else:
            spool = Spool(schema)
            async with aclosing(table) as flow:
                async for batch in flow:
                    part = batch.joined() if names is None else batch.table.select(names)
                    if spool.add(part):
                        await asyncio.to_thread(spool.spill)
        self._spools.append(spool)
        return spool

    # -- flows

    async def _read(self, table: pl.LazyFrame, plan: Plan, steps: list[Step] | None = None) -> Flow:
        """A query's batches, read in a thread of their own: slices of the source where only `steps`
        lie between it and here, else what Polars reads ahead."""
        reader = ThreadPoolExecutor(1, thread_name_prefix="swath-read")
        self._readers.append(reader)
        loop = asyncio.get_running_loop()

        def start() -> Iterator[pl.DataFrame]:
            if steps is not None:
                return slices(plan.source, steps)
            return iter(table.collect_batches(chunk_size=READ_ROWS, maintain_order=True, lazy=True))

        try:
            batches = await loop.run_in_executor(reader, start)
            while True:
                part = await loop.run_in_executor(reader, next, batches, None)
                if part is None:
                    return
                for piece in pieces(part):
                    yield Batch.split(piece)
        except (pl.exceptions.PolarsError, OSError, UnicodeError) as error:
            raise reading_error(error, plan) from None
        finally:
            reader.shutdown(wait=False, cancel_futures=True)

    async def _ahead(self, flow: Flow, stage: Stage | Calling) -> Flow:
        """The stage over a whole flow: batches are begun well before the first is finished, and
        while later stages work."""
        rows = weight = 0  # held: begun and not yet given on
        room = asyncio.Event()
        queue: asyncio.Queue[Pending | None] = asyncio.Queue()

        async def feed() -> None:
            nonlocal rows, weight
            try:
                async with aclosing(flow) as batches:
                    async for batch in batches:
                        for pending in stage.begin(batch):
                            rows += pending.rows
                            weight += pending.weight
                            queue.put_nowait(pending)
                        while weight > stage.ahead and rows > 2 * stage.width:
                            room.clear()
                            await room.wait()
                        if self.stopped is not None:
                            return
            finally:
                stage.progress.close()
                queue.put_nowait(None)

        feeder = asyncio.ensure_future(feed())
        try:
            while (pending := await queue.get()) is not None:
                await pending.wait()
                yield stage.finish(pending)
                rows -= pending.rows
                weight -= pending.weight
                room.set()
            await feeder
        finally:
            feeder.cancel()
            stage.abandon()
            await asyncio.wait([feeder])

    async def _in_turn(self, flow: Flow, stage: Stage | Calling) -> Flow:
        """The stage where a limit waits behind it: one batch at a time."""
        try:
            async with aclosing(flow) as batches:
                async for batch in batches:
                    for pending in stage.begin(batch):
                        await pending.wait()
                        yield stage.finish(pending)
        finally:
            stage.progress.close()
            stage.abandon()
