"""Training a router on graded answers, and finding one again."""

from __future__ import annotations

import os
from importlib.resources import files
from typing import TYPE_CHECKING

import numpy as np

from swath.errors import InputError
from swath.routing.artifact import load as load_file
from swath.routing.artifact import of_bytes
from swath.routing.graded import Graded
from swath.routing.kinds import kind_of
from swath.routing.router import Learned, Texts, percentiles
from swath.routing.vectors import LOCAL, Encode

if TYPE_CHECKING:
    import polars as pl

DEFAULT = "default"


def train(
    data: Graded | pl.DataFrame,
    kind: str = "difficulty",
    *,
    seed: int = 0,
    embedding: str = LOCAL,
    encode: Encode | None = None,
    texts: Texts | None = None,
) -> Learned:
    """A router of `kind`, trained on rows of `prompt`, `model`, `quality` (and `source`).

    `embedding` is the model that embeds prompts for the kinds that need one; `encode` stands in for
    it (n texts to an array (n, d)), and `texts` are the prompts where something is known about them
    already. The same data and seed give the same router, whatever the order
    of rows and models. Raises InputError, ColumnNotFound, MissingExtra.
    """
    graded = data if isinstance(data, Graded) else Graded.read(data)
    made = kind_of(kind)(models=graded.models)
    made.embedding = embedding
    made._encode = encode if texts is None else texts._encode
    if not np.isfinite(graded.quality).any(axis=0).all():
        raise InputError("A model has no grades at all.", hint="Leave it out.")
    return teach(made, graded, made.texts(graded.prompts) if texts is None else texts, seed)


def teach(made: Learned, graded: Graded, texts: Texts, seed: int) -> Learned:
    """Fit `made`, and note down what it learned from. A kind that reads a part of the prompts only
    has set its own quantiles."""
    made.fit(graded, texts, seed)
    made.settle(graded)
    made.quantiles = made.quantiles or percentiles(made.unseen(graded, texts, seed))
    made.training = made.training | {
        "prompts": len(graded),
        "models": len(graded.models),
        "grades": int(np.isfinite(graded.quality).sum()),
        "sources": list(graded.sources),
        "seed": seed,
        "mean_quality": {
            name: round(float(np.nanmean(column)), 4)
            for name, column in zip(graded.models, graded.quality.T, strict=True)
        },
    }
    return made


def load(name: str | os.PathLike[str], encode: Encode | None = None) -> Learned:
    """The router in a file, or `default`, the one that ships. Raises ArtifactError."""
    if name == DEFAULT:
        return of_bytes((files("swath.routing") / "default.router").read_bytes(), DEFAULT, encode)
    return load_file(name, encode)
