"""`explain`: what a plan would take, before anything is spent.

A sample of the source goes through the plan's own Polars steps, and each operator writes its real
questions for it: those are measured, looked up in the store, and scaled to all rows. What a model
would say is not known, so what depends on it rests on assumptions, and these are listed.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import polars as pl

from swath.engine.shape import Invalid
from swath.frames.flows import plain, reading_error
from swath.frames.load import (
    ModelLoad,
    OperatorCost,
    placeholder,
    price_sources,
    saved,
    seconds,
)
from swath.frames.measuring import measure
from swath.frames.optimize import Done, optimize
from swath.frames.packing import packs, question
from swath.frames.plan import ROW, Ask, Cache, Keep, Plan, Rows, Step, Udf, Whole, polars_error
from swath.frames.result import check_models, model_cost
from swath.frames.selectivity import LOOKED_AT, Sampled, stored
from swath.frames.survey import EXACT_ROWS, Survey, survey
from swath.messages import Completion, Request
from swath.operators.base import Operator

if TYPE_CHECKING:
    from swath.catalog.model import Model
    from swath.frames.explanation import Explanation
    from swath.session import Session

SAMPLE = 400  # rows of a large source that are looked at
HALF = 0.5


class Estimator:
    """Walks one optimized plan, and is the `Sizes` of its operators. Polars runs in the caller's
    thread, the engine on its loop."""

    def __init__(
        self,
        session: Session | None,
        passing: Mapping[Operator, float] | None = None,
        surveys: dict[Any, Survey] | None = None,
    ) -> None:
        self._session = session
        self._passing = passing or {}
        self._surveys = {} if surveys is None else surveys  # shared by walks over one source
        self.costs: list[OperatorCost] = []
        self.open: list[OperatorCost] = []  # those that a limit further on would stop
        self.lines: list[tuple[str, float | None, OperatorCost | None]] = []
        self.assumed: dict[str, None] = {}
        self.survey: Survey | None = None

    @property
    def session(self) -> Session:
        assert self._session is not None  # plans that ask no model have none
        return self._session

    @property
    def default(self) -> str:
        return self.session.models.default

    def model(self, alias: str) -> Model:
        return self.session.models[alias]

    def tokens(self, request: Request) -> float:
        return self.session.engine.estimate(request).input_tokens

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
        key = (id(plan.source), *map(str, nodes[:start]))
        try:
            found = self._surveys.get(key) or survey(table, plan, EXACT_ROWS)
            if found.rows is not None and found.rows > EXACT_ROWS and found.sample.height > SAMPLE:
                found = survey(table, plan, SAMPLE)
        except (pl.exceptions.PolarsError, OSError, UnicodeError) as error:
            raise reading_error(error, plan) from None
        self._surveys[key] = found
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
                what = operator.describe()
                line = f"keep {what}" if isinstance(node, Keep) else f"ask {name} = {what}"
                self.lines.append((line, rows, cost))
                if isinstance(node, Ask):
                    sample = sample.with_columns(column)
                    if not known:
                        said.add(name)
                    else:
                        said.discard(name)
                elif known and sample.height:
                    kept = sample.filter(column.fill_null(False))
                    passed, sample = kept.height / sample.height, kept
                elif operator in self._passing:
                    passed = self._passing[operator]
                    self.assumed[
                        f"{passed:.0%} of the rows pass {operator.describe()}, as in a sample"
                    ] = None
                else:
                    passed = HALF
                    self.assumed["half of the rows pass a condition that a model judges"] = None
            return sample, rows * passed
        if isinstance(node, Udf):
            cells = [placeholder(node.call.dtype, 100, i) for i in range(sample.height)]
            made = pl.Series(node.name, cells, dtype=node.call.dtype, strict=False)
            self.lines.append((str(node), rows, None))
            said.add(node.name)
            return sample.with_columns(made), rows
        if isinstance(node, Whole):
            return self._whole(node, sample, rows, said)
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

    def _whole(
        self, node: Whole, sample: pl.DataFrame, rows: float, said: set[str]
    ) -> tuple[pl.DataFrame, float]:
        others = [self.walk(other) for other in node.others]
        table = sample.with_row_index(ROW)
        cast = node.operator.forecast(self, table, rows, *others)
        self.assumed.update(dict.fromkeys(cast.assumed))
        found, measured = self.session.call(self._asked(node.name, cast.requests))
        asked = len(cast.requests)
        stored = sum(reply is not None for reply in found)
        loads: dict[str, ModelLoad] = {}
        for alias, calls in cast.calls.items():
            mean = measured.get(alias, ModelLoad(1.0))
            left = calls * (1 - stored / asked if asked else 1.0)
            loads[alias] = mean.scaled(left / (mean.calls or 1.0))
        self._unpriced(loads)
        total = sum(cast.calls.values())
        cost = OperatorCost(
            node.name,
            node.operator.describe(),
            ", ".join(cast.calls) or node.operator.model_name(self.session.models.default),
            rows,
            total,
            total * (stored / asked if asked else 0.0),
            loads,
        )
        self.costs.append(cost)
        self.open = []
        self.lines.append((str(node), rows, cost))
        said |= node.writes
        return self._placed(node, sample, cast.rows), cast.rows

    def _placed(self, node: Whole, sample: pl.DataFrame, rows: float) -> pl.DataFrame:
        """A table such as may come out of `node`, for what is asked of it next."""
        schema = node.after(sample.schema)
        height = sample.height
        if node.rows is not Rows.SAME:
            height = min(max(round(rows), 1), max(height, 1)) if rows else 0
        columns = []
        for name, dtype in schema.items():
            if name in sample.schema and sample.schema[name] == dtype and sample.height:
                columns.append(sample[name].gather([i % sample.height for i in range(height)]))
            else:
                cells = [placeholder(dtype, 100, i) for i in range(height)]
                columns.append(pl.Series(name, cells, dtype=dtype, strict=False))
        return pl.DataFrame(columns, schema=schema)

    def _ask(
        self, name: str, operator: Operator, sample: pl.DataFrame, rows: float
    ) -> tuple[pl.Series, OperatorCost, bool]:
        """The column for the sample, its cost for all rows, and whether all of it is stored."""
        default = self.session.models.default
        requests = operator.requests(sample, default)
        distinct = list({id(r): r for r in requests if r is not None}.values())
        found: list[Completion | None] = [None] * len(distinct)
        if operator.single:
            found = self.session.call(self._stored(distinct))
        scale = rows / sample.height if sample.height else 0.0
        values: dict[int, Any] = {}
        missing: list[Request] = []
        for request, reply in zip(distinct, found, strict=True):
            if reply is not None:
                with suppress(Invalid):
                    values[id(request)] = operator.value(reply)
                    continue
            missing.append(request)
        todo = [
            pair
            for request in self._packed(operator, missing)
            for pair in operator.questions(request, self)
        ]
        measured = self.session.call(measure(self.session.engine, name, todo))
        loads = {alias: load.scaled(scale) for alias, load in measured.items()}
        chars = self._output_chars(loads)
        for i, request in enumerate(distinct):
            if id(request) not in values:
                values[id(request)] = placeholder(operator.dtype, chars, i)
        cells = [None if r is None else values[id(r)] for r in requests]
        named = dict.fromkeys([*loads, *(r.model for r in distinct)])
        models = ", ".join(named) or operator.model_name(default)
        self.assumed.update(dict.fromkeys(operator.assumed))
        self._unpriced(loads)
        cost = OperatorCost(
            name,
            operator.describe(),
            models,
            rows,
            len(distinct) * scale,
            (len(distinct) - len(missing)) * scale,
            loads,
        )
        return operator.column(name, cells), cost, not missing

    @staticmethod
    def _packed(operator: Operator, requests: list[Request]) -> list[Request]:
        """What is put for these questions, where several rows go into one call."""
        if not operator.packed:
            return requests
        groups = packs(operator, requests)
        return [
            question(operator, [requests[place] for place in places])
            if len(places) > 1
            else requests[places[0]]
            for places in groups
        ]

    def _unpriced(self, loads: Mapping[str, ModelLoad]) -> None:
        for alias in loads:
            if self.session.models[alias].price is None:
                self.assumed[f"no price is known for '{alias}': it counts as 0"] = None

    async def _stored(self, requests: list[Request]) -> list[Completion | None]:
        return self.session.engine.lookup(requests)

    async def _asked(
        self, name: str, requests: list[Request]
    ) -> tuple[list[Completion | None], dict[str, ModelLoad]]:
        """What the store holds, and what the questions would take."""
        found = self.session.engine.lookup(requests)
        left = [r for r, reply in zip(requests, found, strict=True) if reply is None] or requests
        return found, await measure(self.session.engine, name, [(r, 1.0) for r in left])

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
    cost = model_cost(session) if session else None
    optimized, done = optimize(plan, rules, cost)
    passing = _passing(optimized, session) if session else {}
    if passing:
        optimized, done = optimize(plan, rules, cost, passing.get)
    surveys: dict[Any, Survey] = {}
    estimator = Estimator(session, passing, surveys)
    _, rows = estimator.walk(optimized)
    if session is not None:
        done = _with_savings(plan, rules, done, estimator, passing, surveys)
    assert estimator.survey is not None
    return Explanation(
        plan=optimized,
        rows=rows,
        lines=estimator.lines,
        costs=estimator.costs,
        rules=done,
        assumptions=list(estimator.assumed),
        seconds=seconds(estimator.costs, session) if session else 0.0,
        prices=price_sources(estimator.costs, session) if session else {},
    )


def _passing(plan: Plan, session: Session) -> dict[Operator, float]:
    """What stored answers tell of the plan's conditions."""
    sampled = Sampled(plan)
    if not sampled.useful:
        return {}

    async def look(table: pl.DataFrame) -> dict[Operator, float]:
        return stored(session.engine, sampled, table, session.models.default)

    try:
        table, _ = sampled.read(LOOKED_AT)
    except (pl.exceptions.PolarsError, OSError, UnicodeError):
        return {}  # the walk says what is wrong
    return session.call(look(table))


def _with_savings(
    plan: Plan,
    rules: Mapping[str, bool] | None,
    done: list[Done],
    estimator: Estimator,
    passing: Mapping[Operator, float],
    surveys: dict[Any, Survey],
) -> list[Done]:
    """Each rule that did something, with what the plan would take without it."""
    session = estimator.session
    told: dict[str, str] = {}
    for rule in dict.fromkeys(one.rule for one in done):
        without, _ = optimize(
            plan, {**(rules or {}), rule: False}, model_cost(session), passing.get
        )
        other = Estimator(session, passing, surveys)
        other.walk(without)
        told[rule] = saved(estimator.costs, other.costs, session)
    last = {one.rule: one for one in done}
    return [replace(one, saves=told[one.rule]) if one is last[one.rule] else one for one in done]
