"""Tables into files: checked before anything is spent, written beside, and put in place whole."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import polars as pl

from swath.errors import OutputError
from swath.frames.spool import Spool

Write = Callable[[pl.LazyFrame, Path], Any]


def writable(path: str | os.PathLike[str]) -> Path:
    """`path` as a Path if a file can be written there. Raises OutputError."""
    target = Path(path).expanduser()
    folder = target.parent
    if target.is_dir():
        raise OutputError(f"'{path}' is a folder.", hint=f"Name a file in it, e.g. {target}/out.")
    if not folder.is_dir():
        raise OutputError(f"There is no folder '{folder}'.", hint=f"Create it: mkdir -p {folder}")
    if not os.access(folder, os.W_OK) or (target.exists() and not os.access(target, os.W_OK)):
        raise OutputError(
            f"'{path}' cannot be written: permission denied.", hint="Choose another place."
        )
    try:
        # Permissions do not tell all: a disk may be read-only, or the user root.
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise OutputError(
            f"'{path}' cannot be written: {error.strerror}.", hint="Choose another place."
        ) from None
    return target


def write(spool: Spool, target: Path, how: Write) -> None:
    """All rows into `target`, which is replaced only once the new file is whole."""
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    os.close(handle)
    beside = Path(name)
    try:
        how(spool.lazy(), beside)
        beside.chmod(0o666 & ~_umask())
        beside.replace(target)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise OutputError(
            f"'{target}' could not be written: {str(error).splitlines()[0]}",
            hint="The answers are stored: mend this and run again, it costs nothing.",
        ) from None
    finally:
        with suppress(FileNotFoundError):
            beside.unlink()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def parquet(rows: pl.LazyFrame, path: Path, **options: Any) -> None:
    rows.sink_parquet(path, **options)


def jsonl(rows: pl.LazyFrame, path: Path, **options: Any) -> None:
    rows.sink_ndjson(path, **options)


def json(rows: pl.LazyFrame, path: Path) -> None:
    rows.collect(engine="streaming").write_json(path)


def ipc(rows: pl.LazyFrame, path: Path, **options: Any) -> None:
    rows.sink_ipc(path, **options)


def csv(rows: pl.LazyFrame, path: Path, **options: Any) -> None:
    flat(rows).sink_csv(path, **options)


def flat(rows: pl.LazyFrame) -> pl.LazyFrame:
    """What CSV can hold: a struct's fields as columns `name.field`, lists as JSON text."""
    schema = rows.collect_schema()
    return rows.select(
        [expr for name, dtype in schema.items() for expr in _flat(pl.col(name), name, dtype)]
    )


def _flat(expr: pl.Expr, name: str, dtype: pl.DataType) -> list[pl.Expr]:
    if isinstance(dtype, pl.Struct):
        return [
            flat_field
            for f in dtype.fields
            for flat_field in _flat(
                expr.struct.field(f.name), f"{name}.{f.name}", _instance(f.dtype)
            )
        ]
    if isinstance(dtype, pl.List | pl.Array):
        from swath.operators.template import as_text

        return [as_text(expr, dtype).alias(name)]
    if dtype == pl.Binary:
        return [expr.bin.encode("base64").alias(name)]
    return [expr.alias(name)]


def _instance(dtype: Any) -> pl.DataType:
    made: pl.DataType = dtype() if isinstance(dtype, type) else dtype
    return made
