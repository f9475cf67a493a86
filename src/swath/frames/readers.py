"""Tables in: files that Polars scans, and anything that speaks Arrow.

A file's faults are named with the file, the line where it can be told, and what to do: the obvious
ones at once, those further in when the reading gets there.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl

from swath.errors import InputError, MissingExtra
from swath.frames.frame import Frame
from swath.frames.inspect import bad_line
from swath.frames.plan import Plan, Source

PathLike = str | os.PathLike[str]
INFER_ALL = 16 * 2**20  # bytes: a file up to this size is read whole to infer its types
INFER_ROWS = 10_000


def read_csv(path: PathLike, **options: Any) -> Frame:
    """A CSV file, read lazily; `options` are those of `polars.scan_csv`."""
    file = _file(path)
    if not _has_glob(file):
        options.setdefault("infer_schema_length", _infer(file))
    return _scanned(file, "csv", lambda: pl.scan_csv(file, **options))


def read_jsonl(path: PathLike, **options: Any) -> Frame:
    """A file of JSON lines, read lazily; `options` are those of `polars.scan_ndjson`."""
    file = _file(path)
    if not _has_glob(file):
        options.setdefault("infer_schema_length", _infer(file))
    return _scanned(file, "jsonl", lambda: pl.scan_ndjson(file, **options))


def read_json(path: PathLike, **options: Any) -> Frame:
    """A JSON file that holds an array of objects; `options` are those of `polars.read_json`."""
    file = _file(path)

    def scan() -> pl.LazyFrame:
        table: pl.DataFrame = pl.read_json(file, infer_schema_length=None, **options)
        return table.lazy()

    return _scanned(file, "json", scan)


def read_parquet(path: PathLike, **options: Any) -> Frame:
    """A Parquet file, read lazily; `options` are those of `polars.scan_parquet`."""
    file = _file(path)
    return _scanned(file, "parquet", lambda: pl.scan_parquet(file, **options))


def read_ipc(path: PathLike, **options: Any) -> Frame:
    """An Arrow IPC (Feather) file, read lazily; `options` are those of `polars.scan_ipc`."""
    file = _file(path)
    return _scanned(file, "ipc", lambda: pl.scan_ipc(file, **options))


def frame(data: Any) -> Frame:
    """A frame over a Polars, pandas or PyArrow table, a DuckDB or Ibis relation, anything else
    with `__arrow_c_stream__`, a dict of columns, or a list of dicts."""
    if isinstance(data, Frame):
        return data
    if isinstance(data, pl.LazyFrame):
        return Frame(_plan(Source(data, "a Polars query")))
    if isinstance(data, pl.DataFrame):
        table = data
    elif isinstance(data, pl.Series):
        table = data.to_frame()
    else:
        table = _table(data)
    return Frame(_plan(Source(table.lazy(), _about(table), table.height, sliceable=True)))


def _table(data: Any) -> pl.DataFrame:
    try:
        if type(data).__module__.split(".")[0] == "pandas":
            return pl.from_pandas(data)
        if hasattr(data, "__arrow_c_stream__"):
            return pl.DataFrame(data)
        if isinstance(data, dict):
            return pl.DataFrame(data, strict=False)
        if isinstance(data, list) and all(isinstance(row, dict) for row in data):
            return pl.DataFrame(data, infer_schema_length=None, strict=False)
    except (pl.exceptions.PolarsError, TypeError, ValueError) as error:
        raise InputError(
            f"The {type(data).__name__} is no table: {str(error).splitlines()[0]}",
            hint="Columns must be of equal length and one type each.",
        ) from None
    except ImportError:
        raise MissingExtra("Reading a pandas table", "pandas") from None
    raise InputError(
        f"A table was expected, not {type(data).__name__}.",
        hint="Give a Polars, pandas or Arrow table, a dict of columns, or a list of dicts; "
        "for a file there are read_csv, read_jsonl, read_json, read_parquet and read_ipc.",
    )


def _about(table: pl.DataFrame) -> str:
    return f"a table of {table.height:,} rows"


def _file(path: PathLike) -> Path:
    file = Path(path).expanduser()
    if _has_glob(file):
        return file
    if file.is_dir():
        raise InputError(
            f"'{path}' is a folder.", hint=f"Name a file in it, or a pattern such as {path}/*.csv."
        )
    if not file.exists():
        raise InputError(f"There is no file '{path}'.", hint=_neighbours(file))
    if not os.access(file, os.R_OK):
        raise InputError(f"'{path}' cannot be read: permission denied.", hint="Check its mode.")
    if file.stat().st_size == 0:
        raise InputError(f"'{path}' is empty.", hint="It needs at least a header and a row.")
    return file


def _has_glob(file: Path) -> bool:
    return any(c in str(file) for c in "*?[") and not file.exists()


def _neighbours(file: Path) -> str:
    from swath.errors import listing

    if not file.parent.is_dir():
        return f"There is no folder '{file.parent}' either."
    names = [p.name for p in file.parent.iterdir() if p.is_file() and not p.name.startswith(".")]
    return f"In '{file.parent}': {listing(names, file.name)}" if names else "Its folder is empty."


def _infer(file: Path) -> int | None:
    return None if file.stat().st_size <= INFER_ALL else INFER_ROWS


def _scanned(file: Path, form: str, scan: Callable[[], pl.LazyFrame]) -> Frame:
    def explain(error: Exception) -> Exception:
        return bad_line(file, form, error)

    try:
        table = scan()
        schema = table.collect_schema()
    except (pl.exceptions.PolarsError, OSError, UnicodeError, ValueError) as error:
        raise explain(error) from None
    except TypeError as error:
        raise InputError(
            f"read_{form}: {error}", hint=f"Options are those of Polars' reader for {form}."
        ) from None
    if not len(schema):
        raise InputError(f"'{file}' has no columns.", hint="Is it the right file?")
    size = file.stat().st_size if file.is_file() else None
    sliceable = form in ("parquet", "ipc")
    source = Source(table, file.name, size=size, explain=explain, sliceable=sliceable)
    return Frame(_plan(source))


def _plan(source: Source) -> Plan:
    schema = source.table.collect_schema()
    if not len(schema):
        raise InputError("The table has no columns.", hint="Give it at least one.")
    return Plan(source, (), schema)
