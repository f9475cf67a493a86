"""What a Polars expression does, as far as the plan must know: the columns it reads, and whether
it can be evaluated on each batch of rows alone.

Polars does not say the second in its stable API, but its optimizer acts on it: a `head` may go
below a projection exactly if every expression in it gives one value per row from that row alone.
So we ask the optimizer. Where its answer cannot be read, an expression counts as needing all rows,
which is always correct.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import cache

import polars as pl

from swath.errors import InputError
from swath.operators.template import missing


def reads(exprs: Iterable[pl.Expr], schema: pl.Schema) -> frozenset[str]:
    """Columns of `schema` that the expressions look at; all of them where there is a wildcard.

    Raises ColumnNotFound."""
    names: set[str] = set()
    for expr in exprs:
        names.update(expr.meta.root_names())
        if wild(expr):
            names.update(schema.names())
    for name in names:
        if name not in schema:
            raise missing(name, schema.names())
    return frozenset(names)


def wild(expr: pl.Expr) -> bool:
    """Whether what it reads depends on the table: `pl.all()`, a selector, a pattern.

    Polars prints every selector with `cs.`; a text literal that holds it is taken for one, which
    only costs an optimization."""
    return "cs." in str(expr)


def each_row(projected: pl.LazyFrame) -> bool:
    """Whether `projected`, a select or with_columns on an empty scan, treats each row alone."""
    if not _readable():
        return False
    return _pushed(projected)


def _pushed(projected: pl.LazyFrame) -> bool:
    try:
        lines = projected.head(1).explain().strip().splitlines()
    except pl.exceptions.PolarsError:
        return False
    return bool(lines) and not lines[0].lstrip().startswith("SLICE")


@cache
def _readable() -> bool:
    """Whether this Polars prints its plans in the way that `each_row` reads."""
    table = pl.LazyFrame({"a": [1], "b": [2]})
    local = table.with_columns(pl.col("a") + pl.col("b"))
    whole = [pl.col("a").sum(), pl.col("a").shift(), pl.col("a") - pl.col("a").mean()]
    return _pushed(local) and not any(_pushed(table.with_columns(e)) for e in whole)


def empty(schema: pl.Schema) -> pl.LazyFrame:
    """A table of that schema for asking Polars what a step would do. It has one row of nulls:
    Polars simplifies what it knows to be empty."""
    return pl.DataFrame(schema=schema).clear(1).lazy()


def expressions(items: Sequence[object], what: str) -> list[pl.Expr]:
    """Column names and expressions as expressions; raises InputError on anything else."""
    flat: list[object] = []
    for item in items:
        flat += item if isinstance(item, list | tuple) else [item]
    out: list[pl.Expr] = []
    for item in flat:
        if isinstance(item, str):
            out.append(pl.col(item))
        elif isinstance(item, pl.Expr):
            out.append(item)
        else:
            raise InputError(
                f"{what} takes column names and Polars expressions, not {type(item).__name__}.",
                hint="For example pl.col('text').str.len_chars().",
            )
    return out


def readable(expr: pl.Expr) -> str:
    """How a plan shows an expression: Polars' notation, with less of it."""
    text = re.sub(r"dyn \w+: ", "", str(expr))
    text = re.sub(r'col\("([\w ]+)"\)', r"\1", text)
    text = re.sub(r'\("([^"]*)"\)(?= |\]|$)', r'"\1"', text)
    text = re.sub(r"field_by_name\((.*?)\)\(\)", r"field(\1)", text)
    for _ in range(3):
        text = re.sub(r"(?<![\w)])\((\w[\w.]*(?:\([^()]*\))?)\)(?= |\]|$)", r"\1", text)
    return text[1:-1] if re.fullmatch(r"\[[^\[\]]*\]", text) else text


def named_expr(name: str, value: object) -> pl.Expr:
    """`name=value` as Polars takes it: text names a column, other plain values are constants."""
    if isinstance(value, pl.Expr):
        return value.alias(name)
    return (pl.col(value) if isinstance(value, str) else pl.lit(value)).alias(name)
