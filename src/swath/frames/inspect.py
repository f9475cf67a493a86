"""What is wrong with a file that could not be read: the first bad line, where one can be found."""

from __future__ import annotations

import csv
from pathlib import Path

import msgspec

from swath.errors import InputError
from swath.frames.plan import first_line

_KINDS = {
    "csv": "CSV",
    "json": "JSON",
    "jsonl": "JSON lines",
    "parquet": "Parquet",
    "ipc": "Arrow IPC",
}


def bad_line(file: Path, form: str, error: Exception) -> InputError:
    """Polars' error as one that names `file` and, for text formats, the line."""
    first = first_line(error).rstrip(".")
    try:
        found = _FINDERS[form](file, first) if form in _FINDERS and file.is_file() else None
    except OSError:
        found = None
    if found is not None:
        return InputError(f"'{file}', {found[0]}", hint=found[1])
    return InputError(
        f"'{file}' cannot be read as {_KINDS.get(form, form)}: {first}.", hint=_other_form(file)
    )


def _other_form(file: Path) -> str:
    """What the first bytes say it is."""
    if not file.is_file():
        return "Does the pattern match a file?"
    with file.open("rb") as handle:
        head = handle.read(64)
    if head.startswith(b"PAR1"):
        return "It looks like Parquet: use read_parquet."
    if head.startswith(b"ARROW1"):
        return "It looks like Arrow IPC: use read_ipc."
    if head.lstrip().startswith(b"["):
        return "It looks like a JSON array: use read_json."
    if head.lstrip().startswith(b"{"):
        return "It looks like JSON lines: use read_jsonl."
    return "Is it the right file, and whole?"


def _not_utf8(file: Path) -> tuple[str, str] | None:
    with file.open("rb") as handle:
        for number, line in enumerate(handle, 1):
            try:
                line.decode()
            except UnicodeDecodeError as error:
                return (
                    f"line {number}: not UTF-8 (byte {line[error.start]:#04x} at column "
                    f"{error.start + 1}).",
                    "Convert it: iconv -f latin1 -t utf-8 IN > OUT; for CSV encoding='utf8-lossy' "
                    "reads on.",
                )
    return None


def _in_csv(file: Path, said: str) -> tuple[str, str] | None:
    problem = _not_utf8(file)
    if problem:
        return problem
    with file.open(newline="", encoding="utf-8") as handle:
        rows = csv.reader(handle)
        try:
            width = len(next(rows, []))
            for row in rows:
                if len(row) > width:
                    return (
                        f"line {rows.line_num}: {len(row)} fields where the header has {width}.",
                        "Quote fields that hold a comma, or pass truncate_ragged_lines=True or "
                        "another separator=.",
                    )
        except csv.Error as error:
            return f"line {rows.line_num}: {error}.", "Is it CSV?"
    if "parsed as" in said or "dtype" in said:
        return (
            f"a value does not fit its column's type: {said}.",
            "Pass schema_overrides={'column': pl.String}, or infer_schema_length=None.",
        )
    return None


def _in_jsonl(file: Path, said: str) -> tuple[str, str] | None:
    problem = _not_utf8(file)
    if problem:
        return problem
    with file.open("rb") as handle:
        for number, line in enumerate(handle, 1):
            if not line.strip():
                continue
            try:
                value = msgspec.json.decode(line)
            except msgspec.DecodeError as error:
                hint = "Each line must be one JSON object."
                if number == 1 and line.lstrip().startswith(b"["):
                    hint = "It looks like a JSON array: use read_json."
                return f"line {number}: {error}.", hint
            if not isinstance(value, dict):
                return (
                    f"line {number}: not a JSON object.",
                    "It looks like a JSON array: use read_json."
                    if isinstance(value, list)
                    else "Each line must be one JSON object.",
                )
    return None


def _in_json(file: Path, said: str) -> tuple[str, str] | None:
    problem = _not_utf8(file)
    if problem:
        return problem
    data = file.read_bytes()
    try:
        msgspec.json.decode(data)
    except msgspec.DecodeError as error:
        lines = data.lstrip().splitlines()
        if lines and len(lines) > 1 and lines[0].startswith(b"{") and lines[0].endswith(b"}"):
            return "line 2: more than one JSON value.", "It looks like JSON lines: use read_jsonl."
        return f"{error}.", "It must hold one JSON array of objects."
    return None


_FINDERS = {"csv": _in_csv, "jsonl": _in_jsonl, "json": _in_json}
