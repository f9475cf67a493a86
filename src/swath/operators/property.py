"""A statement that compares one property of each row: a label a row, and a join on labels.

"The two reviews express the same sentiment" needs no question about a pair: n labels tell of n²
pairs. Whether a statement is of that kind, and what the labels are, the model itself is asked,
once; then a few pairs are asked about directly, and the labels must agree with the answers.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass, field
from random import Random
from typing import Any

import polars as pl

from swath.engine.shape import Invalid, conforming, read_json
from swath.errors import ProviderError
from swath.messages import Message, Request, Schema
from swath.operators.asking import Ask, Failed, Stopped
from swath.operators.base import Operator
from swath.operators.classify import Classify
from swath.operators.matching import Settings
from swath.operators.pairs import Judge, Pair
from swath.operators.wording import Wording

SHARED = re.compile(r"\b(same|share|equal|common)\b", re.IGNORECASE)
"""Statements without such a word are not asked about."""
_IDENTITY = re.compile(
    r"\bsame (?:[\w'-]+ ){0,2}(?:product|item|article|model|device|thing|entity|object|record|"
    r"person|people|customer|author|company|organi[sz]ation|place|address|restaurant|event|story|"
    r"paper|publication|book|film|movie|song)s?\b",
    re.IGNORECASE,
)
"""Nor those about things that are one: of these there are as many as rows."""
MOST_LABELS = 20
POOL = 16  # rows of each table that are labelled first
CHECKED = 12  # pairs that are asked about directly, half of them with equal labels
AGREED = 10  # of these must agree: by chance 2 in 100 would

_SYSTEM = (
    "A statement compares two texts, A and B. Say whether it holds exactly when one property, "
    "which each text has by itself, has the same value for both, and that property has few "
    "possible values that can be listed beforehand (a sentiment, a language, a topic from a short "
    "list). It does not when the statement is about identity, about a detail of which there are "
    "many, or needs both texts side by side. If so, give the question that asks for the property "
    "of one text, and all its possible values; else leave both empty."
)
_SHAPE = Schema(
    "property",
    {
        "type": "object",
        "properties": {
            "one_property": {"type": "boolean"},
            "question": {"type": "string"},
            "values": {"type": "array", "items": {"type": "string"}},
        },
        "required": ["one_property", "question", "values"],
        "additionalProperties": False,
    },
)


@dataclass(frozen=True)
class Property:
    """A question about one text, and its possible answers."""

    question: str
    values: tuple[str, ...]
    model: str
    fallback: tuple[str, ...]

    def operator(self, column: str) -> Classify:
        return Classify(
            pl.col(column) if "." not in column else column,
            dict.fromkeys(self.values, ""),
            multi=False,
            scores=False,
            instructions=self.question,
            model=(self.model, *self.fallback),
            temperature=None,
            max_tokens=None,
        )


@dataclass
class Labels:
    """Per side (left, right): a value a row, None where there is none; errors by row; rows that
    the run stopped before."""

    values: tuple[list[Any], list[Any]] = field(default_factory=lambda: ([], []))
    failed: tuple[dict[int, Failed], dict[int, Failed]] = field(default_factory=lambda: ({}, {}))
    unasked: tuple[set[int], set[int]] = field(default_factory=lambda: (set(), set()))


def candidate(wording: Wording) -> bool:
    """Whether the statement may be of that kind, by its words."""
    one_each = len(wording.columns(0)) == len(wording.columns(1)) == 1 and len(wording.slots) == 2
    said = " ".join(wording.parts)
    return one_each and bool(SHARED.search(said)) and not _IDENTITY.search(said)


def worth_it(n: int, m: int, same: bool) -> bool:
    """Whether labels for all rows and the tests before them are fewer than the nearest pairs."""
    return n * m // (2 if same else 1) > 2 * (n + m) + CHECKED


def question(wording: Wording, model: str) -> Request:
    said = wording.filled(("[A]",), ("[B]",))
    return Request(
        model=model,
        messages=(Message("system", _SYSTEM), Message("user", f"Statement: {said}")),
        schema=_SHAPE,
    )


async def property_of(judge: Judge, settings: Settings) -> Property | None:
    """The property that the statement compares, where there is one and its labels agree with
    direct answers. What came of it is in the run's notes."""
    wording, ask = judge.wording, judge.ask
    n, m = len(judge.left), len(judge.right)
    if settings.candidates != "auto" or not candidate(wording):
        return None
    if not worth_it(n, m, judge.left == judge.right):
        return None
    try:
        reply = await ask(question(wording, judge.alias), _read, judge.fallback)
    except (ProviderError, Invalid):
        return None
    except Stopped:
        judge.stopped = True
        return None
    said = reply.parsed
    if said is None:
        return None
    found = Property(said[0], said[1], judge.alias, judge.fallback)
    try:
        agreed, of = await _agreement(judge, found)
    except Stopped:
        judge.stopped = True
        return None
    good = of >= AGREED and agreed >= AGREED * of / CHECKED
    outcome = "so rows were labelled" if good else "so pairs were asked about"
    ask.note(
        f"join: the statement compares one property of {len(found.values)} values; labels agreed "
        f"with {agreed} of {of} pairs asked about directly, {outcome}"
    )
    return found if good else None


