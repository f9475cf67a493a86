"""The rows of `benchmarks.operators`, their true answers, and how well a system's answers fit.

Standard library only: the peers' environments and the mock server read it too. Texts are of one
line and distinct, so that the mock can find them in any system's prompt.
"""

from __future__ import annotations

import csv
import os
import random
import sys
from functools import cache
from pathlib import Path
from typing import Any

TASKS = ("predicate", "map", "extract", "join", "top-k")
MEASURES = {
    "predicate": "F1",
    "map": "accuracy",
    "extract": "accuracy",
    "join": "F1",
    "top-k": "precision@k",
    "self-join": "F1",
}
K = 10


def folder() -> Path:
    """SWATH_DATA, or a `shared/data` beside or above the repository."""
    given = os.environ.get("SWATH_DATA")
    folders = [Path(given)] if given else [p / "shared/data" for p in Path(__file__).parents]
    for found in folders:
        if (found / "banking77_tickets.csv").exists():
            return found
    sys.exit("The data was not found: name its folder in SWATH_DATA (see docs/examples.md).")


def read(name: str, encoding: str = "utf-8") -> list[dict[str, str]]:
    with open(folder() / name, encoding=encoding, newline="") as file:
        return list(csv.DictReader(file))


def single(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Of texts with a fact each, those of one line; of equal ones the first."""
    found: dict[str, Any] = {}
    for text, fact in pairs:
        if text == text.strip() and "\n" not in text:
            found.setdefault(text, fact)
    return found


# -- what is true of all texts


@cache
def about_card() -> dict[str, bool]:
    """A ticket's text -> whether it is about a card, by its category."""
    rows = read("banking77_tickets.csv")
    return single([(row["text"], "card" in row["category"]) for row in rows])


@cache
def sentiment() -> dict[str, str]:
    return single([(row["text"], row["label"]) for row in read("reviews_polarity.csv")])


def heading(text: str) -> str:
    """The true answer of the map: its first five words."""
    return " ".join(text.split()[:5])


@cache
def products() -> dict[str, dict[str, str]]:
    """A product's name -> its maker (the first word) and code (what follows the last dash)."""
    rows = read("products_abt.csv", "latin1") + read("products_buy.csv", "latin1")
    names = [row["name"] for row in rows if " - " in row["name"]]
    said = [(n, {"maker": n.split()[0], "code": n.rpartition(" - ")[2].strip()}) for n in names]
    return single(said)


@cache
def prices() -> dict[str, float]:
    rows = read("products_abt.csv", "latin1") + read("products_buy.csv", "latin1")
    priced = [(row["name"], row["price"].strip("$").replace(",", "")) for row in rows]
    return single([(name, float(price)) for name, price in priced if price])


@cache
def same_product() -> set[tuple[str, str]]:
    """The true pairs of Abt-Buy by name."""
    abt = {row["id"]: row["name"].strip() for row in read("products_abt.csv", "latin1")}
    buy = {row["id"]: row["name"].strip() for row in read("products_buy.csv", "latin1")}
    mapping = read("products_abt_buy_perfect_mapping.csv")
    return {(abt[row["idAbt"]], buy[row["idBuy"]]) for row in mapping}


# -- the rows of a task


def texts(task: str, rows: int) -> list[str]:
    """The same for every system; drawn at random with a fixed seed."""
    pool: dict[str, list[str]] = {
        "predicate": list(about_card()),
        "map": list(sentiment()),
        "extract": list(products()),
        "top-k": list(prices()),
        "self-join": list(sentiment()),
    }
    known = pool[task]
    return random.Random(7).sample(known, min(rows, len(known)))


def sides(rows: int) -> tuple[list[str], list[str]]:
    """The two tables of the join: names of which each has its match on the other side."""
    pairs = sorted(same_product())
    drawn = random.Random(7).sample(pairs, min(rows, len(pairs)))
    left, right = ([pair[side] for pair in drawn] for side in (0, 1))
    return list(dict.fromkeys(left)), list(dict.fromkeys(right))


# -- how good the answers are


def share(good: list[bool]) -> float:
    return sum(good) / len(good)


def quality(task: str, rows: int, answers: list[Any], k: int = K) -> float:
    """`answers` are: the texts kept (predicate), [text, answer] each (map, extract), pairs of
    texts (joins), the texts in order (top-k)."""
    if task == "map":
        said, asked = dict(answers), texts(task, rows)
        return share([said.get(text) == heading(text) for text in asked])
    if task == "extract":
        told, asked = dict(answers), texts(task, rows)
        fields = [
            (told.get(text) or {}).get(name) == value
            for text in asked
            for name, value in products()[text].items()
        ]
        return share(fields)
    if task == "top-k":
        known, asked = prices(), texts(task, rows)
        best = sorted((known[text] for text in asked), reverse=True)[:k]
        return sum(known[text] >= best[-1] for text in answers[:k]) / len(best[:k])
    if task == "predicate":
        found = set(answers)
        true: set[Any] = {text for text in texts(task, rows) if about_card()[text]}
    elif task == "join":
        left, right = sides(rows)
        found = {tuple(pair) for pair in answers}
        true = {(a, b) for a, b in same_product() if a in set(left) and b in set(right)}
    else:
        reviews, label = texts(task, rows), sentiment()
        found = {tuple(pair) for pair in answers if pair[0] != pair[1]}
        true = {(a, b) for a in reviews for b in reviews if a != b and label[a] == label[b]}
    return 2 * len(found & true) / max(len(found) + len(true), 1)
