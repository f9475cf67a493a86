"""Golden sets for tests: scripted models, and the files that a suite is made of."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import polars as pl

Respond = Callable[[str, dict[str, Any]], Any]

ROUTE = """\
data = "tickets.csv"
expected = "label"

[operator]
kind = "classify"
text = "text"
labels = ["card", "loan", "other"]
{prompt}

[[checks]]
kind = "exact"
{needs}
"""


def system(body: dict[str, Any]) -> str:
    first = body["messages"][0]
    return str(first["content"]) if first["role"] == "system" else ""


def route(prompt: str, body: dict[str, Any]) -> str:
    """The label is the word before the number: `card 3` is a card."""
    return prompt.split()[0]


def tickets(folder: Path, count: int = 20) -> pl.DataFrame:
    kinds = ("card", "loan", "other")
    rows = [
        {"id": f"t{i}", "text": f"{kinds[i % 3]} {i}", "label": kinds[i % 3]} for i in range(count)
    ]
    table = pl.DataFrame(rows)
    table.write_csv(folder / "tickets.csv")
    return table


def suite(folder: Path, needs: str = "", prompt: str = "", name: str = "golden.toml") -> Path:
    path = folder / name
    path.write_text(ROUTE.format(needs=needs, prompt=prompt))
    return path


def noisy(right: dict[str, float], seed: int) -> Respond:
    """A model that is right in a share of rows that depends on a word in its instructions, by a
    coin of its own for each instructions and row."""

    def respond(prompt: str, body: dict[str, Any]) -> str:
        said = system(body)
        share = next(value for word, value in right.items() if word in said)
        label = prompt.split()[0]
        coin = Random(f"{seed} {said} {prompt}").random()
        return label if coin < share else {"card": "loan", "loan": "other"}.get(label, "card")

    return respond


def number(text: str) -> int:
    return int(re.findall(r"\d+", text)[-1])
