"""What a frame can become: files, and tables of other libraries. Part of `Frame`."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import polars as pl

from swath.errors import MissingExtra
from swath.frames import writers
from swath.frames.result import FrameRun, Settings, Sink, launch

if TYPE_CHECKING:
    import pandas as pd

    from swath.frames.frame import Frame

Path = str | os.PathLike[str]
_RUN_SETTINGS = ("max_cost", "limit", "progress", "rules", "session", "name")


class Output:
    """Mixed into `Frame`."""

    __slots__ = ()

    if TYPE_CHECKING:
        collect: Callable[..., pl.DataFrame]
        limit: Callable[[int], Frame]

    def write_parquet(self, path: Path, **settings: Any) -> FrameRun:
        """Into a Parquet file. Settings as for `run`; others go to Polars' writer."""
        return self._write(path, writers.parquet, pl.scan_parquet, settings)

    def write_csv(self, path: Path, **settings: Any) -> FrameRun:
        """Into CSV: a struct's fields become columns `name.field`, lists JSON text."""
        return self._write(path, writers.csv, pl.scan_csv, settings)

    def write_jsonl(self, path: Path, **settings: Any) -> FrameRun:
        """Into JSON lines: one object per row."""
        return self._write(path, writers.jsonl, pl.scan_ndjson, settings)

    def write_json(self, path: Path, **settings: Any) -> FrameRun:
        """Into one JSON array."""
        return self._write(path, writers.json, lambda p: pl.read_json(p).lazy(), settings)

    def write_ipc(self, path: Path, **settings: Any) -> FrameRun:
        """Into an Arrow IPC (Feather) file."""
        return self._write(path, writers.ipc, pl.scan_ipc, settings)

    def _write(
        self,
        path: Path,
        how: Callable[..., Any],
        read: Callable[[Any], pl.LazyFrame],
        settings: dict[str, Any],
    ) -> FrameRun:
        target = writers.writable(path)
        ours = {k: settings.pop(k) for k in list(settings) if k in _RUN_SETTINGS}
        limit = ours.pop("limit", None)
        frame: Any = self if limit is None else self.limit(limit)

        def sink(spool: Any) -> Callable[[], pl.DataFrame]:
            writers.write(spool, target, lambda rows, file: how(rows, file, **settings))
            return lambda: read(target).collect()

        chosen: Sink = sink
        return launch(frame.plan, Settings(**ours), chosen)

    def to_pandas(self, **settings: Any) -> pd.DataFrame:
        """The result as a pandas table (needs `swath[pandas]`)."""
        table = self.collect(**settings)
        try:
            return table.to_pandas()
        except ModuleNotFoundError:
            raise MissingExtra("to_pandas", "pandas") from None

    def to_arrow(self, **settings: Any) -> Any:
        """The result as a PyArrow table (needs `swath[pandas]`)."""
        table = self.collect(**settings)
        try:
            return table.to_arrow()
        except ModuleNotFoundError:
            raise MissingExtra("to_arrow", "pandas") from None

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """Any Arrow library can read a frame; that runs it."""
        return self.collect().__arrow_c_stream__(requested_schema)
