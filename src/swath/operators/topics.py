"""`topics`: what the texts are about: a taxonomy found in a sample, and each text's place in it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args

import polars as pl

from swath.engine.shape import Invalid
from swath.errors import InputError, ProviderError, listing
from swath.messages import Completion
from swath.operators import naming, vectors
from swath.operators.asking import Ask, Failed, Sizes
from swath.operators.base import ModelChoice, Operator
from swath.operators.classify import classify
from swath.operators.cluster import EMBED
from swath.operators.table import ColumnOperator, Forecast, Rows, TableOperator

if TYPE_CHECKING:
    from swath.frames.frame import Frame

Assign = Literal["embedding", "model"]
SAMPLE = 1000
EXAMPLES = 3
_TABLE = {
    "topic": pl.String(),
    "covers": pl.String(),
    "rows": pl.Int64(),
    "share": pl.Float64(),
    "examples": pl.List(pl.String()),
}


@dataclass
class _Found:
    """`of`: the topic of each text, by its place among the names, or why it has none."""

    names: list[naming.Name | Failed] = field(default_factory=list)
    examples: list[list[str]] = field(default_factory=list)
    of: dict[str, int | Failed] = field(default_factory=dict)


class Topics(ColumnOperator):
    kind = "topics"

    def __init__(
        self,
        text: str | pl.Expr,
        k: int | None,
        *,
        model: ModelChoice,
        embed_model: str,
        assign: Assign,
        sample: int,
        seed: int,
    ) -> None:
        super().__init__(model=model)
        self.text = vectors.checked(text, k)
        self.k = k
        self.embed_model = embed_model
        self.assign = assign
        self.sample = sample
        self.seed = seed

    @property
    def dtype(self) -> pl.DataType:
        return pl.String()

    def reads(self, schema: pl.Schema) -> frozenset[str]:
        return vectors.roots(self.text, schema)

    @property
    def others_asked(self) -> tuple[str, ...]:
        return (self.embed_model,)

    def describe(self) -> str:
        return f"topics({'k chosen' if self.k is None else self.k}, by {self.assign})"

    async def values(self, ask: Ask, table: pl.DataFrame) -> list[Any]:
        rows_of = vectors.texts_of(self.text, table)
        found = await self.find(ask, rows_of)
        cells: list[Any] = [None] * table.height
        for text, rows in rows_of.items():
            topic: Any = found.of[text]
            if isinstance(topic, int):
                topic = found.names[topic]
            for row in rows:
                if isinstance(topic, naming.Name):
                    cells[row] = topic.name
                else:
                    ask.failed(row, topic)
        return cells

    async def find(self, ask: Ask, rows_of: dict[str, list[int]]) -> _Found:
        """The topics, and each text's."""
        alias, texts, found = self.alias(ask), list(rows_of), _Found()
        drawn = texts
        if len(texts) > self.sample:
            chosen = Random(self.seed).sample(range(len(texts)), self.sample)
            drawn = [texts[i] for i in sorted(chosen)]
        # By embedding every text needs a vector; a model reads the others itself.
        read = texts if self.assign == "embedding" else drawn
        known, matrix, failed = await vectors.embedded(ask, read, self.embed_model)
        found.of |= {read[place]: error for place, error in failed.items()}
        if not known:
            found.of = dict.fromkeys(texts, next(iter(failed.values()), Invalid("no text")))
            return found
        among = set(drawn)
        places = [i for i, place in enumerate(known) if read[place] in among]
        sample = [read[known[i]] for i in places]
        weights = [len(rows_of[text]) for text in sample]
        labels, centres = await asyncio.to_thread(
            vectors.grouped, matrix[places], weights, self.k, self.seed
        )
        nearest = vectors.central(matrix[places], labels, centres, naming.SHOWN)
        groups = [[sample[i] for i in some] for some in nearest]
        found.examples = [group[:EXAMPLES] for group in groups]
        found.names = await naming.named(ask, groups, alias, self.fallback)
        if self.assign == "embedding":
            import numpy as np

            squares = (centres * centres).sum(axis=1)
            best = np.argmin(squares - 2 * (matrix @ centres.T), axis=1)
            found.of |= {read[place]: int(b) for place, b in zip(known, best.tolist(), strict=True)}
            return found
        found.of |= await self._judged(ask, texts, found.names, alias)
        return found

    async def _judged(
        self, ask: Ask, texts: list[str], names: Sequence[naming.Name | Failed], alias: str
    ) -> dict[str, int | Failed]:
        """Each text's topic as the model sees it, among those that got a name."""
        place = {n.name: i for i, n in enumerate(names) if isinstance(n, naming.Name)}
        if len(place) < 2:
            return dict.fromkeys(texts, next(iter(place.values()), 0))
        labels = {n.name: n.covers for n in names if isinstance(n, naming.Name)}
        asker = _classifier(labels)
        replies = await ask.many([asker.ask(t, alias) for t in texts], asker.check, self.fallback)
        ask.done(len(texts))
        judged: dict[str, int | Failed] = {}
        for text, reply in zip(texts, replies, strict=True):
            if isinstance(reply, Completion):
                try:
                    judged[text] = place[asker.value(reply)]
                except Invalid as error:
                    judged[text] = error
            elif isinstance(reply, ProviderError | Invalid):
                judged[text] = reply
        return judged

    def table(self, frame: Frame, **settings: Any) -> pl.DataFrame:
        """The topics of `frame`, the largest first: `topic, covers, rows, share, examples` (the
        most central texts). What the column took, or will take, is paid for once. `settings` are
        those of `Frame.collect`."""
        return frame.whole(TopicTable(self)).collect(**settings)

    def forecast(
        self, look: Sizes, table: pl.DataFrame, rows: float, *others: tuple[pl.DataFrame, float]
    ) -> Forecast:
        alias = self.model_name(look.default)
        texts = list(vectors.texts_of(self.text, table))
        number = len(texts) * (rows / table.height if table.height else 0.0)
        cast = Forecast(rows=rows)
        if not texts:
            return cast
        k = min(self.k or vectors.GUESS, round(number))
        if self.k is None:
            cast.assumed = (f"{vectors.GUESS} topics come out",)
        naming_calls = [
            naming.question([texts[(i + j * k) % len(texts)] for j in range(8)], alias)
            for i in range(k)
        ]
        cast.calls[alias] = float(k)
        cast.requests += naming_calls
        if self.assign == "model" and k > 1:
            asker = _classifier({f"topic {i} of several": "x" * 80 for i in range(k)})
            cast.calls[alias] += number
            # As many of each kind as in the whole.
            times = max(round(len(texts) * k / max(number, 1)), 1)
            cast.requests = naming_calls[:times] + [asker.ask(text, alias) for text in texts]
        read = number if self.assign == "embedding" else min(number, self.sample)
        vectors.reckon(cast, look, texts, read, self.embed_model)
        return cast


