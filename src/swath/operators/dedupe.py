"""`dedupe`: which rows of a table are about the same thing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, get_args

import polars as pl

from swath.errors import InputError, listing
from swath.operators.asking import Ask, Sizes, Stopped
from swath.operators.base import ModelChoice
from swath.operators.cascade import Cascade
from swath.operators.expected import expected_pairs
from swath.operators.matching import Candidates, Settings, find
from swath.operators.pairs import Judge, group_size, local
from swath.operators.partition import doubtful, partition
from swath.operators.predicate import Predicate
from swath.operators.table import ROW, ColumnOperator, Forecast, Rows, TableOperator
from swath.operators.template import Template, path
from swath.operators.wording import Wording

Keep = Literal["first", "longest"]
COUNT = "duplicates"
_STATEMENT = "These two records are about the same thing.\n1: {left.text}\n2: {right.text}"
_TEXTS = pl.Schema({"text": pl.String()})


class Dedupe(ColumnOperator):
    """The number of each row's entity, Int64, in the order in which they first occur."""

    kind = "dedupe"

    def __init__(
        self,
        text: Template,
        settings: Settings,
        *,
        pairs_per_call: str | int,
        instructions: str | None,
        model: ModelChoice | Cascade,
    ) -> None:
        self.cascade = model if isinstance(model, Cascade) else None
        asked = (model.large, model.small) if isinstance(model, Cascade) else model
        super().__init__(model=asked)
        self.text = text
        self.options = settings
        self.pairs_per_call = pairs_per_call
        predicate = Predicate(
            Template(_STATEMENT),
            instructions,
            model=self.model,
            max_tokens=None,
            temperature=None,
        )
        self.wording = Wording.of(predicate, _TEXTS, _TEXTS)

    @property
    def dtype(self) -> pl.DataType:
        return pl.Int64()

    def reads(self, schema: pl.Schema) -> frozenset[str]:
        return frozenset(path(name, schema)[0] for name in self.text.names)

    @property
    def others_asked(self) -> tuple[str, ...]:
        return tuple(filter(None, [self.options.embed_model]))

    def describe(self) -> str:
        return f"dedupe({', '.join(self.text.names)})"

    def texts(self, table: pl.DataFrame) -> dict[str, list[int]]:
        """Each text that is not blank, and its rows. A column that is null counts as empty."""
        names = dict.fromkeys(self.text.names)
        columns = {name: path(name, table.schema)[1].fill_null("") for name in names}
        filled = table.select(
            pl.concat_str(
                [pl.lit(self.text.parts[0])]
                + [
                    part
                    for name, after in zip(self.text.names, self.text.parts[1:], strict=True)
                    for part in (columns[name], pl.lit(after))
                ]
            ).alias("text"),
            pl.all_horizontal([c.str.strip_chars() == "" for c in columns.values()]).alias("blank"),
        )
        rows_of: dict[str, list[int]] = {}
        for row, (text, blank) in enumerate(filled.iter_rows()):
            if not blank:
                rows_of.setdefault(text, []).append(row)
        return rows_of

    async def values(self, ask: Ask, table: pl.DataFrame) -> list[Any]:
        rows_of = self.texts(table)
        texts = list(rows_of)
        alias = self.alias(ask)
        judge = Judge(
            ask,
            self.wording,
            [(text,) for text in texts],
            [(text,) for text in texts],
            alias,
            self.fallback if self.cascade is None else (),
            self.cascade,
            group_size(self.pairs_per_call, local(ask, alias)),
        )
        await find(judge, texts, texts, self.options, same=True)
        more = doubtful(len(texts), judge.said)
        await judge.about(more)
        if judge.stopped:
            raise Stopped
        for (i, _), error in judge.failed.items():
            for row in rows_of[texts[i]]:
                ask.failed(row, error)
        if more:
            ask.note("dedupe: pairs within groups of three or more looked at again", len(more))
        entity: list[int | None] = [None] * table.height
        for text, group in zip(texts, partition(len(texts), judge.said), strict=True):
            for row in rows_of[text]:
                entity[row] = group
        order: dict[int, int] = {}
        return [None if g is None else order.setdefault(g, len(order)) for g in entity]

    def forecast(
        self, look: Sizes, table: pl.DataFrame, rows: float, *others: tuple[pl.DataFrame, float]
    ) -> Forecast:
        texts = [(text,) for text in self.texts(table)]
        scale = rows / max(table.height, 1)
        cast = expected_pairs(
            look,
            self.wording,
            texts,
            texts,
            scale=(scale, scale),
            same=True,
            settings=self.options,
            pairs_per_call=self.pairs_per_call,
            cascade=self.cascade,
            rewrite=False,
        )
        cast.rows = rows
        return cast


