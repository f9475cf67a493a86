"""What a frame does with whole tables by way of a model. Part of `Frame`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

import polars as pl

from swath.frames.grouping import whole_table
from swath.frames.plan import Plan, Whole
from swath.operators.base import ModelChoice
from swath.operators.dedupe import Deduped, dedupe
from swath.operators.rank import GROUP
from swath.operators.search import Search
from swath.operators.sim_join import SimJoin
from swath.operators.similar import EMBED_MODEL
from swath.operators.sort_by import SortBy
from swath.operators.table import TableOperator
from swath.operators.top_k import TopK

if TYPE_CHECKING:
    from swath.frames.frame import Frame


class Tables:
    """Mixed into `Frame`."""

    __slots__ = ()

    if TYPE_CHECKING:
        then: Callable[..., Frame]

        @property
        def plan(self) -> Plan: ...

    def whole(self, operator: TableOperator, *others: Frame, name: str | None = None) -> Frame:
        """With `operator` over all rows: what the methods below are made of. `name` stands for it
        in errors and the ledger."""
        plans: tuple[Plan, ...] = tuple(other.plan for other in others)
        taken = {known for known, _ in self.plan.operators()}
        name = name or operator.kind
        if name in taken:
            name = next(f"{name}_{i}" for i in range(2, 999) if f"{name}_{i}" not in taken)
        return self.then(Whole.over(self.plan.schema, name, operator, plans))

    def agg(self, *exprs: Any, **named: Any) -> Frame:
        """One row for the whole table: Polars expressions, and `sw.reduce(…)` by name."""
        return whole_table(self, exprs, named)  # type: ignore[arg-type]  # mixed into Frame

    # -- in order of a question

    def top_k(
        self,
        k: int,
        *,
        by: str,
        model: ModelChoice = None,
        items_per_call: int = GROUP,
        pointwise: bool = False,
        rank: str | None = None,
        seed: int = 0,
        instructions: str | None = None,
        max_tokens: int | None = None,
        temperature: float | None = None,
    ) -> Frame:
        """The `k` rows that fit a question best, the best first.

            frame.top_k(5, by="Which ticket is more urgent?\n{text}", model="fast")

        `by`: the question, then what a model is shown of each row. A call puts `items_per_call`
        rows in order (2 asks about pairs); about n/(items_per_call - 1) + k log n calls. With
        `pointwise` each row is first given a score of 0 to 10 by a call of its own, and only those
        near the cut are compared. `rank` names a column for the place, from 1. Rows that could not
        be asked about are reported and come last, blank ones after them.

        Raises InputError, ColumnNotFound.
        """
        settings = _ranking(
            model, items_per_call, pointwise, rank, seed, instructions, max_tokens, temperature
        )
        return self.whole(TopK(k, by, **settings))

    def sort_by(
        self,
        by: str,
        *,
        model: ModelChoice = None,
        descending: bool = True,
        items_per_call: int = GROUP,
        pointwise: bool = False,
        rank: str | None = None,
        seed: int = 0,
        instructions: str | None = None,
        max_tokens: int | None = None,
        temperature: float | None = None,
    ) -> Frame:
        """All rows in order of how well they fit a question: the best first, or with
        `descending=False` last. About n log n / (items_per_call - 1) calls; the rest is as for
        `top_k`. Raises InputError, ColumnNotFound."""
        settings = _ranking(
            model, items_per_call, pointwise, rank, seed, instructions, max_tokens, temperature
        )
        return self.whole(SortBy(by, descending=descending, **settings))

    # -- by likeness and by identity

    def sim_join(
        self,
        other: Any,
        left_on: str | pl.Expr,
        right_on: str | pl.Expr | None = None,
        *,
        k: int | None = 1,
        threshold: float | None = None,
        model: str = EMBED_MODEL,
        how: Literal["inner", "left"] = "inner",
        suffix: str = "_right",
    ) -> Frame:
        """Each row with the `k` rows of `other` whose text is most alike, and `similarity`, the
        cosine of their embeddings (Float32); nearest first.

        `threshold` is the least similarity; `k=None` takes all above it. `left_on`, `right_on` (the
        same, if left out) are columns, templates or expressions; null and blank texts match
        nothing. `how="left"` keeps rows without a match. Asks `model` for each text once."""
        from swath.frames.readers import frame

        right = left_on if right_on is None else right_on
        operator = SimJoin(
            left_on, right, k=k, threshold=threshold, model=model, how=how, suffix=suffix
        )
        return self.whole(operator, frame(other))

    def search(
        self,
        text: str | pl.Expr,
        query: str,
        k: int = 10,
        *,
        threshold: float | None = None,
        model: str = EMBED_MODEL,
        rerank: str | None = None,
    ) -> Frame:
        """The `k` rows whose `text` is nearest to `query`, best first, and `score` (Float32): the
        cosine of the embeddings of `model`. `rerank` is a model that grades the nearest 3k."""
        operator = Search(text, query, k=k, threshold=threshold, model=model, rerank=rerank)
        return self.whole(operator)

    def dedupe(
        self, *text: str, keep: Literal["first", "longest"] = "first", **settings: Any
    ) -> Frame:
        """One row for each thing that rows are about, with `duplicates`, how many were (Int64).

        `keep` says which row stands for them: the first, or the one with the longest text. The rest
        is as for `sw.dedupe`, which gives a column instead."""
        return self.whole(Deduped(dedupe(*text, **settings), keep))


def _ranking(
    model: ModelChoice,
    items_per_call: int,
    pointwise: bool,
    rank: str | None,
    seed: int,
    instructions: str | None,
    max_tokens: int | None,
    temperature: float | None,
) -> dict[str, Any]:
    return {
        "model": model,
        "items_per_call": items_per_call,
        "pointwise": pointwise,
        "rank": rank,
        "seed": seed,
        "instructions": instructions,
        "max_tokens": max_tokens,
        "temperature": temperature,
    }
