"""What Anthropic asks of a JSON schema for structured outputs, and its words of refusal."""

from __future__ import annotations

from typing import Any

_UNSUPPORTED = {
    "integer": ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
    "string": ("minLength", "maxLength"),
    "array": ("maxItems", "uniqueItems"),
    "object": ("minProperties", "maxProperties", "patternProperties"),
}
_UNSUPPORTED["number"] = _UNSUPPORTED["integer"]


def schema_fault(schema: Any) -> str | None:
    """Why a schema is refused, or None."""
    definitions = schema.get("$defs", {}) if isinstance(schema, dict) else {}
    for name in definitions:
        if _reaches(name, name, definitions, set()):
            return f"Circular reference detected in schema definitions: {name}"
    return _check(schema)


def _check(schema: Any) -> str | None:
    if not isinstance(schema, dict):
        return None
    kind = schema.get("type")
    kinds = kind if isinstance(kind, list) else [kind]
    for each in kinds:
        for name in _UNSUPPORTED.get(str(each), ()):
            if name in schema:
                return f"For '{each}' type, property '{name}' is not supported"
    if "object" in kinds and schema.get("additionalProperties") is not False:
        return "For 'object' type, 'additionalProperties' must be explicitly set to false"
    if "array" in kinds and schema.get("minItems", 0) not in (0, 1):
        return "For 'array' type, 'minItems' values other than 0 or 1 are not supported"
    parts = [
        *(schema.get("properties") or {}).values(),
        *(schema.get("$defs") or {}).values(),
        *(schema.get("anyOf") or ()),
        *(schema.get("allOf") or ()),
        schema.get("items"),
    ]
    return next((fault for part in parts if (fault := _check(part))), None)


def _reaches(start: str, name: str, definitions: dict[str, Any], seen: set[str]) -> bool:
    """Whether a definition refers back to `start`, by whatever way."""
    for target in _references(definitions.get(name)):
        if target == start:
            return True
        if target not in seen:
            seen.add(target)
            if _reaches(start, target, definitions, seen):
                return True
    return False


def _references(node: Any) -> list[str]:
    if isinstance(node, list):
        return [ref for item in node for ref in _references(item)]
    if not isinstance(node, dict):
        return []
    own = [node["$ref"].rsplit("/", 1)[-1]] if isinstance(node.get("$ref"), str) else []
    return own + [ref for item in node.values() for ref in _references(item)]
