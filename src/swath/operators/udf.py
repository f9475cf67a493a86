"""`async_udf`: the user's own async function as a column: a lookup, a page, another service."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn

import polars as pl

from swath.errors import InputError
from swath.operators.template import missing

_PLAIN: dict[Any, pl.DataType] = {
    str: pl.String(),
    int: pl.Int64(),
    float: pl.Float64(),
    bool: pl.Boolean(),
}


@dataclass(frozen=True, eq=False)
class AsyncUdf:
    """A function with its bounds. Called with columns it gives a `UdfCall` for `with_columns`."""

    function: Callable[..., Awaitable[Any]]
    dtype: pl.DataType
    max_concurrency: int
    timeout: float | None
    retries: int
    backoff: float

    @property
    def name(self) -> str:
        return getattr(self.function, "__name__", "function")

    def __call__(self, *columns: Any, **named: Any) -> UdfCall:
        """Arguments are columns (names or Polars expressions); other values stand for themselves
        in every row (text as `pl.lit("…")`)."""
        try:
            inspect.signature(self.function).bind(*columns, **named)
        except TypeError as error:
            raise InputError(
                f"{self.name} cannot be called so: {error}.",
                hint=f"It takes {self.name}{inspect.signature(self.function)}.",
            ) from None
        return UdfCall(self, tuple(map(_expr, columns)), {k: _expr(v) for k, v in named.items()})


@dataclass(frozen=True, eq=False)
class UdfCall:
    """A column of an `AsyncUdf`. A row with a null argument is null without a call."""

    udf: AsyncUdf
    columns: tuple[pl.Expr, ...]
    named: Mapping[str, pl.Expr] = field(default_factory=dict)

    @property
    def dtype(self) -> pl.DataType:
        return self.udf.dtype

    @property
    def arguments(self) -> list[pl.Expr]:
        """All of them under names of their own: the positional ones, then the named ones."""
        every = [*self.columns, *self.named.values()]
        return [expr.alias(f"{number}") for number, expr in enumerate(every)]

    def reads(self, schema: pl.Schema) -> frozenset[str]:
        """Raises ColumnNotFound."""
        names = {name for expr in self.arguments for name in expr.meta.root_names()}
        for name in names:
            if name not in schema:
                raise missing(name, schema.names())
        return frozenset(names)

    def start(self, values: tuple[Any, ...]) -> Awaitable[Any]:
        """The call for one row's arguments."""
        at = len(self.columns)
        return self.udf.function(*values[:at], **dict(zip(self.named, values[at:], strict=True)))

    def describe(self) -> str:
        names = dict.fromkeys(n for expr in self.arguments for n in expr.meta.root_names())
        return f"{self.udf.name}({', '.join(names)})"

    def __repr__(self) -> str:
        return f"<async_udf {self.describe()}>"

    def __bool__(self) -> NoReturn:
        raise InputError(
            f"{self.describe()} is not known before it has run.",
            hint="Make it a column first: .with_columns(x=…).",
        )


def async_udf(
    return_dtype: Any = str,
    *,
    max_concurrency: int = 16,
    timeout: float | None = 60.0,
    retries: int = 2,
    backoff: float = 0.5,
) -> Callable[[Callable[..., Awaitable[Any]]], AsyncUdf]:
    """An async function as a column, in the order of rows, `max_concurrency` calls at once.

    `return_dtype`: a Polars type, or str, int, float, bool, or a Pydantic model for a struct.
    `timeout` is in seconds, for one try; a try that raises is repeated up to `retries` times after
    `backoff`, twice that, … seconds. A row that fails all the same is null, and its reason is in
    `run.errors`. The function runs on Swath's event loop: it must await, never block.

        @sw.async_udf(pl.Int64, max_concurrency=8, timeout=10, retries=2)
        async def stars(repository: str) -> int: ...

        frame.with_columns(stars=stars("repository"))
    """
    if callable(return_dtype) and inspect.iscoroutinefunction(return_dtype):
        raise InputError("async_udf takes settings first.", hint="Write @sw.async_udf(str).")
    if max_concurrency < 1 or retries < 0 or (timeout is not None and timeout <= 0):
        raise InputError(
            "async_udf: max_concurrency is at least 1, retries at least 0, timeout over 0.",
            hint="For example @sw.async_udf(str, max_concurrency=8, timeout=10, retries=2).",
        )

    def wrap(function: Callable[..., Awaitable[Any]]) -> AsyncUdf:
        if not inspect.iscoroutinefunction(function):
            raise InputError(
                f"{getattr(function, '__name__', function)!r} is no async function.",
                hint="Define it with `async def`.",
            )
        dtype = _dtype(return_dtype)
        return AsyncUdf(function, dtype, max_concurrency, timeout, retries, backoff)

    return wrap


def _dtype(given: Any) -> pl.DataType:
    if given in _PLAIN:
        return _PLAIN[given]
    if isinstance(given, pl.DataType):
        return given
    if isinstance(given, type) and issubclass(given, pl.DataType):
        return given()
    from swath.operators.dtypes import column_of
    from swath.operators.schema import shape_of

    return column_of(shape_of(given).value_schema)[0]


def _expr(value: Any) -> pl.Expr:
    if isinstance(value, pl.Expr):
        return value
    return pl.col(value) if isinstance(value, str) else pl.lit(value)
