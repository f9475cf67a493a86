"""`explain`: what a plan would take, before anything is spent.

A sample of the source goes through the plan's own Polars steps, and each operator writes its real
questions for it: those are measured, looked up in the store, and scaled to all rows. What a model
would say is not known, so what depends on it rests on assumptions, and these are listed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import polars as pl

from swath.engine.shape import Invalid
from swath.frames.optimize import optimize
from swath.frames.plan import Ask, Cache, Keep, Plan, Step, polars_error
from swath.frames.result import check_models, model_cost
from swath.frames.run_local import plain, reading_error
from swath.frames.survey import EXACT_ROWS, Survey, survey
from swath.messages import Request
from swath.operators.base import Operator

if TYPE_CHECKING:
    from swath.frames.explanation import Explanation
    from swath.session import Session

SAMPLE = 400  # rows of a large source that are looked at
MEASURED = 200  # questions of an operator that are measured
HALF = 0.5


@dataclass
class ModelLoad:
    """What one model would be asked by one operator."""

    calls: float = 0.0
    input_tokens: float = 0.0
    output_tokens: float = 0.0
    cost_usd: float = 0.0
    seconds: float = 0.0  # of all calls, one after the other

    def scaled(self, by: float) -> ModelLoad:
        return ModelLoad(
            self.calls * by,
            self.input_tokens * by,
            self.output_tokens * by,
            self.cost_usd * by,
            self.seconds * by,
        )


@dataclass
class OperatorCost:
    """`rows` reach the operator and give `questions` distinct ones, of which `stored` are answered
    already; the rest are calls."""

    column: str
    operator: str
    model: str
    rows: float
    questions: float
    stored: float
    loads: dict[str, ModelLoad] = field(default_factory=dict)

    def _sum(self, name: str) -> float:
        return float(sum(getattr(load, name) for load in self.loads.values()))

    @property
    def calls(self) -> float:
        return self._sum("calls")

    @property
    def input_tokens(self) -> float:
        return self._sum("input_tokens")

    @property
    def output_tokens(self) -> float:
        return self._sum("output_tokens")

    @property
    def cost_usd(self) -> float:
        return self._sum("cost_usd")

    def scale(self, by: float) -> None:
        self.rows *= by
        self.questions *= by
        self.stored *= by
        self.loads = {model: load.scaled(by) for model, load in self.loads.items()}


class Estimator:
    """Walks one optimized plan. Polars runs in the caller's thread, the engine on its loop."""

    def __init__(self, session: Session | None) -> None:
        self._session = session
        self.costs: list[OperatorCost] = []
        self.open: list[OperatorCost] = []  # those that a limit further on would stop
        self.lines: list[tuple[str, float | None, OperatorCost | None]] = []
        self.assumed: dict[str, None] = {}
        self.survey: Survey | None = None

    @property
    def session(self) -> Session:
        assert self._session is not None  # plans that ask no model have none
        return self._session

    def walk(self, plan: Plan) -> tuple[pl.DataFrame, float]:
        """The sample at the plan's end, and how many rows it stands for."""
        table = plan.source.table
        nodes = list(plan.nodes)
        start = 0
        for start, node in enumerate([*nodes, None]):  # noqa: B007
            if isinstance(node, Cache) and node.slot.table is None:
                continue
            if not isinstance(node, Step) or any(other.asks for other in node.others):
                break
            table = node.apply(table, [], *map(plain, node.others))
        try:
            found = survey(table, plan, EXACT_ROWS)
            if found.rows is not None and found.rows > EXACT_ROWS:
                found = survey(table, plan, SAMPLE)
        except (pl.exceptions.PolarsError, OSError, UnicodeError) as error:
            raise reading_error(error, plan) from None
        self.survey = self.survey or found
        if found.rows is None:
            self.assumed["counting the rows took too long: these figures are for the sample"] = None
        elif not found.counted:
            self.assumed["rows are guessed from the file's size"] = None
        sample, rows = found.sample, float(found.rows or found.sample.height)
        self.lines.append((f"read {plan.source.name}", rows if start == 0 else None, None))
        for place, node in enumerate(nodes[:start], 1):
            self.lines.append((str(node), rows if place == start else None, None))
        said: set[str] = set()  # columns that rest on what a model will say
        for node in nodes[start:]:
            sample, rows = self._node(node, sample, rows, said)
        return sample, rows

    def _node(
        self, node: Any, sample: pl.DataFrame, rows: float, said: set[str]
    ) -> tuple[pl.DataFrame, float]:
        if isinstance(node, Cache):
            self.lines.append((str(node), rows, None))
            return sample, rows
        if isinstance(node, Ask | Keep):
            passed = 1.0
            for name, operator in node.columns:
                column, cost, known = self._ask(name, operator, sample, rows)
                self.costs.append(cost)
                self.open.append(cost)
                self.lines.append((_operator_line(node, name, operator), rows, cost))
                if isinstance(node, Ask):
                    sample = sample.with_columns(column)
                    if not known:
                        said.add(name)
                    else:
                        said.discard(name)
                elif known and sample.height:
                    kept = sample.filter(column.fill_null(False))
                    passed, sample = kept.height / sample.height, kept
                else:
                    passed = HALF
                    self.assumed["half of the rows pass a condition that a model judges"] = None
            return sample, rows * passed
        before = rows
        sample, rows = self._step(node, sample, rows, said)
        if node.span is not None and before > rows > 0:
            for cost in self.open:  # models before a limit stop when it is reached
                cost.scale(rows / before)
        elif not node.local:
            self.open = []
        self.lines.append((str(node), rows, None))
        return sample, rows

    def _step(
        self, step: Step, sample: pl.DataFrame, rows: float, said: set[str]
    ) -> tuple[pl.DataFrame, float]:
        if step.most is not None:
            offset = step.span[0] if step.span else 0
            return sample, max(min(rows - offset, step.most), 0)
        joined = [
            self.walk(other)[0].lazy() if other.asks else plain(other) for other in step.others
        ]
        tells = bool(step.reads & said)
        if step.mask is not None and tells:
            self.assumed["half of the rows pass a filter on what a model says"] = None
            return sample, rows * HALF
        try:
            after = step.apply(sample.lazy(), [], *joined).collect()
        except pl.exceptions.PolarsError as error:
            if not tells:
                raise polars_error(error, sample.schema, step.kind) from None
            after = pl.DataFrame(schema=step.after(sample.schema)).clear(sample.height)
        if tells:
            said |= set(after.columns) if step.projects else step.writes
        said &= set(after.columns)
        whole = sample.height == rows
        if step.kind == "group_by":
            if not whole:
                self.assumed["the sample shows all groups"] = None
            return after, float(after.height)
        if step.kind == "unique" and not whole:
            self.assumed["repeated rows are as frequent as in the sample"] = None
        return after, rows * (after.height / sample.height if sample.height else 1.0)

    def _ask(
        self, name: str, operator: Operator, sample: pl.DataFrame, rows: float
    ) -> tuple[pl.Series, OperatorCost, bool]:
        """The column for the sample, its cost for all rows, and whether all of it is stored."""
        default = self.session.models.default
        requests = operator.requests(sample, default)
        distinct = list({id(r): r for r in requests if r is not None}.values())
        found, measured = self.session.call(self._measure(name, distinct))
        scale = rows / sample.height if sample.height else 0.0
        values: dict[int, Any] = {}
        loads: dict[str, ModelLoad] = {}
        missing = 0
        for request, reply in zip(distinct, found, strict=True):
            if reply is not None:
                try:
                    values[id(request)] = operator.value(reply)
                    continue
                except Invalid:
                    pass
            missing += 1
            load = loads.setdefault(request.model, ModelLoad())
            load.calls += 1
        for model, load in loads.items():
            mean = measured.get(model, ModelLoad(1.0))
            loads[model] = mean.scaled(load.calls * scale / max(mean.calls, 1.0))
        chars = self._output_chars(loads)
        for i, request in enumerate(distinct):
            if id(request) not in values:
                values[id(request)] = placeholder(operator.dtype, chars, i)
        cells = [None if r is None else values[id(r)] for r in requests]
        models = ", ".join(dict.fromkeys(r.model for r in distinct)) or operator.model_name(default)
        for model in loads:
            if self.session.models[model].price is None:
                self.assumed[f"no price is known for '{model}': it counts as 0"] = None
        cost = OperatorCost(
            name,
            operator.describe(),
            models,
            rows,
            len(distinct) * scale,
            (len(distinct) - missing) * scale,
            loads,
        )
        return operator.column(name, cells), cost, not missing

    async def _measure(
        self, name: str, distinct: list[Request]
    ) -> tuple[list[Any], dict[str, ModelLoad]]:
        """What the store holds, and per model the sums over up to MEASURED questions."""
        engine = self.session.engine
        found = engine.lookup(distinct)
        asked = [r for r, reply in zip(distinct, found, strict=True) if reply is None] or distinct
        step = -(-len(asked) // MEASURED) if asked else 1
        sums: dict[str, ModelLoad] = {}
        for request in asked[::step]:
            one = engine.estimate(request, name)
            load = sums.setdefault(request.model, ModelLoad())
            load.calls += 1
            load.input_tokens += one.input_tokens
            load.output_tokens += one.output_tokens
            load.cost_usd += one.cost_usd
            load.seconds += one.seconds
            await asyncio.sleep(0)
        return found, sums

    @staticmethod
    def _output_chars(loads: Mapping[str, ModelLoad]) -> int:
        calls = sum(load.calls for load in loads.values())
        tokens = sum(load.output_tokens for load in loads.values())
        return max(int(4 * tokens / calls), 4) if calls else 100


def explain(
    plan: Plan, *, rules: Mapping[str, bool] | None = None, session: Session | None = None
) -> Explanation:
    """See `Frame.explain`."""
    from swath.frames.explanation import Explanation
    from swath.session import current

    if session is None and plan.asks:
        session = current()
    if session is not None:
        check_models(plan, session)
    optimized, done = optimize(plan, rules, model_cost(session) if session else None)
    estimator = Estimator(session)
    _, rows = estimator.walk(optimized)
    assert estimator.survey is not None
    return Explanation(
        plan=optimized,
        rows=rows,
        lines=estimator.lines,
        costs=estimator.costs,
        rules=done,
        assumptions=list(estimator.assumed),
        seconds=seconds(estimator.costs, session) if session else 0.0,
        prices=_prices(estimator.costs, session) if session else {},
    )


def seconds(costs: list[OperatorCost], session: Session) -> float:
    """Wall time: each model's calls at its width, or at its rate limits where those are slower;
    models work at the same time."""
    total: dict[tuple[str, str, str], float] = {}
    for cost in costs:
        for alias, load in cost.loads.items():
            model = session.models[alias]
            tokens = load.input_tokens + load.output_tokens
            paces = [load.seconds / max(min(model.concurrency, load.calls), 1)]
            for limit, used in (
                (model.rpm, load.calls),
                (model.tpm, tokens),
                (model.input_tpm, load.input_tokens),
                (model.output_tpm, load.output_tokens),
            ):
                if limit:
                    paces.append(60 * used / limit)
            total[model.account] = total.get(model.account, 0.0) + max(paces)
    return max(total.values(), default=0.0)


def _prices(costs: list[OperatorCost], session: Session) -> dict[str, str]:
    """Where each model's price comes from."""
    aliases = dict.fromkeys(alias for cost in costs for alias in cost.loads)
    return {alias: session.models[alias].price_source for alias in aliases}


def placeholder(dtype: Any, chars: int, number: int) -> Any:
    """A value such as a model might give, for what is asked of it next; texts differ by `number`,
    as answers to different questions do."""
    if isinstance(dtype, pl.Struct):
        each = max(chars // max(len(dtype.fields), 1), 4)
        return {f.name: placeholder(f.dtype, each, number) for f in dtype.fields}
    if isinstance(dtype, pl.List):
        return [placeholder(dtype.inner, max(chars // 2, 4), number)] * 2
    if dtype == pl.String:
        return f"{number} ".ljust(chars, "x")
    if dtype.is_temporal():
        return pl.Series([0]).cast(dtype)[0]
    return True if dtype == pl.Boolean else 1


def _operator_line(node: Ask | Keep, name: str, operator: Operator) -> str:
    what = operator.describe()
    return f"keep {what}" if isinstance(node, Keep) else f"ask {name} = {what}"
