"""`swath runs`: each run of the ledger, what all of them cost by model, and what routing saved."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from swath.cli import console
from swath.cli.ledger import Totals, look
from swath.cli.options import ConfigPath, Json

if TYPE_CHECKING:
    from rich.table import Table

    from swath.store import Store

COLUMNS = (
    "id, name, at, status, rows, ok, failed, calls, cached, retries, input_tokens,"
    " cached_input_tokens, output_tokens, cost_usd, seconds"
)


def runs(
    limit: Annotated[int, typer.Option(metavar="N", min=1, help="How many runs to show.")] = 20,
    as_json: Json = False,
    config: ConfigPath = None,
) -> None:
    """Show the newest runs, what was spent by model, and what routing saved. Nothing is asked."""

    def read(store: Store) -> tuple[list[dict[str, Any]], Totals]:
        newest = f"SELECT {COLUMNS} FROM runs ORDER BY at DESC LIMIT ?"
        return store.query(newest, [limit]), Totals(store)

    found = look(config, read)
    if as_json:
        totals = found[1] if found else None
        console.say_json(
            {
                "runs": found[0] if found else [],
                "by_model": totals.models if totals else [],
                "by_route": totals.routes if totals else [],
            }
        )
        return
    if not found:
        return
    rows, totals = found
    if not rows and not totals.models:
        console.note("There are no runs yet.")
        return
    screen = console.out()
    if rows:
        screen.print(_table(rows))
        screen.print()
    totals.show()
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
