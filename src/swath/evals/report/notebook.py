"""The report's pictures as Altair charts, for notebooks: the same lines, drawn by Vega-Lite."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import polars as pl

from swath.errors import MissingExtra
from swath.evals.report.figures import Line, figures

if TYPE_CHECKING:
    import altair

    from swath.evals.comparison import Comparison

COLOURS = ("#2f6fb2", "#bd5514", "#2b8566", "#8353b3", "#9a7412", "#b23a6b", "#3f7f93", "#6b6a66")


def charts(comparison: Comparison) -> dict[str, altair.Chart]:
    """`quality`, `wins`, `outcomes`, `scores`, `latency`, `agreement`: those that the comparison
    has figures for. Each shows itself in a notebook and has `save("chart.svg")`.

    Raises MissingExtra without the extra 'evals'.
    """
    if find_spec("altair") is None:
        raise MissingExtra("Charts in a notebook", "evals")
    draw = {
        "quality": _quality,
        "wins": _wins,
        "outcomes": _outcomes,
        "scores": _scores,
        "latency": _latency,
        "agreement": _agreement,
    }
    lines = figures(comparison)
    models = list(comparison.models)
    return {
        name: make(lines[name], models) for name, make in draw.items() if _drawable(lines[name])
    }


def _drawable(lines: list[Line]) -> bool:
    return any(line.get("x", 0) is not None for line in lines)


def _colour(models: list[str], field: str = "model") -> Any:
    import altair as alt

    colours = [COLOURS[i % len(COLOURS)] for i in range(len(models))]
    return alt.Color(f"{field}:N", scale=alt.Scale(domain=models, range=colours), title=None)


def _quality(lines: list[Line], models: list[str]) -> Any:
    import altair as alt

    first = lines[0]
    data = pl.DataFrame([line for line in lines if line["x"] is not None])
    title = "dollars per 1,000 rows" if first["axis"] == "cost" else "median milliseconds a call"
    form = "%" if first["share"] else ".2f"
    axis = alt.Axis(format=form)
    base = alt.Chart(data)
    y = alt.Y("quality:Q", title=first["measure"], axis=axis, scale=alt.Scale(zero=False))
    x = alt.X("x:Q", title=title)
    shown = [
        alt.Tooltip("model:N"),
        alt.Tooltip("quality:Q", format=form),
        alt.Tooltip("low:Q", format=form),
        alt.Tooltip("high:Q", format=form),
        alt.Tooltip("x:Q", title=title, format=".3~g"),
    ]
    front = base.transform_filter("datum.front").mark_line(
        interpolate="step-after", color="#8a857d", strokeWidth=1.5
    )
    whiskers = base.mark_rule(strokeWidth=2, opacity=0.55)
    points = base.mark_point(filled=True, size=120, opacity=1)
    names = base.mark_text(align="left", dx=10, dy=-8, fontWeight="bold")
    colour = _colour(models)
    whisker = whiskers.encode(x=x, y=alt.Y("low:Q"), y2="high:Q", color=colour)
    return alt.layer(
        front.encode(x=x, y=y),
        whisker,
        points.encode(x=x, y=y, color=colour, tooltip=shown),
        names.encode(x=x, y=y, text="model:N"),
    ).properties(
        width=420,
        height=280,
        title="Quality against cost" if first["axis"] == "cost" else "Quality against time",
    )


def _wins(lines: list[Line], models: list[str]) -> Any:
    import altair as alt

    base = alt.Chart(pl.DataFrame(lines)).encode(
        x=alt.X(
            "against:N", sort=models, title="against", axis=alt.Axis(orient="top", labelAngle=0)
        ),
        y=alt.Y("model:N", sort=models, title="wins of"),
    )
    scale = alt.Scale(domain=[0, 0.5, 1], range=["#e3a587", "#ffffff", "#8fc7b1"])
    cells = base.mark_rect().encode(
        color=alt.Color("rate:Q", scale=scale, legend=None),
        tooltip=[
            alt.Tooltip("rate:Q", format=".0%"),
            alt.Tooltip("low:Q", format=".0%"),
            alt.Tooltip("high:Q", format=".0%"),
        ],
    )
    texts = base.mark_text().encode(text=alt.Text("rate:Q", format=".0%"))
    return alt.layer(cells, texts).properties(
        width=90 * len(models), height=60 * len(models), title="Win matrix"
    )


def _outcomes(lines: list[Line], models: list[str]) -> Any:
    import altair as alt

    kinds = [
        ("wins_a", None),
        ("ties", "tie"),
        ("unparsed", "no readable verdict"),
        ("wins_b", None),
    ]
    parts = [
        {"pair": f"{line['a']} against {line['b']}", "place": place, "rows": line[kind]}
        | {"verdict": name or line["a" if kind == "wins_a" else "b"]}
        for line in lines
        for place, (kind, name) in enumerate(kinds)
    ]
    named = [*models, "tie", "no readable verdict"]
    colours = [*(COLOURS[i % len(COLOURS)] for i in range(len(models))), "#d9d4cb", "#b9b2a7"]
    return (
        alt.Chart(pl.DataFrame(parts))
        .mark_bar()
        .encode(
            x=alt.X("rows:Q", title="rows"),
            y=alt.Y("pair:N", title=None, sort=None),
            color=alt.Color(
                "verdict:N", scale=alt.Scale(domain=named, range=colours), title="better"
            ),
            order="place:Q",
            tooltip=["pair:N", "verdict:N", "rows:Q"],
        )
        .properties(width=420, title="Verdicts, pair by pair")
    )


def _scores(lines: list[Line], models: list[str]) -> Any:
    import altair as alt

    bars = [
        {"criterion": line["criterion"], "model": line["model"], "score": level, "rows": count}
        for line in lines
        for level, count in zip(line["levels"], line["counts"], strict=True)
    ]
    return (
        alt.Chart(pl.DataFrame(bars))
        .mark_bar()
        .encode(
            x=alt.X("score:O", sort=None, axis=alt.Axis(labelAngle=0)),
            y=alt.Y("rows:Q"),
            color=_colour(models),
            row=alt.Row("criterion:N", title=None, sort=None),
            column=alt.Column("model:N", title=None, sort=models),
            tooltip=["criterion:N", "model:N", "score:O", "rows:Q"],
        )
        .properties(width=120, height=70, title="Scores")
    )


def _latency(lines: list[Line], models: list[str]) -> Any:
    import altair as alt

    base = alt.Chart(pl.DataFrame(lines, infer_schema_length=None)).encode(
        y=alt.Y("model:N", sort=models, title=None), color=_colour(models)
    )
    tip = [alt.Tooltip("p50:Q", format=",.0f"), alt.Tooltip("p95:Q", format=",.0f")]
    span = base.mark_rule(strokeWidth=4, opacity=0.4).encode(
        x=alt.X("p50:Q", title="milliseconds: median, 95th percentile"), x2="p95:Q"
    )
    middle = base.mark_point(filled=True, size=90, opacity=1).encode(x="p50:Q", tooltip=tip)
    late = base.mark_point(filled=False, size=90).encode(x="p95:Q", tooltip=tip)
    return alt.layer(span, middle, late).properties(width=420, title="Latency")


def _agreement(lines: list[Line], models: list[str]) -> Any:
    import altair as alt

    bars = [
        {"pair": "all" if line["a"] is None else f"{line['a']} with {line['b']}"}
        | {"field": f"{line['field'] or 'whole answer'}, {line['measure']}"}
        | {"value": line["value"], "rows": line["n"]}
        for line in lines
    ]
    return (
        alt.Chart(pl.DataFrame(bars))
        .mark_rect()
        .encode(
            x=alt.X("pair:N", sort=None, title=None, axis=alt.Axis(labelAngle=-20)),
            y=alt.Y("field:N", sort=None, title=None),
            color=alt.Color(
                "value:Q", scale=alt.Scale(domain=[0, 1], scheme="blues"), title="agreement"
            ),
            tooltip=["pair:N", "field:N", alt.Tooltip("value:Q", format=".2f"), "rows:Q"],
        )
        .properties(width=420, title="Agreement between models")
    )
