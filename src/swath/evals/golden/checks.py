"""Checks that a computer can do alone: a score from 0 to 1 and a reason for each row.

A subclass is one kind. It reads its own keys in `read`, and scores one answer in `judge`. Those
that ask a model are in asked.py.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from swath.evals.golden.toml import Table
from swath.evals.golden.values import as_items, as_number, as_text, field_of, from_json, same, short

if TYPE_CHECKING:
    from swath.evals.golden.purse import Purse

EPSILON = 1e-9


class Score(NamedTuple):
    """`value` is 0 to 1, or None where the row has no label for this check; `reason` says why it is
    not 1."""

    value: float | None
    reason: str = ""


@dataclass(frozen=True)
class Case:
    """One answer to score. `row` are the columns of the golden set; `asked` is what the model was
    told and `text` what it was asked about, for those that judge."""

    row: Mapping[str, Any]
    answer: Any
    asked: str = ""
    text: str = ""


@dataclass(frozen=True, kw_only=True)
class Check:
    """What every kind has: `field` (of a struct, "" for the whole answer), `expected` (the column
    with the label), and when it fails: `threshold` (the mean must reach it), `floor` (the mean's
    95% interval must not lie below it), neither (every row must pass). A row passes from `pass_at`
    on."""

    name: str
    kind: str
    field: str = ""
    expected: str = ""
    threshold: float | None = None
    floor: float | None = None
    pass_at: float = 1.0
    where: str = ""  # in the file, for messages

    labelled: ClassVar[bool] = False  # needs `expected`
    takes_label: ClassVar[bool] = False  # looks at it where there is one
    passes_from: ClassVar[float] = 1.0

    @classmethod
    def read(cls, table: Table, folder: Path) -> dict[str, Any]:
        """Its own keys."""
        return {}

    @classmethod
    def needs_label(cls, own: Mapping[str, Any]) -> bool:
        """With these keys of its own."""
        return cls.labelled

    def scores(self, cases: Sequence[Case], purse: Purse) -> list[Score]:
        return [self.one(case) for case in cases]

    def one(self, case: Case) -> Score:
        answer = field_of(case.answer, self.field)
        label = case.row.get(self.expected) if self.expected else None
        if self.labelled and label is None and not self.field:
            return Score(None, "the row has no label")
        return self.judge(answer, label, case)

    def judge(self, answer: Any, label: Any, case: Case) -> Score:
        """What each check has, unless it looks at all cases at once (`scores`)."""
        raise AssertionError(f"a check of kind '{self.kind}' must say how it judges")


@dataclass(frozen=True, kw_only=True)
class Exact(Check):
    """The answer is the label."""

    ignore_case: bool = False
    labelled = True

    @classmethod
    def read(cls, table: Table, folder: Path) -> dict[str, Any]:
        return {"ignore_case": table.flag("ignore_case")}

    def judge(self, answer: Any, label: Any, case: Case) -> Score:
        if same(answer, label, self.ignore_case):
            return Score(1.0)
        return Score(0.0, f"got {short(answer)}, expected {short(label)}")


@dataclass(frozen=True, kw_only=True)
class SetF1(Check):
    """The F1 of two sets: the harmonic mean of precision and recall; 1 where both are empty."""

    separator: str = ","
    ignore_case: bool = False
    labelled = True

    @classmethod
    def read(cls, table: Table, folder: Path) -> dict[str, Any]:
        return {
            "separator": table.text("separator", ","),
            "ignore_case": table.flag("ignore_case"),
        }

    def judge(self, answer: Any, label: Any, case: Case) -> Score:
        got = as_items(answer, self.separator, self.ignore_case)
        wanted = as_items(label, self.separator, self.ignore_case)
        if not got and not wanted:
            return Score(1.0)
        value = 2 * len(got & wanted) / (len(got) + len(wanted))
        missed, invented = sorted(wanted - got), sorted(got - wanted)
        parts = [f"missed {short(', '.join(missed))}"] if missed else []
        parts += [f"too many: {short(', '.join(invented))}"] if invented else []
        return Score(value, "; ".join(parts))


@dataclass(frozen=True, kw_only=True)
class Regex(Check):
    """The answer's text holds the pattern; with `full`, all of it is the pattern."""

    pattern: re.Pattern[str]
    full: bool = False

    @classmethod
    def read(cls, table: Table, folder: Path) -> dict[str, Any]:
        pattern = table.text("pattern")
        if not pattern:
            table.required("pattern", "'^[A-Z]'")
        try:
            compiled = re.compile(pattern)
        except re.error as error:
            table.wrong("pattern", f"'pattern' is no regular expression: {error}")
        return {"pattern": compiled, "full": table.flag("full")}

    def judge(self, answer: Any, label: Any, case: Case) -> Score:
        text = as_text(answer)
        found = self.pattern.fullmatch(text) if self.full else self.pattern.search(text)
        return Score(1.0) if found else Score(0.0, f"does not match: {short(text)}")


