"""A comparison in a notebook's cell: the decision, trust, and a line a model."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from swath.evals.comparison import Comparison


def summary_html(comparison: Comparison) -> str:
    """A short HTML fragment, without scripts, that takes the notebook's own colours."""
    parts = [f"<p><strong>{escape(each.sentence)}</strong></p>" for each in comparison.decisions]
    if comparison.trust is not None:
        parts.append(f"<p>{escape(comparison.trust.sentence)}</p>")
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in _COLUMNS)
    body = "".join(_line(row) for row in comparison.by_model.to_dicts())
    parts.append(f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>")
    rows = len(comparison.table)
    more = f"{rows:,} rows of {comparison.column}. .to_html('report.html') shows them side by side."
    return f"<div>{''.join(parts)}<p><small>{escape(more)}</small></p></div>"


_COLUMNS = ("model", "answered", "failed", "$ per 1,000 rows", "median time", "tokens out")


def _line(row: dict[str, Any]) -> str:
    cost, time = row["cost_per_row_usd"], row["latency_p50_ms"]
    cells = [
        f"{row['ok']:,} of {row['rows']:,}",
        f"{row['failed']:,}",
        "–" if cost is None else f"{cost * 1000:.3g}",
        "–" if time is None else f"{time:,.0f} ms",
        "–" if row["output_tokens"] is None else f"{row['output_tokens']:,}",
    ]
    inner = "".join(f"<td>{cell}</td>" for cell in cells)
    return f'<tr><th scope="row">{escape(row["model"])}</th>{inner}</tr>'
