"""How a pair of rows is put into words: one statement for both, or for one row and several others.

The statement is a template over two tables: `{left.name}`, `{right.title}`, or a bare `{title}`
where only one of them has such a column.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from swath.engine.shape import Invalid, conforming, read_json
from swath.errors import ColumnNotFound, InputError, listing
from swath.messages import Message, Request, Schema
from swath.operators.base import Operator
from swath.operators.predicate import Predicate
from swath.operators.template import Template, path

SIDES = ("left", "right")
_MATCHES = {
    "type": "object",
    "properties": {"matches": {"type": "array", "items": {"type": "integer"}}},
    "required": ["matches"],
    "additionalProperties": False,
}
_TASK = (
    "A statement is made about each numbered candidate: what stands in [brackets] is the "
    "candidate's own. Name the numbers of the candidates for which it is true; none is an answer "
    "too."
)
_AND = re.compile(r"\s*(and|or|&|,|/|\+|\||;)\s*", re.IGNORECASE)
_SAME = re.compile(
    r"\b(same|each other|equal|identical|equivalent|duplicates?|similar|alike)\b", re.IGNORECASE
)
_ORDERED = re.compile(
    r"\b(than|before|after|(?:first|second)\b(?!\s*:)|former|latter|causes?|answers?|repl(?:y|ies)|contains?|"
    r"includes?|part of|implies|follows?|precedes?)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Slot:
    """A place in the statement: which table's column it takes."""

    side: int
    column: str


@dataclass(frozen=True)
class Wording:
    """The statement over two tables. `predicate` puts it for a single pair."""

    parts: tuple[str, ...]
    slots: tuple[Slot, ...]
    predicate: Predicate

    @classmethod
    def of(cls, predicate: Predicate, left: pl.Schema, right: pl.Schema) -> Wording:
        """Raises ColumnNotFound, InputError where a name is in both tables, or one is not used."""
        template = predicate.text
        assert isinstance(template, Template)
        slots = tuple(_slot(name, (left, right)) for name in template.names)
        if {slot.side for slot in slots} != {0, 1}:
            raise InputError(
                "The statement must be about both tables.",
                hint="Name a column of each: '{left.name} and {right.title} are the same product'.",
            )
        return cls(template.parts, slots, predicate)

    def columns(self, side: int) -> list[str]:
        return list(dict.fromkeys(slot.column for slot in self.slots if slot.side == side))

    def rows(self, side: int, table: pl.DataFrame) -> list[tuple[str, ...] | None]:
        """Each row's values; None where one is null or all are blank."""
        names = self.columns(side)
        exprs = [path(n, table.schema)[1].alias(str(i)) for i, n in enumerate(names)]
        rows = table.select(exprs).rows()
        return [
            None if None in row or not any(value.strip() for value in row) else row for row in rows
        ]

    @property
    def mirrored(self) -> bool:
        """Whether it names the same one column of both tables."""
        return len(self.slots) == 2 and self.slots[0].column == self.slots[1].column

    @property
    def symmetric(self) -> bool:
        """Whether the words show that swapping two rows of one table changes nothing."""
        said = " ".join(self.parts)
        if not self.mirrored or _ORDERED.search(said):
            return False
        return bool(_AND.fullmatch(self.parts[1]) or _SAME.search(said))

    @property
    def reflexive(self) -> bool:
        """Whether it says of a text and itself what is plainly true: that they are the same."""
        return self.symmetric and bool(_SAME.search(" ".join(self.parts)))

    # -- questions

    def single(self, left: tuple[str, ...], right: tuple[str, ...], model: str) -> Request:
        return self.predicate.ask(self.filled(left, right), model)

    def grouped(
        self, left: tuple[str, ...], rights: Sequence[tuple[str, ...]], model: str
    ) -> Request:
        """About one left row and several right ones; `matches` reads the answer."""
        names = self.columns(1)
        stands = tuple(f"[{name}]" for name in names)
        several = len(names) > 1
        lines = [f"Statement: {self.filled(left, stands)}", "", "Candidates:"]
        for number, right in enumerate(rights, 1):
            said = (
                "; ".join(f"{name}: {value}" for name, value in zip(names, right, strict=True))
                if several
                else right[0]
            )
            lines.append(f"{number}. {said}")
        if not several:
            lines[0] = f"Statement: {self.filled(left, ('[candidate]',))}"
        asked = self.predicate
        system = "\n\n".join(filter(None, (asked.instructions, _TASK)))
        return Request(
            model=model,
            messages=(Message("system", system), Message("user", "\n".join(lines))),
            schema=Schema("matches", _MATCHES),
            temperature=asked.temperature,
            max_tokens=asked.max_tokens,
        )

    def filled(self, left: tuple[str, ...], right: tuple[str, ...]) -> str:
        sides = (left, right)
        columns = (self.columns(0), self.columns(1))
        out = [self.parts[0]]
        for slot, after in zip(self.slots, self.parts[1:], strict=True):
            out += [sides[slot.side][columns[slot.side].index(slot.column)], after]
        return "".join(out)


def matches(count: int) -> Callable[[str], set[int]]:
    """Reads the answer about `count` candidates: places, from 0. Raises Invalid."""

    def check(text: str) -> set[int]:
        value = conforming(read_json(text), Schema("matches", _MATCHES))
        places = {int(number) - 1 for number in value["matches"]}
        if not places <= set(range(count)):
            raise Invalid(
                f"The candidates are numbered 1 to {count}.",
                "the answer names a candidate that there is not.",
            )
        return places

    return check


def _slot(name: str, schemas: tuple[pl.Schema, pl.Schema]) -> Slot:
    side, _, rest = name.partition(".")
    if side in SIDES and rest:
        place = SIDES.index(side)
        path(rest, schemas[place])
        return Slot(place, rest)
    root = name if any(name in s for s in schemas) else name.split(".")[0]
    has = [place for place, schema in enumerate(schemas) if root in schema]
    if not has:
        have = [f"{SIDES[p]}.{column}" for p, schema in enumerate(schemas) for column in schema]
        raise ColumnNotFound(
            f"There is no column '{name}' in either table.", hint=listing(have, name)
        )
    if len(has) > 1:
        raise InputError(
            f"Both tables have a column '{root}'.",
            hint=f"Write {{left.{name}}} or {{right.{name}}}.",
        )
    path(name, schemas[has[0]])
    return Slot(has[0], name)


def as_predicate(operator: Operator) -> Predicate:
    """The plain predicate under `operator`. Raises InputError."""
    inner: Any = getattr(operator, "operator", operator)
    if not isinstance(inner, Predicate):
        raise InputError(
            f"A join needs a statement, not {operator.describe()}.",
            hint="Give on=sw.join('{left.a} and {right.b} are …'), or sw.predicate(…).",
        )
    return inner
