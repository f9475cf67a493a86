"""JSON Schemas as providers take them, and their answers as the user's schema has them.

A user's schema is any JSON Schema. Constrained decoding takes a strict subset: every object is
closed and requires all its properties, the root is an object, few keywords are known. `lower`
writes a schema in that subset and `Lowered.restore` undoes in the answer what it changed:

    an optional property       -> required but nullable; its null is taken out again
    a root that is no object   -> wrapped in {"value": …}; unwrapped again
    a keyword not taken        -> said in the description instead ("minimum: 1"); checked by Swath
    oneOf, one-armed allOf     -> anyOf, the arm itself
    what has no strict form (open maps, tuples, `not`, any value) -> the schema as it is, `strict`
                                  False: the provider takes it as a hint
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from swath.messages import Schema

Json = dict[str, Any]

_STRUCTURE = frozenset({"type", "enum", "const", "description"})
_SAYABLE = frozenset(
    [
        "minimum",
        "maximum",
        "exclusiveMinimum",
        "exclusiveMaximum",
        "multipleOf",
        "minLength",
        "maxLength",
        "pattern",
        "format",
        "minItems",
        "maxItems",
        "uniqueItems",
    ]
)
_NO_STRICT_FORM = frozenset(
    [
        "not",
        "if",
        "then",
        "else",
        "dependentRequired",
        "dependentSchemas",
        "patternProperties",
        "prefixItems",
        "unevaluatedProperties",
        "propertyNames",
        "contains",
    ]
)


class Rules(msgspec.Struct, frozen=True):
    """What one provider's strict subset takes besides the structure."""

    keywords: frozenset[str]
    formats: frozenset[str]
    recursive: bool = True
    closed: bool = True  # objects must be closed and require all, the root must be an object


_FORMATS = frozenset(
    ["date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"]
)
# https://platform.openai.com/docs/guides/structured-outputs#supported-schemas
OPENAI = Rules(_SAYABLE - {"minLength", "maxLength", "uniqueItems"}, _FORMATS)
# https://ai.google.dev/api/generate-content#generationconfig, at responseJsonSchema
GOOGLE = Rules(
    frozenset({"minimum", "maximum", "minItems", "maxItems", "format"}),
    frozenset({"date-time", "date", "time"}),
    closed=False,
)
# https://platform.claude.com/docs/en/build-with-claude/structured-outputs#json-schema-limitations
ANTHROPIC = Rules(frozenset({"format"}), _FORMATS | {"uri"}, recursive=False)


class Lowered(msgspec.Struct, frozen=True):
    """A schema in a provider's subset. `raw` is its JSON text, ready to be put into a body."""

    name: str
    json: Json
    raw: msgspec.Raw
    strict: bool
    restore: Callable[[str], str]


def lower(schema: Schema, rules: Rules) -> Lowered:
    """`schema` in the subset of `rules`. Cheap: each schema is written once and remembered."""
    known = _by_identity.get((id(schema), id(rules)))
    if known is not None and known[0] is schema:
        return known[1]
    key = (schema.name, msgspec.json.encode(schema.json), id(rules))
    lowered = _by_content.get(key)
    if lowered is None:
        lowered = _lower(schema, rules)
        _remember(_by_content, key, lowered)
    # The schema is kept beside its id, so that the id is not given to another object.
    _remember(_by_identity, (id(schema), id(rules)), (schema, lowered))
    return lowered


_by_identity: dict[tuple[int, int], tuple[Schema, Lowered]] = {}
_by_content: dict[tuple[str, bytes, int], Lowered] = {}


def _remember(cache: dict[Any, Any], key: Any, value: Any) -> None:
    if len(cache) >= 512:
        cache.clear()
    cache[key] = value


def safe_name(name: str) -> str:
    """A name as the providers take it: letters, digits, `_` and `-`, at most 64."""
    return re.sub(r"[^A-Za-z0-9_-]", "_", name)[:64] or "reply"


def without_quotes(schema: Mapping[str, Any]) -> Json:
    """The schema without Swath's own `"format": "quote"`, which no provider knows."""

    def clean(node: Any) -> Any:
        if isinstance(node, Mapping):
            return {k: clean(v) for k, v in node.items() if not (k == "format" and v == "quote")}
        return [clean(v) for v in node] if isinstance(node, list | tuple) else node

    cleaned: Json = clean(schema)
    return cleaned


