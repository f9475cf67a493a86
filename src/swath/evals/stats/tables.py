"""Verdicts, items and labels as they come, checked and put in one form.

Verdicts: `item_id, judge, order (AB|BA|both), verdict (A|B|tie|null), picked_position`, the verdict
in the item frame: A is `answer_a`, whatever order it was shown in. Null could not be parsed, which
is neither a tie nor a loss. Items: `item_id`, `model_a, model_b`, `gold`, `answer_a, answer_b` and
a column for the unit. Labels: `item_id, annotator, label (A|B|tie)`. A table of labels may stand in
for verdicts: each annotator is then a judge.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import polars as pl

from swath.errors import ColumnNotFound, InputError, listing

CHOICES = ("A", "B", "tie")
UNITS = ("cluster", "prompt_id", "question_id")  # columns that say which items belong together
ORDERS = ("AB", "BA", "both")
POINTWISE = ("rating", "pointwise")  # strategies that score each answer by itself
_SHOWN = 12  # characters of a wrong value that an error repeats: more might be an answer's text


def verdict_table(verdicts: pl.DataFrame) -> pl.DataFrame:
    """`verdicts` with text ids, `verdict` one of A, B, tie or null, `order` one of AB, BA, both or
    null, and `_first` (bool): whether the answer shown first was picked; null where none was
    picked or no order shown. Other columns stay. Raises InputError."""
    table = _plain(verdicts, "The table of verdicts")
    if "verdict" not in table.columns and "label" in table.columns:
        table = table.rename({"label": "verdict"})
        if "judge" not in table.columns and "annotator" in table.columns:
            table = table.with_columns(judge=pl.col("annotator"))
    _need(table, ("item_id", "verdict"), "The table of verdicts")
    table = table.with_columns(
        _choices(table, "verdict", CHOICES, "verdict"),
        _choices(table, "order", ORDERS, "order")
        if "order" in table.columns
        else pl.lit(None, pl.String).alias("order"),
    )
    return table.with_columns(_first=_first(table))


def item_table(items: pl.DataFrame) -> pl.DataFrame:
    """`items` with text ids, one row each, and `gold` one of A, B, tie or null where there is any.
    Raises InputError."""
    table = _plain(items, "The table of items")
    _need(table, ("item_id",), "The table of items")
    if table["item_id"].is_duplicated().any():
        table = table.unique(maintain_order=True)  # the same row twice says nothing else
    twice = table.height - table["item_id"].n_unique()
    if twice:
        raise InputError(
            f"The table of items holds {twice} item_id more than once.",
            hint="Keep one row an item; answers of several models are several items.",
        )
    if ("model_a" in table.columns) != ("model_b" in table.columns):
        raise InputError(
            "The table of items has only one of model_a and model_b.",
            hint=listing(table.columns),
        )
    if "gold" in table.columns:
        table = table.with_columns(_choices(table, "gold", CHOICES, "gold label"))
    return table


def label_table(human: pl.DataFrame) -> pl.DataFrame:
    """`human` with text ids, `label` one of A, B, tie (rows without one are left out) and
    `annotator`, which is "" where the table has none. Raises InputError."""
    table = _plain(human, "The table of labels")
    if "label" not in table.columns and "verdict" in table.columns:
        table = table.rename({"verdict": "label"})
    _need(table, ("item_id", "label"), "The table of labels")
    table = table.with_columns(_choices(table, "label", CHOICES, "label"))
    if "annotator" not in table.columns:
        table = table.with_columns(annotator=pl.lit(""))
    return table.filter(pl.col("label").is_not_null())


def with_items(verdicts: pl.DataFrame, items: pl.DataFrame | None) -> pl.DataFrame:
    """Each verdict with what its item says; a column of the verdicts wins over one of the same
    name. Raises InputError where no verdict has its item."""
    if items is None:
        return verdicts
    if verdicts.height and not verdicts["item_id"].is_in(items["item_id"].implode()).any():
        raise InputError(
            "No item_id of the verdicts is in the table of items.",
            hint="Give the items that were judged: item_id must be the same in both.",
        )
    new = [c for c in items.columns if c == "item_id" or c not in verdicts.columns]
    return verdicts.join(items.select(new), on="item_id", how="left", maintain_order="left")


def with_unit(table: pl.DataFrame, unit: str | None = None) -> pl.DataFrame:
    """`table` with a text column `_unit`: that of the column asked for, else of the first of
    `cluster`, `prompt_id`, `question_id` that there is, else the item. An item without a value is
    a unit of its own. Raises ColumnNotFound."""
    if unit is not None and unit not in table.columns:
        raise ColumnNotFound(f"There is no column '{unit}'.", hint=listing(table.columns, unit))
    name = unit or next((c for c in UNITS if c in table.columns), "item_id")
    own = pl.concat_str(pl.lit("item "), pl.col("item_id"))
    return table.with_columns(_unit=pl.coalesce(pl.col(name).cast(pl.String), own))


def score(column: str) -> pl.Expr:
    """1 for A, 0 for B, a half for a tie, null for null: how far the verdict prefers A."""
    values = {"A": 1.0, "B": 0.0, "tie": 0.5}
    return pl.col(column).replace_strict(values, default=None, return_dtype=pl.Float64)


def pointwise() -> pl.Expr:
    """Rows whose strategy scores each answer alone: no order was shown, whatever `order` says."""
    return pl.col("strategy").str.to_lowercase().str.contains(f"^({'|'.join(POINTWISE)})")


def majority(human: pl.DataFrame) -> pl.DataFrame:
    """`item_id, label`: the label most votes name, a tie where none has the most."""
    counts = label_table(human).group_by("item_id", "label").len()
    top = counts.filter(pl.col("len") == pl.col("len").max().over("item_id"))
    return top.group_by("item_id", maintain_order=False).agg(
        label=pl.when(pl.len() > 1).then(pl.lit("tie")).otherwise(pl.col("label").first())
    )


def _plain(table: Any, what: str) -> pl.DataFrame:
    """A copy whose categories are text and whose item_id is text."""
    if isinstance(table, pl.LazyFrame):
        table = table.collect()
    if not isinstance(table, pl.DataFrame):
        raise InputError(
            f"{what} is a {type(table).__name__}.", hint="Give a Polars DataFrame: pl.DataFrame(…)."
        )
    if not table.height:
        raise InputError(
            f"{what} is empty.", hint="It needs a row for each verdict, item or label."
        )
    plain = table.with_columns(pl.col(pl.Categorical, pl.Enum).cast(pl.String))
    if "item_id" in plain.columns:
        if plain["item_id"].null_count():
            raise InputError(f"{what} has rows without an item_id.", hint="Fill or drop them.")
        ids = plain["item_id"]
        if ids.dtype.is_float() and (ids == ids.floor()).all():
            ids = ids.cast(pl.Int64)  # whole numbers, as pandas writes them beside a gap
        plain = plain.with_columns(ids.cast(pl.String))
    return plain


def _need(table: pl.DataFrame, columns: Iterable[str], what: str) -> None:
    for column in columns:
        if column not in table.columns:
            raise ColumnNotFound(
                f"{what} has no column '{column}'.", hint=listing(table.columns, column)
            )


def _choices(table: pl.DataFrame, column: str, known: tuple[str, ...], what: str) -> pl.Expr:
    """The column in the known spellings; empty text is null. Raises InputError for others."""
    text = table[column].cast(pl.String).str.strip_chars()
    spelled = text.str.to_lowercase().replace({k.lower(): k for k in known} | {"": None})
    wrong = table.select(row=pl.int_range(pl.len()), value=text).filter(
        spelled.is_not_null() & ~spelled.is_in(known)
    )
    if wrong.height:
        row, value = wrong.row(0)
        shown = f"'{value}'" if len(value) <= _SHOWN else f"a text of {len(value)} characters"
        raise InputError(
            f"Row {row + 1} has {shown} as its {what}, as have {wrong.height - 1} more rows."
            if wrong.height > 1
            else f"Row {row + 1} has {shown} as its {what}.",
            hint=f"It must be one of {', '.join(known)}, or empty.",
        )
    return pl.lit(spelled).alias(column)


def _first(table: pl.DataFrame) -> pl.Expr:
    """From `picked_position` where it says, else from order and verdict."""
    shown = pl.when(pl.col("order") == "AB").then(pl.col("verdict") == "A")
    derived = shown.when(pl.col("order") == "BA").then(pl.col("verdict") == "B").otherwise(None)
    picked = derived
    if "picked_position" in table.columns:
        words = {"1": True, "first": True, "1.0": True, "2": False, "second": False, "2.0": False}
        said = (
            pl.col("picked_position")
            .cast(pl.String)
            .str.to_lowercase()
            .replace_strict(words, default=None, return_dtype=pl.Boolean)
        )
        picked = pl.coalesce(said, derived)
    decided = pl.col("verdict").is_in(["A", "B"]) & (pl.col("order") != "both").fill_null(True)
    found = pl.when(decided).then(picked)
    if "strategy" in table.columns:
        found = pl.when(~pointwise().fill_null(False) & decided).then(picked)
    return found
