"""`reduce`: one answer about all the texts of a group."""

from __future__ import annotations

import copy
from collections.abc import Hashable, Sequence
from functools import cached_property
from typing import Any, Literal, Self, get_args

import polars as pl
from msgspec.structs import replace

from swath.errors import InputError, listing
from swath.messages import Completion, Message, Request
from swath.operators import tree
from swath.operators.asking import Ask, Check, Sizes
from swath.operators.base import ModelChoice, Operator
from swath.operators.dtypes import column_of
from swath.operators.prompts import fields
from swath.operators.schema import Shape, shape_of
from swath.operators.template import Template, path

Placing = Literal["kept", "free"]

_BEFORE, _BETWEEN, _AFTER = "<item>\n", "\n</item>\n\n<item>\n", "\n</item>"
_ITEMS = "The items follow."
_SOME = (
    "The items that follow are some of many: the others are read elsewhere. Answer for these, and "
    "keep what an answer for all of them will need."
)
_PARTS = (
    "The items are too many to be read at once. What follows was found in parts of them, in order. "
    "Put it together{}."
)


class Reduce(Operator):
    """Waits in `agg` for its group's texts; then stands for a call (or a tree of them) a group,
    over a list column of its own name."""

    kind = "reduce"
    single = False

    def __init__(
        self,
        prompt: str,
        item: str | pl.Expr | Template,
        *,
        shape: Shape | None,
        order: Placing,
        max_items: int | None,
        instructions: str | None,
        **common: Any,
    ) -> None:
        super().__init__(item, **common)
        self.prompt = prompt
        self.shape = shape
        self.order = order
        self.max_items = max_items
        self.instructions = instructions
        self._of = self._text_name()
        self._dtype, self._convert = column_of(shape.value_schema) if shape else (pl.String(), None)

    @property
    def dtype(self) -> pl.DataType:
        return self._dtype

    @property
    def settings(self) -> tuple[Hashable, ...]:
        shape = self.shape.key if self.shape else None
        return (self.prompt, shape, self.order, self.max_items, self.instructions)

    def describe(self) -> str:
        return f"reduce({self._of})"

    # -- the group's texts

    def gathered(self, schema: pl.Schema) -> pl.Expr:
        """The texts of a group as a list, blank ones left out. Raises ColumnNotFound."""
        of_rows = copy.copy(self)
        of_rows.model = None  # an alias by row is one by group here
        of_rows.reads(schema)
        text, _ = super(Reduce, of_rows).exprs(schema)
        return text.filter(text.str.strip_chars() != "")

    def over(self, name: str) -> Self:
        """This operator on the list column `name`."""
        placed = copy.copy(self)
        placed.text = name
        return placed

    def exprs(self, schema: pl.Schema) -> tuple[pl.Expr, pl.Expr | None]:
        name = self.text if isinstance(self.text, str) else ""
        dtype = schema.get(name)
        if not isinstance(dtype, pl.List):
            raise InputError(
                f"{self.describe()} needs the texts of a group, or a column of lists.",
                hint="Write frame.group_by(…).agg(name=sw.reduce(…)), or frame.agg(…) for all.",
            )
        texts = path(name, schema)[0]
        items = (
            pl.col(texts)
            .cast(pl.List(pl.String))
            .list.eval(pl.element().filter(pl.element().str.strip_chars() != ""))
        )
        filled = pl.concat_str(pl.lit(_BEFORE), items.list.join(_BETWEEN), pl.lit(_AFTER))
        return pl.when(items.list.len() > 0).then(filled), super().exprs(schema)[1]

    # -- the questions

    @cached_property
    def _fields(self) -> str:
        return fields(self.shape.schema.json) if self.shape else ""

    def _question(self, note: str, text: str, model: str, *, typed: bool) -> Request:
        parts = [self.instructions or "", self.prompt, self._fields if typed else "", note]
        return Request(
            model=model,
            messages=(
                Message("system", "\n\n".join(part for part in parts if part)),
                Message("user", text),
            ),
            schema=self.shape.schema if typed and self.shape else None,
            source=text if typed and self.shape else None,
            temperature=self.temperature,
            max_tokens=self.max_tokens,
        )

    def ask(self, text: str, model: str) -> Request:
        return self._question(_ITEMS, text, model, typed=True)

    def _tree(self, model: str, source: str) -> tree.Tree:
        def whole(items: Sequence[str]) -> Request:
            return self.ask(_joined(items), model)

        def part(items: Sequence[str]) -> Request:
            return self._question(_SOME, _joined(items), model, typed=False)

        def join(parts: Sequence[str], last: bool) -> Request:
            note = _PARTS.format("" if last else "; there are more parts than these")
            asked = self._question(note, _joined(parts), model, typed=last)
            if asked.source is None:
                return asked
            return replace(asked, source=source)  # what quotes are from

        return tree.Tree(
            whole,
            part,
            join,
            free=self.order == "free",
            most=self.max_items,
            check=self.check,
            fallback=self.fallback,
            expected=min(tree.PARTS, self.max_tokens or tree.PARTS),
        )

    @property
    def check(self) -> Check | None:
        return self.shape.check if self.shape else None

    def value(self, completion: Completion) -> Any:
        if self.shape is None:
            return completion.text.strip()
        value = completion.parsed
        if value is None:
            value = self.shape.check(completion.text)
        return self._convert(value) if self._convert else value

    async def answer(self, ask: Ask, request: Request) -> Any:
        text = request.messages[-1].content
        return self.value(await tree.answer(ask, self._tree(request.model, text), _items(text)))

    def questions(self, request: Request, sizes: Sizes) -> list[tuple[Request, float]]:
        text = request.messages[-1].content
        return tree.questions(sizes, self._tree(request.model, text), _items(text))


