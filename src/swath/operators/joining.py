"""Two tables joined by a statement about a row of each, with few questions.

Pairs that are nothing alike are not asked about (`matching.py`), several are asked about in one
prompt (`pairs.py`), and a statement that compares one property of each row becomes a label for
every row and a join on labels (`property.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import polars as pl

from swath.errors import InputError, listing
from swath.operators.asking import Ask, Sizes
from swath.operators.base import Operator
from swath.operators.expected import expected_labels, expected_pairs
from swath.operators.join import On
from swath.operators.matching import find
from swath.operators.pairs import Judge, Row, group_size, local
from swath.operators.property import Property, labelled, property_of
from swath.operators.table import ROW, Forecast, Rows, TableOperator
from swath.operators.template import Template
from swath.operators.wording import Wording, as_predicate

How = Literal["inner", "left", "semi", "anti"]


class Join(TableOperator):
    """Rows in the order of the left table, then of the right."""

    kind = "join"
    rows = Rows.NEW

    def __init__(self, on: On, how: How, suffix: str) -> None:
        super().__init__(model=on.models)
        self.on = on
        self.how = how
        self.suffix = suffix

    # -- what the plan asks

    @property
    def others_asked(self) -> tuple[str, ...]:
        named = self.on.settings.embed_model if self.on.by is None else None
        return () if named is None else (named,)

    def reads(self, schema: pl.Schema) -> frozenset[str]:
        return frozenset(schema.names())  # all of them decide which right names get the suffix

    def after(self, schema: pl.Schema, *others: pl.Schema) -> pl.Schema:
        (other,) = others
        self._checked(schema, other)
        made = dict(schema)
        for name, dtype in other.items():
            new = self._named(name, schema)
            if new in made:
                raise InputError(
                    f"The joined table would have two columns '{new}'.",
                    hint="Give another suffix=, or rename a column first.",
                )
            made[new] = dtype
        return pl.Schema(made)

    def describe(self) -> str:
        return f"join({self.how}, {self.on})"

    def _checked(self, left: pl.Schema, right: pl.Schema) -> None:
        if self.on.predicate is not None:
            Wording.of(self.on.predicate, left, right)
        if self.on.by is not None:
            for operator, schema in zip(self.on.by, (left, right), strict=True):
                operator.reads(schema)

    def _named(self, name: str, left: pl.Schema) -> str:
        return name + self.suffix if name in left else name

    # -- before anything is spent

    def forecast(
        self, look: Sizes, table: pl.DataFrame, rows: float, *others: tuple[pl.DataFrame, float]
    ) -> Forecast:
        ((other, others_rows),) = others
        table = table.drop(ROW)
        if self.on.by is not None:
            sides = ((self.on.by[0], table, rows), (self.on.by[1], other, others_rows))
            cast = expected_labels(look, sides)
        else:
            cast = self._by_pairs(look, table, rows, other, others_rows)
        cast.rows = rows if self.how == "left" else min(rows, others_rows)
        cast.assumed += ("a join finds one match for each row of the smaller table",)
        return cast

    def _by_pairs(
        self,
        look: Sizes,
        table: pl.DataFrame,
        rows: float,
        other: pl.DataFrame,
        others_rows: float,
    ) -> Forecast:
        on = self.on
        assert on.predicate is not None
        wording = Wording.of(on.predicate, table.schema, other.schema)
        left, right = (_distinct(wording.rows(s, t))[0] for s, t in enumerate((table, other)))
        return expected_pairs(
            look,
            wording,
            left,
            right,
            scale=(rows / max(table.height, 1), others_rows / max(other.height, 1)),
            same=self._symmetric(wording) and left == right,
            settings=on.settings,
            pairs_per_call=on.pairs_per_call,
            cascade=on.cascade,
            rewrite=on.rewrite,
        )

    def _symmetric(self, wording: Wording) -> bool:
        said = self.on.symmetric
        return wording.symmetric if said is None else said and wording.mirrored

    # -- the run

    async def run(self, ask: Ask, table: pl.DataFrame, *others: pl.DataFrame) -> pl.DataFrame:
        (other,) = others
        if self.on.by is not None:
            found = await self._by_labels(ask, self.on.by, table, other)
        else:
            found = await self._by_questions(ask, table, other)
        return self._joined(found, table, other)

    async def _by_labels(
        self, ask: Ask, by: tuple[Operator, Operator], table: pl.DataFrame, other: pl.DataFrame
    ) -> _Found:
        labels = await labelled(ask, by, (table.drop(ROW), other))
        for row, error in labels.failed[0].items():
            ask.failed(row, error)
        if labels.failed[1]:
            ask.note(
                "no label for a row of the right table: it matches nothing", len(labels.failed[1])
            )
        rows_of: dict[Any, list[int]] = {}
        for row, label in enumerate(labels.values[1]):
            if label is not None:
                rows_of.setdefault(label, []).append(row)
        open_ = set(labels.failed[0]) | labels.unasked[0]
        if labels.unasked[1]:
            open_ |= set(range(table.height))
        return _Found(
            [rows_of.get(label, []) for label in labels.values[0]], open_, labels.unasked[0]
        )

    async def _by_questions(self, ask: Ask, table: pl.DataFrame, other: pl.DataFrame) -> _Found:
        on = self.on
        assert on.predicate is not None
        plain = table.drop(ROW)
        wording = Wording.of(on.predicate, plain.schema, other.schema)
        left, left_of = _distinct(wording.rows(0, plain))
        right, right_of = _distinct(wording.rows(1, other))
        alias = self.alias(ask)
        judge = Judge(
            ask,
            wording,
            left,
            right,
            alias,
            self.fallback if on.cascade is None else (),
            on.cascade,
            group_size(on.pairs_per_call, local(ask, alias)),
        )
        if on.rewrite and on.cascade is None:
            found = await property_of(judge, on.settings)
            if found is not None:
                return await self._by_labels(ask, _over(wording, found), table, other)
        same = self._symmetric(wording) and left == right
        if same and wording.reflexive:
            judge.said.update({(i, i): True for i in range(len(left))})
        elif same:
            await judge.about([(i, i) for i in range(len(left))])
        texts = (_joined_texts(left), _joined_texts(right))
        await find(judge, *texts, on.settings, same)
        return _found(judge, left_of, right_of, same)

    def _joined(self, found: _Found, table: pl.DataFrame, other: pl.DataFrame) -> pl.DataFrame:
        lefts: list[int] = []
        rights: list[int | None] = []
        for row, matches in enumerate(found.matches):
            kept: Sequence[int | None] = matches
            if not matches and self.how == "left" and row not in found.unasked:
                kept = [None]
            lefts += [row] * len(kept)
            rights += kept
        places = pl.Series(rights, dtype=pl.UInt32)
        joined = other.select(pl.all().gather(places)) if other.width else other
        joined = joined.rename({name: self._named(name, table.schema) for name in other.columns})
        return pl.concat([table[lefts], joined], how="horizontal")


class SemiJoin(Join):
    """Left rows that have a match, or with `how="anti"` those that surely have none."""

    rows = Rows.SUBSET

    def reads(self, schema: pl.Schema) -> frozenset[str]:
        on = self.on
        if on.by is not None:
            return on.by[0].reads(schema)
        assert on.predicate is not None
        assert isinstance(on.predicate.text, Template)
        names = (name.removeprefix("left.") for name in on.predicate.text.names)
        return frozenset(
            root for name in names for root in (name, name.split(".")[0]) if root in schema
        )

    def after(self, schema: pl.Schema, *others: pl.Schema) -> pl.Schema:
        self._checked(schema, others[0])
        return schema

    def _joined(self, found: _Found, table: pl.DataFrame, other: pl.DataFrame) -> pl.DataFrame:
        if self.how == "semi":
            kept = [bool(matches) for matches in found.matches]
        else:
            kept = [
                not matches and row not in found.open for row, matches in enumerate(found.matches)
            ]
        return table.filter(pl.Series(kept, dtype=pl.Boolean))


@dataclass(frozen=True)
class _Found:
    """Per left row the right rows that match it, in order. Of rows in `open` more might; nothing
    is known of those in `unasked`, where the run stopped."""

    matches: list[list[int]]
    open: set[int]
    unasked: set[int]


def _found(
    judge: Judge, left_of: list[int | None], right_of: list[int | None], same: bool
) -> _Found:
    rows_of: dict[int, list[int]] = {}
    for row, place in enumerate(right_of):
        if place is not None:
            rows_of.setdefault(place, []).append(row)
    partners: dict[int, list[int]] = {}
    for (i, j), true in judge.said.items():
        if true:
            partners.setdefault(i, []).append(j)
            if same and i != j:
                partners.setdefault(j, []).append(i)
    errors: dict[int, list[Any]] = {}
    for (i, j), error in judge.failed.items():
        errors.setdefault(i, []).append(error)
        if same and i != j:
            errors.setdefault(j, [])
    matches: list[list[int]] = []
    open_: set[int] = set()
    unasked: set[int] = set()
    for row, place in enumerate(left_of):
        if place is None:
            matches.append([])
            continue
        rights = [r for j in partners.get(place, ()) for r in rows_of.get(j, ())]
        matches.append(sorted(set(rights)))
        for error in errors.get(place, ()):
            judge.ask.failed(row, error)
        if place in errors or judge.stopped:
            open_.add(row)
        if judge.stopped:
            unasked.add(row)
    return _Found(matches, open_, unasked)


def _distinct(rows: list[Row | None]) -> tuple[list[Row], list[int | None]]:
    """Each row's values once, in order, and where each row stands among them."""
    places: dict[Row, int] = {}
    where = [None if row is None else places.setdefault(row, len(places)) for row in rows]
    return list(places), where


def _joined_texts(rows: list[Row]) -> list[str]:
    return [" ".join(row) for row in rows]


def _over(wording: Wording, found: Property) -> tuple[Operator, Operator]:
    return found.operator(wording.columns(0)[0]), found.operator(wording.columns(1)[0])


def semantic(on: Any, how: Any, suffix: str) -> Join | None:
    """The join that `frame.join(on=…)` means; None where it is Polars' own. Raises InputError."""
    if isinstance(on, Operator):
        predicate = as_predicate(on)
        on = On(predicate, cascade=getattr(on, "cascade", None))
    if not isinstance(on, On):
        return None
    if how not in get_args(How):
        raise InputError(
            f"how='{how}' is not for statements that a model judges.",
            hint=listing(get_args(How), str(how)),
        )
    return (SemiJoin if how in ("semi", "anti") else Join)(on, how, suffix)
