"""Side by side: several operators over the same rows in one run, and what each of them took."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import polars as pl

from swath.errors import BudgetReached
from swath.evals.comparison import BY_MODEL
from swath.frames import Frame
from swath.frames.result import FrameRun
from swath.messages import Request
from swath.operators.base import Operator

if TYPE_CHECKING:
    from swath.engine.engine import Engine
    from swath.session import Session

READABLE = frozenset({"ok", "invalid", "ungrounded", "truncated"})
"""How a call ends in which the model did say something that could be held against the shape."""


class Purse:
    """What is left of `max_cost` over several runs that are one to the user."""

    def __init__(self, max_cost: float | None) -> None:
        self.max_cost = max_cost
        self.spent = 0.0

    @property
    def left(self) -> float | None:
        return None if self.max_cost is None else max(self.max_cost - self.spent, 0.0)

    def run(self, frame: Frame, **settings: Any) -> FrameRun:
        """Run within what is left. BudgetReached speaks of the whole."""
        try:
            run = frame.run(max_cost=self.left, **settings)
        except BudgetReached as stop:
            if self.max_cost is None or not self.spent:
                raise
            spent = self.spent + stop.spent
            raise BudgetReached(
                f"The budget of ${self.max_cost:.4f} is reached: ${spent:.4f} is spent.",
                budget=self.max_cost,
                spent=spent,
                run=stop.run,
            ) from None
        self.spent += run.metrics.cost_usd
        return run


def column_names(base: str, names: Iterable[str], taken: Iterable[str]) -> dict[str, str]:
    """A column for each name, `base_name`; numbered where the table has one of that name."""
    used, out = set(taken), {}
    for name in names:
        plain = f"{base}_{name}".replace(" ", "_").replace("=", "_")
        column, number = plain, 2
        while column in used:
            column, number = f"{plain}_{number}", number + 1
        used.add(column)
        out[name] = column
    return out


@dataclass(frozen=True)
class Contest:
    """`table` is the rows with a column for each operator; `errors.row` is a place in it.

    `by_name` has BY_MODEL's columns."""

    run: FrameRun
    table: pl.DataFrame
    errors: pl.DataFrame
    by_name: pl.DataFrame


def contest(
    rows: pl.DataFrame,
    operators: Mapping[str, Operator],
    columns: Mapping[str, str],
    purse: Purse,
    session: Session,
    **settings: Any,
) -> Contest:
    """Every operator over all `rows`, in one run of the session."""
    asked: dict[str, Any] = {columns[name]: operator for name, operator in operators.items()}
    frame = Frame.with_columns(_frame(rows), **asked)
    run = purse.run(frame, session=session, **settings)
    by_name = session.call(_took(session, rows, run, operators, columns))
    return Contest(run, run.table, run.errors, by_name)


def _frame(rows: pl.DataFrame) -> Frame:
    from swath.frames.readers import frame

    return frame(rows)


# -- what each took, from the ledger


async def _took(
    session: Session,
    rows: pl.DataFrame,
    run: FrameRun,
    operators: Mapping[str, Operator],
    columns: Mapping[str, str],
) -> pl.DataFrame:
    engine, default = session.engine, session.models.default
    lines = []
    for name, operator in operators.items():
        requests = operator.requests(rows, default)
        distinct = list({id(r): r for r in requests if r is not None}.values())
        errors = run.errors.filter(pl.col("column") == columns[name])
        line = _line(engine, distinct, run.id, columns[name])
        asked = len(requests) - requests.count(None)
        failed = errors["row"].n_unique()
        lines.append({"model": name, "rows": asked, "ok": asked - failed, "failed": failed, **line})
    return pl.DataFrame(lines, schema=BY_MODEL)


def _line(engine: Engine, requests: Sequence[Request], run: str, label: str) -> dict[str, Any]:
    """Calls, dollars, times and tokens of these questions: of this run where it asked, else of
    the call that bought the stored answer, else what the stored answer itself remembers."""
    keys = [engine.hash(request).hex() for request in requests]
    stored = dict(zip(keys, engine.lookup(requests), strict=True))
    now = _select(engine, "run = ? AND label = ? AND NOT cached", [run, label])
    answered = {row["hash"] for row in now}
    earlier: dict[str, dict[str, Any]] = {}
    missing = [key for key in keys if key not in answered]
    for at in range(0, len(missing), 500):
        part = missing[at : at + 500]
        marks = ", ".join("?" * len(part))
        for row in _select(engine, f"status = 'ok' AND NOT cached AND hash IN ({marks})", part):
            earlier[row["hash"]] = row  # in order of time: the newest stays
    calls = [*now, *earlier.values()]
    bare = [
        reply for key in missing if key not in earlier and (reply := stored.get(key)) is not None
    ]
    table = pl.DataFrame(calls, schema=_CALL, orient="row", strict=False)
    questions = len(answered) + len(earlier) + len(bare)
    cost = float(table["cost_usd"].sum()) + sum(reply.cost_usd for reply in bare)
    shaped = any(request.schema is not None or request.choices for request in requests)
    return {
        "calls": len(calls) + len(bare),
        "cached": sum(1 for key in missing if stored.get(key) is not None),
        "cost_usd": cost,
        "cost_per_row_usd": cost / questions if questions else None,
        "latency_p50_ms": table["provider_ms"].quantile(0.5, "linear"),
        "latency_p95_ms": table["provider_ms"].quantile(0.95, "linear"),
        "ttft_p50_ms": table.filter(pl.col("ttft_ms") > 0)["ttft_ms"].quantile(0.5, "linear"),
        "input_tokens": int(table["input_tokens"].sum())
        + sum(reply.usage.input_tokens for reply in bare),
        "output_tokens": int(table["output_tokens"].sum())
        + sum(reply.usage.output_tokens for reply in bare),
        "schema_valid": _valid(calls) if shaped else None,
    }


def _valid(calls: Sequence[Mapping[str, Any]]) -> float | None:
    """The share of first answers that were taken, of those in which the model itself spoke."""
    said = [c for c in calls if c["status"] in READABLE and c["model"] == c["wanted"]]
    valid = sum(call["status"] == "ok" and not call["repaired"] for call in said)
    return valid / len(said) if said else None


_CALL = pl.Schema(
    {
        "hash": pl.String(),
        "status": pl.String(),
        "model": pl.String(),
        "wanted": pl.String(),
        "cost_usd": pl.Float64(),
        "provider_ms": pl.Float64(),
        "ttft_ms": pl.Float64(),
        "input_tokens": pl.Int64(),
        "output_tokens": pl.Int64(),
        "repaired": pl.Boolean(),
    }
)


def _select(engine: Engine, where: str, parameters: Sequence[Any]) -> list[dict[str, Any]]:
    columns = ", ".join(_CALL)
    sql = f"SELECT {columns} FROM calls WHERE {where} ORDER BY at"
    return engine.store.query(sql, parameters)
