"""What shape an answer must have: a Pydantic model, any annotated type, or a JSON Schema.

`Shape` gives the JSON Schema that goes to the model (references resolved, no titles, every
property required), the column's Polars type, and the check that turns a reply into a value for it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from inspect import isroutine
from typing import Any

import msgspec
from pydantic import BaseModel, PydanticUserError, TypeAdapter, ValidationError, create_model
from pydantic.errors import PydanticSchemaGenerationError

from swath.engine.shape import Invalid, conforming, read_json
from swath.errors import InputError
from swath.messages import Schema
from swath.operators.quote import Quote

__all__ = ["Quote", "Shape", "shape_of"]

_DROP = frozenset({"title", "default", "examples", "discriminator", "$schema", "$id"})


class Shape:
    """`schema` goes to the model; `check(text)` gives the JSON value of a valid reply (raises
    Invalid); `key` tells shapes apart. `wrapped`: the name of the one property that holds the
    value, where the type asked for was no object."""

    __slots__ = ("check", "key", "schema", "wrapped")

    def __init__(
        self, schema: Schema, check: Callable[[str], Any], key: Any, wrapped: str | None = None
    ) -> None:
        self.schema = schema
        self.check = check
        self.key = key
        self.wrapped = wrapped

    @property
    def value_schema(self) -> Mapping[str, Any]:
        """The JSON Schema of the value itself, without the wrapping."""
        json = self.schema.json
        inner: Mapping[str, Any] = json["properties"][self.wrapped] if self.wrapped else json
        return inner


def shape_of(kind: Any) -> Shape:
    """A Pydantic model, a dataclass, a TypedDict, `list[Model]`, a JSON Schema dict, …

    Raises InputError where no JSON Schema can be made of it."""
    if isinstance(kind, Shape):
        return kind
    if isinstance(kind, Mapping):
        return _from_json_schema(kind)
    if isinstance(kind, str):
        raise InputError(
            f"A schema was expected, not the text '{kind[:40]}'.",
            hint="Give a Pydantic model (class Answer(BaseModel): …) or a JSON Schema dict.",
        )
    return _from_type(kind)


def _from_json_schema(given: Mapping[str, Any]) -> Shape:
    if given.get("type", "object") != "object" or not given.get("properties"):
        raise InputError(
            "The JSON Schema describes no object with properties.",
            hint='Write {"type": "object", "properties": {"name": {"type": "string"}}}.',
        )
    name = str(given.get("title") or "answer")
    try:
        json = _tidy(_inline(given, given.get("$defs") or given.get("definitions") or {}, ()))
        msgspec.json.encode(json)
    except (TypeError, AttributeError, KeyError) as error:
        raise InputError(
            f"The JSON Schema cannot be read: {error}.", hint="It must be a plain JSON Schema."
        ) from None
    schema = Schema(_identifier(name), json)
    return Shape(schema, lambda text: conforming(read_json(text), schema), ("json", repr(json)))


def _from_type(kind: Any) -> Shape:
    try:
        if isroutine(kind):
            raise TypeError("a function is no type")
        adapter: TypeAdapter[Any] = TypeAdapter(kind)
        raw = adapter.json_schema()
    except (PydanticUserError, PydanticSchemaGenerationError, TypeError) as error:
        raise InputError(
            f"No schema can be made of {getattr(kind, '__name__', kind)!r}: "
            f"{str(error).splitlines()[0]}",
            hint="Use a Pydantic model whose fields are text, numbers, booleans, dates, Literal, "
            "lists and other models.",
        ) from None
    raw = _inline(raw, raw.get("$defs", {}), ())
    wrapped = None
    if not (raw.get("type") == "object" and "properties" in raw):
        if raw.get("type") == "object" and isinstance(kind, type) and issubclass(kind, BaseModel):
            raise InputError(f"{kind.__name__} has no fields.", hint="Add one, e.g. summary: str.")
        wrapped = "items" if raw.get("type") == "array" else "value"
        fields: Any = {wrapped: (kind, ...)}
        adapter = TypeAdapter(create_model("Answer", **fields))
        raw = adapter.json_schema()
        raw = _inline(raw, raw.get("$defs", {}), ())
    json = _tidy(raw)
    name = _identifier(getattr(kind, "__name__", "answer"))

    def check(text: str) -> Any:
        try:
            value = adapter.validate_json(text)
        except ValidationError as error:
            if error.errors(include_url=False, include_input=False)[0]["type"] != "json_invalid":
                raise _invalid(error) from None
            value = _between_words(text)
        plain = adapter.dump_python(value, mode="json", by_alias=True)
        return plain[wrapped] if wrapped else plain

    def _between_words(text: str) -> Any:
        # In a code fence, or after "Here is the JSON:". Lax in the way that JSON input is.
        inner = msgspec.json.encode(read_json(text))
        try:
            return adapter.validate_json(inner)
        except ValidationError as error:
            raise _invalid(error) from None

    return Shape(Schema(name, json), check, (kind, repr(json)), wrapped)


def _invalid(error: ValidationError) -> Invalid:
    """What is wrong, field by field; to the user only which fields and which rules."""
    errors = error.errors(include_url=False, include_input=False, include_context=False)[:4]
    named = [(".".join(map(str, e["loc"])) or "the answer", e["msg"], e["type"]) for e in errors]
    return Invalid(
        " ".join(f"{where}: {message}." for where, message, _ in named),
        f"the answer does not fit ({'; '.join(f'{where}: {rule}' for where, _, rule in named)}).",
    )


def _inline(node: Any, defs: Mapping[str, Any], inside: tuple[str, ...]) -> Any:
    """References replaced by what they name; a recursive one becomes "any JSON"."""
    if isinstance(node, list):
        return [_inline(item, defs, inside) for item in node]
    if not isinstance(node, Mapping):
        return node
    reference = node.get("$ref")
    if isinstance(reference, str):
        name = reference.rsplit("/", 1)[-1]
        rest = {k: v for k, v in node.items() if k != "$ref"}
        if name in inside or name not in defs:
            return rest
        return {**_inline(defs[name], defs, (*inside, name)), **rest}
    skip = ("$defs", "definitions")
    return {k: _inline(v, defs, inside) for k, v in node.items() if k not in skip}


def _tidy(node: Mapping[str, Any]) -> dict[str, Any]:
    """One schema node without decoration. Every property is required: a model that may leave a
    field out does; nothing beyond the properties is allowed."""
    out: dict[str, Any] = {}
    for key, value in node.items():
        if key in _DROP:
            continue
        if key == "properties":
            out[key] = {name: _tidy(inner) for name, inner in value.items()}
        elif key in ("items", "additionalProperties", "not") and isinstance(value, Mapping):
            out[key] = _tidy(value)
        elif key in ("anyOf", "oneOf", "allOf", "prefixItems"):
            out[key] = [_tidy(inner) for inner in value]
        elif key == "const":
            out["enum"] = [value]
        else:
            out[key] = value
    if len(out.get("allOf", ())) == 1:
        out = {**out.pop("allOf")[0], **out}
    if "oneOf" in out:
        out["anyOf"] = out.pop("oneOf")
    if "properties" in out:
        out.setdefault("type", "object")
        out["required"] = list(out["properties"])
        out["additionalProperties"] = False
    return out


def _identifier(name: str) -> str:
    """Providers take only letters, digits, _ and - in a schema's name, and at most 64."""
    return re.sub(r"[^A-Za-z0-9_-]+", "_", name).strip("_")[:64] or "answer"