@dataclass(frozen=True, kw_only=True)
class Numeric(Check):
    """The answer is the label, give or take `abs`, or `rel` times the label."""

    abs: float = 0.0
    rel: float = 0.0
    labelled = True

    @classmethod
    def read(cls, table: Table, folder: Path) -> dict[str, Any]:
        return {"abs": table.number("abs", 0.0), "rel": table.number("rel", 0.0)}

    def judge(self, answer: Any, label: Any, case: Case) -> Score:
        got, wanted = as_number(answer), as_number(label)
        if got is None or wanted is None:
            if got is None and label is None:
                return Score(1.0)
            return Score(0.0, f"got {short(answer)}, expected {short(label)}")
        room = max(self.abs, self.rel * abs(wanted)) + EPSILON * max(1.0, abs(wanted))
        if abs(got - wanted) <= room:
            return Score(1.0)
        return Score(0.0, f"got {got:g}, expected {wanted:g}")


@dataclass(frozen=True, kw_only=True)
class Contains(Check):
    """The answer's text holds the label; or `text`, `all` of some texts, `any`, or `none`."""

    all: tuple[str, ...] = ()
    any: tuple[str, ...] = ()
    none: tuple[str, ...] = ()
    ignore_case: bool = True

    @classmethod
    def read(cls, table: Table, folder: Path) -> dict[str, Any]:
        found: dict[str, Any] = {
            "all": (*table.texts("text"), *table.texts("all")),
            "any": table.texts("any"),
            "none": table.texts("none"),
            "ignore_case": table.flag("ignore_case", True),
        }
        return found

    @classmethod
    def needs_label(cls, own: Mapping[str, Any]) -> bool:
        return not (own["all"] or own["any"] or own["none"])

    def judge(self, answer: Any, label: Any, case: Case) -> Score:
        wanted = (*self.all, as_text(label)) if self.expected and label is not None else self.all
        fold = str.casefold if self.ignore_case else str
        text = fold(as_text(answer))
        missing = [w for w in wanted if fold(w) not in text]
        if missing:
            return Score(0.0, f"does not contain {short(', '.join(missing))}")
        if self.any and not [w for w in self.any if fold(w) in text]:
            return Score(0.0, f"contains none of {short(', '.join(self.any))}")
        wrong = [w for w in self.none if fold(w) in text]
        return Score(0.0, f"contains {short(', '.join(wrong))}") if wrong else Score(1.0)


@dataclass(frozen=True, kw_only=True)
class JsonSchema(Check):
    """The answer fits a JSON Schema (draft 2020-12)."""

    validator: Any = None

    @classmethod
    def read(cls, table: Table, folder: Path) -> dict[str, Any]:
        import jsonschema_rs
        import msgspec

        given = table.any("schema")
        if isinstance(given, str):
            try:
                given = msgspec.json.decode((folder / given).read_bytes())
            except OSError as error:
                table.wrong("schema", f"The schema '{given}' cannot be read: {error.strerror}")
            except msgspec.DecodeError as error:
                table.wrong("schema", f"The schema '{given}' is not valid JSON: {error}")
        if not isinstance(given, dict):
            table.required("schema", '"answer.json"')
        try:
            return {"validator": jsonschema_rs.validator_for(given)}
        except ValueError as error:
            table.wrong("schema", f"'schema' is no JSON Schema: {str(error).splitlines()[0]}")

    def judge(self, answer: Any, label: Any, case: Case) -> Score:
        import msgspec

        value = msgspec.json.decode(msgspec.json.encode(from_json(answer)))
        error = next(iter(self.validator.iter_errors(value)), None)
        if error is None:
            return Score(1.0)
        where = ".".join(map(str, error.instance_path)) or "the answer"
        return Score(0.0, f"{where}: {short(error.message)}")


@dataclass(frozen=True, kw_only=True)
class Python(Check):
    """`function(answer, row)` of the user's: true or false, a score, or (score, reason). `row` is a
    dict of the golden set's columns. What it raises fails the row."""

    function: Callable[[Any, dict[str, Any]], Any]

    @classmethod
    def read(cls, table: Table, folder: Path) -> dict[str, Any]:
        from swath.evals.golden.names import load

        name = table.text("function")
        if not name:
            table.required("function", '"checks.py:polite"')
        return {"function": load(table, "function", name, folder)}

    def judge(self, answer: Any, label: Any, case: Case) -> Score:
        try:
            given = self.function(answer, dict(case.row))
            value, reason = given if isinstance(given, tuple) else (given, "")
            score = min(max(float(value), 0.0), 1.0)
        except AssertionError as error:
            return Score(0.0, short(str(error) or "an assertion failed"))
        except Exception as error:  # the user's own function: the row fails, the run goes on
            return Score(0.0, f"the check raised {type(error).__name__}: {short(str(error))}")
        return Score(score, "" if score >= 1 else short(reason or f"scored {score:g}"))
