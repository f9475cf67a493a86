"""Win rates from verdicts on all items and labels on some: tuned PPI for each model."""

from __future__ import annotations

import polars as pl

from swath.errors import ColumnNotFound, listing
from swath.evals.stats.ppi import Corrected, tuned_ppi_mean
from swath.evals.stats.tables import (
    item_table,
    label_table,
    score,
    verdict_table,
    with_items,
    with_unit,
)


def corrected_win_rates(
    items: pl.DataFrame, verdicts: pl.DataFrame, human: pl.DataFrame, *, unit: str | None = None
) -> dict[str, Corrected]:
    """Each model's win rate as people would give it, had they labelled every item, the best first.

    Items are the unit, since labels are a random sample of items; name a column in `unit` where
    whole prompts or clusters were drawn for labelling. An item's label is the mean of its votes.
    Where the judge could not be parsed it counts as a half, a guess like any other, which keeps the
    interval right. A model whose labels are fewer than two, or all the same, is left out.
    """
    table = with_items(verdict_table(verdicts), item_table(items))
    for column in ("model_a", "model_b"):
        if column not in table.columns:
            raise ColumnNotFound(
                f"Neither items nor verdicts have a column '{column}'.",
                hint=listing(table.columns, column),
            )
    return corrected_of(with_unit(table, unit or "item_id"), label_table(human), unit is not None)


def corrected_of(
    table: pl.DataFrame, labels: pl.DataFrame, clustered: bool
) -> dict[str, Corrected]:
    """The same of a table with `_unit, model_a, model_b` and checked labels."""
    scored = by_item(table, labels)
    sides = [
        scored.select(
            "_unit",
            model=pl.col(model).cast(pl.String),
            judge=1 - pl.col("judge") if model == "model_b" else pl.col("judge"),
            human=1 - pl.col("human") if model == "model_b" else pl.col("human"),
        )
        for model in ("model_a", "model_b")
    ]
    found = {}
    for (model,), rows in pl.concat(sides).drop_nulls("model").group_by("model"):
        known = rows.filter(pl.col("human").is_not_null())
        if known.height < 2 or known["human"].n_unique() < 2:
            continue
        if clustered and known["_unit"].n_unique() < 2:
            continue
        rest = rows.filter(pl.col("human").is_null())
        found[str(model)] = tuned_ppi_mean(
            known["human"].to_numpy(),
            known["judge"].to_numpy(),
            rest["judge"].to_numpy(),
            clusters=known["_unit"].to_list() if clustered else None,
            rest_clusters=rest["_unit"].to_list() if clustered else None,
        )
    return dict(sorted(found.items(), key=lambda pair: (-pair[1].estimate, pair[0])))


def by_item(table: pl.DataFrame, labels: pl.DataFrame) -> pl.DataFrame:
    """A row an item that was judged: `item_id, _unit, model_a, model_b`, `judge` and `human`, the
    mean preference for A (human null without labels, judge a half where nothing was parsed)."""
    kept = [c for c in ("_unit", "model_a", "model_b") if c in table.columns]
    judged = table.group_by("item_id", maintain_order=True).agg(
        *[pl.col(c).first() for c in kept], judge=score("verdict").mean().fill_null(0.5)
    )
    people = labels.group_by("item_id").agg(human=score("label").mean())
    return judged.join(people, on="item_id", how="left", maintain_order="left")
