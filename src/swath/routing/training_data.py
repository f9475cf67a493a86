"""Grades for training from what Swath has already: comparisons that were judged."""

from __future__ import annotations

import os

from swath.errors import InputError
from swath.routing.graded import Graded


def of_comparison(path: str | os.PathLike[str]) -> Graded:
    """The grades in a saved comparison (a folder, or an id beside the store): a model's quality on
    a row is the share of verdicts it won there, ties half. Raises InputError."""
    import polars as pl

    from swath.evals.comparison import Comparison

    comparison = Comparison.load(path)
    items, verdicts = comparison.items, comparison.verdicts
    if items is None or verdicts is None or not verdicts.height:
        raise InputError(
            f"The comparison '{comparison.id}' was not judged, so it has no grades.",
            hint="Compare with a judge: sw.compare(…, judge='alias'), or swath compare --judge.",
        )
    # A pair of equal answers is a tie that no judge was asked about: it has no verdict.
    won = {"A": 1.0, "tie": 0.5, "B": 0.0}
    judged = verdicts.select("item_id", "verdict").drop_nulls()
    graded = (
        items.join(judged, on="item_id", how="left")
        .with_columns(
            pl.when(pl.col("answer_a") == pl.col("answer_b"))
            .then(pl.lit("tie"))
            .otherwise(pl.col("verdict"))
            .alias("verdict")
        )
        .drop_nulls("verdict")
        .with_columns(a=pl.col("verdict").replace_strict(won, return_dtype=pl.Float64))
    )
    sides = [
        graded.select(prompt="input", model="model_a", quality="a"),
        graded.select(prompt="input", model="model_b", quality=1 - pl.col("a")),
    ]
    rows = pl.concat(sides).group_by("prompt", "model").agg(pl.col("quality").mean())
    return Graded.read(rows)
