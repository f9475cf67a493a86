"""`FrameRun`: what a run gave, and how a run is carried out from the caller's thread."""

from __future__ import annotations

import asyncio
import concurrent.futures
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import polars as pl

from swath import waiting
from swath.engine.run import Metrics, ModelMetrics, Run
from swath.errors import BudgetReached, Interrupted, SwathError
from swath.frames import selectivity
from swath.frames.flows import plain, reading_error
from swath.frames.optimize import Done, optimize
from swath.frames.plan import Plan, Step
from swath.frames.progress import Progress, wanted
from swath.frames.run_local import Execution, Failure, Trace
from swath.frames.spool import Spool
from swath.frames.survey import count
from swath.operators.asking import Stopped
from swath.operators.base import Operator
from swath.operators.table import TableOperator
from swath.prompting.history import record

if TYPE_CHECKING:
    from swath.session import Session

ERRORS = pl.Schema(
    {
        "row": pl.Int64(),
        "column": pl.String(),
        "model": pl.String(),
        "kind": pl.String(),
        "reason": pl.String(),
    }
)
GRACE = 2.0  # seconds that calls under way are given after Ctrl-C: they are paid for

Sink = Callable[[Spool], pl.DataFrame | Callable[[], pl.DataFrame]]
"""What becomes of the rows: the table itself, or how to read it back from where it was written."""


@dataclass
class FrameRun:
    """A run, whole or stopped early.

    `errors` has a line per cell that failed: `row` (0-based, in the source; in the table after the
    last join or group_by where there is one), `column`, `model`, `kind`, `reason`. `status` is
    done, budget, interrupted or failed. `notes` says what was done differently from what was
    asked, and how often.
    """

    id: str
    status: str
    metrics: Metrics
    errors: pl.DataFrame
    by_model: dict[str, ModelMetrics]
    notes: dict[str, int]
    rules: list[Done]
    _table: pl.DataFrame | Callable[[], pl.DataFrame] = field(repr=False)

    @property
    def table(self) -> pl.DataFrame:
        """The rows; read back from the file where a `write_…` wrote them."""
        if not isinstance(self._table, pl.DataFrame):
            self._table = self._table()
        return self._table

    def __repr__(self) -> str:
        m = self.metrics
        fullest = f", fullest call {m.window_share:.0%} of its window" if m.window_share else ""
        return (
            f"FrameRun({self.status}: {m.rows:,} rows, {m.failed:,} failed, {m.calls:,} calls, "
            f"{m.cached:,} from the store, {m.input_tokens:,} tokens in, {m.output_tokens:,} out, "
            f"${m.cost_usd:.4f}, {m.seconds:.1f} s{fullest})"
        )

    def _repr_html_(self) -> str:
        html = self.table._repr_html_()
        return f"<p><small>{repr(self)[9:-1]}</small></p>{html}"


@dataclass(frozen=True)
class Settings:
    """How to run: see `Frame.run`."""

    name: str = "frame"
    max_cost: float | None = None
    progress: Any = None
    rules: Mapping[str, bool] | None = None
    session: Session | None = None
    trace: Trace | None = None


def collected(spool: Spool) -> pl.DataFrame:
    return spool.table()


def launch(plan: Plan, settings: Settings, sink: Sink = collected) -> FrameRun:
    """Run `plan` on the session's loop and wait.

    Raises BudgetReached, Interrupted, or the error that stopped the run, each with `run`: the rows
    that were complete. Models that do not exist or have no key are found before anything is spent.
    """
    if not plan.asks:
        return _plain(plan, settings, sink)
    from swath.session import current

    session = settings.session or current()
    check_models(plan, session)
    optimized, rules = optimize(plan, settings.rules, model_cost(session))
    run = Run(settings.name, max_cost=settings.max_cost)
    show, end_show = wanted(settings.progress)
    progress = Progress(run, expected=_expected(optimized) if show else None, on_show=show)
    execution = Execution(
        session.engine, session.models, session.models.default, run, progress, settings.trace
    )

    async def journey() -> FrameRun:
        status = "failed"
        session.engine.begin(run)
        try:
            record(session.engine.store, run.id, plan.operators())
            ready, did = await _reordered(execution, session, plan, optimized, settings, rules)
            spool = await execution.collect(ready)
            await execution.settle()
            stopped = execution.stopped
            status = _status(stopped)
            finish = collected if stopped is not None else sink
            table = await asyncio.to_thread(finish, spool)
            return _result(execution, status, did, table)
        except asyncio.CancelledError:
            execution.cancel()
            raise
        finally:
            await execution.settle()
            execution.close()
            session.engine.end(run, status)
            progress.show(last=True)

    future = session.submit(journey())
    try:
        result = _wait(future, session, execution)
    finally:
        end_show()
    stopped = execution.stopped
    if stopped is None:
        return result
    if isinstance(stopped, Interrupted):
        metrics = result.metrics
        raise Interrupted(
            f"Stopped: {metrics.rows:,} rows are done ({metrics.calls:,} calls, "
            f"${metrics.cost_usd:.4f}).",
            run=result,
        ) from None
    if isinstance(stopped, SwathError):
        stopped.run = result
    raise stopped


