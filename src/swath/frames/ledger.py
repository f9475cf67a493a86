"""The ledger as tables: `sw.calls()` and `sw.runs()`, for Polars to group, join and plot."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import polars as pl
from polars.io.plugins import register_io_source

from swath.store.base import CallRow, RunRow, columns

if TYPE_CHECKING:
    from swath.session import Session

_TYPES: dict[type, pl.DataType] = {
    str: pl.String(),
    int: pl.Int64(),
    float: pl.Float64(),
    bool: pl.Boolean(),
}
_WHEN = pl.Datetime("us", "UTC")
PAGE = 50_000  # rows of a query


def calls(*, session: Session | None = None) -> pl.LazyFrame:
    """Every call that the store's ledger holds, the oldest first: model, tokens, dollars, time in
    each stage (milliseconds), `window_share`, status. `at` is in UTC; the columns are those of
    `swath.store.base.CallRow`. Read when it is collected, only the columns that are used.

        sw.calls().group_by("model").agg(pl.col("cost_usd").sum())
    """
    return _table("calls", CallRow, session)


def runs(*, session: Session | None = None) -> pl.LazyFrame:
    """Every run: when, how it ended, rows, calls, tokens, dollars, seconds. See `calls`; `run` of a
    call is `id` here."""
    return _table("runs", RunRow, session)


def _table(name: str, row: type[Any], session: Session | None) -> pl.LazyFrame:
    from swath.session import current

    opened = session or current()
    schema = pl.Schema({column: _TYPES[kind] for column, kind in columns(row).items()})
    schema["at"] = _WHEN

    async def query(sql: str, parameters: list[Any]) -> list[dict[str, Any]]:
        return opened.engine.store.query(sql, parameters)

    def read(
        with_columns: list[str] | None,
        predicate: pl.Expr | None,
        n_rows: int | None,
        batch_size: int | None,
    ) -> Iterator[pl.DataFrame]:
        wanted = with_columns or schema.names()
        left, at = n_rows, 0
        while left is None or left > 0:
            count = PAGE if left is None or predicate is not None else min(PAGE, left)
            sql = f"SELECT {', '.join(wanted)} FROM {name} ORDER BY at LIMIT ? OFFSET ?"
            rows = opened.call(query(sql, [count, at]))
            at += len(rows)
            page = _typed(rows, {column: schema[column] for column in wanted})
            if predicate is not None:
                page = page.filter(predicate)
            page = page if left is None else page.head(left)
            left = None if left is None else left - page.height
            yield page
            if len(rows) < count:
                return

    return register_io_source(read, schema=schema)


def _typed(rows: list[dict[str, Any]], schema: dict[str, pl.DataType]) -> pl.DataFrame:
    """The store's rows: times as Unix seconds, truth values as SQLite has them (0 and 1)."""
    plain = {k: pl.Float64() if t == _WHEN else t for k, t in schema.items()}
    for name in (k for k, t in schema.items() if t == pl.Boolean()):
        for row in rows:
            row[name] = bool(row[name])
    table = pl.DataFrame(rows, schema=plain)
    if "at" in schema:
        when = (pl.col("at") * 1e6).round().cast(pl.Int64).cast(pl.Datetime("us"))
        table = table.with_columns(when.dt.replace_time_zone("UTC"))
    return table
