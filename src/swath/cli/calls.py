"""`swath calls`: single calls of the ledger, and what they cost by model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from swath.cli import console
from swath.cli.options import ConfigPath, Json, ledger, nothing_yet

if TYPE_CHECKING:
    from rich.table import Table

    from swath.store import Store

COLUMNS = (
    "run, at, label, model, provider, model_id, wanted, status, error, cached, tries,"
    " input_tokens, cached_input_tokens, output_tokens, cost_usd, total_ms, wait_ms, backoff_ms,"
    " provider_ms, ttft_ms, hash"
)
TOTALS = (
    "SELECT model, count(*) AS calls, sum(CASE WHEN status <> 'ok' THEN 1 ELSE 0 END) AS failed,"
    " sum(CASE WHEN cached THEN 1 ELSE 0 END) AS cached, sum(input_tokens) AS input_tokens,"
    " sum(output_tokens) AS output_tokens, sum(cost_usd) AS cost_usd,"
    " avg(total_ms) AS mean_ms FROM calls"
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
    failed: Annotated[bool, typer.Option("--failed", help="Only calls that failed.")] = False,
    limit: Annotated[int, typer.Option(metavar="N", min=1, help="How many calls to show.")] = 20,
    as_json: Json = False,
    config: ConfigPath = None,
) -> None:
    """Show the newest calls, and totals by model. Nothing is asked or spent."""
    from swath.config import load

    settings = load(config)
    store = ledger(settings)
    if store is None:
        console.note(nothing_yet(settings))
        if as_json:
            console.say_json({"calls": [], "by_model": []})
        return
    try:
        where, values = _where(run, model, failed)
        rows = store.query(
            f"SELECT {COLUMNS} FROM calls{where} ORDER BY at DESC LIMIT ?", [*values, limit]
        )
        totals = store.query(f"{TOTALS}{where} GROUP BY model ORDER BY cost_usd DESC", values)
        if not rows:
            _explain(store, run, model, failed)
    finally:
        store.close()
    if as_json:
        console.say_json({"calls": rows, "by_model": totals})
        return
    if not rows:
        return
    screen = console.out()
    screen.print(_table(rows))
    errors = {row["error"]: row["model"] for row in rows if row["error"]}
    if errors:
        screen.print()
        for error, alias in list(errors.items())[:5]:
            screen.print(f"  {alias}: {error}", markup=False)
    screen.print()
    screen.print(by_model(totals))


def _where(run: str | None, model: str | None, failed: bool) -> tuple[str, list[Any]]:
    tests: list[str] = []
    values: list[Any] = []
    if run is not None:
        tests.append("run LIKE ?")
        values.append(run.replace("%", "").replace("_", "") + "%")
    if model is not None:
        tests.append("model = ?")
        values.append(model)
    if failed:
        tests.append("status <> 'ok'")
    return (f" WHERE {' AND '.join(tests)}" if tests else ""), values


def _explain(store: Store, run: str | None, model: str | None, failed: bool) -> None:
    """Nothing found: an unknown run or model is a mistake, else there is just nothing."""
    from swath.errors import InputError, listing

    for what, value in (("run", run), ("model", model)):
        if value is None:
            continue
        known = [
            r[what]
            for r in store.query(
                f"SELECT {what}, max(at) AS newest FROM calls GROUP BY {what}"
                " ORDER BY newest DESC LIMIT 12"
            )
        ]
        if not any(name == value or (what == "run" and name.startswith(value)) for name in known):
            raise InputError(f"The ledger has no {what} '{value}'.", hint=listing(known, value))
    console.note("No call failed." if failed else "There are no calls yet.")


def _table(rows: list[dict[str, Any]]) -> Table:
    numbers = ("in", "out", "cost", "time")
    made = console.table(
        "when", "run", "column", "model", "status", *numbers, right=numbers, wrap=("column",)
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
        )
    return made


def by_model(totals: list[dict[str, Any]]) -> Table:
    """Totals, one line a model."""
    numbers = ("calls", "stored", "failed", "tokens in", "out", "cost", "mean time")
    made = console.table("model", *numbers, right=numbers)
    for row in totals:
        made.add_row(
            row["model"],
            console.count(row["calls"] - row["cached"]),
            console.count(row["cached"]),
            console.count(row["failed"]),
            console.count(row["input_tokens"]),
            console.count(row["output_tokens"]),
            console.dollars(row["cost_usd"]),
            console.duration(row["mean_ms"] / 1e3),
        )
    return made
