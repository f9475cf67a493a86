"""What a recipe is: a question worth asking of many texts, ready to be used.

A recipe is data: a schema or labels, a prompt that a small model understands, golden examples, and
the parameters it takes. Calling it gives what `sw.extract`, `sw.classify` or `sw.reduce` would
(`Row`, `Group`), or a frame made of those (`Corpus`).
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Generic, Literal, ParamSpec

from pydantic import Field

from swath.errors import InputError, listing
from swath.messages import Schema
from swath.operators.classify import classify
from swath.operators.extract import extract
from swath.operators.long import Long
from swath.operators.reduce import Reduce, reduce
from swath.operators.schema import Shape, shape_of

if TYPE_CHECKING:
    import polars as pl

    from swath.frames.frame import Frame
    from swath.operators.base import ModelChoice, Operator
    from swath.operators.cascade import Cascade

GOLDEN = Path(__file__).parent / "golden"
Over = Literal["row", "group", "corpus"]
P = ParamSpec("P")


@dataclass(frozen=True)
class Parameter:
    """A word of the prompt that the caller gives. `sample` is what examples and tests say for it;
    without a `default` it must be given."""

    about: str
    sample: str
    default: str | None = None


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Recipe:
    """`name` is how it is found, `about` a line of what it gives."""

    over: ClassVar[Over]

    name: str
    about: str

    @property
    def golden(self) -> Path | None:
        """A golden set for `swath eval`; None for those made of others, which have theirs."""
        path = GOLDEN / f"{self.name}.toml"
        return path if path.exists() else None

    @cached_property
    def cases(self) -> tuple[dict[str, Any], ...]:
        """The rows of the golden set: `text`, and `answer`, what it should give."""
        path = self.golden
        if path is None:
            return ()
        return tuple(tomllib.loads(path.read_text("utf-8"))["cases"])

    @property
    def examples(self) -> list[tuple[Any, Any]]:
        """The golden set as `examples=` of an operator takes it: pairs of a text and its answer."""
        return [(case["text"], case["answer"]) for case in self.cases]

    def __str__(self) -> str:
        from swath.recipes.showing import text

        return text(self)

    def __repr__(self) -> str:
        return f"<recipe {self.name}, over {self.over}: {self.about}>"


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Asking(Recipe):
    """One that is a question itself."""

    instructions: str
    schema: Any = None
    parameters: Mapping[str, Parameter] = field(default_factory=dict)

    @property
    def sample(self) -> dict[str, Any]:
        """Values for the parameters, as the golden set has them."""
        return {name: p.sample for name, p in self.parameters.items()}

    def said(self, template: str, given: Mapping[str, Any]) -> str:
        """`template` with the parameters in their places. Raises InputError."""
        unknown = [name for name in given if name not in self.parameters]
        if unknown:
            raise InputError(
                f"The recipe '{self.name}' takes no {unknown[0]}=.",
                hint=listing([*self.parameters, "model", "long", "examples"], unknown[0]),
            )
        values = {n: given.get(n, p.default) for n, p in self.parameters.items()}
        lacking = [name for name, value in values.items() if value is None]
        if lacking:
            about = self.parameters[lacking[0]]
            raise InputError(
                f"The recipe '{self.name}' needs {lacking[0]}=, {about.about}.",
                hint=f'For example {lacking[0]}="{about.sample}".',
            )
        return template.format(**values) if values else template


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Row(Asking):
    """An answer for each text: fields (`schema`), a list (of `item`s), or one of `labels`."""

    over = "row"

    item: Any = None
    least: int = 0
    """Items asked for where any text has something to list. A small model writes none if it may:
    where it may, the golden examples are shown to it, unless the caller says otherwise."""
    most: int = 3
    shown: bool = False
    """Whether the examples are shown also where the answer is no list."""
    labels: Mapping[str, str] | None = None
    labelled: str | None = None
    """The instructions where the caller brings `labels` to a recipe that has none."""

    def __call__(
        self,
        text: str | pl.Expr,
        *,
        model: ModelChoice | Cascade = None,
        labels: Iterable[str] | Mapping[str, str] | type[Enum] | None = None,
        most: int | None = None,
        examples: bool | list[tuple[Any, Any]] | None = None,
        long: Long = "refuse",
        max_tokens: int | None = None,
        temperature: float | None = None,
        **parameters: Any,
    ) -> Operator:
        """The operator over `text`, a column or an expression, for `with_columns`.

        `examples=True` shows the model the recipe's golden examples (some 300 tokens a call), a
        list shows others; left out, they are shown where a small model would list nothing without
        them. `most` bounds what a list holds. `labels` replaces the recipe's own. `parameters` are
        the recipe's; the rest goes to `sw.extract` or `sw.classify`. Raises InputError.
        """
        if most is not None and (self.item is None or most < max(self.least, 1)):
            raise InputError(
                f"The recipe '{self.name}' cannot give at most {most}.",
                hint="Leave out most=: it is for recipes that give lists, and at least 1.",
            )
        if labels is not None and not (self.labels or self.labelled):
            raise InputError(
                f"The recipe '{self.name}' has fields and no labels.", hint="Leave out labels=."
            )
        bound = most or self.most
        if examples is None:
            examples = self.shown or (self.item is not None and self.least == 0)
        shown = [] if examples is False else examples
        if examples is True:
            shown = self.examples if labels is None else []
            if self.item is not None:
                shown = [(given, answer[:bound]) for given, answer in shown]
        common: Any = {
            "model": model,
            "examples": shown or None,
            "long": long,
            "max_tokens": max_tokens,
            "temperature": temperature,
        }
        if labels is not None and self.labelled:
            task = self.said(self.labelled, parameters)
            return classify(text, labels, multi=True, instructions=task, **common)
        task = self.said(self.instructions, parameters)
        if self.labels:
            return classify(text, labels or self.labels, instructions=task, **common)
        if self.item is None:
            return extract(text, self.schema, instructions=task, **common)
        shape = self._listed(bound)
        return extract(text, shape, instructions=f"{task} At most {bound}.", **common)

    def _listed(self, bound: int) -> Shape:
        """The shape of a list of at most `bound` items, by the recipe's name."""
        bounds = Field(min_length=self.least or None, max_length=bound)
        made = shape_of(Annotated[list[self.item], bounds])  # type: ignore[name-defined]
        schema = Schema(self.name, made.schema.json)
        return Shape(schema, made.check, (self.name, bound), made.wrapped)


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Group(Asking):
    """An answer about all the texts of a group."""

    over = "group"

    def __call__(
        self,
        item: str | pl.Expr,
        *,
        model: ModelChoice = None,
        max_items: int | None = None,
        max_tokens: int | None = None,
        temperature: float | None = None,
        **parameters: Any,
    ) -> Reduce:
        """The operator for `group_by(…).agg(name=…)`, or over a column of lists. `item` is a
        column, an expression or a template: "{speaker}: {speech}". Raises InputError."""
        return reduce(
            self.said(self.instructions, parameters),
            item,
            response=self.schema,
            model=model,
            max_items=max_items,
            max_tokens=max_tokens,
            temperature=temperature,
        )


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Corpus(Recipe, Generic[P]):
    """A frame made of a frame. `parts` are the recipes it asks with: their golden sets are its."""

    over = "corpus"

    make: Callable[P, Frame]
    parts: tuple[str, ...]

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Frame:
        return self.make(*args, **kwargs)

    @property
    def how(self) -> str:
        """What it does and takes: the function's own words."""
        return self.make.__doc__ or ""


def corpus(about: str, parts: tuple[str, ...]) -> Callable[[Callable[P, Frame]], Corpus[P]]:
    """The recipe that a function over a frame is."""

    def made(function: Callable[P, Frame]) -> Corpus[P]:
        return Corpus(name=function.__name__, about=about, make=function, parts=parts)

    return made
