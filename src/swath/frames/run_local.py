"""The local executor: Polars segment → one asyncio inference stage → Polars segment, streaming.

A table is either *lazy* (a Polars query that holds row numbers) or a *flow* (batches). Polars'
steps run lazily until a model is asked; a stage turns the table into a flow; row-local steps are
applied to each batch of a flow; any other step gathers the flow and goes on lazily. Everything
here runs on the session's loop; Polars runs in threads.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import polars as pl

from swath.engine.run import Run
from swath.frames.plan import (
    ROW,
    Ask,
    Cache,
    Keep,
    Node,
    Plan,
    Step,
    apply_lazily,
    polars_error,
    row_numbers,
)
from swath.frames.progress import Progress
from swath.frames.spool import Batch, Spool
from swath.frames.stage import Pending, Stage
from swath.messages import Completion

if TYPE_CHECKING:
    from swath.catalog.model import Model
    from swath.engine.engine import Engine

READ_ROWS = 1024  # rows of a batch
READ_BYTES = 8 * 2**20  # and at most about so many bytes

Flow = AsyncGenerator[Batch, None]
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
        start, table = _start(plan)
        schemas = _schemas(plan)
        demands: dict[int, Demand] = {}
        for i in range(start, len(nodes)):
            node = nodes[i]
            if isinstance(node, Ask | Keep):
                flow = self._read(table, plan) if isinstance(table, pl.LazyFrame) else table
                stage = Stage(self, node, entry=plan is self.main and self.progress.entry is None)
                end = limit_ahead(nodes, i)
                if end is None:
                    table = self._ahead(flow, stage)
                    continue
                if end not in demands:
                    demands[end] = Demand(_span(nodes[end]))
                    flow = demands[end].sized(flow, lambda: self.stopped is not None)
                table = self._in_turn(flow, stage)
            elif isinstance(node, Cache):
                spool = await self._gather(table, schemas[i])
                if self.stopped is None:
                    node.slot.table = await asyncio.to_thread(spool.table)
                table = spool.lazy()
            elif isinstance(table, pl.LazyFrame):
                if node.wild and node.local:
                    table = _each(self._read(table, plan), node)
                else:
                    table = apply_lazily(node, table, await self._joined(node))
            elif node.span is not None:
                table = _limited(table, _span(node), demands.get(i))
            elif node.local:
                table = _each(table, node)
            else:
                spool = await self._gather(table, schemas[i])
                table = apply_lazily(node, spool.lazy(), await self._joined(node))
        return table

    async def _joined(self, step: Step) -> list[pl.LazyFrame]:
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

    async def _read(self, table: pl.LazyFrame, plan: Plan) -> Flow:
        """A query's batches, read ahead by Polars in a thread of their own."""
        reader = ThreadPoolExecutor(1, thread_name_prefix="swath-read")
        self._readers.append(reader)
        loop = asyncio.get_running_loop()

        def start() -> Iterator[pl.DataFrame]:
            return iter(table.collect_batches(chunk_size=READ_ROWS, maintain_order=True, lazy=True))

        try:
            batches = await loop.run_in_executor(reader, start)
            while True:
                part = await loop.run_in_executor(reader, next, batches, None)
                if part is None:
                    return
                for piece in _pieces(part):
                    yield Batch.split(piece)
        except (pl.exceptions.PolarsError, OSError, UnicodeError) as error:
            raise reading_error(error, plan) from None
        finally:
            reader.shutdown(wait=False, cancel_futures=True)

    async def _ahead(self, flow: Flow, stage: Stage) -> Flow:
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

    async def _in_turn(self, flow: Flow, stage: Stage) -> Flow:
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


async def _each(flow: Flow, step: Step) -> Flow:
    """A row-local step on each batch."""
    async with aclosing(flow) as batches:
        async for batch in batches:
            yield await asyncio.to_thread(_apply, step, batch)


