"""What the pictures are drawn from: plain lists, the same for the page and for notebooks."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from math import floor
from typing import TYPE_CHECKING, Any

import polars as pl

from swath.evals.report.outcomes import Outcome, outcomes

if TYPE_CHECKING:
    from swath.evals.comparison import Comparison

Line = dict[str, Any]

LEVELS = 11  # scores with more distinct values are put into ten bins


def figures(
    comparison: Comparison, found: Sequence[Outcome] | None = None
) -> dict[str, list[Line]]:
    """Every picture's lines: quality, wins, outcomes, scores, latency, agreement; empty where
    the comparison has nothing to show. `found`: the outcomes, where they are known already."""
    found = outcomes(comparison) if found is None else found
    return {
        "quality": quality(comparison, found),
        "wins": wins(comparison),
        "outcomes": tallies(comparison),
        "scores": scores(comparison),
        "latency": latency(comparison),
        "agreement": agreement(comparison),
    }


def quality(comparison: Comparison, found: Sequence[Outcome]) -> list[Line]:
    """A line a model: `quality` with `low` and `high`, `measure` (its name), `share` (whether it
    is one), `x` on the `axis` (cost: dollars per 1,000 rows; time: median milliseconds, where
    nothing costs anything), and `front`: no other model is as good for less.

    Quality is the share of rows won, ties half, against the other model; against all others where
    there are several; the mean score where answers were scored and not set against each other.
    """
    rated = _rated(comparison, found) or _scored(comparison)
    took = {row["model"]: row for row in comparison.by_model.to_dicts()}
    free = not any(row["cost_per_row_usd"] for row in took.values())
    for line in rated:
        row = took.get(line["model"], {})
        per_row = row.get("cost_per_row_usd")
        line["axis"] = "time" if free else "cost"
        line["x"] = row.get("latency_p50_ms") if free else per_row and per_row * 1000
    for line in rated:
        line["front"] = line["x"] is not None and not any(_beats(o, line) for o in rated)
    return rated


def _beats(other: Line, line: Line) -> bool:
    if other["x"] is None or other["x"] > line["x"] or other["quality"] < line["quality"]:
        return False
    return bool(other["x"] < line["x"] or other["quality"] > line["quality"])


def _rated(comparison: Comparison, found: Sequence[Outcome]) -> list[Line]:
    decisions = comparison.decisions
    if len(comparison.models) == 2 and len(decisions) == 1:
        pair = decisions[0]
        rate, name = pair.win_rate, "Rows won, ties half"
        first = (1 - rate.estimate, 1 - rate.high, 1 - rate.low)
        return [
            _quality(pair.a, *first, measure=name),
            _quality(pair.b, rate.estimate, rate.low, rate.high, measure=name),
        ]
    if not decisions:
        return []
    won: dict[str, list[tuple[str, float]]] = defaultdict(list)
    for each in found:
        if each.verdict is not None:
            for_a = {"A": 1.0, "B": 0.0}.get(each.verdict, 0.5)
            won[each.a].append((each.cluster, for_a))
            won[each.b].append((each.cluster, 1 - for_a))
    name = "Rows won against the others, by the judge"
    return [
        _quality(model, *_mean(won[model]), measure=name)
        for model in comparison.models
        if won[model]
    ]


def _scored(comparison: Comparison) -> list[Line]:
    if comparison.scores is None:
        return []
    lines = []
    for model in comparison.models:
        own = comparison.scores.filter(pl.col("model") == model).drop_nulls("score")
        if len(own):
            values = list(zip(own["row"].cast(pl.String), own["score"], strict=True))
            line = _quality(model, *_mean(values), measure="Mean score")
            lines.append(line | {"share": False})
    return lines


def _quality(
    model: str, value: float, low: float | None, high: float | None, *, measure: str
) -> Line:
    line = {"model": model, "quality": value, "low": low, "high": high}
    return line | {"measure": measure, "share": True}


def _mean(values: Sequence[tuple[str, float]]) -> tuple[float, float | None, float | None]:
    """The mean of (unit, value), and its 95% interval by resampling units, never parts of one."""
    import numpy as np

    from swath.evals.stats.estimate import ratios

    units = sorted({unit for unit, _ in values})
    place = {unit: number for number, unit in enumerate(units)}
    tops, counts = np.zeros(len(units)), np.zeros(len(units))
    for unit, value in values:
        tops[place[unit]] += value
        counts[place[unit]] += 1
    estimate = ratios(tops, counts)[0]
    mean = float(tops.sum() / counts.sum())
    if estimate is None or len(units) < 2:
        return mean, None, None
    return mean, estimate.low, estimate.high


def wins(comparison: Comparison) -> list[Line]:
    """Two lines a decided pair: how often `model` beats `against`, with its interval."""
    lines = []
    for each in comparison.decisions:
        rate = each.win_rate
        one = {"model": each.b, "against": each.a, "rate": rate.estimate}
        two = {"model": each.a, "against": each.b, "rate": 1 - rate.estimate}
        lines.append(one | {"low": rate.low, "high": rate.high})
        lines.append(two | {"low": 1 - rate.high, "high": 1 - rate.low})
    return lines


def tallies(comparison: Comparison) -> list[Line]:
    """A line a decided pair: rows in which `a` or `b` was better, ties, and unreadable ones."""
    names = ("a", "b", "wins_a", "wins_b", "ties", "unparsed")
    return [{name: getattr(each, name) for name in names} for each in comparison.decisions]


def scores(comparison: Comparison) -> list[Line]:
    """A line a criterion and model: `counts` of rows at each of `levels` (names of scores, or of
    ten bins), their `mean`, and `unread` scores. All judges' scores count."""
    if comparison.scores is None or not len(comparison.scores):
        return []
    lines = []
    for criterion in comparison.scores["criterion"].unique(maintain_order=True):
        table = comparison.scores.filter(pl.col("criterion").eq_missing(criterion))
        given = sorted(table["score"].drop_nulls().unique())
        place, levels = _levels(given)
        for model in comparison.models:
            column = table.filter(pl.col("model") == model)["score"]
            if not len(column):
                continue
            counts = [0] * len(levels)
            for score in column.drop_nulls():
                counts[place(score)] += 1
            lines.append(
                {"criterion": criterion or "score", "model": model, "levels": levels}
                | {"counts": counts, "mean": column.mean(), "unread": column.null_count()}
            )
    return lines