def _read(text: str) -> tuple[str, tuple[str, ...]] | None:
    value = conforming(read_json(text), _SHAPE)
    values = tuple(dict.fromkeys(v.strip() for v in value["values"] if v.strip()))
    if not value["one_property"] or not value["question"].strip():
        return None
    if not 2 <= len(values) <= MOST_LABELS:
        return None
    return value["question"].strip(), values


async def _agreement(judge: Judge, found: Property) -> tuple[int, int]:
    """(pairs on which labels and direct answers agree, pairs compared)"""
    draw = Random(0)
    sides = [
        draw.sample(range(len(rows)), min(POOL, len(rows))) for rows in (judge.left, judge.right)
    ]
    if judge.left == judge.right:
        sides[1] = sides[0]
    texts = [
        [rows[i][0] for i in s] for rows, s in zip((judge.left, judge.right), sides, strict=True)
    ]
    operator = found.operator("text")
    requests = [operator.ask(text, judge.alias) for text in [*texts[0], *texts[1]]]
    replies = await judge.ask.many(requests, None, judge.fallback)
    labels = [None if r is None or isinstance(r, Failed) else operator.value(r) for r in replies]
    left = {i: label for i, label in zip(sides[0], labels, strict=False) if label}
    right = {j: label for j, label in zip(sides[1], labels[len(sides[0]) :], strict=True) if label}
    itself = judge.left == judge.right
    both = [(i, j) for i in left for j in right if (i < j if itself else True)]
    draw.shuffle(both)
    equal = [(i, j) for i, j in both if left[i] == right[j]]
    other = [(i, j) for i, j in both if left[i] != right[j]]
    chosen: list[Pair] = [*equal[: CHECKED // 2], *other[: CHECKED // 2]]
    await judge.about(chosen)
    if judge.stopped:
        raise Stopped
    compared = [(left[i] == right[j], judge.said[i, j]) for i, j in chosen if (i, j) in judge.said]
    return sum(a == b for a, b in compared), len(compared)


async def labelled(
    ask: Ask, by: tuple[Operator, Operator], tables: tuple[pl.DataFrame, pl.DataFrame]
) -> Labels:
    """The value that `by` gives each row of two tables; what the run stopped before is unasked."""
    labels = Labels()
    ready = []
    for operator, table in zip(by, tables, strict=True):
        if operator.sample:
            sample = table.sample(min(operator.sample, table.height), seed=0)
            operator = await operator.prepare(ask, sample, table.height)
        ready.append(operator)
    asked = [o.requests(t, ask.default) for o, t in zip(ready, tables, strict=True)]
    known: dict[tuple[int, int], Any] = {}

    async def one(operator: Operator, request: Request, key: tuple[int, int]) -> None:
        try:
            known[key] = await _value(ask, operator, request)
        except (ProviderError, Invalid) as error:
            known[key] = error
        except Stopped:
            pass
        ask.done(1)

    work: dict[tuple[int, int], Any] = {}
    for side, requests in enumerate(asked):
        for request in requests:
            if request is not None and (side, id(request)) not in work:
                work[side, id(request)] = (ready[side], request)
    ask.done(0, len(work))
    await asyncio.gather(*(one(o, r, key) for key, (o, r) in work.items()))
    for side, requests in enumerate(asked):
        for row, request in enumerate(requests):
            value = None if request is None else known.get((side, id(request)), Stopped)
            if value is Stopped:
                labels.unasked[side].add(row)
            elif isinstance(value, Failed):
                labels.failed[side][row] = value
            usable = value is not Stopped and not isinstance(value, Failed)
            labels.values[side].append(value if usable else None)
    return labels


async def _value(ask: Ask, operator: Operator, request: Request) -> Any:
    if not operator.single:
        return await operator.answer(ask, request)
    return operator.value(await ask(request, operator.check, operator.fallback))
