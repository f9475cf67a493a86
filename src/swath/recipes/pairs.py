"""Questions about two texts at once: what recipes over a corpus ask of those that lie near."""

from __future__ import annotations

import polars as pl

from swath.recipes.recipe import Row


def pair(first: str, second: str) -> pl.Expr:
    """Two columns as the one text that these recipes read."""
    return pl.format("First: {}\n\nSecond: {}", pl.col(first), pl.col(second))


contradicts = Row(
    name="contradicts",
    about="Whether two claims contradict each other.",
    instructions="Two claims are given. Choose how they stand to each other.",
    labels={
        "contradict": "both cannot be true, or one asks for what the other rejects",
        "agree": "they say or ask for the same",
        "unrelated": "both can be true: they are about different things",
    },
)
relates = Row(
    name="relates",
    about="How two texts are related.",
    instructions="Two texts are given. Choose how the second stands to the first.",
    labels={
        "supports": "takes the same side on the same matter",
        "opposes": "takes the other side on the same matter",
        "adds": "tells more about the same matter, taking no side",
        "unrelated": "is about another matter",
    },
)
answers = Row(
    name="answers",
    about="Whether the second of two turns answers the first.",
    instructions=(
        "Two turns of a discussion are given, the earlier one first. Choose whether the second "
        "answers the first."
    ),
    labels={
        "answers": "takes up what the first says: replies, agrees, objects, or names its speaker",
        "independent": "would be the same if the first had not been said",
    },
)
