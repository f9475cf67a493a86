"""`embed`: a text's vector."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, overload

import polars as pl

from swath.errors import InputError
from swath.messages import Embeddings, Message, Request
from swath.operators.asking import Ask, Sizes
from swath.operators.base import ModelChoice, Operator
from swath.operators.similar import EMBED_MODEL
from swath.operators.vectors import checked
from swath.providers import LOCAL, provider


class Embed(Operator):
    """List(Float32), of length 1. Rows that wait at the same time leave in one call, and each text
    is stored for itself (`engine/embedding.py`)."""

    kind = "embed"
    single = False
    together = 64

    def __init__(self, text: Any, dimensions: int | None, model: ModelChoice) -> None:
        super().__init__(text, model=model, temperature=None, max_tokens=1)
        if self.fallback:
            raise InputError(
                "Vectors of two models cannot be compared, so no other model can step in.",
                hint="Name one model: sw.embed('text', model='…').",
            )
        self.dimensions = dimensions

    @property
    def dtype(self) -> pl.DataType:
        return pl.List(pl.Float32())

    @property
    def settings(self) -> tuple[Hashable, ...]:
        return (self.dimensions,)

    def ask(self, text: str, model: str) -> Request:
        return Request(model=model, messages=(Message("user", text),), max_tokens=1)

    async def answer(self, ask: Ask, request: Request) -> list[float]:
        text = request.messages[0].content
        vectors = await ask.embed([text], request.model, self.dimensions)
        vector: list[float] = vectors[0].tolist()
        return vector

    def questions(self, request: Request, sizes: Sizes) -> list[tuple[Request, float]]:
        """The call that it goes with, and its share of it."""
        model = sizes.model(request.model)
        most = 64 if model.provider == LOCAL else provider(model.provider).max_texts(model)
        size = max(min(most, model.concurrency * self.together), 1)
        # Between two texts stands about what stands there in the body that is sent.
        whole = Message("user", "\n ".join([request.messages[0].content] * size))
        return [(Request(model=request.model, messages=(whole,), max_tokens=1), 1 / size)]


@overload
def embed(
    text: str | pl.Expr, *, model: ModelChoice = ..., dimensions: int | None = ...
) -> Embed: ...
@overload
def embed(
    text: list[str] | tuple[str, ...], *, model: str = ..., dimensions: int | None = ...
) -> Embeddings: ...
def embed(
    text: str | pl.Expr | list[str] | tuple[str, ...],
    *,
    model: Any = EMBED_MODEL,
    dimensions: int | None = None,
) -> Embed | Embeddings:
    """The vector of a column, for `with_columns`: List(Float32), of length 1.

        frame.with_columns(vector=sw.embed("text"))

    `text` is a column, a template such as '{title}: {text}', or an expression; null and blank
    texts give null. `dimensions` is for models that can give fewer. A list of texts is embedded at
    once, on the current session: `sw.embed(["a text"]).vectors`.
    """
    if isinstance(text, str | pl.Expr):
        return Embed(checked(text, None), dimensions, model)
    from swath.session import current

    return current().embed(text, model=model, dimensions=dimensions)
