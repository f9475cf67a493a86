"""A report as text: one line a check, the rows that failed by name, and what it comes to."""

from __future__ import annotations

from collections.abc import Sequence

from swath.evals.golden.paired import Interval
from swath.evals.golden.report import CheckResult, Regression, Report
from swath.evals.golden.values import short
from swath.frames.explanation import dollars

NAMED = 5  # rows in the text; all are in the JSON
LONGEST = 160  # characters of a row's line


def shown(report: Report) -> str:
    rows = len({row.row for row in report.rows})
    tested = f", {report.prompt.name}@{report.prompt.version}" if report.prompt else ""
    parts = [
        f"{report.name}: {rows:,} rows, {', '.join(report.models)}{tested}",
        _table([_line(result, _state(report, result)) for result in report.checks]),
        *(_unanswered(report, model) for model in report.models),
        *(_failed(report, result) for result in report.checks),
    ]
    if report.regressions:
        parts.append("\n".join(r.sentence for r in report.regressions))
    m = report.metrics
    parts.append(
        f"{m.calls:,} calls, {m.cached:,} answers from the store. {dollars(m.cost_usd)}, "
        f"{m.seconds:.1f} s.\n{summary(report)}"
    )
    return "\n\n".join(part for part in parts if part)


def summary(report: Report) -> str:
    """The last line: PASSED, FAILED or REGRESSED, and which checks."""
    if report.status == "stopped":
        rows = len({row.row for row in report.rows})
        return f"STOPPED at the budget: {rows:,} rows are answered, which decides no check."
    failed = [f"{c.check} ({c.model})" for c in report.checks if not c.ok]
    worse = [f"{r.check} ({r.model})" for r in report.regressions if r.regressed]
    said = []
    if failed:
        said.append(
            f"FAILED: {len(failed)} of {len(report.checks)} checks do not reach what they need: "
            f"{', '.join(failed)}."
        )
    if worse:
        against = next(r.against for r in report.regressions if r.regressed)
        said.append(f"REGRESSED: worse than {against}: {', '.join(worse)}.")
    if said:
        return " ".join(said)
    return f"PASSED: all {len(report.checks)} checks." if len(report.checks) > 1 else "PASSED."


def check_text(report: Report, result: CheckResult) -> str:
    """One check in full: for a test's failure."""
    parts = [_table([_line(result, _state(report, result))])]
    if result.passed < result.rows:
        parts += [_unanswered(report, result.model), _failed(report, result)]
    return "\n".join(part for part in parts if part)


def interval(value: Interval | None) -> str:
    if value is None:
        return "no label"
    return f"{value.mean:.2f} ({value.low:.2f} to {value.high:.2f})"


def sentence(r: Regression) -> str:
    """A regression in words."""
    change = f"{r.now:.2f}, was {r.before:.2f} with {r.against}"
    span = f"{r.difference.mean:+.2f} ({r.difference.low:+.2f} to {r.difference.high:+.2f})"
    flips = f"{len(r.improved)} better, {len(r.worsened)} worse of {r.rows:,} rows"
    if r.regressed:
        verdict = f"REGRESSED: not noise (p {r.p:.2g})"
    elif r.difference.low > 0:
        verdict = "better"
    elif r.difference.mean:
        verdict = "no loss that can be told from noise"
    else:
        verdict = "no change"
    return f"{r.check} ({r.model}): {change}: {span}; {flips}; {verdict}."


def _line(c: CheckResult, state: str) -> tuple[str, ...]:
    unanswered = f", {c.unanswered} unanswered" if c.unanswered else ""
    unlabelled = f", {c.unlabelled} without label" if c.unlabelled else ""
    return (
        state,
        c.check,
        c.model,
        interval(c.score),
        c.needs,
        f"{c.passed:,} of {c.rows:,} pass{unanswered}{unlabelled}",
    )


def _state(report: Report, result: CheckResult) -> str:
    return "–" if report.status == "stopped" else "ok" if result.ok else "FAIL"


def _failed(report: Report, result: CheckResult) -> str:
    rows = [r for r in report.failures(result.check, result.model) if not r.unanswered]
    lines = [f"{row.title}: {row.scores[result.check].reason}" for row in rows]
    return _listed(f"{result.check} ({result.model}) failed in:", lines)


def _unanswered(report: Report, model: str) -> str:
    rows = [row for row in report.rows if row.model == model and row.unanswered]
    lines = [f"{row.title}: {row.unanswered}" for row in rows]
    return _listed(f"{len(rows):,} rows without an answer ({model}), which score 0:", lines)


def _listed(title: str, lines: Sequence[str]) -> str:
    if not lines:
        return ""
    shown = [f"  {short(line, LONGEST)}" for line in lines[:NAMED]]
    rest = [f"  and {len(lines) - NAMED:,} more"] if len(lines) > NAMED else []
    return "\n".join([title, *shown, *rest])


def _table(rows: Sequence[tuple[str, ...]]) -> str:
    table = [("", "check", "model", "mean", "needs", "rows"), *rows]
    widths = [max(len(row[i]) for row in table) for i in range(len(table[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in table
    )
