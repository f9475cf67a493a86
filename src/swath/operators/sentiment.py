"""`sentiment`: how a text feels about what it speaks of."""

from __future__ import annotations

from typing import Any

import polars as pl

from swath.operators.base import ModelChoice, Operator
from swath.operators.cascade import Cascade
from swath.operators.classify import classify
from swath.operators.examples import Examples
from swath.operators.long import Long

LABELS = {
    "positive": "pleased, praising or hopeful",
    "negative": "displeased, blaming or worried",
    "neutral": "states facts, or is both without a lean",
}


def sentiment(
    text: str | pl.Expr,
    *,
    scores: bool = False,
    neutral: bool = True,
    model: ModelChoice | Cascade = None,
    about: str | None = None,
    examples: Examples = None,
    long: Long = "refuse",
    **settings: Any,
) -> Operator:
    """ "positive", "negative" or "neutral" (left out with `neutral=False`) as a String column;
    `scores` as for `classify`. `about` names what the sentiment is towards.

        sw.sentiment("review", about="the service")
    """
    labels = {label: what for label, what in LABELS.items() if neutral or label != "neutral"}
    towards = f" towards {about}" if about else ""
    return classify(
        text,
        labels,
        scores=scores,
        model=model,
        instructions=f"Choose the sentiment of the text{towards}.",
        examples=examples,
        long=long,
        **settings,
    )
