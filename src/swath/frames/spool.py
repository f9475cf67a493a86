"""Rows on their way: a `Batch` between stages, and a `Spool` where many of them are gathered."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from swath.frames.plan import ROW

IN_MEMORY = 128 * 2**20  # bytes of gathered rows before they go to disk


@dataclass(frozen=True, slots=True)
class Batch:
    """Some rows in order. `ids`: their row numbers in the source, beside the table."""

    table: pl.DataFrame
    ids: pl.Series

    @classmethod
    def split(cls, table: pl.DataFrame) -> Batch:
        return cls(table.drop(ROW), table[ROW])

    def joined(self) -> pl.DataFrame:
        """The table with the row numbers as a column."""
        return self.table.with_columns(self.ids.alias(ROW))

    def slice(self, start: int, length: int) -> Batch:
        return Batch(self.table.slice(start, length), self.ids.slice(start, length))

    def filter(self, mask: pl.Series) -> Batch:
        return Batch(self.table.filter(mask), self.ids.filter(mask))


class Spool:
    """Tables gathered in order: in memory up to a bound, beyond it in Arrow files that the disk
    holds and Polars scans. Or a query that is still to be run (`of`). `close` deletes the files."""

    def __init__(self, schema: pl.Schema, in_memory: int = IN_MEMORY) -> None:
        self.schema = schema
        self._bound = in_memory
        self._tables: list[pl.DataFrame] = []
        self._bytes = 0
        self._folder: Path | None = None
        self._files: list[Path] = []
        self._query: pl.LazyFrame | None = None

    @classmethod
    def of(cls, query: pl.LazyFrame, schema: pl.Schema) -> Spool:
        made = cls(schema)
        made._query = query
        return made

    def add(self, table: pl.DataFrame) -> bool:
        """Whether it is time to `spill`."""
        if table.height:
            self._tables.append(table)
            self._bytes += int(table.estimated_size())
        return self._bytes > self._bound

    def spill(self) -> None:
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="swath-"))
        file = self._folder / f"{len(self._files):06}.arrow"
        pl.concat(self._tables).write_ipc(file)
        self._files.append(file)
        self._tables, self._bytes = [], 0

    def lazy(self) -> pl.LazyFrame:
        """All of it. Good until `close`."""
        if self._query is not None:
            return self._query
        parts = [pl.scan_ipc(file) for file in self._files]
        if self._tables:
            # One table in place of many small ones: later work is quicker on it.
            self._tables = [pl.concat(self._tables, rechunk=True)]
            parts.append(self._tables[0].lazy())
        if not parts:
            return pl.DataFrame(schema=self.schema).lazy()
        return pl.concat(parts) if len(parts) > 1 else parts[0]

    def table(self) -> pl.DataFrame:
        """All of it in memory."""
        query = self.lazy()
        if self._query is None and not self._files:
            return self._tables[0] if self._tables else pl.DataFrame(schema=self.schema)
        table = query.collect(engine="streaming")
        if self._query is not None:
            self._query, self._tables = None, [table]
        return table

    def close(self) -> None:
        self._tables, self._files, self._query = [], [], None
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None
