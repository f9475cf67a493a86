"""`cluster`: which texts lie together."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import polars as pl

from swath.operators import naming, vectors
from swath.operators.asking import Ask, Sizes
from swath.operators.base import as_choice
from swath.operators.table import ColumnOperator, Forecast

EMBED = "local/minilm-l6"


class Cluster(ColumnOperator):
    kind = "cluster"

    def __init__(
        self,
        text: str | pl.Expr,
        k: int | None,
        *,
        model: str,
        names: str | Sequence[str] | None,
        seed: int,
    ) -> None:
        super().__init__(model=model)
        self.text = vectors.checked(text, k)
        self.k = k
        self.seed = seed
        self.names, self._names_fallback = as_choice(names)

    @property
    def dtype(self) -> pl.DataType:
        return pl.Int64() if self.names is None else pl.String()

    def reads(self, schema: pl.Schema) -> frozenset[str]:
        return vectors.roots(self.text, schema)

    @property
    def others_asked(self) -> tuple[str, ...]:
        return (*([self.names] if isinstance(self.names, str) else []), *self._names_fallback)

    def describe(self) -> str:
        return f"cluster({'k chosen' if self.k is None else self.k})"

    async def values(self, ask: Ask, table: pl.DataFrame) -> list[Any]:
        rows_of = vectors.texts_of(self.text, table)
        texts = list(rows_of)
        cells: list[Any] = [None] * table.height
        known, matrix, failed = await vectors.embedded(ask, texts, self.alias(ask))
        for place, error in failed.items():
            for row in rows_of[texts[place]]:
                ask.failed(row, error)
        if not known:
            return cells
        weights = [len(rows_of[texts[i]]) for i in known]
        labels, centres = await asyncio.to_thread(
            vectors.grouped, matrix, weights, self.k, self.seed
        )
        if self.k is None:
            ask.note(f"{len(centres)} clusters, chosen by silhouette")
        elif len(centres) < self.k:
            ask.note(f"{len(centres)} clusters: there are no more distinct texts")
        told: list[Any] = list(range(len(centres)))
        if isinstance(self.names, str):
            nearest = vectors.central(matrix, labels, centres, naming.SHOWN)
            groups = [[texts[known[i]] for i in places] for places in nearest]
            told = await naming.named(ask, groups, self.names, self._names_fallback)
        for place, label in zip(known, labels, strict=True):
            value = told[label]
            for row in rows_of[texts[place]]:
                if isinstance(value, naming.Name):
                    cells[row] = value.name
                elif isinstance(value, int):
                    cells[row] = value
                else:
                    ask.failed(row, value)
        return cells

    def forecast(
        self, look: Sizes, table: pl.DataFrame, rows: float, *others: tuple[pl.DataFrame, float]
    ) -> Forecast:
        texts = list(vectors.texts_of(self.text, table))
        number = len(texts) * (rows / table.height if table.height else 0.0)
        cast = Forecast(rows=rows)
        if not texts:
            return cast
        if isinstance(self.names, str):
            k = min(self.k or vectors.GUESS, round(number))
            if self.k is None:
                cast.assumed = (f"{vectors.GUESS} clusters come out",)
            cast.calls[self.names] = float(k)
            cast.requests += [
                naming.question([texts[(i + j * k) % len(texts)] for j in range(8)], self.names)
                for i in range(k)
            ]
        vectors.reckon(cast, look, texts, number, self.model_name(look.default))
        return cast


def cluster(
    text: str | pl.Expr,
    k: int | None = None,
    *,
    model: str = EMBED,
    names: str | Sequence[str] | None = None,
    seed: int = 0,
) -> Cluster:
    """The cluster of each text, for `with_columns`: a whole number, 0 for the largest cluster; or
    with `names` (a chat model's alias) a name, found from the most central texts of each cluster.

        frame.with_columns(cluster=sw.cluster("text", k=8, names="strong"))

    `text`: a column, a template or an expression. `k`-means over the embeddings of `model`; without
    `k`, the number of clusters (2 to 20) is chosen by silhouette on a sample, and `run.notes` tells
    it. The same rows and `seed` give the same clusters. Null and blank texts give null.

    Needs the extra `tables`. Raises InputError; MissingExtra when it runs.
    """
    return Cluster(text, k, model=model, names=names, seed=seed)
