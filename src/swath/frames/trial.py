"""`try_rows`: a few rows for real, and what all of them would take, with a range."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from html import escape
from typing import TYPE_CHECKING, Any

import polars as pl

from swath.engine.run import Metrics
from swath.errors import InputError
from swath.frames.estimate import explain
from swath.frames.explanation import amount, dollars, duration
from swath.frames.flows import reading_error
from swath.frames.optimize import optimize
from swath.frames.plan import Plan, Source, Step, Whole
from swath.frames.result import FrameRun, Settings, check_models, launch, model_cost
from swath.frames.survey import survey
from swath.messages import Completion

if TYPE_CHECKING:
    from swath.session import Session


@dataclass(frozen=True)
class Range:
    """An estimate with a 90% interval."""

    low: float
    estimate: float
    high: float

    def text(self, how: Callable[[float], str]) -> str:
        low, middle, high = how(self.low), how(self.estimate), how(self.high)
        return middle if low == high else f"{middle} ({low} to {high})"


@dataclass(frozen=True)
class Trial:
    """`table` and `errors` of the tried rows (`row` counts within them). `rows` of the whole
    source would take `calls`, `input_tokens`, `output_tokens`, `cost_usd`, `minutes`: all that the
    plan asks, those of the tried rows included."""

    run: FrameRun
    tried: int
    rows: int
    calls: Range
    input_tokens: Range
    output_tokens: Range
    cost_usd: Range
    minutes: Range

    @property
    def table(self) -> pl.DataFrame:
        return self.run.table

    @property
    def errors(self) -> pl.DataFrame:
        return self.run.errors

    @property
    def metrics(self) -> Metrics:
        return self.run.metrics

    def __str__(self) -> str:
        metrics = self.metrics
        return (
            f"{self.table}\n"
            f"Tried {self.tried:,} of {self.rows:,} rows: {metrics.calls:,} calls, "
            f"{metrics.cached:,} answers from the store, {dollars(metrics.cost_usd)}, "
            f"{metrics.failed:,} rows failed.\n"
            f"All rows (90% range): {self.calls.text(lambda v: f'{v:,.0f}')} calls, "
            f"{self.input_tokens.text(amount)} tokens in, "
            f"{self.output_tokens.text(amount)} out, {self.cost_usd.text(dollars)}, "
            f"{self.minutes.text(lambda v: duration(60 * v))}."
        )

    __repr__ = __str__

    def _repr_html_(self) -> str:
        told = str(self).removeprefix(str(self.table)).strip()
        return f"{self.table._repr_html_()}<p><small>{escape(told)}</small></p>"


def try_rows(
    plan: Plan,
    n: int,
    *,
    session: Session | None = None,
    rules: Mapping[str, bool] | None = None,
    max_cost: float | None = None,
    progress: Any = None,
    name: str = "try",
) -> Trial:
    from swath.session import current

    if n < 1:
        raise InputError("try_rows needs at least one row.", hint="For example try_rows(10).")
    session = session or current()
    check_models(plan, session)
    whole, _ = optimize(plan, rules, model_cost(session))
    before = explain(plan, rules=rules, session=session)
    table, rest = _source_part(whole)
    try:
        found = survey(table, whole, n)
    except (pl.exceptions.PolarsError, OSError, UnicodeError) as error:
        raise reading_error(error, whole) from None
    sample = found.sample.head(n)
    rows = found.rows or sample.height
    source = Source(sample.lazy(), f"{sample.height} rows of {plan.source.name}", sample.height)
    tally = _Tally(session, sample.height)
    settings = Settings(name, max_cost, progress, rules, session, tally.add)
    run = launch(replace(whole, source=source, nodes=rest), settings)
    calls, tokens_in, tokens_out, cost = (tally.whole(i, rows) for i in range(4))
    if any(isinstance(node, Whole) for node in whole.nodes):
        # A few rows tell nothing of what looks at all of them: the plan's estimate must do.
        calls, tokens_in, tokens_out, cost = (
            Range(value, value, value)
            for value in (
                float(before.calls),
                float(before.input_tokens),
                float(before.output_tokens),
                before.cost_usd,
            )
        )
    # Time is the plan's estimate, corrected by how many calls the rows did need.
    pace = before.minutes / before.calls if before.calls else 0.0
    minutes = Range(calls.low * pace, calls.estimate * pace, calls.high * pace)
    return Trial(run, sample.height, rows, calls, tokens_in, tokens_out, cost, minutes)


def _source_part(plan: Plan) -> tuple[pl.LazyFrame, tuple[Any, ...]]:
    """The rows that reach the first model, and the nodes from there on."""
    table = plan.source.table
    for i, node in enumerate(plan.nodes):
        if not isinstance(node, Step) or node.others:
            return table, plan.nodes[i:]
        table = node.apply(table, [])
    return table, ()


class _Tally:
    """What each row took: calls, tokens in, tokens out, dollars. A stored answer counts as what
    it did cost, a question shared by rows for the first of them."""

    def __init__(self, session: Session, rows: int) -> None:
        self._session = session
        self._rows = rows
        self._of: dict[int, list[float]] = {}

    def add(self, ids: pl.Series, rows: list[int], completion: Completion) -> None:
        row = self._of.setdefault(ids[rows[0]], [0.0] * 4)
        usage = completion.usage
        cost = completion.cost_usd
        if completion.cached:
            price = self._session.models[completion.model].price if completion.model else None
            cost = price.cost(usage) if price else usage.cost_usd or 0.0
        for i, value in enumerate((1.0, usage.input_tokens, usage.output_tokens, cost)):
            row[i] += value

    def whole(self, i: int, rows: int) -> Range:
        """The total over `rows` rows of which these are a sample without replacement."""
        n = self._rows
        values = [row[i] for row in self._of.values()] + [0.0] * (n - len(self._of))
        if not n:
            return Range(0.0, 0.0, 0.0)
        seen = sum(values)
        mean = seen / n
        estimate = mean * rows
        if n >= rows:
            return Range(seen, seen, seen)
        if n == 1:
            return Range(seen, estimate, 2 * estimate)  # one row tells nothing of the spread
        variance = sum((v - mean) ** 2 for v in values) / (n - 1)
        error = student(n - 1) * (variance / n * (1 - n / rows)) ** 0.5 * rows
        return Range(max(estimate - error, seen), estimate, estimate + error)


def student(freedom: int) -> float:
    """The 95% quantile of Student's t (Cornish-Fisher expansion; within 1% from 4 degrees on)."""
    z = 1.6448536269514722
    first = (z**3 + z) / 4
    second = (5 * z**5 + 16 * z**3 + 3 * z) / 96
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return z + first / freedom + second / freedom**2 + third / freedom**3
