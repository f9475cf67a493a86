"""Running a suite: every row answered by every model, every answer scored, a report."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Sequence
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import polars as pl

from swath.errors import BudgetReached, InputError
from swath.evals.golden.checks import EPSILON, Case, Check, Score
from swath.evals.golden.operator import prompt_of
from swath.evals.golden.paired import mean_interval
from swath.evals.golden.purse import Purse
from swath.evals.golden.read import Suite, check_fields, read_suite
from swath.evals.golden.regress import regressions
from swath.evals.golden.report import (
    CheckResult,
    OutOfBudget,
    PromptUsed,
    Report,
    RowResult,
    RowScore,
    load_report,
)
from swath.evals.golden.toml import GoldenError
from swath.evals.golden.values import as_text
from swath.prompting.history import prompt as stored
from swath.prompting.prompt import Prompt

if TYPE_CHECKING:
    from swath.operators.base import Operator
    from swath.session import Session

PROMOTED = "promoted"
NO_TEXT = "the row has no text"
UNREACHED = "not checked: the budget was reached"


def golden(
    suite: Suite | str | os.PathLike[str],
    *,
    models: Sequence[str] | None = None,
    prompt: Prompt | str | None = None,
    against: str | os.PathLike[str] | Report | None = None,
    limit: int | None = None,
    max_cost: float | None = None,
    progress: Any = False,
    session: Session | None = None,
) -> Report:
    """Ask about every row of a golden set, and check the answers. See docs/golden.md for the file.

    `models` and `prompt` (an `sw.Prompt`, or `"reply@3"`) stand in for the file's own. `against` is
    "promoted" (the promoted version of the prompt is run on the same rows), a saved report, or a
    `Report`: a check without threshold or floor is then judged by that alone. `max_cost` is dollars
    for all of it. An unanswered row scores 0. Raises GoldenError for a faulty file, and
    OutOfBudget, a BudgetReached whose `report` holds what is known.
    """
    from swath.session import current

    chosen = session or current()
    read = suite if isinstance(suite, Suite) else read_suite(suite)
    read = read.limit(limit)
    purse = Purse(chosen, max_cost, progress)
    asked = _prompt(read, prompt, chosen)
    baseline = None if against is None else _baseline(against, asked, chosen)
    try:
        report = scored(read, asked, models, purse, free=baseline is not None)
        if baseline is None:
            return report
        if isinstance(baseline, Prompt):
            title, before = baseline.ref, scored(read, baseline, models, purse, free=True)
        else:
            title, before = baseline
    except BudgetReached as stop:
        raise stopped(stop, read, asked, models, purse) from None
    found = tuple(regressions(report, before, title))
    worse = report.status == "passed" and any(r.regressed for r in found)
    return msgspec.structs.replace(
        report,
        regressions=found,
        metrics=purse.total,
        runs=tuple(purse.runs),
        status="regressed" if worse else report.status,
    )


def scored(
    suite: Suite,
    prompt: str | None,
    models: Sequence[str] | None,
    purse: Purse,
    *,
    free: bool = False,
    whole: bool = True,
) -> Report:
    """The suite under one version of its prompt. `free`: a check that has neither threshold nor
    floor never fails. Not `whole`: a check that the budget does not reach scores nothing."""
    names = tuple(models or suite.models) or (purse.session.models.default,)
    operators = {name: suite.maker.make(name, prompt) for name in names}
    first = operators[names[0]]
    check_fields(suite, first.dtype)
    answers = _answers(suite, operators, purse)
    shell = _shell(suite, first)
    rows: list[RowResult] = []
    results: list[CheckResult] = []
    for model in names:
        scores = {
            c.name: _score(c, suite, first, answers[model], purse, whole) for c in suite.checks
        }
        rows += [
            RowResult(
                **fixed,
                model=model,
                answer=msgspec.to_builtins(answer.value),
                unanswered=answer.missing,
                scores={name: column[i] for name, column in scores.items()},
            )
            for i, (fixed, answer) in enumerate(zip(shell, answers[model], strict=True))
        ]
        results += [_result(c, model, rows[-len(shell) :], free) for c in suite.checks]
    used = prompt if isinstance(prompt, Prompt) else None
    if used is None and isinstance(said := prompt_of(first), Prompt):
        used = said
    answered = [all(not a.missing for a in row) for row in zip(*answers.values(), strict=True)]
    purse.total.rows = suite.table.height
    purse.total.ok = sum(answered)
    purse.total.failed = suite.table.height - sum(answered)
    return Report(
        name=suite.name,
        file=suite.file,
        at=time.time(),
        status="passed" if all(r.ok for r in results) else "failed",
        models=names,
        prompt=None if used is None else _used(used, purse.session),
        metrics=msgspec.structs.replace(purse.total),
        runs=tuple(purse.runs),
        checks=tuple(results),
        regressions=(),
        rows=tuple(rows),
    )


def stopped(
    stop: BudgetReached,
    suite: Suite,
    prompt: str | None,
    models: Sequence[str] | None,
    purse: Purse,
) -> OutOfBudget:
    """`stop` with a report on the rows whose answers the store has by now, from every model."""
    names = tuple(models or suite.models) or (purse.session.models.default,)
    asked = [suite.maker.make(name, prompt).requests(suite.table, name) for name in names]
    engine = purse.session.engine

    async def look() -> list[bool]:
        known = [True] * suite.table.height
        for requests in asked:
            wanted = [request for request in requests if request is not None]
            found = iter(engine.lookup(wanted))
            have = [request is None or next(found) is not None for request in requests]
            known = [one and other for one, other in zip(known, have, strict=True)]
        return known

    known = [i for i, there in enumerate(purse.session.call(look())) if there]
    report = scored(suite.keep(known), prompt, models, purse, free=True, whole=False)
    checks = tuple(msgspec.structs.replace(c, needs="all rows", ok=False) for c in report.checks)
    made = OutOfBudget(stop.message, budget=stop.budget, spent=purse.total.cost_usd, run=stop.run)
    made.report = msgspec.structs.replace(report, status="stopped", checks=checks)
    return made


def _used(prompt: Prompt, session: Session) -> PromptUsed:
    saved = prompt if prompt.version is not None else prompt.save(session)
    return PromptUsed(name=saved.name, version=saved.version, id=saved.id, text=str(saved))


class Answer(NamedTuple):
    value: Any
    missing: str  # why there is none


def _answers(suite: Suite, operators: dict[str, Operator], purse: Purse) -> dict[str, list[Answer]]:
    from swath.frames.readers import frame

    columns: dict[str, str] = {}
    for model in operators:
        column = "answer" if len(operators) == 1 else f"answer {model}"
        while column in suite.table.columns:
            column += "_"
        columns[model] = column
    try:
        asked = frame(suite.table).with_columns(
            **{columns[model]: operator for model, operator in operators.items()}
        )
    except InputError as error:
        raise GoldenError(error.message, hint=error.hint) from None
    run = purse.run(asked, f"eval {suite.name}")
    found: dict[str, list[Answer]] = {}
    for model, column in columns.items():
        failed = run.errors.filter(pl.col("column") == column)
        why = dict(zip(failed["row"], failed["reason"], strict=True))
        found[model] = [
            Answer(value, why.get(i, NO_TEXT) if value is None else "")
            for i, value in enumerate(run.table[column].to_list())
        ]
    return found


def _score(
    check: Check,
    suite: Suite,
    operator: Operator,
    answers: Sequence[Answer],
    purse: Purse,
    whole: bool,
) -> list[RowScore]:
    request = operator.ask("x", "")
    texts = suite.table.select(operator.exprs(suite.table.schema)[0].alias("t"))["t"]
    rows = suite.table.to_dicts()
    there = [i for i, answer in enumerate(answers) if not answer.missing]
    cases = [Case(rows[i], answers[i].value, request.system, texts[i] or "") for i in there]
    try:
        found = dict(zip(there, check.scores(cases, purse), strict=True))
    except BudgetReached:
        if whole:
            raise
        return [RowScore(None, False, UNREACHED) for _ in rows]
    return [_row(check, found.get(i), answers[i], rows[i]) for i in range(len(rows))]


def _row(check: Check, score: Score | None, answer: Answer, row: dict[str, Any]) -> RowScore:
    if score is None:
        labelled = not check.labelled or bool(check.field) or row.get(check.expected) is not None
        value = 0.0 if labelled else None
        return RowScore(value, False, f"unanswered: {answer.missing}")
    passed = score.value is not None and score.value >= check.pass_at - EPSILON
    return RowScore(score.value, passed, score.reason)


def _result(check: Check, model: str, rows: Sequence[RowResult], free: bool) -> CheckResult:
    pairs = [(row, row.scores[check.name]) for row in rows]
    counted = [(row, s) for row, s in pairs if s.score is not None]
    clusters = [row.cluster for row, _ in counted] if any(r.cluster for r in rows) else None
    score = mean_interval([s.score or 0.0 for _, s in counted], clusters)
    passed = sum(s.passed for _, s in counted)
    needs, ok = [], score is not None
    if check.threshold is not None:
        needs.append(f"mean ≥ {check.threshold:g}")
        ok = ok and score is not None and score.mean >= check.threshold - EPSILON
    if check.floor is not None:
        needs.append(f"surely not < {check.floor:g}")
        ok = ok and score is not None and score.high >= check.floor
    if not needs and not free:
        needs.append("every row")
        ok = ok and passed == len(counted)
    return CheckResult(
        check=check.name,
        kind=check.kind,
        model=model,
        score=score,
        rows=len(counted),
        passed=passed,
        unanswered=sum(bool(row.unanswered) for row, _ in counted),
        unlabelled=len(pairs) - len(counted),
        needs=", ".join(needs) or "no regression",
        ok=ok,
    )


def _shell(suite: Suite, operator: Operator) -> list[dict[str, Any]]:
    """What a row's results have in common over models. The key holds all of the row, so that a row
    whose label was mended is another row; equal rows are numbered."""
    reads = sorted(operator.reads(suite.table.schema))
    labels = sorted({check.expected for check in suite.checks if check.expected})
    seen: Counter[str] = Counter()
    found = []
    for i, row in enumerate(suite.table.to_dicts()):
        content = msgspec.json.encode(row, order="sorted")
        digest = blake2b(content, digest_size=8).hexdigest()
        seen[digest] += 1
        found.append(
            {
                "row": suite.places[i] if suite.places else i,
                "id": as_text(row[suite.id]) if suite.id else "",
                "key": digest if seen[digest] == 1 else f"{digest}-{seen[digest]}",
                "input": {name: msgspec.to_builtins(row[name]) for name in reads},
                "expected": {name: msgspec.to_builtins(row[name]) for name in labels},
                "cluster": as_text(row[suite.cluster]) if suite.cluster else "",
            }
        )
    return found


def _prompt(suite: Suite, prompt: Prompt | str | None, session: Session) -> str | None:
    """The version to test: the one asked for, the file's own, or the stored one it names."""
    if isinstance(prompt, Prompt):
        return prompt
    wanted = prompt or suite.maker.wanted
    return stored(wanted, session=session) if wanted else suite.maker.prompt


def _baseline(
    against: str | os.PathLike[str] | Report, prompt: str | None, session: Session
) -> Prompt | tuple[str, Report]:
    """A version to run, or a report with its name: found before anything is spent."""
    if isinstance(against, Report):
        return against.name, against
    if str(against) != PROMOTED:
        return os.path.basename(against), load_report(against)
    if not isinstance(prompt, Prompt):
        raise GoldenError(
            "The prompt of this golden set has no name, so that no version of it is promoted.",
            hint='Write prompt = { name = "reply", text = "…" }, or compare with a saved report: '
            "--against report.json.",
        )
    prompt.save(session)  # so that the error, where none is promoted, can say how to
    return stored(prompt.name, session=session)
