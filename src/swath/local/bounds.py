"""Ends for what a JSON Schema leaves open: the rewriting behind `grammar`.

Only keywords that LLGuidance knows come out: it gives up, quietly, on a schema with another.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import reduce
from typing import Any

LIMIT = 1e12  # of a number without bounds of its own
STEP = 1e-6
DEPTH = 3  # times that a recursive reference is followed

_FORMATS = frozenset({"date", "time", "date-time", "duration", "uuid", "ipv4", "ipv6"})
LONG_SENTENCE = 280
# A stop ends it, unless a digit follows. (Allowing more after a stop, as in abbreviations, drives a
# model that wants to go on into writing ".Then" or another script.)
SENTENCE = r"^([^.!?\n]|\.[0-9]){1,%d}[.!?]$"
# A small model asked for one sentence goes on for a paragraph, so it is held to it.
_ONE_SENTENCE = re.compile(r"\b(?:one|a|single|short)\s+(?:\w+\s+)?sentence\b", re.IGNORECASE)
SENTENCE_BOUND = re.compile(re.escape(SENTENCE).replace("%d", r"(\d+)"))
_BEYOND = re.compile(r"\(\?|\\[1-9bB]")  # look-around and back-references
_APART = ("$defs", "definitions")
_NEVER: dict[str, Any] = {"not": {}}


class Bounds:
    """One rewriting, at given caps."""

    def __init__(
        self, root: Mapping[str, Any], quotes: tuple[str, ...], chars: int, items: int
    ) -> None:
        self.root, self.quotes, self.chars, self.items = root, quotes, chars, items

    def of(self, node: Any, trail: tuple[str, ...] = ()) -> dict[str, Any]:
        if node is False:
            return _NEVER
        if not isinstance(node, Mapping):
            node = {}
        if isinstance(ref := node.get("$ref"), str):
            if trail.count(ref) >= DEPTH:
                return _NEVER
            beside = {k: v for k, v in node.items() if k not in ("$ref", *_APART)}
            return self.of(_merge(self._target(ref), beside), (*trail, ref))
        if "enum" in node or "const" in node:
            return {"enum": list(node.get("enum", [node.get("const")]))}
        if parts := node.get("allOf"):
            rest = {k: v for k, v in node.items() if k != "allOf"}
            return self.of(reduce(_merge, map(self._followed, parts), rest), trail)
        for key in ("anyOf", "oneOf"):
            if options := node.get(key):
                rest = {k: v for k, v in node.items() if k not in (key, *_APART)}
                return self._any([_merge(o, rest) for o in options], trail)
        return self._typed(node, trail)

    def _typed(self, node: Mapping[str, Any], trail: tuple[str, ...]) -> dict[str, Any]:
        kind = node.get("type") or _guess(node)
        if kind is None:
            return self._any([{"type": t} for t in ("string", "number", "boolean", "null")], trail)
        if not isinstance(kind, str):
            return self._any([{**node, "type": t} for t in kind], trail)
        if kind == "object":
            return self._object(node, trail)
        if kind == "array":
            return self._array(node, trail)
        if kind == "string":
            return self._string(node)
        if kind in ("integer", "number"):
            return _number(node, kind)
        return {"type": kind}

    def _any(self, options: list[Any], trail: tuple[str, ...]) -> dict[str, Any]:
        bounded = [b for b in (self.of(o, trail) for o in options) if not impossible(b)]
        if len(bounded) <= 1:
            return bounded[0] if bounded else _NEVER
        return {"anyOf": bounded}

    def _object(self, node: Mapping[str, Any], trail: tuple[str, ...]) -> dict[str, Any]:
        given = node.get("properties") or {}
        required = [n for n in node.get("required", ()) if n in given]
        properties = {n: self.of(child, trail) for n, child in given.items()}
        if any(impossible(properties[n]) for n in required):
            return _NEVER
        result: dict[str, Any] = {
            "type": "object",
            "properties": {n: p for n, p in properties.items() if not impossible(p)},
            "required": required,
            "additionalProperties": False,
        }
        extra = node.get("additionalProperties", not given)
        if not given and extra is not False:  # a mapping: bounded in its number of entries
            values = self.of(extra, trail)
            if not impossible(values):
                most = min(node.get("maxProperties", self.items), self.items)
                return {
                    "type": "object",
                    "patternProperties": {f"^.{{1,{min(self.chars, 40)}}}$": values},
                    "additionalProperties": False,
                    "maxProperties": max(most, node.get("minProperties", 0)),
                    "minProperties": node.get("minProperties", 0),
                }
        return result

    def _array(self, node: Mapping[str, Any], trail: tuple[str, ...]) -> dict[str, Any]:
        least = node.get("minItems", 0)
        first: list[dict[str, Any]] = []
        for child in node.get("prefixItems") or ():
            if impossible(bounded := self.of(child, trail)):
                return _NEVER if len(first) < least else _list(first, least, len(first), _NEVER)
            first.append(bounded)
        items = self.of(node.get("items", not first), trail)
        room = len(first) if impossible(items) else max(len(first) + self.items, least)
        most = min(node.get("maxItems", room), room)
        return _NEVER if most < least else _list(first, least, most, items)

    def _string(self, node: Mapping[str, Any]) -> dict[str, Any]:
        if node.get("format") == "quote" and self.quotes:
            return {"enum": list(self.quotes)}
        if node.get("format") in _FORMATS:
            return {"type": "string", "format": node["format"]}
        pattern = node.get("pattern")
        if isinstance(pattern, str) and not _BEYOND.search(pattern):
            return {"type": "string", "pattern": _ending(pattern, self.chars)}
        if "format" not in node and _ONE_SENTENCE.search(str(node.get("description", ""))):
            return {"type": "string", "pattern": SENTENCE % min(self.chars, LONG_SENTENCE)}
        least = node.get("minLength", 0)
        most = max(min(node.get("maxLength", self.chars), self.chars), least)
        return {"type": "string", "minLength": least, "maxLength": most}

    def _followed(self, node: Any) -> Any:
        """A reference's target with what stands beside it; anything else as it is."""
        for _ in range(DEPTH):
            if not (isinstance(node, Mapping) and isinstance(ref := node.get("$ref"), str)):
                break
            node = _merge(self._target(ref), {k: v for k, v in node.items() if k != "$ref"})
        return node

    def _target(self, ref: str) -> Mapping[str, Any]:
        node: Any = self.root
        for part in ref.removeprefix("#").strip("/").split("/"):
            if part:
                part = part.replace("~1", "/").replace("~0", "~")
                node = node.get(part, {}) if isinstance(node, Mapping) else {}
        return node if isinstance(node, Mapping) else {}


