"""A comparison as the ground for the next prompt: its rows, its judge, and what that judge said."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import polars as pl

from swath.errors import InputError
from swath.evals.golden.asked import Judge
from swath.evals.golden.read import Suite
from swath.evals.golden.values import short

if TYPE_CHECKING:
    from swath.evals.comparison import Comparison
    from swath.evals.golden.operator import Maker

RUBRIC = (
    "The answer does what the instructions ask, correctly and completely, and adds nothing that "
    "nobody asked for."
)
LONGEST = 400  # characters of an answer that was preferred


def suite_from(
    comparison: Comparison, maker: Maker, models: Sequence[str] = (), judge: str | None = None
) -> Suite:
    """Its sampled rows as a golden set without labels: a judge (by default the comparison's first)
    grades each answer of `models` (by default the first that was compared)."""
    judges = comparison.settings.get("judge") or []
    if judge is None and not judges:
        raise InputError(
            "The comparison has no judge, so that nothing says what is wrong.",
            hint="Name one with --judge, or compare with judge=….",
        )
    check = Judge(
        name="judge",
        kind="judge",
        rubric=RUBRIC,
        model=judge or judges[0],
        pass_at=Judge.passes_from,
    )
    rows = comparison.table.drop(list(comparison.columns.values()))
    first = comparison.models[0]
    chosen = tuple(models) or (comparison.settings.get("asked", {}).get(first, first),)
    id = "id" if "id" in rows.columns else ""
    return Suite(comparison.name, rows, maker, (check,), chosen, id)


def reasons_from(comparison: Comparison, models: Sequence[str]) -> dict[int, list[str]]:
    """By row of its table: why answers of `models` lost against others, or what kept them from the
    best score, in the judge's words."""
    found: dict[int, list[str]] = {}
    for row, reason in [*_lost(comparison, models), *_faulted(comparison, models)]:
        said = found.setdefault(row, [])
        if reason not in said:
            said.append(reason)
    return found


def _lost(comparison: Comparison, models: Sequence[str]) -> list[tuple[int, str]]:
    if comparison.items is None or comparison.verdicts is None:
        return []
    verdicts = comparison.verdicts.select("item_id", "verdict", "justification")
    met = verdicts.join(comparison.items, on="item_id", how="inner", maintain_order="left")
    found = []
    for item in met.filter(pl.col("verdict").is_in(["A", "B"])).iter_rows(named=True):
        won, lost = ("a", "b") if item["verdict"] == "A" else ("b", "a")
        if item[f"model_{lost}"] not in models or not item["justification"]:
            continue
        better = short(item[f"answer_{won}"], LONGEST)
        found.append((item["row"], f"{item['justification']} (Preferred to it: {better})"))
    return found


def _faulted(comparison: Comparison, models: Sequence[str]) -> list[tuple[int, str]]:
    if comparison.scores is None:
        return []
    best = pl.col("score").max().over("judge", "criterion")
    low = comparison.scores.filter(pl.col("model").is_in(list(models)), pl.col("score") < best)
    return [
        (line["row"], f"{line['criterion']}, {line['score']:g}: {line['justification']}")
        for line in low.iter_rows(named=True)
        if line["justification"]
    ]
