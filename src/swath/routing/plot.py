"""Routers drawn to one file: a study's curves and APGR beside what was published, or the
cost-quality hulls of many models.

A router keeps its colour in all panels. The default is drawn thick, references (the oracle, a coin,
the word count) in greys; intervals are 95% bootstrap intervals over prompts.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from swath.errors import InputError, MissingExtra, OutputError, listing
from swath.routing.benchmarks import commercial
from swath.routing.many import BEST, ZERO, Many, Priced
from swath.routing.study import Study

FORMATS = (".svg", ".png", ".html")
OURS = "#0b3c8c"
GREYS = {"oracle": "#000000", "random (10 draws)": "#9a9a9a", "words": "#6b6b6b", ZERO: "#9a9a9a"}
# Told apart also without red or green: hues alternate with light and dark.
COLOURS = (
    *("#d55e00", "#009e73", "#cc79a7", "#e6a100", "#56b4e9", "#7b3294"),
    *("#8c510a", "#b8de29", "#e7298a", "#01665e", "#ff9896", "#4d4d99", "#a6761d", "#66a61e"),
)
DASHES = {"oracle": [2, 2], "random (10 draws)": [6, 3], "words": [8, 2], ZERO: [6, 3]}


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
    """For each benchmark the share of strong calls against the part of the gap recovered, and below
    it APGR with its interval. Published routers are their CPT(50%) and CPT(80%) points and their
    APGR, commercial ones a point each. Raises OutputError."""
    alt = _altair()
    target = check(path)
    names = list(dict.fromkeys(r.router for study in studies for r in study.results))
    look = _look(alt, names)
    panels = []
    for study in studies:
        theirs = [
            row | {"label": f"RouteLLM {row['router']}, {row['train_data']}"}
            for row in published.get(study.benchmark.name, [])
            if row["train_data"] != "none"
        ]
        panels.append(alt.vconcat(_curves(alt, study, theirs, look), _apgr(alt, study, theirs)))
    return _save(alt.hconcat(*panels).resolve_scale(shape="shared", color="shared"), target)


def draw_hulls(found: Sequence[Many], held: Priced, path: str | Path) -> Path:
    """Mean dollars a prompt against mean quality: each router's hull, and the models alone."""
    alt = _altair()
    target = check(path)
    shown = [one for one in found if not one.router.startswith(BEST)]
    lines = [
        {"router": one.router, "cost": c, "quality": q, "order": i}
        for one in shown
        for i, (c, q) in enumerate(one.corners.tolist())
    ]
    x = alt.X("cost:Q", title="dollars a prompt, mean")
    y = alt.Y("quality:Q", title="quality, mean", scale=alt.Scale(zero=False))
    colour, width, dash = _look(alt, [one.router for one in shown])
    curves = (
        alt.Chart(alt.Data(values=lines))
        .mark_line()
        .encode(x=x, y=y, color=colour, strokeWidth=width, strokeDash=dash, order="order:Q")
    )
    models = [
        {"model": name, "cost": c, "quality": q}
        for name, c, q in zip(
            held.graded.models,
            held.cost.mean(axis=0).tolist(),
            held.graded.quality.mean(axis=0).tolist(),
            strict=True,
        )
    ]
    alone = alt.Chart(alt.Data(values=models)).encode(x=x, y=y)
    marks = alone.mark_point(shape="diamond", filled=True, color="#222", size=50)
    labels = alone.mark_text(align="left", dx=6, dy=8, fontSize=9).encode(text="model:N")
    title = f"{len(held.graded):,} held-out prompts, {len(held.graded.models)} models"
    whole = alt.layer(curves, marks, labels).properties(title=title, width=560, height=400)
    return _save(whole, target)


