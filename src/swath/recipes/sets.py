"""What the golden sets name: each recipe as an operator over the column `text`, and a check.

[operator]
kind = "python"
function = "swath.recipes.sets:arguments"
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from swath import recipes
from swath.recipes.recipe import Group, Row

if TYPE_CHECKING:
    from swath.operators.base import Operator


def __getattr__(name: str) -> Operator:
    found = vars(recipes).get(name)
    if not isinstance(found, Row | Group):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if isinstance(found, Group):
        return found("text", **found.sample)
    return found("text", examples=False, **found.sample)  # it is tested on them


def agrees(answer: Any, row: Mapping[str, Any]) -> tuple[float, str]:
    """How far `answer` says what `row["answer"]` does: the F1 of their words, field by field, and
    of that the mean. A label is a word; of lists the order does not count; a number counts by its
    distance, 1 less for each 4 apart. Rough: other words for the same thing lose."""
    fields = _fields(answer), _fields(row["answer"])
    names = sorted({*fields[0], *fields[1]})
    parts = {name: _alike(*(said.get(name, []) for said in fields)) for name in names}
    told = ", ".join(f"{name or 'words'} {value:.2f}" for name, value in parts.items())
    return (sum(parts.values()) / len(parts) if parts else 1.0), told


def _fields(value: Any, name: str = "") -> dict[str, list[Any]]:
    """Everything said, by the name of its field."""
    if value is None or value == "":
        return {}
    if isinstance(value, Mapping):
        pairs = [_fields(inner, key) for key, inner in value.items()]
    elif isinstance(value, list):
        pairs = [_fields(inner, name) for inner in value]
    else:
        return {name: [value]}
    found: dict[str, list[Any]] = {}
    for pair in pairs:
        for key, said in pair.items():
            found.setdefault(key, []).extend(said)
    return found


def _alike(got: list[Any], wanted: list[Any]) -> float:
    if len(got) == len(wanted) == 1 and all(isinstance(v, int) for v in (*got, *wanted)):
        return float(max(1 - abs(got[0] - wanted[0]) / 4, 0.0))
    a, b = _words(got), _words(wanted)
    shared = (a & b).total()
    return float(2 * shared / (a.total() + b.total())) if a and b else float(a == b)


def _words(said: list[Any]) -> Counter[str]:
    return Counter(re.findall(r"\w+", " ".join(map(str, said)).casefold()))
