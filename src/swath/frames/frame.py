"""`Frame`: a lazy, immutable table. Polars' methods, plus operators that are model calls."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import polars as pl

from swath.errors import InputError
from swath.frames import steps
from swath.frames.grouping import GroupBy
from swath.frames.output import Output
from swath.frames.plan import Ask, Cache, Keep, Node, Plan, Slot, Udf, Whole
from swath.frames.result import FrameRun, Settings, launch, warn_of_failures
from swath.frames.tables import Tables
from swath.frames.traits import expressions, named_expr, reads
from swath.operators.auto_routed import chosen
from swath.operators.base import Operator
from swath.operators.joining import semantic
from swath.operators.table import ColumnOperator, TableOperator
from swath.operators.udf import UdfCall

if TYPE_CHECKING:
    from swath.frames.explanation import Explanation
    from swath.frames.trial import Trial
    from swath.session import Session


class Frame(Output, Tables):
    """Nothing runs until it is asked for: `show`, `collect`, `run`, `write_…`. Each method gives a
    new frame; the source is never changed. A wrong column, type or schema is an error at once."""

    __slots__ = ("_plan",)

    def __init__(self, plan: Plan) -> None:
        self._plan = plan

    @property
    def plan(self) -> Plan:
        return self._plan

    @property
    def schema(self) -> pl.Schema:
        """Names and types, known before anything runs."""
        return self._plan.schema

    @property
    def columns(self) -> list[str]:
        return self.schema.names()

    # -- rows

    def filter(self, *conditions: Any, **equal: Any) -> Frame:
        """Rows for which every condition holds: Polars expressions, or `sw.predicate(…)`.

        A row whose condition is null, or whose call failed, is left out."""
        plan = self._plan
        for condition in conditions:
            if isinstance(condition, Operator):
                plan = plan.then(self._keep(plan, chosen(condition)))
            else:
                for mask in expressions([condition], "filter"):
                    plan = plan.then(steps.filter_(plan.schema, mask))
        for name, value in equal.items():
            plan = plan.then(steps.filter_(plan.schema, pl.col(name) == value))
        return Frame(plan)

    @staticmethod
    def _keep(plan: Plan, operator: Operator) -> Keep:
        if operator.dtype != pl.Boolean:
            raise InputError(
                f"{operator.describe()} gives {operator.dtype}, and a filter needs true or false.",
                hint="Use sw.predicate(…), or make a column and filter by it.",
            )
        taken = {name for name, _ in plan.operators()}
        name = "predicate"
        while name in taken or name in plan.schema:
            number = int(name.partition("_")[2] or 1) + 1
            name = f"predicate_{number}"
        return Keep(name, operator, steps.reads_of(plan.schema, operator))

    def sort(
        self, *by: Any, descending: bool | Sequence[bool] = False, nulls_last: bool = False
    ) -> Frame:
        """Rows in order; equal ones keep theirs."""
        return self.then(steps.sort(self.schema, by, descending, nulls_last))

    def limit(self, n: int = 10) -> Frame:
        """The first `n` rows. No model is asked about more than that needs."""
        return self.then(steps.limit(n))

    head = limit

    def slice(self, offset: int, length: int) -> Frame:
        return self.then(steps.limit(length, offset))

    def tail(self, n: int = 10) -> Frame:
        return self.then(steps.tail(n))

    def sample(
        self, n: int | None = None, *, fraction: float | None = None, seed: int = 0
    ) -> Frame:
        """`n` rows, or a share of them, in their order; the same rows for the same seed."""
        return self.then(steps.sample(n, fraction, seed))

    def unique(self, subset: Any = None, *, keep: str = "first") -> Frame:
        """One row for each distinct one, in order."""
        names = None if subset is None else [subset] if isinstance(subset, str) else list(subset)
        return self.then(steps.unique(self.schema, names, keep))

    def drop_nulls(self, *columns: Any) -> Frame:
        """Rows without a null in `columns` (in any, where none is named)."""
        names = steps.column_names(self.schema, columns) or self.columns
        return self.filter(pl.all_horizontal([pl.col(name).is_not_null() for name in names]))

    # -- columns

    def with_columns(self, *exprs: Any, **named: Any) -> Frame:
        """More columns: Polars expressions, and operators by name:

        .with_columns(triage=sw.extract("text", Triage), length=pl.col("text").str.len_chars())
        """
        for item in exprs:
            if isinstance(item, Operator | TableOperator):
                raise InputError(
                    f"{item.describe()} needs a name for its column.",
                    hint="Write .with_columns(name=…).",
                )
        plain = expressions(exprs, "with_columns")
        asked: list[tuple[str, Operator]] = []
        wholes: list[Whole] = []
        calls: list[Udf] = []
        for name, value in named.items():
            if isinstance(value, Operator):
                asked.append((name, chosen(value)))
            elif isinstance(value, UdfCall):
                calls.append(Udf(name, value, value.reads(self.schema)))
            elif isinstance(value, ColumnOperator):
                wholes.append(Whole.over(self.schema, name, value.named(name)))
            elif isinstance(value, TableOperator):
                raise InputError(
                    f"{value.describe()} gives no column.", hint="It is a method of the frame."
                )
            else:
                plain.append(named_expr(name, value))
        schema = self.schema
        if wholes or calls:
            return self._with_more([*calls, *wholes], named)
        step = steps.with_columns(schema, plain) if plain else None
        if not asked:
            return self.then(*([step] if step else []))
        read = frozenset[str]().union(*(steps.reads_of(schema, op) for _, op in asked))
        ask = Ask(tuple(asked), read)
        if step is None:
            return self.then(ask)
        order = list(dict.fromkeys([*schema.names(), *_in_order(step.after(schema), named, asked)]))
        # All see the table as it was: whichever overwrites what the other reads comes second.
        if not step.writes & (ask.reads | ask.writes):
            return Frame(self._plan.then(step, ask, order=order))
        if not ask.writes & (step.reads | step.writes):
            return Frame(self._plan.then(ask, step, order=order))
        raise InputError(
            "One with_columns both changes and reads "
            f"{', '.join(map(repr, sorted(step.writes & (ask.reads | ask.writes))))}.",
            hint="Write two calls of with_columns, in the order that is meant.",
        )

    def _with_more(self, nodes: list[Udf | Whole], named: Mapping[str, Any]) -> Frame:
        """Columns that are nodes of their own, after the others of the same call."""
        made = {name for node in nodes for name in node.writes}
        rest = {name: value for name, value in named.items() if name not in made}
        clash = (made | rest.keys()) & frozenset[str]().union(*(node.reads for node in nodes))
        if clash:
            raise InputError(
                f"One with_columns both changes and reads '{min(clash)}'.",
                hint="Write two calls of with_columns, in the order that is meant.",
            )
        frame = self.with_columns(**rest) if rest else self
        order = list(dict.fromkeys([*frame.schema.names(), *named]))
        return Frame(frame._plan.then(*nodes, order=order))

    def select(self, *exprs: Any, **named: Any) -> Frame:
        """Only these columns: names, Polars expressions, and operators by name."""
        asked = {
            k: v for k, v in named.items() if isinstance(v, Operator | TableOperator | UdfCall)
        }
        chosen = expressions(exprs, "select")
        chosen += [named_expr(name, name if name in asked else v) for name, v in named.items()]
        if not asked:
            return self.then(steps.select(self.schema, chosen))
        others = [e for e in chosen if e.meta.output_name(raise_if_undetermined=False) not in asked]
        clash = reads(others, self.schema) & asked.keys()
        if clash:
            raise InputError(
                f"One select both asks for and reads '{min(clash)}'.",
                hint="Make the new column in a with_columns of its own, under another name.",
            )
        return self.with_columns(**asked).select(*chosen)

    def drop(self, *columns: Any) -> Frame:
        return self.then(steps.drop(self.schema, columns))

    def rename(self, mapping: Mapping[str, str]) -> Frame:
        return self.then(steps.rename(self.schema, dict(mapping)))

    def explode(self, *columns: Any) -> Frame:
        """A row for each element of a list column."""
        return self.then(steps.explode(self.schema, columns))

    def unnest(self, *columns: Any) -> Frame:
        """A struct's fields as columns of their own."""
        return self.then(steps.unnest(self.schema, columns))

    # -- tables

    def join(
        self,
        other: Any,
        on: Any = None,
        how: steps.How = "inner",
        *,
        left_on: Any = None,
        right_on: Any = None,
        suffix: str = "_right",
    ) -> Frame:
        """With another frame, or anything `sw.frame` takes; rows in this table's order.

        `on` may be a statement that a model judges, `sw.join(…)`, `sw.same(…)` or
        `sw.predicate(…)`; `how` is then inner, left, semi or anti."""
        from swath.frames.readers import frame

        said = semantic(on, how, suffix)
        if said is not None:
            return self.whole(said, frame(other))
        left = _listed(on if left_on is None else left_on)
        right = _listed(on if right_on is None else right_on)
        if (not left or len(left) != len(right)) and how != "cross":
            raise InputError(
                "A join needs the columns to join on, as many on each side.",
                hint="Give on='id', or left_on= and right_on=.",
            )
        plan = frame(other).plan
        return self.then(steps.join(self.schema, plan, left, right, how, suffix))

    def group_by(self, *by: Any) -> GroupBy:
        """Groups in the order in which they first occur; then `.agg(…)` or `.len()`."""
        return GroupBy(self, expressions(by, "group_by"))

    def cache(self) -> Frame:
        """The table up to here is computed once and kept in memory for later runs."""
        return self.then(Cache(Slot()))

    # -- before anything is spent

    def explain(
        self, *, rules: Mapping[str, bool] | None = None, session: Session | None = None
    ) -> Explanation:
        """The plan, the calls, tokens, dollars and minutes it would take, and what each rule did.
        Reads a sample of the source; asks no model."""
        from swath.frames.estimate import explain

        return explain(self._plan, rules=rules, session=session)

    def try_rows(self, n: int = 10, *, session: Session | None = None, **settings: Any) -> Trial:
        """Run on `n` rows spread over the source, and what all of them would then take, with 90%
        intervals. What is bought here is not bought again."""
        from swath.frames.trial import try_rows

        return try_rows(self._plan, n, session=session, **settings)

    # -- running

    def run(
        self,
        *,
        max_cost: float | None = None,
        limit: int | None = None,
        progress: bool | Callable[[Any], None] | None = None,
        rules: Mapping[str, bool] | None = None,
        session: Session | None = None,
        name: str = "frame",
    ) -> FrameRun:
        """Run all of it: `.table`, `.errors`, `.metrics`.

        `max_cost` in dollars is never passed: BudgetReached then carries what was bought, and the
        same call with more goes on from there. `progress`: True or False for a bar (by default on
        a terminal), or a callable. `rules={"pushdown": False}` switches rules of the optimizer
        off. `name` is the run's in `swath runs`.
        """
        frame = self if limit is None else self.limit(limit)
        return launch(frame._plan, Settings(name, max_cost, progress, rules, session))

    def collect(self, **settings: Any) -> pl.DataFrame:
        """The table. Settings as for `run`. Warns where cells failed: `run` tells which."""
        run = self.run(**settings)
        if run.errors.height:
            warn_of_failures(run)
        return run.table

    def iter_batches(self, rows: int = 1000, **settings: Any) -> Iterator[pl.DataFrame]:
        """The table in pieces of at most `rows` rows, after it has run."""
        yield from self.run(**settings).table.iter_slices(rows)

    def show(self, n: int = 5, **settings: Any) -> None:
        """Print the first `n` rows of the result; asks only what they need."""
        from swath.frames.display import show

        show(self.run(limit=n, **{"progress": False, **settings}))

    def __repr__(self) -> str:
        columns = ", ".join(f"{name}: {dtype}" for name, dtype in self.schema.items())
        return f"Frame[{columns}]\n{self._plan}"

    def _repr_html_(self) -> str:
        from swath.frames.display import html

        return html(self)

    def __bool__(self) -> bool:
        raise InputError("A frame is neither true nor false.", hint="Collect it first.")

    def then(self, *nodes: Node) -> Frame:
        """With more plan nodes: what the methods above are made of."""
        return Frame(self._plan.then(*nodes))


def _in_order(
    made: pl.Schema, named: Mapping[str, Any], asked: list[tuple[str, Operator]]
) -> list[str]:
    """New columns as they were written: unnamed ones, then named ones, operators among them."""
    names = {name for name, _ in asked}
    return [n for n in made if n not in named and n not in names] + list(named)


def _listed(columns: Any) -> list[Any]:
    if columns is None:
        return []
    return list(columns) if isinstance(columns, list | tuple) else [columns]
