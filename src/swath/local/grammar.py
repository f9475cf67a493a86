"""A JSON Schema, made into one that a small model can be held to.

llama.cpp's constrained decoding lets a model write anything that the schema allows, for as long as
it likes, and quietly lets go where it does not know a keyword. So the schema is rewritten first:

- every string, list and number gets an end, so that a reply is whole within `max_tokens`;
- a string with `"format": "quote"` may only be a sentence of the source;
- references are put in place, recursion stops at a depth;
- keywords that the decoder does not know are left out (the engine's validation still has them).

What the result accepts, the given schema accepts, those keywords aside.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import reduce
from typing import Any

import jsonschema_rs
import msgspec

from swath.engine.quotes import EACH, Path, quote_paths
from swath.local.sentences import openings, quotable

CAPS = ((600, 12), (400, 10), (300, 8), (200, 8), (120, 6), (80, 4), (50, 3), (30, 2), (12, 1))
"""(characters in a string, items in a list) to try, from generous to stingy."""
CHARS_PER_TOKEN = 3.0  # prose has over four; names, numbers and other scripts fewer
LIMIT = 1e12  # of a number without bounds of its own
STEP = 1e-6
DEPTH = 3  # times that a recursive reference is followed

_FORMATS = frozenset({"date", "time", "date-time", "duration", "uuid", "ipv4", "ipv6"})
LONG_SENTENCE = 280
# A stop ends it, unless a digit follows. (Allowing more after a stop, as in abbreviations, drives a
# model that wants to go on into writing ".Then" or another script.)
SENTENCE = rf"^([^.!?\n]|\.[0-9]){{1,{LONG_SENTENCE}}}[.!?]$"
# A small model asked for one sentence goes on for a paragraph, so it is held to it.
_ONE_SENTENCE = re.compile(r"\b(?:one|a|single|short)\s+(?:\w+\s+)?sentence\b", re.IGNORECASE)
_BEYOND = re.compile(r"\(\?|\\[1-9bB]")  # look-around and back-references
_APART = ("$defs", "definitions")
_NEVER: dict[str, Any] = {"not": {}}


class Compiled(msgspec.Struct, frozen=True):
    """`schema` for the decoder, and what its short quotes stand for."""

    schema: Mapping[str, Any]
    quotes: Mapping[str, str] = {}
    paths: tuple[Path, ...] = ()

    @property
    def grammar(self) -> str:
        """As llama.cpp's LLGuidance takes it, without white space between the values."""
        ruled = {**self.schema, "x-guidance": {"whitespace_flexible": False}}
        return "%llguidance {}\nstart: %json " + json.dumps(ruled, ensure_ascii=False)

    @property
    def plain(self) -> Mapping[str, Any]:
        """The schema for llama.cpp's own, simpler grammar, where LLGuidance did not take it."""
        plain: Mapping[str, Any] = _without(self.schema, {"pattern", "multipleOf"})
        return plain

    def read(self, text: str) -> str:
        """The reply with its quotes in full and no string broken off in a word. Raises ValueError
        where it is not JSON of the schema: then nothing held the model to it."""
        value = json.loads(text)
        # Not exactly representable decimals fail `multipleOf`, which only ends a number's digits.
        if not jsonschema_rs.is_valid(_without(self.schema, {"multipleOf"}), value):
            raise ValueError("not of the schema")
        value = _tidied(value, self.schema)
        for path in self.paths if self.quotes else ():
            value = self._expand(value, path)
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))

    def _expand(self, value: Any, path: Path) -> Any:
        if not path:
            return self.quotes.get(value, value) if isinstance(value, str) else value
        head, rest = path[0], path[1:]
        if head == EACH and isinstance(value, list):
            return [self._expand(item, rest) for item in value]
        if isinstance(value, dict) and head in value:
            return value | {head: self._expand(value[head], rest)}
        return value


def compile_schema(
    schema: Mapping[str, Any],
    *,
    source: str | None,
    tokens: int,
    chars_per_token: float = CHARS_PER_TOKEN,
    whole_quotes: bool = False,
) -> Compiled:
    """`schema` bounded to replies of about `tokens` tokens at most.

    `whole_quotes`: the model writes quotes in full, not just as far as they are settled.
    Raises ValueError where nothing finite satisfies the schema.
    """
    paths = quote_paths(schema) if source else ()
    quotes: dict[str, str] = {}
    if paths and source:
        found = quotable(source)
        quotes = dict.fromkeys(found, "") if whole_quotes else openings(found)
    for chars, items in CAPS:
        bounds = _Bounds(schema, tuple(quotes), chars, items)
        bounded = bounds.of(schema)
        if _impossible(bounded):
            raise ValueError("the schema has no finite instance")
        if _longest(bounded) <= tokens * chars_per_token:
            break
    return Compiled(bounded, {} if whole_quotes else quotes, paths)


