"""Two models as servers, one small and one large, and what they are asked about."""

from __future__ import annotations

import math
import re
from typing import Any

import swath as sw
from tests.servers import Answer

ROWS = 600
CHEAP = {"price": {"input": 0.1, "output": 0.4}}  # a tenth of the large model's


def texts(n: int = ROWS) -> list[str]:
    """Every third is about a card; `level` says how hard a text is to read, 0 to 99."""
    return [
        f"Ticket {i}: a {'card' if i % 3 == 0 else 'loan'}, level {37 * i % 100}" for i in range(n)
    ]


def truth(text: str) -> bool:
    return " card," in text


def level(text: str) -> int:
    found = re.search(r"level (\d+)", text)
    return int(found[1]) if found else 0


def says(yes: bool, probability: float, words: tuple[str, str] = ("yes", "no")) -> Answer:
    word, other = words if yes else words[::-1]
    return Answer(
        word, top_logprobs={word: math.log(probability), other: math.log(1.0001 - probability)}
    )


def large(text: str, body: Any) -> Answer:
    return says(truth(text), 0.99)


def small(text: str, body: Any) -> Answer:
    """Wrong on one in three of the hard texts, and not sure of those."""
    hard = level(text) < 30
    wrong = hard and level(text) % 3 == 0
    return says(truth(text) ^ wrong, 0.6 if hard else 0.9 + level(text) / 1000)


def sly(text: str, body: Any) -> Answer:
    """Wrong on one in four, and sure of all."""
    return says(truth(text) ^ (level(text) % 4 == 0), 0.99)


def card(model: Any, **settings: Any) -> Any:
    return sw.predicate("A card was lost: {text}", model=model, **settings)
