"""How far models agree: exactly, by chance-corrected kappa, by sets, and by words.

What is measured follows from the column's type:

    labels, booleans       exact, cohen_kappa (Cohen 1960); fleiss_kappa (Fleiss 1971) over all
    lists of texts         set_f1: 2·|common| / (|a| + |b|), two empty lists agree
    free text              exact, token_overlap: F1 over the words of both (as SQuAD counts)
    numbers, dates         exact
    structs                exact, and each field by the rules above, under its name
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any

import polars as pl

from swath.evals.comparison import AGREEMENT, Comparison
from swath.operators.base import Operator
from swath.operators.template import as_text

_WORD = re.compile(r"\w+")


def agreement(table: pl.DataFrame, columns: Mapping[str, str], operator: Operator) -> pl.DataFrame:
    """AGREEMENT's rows for `columns` (model → column). Only rows that both of a pair (all, for
    fleiss_kappa) answered count."""
    fields = list(_fields("", operator.dtype, _labels(operator)))
    values = {model: table[column].to_list() for model, column in columns.items()}
    rows: list[dict[str, Any]] = []
    for a, b in combinations(columns, 2):
        both = [(x, y) for x, y in zip(values[a], values[b], strict=True) if _both(x, y)]
        for name, measures in fields:
            xs, ys = [_at(x, name) for x, _ in both], [_at(y, name) for _, y in both]
            for measure in measures:
                value = _MEASURES[measure](xs, ys) if both else None
                rows.append(_row(a, b, name, measure, value, len(both)))
    if len(columns) > 2:
        whole = [row for row in zip(*values.values(), strict=True) if None not in row]
        for name, measures in fields:
            if "cohen_kappa" in measures:
                cells = [[_label(_at(x, name)) for x in row] for row in whole]
                rows.append(_row(None, None, name, "fleiss_kappa", _fleiss(cells), len(whole)))
    return pl.DataFrame(rows, schema=AGREEMENT)


def likeness(
    answers: Sequence[Any], right: Sequence[Any], operator: Operator
) -> list[float | None]:
    """How like the right answer each answer is, from 0 to 1: by sets or words where the type has
    such a measure, else equal or not; a struct by the mean over its fields. None where either is
    missing."""
    fields = [
        (name, next((m for m in ("set_f1", "token_overlap") if m in measures), "exact"))
        for name, measures in _fields("", operator.dtype, _labels(operator))
        if name or not isinstance(operator.dtype, pl.Struct)
    ]
    out: list[float | None] = []
    for x, y in zip(answers, right, strict=True):
        if not _both(x, y):
            out.append(None)
            continue
        pairs = [(_at(x, name), _at(y, name), measure) for name, measure in fields]
        out.append(sum(_MEASURES[m]([a], [b]) or 0.0 for a, b, m in pairs) / len(pairs))
    return out


def differing(comparison: Comparison) -> pl.DataFrame:
    """Rows on which the answers are not all the same; a missing answer is no opinion."""
    columns = list(comparison.columns.values())
    schema = comparison.table.schema
    texts = [as_text(pl.col(name), schema[name]) for name in columns]
    kinds = pl.concat_list(texts).list.drop_nulls().list.n_unique()
    return comparison.table.filter(kinds > 1)


def _row(
    a: str | None, b: str | None, name: str, measure: str, value: float | None, n: int
) -> dict[str, Any]:
    return {
        "model_a": a,
        "model_b": b,
        "field": name,
        "measure": measure,
        "value": value,
        "n": n,
    }


def _both(x: Any, y: Any) -> bool:
    return x is not None and y is not None


# -- which measures a column takes


def _fields(name: str, dtype: Any, labels: frozenset[str]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """(dotted name, measures) of a value and of all that is within; "" is the whole."""
    if isinstance(dtype, pl.Struct):
        if not name:
            yield name, ("exact",)
        for field in dtype.fields:
            inner = f"{name}.{field.name}" if name else field.name
            yield from _fields(inner, field.dtype, labels)
    elif isinstance(dtype, pl.List) and dtype.inner == pl.String:
        yield name, ("set_f1",)
    elif dtype == pl.Boolean or name in labels:
        yield name, ("exact", "cohen_kappa")
    elif dtype == pl.String:
        yield name, ("exact", "token_overlap")
    else:
        yield name, ("exact",)


def _labels(operator: Operator) -> frozenset[str]:
    """The dotted names of texts of which only certain ones are allowed."""
    if operator.kind == "classify":
        return frozenset({"", "label"})
    shape = getattr(operator, "shape", None)
    return frozenset() if shape is None else frozenset(_enums("", shape.value_schema))


def _enums(name: str, node: Any) -> Iterator[str]:
    if not isinstance(node, Mapping):
        return
    options = [o for o in node.get("anyOf", ()) if o.get("type") != "null"]
    if len(options) == 1:
        node = options[0]
    if "enum" in node:
        yield name
    for key, inner in (node.get("properties") or {}).items():
        yield from _enums(f"{name}.{key}" if name else key, inner)


def _at(value: Any, name: str) -> Any:
    for key in name.split(".") if name else ():
        value = None if value is None else value[key]
    return value


# -- the measures


def _exact(xs: Sequence[Any], ys: Sequence[Any]) -> float:
    same: list[bool] = [x == y for x, y in zip(xs, ys, strict=True)]
    return sum(same) / len(same)


def _kappa(xs: Sequence[Any], ys: Sequence[Any]) -> float | None:
    from swath.evals.stats.agreement import cohen_kappa

    return cohen_kappa([_label(x) for x in xs], [_label(y) for y in ys])


def _fleiss(cells: list[list[str]]) -> float | None:
    from swath.evals.stats.agreement import fleiss_kappa

    labels = sorted({label for row in cells for label in row})
    counts = [[row.count(label) for label in labels] for row in cells]
    return fleiss_kappa(counts) if counts else None


def _label(value: Any) -> str:
    """A missing label is one of its own: the text did not say."""
    return "" if value is None else str(value)


def _set_f1(xs: Sequence[Any], ys: Sequence[Any]) -> float:
    return _mean(lambda x, y: _f1(Counter(set(x or ())), Counter(set(y or ()))), xs, ys)


def _token_overlap(xs: Sequence[Any], ys: Sequence[Any]) -> float:
    return _mean(lambda x, y: _f1(_words(x), _words(y)), xs, ys)


def _words(text: str | None) -> Counter[str]:
    return Counter(_WORD.findall((text or "").casefold()))


def _f1(x: Counter[str], y: Counter[str]) -> float:
    total = x.total() + y.total()
    return 2 * (x & y).total() / total if total else 1.0


def _mean(of: Callable[[Any, Any], float], xs: Sequence[Any], ys: Sequence[Any]) -> float:
    return sum(of(x, y) for x, y in zip(xs, ys, strict=True)) / len(xs)


_MEASURES: dict[str, Callable[[Sequence[Any], Sequence[Any]], float | None]] = {
    "exact": _exact,
    "cohen_kappa": _kappa,
    "set_f1": _set_f1,
    "token_overlap": _token_overlap,
}
