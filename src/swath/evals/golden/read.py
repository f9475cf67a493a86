"""`golden.toml` read into a `Suite`: rows, an operator, checks. What is wrong is said before
anything is spent."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl

from swath.errors import ColumnNotFound, InputError, listing
from swath.evals.golden.asked import read_check
from swath.evals.golden.checks import Check
from swath.evals.golden.operator import Maker, read_operator
from swath.evals.golden.toml import GoldenError, Table, open_table


@dataclass(frozen=True)
class Suite:
    """A golden set. `table` holds the rows with their labels, `id` names the column that names a
    row, `cluster` the one whose equal values are one unit of evidence ("" for none). `places` says
    where the rows stand in the data, where it is a part of them."""

    name: str
    table: pl.DataFrame
    maker: Maker
    checks: tuple[Check, ...]
    models: tuple[str, ...] = ()
    id: str = ""
    cluster: str = ""
    file: str = ""
    places: tuple[int, ...] = ()

    def limit(self, rows: int | None) -> Suite:
        return self if rows is None else self.keep(range(min(rows, self.table.height)))

    def keep(self, rows: Sequence[int]) -> Suite:
        """Only these rows, by position."""
        places = tuple(self.places[i] if self.places else i for i in rows)
        return replace(self, table=self.table[list(rows)], places=places)


def read_suite(path: str | os.PathLike[str]) -> Suite:
    """The suite in a file. Raises GoldenError, which names the key and its line."""
    file = Path(path)
    name = file.name.removesuffix(".toml").removesuffix(".golden")
    return suite_of(open_table(file), file.parent, name, str(file))


def suite_of(table: Table, folder: Path, name: str, file: str = "") -> Suite:
    """The suite that a table describes; paths in it start at `folder`."""
    name = table.text("name", name)
    rows = _rows(table, folder)
    rows = rows.head(table.whole("limit", rows.height, least=1))
    id, cluster = _column(table, "id", rows), _column(table, "cluster", rows)
    label = _column(table, "expected", rows)
    models = table.texts("models")
    asked = table.table("operator")
    checks = table.tables("checks")
    table.done()
    if asked is None:
        table.required("operator", '{ kind = "classify", … }')
    if not checks:
        table.wrong("checks", "There are no checks", 'Add one: [[checks]] kind = "exact" …')
    maker = read_operator(asked, folder)
    read = [check for one in checks for check in read_check(one, folder, rows.columns, label)]
    suite = Suite(
        name,
        rows,
        maker,
        _named_apart(read),
        models,
        id or ("id" if "id" in rows.columns else ""),
        cluster,
        file,
    )
    if not maker.wanted:
        _try(suite, asked)
    return suite


def _rows(table: Table, folder: Path) -> pl.DataFrame:
    from swath.cli.tables import read
    from swath.frames.readers import frame

    data, cases = table.text("data"), table.tables("cases")
    if (data is None) == (not cases):
        table.wrong(
            "data",
            "The rows come from 'data' or from [[cases]], one of both",
            'For example data = "labelled.csv".',
        )
    try:
        if data is not None:
            rows = read(str(folder / data)).collect()
        else:
            rows = frame([case.values() for case in cases]).collect()
    except InputError as error:
        table.wrong("data" if data else "cases", error.message.rstrip("."), error.hint)
    if not rows.height:
        table.wrong("data", f"'{data}' has no rows", "It needs at least one.")
    return rows


def _column(table: Table, key: str, rows: pl.DataFrame) -> str:
    name = table.text(key, "")
    if name and name not in rows.columns:
        table.one_of(key, name, rows.columns, "column")
    return name


def _named_apart(checks: Sequence[Check]) -> tuple[Check, ...]:
    """Two regex checks are `regex` and `regex 2`."""
    taken: dict[str, int] = {}
    found = []
    for check in checks:
        taken[check.name] = number = taken.get(check.name, 0) + 1
        found.append(check if number == 1 else replace(check, name=f"{check.name} {number}"))
    return tuple(found)


def _try(suite: Suite, asked: Table) -> None:
    """Make the operator, and look whether its columns and the checks' fields are there."""
    try:
        operator = suite.maker.make(None)
        operator.reads(suite.table.schema)
    except ColumnNotFound as error:
        key = "prompt" if suite.maker.kind in ("map", "predicate") else "text"
        asked.wrong(key, error.message.rstrip("."), error.hint)
    except InputError as error:
        keys = {"extract": "schema", "classify": "labels", "python": "function"}
        asked.wrong(keys.get(suite.maker.kind, "prompt"), error.message.rstrip("."), error.hint)
    check_fields(suite, operator.dtype)


def check_fields(suite: Suite, dtype: pl.DataType) -> None:
    """Raises GoldenError where a check looks at a field that the answer has not."""
    for check in suite.checks:
        inner: Any = dtype
        for part in check.field.split(".") if check.field else ():
            while isinstance(inner, pl.List):
                inner = inner.inner
            have = dict(inner) if isinstance(inner, pl.Struct) else {}
            if part not in have:
                raise GoldenError(
                    f"The check '{check.name}' looks at the field '{check.field}', which the "
                    f"answer does not have{check.where}.",
                    hint=listing(have, part) if have else "The answer is not a struct.",
                )
            inner = have[part]
