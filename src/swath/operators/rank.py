"""What `top_k` and `sort_by` share: the question, and how it is put."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Sequence
from hashlib import blake2b
from random import Random
from typing import Any, ClassVar

import polars as pl

from swath.errors import InputError
from swath.messages import Message, Request, Schema
from swath.operators.asking import Ask, Sizes
from swath.operators.base import ModelChoice
from swath.operators.comparing import Comparing
from swath.operators.ordering import Order, simulated
from swath.operators.table import ROW, Forecast, Rows, TableOperator
from swath.operators.template import Template, path

GROUP = 4  # items a call: models still order so few well
MOST = 20
SHARE = 0.8  # of the window that a group of average items may take
SIMULATED = 3000  # items: calls for more are scaled up
QUESTIONS = 200  # that a forecast shows
SCORES = tuple(str(score) for score in range(11))

_PAIR = "Which of the two items fits this better? Answer 1 or 2."
_LIST = (
    "Put the items in order by how well they fit this, the one that fits best first. "
    "Give the numbers of all items."
)
_SCORE = "How well does the item fit this? Answer with a whole number from 0 (not at all) to 10."
_BORDER = re.compile(r"[.?!](?:\s+|$)|\n+")


def _order(size: int) -> Schema:
    number = {"type": "integer", "enum": list(range(1, size + 1))}
    listed = {
        "type": "array",
        "items": number,
        "minItems": size,
        "maxItems": size,
        "uniqueItems": True,
    }
    return Schema(
        "order",
        {
            "type": "object",
            "properties": {"order": listed},
            "required": ["order"],
            "additionalProperties": False,
        },
    )


_ORDERS = {size: _order(size) for size in range(3, MOST + 1)}


def parted(by: str) -> tuple[str, Template]:
    """The question in `by`, and the template of an item.

    The question is what stands before the item: up to the last end of a sentence, line or (where
    there is neither) colon before the first column. Raises InputError where nothing is asked."""
    if not isinstance(by, str) or "{" not in by:
        raise InputError(
            "by= needs the question and, in braces, the columns that a model is shown.",
            hint='For example by="Which is more urgent?\\n{text}".',
        )
    template = Template(by)
    head, *rest = template.parts
    ends = [match.end() for match in _BORDER.finditer(head)] or [head.rfind(":") + 1]
    question, start = head[: ends[-1]].strip(), head[ends[-1] :].lstrip()
    if not question and start.strip():  # "How urgent is {text}?"
        inner = [f"{name}{after}" for name, after in zip(template.names, rest, strict=True)]
        question, start, rest = head + "".join(inner), "", [", "] * (len(rest) - 1) + [""]
    elif not question:
        question, rest = rest[-1].strip(), [*rest[:-1], ""]
    if not re.search(r"\w", question):
        raise InputError(
            "The template asks nothing: what should the order be by?",
            hint='Write the question first, e.g. by="Which is more urgent?\\n{text}".',
        )
    item = Template(by)
    item.parts = (start, *rest)
    return question, item


class Ranking(TableOperator):
    """`order` says which items to compare; the rest is here. An item is a distinct text."""

    rows: ClassVar[Rows] = Rows.SUBSET
    worst_first = False

    def __init__(
        self,
        by: str,
        *,
        items_per_call: int,
        pointwise: bool,
        seed: int,
        rank: str | None,
        instructions: str | None,
        model: ModelChoice,
        temperature: float | None,
        max_tokens: int | None,
    ) -> None:
        super().__init__(model=model)
        if not isinstance(items_per_call, int) or not 2 <= items_per_call <= MOST:
            raise InputError(
                f"items_per_call must be from 2 to {MOST}, not {items_per_call}.",
                hint="2 asks about pairs; models order up to 5 or so well.",
            )
        self.question, self.item = parted(by)
        self.items_per_call = items_per_call
        self.pointwise = pointwise
        self.seed = seed
        self.rank = rank
        self.instructions = instructions
        self.temperature = temperature
        self.max_tokens = max_tokens

    @abstractmethod
    def wanted(self, rows: int) -> int:
        """How many of so many rows come out."""

    @abstractmethod
    def order(self, items: list[int], scores: dict[int, int] | None, most: int) -> Order:
        """The best items first, as far as wanted."""

    def alias(self, ask: Sizes) -> str:
        return self.model if isinstance(self.model, str) else ask.default

    def reads(self, schema: pl.Schema) -> frozenset[str]:
        return frozenset(path(name, schema)[0] for name in self.item.names)

    def after(self, schema: pl.Schema, *others: pl.Schema) -> pl.Schema:
        self.reads(schema)
        self.item.expr(schema)
        return schema if self.rank is None else pl.Schema({**schema, self.rank: pl.Int64()})

    def describe(self) -> str:
        names = ", ".join(dict.fromkeys(self.item.names))
        return f"{self.kind}({names})"

    # -- the questions

    def _said(self, task: str) -> Message:
        parts = [self.instructions, task, self.question]
        return Message("system", "\n\n".join(part for part in parts if part))

    def _request(self, task: str, text: str, alias: str, **shape: Any) -> Request:
        return Request(
            model=alias,
            messages=(self._said(task), Message("user", text)),
            source=text,
            temperature=self.temperature,
            max_tokens=self.max_tokens,
            **shape,
        )

    def compare(self, texts: Sequence[str], alias: str) -> Request:
        """Which is best, of two or more."""
        text = "\n\n".join(f"Item {i}:\n{text}" for i, text in enumerate(texts, 1))
        if len(texts) == 2:
            return self._request(_PAIR, text, alias, choices=("1", "2"))
        return self._request(_LIST, text, alias, schema=_ORDERS[len(texts)])

    def score(self, text: str, alias: str) -> Request:
        return self._request(_SCORE, text, alias, choices=SCORES)

    def shown(self, group: Sequence[int], texts: Sequence[str]) -> list[int]:
        """The group in the order in which it is shown: by a hash, against a model's liking for the
        first or the last; and the same whoever else is in the table."""
        marks = {i: blake2b(texts[i].encode("utf-8", "surrogatepass")).digest() for i in group}
        salt = f"{self.seed}".encode() + b"".join(sorted(marks.values()))
        return sorted(group, key=lambda i: blake2b(salt + marks[i]).digest())

    # -- running

    def _texts(self, table: pl.DataFrame) -> list[str | None]:
        schema = pl.Schema({k: v for k, v in table.schema.items() if k != ROW})
        column = table.select(self.item.expr(schema).alias("t"))["t"]
        return [text if text is not None and text.strip() else None for text in column]

    async def run(self, ask: Ask, table: pl.DataFrame, *others: pl.DataFrame) -> pl.DataFrame:
        rows_of: dict[str, list[int]] = {}
        blank: list[int] = []
        for row, text in enumerate(self._texts(table)):
            if text is None:
                blank.append(row)
            else:
                rows_of.setdefault(text, []).append(row)
        if blank:
            ask.note("no text in the row: put last without a call", len(blank))
        texts = list(rows_of)
        comparing = Comparing(self, ask, texts)
        items = self.shuffled(len(texts))
        scores = await comparing.scored(items) if self.pointwise and len(items) > 1 else None
        if scores is not None:
            items = [item for item in items if item in scores]
        most = self._fitting(ask, texts)
        best = await self.order(items, scores, most)(comparing)
        if self.worst_first:
            best.reverse()
        rows = [row for item in best for row in rows_of[texts[item]]]
        lost = sorted(row for item in comparing.lost for row in rows_of[texts[item]])
        for item, reason in comparing.lost.items():
            for row in rows_of[texts[item]]:
                ask.failed(row, reason)
        rows = [*rows, *lost, *blank][: self.wanted(table.height)]
        out = table[rows]
        if self.rank is None:
            return out
        ranked = table.height - len(lost) - len(blank)
        places = [place if place <= ranked else None for place in range(1, len(rows) + 1)]
        return out.with_columns(pl.Series(self.rank, places, dtype=pl.Int64))

    def shuffled(self, n: int) -> list[int]:
        items = list(range(n))
        Random(self.seed).shuffle(items)
        return items

    def _fitting(self, ask: Sizes, texts: Sequence[str]) -> int:
        """Items a call, so that as many of average length fit into the window."""
        window = ask.model(self.alias(ask)).context_window
        if window is None or not texts:
            return self.items_per_call
        mean = sum(len(text) for text in texts) / len(texts) / 4 + 8
        return min(self.items_per_call, max(int(SHARE * window / mean), 2))

    def forecast(
        self, look: Sizes, table: pl.DataFrame, rows: float, *others: tuple[pl.DataFrame, float]
    ) -> Forecast:
        alias = self.alias(look)
        texts = list(dict.fromkeys(text for text in self._texts(table) if text is not None))
        share = rows / table.height if table.height else 0.0
        number = round(len(texts) * share)
        cast = Forecast(rows=float(self.wanted(round(rows))), assumed=self.assumed(number, share))
        if number < 2:
            return cast
        few = min(number, SIMULATED)
        items = self.shuffled(few)
        # Scores as even as a model's are: then the cut is among a tenth or two of the items.
        scores = {i: i * 11 // few for i in range(few)} if self.pointwise else None
        truth = list(range(few))
        Random(self.seed + 1).shuffle(truth)
        if scores is not None:
            truth = [few - 1 - i for i in range(few)]
        groups = simulated(self.order(items, scores, self._fitting(look, texts)), truth)
        calls = len(groups) * number / few + (number if scores is not None else 0)
        step = -(-len(groups) // QUESTIONS) or 1
        for group in groups[::step]:
            cast.requests.append(self._about(group, texts, alias))
        if scores is not None:
            times = max(round(len(cast.requests) * number / max(len(groups), 1)), 1)
            cast.requests += [self.score(texts[i % len(texts)], alias) for i in range(times)]
        cast.calls[alias] = calls
        return cast

    def _about(self, group: list[int], texts: list[str], alias: str) -> Request:
        which = [i % len(texts) for i in group]
        shown = self.shown(which, texts) if len(set(which)) == len(which) else which
        return self.compare([texts[i] for i in shown], alias)

    def assumed(self, number: int, share: float) -> tuple[str, ...]:
        said = [f"{self.kind}: the model's answers agree with one another"]
        if share > 1:
            said.append("repeated texts are as frequent as in the sample")
        if self.pointwise:
            said.append(f"{self.kind}: scores are spread evenly")
        return tuple(said)
