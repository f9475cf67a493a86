"""`swath runs`: each run of the ledger, and what all of them cost by model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from swath.cli import console
from swath.cli.calls import TOTALS, by_model
from swath.cli.options import ConfigPath, Json, ledger, nothing_yet

if TYPE_CHECKING:
    from rich.table import Table

COLUMNS = (
    "id, name, at, status, rows, ok, failed, calls, cached, retries, input_tokens,"
    " cached_input_tokens, output_tokens, cost_usd, seconds"
)


def runs(
    limit: Annotated[int, typer.Option(metavar="N", min=1, help="How many runs to show.")] = 20,
    as_json: Json = False,
    config: ConfigPath = None,
) -> None:
    """Show the newest runs, and what was spent by model. Nothing is asked or spent."""
    from swath.config import load

    settings = load(config)
    store = ledger(settings)
    if store is None:
        console.note(nothing_yet(settings))
        if as_json:
            console.say_json({"runs": [], "by_model": []})
        return
    try:
        rows = store.query(f"SELECT {COLUMNS} FROM runs ORDER BY at DESC LIMIT ?", [limit])
        totals = store.query(f"{TOTALS} GROUP BY model ORDER BY cost_usd DESC")
    finally:
        store.close()
    if as_json:
        console.say_json({"runs": rows, "by_model": totals})
        return
    if not rows and not totals:
        console.note("There are no runs yet.")
        return
    screen = console.out()
    if rows:
        screen.print(_table(rows))
        screen.print()
    screen.print(by_model(totals))
    screen.print("\nOne run's calls: swath calls --run ID", style="dim")


def _table(rows: list[dict[str, Any]]) -> Table:
    numbers = ("rows", "calls", "stored", "cost", "time")
    made = console.table("when", "id", "name", "status", *numbers, right=numbers, wrap=("name",))
    for row in rows:
        made.add_row(
            console.when(row["at"]),
            row["id"][:6],
            row["name"],
            row["status"],
            console.count(row["rows"]) + (f", {row['failed']:,} failed" if row["failed"] else ""),
            console.count(row["calls"]),
            console.count(row["cached"]),
            console.dollars(row["cost_usd"]),
            console.duration(row["seconds"]),
        )
    return made
