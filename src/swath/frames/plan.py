"""The plan: a source and a short list of immutable nodes, each valid for the table before it.

Nodes declare traits, and rules and executors know nothing else of them:

- `reads`, `writes`: the columns whose values it looks at, and makes or changes
- `rows`: the same rows (SAME), some of them in some order (SUBSET), or others (NEW)
- `local`: it can be applied to each batch of rows alone
- `projects`: only the columns it reads go on

A row's number (`ROW`) travels beside its table or, in lazy parts, inside. All nodes keep the order
of rows or set it; none is random without a seed. Nothing may cross a node whose `rows` is NEW, or a
`Whole`, or a `Cache`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import polars as pl

from swath.errors import InputError
from swath.frames.traits import empty
from swath.operators.base import Operator
from swath.operators.table import ROW as ROW
from swath.operators.table import Rows as Rows
from swath.operators.table import TableOperator
from swath.operators.template import missing
from swath.operators.udf import UdfCall

Apply = Callable[..., pl.LazyFrame]
"""(table, extra expressions that a projection must carry along, *other tables) -> table"""


@dataclass(frozen=True, eq=False, kw_only=True)
class Step:
    """Polars' own work. `kind` is the method's name. `wild`: has a wildcard, so it must not see
    the row numbers. `mask`: a filter's condition. `keeps`: row numbers can travel through it."""

    kind: str
    text: str
    apply: Apply
    reads: frozenset[str] = frozenset()
    writes: frozenset[str] = frozenset()
    removes: frozenset[str] = frozenset()
    rows: Rows = Rows.SAME
    local: bool = False
    projects: bool = False
    wild: bool = False
    keeps: bool = True
    mask: pl.Expr | None = None
    span: tuple[int, int] | None = None  # of a limit: offset and length
    most: int | None = None  # rows that can come out
    renames: dict[str, str] = field(default_factory=dict)
    others: tuple[Plan, ...] = ()

    def after(self, schema: pl.Schema) -> pl.Schema:
        others = (empty(other.schema) for other in self.others)
        try:
            made = self.apply(empty(schema), [], *others).collect_schema()
            if self.local:
                # Some faults of type show only when rows go through; none have to.
                self.apply(empty(schema).clear(), [], *others).collect()
            return made
        except pl.exceptions.PolarsError as error:
            raise polars_error(error, schema, self.kind) from None

    def __str__(self) -> str:
        return f"{self.kind} {self.text}".rstrip()


@dataclass(frozen=True, eq=False)
class Ask:
    """Columns that a model fills, all of one row at once."""

    columns: tuple[tuple[str, Operator], ...]
    reads: frozenset[str]

    rows = Rows.SAME
    local = True
    projects = False

    @property
    def writes(self) -> frozenset[str]:
        return frozenset(name for name, _ in self.columns)

    def after(self, schema: pl.Schema) -> pl.Schema:
        return pl.Schema({**schema, **{name: op.dtype for name, op in self.columns}})

    def __str__(self) -> str:
        return "ask " + ", ".join(f"{name} = {op.describe()}" for name, op in self.columns)


@dataclass(frozen=True, eq=False)
class Keep:
    """Rows for which a model says yes. `name` stands for the column in errors and the ledger."""

    name: str
    operator: Operator
    reads: frozenset[str]

    rows = Rows.SUBSET
    local = True
    projects = False
    writes: frozenset[str] = frozenset()

    @property
    def columns(self) -> tuple[tuple[str, Operator], ...]:
        return ((self.name, self.operator),)

    def after(self, schema: pl.Schema) -> pl.Schema:
        return schema

    def __str__(self) -> str:
        return f"keep {self.operator.describe()}"


@dataclass(frozen=True, eq=False)
class Udf:
    """A column that an async function of the user's fills."""

    name: str
    call: UdfCall
    reads: frozenset[str]

    rows = Rows.SAME
    local = True
    projects = False
    removes: frozenset[str] = frozenset()

    @property
    def writes(self) -> frozenset[str]:
        return frozenset({self.name})

    def after(self, schema: pl.Schema) -> pl.Schema:
        return pl.Schema({**schema, self.name: self.call.dtype})

    def __str__(self) -> str:
        return f"call {self.name} = {self.call.describe()}"


