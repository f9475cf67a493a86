"""`swath calls`: single calls of the ledger, what they cost by model, and what routing saved."""

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
    "run, at, label, model, provider, model_id, wanted, status, error, cached, tries,"
    " input_tokens, cached_input_tokens, output_tokens, cost_usd, total_ms, wait_ms, backoff_ms,"
    " provider_ms, ttft_ms, hash, route, route_why, route_scores, route_strong, strong_usd"
)


def calls(
    run: Annotated[
        str | None,
        typer.Option(
            metavar="ID", help="Only this run: an id from `swath runs`, or its beginning."
        ),
    ] = None,
    model: Annotated[
        str | None, typer.Option(metavar="ALIAS", help="Only this model, by alias.")
    ] = None,
    route: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Only what a router placed under this name: auto, …"),
    ] = None,
    failed: Annotated[bool, typer.Option("--failed", help="Only calls that failed.")] = False,
    limit: Annotated[int, typer.Option(metavar="N", min=1, help="How many calls to show.")] = 20,
    as_json: Json = False,
    config: ConfigPath = None,
) -> None:
    """Show the newest calls, totals by model, and what routing saved. Nothing is asked or spent.

    Routed calls are summed by the name that was asked for: how many of the answers bought are the
    strong model's, and what was saved against asking it everything, shadow calls paid for.
    """

    def read(store: Store) -> tuple[list[dict[str, Any]], Totals]:
        where, values = _where(run, model, route, failed)
        rows = store.query(
            f"SELECT {COLUMNS} FROM calls{where} ORDER BY at DESC LIMIT ?", [*values, limit]
        )
        if not rows:
            _explain(store, {"run": run, "model": model, "route": route}, failed)
        return rows, Totals(store, where, values)

    found = look(config, read)
    rows = found[0] if found else []
    if as_json:
        totals = found[1] if found else None
        console.say_json(
            {
                "calls": rows,
                "by_model": totals.models if totals else [],
                "by_route": totals.routes if totals else [],
            }
        )
    elif found and rows:
        screen = console.out()
        screen.print(_table(rows))
        errors = {row["error"]: row["model"] for row in rows if row["error"]}
        if errors:
            screen.print()
            for error, alias in list(errors.items())[:5]:
                screen.print(f"  {alias}: {error}", markup=False)
        screen.print()
        found[1].show()


def _where(
    run: str | None, model: str | None, route: str | None, failed: bool
) -> tuple[str, list[Any]]:
    tests: list[str] = []
    values: list[Any] = []
    if run is not None:
        tests.append("run LIKE ?")
        values.append(run.replace("%", "").replace("_", "") + "%")
    if model is not None:
        tests.append("model = ?")
        values.append(model)
    if route is not None:
        tests.append("route = ?")
        values.append(route)
    if failed:
        tests.append("status <> 'ok'")
    return (f" WHERE {' AND '.join(tests)}" if tests else ""), values


def _explain(store: Store, asked: dict[str, str | None], failed: bool) -> None:
    """Nothing found: an unknown run, model or route is a mistake, else there is just nothing."""
    from swath.errors import InputError, listing

    for what, value in asked.items():
        if value is None:
            continue
        known = [
            r[what]
            for r in store.query(
                f"SELECT {what}, max(at) AS newest FROM calls WHERE {what} <> '' GROUP BY {what}"
                " ORDER BY newest DESC LIMIT 12"
            )
        ]
        if not any(name == value or (what == "run" and name.startswith(value)) for name in known):
            raise InputError(f"The ledger has no {what} '{value}'.", hint=listing(known, value))
    console.note("No call failed." if failed else "There are no calls yet.")


def _table(rows: list[dict[str, Any]]) -> Table:
    numbers = ("in", "out", "cost", "time")
    routed = ("route",) if any(row["route"] for row in rows) else ()
    made = console.table(
        "when",
        "run",
        "column",
        "model",
        "status",
        *numbers,
        *routed,
        right=numbers,
        wrap=("column",),
    )
    for row in rows:
        status = "stored" if row["cached"] else row["status"]
        if row["tries"] > 1:
            status += f", {row['tries']} tries"
        made.add_row(
            console.when(row["at"]),
            row["run"][:6],
            row["label"],
            row["model"],
            status,
            console.count(row["input_tokens"]),
            console.count(row["output_tokens"]),
            console.dollars(row["cost_usd"]),
            console.duration(row["total_ms"] / 1e3),
            *(f"{row['route']}: {row['route_why']}" if row["route"] else "" for _ in routed),
        )
    return made