def _levels(given: list[float]) -> tuple[Any, list[str]]:
    """Where a score goes, and the levels' names: each whole number from the least to the most,
    or ten equal bins where there are others."""
    if not given:
        return (lambda score: 0), ["–"]
    low, high = given[0], given[-1]
    if all(float(score).is_integer() for score in given) and high - low < LEVELS:
        return (lambda score: int(score - low)), [
            str(int(low) + i) for i in range(int(high - low) + 1)
        ]
    width = (high - low) / 10 or 1.0
    names = [f"{low + i * width:.3g}" for i in range(10)]
    return (lambda score: min(9, floor((score - low) / width))), names


def latency(comparison: Comparison) -> list[Line]:
    """A line a model whose calls were timed: `p50`, `p95` and `ttft` in milliseconds."""
    return [
        {"model": row["model"], "p50": row["latency_p50_ms"]}
        | {"p95": row["latency_p95_ms"], "ttft": row["ttft_p50_ms"]}
        for row in comparison.by_model.to_dicts()
        if row["latency_p50_ms"] is not None
    ]


def agreement(comparison: Comparison) -> list[Line]:
    """A line a pair (none for a measure over all models), field and measure."""
    table = comparison.agreement.drop_nulls("value").filter(pl.col("value").is_not_nan())
    return table.rename({"model_a": "a", "model_b": "b"}).to_dicts()
