"""Tables for eyes: on a terminal and in a notebook."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

import polars as pl

if TYPE_CHECKING:
    from rich.table import Table

    from swath.frames.frame import Frame
    from swath.frames.result import FrameRun

CELL = 160  # characters of a cell that are shown


def show(run: FrameRun) -> None:
    """The table, and a line for what it took."""
    from rich.console import Console

    console = Console()
    console.print(rich_table(run.table))
    metrics = run.metrics
    failed = f", {metrics.failed} failed" if metrics.failed else ""
    console.print(
        f"{metrics.rows:,} rows asked about{failed}, {metrics.calls:,} calls, "
        f"{metrics.cached:,} answers from the store, ${metrics.cost_usd:.4f}",
        style="dim",
        highlight=False,
    )


def rich_table(table: pl.DataFrame) -> Table:
    """Structs as a column for each field, long cells cut, null as a dash."""
    from rich.table import Table

    flat = unnested(table)
    made = Table(show_lines=True, header_style="bold", expand=False)
    for name, dtype in flat.schema.items():
        made.add_column(name, justify="right" if dtype.is_numeric() else "left", overflow="fold")
    for row in flat.iter_rows():
        made.add_row(*(_cell(value) for value in row))
    return made


def unnested(table: pl.DataFrame) -> pl.DataFrame:
    """The first level of structs as columns `name.field`."""
    columns: list[pl.Series] = []
    for series in table.get_columns():
        if isinstance(series.dtype, pl.Struct):
            columns += [
                series.struct.field(f.name).alias(f"{series.name}.{f.name}")
                for f in series.dtype.fields
            ]
        else:
            columns.append(series)
    return pl.DataFrame(columns)


def _cell(value: Any) -> str:
    if value is None:
        return "—"
    text = " ".join(str(value).split())
    # Square brackets would be read as markup.
    text = text if len(text) <= CELL else text[: CELL - 1] + "…"
    return text.replace("[", "\\[")


def html(frame: Frame) -> str:
    """A frame in a notebook: its columns and its plan. Nothing runs for it."""
    head = "".join(f"<th>{escape(name)}</th>" for name in frame.columns)
    types = "".join(f"<td><small>{escape(str(t))}</small></td>" for t in frame.schema.values())
    plan = escape(str(frame.plan))
    return (
        f"<table><thead><tr>{head}</tr></thead><tbody><tr>{types}</tr></tbody></table>"
        f"<details><summary>plan</summary><pre>{plan}</pre></details>"
        "<small>Lazy: .show(), .collect() or .run() asks the models.</small>"
    )