def _curves(alt: Any, study: Study, theirs: list[dict[str, Any]], look: tuple[Any, ...]) -> Any:
    lines = [
        {"router": r.router, "strong": 100 * x, "recovered": 100 * y}
        for r in study.results
        for x, y in zip(r.curve.x.tolist(), r.curve.pgr.tolist(), strict=True)
    ]
    x = alt.X("strong:Q", title="calls to the strong model, %", scale=alt.Scale(domain=[0, 100]))
    top = 10 * max(11.0, *(r["recovered"] // 10 + 1 for r in lines))
    low = 10 * min(0.0, *(r["recovered"] // 10 for r in lines))
    y = alt.Y("recovered:Q", title="gap recovered, %", scale=alt.Scale(domain=[low, top]))
    colour, width, dash = look
    drawn = alt.Chart(alt.Data(values=lines)).mark_line()
    layers = [drawn.encode(x=x, y=y, color=colour, strokeWidth=width, strokeDash=dash)]
    points = [
        {"router": row["label"], "strong": row[f"cpt{part}"], "recovered": part}
        for row in theirs
        for part in (50, 80)
    ]
    if points:
        shape = alt.Shape("router:N", title="published", legend=alt.Legend(labelLimit=260))
        marks = alt.Chart(alt.Data(values=points)).mark_point(color="#222", size=55, opacity=0.8)
        layers.append(marks.encode(x=x, y=y, shape=shape))
    bought = []
    for row in commercial(study.benchmark.name):
        gap = float(row["strong"]) - float(row["weak"])
        part = 100 * (float(row["quality"]) - float(row["weak"])) / gap
        label = f"{row['router']} (over {row['weak_model']})"
        bought.append({"label": label, "strong": row["strong_share"], "recovered": part})
    if bought:
        base = alt.Chart(alt.Data(values=bought)).encode(x=x, y=y)
        layers.append(base.mark_point(shape="square", filled=True, size=70, color="#b00020"))
        named = base.mark_text(align="left", dx=7, dy=7, fontSize=10, color="#b00020")
        layers.append(named.encode(text="label:N"))
    n = len(study.benchmark.prompts)
    made = alt.layer(*layers).properties(
        title=f"{study.benchmark.name}, {n:,} prompts", width=380, height=340
    )
    return made.resolve_scale(shape="independent")


def _apgr(alt: Any, study: Study, theirs: list[dict[str, Any]]) -> Any:
    rows = [
        {
            "router": r.router if r.n == len(study.benchmark.prompts) else f"{r.router} (n={r.n})",
            "key": r.router,
            "apgr": r.apgr.estimate,
            "low": r.apgr.low,
            "high": r.apgr.high,
        }
        for r in study.results
    ]
    known = [{"router": row["label"], "apgr": row["apgr"]} for row in theirs]
    order = [r["router"] for r in sorted([*rows, *known], key=lambda r: -r["apgr"])]
    names = list(dict.fromkeys(r.router for r in study.results))
    axis = alt.Axis(labelLimit=240)
    y = alt.Y("router:N", sort=order, title=None, axis=axis, scale=alt.Scale(domain=order))
    x = alt.X("apgr:Q", title="APGR, 95% interval", scale=alt.Scale(zero=False))
    colour = _look(alt, names, field="key", legend=False)[0]
    base = alt.Chart(alt.Data(values=rows))
    layers = [
        base.mark_rule(strokeWidth=2).encode(
            y=y, x=alt.X("low:Q", scale=alt.Scale(zero=False)), x2="high:Q", color=colour
        ),
        base.mark_point(filled=True, size=60, opacity=1).encode(y=y, x=x, color=colour),
    ]
    if known:
        marks = alt.Chart(alt.Data(values=known)).mark_point(shape="diamond", color="#222")
        layers.append(marks.encode(y=y, x=x))
    half = alt.Chart(alt.Data(values=[{"x": 0.5}]))
    layers.append(half.mark_rule(strokeDash=[3, 3], color="#9a9a9a").encode(x="x:Q"))
    return alt.layer(*layers).properties(width=380, height=alt.Step(15))


def _look(
    alt: Any, names: Sequence[str], *, field: str = "router", legend: bool = True
) -> tuple[Any, Any, Any]:
    """Colour, width and dash of lines by router."""
    palette = iter(COLOURS * (1 + len(names) // len(COLOURS)))
    shade = {n: OURS if n == "default" else GREYS.get(n) or next(palette) for n in names}
    names = list(names)
    wide = [4.0 if n == "default" else 2.0 for n in names]
    dashes = [DASHES.get(n, [1, 0]) for n in names]
    shown = alt.Legend(title="router", labelLimit=220, symbolLimit=0) if legend else None
    key = f"{field}:N"
    colour = alt.Color(key, scale=alt.Scale(domain=names, range=list(shade.values())), legend=shown)
    width = alt.StrokeWidth(key, scale=alt.Scale(domain=names, range=wide), legend=None)
    dash = alt.StrokeDash(key, scale=alt.Scale(domain=names, range=dashes), legend=None)
    return colour, width, dash


def _save(whole: Any, target: Path) -> Path:
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
