"""What OpenAI asks of a strict JSON schema, and the words in which it refuses one."""

from __future__ import annotations

from typing import Any

# Keywords that strict mode does not take.
_BANNED = (
    "allOf",
    "oneOf",
    "not",
    "if",
    "then",
    "else",
    "dependentRequired",
    "dependentSchemas",
    "patternProperties",
    "unevaluatedProperties",
    "propertyNames",
    "uniqueItems",
    "default",
)


def strict_fault(schema: Any) -> str | None:
    """Why a strict schema is refused, or None; as in "In context=(…), …"."""
    if not isinstance(schema, dict):
        return "schema must be a JSON Schema of 'type: \"object\"', got 'type: \"None\"'."
    if "anyOf" in schema:
        return "In context=(), 'anyOf' is not permitted at the top level."
    root = schema
    if "$ref" in schema:
        root = _find(schema, str(schema["$ref"])) or {}
    if root.get("type") != "object":
        kind = root.get("type")
        return f"schema must be a JSON Schema of 'type: \"object\"', got 'type: \"{kind}\"'."
    return _check(schema, (), schema)


def _find(root: dict[str, Any], ref: str) -> Any:
    node: Any = root
    for part in ref.lstrip("#").strip("/").split("/"):
        node = node.get(part) if isinstance(node, dict) else None
    return node if ref.strip("#/") else root


def _check(schema: Any, where: tuple[str, ...], root: dict[str, Any]) -> str | None:
    if not isinstance(schema, dict):
        return None
    context = f"In context={where!r}, "
    if "$ref" in schema and where:
        extra = sorted(schema.keys() - {"$ref"})
        if extra:
            return f"{context}$ref cannot have keywords {set(extra)!r}."
        if _find(root, str(schema["$ref"])) is None:
            return f"{context}reference can only point to definitions defined at the top level."
    for name in _BANNED:
        if name in schema:
            return f"{context}'{name}' is not permitted."
    if schema.get("type") == "object" or "properties" in schema:
        if schema.get("additionalProperties") is not False:
            return f"{context}'additionalProperties' is required to be supplied and to be false."
        required = schema.get("required")
        missing = [key for key in schema.get("properties") or {} if key not in (required or ())]
        if missing or required is None:
            tail = f" Missing '{missing[0]}'." if missing else ""
            return (
                f"{context}'required' is required to be supplied and to be an array including "
                f"every key in properties.{tail}"
            )
    if schema.get("type") == "array" and "items" not in schema:
        return f"{context}array schema missing items."
    if not any(key in schema for key in ("type", "$ref", "anyOf", "enum", "const")) and where:
        return f"{context}schema must have a 'type' key."
    for group in ("properties", "$defs", "definitions"):
        for name, sub in (schema.get(group) or {}).items():
            fault = _check(sub, (*where, group, name), root)
            if fault:
                return fault
    for i, sub in enumerate(schema.get("anyOf") or ()):
        fault = _check(sub, (*where, "anyOf", str(i)), root)
        if fault:
            return fault
    return _check(schema["items"], (*where, "items"), root) if "items" in schema else None