class _NoStrictForm(Exception):
    pass


def _lower(schema: Schema, rules: Rules) -> Lowered:
    root = dict(schema.json)
    strict, nulls = True, False
    try:
        writer = _Writer(root, rules)
        body = writer.root()
        nulls = writer.nulls_added
    except (_NoStrictForm, RecursionError):
        body, strict = without_quotes(root), False
    wrapped = rules.closed and body.get("type") != "object"
    if wrapped:
        body = _wrapped(body)
    restore = _restorer(root, wrapped, nulls) if wrapped or nulls else _as_it_is
    raw = msgspec.Raw(msgspec.json.encode(body))
    return Lowered(safe_name(schema.name), body, raw, strict, restore)


def _wrapped(body: Json) -> Json:
    """A schema whose root is no object, as the one property of an object."""
    definitions = {k: v for k, v in body.items() if k in ("$defs", "definitions")}
    inner = {k: v for k, v in body.items() if k not in definitions}
    return {
        "type": "object",
        "properties": {"value": inner},
        "required": ["value"],
        "additionalProperties": False,
        **definitions,
    }


class _Writer:
    def __init__(self, root: Json, rules: Rules) -> None:
        self.source = root
        self.rules = rules
        self.nulls_added = False

    def root(self) -> Json:
        node = self.source
        seen = set()
        while "$ref" in node and node["$ref"] not in seen:
            seen.add(node["$ref"])
            node = resolve(node["$ref"], self.source)
        if not self.rules.recursive and _recursive(self.source):
            raise _NoStrictForm
        definitions = {
            where: {name: self.node(d) for name, d in self.source[where].items()}
            for where in ("$defs", "definitions")
            if self.source.get(where)
        }
        return {**self.node(node), **definitions}

    def node(self, node: Any) -> Json:
        if not isinstance(node, Mapping) or not _NO_STRICT_FORM.isdisjoint(node):
            raise _NoStrictForm
        if "$ref" in node:  # siblings of $ref are refused
            return {"$ref": node["$ref"]}
        arms = node.get("allOf")
        if arms:
            if len(arms) > 1:
                raise _NoStrictForm
            rest = {k: v for k, v in node.items() if k != "allOf"}
            return self.node({**arms[0], **rest} if "$ref" not in arms[0] else arms[0])
        out: Json = {k: node[k] for k in node if k in _STRUCTURE}
        if "const" in out and not self.rules.closed:
            out["enum"] = [out.pop("const")]
        unsaid = []
        for key in node:
            if key in _SAYABLE:
                value = node[key]
                known = key in self.rules.keywords
                if key == "format":
                    if value == "quote":
                        continue
                    known = known and value in self.rules.formats
                if known:
                    out[key] = value
                else:
                    unsaid.append(f"{key}: {value}")
        if unsaid:
            out["description"] = " ".join(
                [*filter(None, [out.get("description", "")]), f"({', '.join(unsaid)})"]
            )
        arms = node.get("anyOf") or node.get("oneOf")
        if arms:
            out["anyOf"] = [self.node(arm) for arm in arms]
            return out
        kind = out.get("type") or _type_of(node)
        out["type"] = kind
        kinds = [kind] if isinstance(kind, str) else kind
        if "object" in kinds:
            self.object(node, out)
        if "array" in kinds:
            out["items"] = self.node(node.get("items"))
        return out

    def object(self, node: Mapping[str, Any], out: Json) -> None:
        properties = node.get("properties") or {}
        extra = node.get("additionalProperties")
        if not self.rules.closed:
            out["properties"] = {name: self.node(child) for name, child in properties.items()}
            out |= {k: node[k] for k in ("required",) if k in node}
            if extra is not None:
                out["additionalProperties"] = (
                    self.node(extra) if isinstance(extra, Mapping) else extra
                )
            return
        if isinstance(extra, Mapping) or (not properties and extra is not False):
            raise _NoStrictForm  # a map with free keys
        required = set(node.get("required") or ())
        written = {}
        for name, child in properties.items():
            one = self.node(child)
            if name not in required and not _takes_null(child, self.source):
                one = _nullable(one)
                self.nulls_added = True
            written[name] = one
        out["properties"] = written
        out["required"] = list(written)
        out["additionalProperties"] = False


