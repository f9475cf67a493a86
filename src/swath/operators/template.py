"""Prompt templates: `"Answer {text}"`. Strict, named columns, `{{` and `}}` for braces.

A name is a column, or a path into a struct column (`{triage.summary}`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import polars as pl

from swath.errors import ColumnNotFound, InputError, listing


class Template:
    """A parsed template. `parts` are the literal pieces around `names`: one more than names."""

    __slots__ = ("names", "parts", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        parts, names = _parse(text)
        self.parts: tuple[str, ...] = parts
        self.names: tuple[str, ...] = names
        if not names:
            raise InputError(
                "The template names no column, so every row would ask the same.",
                hint="Write a column's name in braces, e.g. 'Summarize: {text}'.",
            )

    def filling(self, filled: str) -> str | None:
        """What the row put into `filled`, where the template names one column; else None."""
        if len(self.names) > 1:
            return None
        before, after = self.parts
        return filled[len(before) : len(filled) - len(after)]

    def filled(self, values: Any) -> str:
        """The template with `values`: a dict of its columns, or a text where it names one."""
        if isinstance(values, str) and len(self.names) == 1:
            values = {self.names[0]: values}
        if not isinstance(values, Mapping):
            raise InputError(
                "the template's columns need values.",
                hint="Give a dict of: " + ", ".join(self.names) + ".",
            )
        lacking = [name for name in self.names if name not in values]
        if lacking:
            raise InputError(f"there is no value for '{lacking[0]}'.", hint=listing(values))
        pieces = [self.parts[0]]
        for name, after in zip(self.names, self.parts[1:], strict=True):
            pieces += [str(values[name]), after]
        return "".join(pieces)

    def expr(self, schema: pl.Schema) -> pl.Expr:
        """The filled text of each row: null where a column is null, or where all are blank."""
        columns = [path(name, schema)[1] for name in self.names]
        pieces: list[pl.Expr] = [pl.lit(self.parts[0])]
        for column, after in zip(columns, self.parts[1:], strict=True):
            pieces += [column, pl.lit(after)]
        filled = pl.concat_str(pieces, ignore_nulls=False)
        blank = pl.all_horizontal([column.str.strip_chars() == "" for column in columns])
        return pl.when(blank).then(pl.lit("")).otherwise(filled)


def about(template: Template) -> tuple[str, str] | None:
    """The one column of `template`, and its words about "the text"; None where it names several, or
    a field of a struct."""
    if len(template.names) > 1 or "." in template.names[0]:
        return None
    return template.names[0], "(the text)".join(template.parts).strip()


def path(name: str, schema: pl.Schema) -> tuple[str, pl.Expr]:
    """The column that `name` reads, and its value as text; `name` may go into structs by dots.

    Lists and structs are given as JSON. Raises ColumnNotFound."""
    if name in schema:
        return name, as_text(pl.col(name), schema[name])
    root, *fields = name.split(".")
    if root not in schema:
        raise missing(name, schema.names())
    dtype: Any = schema[root]
    expr = pl.col(root)
    for field in fields:
        inner = dict(dtype) if isinstance(dtype, pl.Struct) else {}
        if field not in inner:
            have = [f"{root}.{f}" for f in inner] or schema.names()
            raise missing(name, have)
        dtype, expr = inner[field], expr.struct.field(field)
    return root, as_text(expr, dtype)


def as_text(expr: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    """`expr` as String: text as it stands, nested values as JSON, the rest as Polars prints it."""
    if dtype == pl.String:
        return expr
    if isinstance(dtype, pl.Struct):
        return pl.when(expr.is_not_null()).then(expr.struct.json_encode())
    if isinstance(dtype, pl.List | pl.Array):
        # json_encode knows structs only: wrap, encode, and take the wrapping off.
        wrapped = pl.struct(expr.alias("v")).struct.json_encode()
        return pl.when(expr.is_not_null()).then(wrapped.str.slice(5).str.head(-1))
    if dtype == pl.Binary:
        raise InputError(
            "A column of bytes cannot go into a prompt.",
            hint="Cast it first: pl.col(name).cast(pl.String).",
        )
    return expr.cast(pl.String)


def missing(name: str, have: Iterable[str]) -> ColumnNotFound:
    return ColumnNotFound(f"There is no column '{name}' here.", hint=listing(have, name))


def _parse(text: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    parts: list[str] = []
    names: list[str] = []
    current: list[str] = []
    i, n = 0, len(text)
    while i < n:
        char = text[i]
        if text[i : i + 2] in ("{{", "}}"):
            current.append(char)
            i += 2
        elif char == "{":
            end = text.find("}", i)
            name = text[i + 1 : end].strip() if end > 0 else ""
            if end < 0 or not name or "{" in name:
                raise InputError(
                    f"The template has an unfinished or empty column at character {i}.",
                    hint="Write {column}; for a plain brace write {{ or }}.",
                )
            parts.append("".join(current))
            names.append(name)
            current = []
            i = end + 1
        elif char == "}":
            raise InputError(
                f"The template has a '}}' without '{{' at character {i}.",
                hint="Write {column}; for a plain brace write {{ or }}.",
            )
        else:
            current.append(char)
            i += 1
    parts.append("".join(current))
    return tuple(parts), tuple(names)
