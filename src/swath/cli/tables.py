"""Tables by the ending of their file's name: what `enrich` reads and writes. `-` is a pipe."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from swath.cli import console
from swath.errors import InputError, OutputError, listing

if TYPE_CHECKING:
    import polars as pl

    from swath.frames import Frame

PIPE = "-"
_READERS: dict[str, tuple[str, dict[str, Any]]] = {
    ".csv": ("read_csv", {}),
    ".tsv": ("read_csv", {"separator": "\t"}),
    ".json": ("read_json", {}),
    ".jsonl": ("read_jsonl", {}),
    ".ndjson": ("read_jsonl", {}),
    ".parquet": ("read_parquet", {}),
    ".arrow": ("read_ipc", {}),
    ".ipc": ("read_ipc", {}),
    ".feather": ("read_ipc", {}),
}
_WRITERS: dict[str, tuple[str, dict[str, Any]]] = {
    ".csv": ("csv", {}),
    ".tsv": ("csv", {"separator": "\t"}),
    ".json": ("json", {}),
    ".jsonl": ("jsonl", {}),
    ".ndjson": ("jsonl", {}),
    ".parquet": ("parquet", {}),
    ".arrow": ("ipc", {}),
    ".ipc": ("ipc", {}),
    ".feather": ("ipc", {}),
}


def read(source: str) -> Frame:
    """The table in a file, read lazily, or the one in the pipe. Raises InputError."""
    from swath import frames

    if source == PIPE:
        return _piped()
    ending = Path(source).suffix.lower()
    if ending not in _READERS:
        raise InputError(
            f"'{source}' has no known ending, so its format is not known.", hint=listing(_READERS)
        )
    name, options = _READERS[ending]
    frame: Frame = getattr(frames, name)(source, **options)
    return frame


def _piped() -> Frame:
    """JSON lines or CSV, told apart by the first character."""
    import io

    import polars as pl

    from swath.frames import frame

    data = sys.stdin.buffer.read()
    if not data.strip():
        raise InputError("Nothing came through the pipe.", hint="For example: cat in.csv | swath …")
    lines = data.lstrip().startswith(b"{")
    try:
        if lines:
            return frame(pl.read_ndjson(io.BytesIO(data), infer_schema_length=None))
        return frame(pl.read_csv(io.BytesIO(data), infer_schema_length=None))
    except (pl.exceptions.PolarsError, UnicodeError) as error:
        form = "JSON lines" if lines else "CSV"
        first = str(error).splitlines()[0]
        raise InputError(
            f"What came through the pipe is not {form}: {first}",
            hint="Save it to a file with the right ending.",
        ) from None


class Target:
    """Where the enriched table goes: a file, checked before anything is spent, or the pipe."""

    def __init__(self, out: str, source: str) -> None:
        self.name = out
        self.path: Path | None = None
        if out == PIPE:
            return
        from swath.frames import writers

        ending = Path(out).suffix.lower()
        if ending not in _WRITERS:
            raise OutputError(
                f"'{out}' has no known ending, so its format is not known.",
                hint=listing(_WRITERS),
            )
        self.path = writers.writable(out)
        if source != PIPE and self.path.exists() and self.path.samefile(source):
            raise OutputError(
                f"'{out}' is the input itself.", hint="Give another --out: the input is kept."
            )
        self._writer, self._options = _WRITERS[ending]

    def stream(self, frame: Frame) -> Callable[..., Any]:
        """The method of `frame` that runs it straight into this place, in bounded memory."""
        if self.path is None:
            return frame.run
        from functools import partial

        return partial(getattr(frame, f"write_{self._writer}"), self.path, **self._options)

    def save(self, table: pl.DataFrame) -> None:
        """A table that is here already: into the file, or to the pipe as JSON lines."""
        if self.path is None:
            console.say(table.write_ndjson().rstrip("\n"))
            return
        from swath.frames import writers
        from swath.frames.spool import Spool

        how = getattr(writers, self._writer)
        rows = Spool.of(table.lazy(), table.schema)
        writers.write(rows, self.path, lambda lazy, path: how(lazy, path, **self._options))
