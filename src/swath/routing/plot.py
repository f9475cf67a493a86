"""The cost-quality curves of a study, drawn beside RouteLLM's published points, to one file."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from swath.errors import InputError, MissingExtra, OutputError, listing
from swath.routing.study import Study

FORMATS = (".svg", ".png", ".html")


def check(path: str | os.PathLike[str]) -> Path:
    """The place of a plot, before anything is worked out. Raises InputError, MissingExtra."""
    target = Path(path)
    if target.suffix.lower() not in FORMATS:
        raise InputError(f"A plot is not written to '{target.name}'.", hint=listing(FORMATS))
    _altair()
    return target


def draw(
    studies: Sequence[Study], published: dict[str, list[dict[str, Any]]], path: str | Path
) -> Path:
    """A panel for each benchmark: share of strong calls against the part of the gap recovered.
    Published routers are their CPT(50%) and CPT(80%) points. Raises OutputError."""
    alt = _altair()
    target = check(path)
    panels = []
    for study in studies:
        name = study.benchmark.name
        lines = [
            {"router": r.router, "strong": 100 * x, "recovered": 100 * y}
            for r in study.results
            for x, y in zip(r.curve.x.tolist(), r.curve.pgr.tolist(), strict=True)
        ]
        points = [
            {
                "router": f"{row['router']} ({row['train_data']})",
                "strong": row[f"cpt{part}"],
                "recovered": part,
            }
            for row in published.get(name, [])
            if row["train_data"] != "none"
            for part in (50, 80)
        ]
        x = alt.X(
            "strong:Q", title="calls to the strong model, %", scale=alt.Scale(domain=[0, 100])
        )
        y = alt.Y(
            "recovered:Q", title="gap recovered, %", scale=alt.Scale(domain=[0, 130], clamp=True)
        )
        colour = alt.Color("router:N", title="here", scale=alt.Scale(scheme="tableau20"))
        ours = alt.condition("datum.router == 'default'", alt.value(4), alt.value(1.5))
        drawn = alt.Chart(alt.Data(values=lines)).mark_line()
        layers = [drawn.encode(x=x, y=y, color=colour, strokeWidth=ours)]
        if points:
            shape = alt.Shape("router:N", title="RouteLLM, published")
            marks = alt.Chart(alt.Data(values=points)).mark_point(color="#333", size=45)
            layers.append(marks.encode(x=x, y=y, shape=shape))
        chart = alt.layer(*layers).properties(title=name, width=340, height=300)
        panels.append(chart.resolve_scale(shape="independent"))
    whole = alt.hconcat(*panels).resolve_scale(shape="shared")
    try:
        whole.save(str(target))
    except OSError as error:
        raise OutputError(
            f"The plot cannot be written to '{target}': {error.strerror or error}.",
            hint="Give a path in a folder that exists.",
        ) from None
    return target


def _altair() -> Any:
    try:
        import altair
        import vl_convert  # noqa: F401  what altair draws SVG and PNG with
    except ImportError:
        raise MissingExtra("A plot", "evals") from None
    return altair
