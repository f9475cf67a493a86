"""Answers and labels made comparable: a CSV knows only texts, an operator has types."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime, time
from typing import Any

import msgspec

_YES, _NO = frozenset({"true", "yes", "1"}), frozenset({"false", "no", "0"})


def field_of(value: Any, path: str) -> Any:
    """What lies at `a.b` in a struct; through a list, the list of what lies there in each."""
    for name in path.split(".") if path else ():
        if isinstance(value, list):
            value = [item.get(name) for item in value if isinstance(item, Mapping)]
        else:
            value = value.get(name) if isinstance(value, Mapping) else None
    return value


def as_text(value: Any) -> str:
    """A text as it stands; true and false; numbers without a needless .0; the rest as JSON."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, date | datetime | time):
        return value.isoformat()
    return msgspec.json.encode(value, order="deterministic").decode()


def same(answer: Any, label: Any, ignore_case: bool = False) -> bool:
    """Whether they say the same, whatever type the file gave the label."""
    if answer is None or label is None:
        return answer is label
    if isinstance(answer, bool):
        said = as_text(label).strip().casefold()
        return said in (_YES if answer else _NO)
    if isinstance(answer, int | float):
        number = as_number(label)
        return number is not None and float(answer) == number
    if isinstance(answer, list | Mapping):
        label = from_json(label)
        return as_text(_folded(answer, ignore_case)) == as_text(_folded(label, ignore_case))
    a, b = as_text(answer).strip(), as_text(label).strip()
    return a.casefold() == b.casefold() if ignore_case else a == b


def as_number(value: Any) -> float | None:
    if isinstance(value, bool) or value is None:
        return None
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def as_items(value: Any, separator: str, ignore_case: bool) -> set[str]:
    """A list's elements as texts; a text is JSON, or is cut at `separator`."""
    value = from_json(value)
    if value is None:
        return set()
    if isinstance(value, str):
        items = [part.strip() for part in value.split(separator)]
    else:
        items = [as_text(item).strip() for item in value] if isinstance(value, list) else []
        items = items or ([as_text(value)] if not isinstance(value, list) else [])
    return {item.casefold() if ignore_case else item for item in items if item}


def from_json(value: Any) -> Any:
    """A text that is a JSON list or object as that; all else as it stands."""
    if isinstance(value, str) and value.lstrip()[:1] in ("[", "{"):
        try:
            return msgspec.json.decode(value)
        except msgspec.DecodeError:
            return value
    return value


def short(value: Any, most: int = 60) -> str:
    """For a line of a report."""
    text = " ".join(as_text(value).split()) if value is not None else "nothing"
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _folded(value: Any, ignore_case: bool) -> Any:
    if not ignore_case:
        return value
    if isinstance(value, Mapping):
        return {k: _folded(v, True) for k, v in value.items()}
    if isinstance(value, list):
        return [_folded(v, True) for v in value]
    return value.casefold() if isinstance(value, str) else value