async def _reordered(
    execution: Execution,
    session: Session,
    plan: Plan,
    optimized: Plan,
    settings: Settings,
    rules: list[Done],
) -> tuple[Plan, list[Done]]:
    """The plan with its conditions in the order that a sample of the rows recommends."""
    if not (settings.rules or {}).get("order", True):
        return optimized, rules
    try:
        passing = await selectivity.measured(execution, optimized)
    except (Stopped, pl.exceptions.PolarsError, OSError, UnicodeError):
        return optimized, rules  # the run itself says what is wrong
    if not passing:
        return optimized, rules
    return optimize(plan, settings.rules, model_cost(session), passing.get)


def _plain(plan: Plan, settings: Settings, sink: Sink) -> FrameRun:
    """A plan that asks no model needs no session, and leaves no run behind."""
    optimize(plan, settings.rules)  # for the names of the rules alone: Polars has its own
    run = Run(settings.name)
    try:
        table = sink(Spool.of(plain(plan), plan.schema))
    except (pl.exceptions.PolarsError, OSError, UnicodeError) as error:
        raise reading_error(error, plan) from None
    metrics = run.finish()
    metrics.rows = metrics.ok = _height(table)
    return FrameRun(run.id, "done", metrics, error_table([]), {}, {}, [], table)


def _wait(
    future: concurrent.futures.Future[FrameRun], session: Session, execution: Execution
) -> FrameRun:
    """The result; Ctrl-C lets calls under way land, a second one or a while without end them."""
    try:
        return waiting.result(future)
    except KeyboardInterrupt:
        pass

    async def tell(what: Callable[[], None]) -> None:
        what()

    why = Interrupted("Stopped.")
    session.submit(tell(lambda: execution.stop(why)))
    try:
        return waiting.result(future, GRACE)
    except (KeyboardInterrupt, concurrent.futures.TimeoutError):
        session.submit(tell(execution.cancel))
        return waiting.result(future, 60)


def _status(stopped: Exception | None) -> str:
    if stopped is None:
        return "done"
    if isinstance(stopped, BudgetReached):
        return "budget"
    return "interrupted" if isinstance(stopped, Interrupted) else "failed"


def _result(
    execution: Execution,
    status: str,
    rules: list[Done],
    table: pl.DataFrame | Callable[[], pl.DataFrame],
) -> FrameRun:
    run = execution.run
    errors = error_table(execution.failures)
    metrics = run.finish()
    entry = execution.progress.entry
    metrics.rows = entry.completed if entry else _height(table)
    metrics.failed = errors["row"].n_unique()
    metrics.ok = max(metrics.rows - metrics.failed, 0)
    return FrameRun(run.id, status, metrics, errors, run.by_model, run.notes, rules, table)


def _height(table: pl.DataFrame | Callable[[], pl.DataFrame]) -> int:
    return table.height if isinstance(table, pl.DataFrame) else 0


def error_table(failures: list[Failure]) -> pl.DataFrame:
    return pl.DataFrame(failures, schema=ERRORS, orient="row").sort(
        "row", "column", maintain_order=True
    )


def check_models(plan: Plan, session: Session) -> None:
    """Raises UnknownModel or KeyMissing for any alias that the plan names."""
    for _, operator in plan.operators():
        for alias in aliases(operator, session.models.default):
            session.models[alias]


def aliases(operator: Operator | TableOperator, default: str) -> tuple[str, ...]:
    """Those that can be told without looking at rows."""
    first = operator.model if isinstance(operator.model, str) else None
    if operator.model is None:
        first = default
    more = operator.others_asked if isinstance(operator, TableOperator) else ()
    return (*([first] if first else []), *operator.fallback, *more)


def model_cost(session: Session) -> Callable[[Operator], float]:
    """Dollars of a question about a text of 1,000 characters; a free model counts as very cheap,
    so that the length of the question decides among free ones."""

    def cost(operator: Operator) -> float:
        names = aliases(operator, session.models.default)
        model = session.models[names[0]] if names else None
        size = 1000 + sum(len(m.content) for m in operator.ask("", "").messages)
        price = 1e-6 if model is None or model.price is None else max(model.price.input, 1e-6)
        return size * price

    return cost


def _expected(plan: Plan) -> int | None:
    """Rows that will reach the first model, for a bar; None where that takes long to tell."""
    table = plan.source.table
    for node in plan.nodes:
        if not isinstance(node, Step) or node.others:
            break
        table = node.apply(table, [])
    try:
        return count(table, patience=1.0)
    except (pl.exceptions.PolarsError, OSError, UnicodeError):
        return None  # the run will say what is wrong


def warn_of_failures(run: FrameRun) -> None:
    """For `collect`, which has no other way to say it."""
    kinds = run.errors["kind"].value_counts(sort=True)
    told = ", ".join(f"{count} {kind}" for kind, count in kinds.iter_rows())
    warnings.warn(
        f"{run.errors.height} cells failed and are null ({told}); "
        ".run() in place of .collect() gives .errors, which names them.",
        stacklevel=3,
    )