def _apply(step: Step, batch: Batch) -> Batch:
    try:
        if not step.wild:
            table = step.apply(batch.joined().lazy(), [pl.col(ROW)])
            return Batch.split(table.collect(engine="in-memory"))
        if step.mask is not None:
            marked = batch.table.with_columns(step.mask.alias(ROW))
            return batch.filter(marked[ROW].fill_null(False))
        return Batch(step.apply(batch.table.lazy(), []).collect(engine="in-memory"), batch.ids)
    except pl.exceptions.PolarsError as error:
        raise polars_error(error, batch.table.schema, step.kind) from None


async def _limited(flow: Flow, span: tuple[int, int], demand: Demand | None) -> Flow:
    skip, left = span
    if not left:
        return
    async with aclosing(flow) as batches:
        async for batch in batches:
            if demand is not None:
                demand.arrived += batch.table.height
            part = batch.slice(skip, left)
            skip = max(skip - batch.table.height, 0)
            left -= part.table.height
            yield part
            if not left:
                return


class Demand:
    """How many rows to begin with where only some are wanted: as many as are missing, over the
    share of rows that came through so far."""

    def __init__(self, span: tuple[int, int]) -> None:
        self.wanted = sum(span)
        self.sent = 0
        self.arrived = 0

    @property
    def next_size(self) -> int:
        share = (self.arrived + 1) / (self.sent + 1)
        return max(round((self.wanted - self.arrived) / min(share, 1.0)), 1)

    async def sized(self, flow: Flow, stopped: Callable[[], bool]) -> Flow:
        async with aclosing(flow) as batches:
            async for batch in batches:
                at = 0
                while at < batch.table.height and not stopped():
                    part = batch.slice(at, self.next_size)
                    at += part.table.height
                    self.sent += part.table.height
                    yield part
                if stopped():
                    return


def limit_ahead(nodes: Sequence[Node], i: int) -> int | None:
    """The place of a limit that a flow from node `i` reaches batch by batch."""
    for place in range(i + 1, len(nodes)):
        node = nodes[place]
        if isinstance(node, Step) and node.span is not None:
            return place
        if not node.local:
            return None
    return None


def _span(node: Node) -> tuple[int, int]:
    assert isinstance(node, Step)
    assert node.span is not None
    return node.span


def plain(plan: Plan) -> pl.LazyFrame:
    """A plan that asks no model, as a query; its caches are filled."""
    i, table = _start(plan)
    table = table.drop(ROW)
    for node in plan.nodes[i:]:
        if isinstance(node, Cache):
            node.slot.table = row_numbers(table).collect(engine="streaming")
            table = node.slot.table.lazy().drop(ROW)
        else:
            assert isinstance(node, Step)
            table = node.apply(table, [], *map(plain, node.others))
    return table.select(plan.schema.names())


def _start(plan: Plan) -> tuple[int, pl.LazyFrame]:
    """Where to begin: at the source, or at the last cache that is filled."""
    for i in range(len(plan.nodes) - 1, -1, -1):
        node = plan.nodes[i]
        if isinstance(node, Cache) and node.slot.table is not None:
            return i + 1, node.slot.table.lazy()
    return 0, row_numbers(plan.source.table)


def _schemas(plan: Plan) -> list[pl.Schema]:
    """The schema before each node, with row numbers: an empty flow still has columns."""
    schema = plan.source.table.collect_schema()
    schemas = []
    for node in plan.nodes:
        schemas.append(pl.Schema({**schema, ROW: pl.get_index_type()}))
        schema = node.after(schema)
    return schemas


def _pieces(table: pl.DataFrame) -> Iterator[pl.DataFrame]:
    """At most READ_ROWS rows and about READ_BYTES each."""
    if not table.height:
        return
    width = max(int(table.estimated_size()) // table.height, 1)
    rows = min(max(READ_BYTES // width, 1), READ_ROWS)
    for at in range(0, table.height, rows):
        yield table.slice(at, rows)


def reading_error(error: Exception, plan: Plan) -> Exception:
    """What went wrong while rows were read, in terms of the source."""
    if plan.source.explain is not None:
        return plan.source.explain(error)
    return polars_error(error, plan.source.table.collect_schema(), plan.source.name)
