"""A comparison on a terminal of 80 columns."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from typing import Any

import polars as pl

from swath.evals.attribution import Attribution
from swath.evals.comparison import Comparison, JudgeTrust
from swath.frames.explanation import dollars

WIDTH = 80
NOTES = 6
ERRORS = 3


def shown(comparison: Comparison) -> str:
    parts = [
        _title(comparison),
        _models(comparison.by_model),
        _agreement(comparison.agreement),
        _failures(comparison),
        _scores(comparison.scores),
        _judges(comparison),
        _decisions(comparison),
        _notes(comparison.notes),
    ]
    return "\n\n".join(part for part in parts if part)


def attribution(made: Attribution) -> str:
    """Cells, effects over all rows, and the slices' own where there are any."""
    cells = [
        (
            row["prompt"],
            row["model"],
            _or(row["quality"], lambda v: f"{v:.3f}"),
            _or(row["cost_per_row_usd"], lambda v: dollars(1000 * v)),
            f"{row['failed']:,}",
        )
        for row in made.cells.iter_rows(named=True)
    ]
    effects = [
        (
            row["part"] + (f" ({row['slice']})" if row["slice"] else ""),
            _step(row),
            _or(row["effect"], lambda v: f"{v:+.2f}"),
            "–" if row["low"] is None else f"{row['low']:+.2f} to {row['high']:+.2f}",
            f"{row['n']:,}",
            _or(
                row["cost_per_row_usd"], lambda v: ("+" if v >= 0 else "-") + dollars(1000 * abs(v))
            ),
        )
        for row in made.effects.iter_rows(named=True)
    ]
    heads = ("effect of", "", "quality", "95% interval", "rows", "$/1,000")
    return (
        columns(("prompt", "model", "quality", "$/1,000 rows", "failed"), cells, left=2)
        + "\n\n"
        + columns(heads, effects, left=2)
    )


def _step(row: dict[str, Any]) -> str:
    if row["part"] in ("model", "prompt"):
        return f"{row['from']} → {row['to']}"
    return str(row["to"]).replace(", ", " with ")


def _title(made: Comparison) -> str:
    rows = made.table.height
    said = f"{made.operator} by {len(made.models)} models over {rows:,} row{'s' * (rows != 1)}"
    return f"Comparison {made.id}: {said}"


def _models(by_model: pl.DataFrame) -> str:
    heads = ("model", "ok", "failed", "$/1,000 rows", "p50", "p95", "tokens/row", "valid first")
    lines = [
        (
            row["model"],
            f"{row['ok']:,}",
            f"{row['failed']:,}",
            _or(row["cost_per_row_usd"], lambda v: dollars(1000 * v)),
            _or(row["latency_p50_ms"], _ms),
            _or(row["latency_p95_ms"], _ms),
            _per_row(row),
            _or(row["schema_valid"], lambda v: f"{v:.0%}"),
        )
        for row in by_model.iter_rows(named=True)
    ]
    return columns(heads, lines)


def _per_row(row: dict[str, Any]) -> str:
    calls = row["calls"]
    if not calls:
        return "–"
    return f"{row['input_tokens'] / calls:,.0f}+{row['output_tokens'] / calls:,.0f}"


def _agreement(table: pl.DataFrame) -> str:
    if not table.height:
        return ""
    lines = [
        (
            row["field"] or "whole answer",
            row["measure"].replace("_", " "),
            "all" if row["model_a"] is None else f"{row['model_a']}, {row['model_b']}",
            _or(row["value"], lambda v: f"{v:.2f}"),
            f"{row['n']:,}",
        )
        for row in table.iter_rows(named=True)
    ]
    return "Agreement\n" + columns(("field", "measure", "models", "value", "rows"), lines, left=3)


def _failures(made: Comparison) -> str:
    if not made.errors.height:
        return ""
    first = made.errors.head(ERRORS).iter_rows(named=True)
    lines = [f"  row {e['row']}, {e['model']}: {e['kind']}, {e['reason']}" for e in first]
    rest = made.errors.height - ERRORS
    lines += [f"  and {rest:,} more: comparison.errors"] if rest > 0 else []
    return "\n".join(["Failed rows", *(_wrapped(line) for line in lines)])


def _scores(scores: pl.DataFrame | None) -> str:
    if scores is None or not scores.height:
        return ""
    mean = scores.group_by("criterion", "model", maintain_order=True).agg(
        mean=pl.col("score").mean(), n=pl.col("score").count(), lost=pl.col("score").null_count()
    )
    lines = [
        (
            r["criterion"],
            r["model"],
            _or(r["mean"], lambda v: f"{v:.2f}"),
            str(r["n"]),
            str(r["lost"]),
        )
        for r in mean.iter_rows(named=True)
    ]
    return "Scores\n" + columns(("criterion", "model", "mean", "n", "unread"), lines, left=2)


def _judges(made: Comparison) -> str:
    judges = made.judges or (() if made.trust is None else (made.trust,))
    if not judges:
        return ""
    cost = f", {dollars(made.judge_cost_usd)}" if made.judge_cost_usd else ""
    return "\n".join([f"Judged{cost}", *(_wrapped(f"  {_said(judge)}") for judge in judges)])


def _said(judge: JudgeTrust) -> str:
    return judge.sentence if judge.judge in judge.sentence else f"{judge.judge}: {judge.sentence}"


def _decisions(made: Comparison) -> str:
    if not made.decisions:
        return ""
    lines = [_wrapped(f"  {decision.sentence}") for decision in made.decisions]
    doubtful = made.human is None and made.trust is not None and made.trust.usable is False
    head = "Decided, by a judge that may not be used" if doubtful else "Decided"
    return "\n".join([head, *lines])


def _notes(notes: Sequence[str]) -> str:
    if not notes:
        return ""
    lines = [_wrapped(f"  {note}") for note in notes[:NOTES]]
    rest = len(notes) - NOTES
    lines += [f"  and {rest} more: comparison.notes"] if rest > 0 else []
    return "\n".join(["Notes", *lines])


def columns(heads: Sequence[str], lines: Sequence[Sequence[str]], *, left: int = 1) -> str:
    """Text in columns; the first `left` of them from the left, numbers from the right."""
    widths = [max(map(len, column)) for column in zip(heads, *lines, strict=True)]

    def line(cells: Sequence[str]) -> str:
        padded = (
            cell.ljust(width) if i < left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(cells, widths, strict=True))
        )
        return "  " + "  ".join(padded).rstrip()

    return "\n".join(map(line, (heads, *lines)))


def _wrapped(text: str) -> str:
    return textwrap.fill(
        text, WIDTH, initial_indent="", subsequent_indent="    ", break_long_words=False
    )


def _or(value: float | None, how: Callable[[float], str]) -> str:
    return "–" if value is None else how(value)


def _ms(value: float) -> str:
    return f"{value / 1000:.1f} s" if value >= 1000 else f"{value:.0f} ms"
