"""What an operator is: an immutable value that asks a model about each row.

A subclass says which text a row gives (`text`), how the question is put (`ask`), and how an answer
becomes a value (`check`, `value`). All else here is shared: choosing the model, leaving out null
and blank rows, asking equal rows once, and building the column.

Where one question a row is not enough, a subclass overrides `answer`; where something must be
learned from a sample of the rows first, `sample` and `prepare`. Operators over whole tables are in
`operators/table.py`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Hashable, Sequence
from copy import copy
from typing import Any, ClassVar, NoReturn, Self

import polars as pl

from swath.errors import InputError
from swath.messages import Completion, Message, Request
from swath.operators.asking import Ask, Check, Sizes
from swath.operators.auto import Auto
from swath.operators.long import checked, pieces_of, read
from swath.operators.parts import Part
from swath.operators.template import Template, as_text, missing, path

ModelChoice = str | Sequence[str] | pl.Expr | Auto | None
"""An alias; several, of which the first is asked and the rest step in; an alias per row; an
`sw.auto`; None: the session's default model."""

__all__ = ["Ask", "Check", "ModelChoice", "Operator"]


class Operator(ABC):
    """Traits: reads what `reads` says, writes one value of `dtype` per row, looks at one row at a
    time, and gives equal rows equal answers (the store makes it so)."""

    kind: ClassVar[str]

    single: bool = True
    """Whether the answer to `ask` is the cell. Then many are looked up in the store at once."""

    grouped: bool = False
    """Whether prompts of a batch that begin alike are asked in a row: the rule `group` says so."""

    packed: bool = False
    """Whether short rows may go several to a call: the rule `pack` says so."""

    together: ClassVar[int] = 1
    """How many questions may leave in one call: so many times more rows wait at once."""

    assumed: tuple[str, ...] = ()
    """For `explain`: what `questions` takes for granted, a sentence each."""

    sample: int = 0
    """Rows that `prepare` wants to see before the first is asked about. All rows are then gathered
    and this many drawn at random."""

    def __init__(
        self,
        text: str | pl.Expr | Template,
        *,
        model: ModelChoice,
        temperature: float | None,
        max_tokens: int | None,
        shots: tuple[Message, ...] = (),
        long: str = "refuse",
    ) -> None:
        self.text = _readable(text)
        self.shots = shots
        self.long = checked(long, self.text)
        if self.long != "refuse":
            self.single = False
        self.auto = model if isinstance(model, Auto) else None
        self.model, self.fallback = as_choice(model)
        self.temperature = temperature
        self.max_tokens = max_tokens

    # -- what a subclass says

    @property
    @abstractmethod
    def dtype(self) -> pl.DataType:
        """The type of the column."""

    @property
    @abstractmethod
    def settings(self) -> tuple[Hashable, ...]:
        """What tells this operator from others of its kind on the same text and model."""

    @abstractmethod
    def ask(self, text: str, model: str) -> Request:
        """The question about one row. Called once per distinct text: keep it cheap.

        `Request.source` is what the row itself gave: quotes must occur in it, and the local model
        calibrates labels by the same question without it."""

    @property
    def check(self) -> Check | None:
        """Reads an answer's text, raises Invalid. None: the request's own check will do."""
        return None

    def value(self, completion: Completion) -> Any:
        """The cell: from `completion.parsed` where the check ran, else from its text.

        Raises Invalid where a stored answer is none any more."""
        return completion.text

    async def answer(self, ask: Ask, request: Request) -> Any:
        """The cell of a row, where `single` is False: as many questions as it takes, of which
        `request` (made by `ask`) is the first. Raises ProviderError or Invalid: the row failed."""
        if self.long != "refuse":
            return await read(self, ask, request)
        return self.value(await ask(request, self.check, self.fallback))

    async def combine(self, ask: Ask, request: Request, values: list[Any]) -> Any:
        """One cell of those of a long text's pieces, in order."""
        raise InputError(
            f"{self.describe()} has no way to combine the answers to pieces of a text.",
            hint="Use long='truncate', or a model with a longer window.",
        )

    @property
    def part(self) -> Part | None:
        """Its question as part of a bigger one; None where it cannot be."""
        return None

    def text_of(self, request: Request) -> str:
        """The row's own text, in a question that `ask` made."""
        content = request.messages[-1].content
        if isinstance(self.text, Template):
            return self.text.filling(content) or content
        return content

    async def prepare(self, ask: Ask, sample: pl.DataFrame, rows: int) -> Operator:
        """The operator that goes on, after a look at `sample`, drawn from `rows` rows."""
        return self

    def questions(self, request: Request, sizes: Sizes) -> list[tuple[Request, float]]:
        """For `explain`: all that a row's first question leads to, and how many of each are to be
        expected."""
        if self.long != "refuse":
            return [(piece, 1.0) for piece in pieces_of(self, sizes, request)]
        return [(request, 1.0)]

    def with_model(self, model: ModelChoice) -> Self:
        """The same questions, put to another model."""
        other = copy(self)
        other.auto = model if isinstance(model, Auto) else None
        other.model, other.fallback = as_choice(model)
        return other

    def describe(self) -> str:
        """One short line for plans; no prompt text."""
        return f"{self.kind}({self._text_name()})"

    # -- what the frame uses

    def reads(self, schema: pl.Schema) -> frozenset[str]:
        """The columns of `schema` it looks at. Raises ColumnNotFound."""
        if isinstance(self.text, Template):
            for name in self.text.names:
                path(name, schema)
        elif isinstance(self.text, str):
            path(self.text, schema)
        roots = self.roots(schema)
        for name in roots:
            if name not in schema:
                raise missing(name, schema.names())
        return roots

    def roots(self, names: Collection[str]) -> frozenset[str]:
        """The columns it looks at, where columns of these names exist."""
        if isinstance(self.text, pl.Expr):
            found = set(self.text.meta.root_names())
        else:
            said = self.text.names if isinstance(self.text, Template) else (self.text,)
            found = {name if name in names else name.split(".")[0] for name in said}
        if isinstance(self.model, pl.Expr):
            found.update(self.model.meta.root_names())
        return frozenset(found)

    def exprs(self, schema: pl.Schema) -> tuple[pl.Expr, pl.Expr | None]:
        """The row's text, and its model's alias where that differs by row."""
        if isinstance(self.text, Template):
            text = self.text.expr(schema)
        elif isinstance(self.text, str):
            text = path(self.text, schema)[1]
        else:
            dtype = pl.LazyFrame(schema=schema).select(self.text).collect_schema().dtypes()[0]
            text = as_text(self.text, dtype)
        model = self.model if isinstance(self.model, pl.Expr) else None
        return text, None if model is None else model.cast(pl.String)

    def requests(self, table: pl.DataFrame, default: str) -> list[Request | None]:
        """One question per row, None where the row's text is null or blank.

        Equal rows share one object: that is how a caller sees that they are equal."""
        text, model = self.exprs(table.schema)
        texts = table.select(text.alias("text"))["text"].to_list()
        known: dict[Any, Request | None] = {None: None}
        ask, out = self.ask, []
        if model is None:
            alias = self.model if isinstance(self.model, str) else default
            for row in texts:
                if row in known:
                    out.append(known[row])
                    continue
                request = ask(row, alias) if row.strip() else None
                known[row] = request
                out.append(request)
            return out
        for row, chosen in zip(texts, table.select(model.alias("m"))["m"].to_list(), strict=True):
            key = (row, chosen)
            if row is None or key in known:
                out.append(known.get(key))
                continue
            request = ask(row, chosen or default) if row.strip() else None
            known[key] = request
            out.append(request)
        return out

    def column(self, name: str, values: list[Any]) -> pl.Series:
        return pl.Series(name, values, dtype=self.dtype, strict=False)

    @property
    def signature(self) -> Hashable:
        """Equal exactly where two operators ask equal questions of equal rows."""
        return (
            self.kind,
            _key(self.text),
            _key(self.model),
            self.fallback,
            self.temperature,
            self.max_tokens,
            self.shots,
            self.long,
            self.settings,
            self.auto,
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Operator) and self.signature == other.signature

    def __hash__(self) -> int:
        return hash(self.signature)

    def __repr__(self) -> str:
        return f"<{self.describe()}, model={self.model_name()}>"

    def model_name(self, default: str = "default") -> str:
        """How a plan names the model; an expression is 'by row'."""
        return (
            self.model
            if isinstance(self.model, str)
            else (default if self.model is None else "by row")
        )

    def _text_name(self) -> str:
        if isinstance(self.text, Template):
            return ", ".join(dict.fromkeys(self.text.names))
        return self.text if isinstance(self.text, str) else ", ".join(self.text.meta.root_names())

    # An operator in an expression would need a second engine inside Polars'. Say so at once.

    def _not_an_expression(self, *_: Any) -> NoReturn:
        raise InputError(
            f"{self.describe()} is a model call and cannot stand inside an expression.",
            hint="Make it a column first, .with_columns(answer=…), then use pl.col('answer').",
        )

    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = _not_an_expression
    __truediv__ = __and__ = __rand__ = __or__ = __ror__ = __invert__ = _not_an_expression
    __lt__ = __le__ = __gt__ = __ge__ = __bool__ = _not_an_expression

    def alias(self, name: str) -> NoReturn:
        self._not_an_expression(name)