def _type_of(node: Mapping[str, Any]) -> str | list[str]:
    """The type that enum, const, properties or items imply."""
    values = node.get("enum") or ([node["const"]] if "const" in node else [])
    if values:
        kinds = list(dict.fromkeys(_JSON_TYPES.get(type(v), "object") for v in values))
        if "object" in kinds:
            raise _NoStrictForm
        return kinds[0] if len(kinds) == 1 else kinds
    if "properties" in node:
        return "object"
    if "items" in node:
        return "array"
    raise _NoStrictForm  # any value at all


_JSON_TYPES = {
    str: "string",
    bool: "boolean",
    int: "integer",
    float: "number",
    type(None): "null",
}


def _nullable(node: Json) -> Json:
    if "anyOf" in node:
        return {**node, "anyOf": [*node["anyOf"], {"type": "null"}]}
    if "$ref" in node or "const" in node:
        return {"anyOf": [node, {"type": "null"}]}
    kind = node["type"]
    out = {**node, "type": [*([kind] if isinstance(kind, str) else kind), "null"]}
    if "enum" in node:
        out["enum"] = [*node["enum"], None]
    return out


def _takes_null(node: Any, root: Json, depth: int = 0) -> bool:
    if not isinstance(node, Mapping) or depth > 20:
        return True
    if "$ref" in node:
        return _takes_null(resolve(node["$ref"], root), root, depth + 1)
    for arms in ("anyOf", "oneOf"):
        if arms in node:
            return any(_takes_null(arm, root, depth + 1) for arm in node[arms])
    if "enum" in node:
        return None in node["enum"]
    if "const" in node:
        return node["const"] is None
    kind = node.get("type")
    return kind == "null" or (isinstance(kind, list | tuple) and "null" in kind)


def resolve(ref: str, root: Json) -> Json:
    """The schema that a local `$ref` (`#/$defs/Name`) points at; `{}` where there is none."""
    node: Any = root
    for part in ref.removeprefix("#").split("/"):
        if part:
            part = part.replace("~1", "/").replace("~0", "~")
            node = node.get(part, {}) if isinstance(node, Mapping) else {}
    return dict(node) if isinstance(node, Mapping) else {}


def _recursive(root: Json) -> bool:
    def visit(node: Any, path: tuple[str, ...]) -> bool:
        if isinstance(node, Mapping):
            ref = node.get("$ref")
            if isinstance(ref, str):
                return ref in path or visit(resolve(ref, root), (*path, ref))
            return any(visit(v, path) for k, v in node.items() if k not in ("$defs", "definitions"))
        return any(visit(v, path) for v in node) if isinstance(node, list | tuple) else False

    return visit(root, ("#",))


def _as_it_is(text: str) -> str:
    return text


def _restorer(root: Json, wrapped: bool, nulls: bool) -> Callable[[str], str]:
    def restore(text: str) -> str:
        try:
            value = msgspec.json.decode(text)
        except msgspec.DecodeError:
            return text  # cut short, or not JSON: validation says so
        if wrapped and isinstance(value, dict) and value.keys() == {"value"}:
            value = value["value"]
        if nulls:
            value = _without_nulls(value, root, root)
        return msgspec.json.encode(value).decode()

    return restore


def _without_nulls(value: Any, node: Any, root: Json) -> Any:
    """`value` without the nulls that stand for optional properties left out."""
    if not isinstance(value, dict | list) or not isinstance(node, Mapping):
        return value
    if "$ref" in node:
        return _without_nulls(value, resolve(node["$ref"], root), root)
    arms = node.get("anyOf") or node.get("oneOf") or node.get("allOf")
    if arms:
        return _without_nulls(value, _arm(value, arms, root), root)
    if isinstance(value, list):
        return [_without_nulls(v, node.get("items"), root) for v in value]
    properties = node.get("properties") or {}
    required = set(node.get("required") or ())
    kept = {}
    for name, v in value.items():
        child = properties.get(name)
        optional = child is not None and name not in required
        if v is None and optional and not _takes_null(child, root):
            continue
        kept[name] = _without_nulls(v, child, root)
    return kept


def _arm(value: Any, arms: list[Any], root: Json) -> Any:
    """The arm that a strict answer was written to: the one with exactly its properties."""
    for arm in arms:
        node = resolve(arm["$ref"], root) if "$ref" in arm else arm
        if isinstance(value, list):
            if node.get("type") == "array":
                return node
        elif value.keys() == (node.get("properties") or {}).keys():
            return node
    return None
