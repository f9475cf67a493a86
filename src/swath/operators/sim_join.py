"""`sim_join`: two tables by the likeness of their texts. Asks for embeddings and nothing else."""

from __future__ import annotations

import asyncio
from typing import Any, Literal, get_args

import polars as pl

from swath.errors import InputError, listing
from swath.operators import vectors
from swath.operators.asking import Ask, Sizes
from swath.operators.nearest import above, nearest
from swath.operators.table import Forecast, Rows, TableOperator

How = Literal["inner", "left"]
SIMILARITY = "similarity"


class SimJoin(TableOperator):
    """Each left row with its nearest right ones, nearest first."""

    kind = "sim_join"
    rows = Rows.NEW

    def __init__(
        self,
        left_on: str | pl.Expr,
        right_on: str | pl.Expr,
        *,
        k: int | None,
        threshold: float | None,
        model: str,
        how: How,
        suffix: str,
    ) -> None:
        super().__init__(model=model)
        if k is None and threshold is None:
            raise InputError(
                "Without k= and threshold= every row would match every other.",
                hint="Give k=1 for the nearest, or threshold=0.8 for all that are so alike.",
            )
        if k is not None and k < 1:
            raise InputError(f"k must be at least 1, not {k}.", hint="k=1 gives the nearest.")
        if how not in get_args(How):
            raise InputError(f"how='{how}' is unknown.", hint=listing(get_args(How), str(how)))
        self.left = vectors.checked(left_on, None)
        self.right = vectors.checked(right_on, None)
        self.k = k
        self.threshold = threshold
        self.how = how
        self.suffix = suffix

    def reads(self, schema: pl.Schema) -> frozenset[str]:
        vectors.roots(self.left, schema)
        return frozenset(schema.names())

    def after(self, schema: pl.Schema, *others: pl.Schema) -> pl.Schema:
        (other,) = others
        self.reads(schema)
        vectors.roots(self.right, other)
        made = dict(schema)
        for name, dtype in [*self._named(other, schema).items(), (SIMILARITY, pl.Float32())]:
            if name in made:
                raise InputError(
                    f"The joined table would have two columns '{name}'.",
                    hint="Give another suffix=, or rename a column first.",
                )
            made[name] = dtype
        return pl.Schema(made)

    def _named(self, other: pl.Schema, left: pl.Schema) -> dict[str, Any]:
        return {n + self.suffix if n in left else n: dtype for n, dtype in other.items()}

    async def run(self, ask: Ask, table: pl.DataFrame, *others: pl.DataFrame) -> pl.DataFrame:
        (other,) = others
        left = vectors.texts_of(self.left, table)
        right = vectors.texts_of(self.right, other)
        texts = list(dict.fromkeys([*left, *right]))
        known, matrix, failed = await vectors.embedded(ask, texts, self.alias(ask))
        place = {texts[i]: at for at, i in enumerate(known)}
        for i, error in failed.items():
            for row in left.get(texts[i], ()):
                ask.failed(row, error)
            if texts[i] in right:
                ask.note("no vector for a row of the right table: it matches nothing")
        lefts = [text for text in left if text in place]
        rights = [text for text in right if text in place]
        pairs = await asyncio.to_thread(
            self._pairs, matrix[[place[t] for t in lefts]], matrix[[place[t] for t in rights]]
        )
        rows_of = [right[text] for text in rights]
        found: dict[int, list[tuple[int, float]]] = {}
        for text, near in zip(lefts, pairs, strict=True):
            rows = [(row, score) for at, score in near for row in rows_of[at]][: self.k]
            for row in left[text]:
                found[row] = rows
        return self._joined(found, table, other)

    def _pairs(self, a: Any, b: Any) -> list[list[tuple[int, float]]]:
        if self.k is None:
            assert self.threshold is not None
            return above(a, b, self.threshold)
        places, scores = nearest(a, b, self.k)
        least = -2.0 if self.threshold is None else self.threshold
        return [
            [(at, score) for at, score in zip(p, s, strict=True) if score >= least]
            for p, s in zip(places.tolist(), scores.tolist(), strict=True)
        ]

    def _joined(
        self, found: dict[int, list[tuple[int, float]]], table: pl.DataFrame, other: pl.DataFrame
    ) -> pl.DataFrame:
        none: list[tuple[int | None, float | None]] = [(None, None)] if self.how == "left" else []
        rows = [(row, *match) for row in range(table.height) for match in found.get(row) or none]
        places = pl.Series([at for _, at, _ in rows], dtype=pl.UInt32)
        joined = other.select(pl.all().gather(places))
        joined.columns = list(self._named(other.schema, table.schema))
        scores = pl.Series(SIMILARITY, [score for *_, score in rows], dtype=pl.Float32)
        lefts = table[[row for row, *_ in rows]]
        return pl.concat([lefts, joined, scores.to_frame()], how="horizontal")

    def forecast(
        self, look: Sizes, table: pl.DataFrame, rows: float, *others: tuple[pl.DataFrame, float]
    ) -> Forecast:
        ((other, others_rows),) = others
        left = vectors.texts_of(self.left, table)
        right = vectors.texts_of(self.right, other)
        texts = list(dict.fromkeys([*left, *right]))
        shared = len(texts) / max(len(left) + len(right), 1)
        number = shared * (
            len(left) * rows / max(table.height, 1)
            + len(right) * others_rows / max(other.height, 1)
        )
        cast = Forecast(rows=rows * (self.k or 1))
        if texts:
            vectors.reckon(cast, look, texts, number, self.model_name(look.default))
        return cast

    def describe(self) -> str:
        many = f"k={self.k}" if self.k is not None else f"at least {self.threshold:g}"
        return f"sim_join({self.how}, {many})"