def _joined(items: Sequence[str]) -> str:
    return _BEFORE + _BETWEEN.join(items) + _AFTER


def _items(text: str) -> list[str]:
    return text[len(_BEFORE) : len(text) - len(_AFTER)].split(_BETWEEN)


def reduce(
    prompt: str,
    item: str | pl.Expr,
    *,
    response: Any = None,
    order: Placing = "kept",
    max_items: int | None = None,
    model: ModelChoice = None,
    instructions: str | None = None,
    max_tokens: int | None = None,
    temperature: float | None = None,
) -> Reduce:
    """The answer to `prompt` about all the texts of a group, for `agg`:

        frame.group_by("chapter").agg(
            summary=sw.reduce("Say what these speakers agree on.", "{speaker}: {text}")
        )

    `item`: a column, an expression, or a template filled for each row. Text, or with `response` a
    typed column. A group that the model's window does not hold is read in parts, and what they gave
    is put together, in as many levels as it takes; `max_items` bounds the items (or parts) of one
    call. `order="free"` lets items change places, so that parts are fuller. Blank items are left
    out; a group of none is null without a call. One failed call fails its group alone.

    On a column of lists it is an operator like any other: `.with_columns(x=sw.reduce(…, "texts"))`.

    Raises InputError.
    """
    if not isinstance(prompt, str) or not prompt.strip():
        raise InputError(
            "reduce needs to be told what to do.", hint='For example "Summarize these speeches."'
        )
    if order not in get_args(Placing):
        raise InputError(f"There is no order='{order}'.", hint=listing(get_args(Placing), order))
    if max_items is not None and max_items < 2:
        raise InputError(
            f"max_items must be at least 2, not {max_items}.", hint="Nothing could be combined."
        )
    return Reduce(
        str(prompt),
        Template(item) if isinstance(item, str) and "{" in item else item,
        shape=None if response is None else shape_of(response),
        order=order,
        max_items=max_items,
        instructions=instructions,
        model=model,
        max_tokens=max_tokens,
        temperature=temperature,
    )
