"""The words around the user's own: short, and the same for every row, so that a provider's prompt
cache (and the local model's) keeps them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def fields(schema: Mapping[str, Any]) -> str:
    """One line per field: name, what it may hold, and its description."""
    return "Fields:\n" + "\n".join(_lines(schema, ""))


def _lines(schema: Mapping[str, Any], indent: str) -> list[str]:
    lines: list[str] = []
    for name, node in (schema.get("properties") or {}).items():
        node = _not_null(node)
        about = f": {node['description']}" if node.get("description") else ""
        lines.append(f"{indent}- {name} ({_kind(node)}){about}")
        inner = _not_null(node.get("items")) if node.get("type") == "array" else node
        lines += _lines(inner, indent + "  ")
    return lines


def _not_null(node: Any) -> Mapping[str, Any]:
    """The one alternative that is not null, with a mark that null is allowed."""
    if not isinstance(node, Mapping):
        return {}
    options = [o for o in node.get("anyOf", ()) if o.get("type") != "null"]
    if len(options) == 1:
        rest = {k: v for k, v in node.items() if k != "anyOf"}
        return {**options[0], **rest, "nullable": True}
    return node


def _kind(node: Mapping[str, Any]) -> str:
    if "enum" in node:
        kind = "one of: " + ", ".join(map(str, node["enum"]))
    elif node.get("format") == "quote":
        kind = "a sentence of the text, copied word for word"
    elif node.get("type") == "array":
        items = _not_null(node.get("items"))
        kind = f"a list, each {_kind(items)}" if items else "a list"
    elif node.get("type") == "object":
        kind = "an object"
    else:
        kind = {"date": "date YYYY-MM-DD", "date-time": "date and time, ISO 8601"}.get(
            node.get("format", ""), _PLAIN.get(str(node.get("type")), "any")
        )
    return f"{kind}; null if the text does not say" if node.get("nullable") else kind


_PLAIN = {
    "string": "text",
    "integer": "whole number",
    "number": "number",
    "boolean": "true or false",
}


def labels(described: Mapping[str, str]) -> str:
    """One line per label, with what it means where that was said."""
    return "Labels:\n" + "\n".join(
        f"- {label}: {about}" if about else f"- {label}" for label, about in described.items()
    )
