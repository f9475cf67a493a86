"""What an evaluation found: per check, per row, and against an earlier version. Kept as JSON."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal

import msgspec

from swath.engine.run import Metrics
from swath.errors import BudgetReached, InputError, OutputError
from swath.evals.golden.paired import Interval

FORMAT = "swath-eval/1"
Status = Literal["passed", "failed", "regressed", "stopped"]


class CheckResult(msgspec.Struct, frozen=True, kw_only=True):
    """One check of one model. `rows` counts rows with a label, answered or not; of those `passed`
    reached `pass_at`; `unanswered` ones count as 0; `unlabelled` ones do not count. `needs` says in
    words when it fails, `ok` whether it holds."""

    check: str
    kind: str
    model: str
    score: Interval | None
    rows: int
    passed: int
    unanswered: int
    unlabelled: int
    needs: str
    ok: bool


class RowScore(msgspec.Struct, frozen=True):
    """`score` is 0 to 1, null without a label. `reason` says what is wrong."""

    score: float | None
    passed: bool
    reason: str = ""


class RowResult(msgspec.Struct, frozen=True, kw_only=True):
    """One row and one model. `row` is its place in the data, from 0; `key` is a hash of its
    content, by which reports are compared; `unanswered` says why there is no answer, "" where
    there is one."""

    row: int
    id: str
    key: str
    model: str
    input: dict[str, Any]
    expected: dict[str, Any]
    answer: Any
    unanswered: str
    scores: dict[str, RowScore]
    cluster: str = ""

    @property
    def title(self) -> str:
        return f"row {self.row}, id {self.id}" if self.id else f"row {self.row}"


class Regression(msgspec.Struct, frozen=True, kw_only=True):
    """A check against an earlier version, over the `rows` that both have. `difference` is the mean
    of (now - before) with its 95% interval; `p` the chance of such a loss if nothing had changed;
    `regressed` whether it is told from noise, all checks taken together (Holm). `improved` and
    `worsened` name rows."""

    check: str
    model: str
    against: str
    rows: int
    before: float
    now: float
    difference: Interval
    p: float
    regressed: bool
    improved: tuple[int, ...]
    worsened: tuple[int, ...]
    sentence: str


class PromptUsed(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    version: int | None
    id: str
    text: str


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """`status` is passed, failed (a check does not hold), regressed (each check holds, but one is
    worse than before) or stopped (at the budget: of the rows that had an answer by then, no check
    holds or fails). `print(report)` shows it; `save` keeps it as JSON."""

    format: str = FORMAT
    name: str
    file: str
    at: float
    status: Status
    models: tuple[str, ...]
    prompt: PromptUsed | None
    metrics: Metrics
    runs: tuple[str, ...]
    checks: tuple[CheckResult, ...]
    regressions: tuple[Regression, ...]
    rows: tuple[RowResult, ...]

    @property
    def ok(self) -> bool:
        return self.status == "passed"

    def failures(self, check: str, model: str) -> list[RowResult]:
        """The rows that did not pass."""
        return [
            row
            for row in self.rows
            if row.model == model
            and (score := row.scores[check]).score is not None
            and not score.passed
        ]

    def __str__(self) -> str:
        from swath.evals.golden.text import shown

        return shown(self)

    def __bool__(self) -> bool:
        return self.ok

    def save(self, path: str | os.PathLike[str]) -> None:
        """As JSON; see docs/golden.md for its fields. Raises OutputError."""
        text = msgspec.json.format(msgspec.json.encode(self), indent=2)
        _write(path, text + b"\n", "report")

    def save_junit(self, path: str | os.PathLike[str]) -> None:
        """As JUnit XML: a suite a model, a case a check. Raises OutputError."""
        from swath.evals.golden.junit import junit

        _write(path, junit(self), "JUnit report")


class OutOfBudget(BudgetReached):
    """The budget ended an evaluation; `report` holds what is known, its status is stopped."""

    report: Report


def load_report(path: str | os.PathLike[str]) -> Report:
    """A saved report. Raises InputError."""
    try:
        return msgspec.json.decode(Path(path).read_bytes(), type=Report)
    except OSError as error:
        raise InputError(
            f"The report '{path}' cannot be read: {error.strerror}.",
            hint="Make one with: swath eval golden.toml --json FILE.",
        ) from None
    except msgspec.DecodeError as error:
        raise InputError(
            f"'{path}' is no report of swath eval: {error}.",
            hint="Make one with: swath eval golden.toml --json FILE.",
        ) from None


def _write(path: str | os.PathLike[str], data: bytes, what: str) -> None:
    try:
        Path(path).write_bytes(data)
    except OSError as error:
        raise OutputError(
            f"The {what} '{path}' cannot be written: {error.strerror}.",
            hint="What was asked is in the store: running it again costs nothing.",
        ) from None
