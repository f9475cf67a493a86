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
from typing import Any

import jsonschema_rs
import msgspec

from swath.engine.quotes import EACH, Path, quote_paths
from swath.local.bounds import LIMIT, SENTENCE_BOUND, Bounds, impossible
from swath.local.sentences import openings, quotable

CAPS = (
    (600, 12),
    (400, 10),
    (300, 8),
    (200, 8),
    (120, 6),
    (80, 4),
    (50, 3),
    (30, 2),
    (12, 1),
    (4, 1),
)
"""(characters in a string, items in a list) to try, from generous to stingy."""
CHARS_PER_TOKEN = 3.0  # prose has over four; names, numbers and other scripts fewer
WORST = 0.3  # an emoji is three tokens


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
        bounds = Bounds(schema, tuple(quotes), chars, items)
        bounded = bounds.of(schema)
        if impossible(bounded):
            raise ValueError("the schema has no finite instance")
        if _longest(bounded, chars_per_token) <= tokens:
            break
    return Compiled(bounded, {} if whole_quotes else quotes, paths)


def label_fields(schema: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """The fields of an object that hold one of some labels, each with its labels."""
    bounds = Bounds(schema, (), 1, 1)
    root = bounds.of(schema)
    fields = {}
    for name, node in root.get("properties", {}).items():
        labels = node.get("enum", ())
        if len(labels) > 1 and all(isinstance(label, str) for label in labels):
            fields[name] = tuple(dict.fromkeys(labels))
    return fields


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
    if isinstance(value, str) and (bound := SENTENCE_BOUND.fullmatch(node.get("pattern", ""))):
        if len(value) > int(bound.group(1)):
            return value[: value.rfind(" ", 0, -2)].rstrip(" ,;:-") + "…"
        return value
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


def _longest(node: Any, rate: float) -> float:
    """Tokens of the longest text that a bounded schema lets through, where free text has `rate`
    characters a token. Names and marks are plain."""
    if not isinstance(node, Mapping):
        return 0.0
    if "enum" in node:
        return max(_plain(json.dumps(v, ensure_ascii=False)) for v in node["enum"])
    if "anyOf" in node:
        return max(_longest(option, rate) for option in node["anyOf"])
    kind = node["type"]
    if kind == "object":
        named = [_plain(n) + 2 + _longest(p, rate) for n, p in node.get("properties", {}).items()]
        keyed = [_longest(p, rate) + 40 / rate for p in node.get("patternProperties", {}).values()]
        most: int = node.get("maxProperties", 0)
        return 2 + sum(named) + most * (2 + max(keyed, default=0.0))
    if kind == "array":
        first = node.get("prefixItems", [])
        rest: int = max(node["maxItems"] - len(first), 0)
        whole = sum(_longest(item, rate) for item in first)
        return 2 + whole + rest * (_longest(node["items"], rate) + 1)
    if kind == "string":
        if "pattern" in node:
            return 2 + sum(map(int, re.findall(r"(\d+)\}", node["pattern"]))) / rate
        return 2 + float(node.get("maxLength", 40)) / rate
    return 16.0


def _plain(text: str) -> float:
    return len(text) / CHARS_PER_TOKEN + 1