def label_fields(schema: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """The fields of an object that hold one of some labels, each with its labels."""
    bounds = _Bounds(schema, (), 1, 1)
    root = bounds.of(schema)
    fields = {}
    for name, node in root.get("properties", {}).items():
        labels = node.get("enum", ())
        if len(labels) > 1 and all(isinstance(label, str) for label in labels):
            fields[name] = tuple(dict.fromkeys(labels))
    return fields


class _Bounds:
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
        bounded = [b for b in (self.of(o, trail) for o in options) if not _impossible(b)]
        if len(bounded) <= 1:
            return bounded[0] if bounded else _NEVER
        return {"anyOf": bounded}

    def _object(self, node: Mapping[str, Any], trail: tuple[str, ...]) -> dict[str, Any]:
        given = node.get("properties") or {}
        required = [n for n in node.get("required", ()) if n in given]
        properties = {n: self.of(child, trail) for n, child in given.items()}
        if any(_impossible(properties[n]) for n in required):
            return _NEVER
        result: dict[str, Any] = {
            "type": "object",
            "properties": {n: p for n, p in properties.items() if not _impossible(p)},
            "required": required,
            "additionalProperties": False,
        }
        extra = node.get("additionalProperties", not given)
        if not given and extra is not False:  # a mapping: bounded in its number of entries
            values = self.of(extra, trail)
            if not _impossible(values):
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
            if _impossible(bounded := self.of(child, trail)):
                return _NEVER if len(first) < least else _list(first, least, len(first), _NEVER)
            first.append(bounded)
        items = self.of(node.get("items", not first), trail)
        room = len(first) if _impossible(items) else max(len(first) + self.items, least)
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
            return {"type": "string", "pattern": SENTENCE}
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
    return {**result, "items": False if _impossible(items) else items}


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


def _impossible(node: Any) -> bool:
    return node is False or (isinstance(node, Mapping) and node.get("not") == {})


def _without(node: Any, keys: set[str]) -> Any:
    """A bounded schema without some keywords."""
    if isinstance(node, list):
        return [_without(item, keys) for item in node]
    if not isinstance(node, dict) or "enum" in node:
        return node
    kept = {k: v for k, v in node.items() if k not in keys}
    for key in ("anyOf", "prefixItems", "items"):
        if key in kept:
            kept[key] = _without(kept[key], keys)
    for key in ("properties", "patternProperties"):
        if key in kept:
            kept[key] = {name: _without(child, keys) for name, child in kept[key].items()}
    return kept


def _tidied(value: Any, node: Any) -> Any:
    """`value` with each string that ran into its bound ending at a sentence or a word."""
    if not isinstance(node, Mapping):
        return value
    if isinstance(value, str) and node.get("pattern") == SENTENCE and len(value) > LONG_SENTENCE:
        return value[: value.rfind(" ", 0, -2)].rstrip(" ,;:-") + "…"
    if isinstance(value, str) and len(value) >= node.get("maxLength", LIMIT) - 2:
        whole = max(value.rfind(end) for end in (". ", "! ", "? ", ".\n")) + 1
        cut = whole if whole > len(value) // 2 else value.rfind(" ")
        return value[:cut].rstrip() if cut > node.get("minLength", 0) else value
    if isinstance(value, list):
        first = node.get("prefixItems", [])
        nodes = [*first, *[node.get("items")] * max(len(value) - len(first), 0)]
        return [_tidied(item, n) for item, n in zip(value, nodes, strict=False)]
    if isinstance(value, dict):
        if "anyOf" in node:
            node = next((o for o in node["anyOf"] if o.get("type") == "object"), node)
        others = next(iter(node.get("patternProperties", {}).values()), None)
        named = node.get("properties", {})
        return {k: _tidied(v, named.get(k, others)) for k, v in value.items()}
    return value


def _longest(node: Any) -> float:
    """Characters of the longest text that a bounded schema lets through."""
    if not isinstance(node, Mapping):
        return 0
    if "enum" in node:
        return float(max(len(json.dumps(v, ensure_ascii=False)) for v in node["enum"]))
    if "anyOf" in node:
        return float(max(map(_longest, node["anyOf"])))
    kind = node["type"]
    if kind == "object":
        named = sum(len(n) + 4 + _longest(p) for n, p in node.get("properties", {}).items())
        keyed = [_longest(p) + 46 for p in node.get("patternProperties", {}).values()]
        return float(2 + named + node.get("maxProperties", 0) * max(keyed, default=0.0))
    if kind == "array":
        first = node.get("prefixItems", [])
        rest = max(node["maxItems"] - len(first), 0)
        return float(2 + sum(map(_longest, first)) + rest * (_longest(node["items"]) + 1))
    if kind == "string":
        return float(node.get("maxLength", LONG_SENTENCE if "pattern" in node else 40)) + 2
    return 24
