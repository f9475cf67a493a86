"""Tickets sorted by any OpenAI-compatible server: vLLM, Ollama, llama.cpp's server, a gateway.

OPENAI_BASE_URL=http://localhost:11434/v1 OPENAI_MODEL=llama3.2 python examples/own_server.py
"""

import os
from typing import Literal

import polars as pl
from pydantic import BaseModel, Field

import swath as sw

TICKETS = {
    "id": [1, 2, 3, 4],
    "text": [
        "My card was stolen in Lisbon this morning, please block it.",
        "How do I change the address on my account?",
        "You charged me twice for the same transfer!",
        "ok",
    ],
}


class Triage(BaseModel):
    summary: str = Field(description="what the customer wants, in a few words")
    urgency: Literal["low", "medium", "high"]


sw.Session(
    {
        "models": {
            "fast": {
                "provider": "openai",
                "model": os.environ.get("OPENAI_MODEL", "llama3.2"),
                "base_url": os.environ.get("OPENAI_BASE_URL", "http://localhost:11434/v1"),
                "price": {"input": 0.0, "output": 0.0},  # dollars per million tokens
                "concurrency": 16,
            }
        }
    }
)

frame = (
    sw.frame(TICKETS)
    .filter(pl.col("text").str.len_chars() > 10)
    .with_columns(triage=sw.extract("text", Triage, model="fast"))
    .with_columns(urgency=pl.col("triage").struct.field("urgency"))
)
print(frame.explain())  # calls, tokens, dollars: nothing is spent yet

run = frame.write_csv("tickets-triaged.csv", max_cost=0.10)
print(run)
print(run.table)
for error in run.errors.iter_rows(named=True):
    print("failed:", error)
