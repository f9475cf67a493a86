"""What `swath calls` and `swath runs` share: a look into the ledger, and totals over its calls.

Calls that a router placed are summed by the name that was asked for (`auto`, …). What they saved is
held against the strong model for everything: the same tokens at its price, less what was paid.
Shadow calls, and a cascade's further samples, are paid for too and so taken off; a stored answer
costs and saves nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from swath.cli import console
from swath.cli.options import ledger, nothing_yet

if TYPE_CHECKING:
    from rich.table import Table

    from swath.store import Store

T = TypeVar("T")

MODELS = (
    "SELECT model, count(*) AS calls, sum(CASE WHEN status <> 'ok' THEN 1 ELSE 0 END) AS failed,"
    " sum(CASE WHEN cached THEN 1 ELSE 0 END) AS cached, sum(input_tokens) AS input_tokens,"
    " sum(output_tokens) AS output_tokens, sum(cost_usd) AS cost_usd,"
    " avg(total_ms) AS mean_ms FROM calls"
)
_BESIDE = "route_why IN ('shadow', 'sample')"  # beside a call, not one that was made for it
_ASKED = f"NOT cached AND status = 'ok' AND NOT {_BESIDE}"
ROUTES = (
    f"SELECT route, sum(CASE WHEN NOT {_BESIDE} THEN 1 ELSE 0 END) AS calls,"
    f" sum(CASE WHEN cached AND NOT {_BESIDE} THEN 1 ELSE 0 END) AS cached,"
    f" avg(CASE WHEN {_ASKED} THEN CASE WHEN model = route_strong THEN 1.0 ELSE 0.0 END END)"
    " AS strong_share,"
    " sum(CASE WHEN route_why <> 'shadow' THEN cost_usd ELSE 0 END) AS cost_usd,"
    " sum(CASE WHEN route_why = 'shadow' THEN cost_usd ELSE 0 END) AS shadow_usd,"
    " sum(strong_usd) AS strong_usd,"
    " sum(CASE WHEN strong_usd > 0 THEN strong_usd - cost_usd"
    f" WHEN {_BESIDE} THEN -cost_usd END) AS saved_usd FROM calls"
)
"""`strong_share` is of the answers that were bought. Where the strong model has no price, there is
nothing to hold against (`strong_usd` 0)."""


class Totals:
    """Sums over the calls that pass `where`: `models`, one row a model, and `routes`, one a name
    that a router placed."""

    def __init__(self, store: Store, where: str = "", values: list[Any] | None = None) -> None:
        given = values or []
        by_cost = f"{MODELS}{where} GROUP BY model ORDER BY cost_usd DESC"
        self.models = store.query(by_cost, given)
        routed = f"{where} AND" if where else " WHERE"
        self.routes = store.query(
            f"{ROUTES}{routed} route <> '' GROUP BY route ORDER BY route", given
        )
        for row in self.routes:
            if not row["strong_usd"]:
                row["saved_usd"] = None

    def show(self) -> None:
        screen = console.out()
        screen.print(_by_model(self.models))
        if self.routes:
            screen.print()
            screen.print(_by_route(self.routes))


def look(config: str | None, read: Callable[[Store], T]) -> T | None:
    """What `read` finds in the config's ledger; None where there is none yet, which is said."""
    from swath.config import load

    settings = load(config)
    store = ledger(settings)
    if store is None:
        console.note(nothing_yet(settings))
        return None
    try:
        return read(store)
    finally:
        store.close()


def _by_model(totals: list[dict[str, Any]]) -> Table:
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


def _by_route(totals: list[dict[str, Any]]) -> Table:
    numbers = ("calls", "stored", "strong", "cost", "shadows", "all strong", "saved")
    made = console.table("route", *numbers, right=numbers)
    for row in totals:
        share, all_strong = row["strong_share"], row["strong_usd"]
        made.add_row(
            row["route"],
            console.count(row["calls"] - row["cached"]),
            console.count(row["cached"]),
            "–" if share is None else f"{share:.0%}",
            console.dollars(row["cost_usd"]),
            console.dollars(row["shadow_usd"]),
            console.dollars(all_strong or None),
            _saved(row["saved_usd"], all_strong),
        )
    return made


def _saved(amount: float | None, of: float) -> str:
    if amount is None:
        return "–"
    sign = "-" if amount < 0 else ""
    return f"{sign}{console.dollars(abs(amount))} ({amount / of:.0%})"
