"""What the place of an answer does to the verdict, and the verdict of both orders together."""

from __future__ import annotations

import numpy as np
import polars as pl

from swath.evals.stats.estimate import RESAMPLES, Estimate, Floats, ratios
from swath.evals.stats.tables import item_table, verdict_table, with_items, with_unit

ASKED = ("item_id", "judge", "strategy", "annotator", "repeat")  # what makes two orders a pair


def first_rate(
    verdicts: pl.DataFrame,
    items: pl.DataFrame | None = None,
    *,
    unit: str | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Estimate | None:
    """How often the answer that was shown first won, over verdicts that decided; a half is fair.

    None where no order is known: one verdict for both orders, or a strategy that scores each answer
    alone (`Rating…`). With one order only, a rate off a half may also be the answers' doing: give
    both orders, or compare with human labels on the same pairs.
    """
    table = with_items(verdict_table(verdicts), None if items is None else item_table(items))
    return first_rate_of(with_unit(table, unit), resamples, seed)


def first_rate_of(table: pl.DataFrame, resamples: int, seed: int) -> Estimate | None:
    """`first_rate` of a table with `_first` and `_unit`."""
    return rate_by_unit(table, pl.col("_first"), resamples, seed)


def order_agreement(
    verdicts: pl.DataFrame,
    items: pl.DataFrame | None = None,
    *,
    unit: str | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Estimate | None:
    """The share of items whose two orders had the same outcome, unparsed being one of its own (as
    LLMBar, arXiv 2310.07641, counts). `orders_agree` is read where one verdict stands for both.
    None where no item was judged in both orders."""
    table = with_items(verdict_table(verdicts), None if items is None else item_table(items))
    return order_agreement_of(with_unit(table, unit), resamples, seed)


def order_agreement_of(table: pl.DataFrame, resamples: int, seed: int) -> Estimate | None:
    """`order_agreement` of a table with `_unit`."""
    same = both_orders(table).select(
        "_unit", same=pl.col("verdict").eq_missing(pl.col("verdict_swapped"))
    )
    if "orders_agree" in table.columns:
        said = table.filter(pl.col("order") == "both").select("_unit", same="orders_agree")
        same = pl.concat([same, said.with_columns(pl.col("same").cast(pl.Boolean))])
    return rate_by_unit(same, pl.col("same"), resamples, seed)


def both_orders(table: pl.DataFrame) -> pl.DataFrame:
    """A row for each pair of an AB verdict and the BA verdict of the same judge on the same item:
    the columns of the first, and `verdict_swapped`."""
    keys = [c for c in ASKED if c in table.columns]
    swapped = table.filter(pl.col("order") == "BA").select(*keys, verdict_swapped="verdict")
    return table.filter(pl.col("order") == "AB").join(
        swapped, on=keys, how="inner", nulls_equal=True, maintain_order="left"
    )


def settle(verdicts: pl.DataFrame) -> pl.DataFrame:
    """One verdict an item and judge: `item_id, judge, …, verdict`.

    What both orders say where they say the same; a tie where they differ; null where either could
    not be parsed (MT-Bench's rule, arXiv 2306.05685). A verdict of one order stands as it is.
    """
    table = verdict_table(verdicts)
    keys = [c for c in ASKED if c in table.columns]
    said = pl.col("verdict")
    return table.group_by(keys, maintain_order=True).agg(
        verdict=pl.when(said.is_null().any())
        .then(None)
        .when(said.n_unique() > 1)
        .then(pl.lit("tie"))
        .otherwise(said.first())
    )


def rate_by_unit(
    table: pl.DataFrame, counted: pl.Expr, resamples: int, seed: int
) -> Estimate | None:
    """The mean of a column over the rows where it is not null, resampled by `_unit`."""
    sums = (
        table.select("_unit", value=counted.cast(pl.Float64))
        .drop_nulls("value")
        .group_by("_unit", maintain_order=True)
        .agg(top=pl.col("value").sum(), bottom=pl.len())
    )
    if not sums.height:
        return None
    top: Floats = sums["top"].to_numpy()
    bottom: Floats = sums["bottom"].to_numpy().astype(np.float64)
    return ratios(top, bottom, resamples=resamples, seed=seed)[0]