def _list(
    first: list[dict[str, Any]], least: int, most: int, items: dict[str, Any]
) -> dict[str, Any]:
    result: dict[str, Any] = {"type": "array", "minItems": least, "maxItems": most}
    if first:
        result["prefixItems"] = first
    return {**result, "items": False if impossible(items) else items}


def _number(node: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """A number between two bounds, of a last decimal: digits have to end."""
    result: dict[str, Any] = {"type": kind}
    for key in ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"):
        if isinstance(node.get(key), (int, float)) and not isinstance(node[key], bool):
            result[key] = node[key]
    if not result.keys() & {"minimum", "exclusiveMinimum"}:
        result["minimum"] = min(-LIMIT, result.get("maximum", 0), result.get("exclusiveMaximum", 0))
    if not result.keys() & {"maximum", "exclusiveMaximum"}:
        result["maximum"] = max(LIMIT, result.get("minimum", 0), result.get("exclusiveMinimum", 0))
    if kind == "number":
        result["multipleOf"] = node.get("multipleOf", STEP)
    elif "multipleOf" in node:
        result["multipleOf"] = node["multipleOf"]
    return result


def _ending(pattern: str, chars: int) -> str:
    """The pattern with an end to each repetition: the decoder takes no length beside a pattern."""
    bounds = {"*": f"{{0,{chars}}}", "+": f"{{1,{chars}}}"}

    def bounded(match: re.Match[str]) -> str:
        return bounds.get(match.group(), match.group())

    return _PIECE.sub(bounded, pattern)


_PIECE = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|[*+]")


def _guess(node: Mapping[str, Any]) -> str | None:
    """The type of a schema that names none, by its keywords."""
    for kind, keys in _TELLING.items():
        if node.keys() & keys:
            return kind
    return None


_TELLING = {
    "object": {"properties", "additionalProperties", "required", "patternProperties"},
    "array": {"items", "prefixItems", "minItems", "maxItems"},
    "string": {"minLength", "maxLength", "pattern", "format"},
    "number": {"minimum", "maximum", "multipleOf", "exclusiveMinimum", "exclusiveMaximum"},
}


def _merge(one: Any, other: Any) -> Any:
    """A schema that asks for both, as far as one schema can say it."""
    if not isinstance(one, Mapping) or not isinstance(other, Mapping):
        return (
            False if one is False or other is False else one if isinstance(one, Mapping) else other
        )
    merged = {**one, **other}
    if "properties" in one and "properties" in other:
        both = dict(one["properties"])
        for name, child in other["properties"].items():
            both[name] = _merge(both[name], child) if name in both else child
        merged["properties"] = both
    if "required" in one and "required" in other:
        merged["required"] = list(dict.fromkeys([*one["required"], *other["required"]]))
    for key in ("allOf",):
        if key in one and key in other:
            merged[key] = [*one[key], *other[key]]
    return merged


def impossible(node: Any) -> bool:
    return node is False or (isinstance(node, Mapping) and node.get("not") == {})