class Deduped(TableOperator):
    """One row for each entity, and how many rows were about it. Blank rows stay as they are."""

    kind = "dedupe"
    rows = Rows.SUBSET

    def __init__(self, entities: Dedupe, keep: Keep) -> None:
        if keep not in get_args(Keep):
            raise InputError(f"keep='{keep}' is unknown.", hint=listing(get_args(Keep), str(keep)))
        chosen = entities.model
        super().__init__(
            model=chosen if not isinstance(chosen, str) else (chosen, *entities.fallback)
        )
        self.entities = entities
        self.keep = keep

    def reads(self, schema: pl.Schema) -> frozenset[str]:
        return self.entities.reads(schema)

    def after(self, schema: pl.Schema, *others: pl.Schema) -> pl.Schema:
        self.reads(schema)
        if COUNT in schema:
            raise InputError(
                f"The table has a column '{COUNT}' already.", hint="Rename it before dedupe."
            )
        return pl.Schema({**schema, COUNT: pl.Int64()})

    async def run(self, ask: Ask, table: pl.DataFrame, *others: pl.DataFrame) -> pl.DataFrame:
        entities = await self.entities.values(ask, table)
        groups: dict[Any, list[int]] = {}
        for row, entity in enumerate(entities):
            groups.setdefault(("blank", row) if entity is None else entity, []).append(row)
        lengths = [0] * table.height
        if self.keep == "longest":
            for text, rows in self.entities.texts(table.drop(ROW)).items():
                for row in rows:
                    lengths[row] = len(text)
        kept = sorted(
            (max(rows, key=lambda row: (lengths[row], -row)), len(rows)) for rows in groups.values()
        )
        counts = pl.Series(COUNT, [count for _, count in kept], dtype=pl.Int64)
        return table[[row for row, _ in kept]].with_columns(counts)

    def forecast(
        self, look: Sizes, table: pl.DataFrame, rows: float, *others: tuple[pl.DataFrame, float]
    ) -> Forecast:
        cast = self.entities.forecast(look, table, rows)
        cast.assumed += ("no rows are duplicates, as far as later steps go",)
        return cast

    def describe(self) -> str:
        return f"{self.entities.describe()[:-1]}, keep={self.keep})"


def dedupe(
    *text: str,
    model: ModelChoice | Cascade = None,
    recall: float = 0.98,
    candidates: Candidates = "auto",
    pairs_per_call: Literal["auto"] | int = "auto",
    instructions: str | None = None,
    embed_model: str | None = None,
    max_pairs: int | None = None,
) -> Dedupe:
    """Which rows are about the same thing: a column of entity numbers (Int64, from 0 on, in the
    order in which they first occur; null where the row has no text).

        products.with_columns(entity=sw.dedupe("name", "maker", instructions="Products of a shop"))

    `text` are the columns that tell, or one template such as '{name} by {maker}'. Rows with equal
    text are one without a question; of the others only pairs that are alike are asked about (see
    `sw.join` for `recall`, `candidates`, `pairs_per_call`, `max_pairs`). Where answers contradict
    one another, the votes between two groups decide, so that one wrong answer welds no two
    entities together. `instructions` says what counts as the same.
    """
    if not text:
        raise InputError("No column to compare.", hint="Name one or more: sw.dedupe('name').")
    return Dedupe(
        _template(text),
        Settings(candidates, recall, max_pairs, embed_model).checked(),
        pairs_per_call=pairs_per_call,
        instructions=instructions,
        model=model,
    )


def _template(text: Sequence[str]) -> Template:
    if len(text) == 1 and "{" in text[0]:
        return Template(text[0])
    if len(text) == 1:
        return Template(f"{{{text[0]}}}")
    return Template("; ".join(f"{name}: {{{name}}}" for name in text))
