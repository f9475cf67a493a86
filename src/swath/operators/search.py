"""`search`: the rows whose text is nearest to a query."""

from __future__ import annotations

import asyncio
from typing import Any

import polars as pl

from swath.engine.shape import read_label
from swath.errors import InputError
from swath.messages import Completion, Message, Request
from swath.operators import vectors
from swath.operators.asking import Ask, Failed, Sizes
from swath.operators.nearest import nearest
from swath.operators.table import Forecast, Rows, TableOperator

SCORE = "score"
GRADES = ("0", "1", "2", "3")
WIDER = 3  # times k: the nearest that a model then grades
_GRADING = Message(
    "system",
    "How well does the text answer the query?\n\nLabels:\n- 0: not at all\n- 1: the same subject, "
    "no answer\n- 2: part of an answer\n- 3: exactly what is looked for\n\nAnswer with the label "
    "alone.",
)


class Search(TableOperator):
    """Some of the rows, best first, and a Float32 `score`: the cosine, or with `rerank` the model's
    grade scaled to 0 to 1, equal grades by the cosine."""

    kind = "search"
    rows = Rows.SUBSET

    def __init__(
        self,
        text: str | pl.Expr,
        query: str,
        *,
        k: int,
        threshold: float | None,
        model: str,
        rerank: str | None,
    ) -> None:
        super().__init__(model=(model, rerank) if rerank else model)
        if not isinstance(query, str) or not query.strip():
            raise InputError("The query is empty.", hint="Say what to look for.")
        if k < 1:
            raise InputError(f"k must be at least 1, not {k}.", hint="k=10 gives the ten best.")
        self.text = vectors.checked(text, None)
        self.query = query
        self.k = k
        self.threshold = threshold
        self.rerank = rerank

    def reads(self, schema: pl.Schema) -> frozenset[str]:
        return vectors.roots(self.text, schema)

    def after(self, schema: pl.Schema, *others: pl.Schema) -> pl.Schema:
        self.reads(schema)
        if SCORE in schema:
            raise InputError(
                f"The table has a column '{SCORE}' already.", hint="Rename it before searching."
            )
        return pl.Schema({**schema, SCORE: pl.Float32()})

    async def run(self, ask: Ask, table: pl.DataFrame, *others: pl.DataFrame) -> pl.DataFrame:
        rows_of = vectors.texts_of(self.text, table)
        texts = list(rows_of)
        query = await ask.embed([self.query], self.alias(ask))
        known, matrix, failed = await vectors.embedded(ask, texts, self.alias(ask))
        for i, error in failed.items():
            for row in rows_of[texts[i]]:
                ask.failed(row, error)
        wanted = self.k * WIDER if self.rerank else self.k
        best: list[tuple[str, float]] = []
        if known:
            places, scores = await asyncio.to_thread(nearest, query, matrix, wanted)
            best = [
                (texts[known[at]], score)
                for at, score in zip(places[0].tolist(), scores[0].tolist(), strict=True)
                if self.threshold is None or score >= self.threshold
            ]
        if self.rerank:
            best = await self._graded(ask, self.rerank, best, rows_of)
        rows = [(row, score) for text, score in best for row in rows_of[text]][: self.k]
        scores_ = pl.Series(SCORE, [score for _, score in rows], dtype=pl.Float32)
        return table[[row for row, _ in rows]].with_columns(scores_)

    async def _graded(
        self, ask: Ask, alias: str, best: list[tuple[str, float]], rows_of: dict[str, list[int]]
    ) -> list[tuple[str, float]]:
        requests = [self._question(text, alias) for text, _ in best]
        graded = []
        for (text, _), reply in zip(best, await ask.many(requests), strict=True):
            if isinstance(reply, Completion):
                graded.append((text, _grade(reply)))
            elif isinstance(reply, Failed):
                for row in rows_of[text]:
                    ask.failed(row, reply)
        return sorted(graded, key=lambda pair: -pair[1])  # stable: equal grades by the cosine

    def _question(self, text: str, alias: str) -> Request:
        said = Message("user", f"Query: {self.query}\n\nText: {text}")
        return Request(model=alias, messages=(_GRADING, said), choices=GRADES)

    def forecast(
        self, look: Sizes, table: pl.DataFrame, rows: float, *others: tuple[pl.DataFrame, float]
    ) -> Forecast:
        texts = list(vectors.texts_of(self.text, table))
        number = len(texts) * rows / max(table.height, 1)
        cast = Forecast(rows=min(rows, self.k))
        vectors.reckon(cast, look, texts, number, self.model_name(look.default))
        embed = self.model_name(look.default)
        cast.calls[embed] += 1  # the query
        if self.rerank:
            graded = min(number, self.k * WIDER)
            cast.requests += [self._question(text, self.rerank) for text in texts[: round(graded)]]
            cast.calls[self.rerank] = cast.calls.get(self.rerank, 0.0) + graded
        return cast

    def describe(self) -> str:
        what: Any = f", reranked by {self.rerank}" if self.rerank else ""
        return f"search(k={self.k}{what})"


def _grade(reply: Completion) -> float:
    """0 to 1: the expected grade where probabilities are told, else the one given."""
    top = len(GRADES) - 1
    total = sum(reply.scores.get(grade, 0.0) for grade in GRADES)
    if total > 0:
        return sum(int(g) * reply.scores.get(g, 0.0) for g in GRADES) / total / top
    return int(read_label(reply.text, GRADES)) / top
