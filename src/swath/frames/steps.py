"""Polars' methods as plan nodes: each says what it reads, writes and does to rows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, Literal

import polars as pl
from polars.selectors import expand_selector, is_selector

from swath.errors import InputError
from swath.frames.plan import ROW, Plan, Rows, Step
from swath.frames.traits import each_row, empty, expressions, readable, reads, wild
from swath.operators.base import Operator
from swath.operators.template import missing

How = Literal["inner", "left", "right", "full", "semi", "anti", "cross"]


def reads_of(schema: pl.Schema, operator: Operator) -> frozenset[str]:
    """The columns that `operator` looks at, once it is sure that it can look at them row by row."""
    read = operator.reads(schema)
    exprs = [e.alias(f"{ROW}{i}") for i, e in enumerate(operator.exprs(schema)) if e is not None]
    if not each_row(empty(schema).with_columns(exprs)):
        raise InputError(
            f"{operator.describe()}: its text or its model looks at more than one row.",
            hint="Make a column of it first: .with_columns(name=…).",
        )
    return read


def filter_(schema: pl.Schema, mask: pl.Expr) -> Step:
    return Step(
        kind="filter",
        text=readable(mask),
        apply=lambda table, _: table.filter(mask),
        reads=reads([mask], schema),
        rows=Rows.SUBSET,
        local=each_row(empty(schema).with_columns(mask.alias(ROW))),
        wild=wild(mask),
        mask=mask,
    )


def with_columns(schema: pl.Schema, exprs: Sequence[pl.Expr]) -> Step:
    read = reads(exprs, schema)
    projected = empty(schema).with_columns(*exprs)
    step = Step(
        kind="with_columns",
        text=_short(exprs),
        apply=lambda table, _: table.with_columns(*exprs),
        reads=read,
        local=each_row(projected),
        wild=any(map(wild, exprs)),
    )
    return _writing(step, schema, _outputs(step, empty(schema).select(*exprs), schema))


def select(schema: pl.Schema, exprs: Sequence[pl.Expr]) -> Step:
    read = reads(exprs, schema)
    # Constants alone give one row, however many the table has.
    local = bool(read) and each_row(empty(schema).select(*exprs))
    step = Step(
        kind="select",
        text=_short(exprs),
        apply=lambda table, keep: table.select(*exprs, *keep),
        reads=read,
        rows=Rows.SAME if local else Rows.NEW,
        local=local,
        projects=True,
        wild=any(map(wild, exprs)),
        keeps=local,
    )
    made = {e.meta.output_name(raise_if_undetermined=False) for e in exprs if not _plain(e)}
    outputs = _outputs(step, empty(schema).select(*exprs), schema)
    changed = outputs if step.wild else [name for name in outputs if name in made]
    return _writing(step, schema, changed)


def drop(schema: pl.Schema, columns: Sequence[Any]) -> Step:
    names = column_names(schema, columns)
    return Step(
        kind="drop",
        text=", ".join(names),
        apply=lambda table, _: table.drop(names, strict=False),
        removes=frozenset(names),
        local=True,
    )


def rename(schema: pl.Schema, mapping: dict[str, str]) -> Step:
    for old in mapping:
        if old not in schema:
            raise missing(old, schema.names())
    return Step(
        kind="rename",
        text=", ".join(f"{old} to {new}" for old, new in mapping.items()),
        apply=lambda table, _: table.rename(mapping, strict=False),
        reads=frozenset(mapping),
        writes=frozenset(mapping.values()),
        removes=frozenset(mapping) - frozenset(mapping.values()),
        local=True,
        renames=dict(mapping),
    )


def sort(
    schema: pl.Schema, by: Sequence[Any], descending: bool | Sequence[bool], nulls_last: bool
) -> Step:
    keys = expressions(by, "sort")
    return Step(
        kind="sort",
        text="by " + _short(keys),
        # Stable, so that equal keys keep their order whatever runs before.
        apply=lambda table, _: table.sort(
            keys, descending=descending, nulls_last=nulls_last, maintain_order=True
        ),
        reads=reads(keys, schema),
        rows=Rows.SUBSET,
        wild=any(map(wild, keys)),
    )


def limit(count: int, offset: int = 0) -> Step:
    if count < 0 or offset < 0:
        raise InputError("A number of rows cannot be negative.", hint=f"Got {min(count, offset)}.")
    return Step(
        kind="limit",
        text=f"{count}" + (f" after {offset}" if offset else ""),
        apply=lambda table, _: table.slice(offset, count),
        rows=Rows.SUBSET,
        span=(offset, count),
        most=count,
    )


def tail(count: int) -> Step:
    return Step(
        kind="tail",
        text=str(count),
        apply=lambda table, _: table.tail(count),
        rows=Rows.SUBSET,
        most=count,
    )


def sample(n: int | None, fraction: float | None, seed: int) -> Step:
    if (n is None) == (fraction is None):
        raise InputError("sample takes n or fraction.", hint="For example sample(100).")
    place = pl.int_range(pl.len()).shuffle(seed=seed)
    chosen = place < n if n is not None else place < pl.len() * fraction
    return Step(
        kind="sample",
        text=f"{n}" if n is not None else f"{fraction:.0%}",
        apply=lambda table, _: table.filter(chosen),
        rows=Rows.SUBSET,
        most=n,
    )


def unique(schema: pl.Schema, subset: Sequence[Any] | None, keep: str) -> Step:
    names = schema.names() if subset is None else column_names(schema, subset)
    strategy: Any = "first" if keep == "any" else keep
    return Step(
        kind="unique",
        text="by " + ", ".join(names) if subset is not None else "",
        apply=lambda table, _: table.unique(names, keep=strategy, maintain_order=True),
        reads=frozenset(names),
        rows=Rows.SUBSET,
    )


def explode(schema: pl.Schema, columns: Sequence[Any]) -> Step:
    names = column_names(schema, columns)
    for name in names:
        if not isinstance(schema[name], pl.List | pl.Array):
            raise InputError(
                f"explode: column '{name}' is {schema[name]}, not a list.",
                hint="Only a list has elements.",
            )
    return Step(
        kind="explode",
        text=", ".join(names),
        apply=lambda table, _: table.explode(names),
        reads=frozenset(names),
        writes=frozenset(names),
        rows=Rows.NEW,
        local=True,
    )


def unnest(schema: pl.Schema, columns: Sequence[Any]) -> Step:
    names = column_names(schema, columns)
    made: list[str] = []
    for name in names:
        dtype = schema[name]
        if not isinstance(dtype, pl.Struct):
            raise InputError(
                f"Column '{name}' is {dtype}, not a struct.", hint="Only a struct has fields."
            )
        made += [f.name for f in dtype.fields]
    return Step(
        kind="unnest",
        text=", ".join(names),
        apply=lambda table, _: table.unnest(names),
        reads=frozenset(names),
        writes=frozenset(made),
        removes=frozenset(names),
        local=True,
    )


def aggregate(schema: pl.Schema, keys: Sequence[pl.Expr], aggs: Sequence[pl.Expr]) -> Step:
    return Step(
        kind="group_by",
        text=_short(keys) + (": " + _short(aggs) if aggs else ""),
        apply=lambda table, _: table.group_by(keys, maintain_order=True).agg(*aggs),
        reads=reads([*keys, *aggs], schema),
        rows=Rows.NEW,
        projects=True,
        wild=any(map(wild, [*keys, *aggs])),
        keeps=False,
    )


def join(
    schema: pl.Schema,
    other: Plan,
    left: Sequence[Any],
    right: Sequence[Any],
    how: How,
    suffix: str,
) -> Step:
    keys = expressions(left, "join")
    others = expressions(right, "join")
    reads(others, other.schema)
    # Rows in the order of the left table; those of the right alone have no place in it.
    order: Any = {"right": "right", "full": "left_right"}.get(how, "left")

    def apply(table: pl.LazyFrame, _: Any, joined: pl.LazyFrame) -> pl.LazyFrame:
        if how == "cross":
            return table.join(joined, how=how, suffix=suffix)
        return table.join(
            joined, left_on=keys, right_on=others, how=how, suffix=suffix, maintain_order=order
        )

    picks = how in ("semi", "anti")
    return Step(
        kind="join",
        text=f"{how} with {other.source.name}" + (f" on {_short(keys)}" if keys else ""),
        apply=apply,
        reads=reads(keys, schema) if picks else frozenset(schema.names()),
        rows=Rows.SUBSET if picks else Rows.NEW,
        keeps=how not in ("right", "full"),
        others=(other,),
    )


def _writing(step: Step, schema: pl.Schema, names: Iterable[str]) -> Step:
    return replace(step, writes=frozenset(names))


def _outputs(step: Step, selected: pl.LazyFrame, schema: pl.Schema) -> list[str]:
    """The names that the expressions make; Polars' complaint about them as ours."""
    step.after(schema)
    return selected.collect_schema().names()


def _plain(expr: pl.Expr) -> bool:
    """A column as it stands, under its own name."""
    roots = expr.meta.root_names()
    return (
        len(roots) == 1
        and not wild(expr)
        and expr.meta.undo_aliases().meta.eq(pl.col(roots[0]))
        and expr.meta.output_name() == roots[0]
    )


def column_names(schema: pl.Schema, columns: Sequence[Any]) -> list[str]:
    names: list[str] = []
    for item in columns:
        if isinstance(item, list | tuple):
            names += column_names(schema, item)
        elif is_selector(item):
            names += expand_selector(schema, item)
        elif isinstance(item, pl.Expr) and not wild(item):
            names.append(item.meta.output_name())
        elif isinstance(item, pl.Expr):
            names += empty(schema).select(item).collect_schema().names()
        else:
            names.append(item)
    for name in names:
        if name not in schema:
            raise missing(str(name), schema.names())
    return names


def _short(exprs: Sequence[pl.Expr]) -> str:
    text = ", ".join(f"{e.meta.output_name(raise_if_undetermined=False) or e}" for e in exprs[:6])
    return text + (", …" if len(exprs) > 6 else "")