def _readable(text: str | pl.Expr | Template) -> str | pl.Expr | Template:
    if isinstance(text, Template):
        return text
    if isinstance(text, pl.Expr):
        name = text.meta.output_name(raise_if_undetermined=False)
        return name if name and text.meta.is_column() else text
    if not isinstance(text, str) or not text:
        raise InputError(
            f"A column was expected, not {type(text).__name__}.",
            hint="Give its name, or an expression such as pl.col('text').",
        )
    return text


def as_choice(model: ModelChoice) -> tuple[str | pl.Expr | None, tuple[str, ...]]:
    if model is None or isinstance(model, str | pl.Expr):
        return model, ()
    if isinstance(model, Auto):  # never asked as it stands: the frame puts a router before it
        return model.large, ()
    aliases = tuple(model) if isinstance(model, Sequence) else ()
    if not aliases or not all(isinstance(a, str) for a in aliases):
        raise InputError(
            "model= takes an alias, a list of aliases, or a Polars expression.",
            hint="For example model='fast', or model=['fast', 'backup']. An sw.cascade fits "
            "predicate, classify and join.",
        )
    return aliases[0], aliases[1:]


def _key(part: Any) -> Hashable:
    """An expression by its serialized form; one that has none equals only itself."""
    if isinstance(part, Template):
        return part.text
    if not isinstance(part, pl.Expr):
        hashable: Hashable = part
        return hashable
    try:
        return part.meta.serialize()
    except Exception:
        return id(part)
