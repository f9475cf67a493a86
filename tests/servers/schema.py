"""A valid instance of a JSON schema, derived from a prompt.

A schema is compiled once into nested functions and kept by its bytes, so that an answer
costs a few microseconds. What the functions draw from is a `Draw`: a small random sequence
seeded by the prompt, and the source text that strings are picked from.
"""

from __future__ import annotations

import datetime as dt
import re
import uuid
from collections.abc import Callable
from hashlib import blake2b
from typing import Any

import msgspec

_MASK = (1 << 64) - 1
_DEEP = 6  # below this depth a recursive schema takes its shortest way out
_INVENTED = (
    "The committee never discussed the matter of glass bees.",
    "Nobody present could recall the colour of the tide.",
    "A lighthouse was promised to every inland village.",
    "The minutes mention nine hundred umbrellas.",
)

_END = re.compile(r"[.!?](?=\s)|\n")

Schema = dict[str, Any]


class Draw:
    """The numbers and texts that one answer is made of."""

    __slots__ = ("source", "state", "true_quotes")

    def __init__(self, prompt: str, source: str, true_quotes: bool = True) -> None:
        digest = blake2b(prompt.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        self.state = int.from_bytes(digest, "big")
        self.source = source
        self.true_quotes = true_quotes

    def number(self, below: int) -> int:
        self.state = (self.state * 6364136223846793005 + 1442695040888963407) & _MASK
        return (self.state >> 33) % below if below > 0 else 0

    def sentence(self) -> str:
        """A sentence of the source, exactly as it stands there."""
        text = self.source
        before = _END.search(text, self.number(len(text)))
        start = before.end() if before is not None else 0
        end = _END.search(text, start)
        sentence = text[start : end.end() if end is not None else len(text)].strip()
        # Past the last end there may be nothing; the first sentence will do.
        return sentence or text.strip().partition("\n")[0][:200] or "Nothing."

    def word(self) -> str:
        text = self.source
        at = self.number(len(text))
        start = text.rfind(" ", 0, at) + 1
        end = text.find(" ", at)
        word = text[start : end if end >= 0 else len(text)].strip(" \n\t.,;:!?\"'()")
        return word.split()[0][:40] if word.split() else "nothing"

    def invented(self) -> str:
        return _INVENTED[self.number(len(_INVENTED))] + f" ({self.number(100_000)})"


Make = Callable[[Draw, int], Any]


class Form:
    """A schema, and what was found out about it; one for all requests that bring the same."""

    __slots__ = ("_make", "_size", "schema", "text", "verdicts")

    def __init__(self, schema: Schema, text: str) -> None:
        self.schema = schema
        self.text = text
        self.verdicts: dict[str, str | None] = {}  # a provider's objection, by its name
        self._make: Make | None = None
        self._size: tuple[Callable[[str], int], int] | None = None

    def instance(self, draw: Draw) -> Any:
        if self._make is None:
            self._make = _Compiler(self.schema).make(self.schema, "")
        return self._make(draw, 0)

    def size(self, count: Callable[[str], int]) -> int:
        if self._size is None or self._size[0] is not count:
            self._size = (count, count(self.text))
        return self._size[1]

    def verdict(self, who: str, judge: Callable[[Any], str | None]) -> str | None:
        if who not in self.verdicts:
            self.verdicts[who] = judge(self.schema)
        return self.verdicts[who]


_forms: dict[bytes, Form] = {}
_encode = msgspec.json.Encoder().encode


def form(schema: Schema) -> Form:
    key = _encode(schema)
    known = _forms.get(key)
    if known is None:
        if len(_forms) > 500:
            _forms.clear()
        known = _forms[key] = Form(schema, key.decode())
    return known


class _Compiler:
    def __init__(self, root: Schema) -> None:
        self.root = root
        self.refs: dict[str, Make] = {}

    def make(self, schema: Any, name: str) -> Make:
        """`name` is the property's, which may say that it is a quote."""
        if not isinstance(schema, dict):  # `true` or `{}`: anything goes
            return lambda draw, depth: draw.word()
        if "$ref" in schema:
            return self.ref(schema["$ref"], name)
        if "const" in schema:
            const = schema["const"]
            return lambda draw, depth: const
        if schema.get("enum"):
            values = list(schema["enum"])
            return lambda draw, depth: values[draw.number(len(values))]
        for union in ("anyOf", "oneOf"):
            if schema.get(union):
                outer = {k: v for k, v in schema.items() if k != union}
                return self.choice([_merged(outer, o) for o in schema[union]], name)
        if schema.get("allOf"):
            merged = {k: v for k, v in schema.items() if k != "allOf"}
            for part in schema["allOf"]:
                merged = _merged(merged, self.resolved(part))
            return self.make(merged, name)
        kind = schema.get("type")
        if isinstance(kind, list):
            return self.choice([{**schema, "type": k} for k in kind], name)
        kind = str(kind).lower() if kind else _guessed(schema)
        if schema.get("nullable") and kind != "null":  # Gemini's dialect
            plain = {k: v for k, v in schema.items() if k != "nullable"}
            return self.choice([plain, {"type": "null"}], name)
        if kind == "object":
            return self.object(schema)
        if kind == "array":
            return self.array(schema, name)
        if kind in ("integer", "number"):
            return _number(schema, whole=kind == "integer")
        if kind == "boolean":
            return lambda draw, depth: draw.number(2) == 1
        if kind == "null":
            return lambda draw, depth: None
        return _string(schema, name)

    def resolved(self, schema: Any) -> Any:
        while isinstance(schema, dict) and "$ref" in schema:
            schema = {
                **self.find(schema["$ref"]),
                **{k: v for k, v in schema.items() if k[0] != "$"},
            }
        return schema

    def find(self, ref: str) -> Any:
        node: Any = self.root
        for part in ref.lstrip("#").strip("/").split("/"):
            if part:
                node = node[part.replace("~1", "/").replace("~0", "~")]
        return node

    def ref(self, ref: str, name: str) -> Make:
        # Compiled when first met, looked up when called: a schema may contain itself.
        key = f"{ref} {_says_quote(name)}"
        if key not in self.refs:
            self.refs[key] = lambda draw, depth: None
            self.refs[key] = self.make(self.find(ref), name)
        refs = self.refs
        return lambda draw, depth: refs[key](draw, depth + 1)

    def choice(self, options: list[Any], name: str) -> Make:
        makers = [self.make(o, name) for o in options]
        # What ends a recursion soonest: null, else what is no reference and no container.
        simple = [
            i
            for i, o in enumerate(options)
            if isinstance(o, dict)
            and "$ref" not in o
            and o.get("type") not in ("array", "object")
            and "anyOf" not in o
        ]
        way_out = next((i for i in simple if options[i].get("type") == "null"), None)
        way_out = way_out if way_out is not None else (simple[0] if simple else 0)
        # Null one time in eight only, as models fill what they can.
        weights = [i for i, o in enumerate(options) for _ in range(1 if _is_null(o) else 7)]

        def choose(draw: Draw, depth: int) -> Any:
            if depth > _DEEP:
                return makers[way_out](draw, depth)
            return makers[weights[draw.number(len(weights))]](draw, depth)

        return choose

    def object(self, schema: Schema) -> Make:
        required = set(schema.get("required", ()))
        fields = [
            (key, self.make(sub, key), key in required)
            for key, sub in (schema.get("properties") or {}).items()
        ]
        extra = schema.get("additionalProperties")
        free = self.make(extra, "") if not fields and isinstance(extra, dict) else None

        needed = [(key, make) for key, make, must in fields if must]
        every = [(key, make) for key, make, _ in fields]

        def build(draw: Draw, depth: int) -> Any:
            if free is not None:
                return {f"{draw.word()}_{i}": free(draw, depth + 1) for i in range(2)}
            inner = depth + 1
            return {key: make(draw, inner) for key, make in (needed if depth > _DEEP else every)}

        return build

    def array(self, schema: Schema, name: str) -> Make:
        least = int(schema.get("minItems", 0))
        most = int(schema.get("maxItems", max(3, least)))
        first = [self.make(s, name) for s in schema.get("prefixItems", ())]
        items = schema.get("items", True)
        make = self.make(items, name)
        unique = bool(schema.get("uniqueItems"))
        if items is False:
            most = min(most, len(first))

        def build(draw: Draw, depth: int) -> Any:
            low = max(least, len(first), 0 if depth > _DEEP or most == 0 else 1)
            high = low if depth > _DEEP else max(low, min(most, low + 2))
            size = low + draw.number(high - low + 1)
            out = [m(draw, depth + 1) for m in first]
            for _ in range(20 * size):
                if len(out) >= size:
                    break
                item = make(draw, depth + 1)
                if not unique or item not in out:
                    out.append(item)
            return out

        return build


def _is_null(schema: Any) -> bool:
    return isinstance(schema, dict) and schema.get("type") == "null"


def _guessed(schema: Schema) -> str:
    if "properties" in schema or "additionalProperties" in schema:
        return "object"
    if "items" in schema or "prefixItems" in schema:
        return "array"
    return "string"


def _merged(outer: Schema, inner: Any) -> Any:
    if not isinstance(inner, dict):
        return outer
    both = {**outer, **inner}
    if "properties" in outer and "properties" in inner:
        both["properties"] = {**outer["properties"], **inner["properties"]}
    if "required" in outer and "required" in inner:
        both["required"] = [*outer["required"], *inner["required"]]
    return both


def _number(schema: Schema, *, whole: bool) -> Make:
    step = schema.get("multipleOf") or (1 if whole else 0.01)
    low: Any = schema.get("minimum", schema.get("exclusiveMinimum"))
    high: Any = schema.get("maximum", schema.get("exclusiveMaximum"))
    if low is None and high is None:
        low, high = 0, 100
    elif low is None:
        low = high - 100
    elif high is None:
        high = low + 100
    first = -(-low // step)  # in steps, rounded towards the inside
    last = high // step
    if "exclusiveMinimum" in schema and first * step <= schema["exclusiveMinimum"]:
        first += 1
    if "exclusiveMaximum" in schema and last * step >= schema["exclusiveMaximum"]:
        last -= 1

    def build(draw: Draw, depth: int) -> Any:
        value = (first + draw.number(int(last - first) + 1)) * step
        return int(value) if whole else round(float(value), 6)

    return build


def _says_quote(name: str) -> bool:
    lowered = name.lower()
    return "quote" in lowered or "evidence" in lowered


def _flagged(schema: Schema) -> bool:
    return schema.get("format") == "quote" or any(
        key.startswith("x-") and "quote" in key.lower() for key in schema
    )


_FORMATS: dict[str, Callable[[Draw], str]] = {
    "date": lambda d: (dt.date(2000, 1, 1) + dt.timedelta(days=d.number(9000))).isoformat(),
    "time": lambda d: f"{d.number(24):02}:{d.number(60):02}:00Z",
    "date-time": lambda d: f"20{d.number(30):02}-0{1 + d.number(9)}-1{d.number(9)}T08:00:00Z",
    "duration": lambda d: f"P{1 + d.number(30)}D",
    "email": lambda d: f"person{d.number(1000)}@example.org",
    "hostname": lambda d: f"host{d.number(1000)}.example.org",
    "uri": lambda d: f"https://example.org/{d.number(1000)}",
    "ipv4": lambda d: f"192.0.2.{d.number(256)}",
    "ipv6": lambda d: f"2001:db8::{d.number(9999)}",
    "uuid": lambda d: str(uuid.UUID(int=d.number(1 << 31) << 64 | 4 << 76 | 2 << 62)),
}


def _string(schema: Schema, name: str) -> Make:
    form = _FORMATS.get(schema.get("format", ""))
    if form is not None:
        return lambda draw, depth: form(draw)
    quote = _says_quote(name) or _flagged(schema)
    least, most = int(schema.get("minLength", 0)), schema.get("maxLength")
    pattern = re.compile(schema["pattern"]) if "pattern" in schema else None

    def build(draw: Draw, depth: int) -> Any:
        if quote:
            text = draw.sentence() if draw.true_quotes else draw.invented()
        else:
            text = draw.sentence() if draw.number(3) else draw.word()
        if pattern is not None and not pattern.search(text):
            text = _matching(pattern, draw) or text
        if most is not None:
            text = text[:most]
        return text if len(text) >= least else text.ljust(least, "x")

    return build


def _matching(pattern: re.Pattern[str], draw: Draw) -> str | None:
    """A few common shapes; a pattern beyond them is not met, and the caller will see it."""
    digits = str(draw.number(10**9)).rjust(9, "7")
    words = [draw.word().lower(), draw.word().upper(), "abc", "ABC", "a", "A"]
    tries = [digits[:n] for n in range(1, 10)] + [w[:n] for w in words for n in range(1, 9)]
    tries += [f"{a}-{digits[:n]}" for a in words for n in range(1, 7)]
    tries += [f"{a}{digits[:n]}" for a in words for n in range(1, 7)]
    return next((text for text in tries if pattern.fullmatch(text)), None)
