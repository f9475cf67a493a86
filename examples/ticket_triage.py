"""Ticket triage: sort bank tickets, keep what is urgent, read only that, find each a solution.

python examples/ticket_triage.py [ROWS]       (Banking77, CC BY 4.0; the local model)
"""

import sys

import polars as pl
from pydantic import BaseModel, Field
from shared_data import path

import swath as sw

TEAMS = {
    "cards": "a bank card: lost, stolen, not arrived, declined, its PIN",
    "transfers": "money sent to or received from another account",
    "top-ups": "adding money to the account",
    "identity": "proving who the customer is, or changing personal details",
}
SOLUTIONS = sw.frame(
    {
        "solution": [
            "Block the card at once in the app and order a new one.",
            "Wait: a card takes up to ten working days, then we send another.",
            "Unblock the PIN at any cash machine.",
            "A transfer inside the country takes one day, abroad up to five.",
            "Cancel a transfer in the app while it is pending.",
            "Top up by card or bank transfer; failed top-ups come back in a day.",
            "Verify your identity with a passport photo in the app.",
            "Dispute a payment that you did not make: we refund it while we look into it.",
            "Exchange rates and fees are listed under Rates in the app.",
        ]
    }
)


class Case(BaseModel):
    summary: str = Field(description="what this customer asks, in a few words")


rows = int(sys.argv[1]) if len(sys.argv) > 1 else 24
tickets = sw.read_csv(path("banking77_tickets.csv")).sample(rows, seed=7)
urgent = (
    tickets.with_columns(team=sw.classify("text", TEAMS))
    .filter(sw.predicate("Money or a card of the customer is at risk right now: {text}"))
    .with_columns(case=sw.extract("text", Case))
    .sim_join(SOLUTIONS, "text", "solution", k=1)
)
print(urgent.explain())
run = urgent.run()
print(run)
for row in run.table.head(5).iter_rows(named=True):
    print(f"\n[{row['team']}] {row['text']}\n  asks: {row['case']['summary']}")
    print(f"  solution: {row['solution']} ({row['similarity']:.2f})")

# What it took, from the ledger.
calls = sw.calls().filter(pl.col("run") == run.id)
print(calls.group_by("label").agg(pl.len().alias("calls"), pl.col("total_ms").mean()).collect())
