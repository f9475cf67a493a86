"""From JSON Schema to Polars: a column's type, and what makes JSON values fit it.

Text stays String (a Literal or an Enum too: an unknown value in a later comparison is then no
error), `format` date, date-time and time become Date, Datetime and Time. A mapping becomes a list
of key and value. What no column type can hold (any JSON, unlike alternatives, recursion) is kept
as JSON text.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, time
from typing import Any

import msgspec
import polars as pl

Convert = Callable[[Any], Any]
_JSON = pl.String()


def column_of(schema: Mapping[str, Any]) -> tuple[pl.DataType, Convert | None]:
    """The column type for values of `schema`, and the conversion they need (None: none)."""
    alternatives = schema.get("anyOf")
    if alternatives:
        return _alternatives([a for a in alternatives if a.get("type") != "null"])
    if "enum" in schema:
        return _enum([v for v in schema["enum"] if v is not None])
    kind = schema.get("type")
    if isinstance(kind, list):
        kinds = [k for k in kind if k != "null"]
        return _alternatives([{**schema, "type": k} for k in kinds])
    if kind == "string":
        return _text(schema.get("format"))
    if kind in _SCALARS:
        return _SCALARS[kind], None
    if kind == "array":
        return _array(schema)
    if kind == "object" or "properties" in schema:
        return _object(schema)
    return _JSON, _to_json


_SCALARS: dict[str, pl.DataType] = {
    "integer": pl.Int64(),
    "number": pl.Float64(),
    "boolean": pl.Boolean(),
}


def _text(form: str | None) -> tuple[pl.DataType, Convert | None]:
    if form == "date":
        return pl.Date(), _parser(date.fromisoformat)
    if form == "date-time":
        return pl.Datetime("us"), _parser(_naive_utc)
    if form == "time":
        return pl.Time(), _parser(lambda text: time.fromisoformat(text).replace(tzinfo=None))
    return pl.String(), None


def _naive_utc(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo is None else moment.astimezone(UTC).replace(tzinfo=None)


def _parser(parse: Callable[[str], Any]) -> Convert:
    def convert(value: Any) -> Any:
        if not isinstance(value, str):
            return value
        try:
            return parse(value)
        except ValueError:
            return None  # not a date after all: the schema's `format` is advice, not a check

    return convert


def _enum(values: list[Any]) -> tuple[pl.DataType, Convert | None]:
    if all(isinstance(v, str) for v in values):
        return pl.String(), None
    if all(isinstance(v, bool) for v in values):
        return pl.Boolean(), None
    if all(isinstance(v, int) and not isinstance(v, bool) for v in values):
        return pl.Int64(), None
    if all(isinstance(v, int | float) and not isinstance(v, bool) for v in values):
        return pl.Float64(), float
    return _JSON, _to_json


def _alternatives(options: list[Mapping[str, Any]]) -> tuple[pl.DataType, Convert | None]:
    if not options:
        return _JSON, _to_json
    columns = [column_of(option) for option in options]
    if len(columns) == 1:
        return columns[0]
    if all(dtype in (pl.Int64, pl.Float64) for dtype, _ in columns):
        return pl.Float64(), _number
    first, convert = columns[0]
    # Equal types may still convert differently (text beside JSON kept as text).
    if all(dtype == first and other is convert for dtype, other in columns):
        return first, convert
    return _JSON, _to_json


def _number(value: Any) -> Any:
    return float(value) if isinstance(value, int) else value


def _array(schema: Mapping[str, Any]) -> tuple[pl.DataType, Convert | None]:
    items = schema.get("items")
    if items is None:
        inner = schema.get("prefixItems") or []
        if not inner or any(i != inner[0] for i in inner):
            return _JSON, _to_json
        items = inner[0]
    if not isinstance(items, Mapping):
        return _JSON, _to_json
    dtype, convert = column_of(items)
    if convert is None:
        return pl.List(dtype), None
    each = convert
    return pl.List(dtype), lambda value: None if value is None else [each(v) for v in value]


def _object(schema: Mapping[str, Any]) -> tuple[pl.DataType, Convert | None]:
    properties = schema.get("properties")
    if not properties:
        return _mapping(schema.get("additionalProperties"))
    columns = {name: column_of(inner) for name, inner in properties.items()}
    dtype = pl.Struct([pl.Field(name, inner) for name, (inner, _) in columns.items()])
    converts = [(name, convert) for name, (_, convert) in columns.items() if convert]
    if not converts:
        return dtype, None

    def convert_fields(value: Any) -> Any:
        if value is None:
            return None
        changed = {name: convert(value.get(name)) for name, convert in converts}
        return {**value, **changed}

    return dtype, convert_fields


def _mapping(values: Any) -> tuple[pl.DataType, Convert | None]:
    if not isinstance(values, Mapping) or not values:
        return _JSON, _to_json
    dtype, convert = column_of(values)

    def pairs(value: Any) -> Any:
        if value is None:
            return None
        return [{"key": k, "value": convert(v) if convert else v} for k, v in value.items()]

    return pl.List(pl.Struct([pl.Field("key", pl.String()), pl.Field("value", dtype)])), pairs


def _to_json(value: Any) -> Any:
    return None if value is None else msgspec.json.encode(value).decode()