@dataclass(frozen=True, eq=False)
class Whole:
    """An operator over the whole table, and the tables it is joined with. `name` stands for it in
    errors and the ledger."""

    name: str
    operator: TableOperator
    reads: frozenset[str]
    writes: frozenset[str]
    others: tuple[Plan, ...] = ()

    local = False
    removes: frozenset[str] = frozenset()

    @classmethod
    def over(
        cls, schema: pl.Schema, name: str, operator: TableOperator, others: tuple[Plan, ...] = ()
    ) -> Whole:
        """The node for a table of `schema`. Raises InputError, ColumnNotFound."""
        made = operator.after(schema, *(other.schema for other in others))
        writes = frozenset(n for n in made if n not in schema or made[n] != schema[n])
        return cls(name, operator, operator.reads(schema), writes, others)

    @property
    def rows(self) -> Rows:
        return self.operator.rows

    @property
    def projects(self) -> bool:
        return self.operator.projects

    def after(self, schema: pl.Schema) -> pl.Schema:
        return self.operator.after(schema, *(other.schema for other in self.others))

    def __str__(self) -> str:
        return f"{self.name} = {self.operator.describe()}"


@dataclass(eq=False)
class Slot:
    """Where a `Cache` keeps its table, once a run has computed all of it."""

    table: pl.DataFrame | None = None


@dataclass(frozen=True, eq=False)
class Cache:
    """The table at this point is kept in memory after the first run that computes it."""

    slot: Slot

    rows = Rows.NEW
    local = False
    projects = False
    reads: frozenset[str] = frozenset()
    writes: frozenset[str] = frozenset()

    def after(self, schema: pl.Schema) -> pl.Schema:
        return schema

    def __str__(self) -> str:
        return "cache" + (" (filled)" if self.slot.table is not None else "")


Model = Ask | Keep
Node = Step | Ask | Keep | Udf | Whole | Cache


@dataclass(frozen=True, eq=False)
class Source:
    """Where rows come from. `explain` turns Polars' error while reading into one that names the
    file and the line. `rows`: how many, where that is known without reading. `sliceable`: a part of
    it is read without what comes before."""

    table: pl.LazyFrame
    name: str
    rows: int | None = None
    size: int | None = None  # bytes of the file, if it is one
    explain: Callable[[Exception], Exception] | None = None
    sliceable: bool = False


@dataclass(frozen=True, eq=False)
class Plan:
    """`schema` is what the user was promised: names in order, and types."""

    source: Source
    nodes: tuple[Node, ...]
    schema: pl.Schema

    def then(self, *nodes: Node, order: list[str] | None = None) -> Plan:
        """This plan with more nodes; `order`: the columns' order where nodes were reordered."""
        schema = self.schema
        for node in nodes:
            schema = node.after(schema)
        if order is not None:
            schema = pl.Schema({name: schema[name] for name in order})
        return replace(self, nodes=(*self.nodes, *nodes), schema=schema)

    def with_nodes(self, nodes: tuple[Node, ...]) -> Plan:
        """The same promise kept by other nodes: what a rule returns."""
        return replace(self, nodes=nodes)

    @property
    def asks(self) -> bool:
        """Whether anything must run on a session, here or in a joined table."""
        return any(
            isinstance(n, Ask | Keep | Udf | Whole)
            or (isinstance(n, Step) and any(o.asks for o in n.others))
            for n in self.nodes
        )

    def operators(self) -> list[tuple[str, Operator | TableOperator]]:
        """All that asks a model, by the name it goes by; joined tables' first."""
        found: list[tuple[str, Operator | TableOperator]] = []
        for node in self.nodes:
            if isinstance(node, Ask | Keep):
                found += node.columns
            elif isinstance(node, Step | Whole):
                for other in node.others:
                    found += other.operators()
                if isinstance(node, Whole):
                    found.append((node.name, node.operator))
        return found

    def __str__(self) -> str:
        return "\n".join([f"read {self.source.name}", *(str(node) for node in self.nodes)])


def polars_error(error: Exception, schema: pl.Schema, what: str) -> InputError:
    """Polars' complaint as ours: first line only, with what exists."""
    first = first_line(error)
    if isinstance(error, pl.exceptions.ColumnNotFoundError):
        quoted = first.split('"')
        return missing(quoted[1] if len(quoted) > 1 else first, schema.names())
    return InputError(f"{what}: {first}", hint="Check the columns' types: print(frame.schema).")


def first_line(error: Exception) -> str:
    """What an error says, without the values that it quotes: they may be anybody's text."""
    lines = str(error).strip().splitlines()
    text = lines[0] if lines else type(error).__name__
    text = re.sub(r"could not parse `.*?` as", "a value could not be parsed as", text)
    return re.sub(r" values: \[.*", " values", text)


def row_numbers(table: pl.LazyFrame) -> pl.LazyFrame:
    return table.with_row_index(ROW)


def apply_lazily(step: Step, table: pl.LazyFrame, others: list[Any]) -> pl.LazyFrame:
    """`step` on a table with row numbers; where they cannot travel, rows are numbered anew."""
    if step.keeps and not step.wild:
        return step.apply(table, [pl.col(ROW)], *others)
    return row_numbers(step.apply(table.drop(ROW), [], *others))
