"""Pieces of the local executor: batches cut, filtered and counted; where a plan starts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import aclosing

import polars as pl

from swath.frames.plan import ROW, Cache, Node, Plan, Source, Step, polars_error, row_numbers
from swath.frames.spool import Batch

READ_ROWS = 1024  # rows of a batch
READ_BYTES = 8 * 2**20  # and at most about so many bytes
FIRST_SLICE = 16_384  # rows of a source that are read at once, until their width is known
SLICE_BYTES = 48 * 2**20  # then about so many bytes
MOST_ROWS = 2**18

Flow = AsyncGenerator[Batch, None]


async def each(flow: Flow, step: Step) -> Flow:
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


async def limited(flow: Flow, span: tuple[int, int], demand: Demand | None) -> Flow:
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


def span_of(node: Node) -> tuple[int, int]:
    assert isinstance(node, Step)
    assert node.span is not None
    return node.span


def plain(plan: Plan) -> pl.LazyFrame:
    """A plan that asks no model, as a query; its caches are filled."""
    i, table = start_of(plan)
    table = table.drop(ROW)
    for node in plan.nodes[i:]:
        if isinstance(node, Cache):
            node.slot.table = row_numbers(table).collect(engine="streaming")
            table = node.slot.table.lazy().drop(ROW)
        else:
            assert isinstance(node, Step)
            table = node.apply(table, [], *map(plain, node.others))
    return table.select(plan.schema.names())


def start_of(plan: Plan) -> tuple[int, pl.LazyFrame]:
    """Where to begin: at the source, or at the last cache that is filled."""
    for i in range(len(plan.nodes) - 1, -1, -1):
        node = plan.nodes[i]
        if isinstance(node, Cache) and node.slot.table is not None:
            return i + 1, node.slot.table.lazy()
    return 0, row_numbers(plan.source.table)


def slices(source: Source, steps: Sequence[Step]) -> Iterator[pl.DataFrame]:
    """The source's rows with their numbers, after row-local `steps`, a slice at a time. (Polars'
    own stream of batches reads far ahead where rows are numbered: memory would grow with the
    table.) Runs on a reader's thread."""
    rows = source.rows
    if rows is None:
        rows = int(source.table.select(pl.len()).collect().item())
    at, count = 0, FIRST_SLICE
    while at < rows:
        table = source.table.slice(at, count).with_row_index(ROW, offset=at)
        for step in steps:
            table = step.apply(table, [pl.col(ROW)])
        made = table.collect(engine="streaming")
        yield made
        at += count
        if made.height:
            width = max(int(made.estimated_size()) // made.height, 1)
            count = min(max(SLICE_BYTES // width, FIRST_SLICE // 4), MOST_ROWS)


def schemas_of(plan: Plan) -> list[pl.Schema]:
    """The schema before each node, with row numbers: an empty flow still has columns."""
    schema = plan.source.table.collect_schema()
    schemas = []
    for node in plan.nodes:
        schemas.append(pl.Schema({**schema, ROW: pl.get_index_type()}))
        schema = node.after(schema)
    return schemas


def pieces(table: pl.DataFrame) -> Iterator[pl.DataFrame]:
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
