"""Grounding: a string with `"format": "quote"` in a schema must occur in the source, word for word.

Models bend what they copy: white space, quotation marks, dashes, a capital at the start. Where the
source holds the same words, the source's own spelling is put in place of the model's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

_SAME = str.maketrans(
    {"‘": "'", "’": "'", "‚": "'", "`": "'", "“": '"', "”": '"', "„": '"', "«": '"', "»": '"'}
    | dict.fromkeys("‐‑‒–—−", "-")
)
_EDGES = " \t\r\n\"'.…"

Path = tuple[str, ...]
EACH = "*"  # in a path: every item of a list


def quote_paths(schema: Mapping[str, Any]) -> tuple[Path, ...]:
    """Where the quotes are in an instance of `schema`; () where there are none."""
    return tuple(dict.fromkeys(_walk(schema, schema, (), 0)))


def _walk(root: Mapping[str, Any], node: Any, path: Path, depth: int) -> Iterator[Path]:
    if not isinstance(node, Mapping) or depth > 12:
        return
    if node.get("format") == "quote":
        yield path
    ref = node.get("$ref")
    if isinstance(ref, str) and ref.startswith("#/"):
        target: Any = root
        for part in ref[2:].split("/"):
            target = target.get(part, {}) if isinstance(target, Mapping) else {}
        yield from _walk(root, target, path, depth + 1)
    for name, child in (node.get("properties") or {}).items():
        yield from _walk(root, child, (*path, name), depth + 1)
    if "items" in node:
        yield from _walk(root, node["items"], (*path, EACH), depth + 1)
    for key in ("anyOf", "oneOf", "allOf"):
        for child in node.get(key) or ():
            yield from _walk(root, child, path, depth + 1)


def ground(value: Any, paths: tuple[Path, ...], source: str) -> tuple[Any, list[str]]:
    """`value` with each quote in the source's own spelling, and the dotted names of those that the
    source does not hold."""
    missing: list[str] = []
    for path in paths:
        value = _ground(value, path, source, ".".join(path), missing)
    return value, missing


def _ground(value: Any, path: Path, source: str, name: str, missing: list[str]) -> Any:
    if value is None:
        return None
    if not path:
        if not isinstance(value, str) or value in source:
            return value
        found = locate(value, source)
        if found is None:
            missing.append(name)
        return value if found is None else found
    head, rest = path[0], path[1:]
    if head == EACH:
        if isinstance(value, list):
            return [_ground(item, rest, source, name, missing) for item in value]
    elif isinstance(value, dict) and head in value:
        return value | {head: _ground(value[head], rest, source, name, missing)}
    return value


def locate(quote: str, source: str) -> str | None:
    """The stretch of `source` that says what `quote` says, or None."""
    words = quote.translate(_SAME).strip(_EDGES).split()
    if not words:
        return None
    found = _pattern(tuple(words)).search(source.translate(_SAME))
    return source[found.start() : found.end()] if found else None


@lru_cache(maxsize=512)
def _pattern(words: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile(r"\s+".join(map(re.escape, words)), re.IGNORECASE)