class TopicTable(TableOperator):
    """A row for each topic, in place of the table."""

    kind = "topics"
    rows: ClassVar[Rows] = Rows.NEW
    projects = True

    def __init__(self, topics: Topics) -> None:
        super().__init__(model=topics.model)
        self.fallback = topics.fallback
        self.topics = topics

    def reads(self, schema: pl.Schema) -> frozenset[str]:
        return self.topics.reads(schema)

    def after(self, schema: pl.Schema, *others: pl.Schema) -> pl.Schema:
        self.reads(schema)
        return pl.Schema(_TABLE)

    def describe(self) -> str:
        return self.topics.describe()

    async def run(self, ask: Ask, table: pl.DataFrame, *others: pl.DataFrame) -> pl.DataFrame:
        rows_of = vectors.texts_of(self.topics.text, table)
        found = await self.topics.find(ask, rows_of)
        counts = [0] * len(found.names)
        for text, topic in found.of.items():
            if isinstance(topic, int):
                counts[topic] += len(rows_of[text])
            else:
                for row in rows_of[text]:
                    ask.failed(row, topic)
        all_rows = sum(map(len, rows_of.values()))
        lines = []
        for name, count, examples in zip(found.names, counts, found.examples, strict=True):
            if isinstance(name, naming.Name):
                lines.append((name.name, name.covers, count, count / all_rows, examples))
        made = pl.DataFrame(lines, schema=_TABLE, orient="row")
        return made.sort("rows", descending=True, maintain_order=True)

    def forecast(
        self, look: Sizes, table: pl.DataFrame, rows: float, *others: tuple[pl.DataFrame, float]
    ) -> Forecast:
        cast = self.topics.forecast(look, table, rows)
        cast.rows = float(self.topics.k or vectors.GUESS)
        return cast


def _classifier(labels: dict[str, str]) -> Operator:
    return classify("text", labels, instructions="Choose the topic that the text is about most.")


def topics(
    text: str | pl.Expr,
    k: int | None = None,
    *,
    model: ModelChoice = None,
    embed_model: str = EMBED,
    assign: Assign = "embedding",
    sample: int = SAMPLE,
    seed: int = 0,
) -> Topics:
    """The topic of each text as a String column, for `with_columns`. Nobody has to list the topics.

        topic = sw.topics("text", k=12, model="strong")
        topic.table(frame)                      # see them first
        frame.with_columns(topic=topic)

    The topics come from `sample` distinct texts: embedded by `embed_model`, clustered (`k` as for
    `sw.cluster`), and named by `model`. Each text then belongs to the topic whose centre is nearest
    (`assign="embedding"`, no further calls), or to the one that `model` says it is about
    (`assign="model"`, a call a text). Null and blank texts give null.

    Needs the extra `tables`. Raises InputError; MissingExtra when it runs.
    """
    if assign not in get_args(Assign):
        raise InputError(f"There is no assign='{assign}'.", hint=listing(get_args(Assign), assign))
    if sample < 2:
        raise InputError(f"No topics can be found in {sample} texts.", hint="For example 1000.")
    return Topics(
        text,
        k,
        model=model,
        embed_model=embed_model,
        assign=assign,
        sample=sample,
        seed=seed,
    )
