"""`join`: a statement about a row of each of two tables, for `frame.join(other, on=…)`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from swath.errors import InputError
from swath.operators.base import ModelChoice, Operator
from swath.operators.cascade import Cascade
from swath.operators.matching import Candidates, Settings
from swath.operators.predicate import Predicate
from swath.operators.template import Template


@dataclass(frozen=True, repr=False)
class On:
    """What two tables are joined on: see `join` and `same`. Give it to `frame.join(on=…)`."""

    predicate: Predicate | None
    settings: Settings = field(default_factory=Settings)
    pairs_per_call: str | int = "auto"
    by: tuple[Operator, Operator] | None = None
    rewrite: bool = True
    symmetric: bool | None = None
    cascade: Cascade | None = None

    @property
    def models(self) -> ModelChoice:
        """Those that are asked, for plans."""
        if self.cascade is not None:
            return (self.cascade.large, self.cascade.small)
        said = self.by[0] if self.by is not None else self.predicate
        assert said is not None
        if isinstance(said.model, str):
            return (said.model, *said.fallback)
        return said.model

    def __str__(self) -> str:
        if self.by is not None:
            return f"same {self.by[0].describe()}"
        assert self.predicate is not None
        return self.predicate.describe().removeprefix("predicate").strip("()")

    def __repr__(self) -> str:
        return f"<on {self}>"

    def __bool__(self) -> bool:
        raise InputError(
            "A statement about two tables is neither true nor false.",
            hint="Give it to a frame: .join(other, on=sw.join(…)).",
        )


def join(
    template: str,
    *,
    model: ModelChoice | Cascade = None,
    recall: float = 0.98,
    candidates: Candidates = "auto",
    pairs_per_call: Literal["auto"] | int = "auto",
    by: Operator | tuple[Operator, Operator] | None = None,
    rewrite: bool = True,
    symmetric: bool | None = None,
    instructions: str | None = None,
    embed_model: str | None = None,
    max_pairs: int | None = None,
    max_tokens: int | None = None,
    temperature: float | None = None,
) -> On:
    """A statement about a row of each table, for `frame.join(other, on=…)`.

        products.join(offers, on=sw.join("{left.name} and {right.title} are the same product"))

    Only pairs that are alike are asked about, as many as it takes to find a share of `recall` of
    the true ones; what that share is estimated to be, with its interval, is in `run.notes`.
    `candidates` says by what: "auto" (embeddings and letters), "embedding", "lexical", a number
    (that many of the right table's nearest for each left row), or "all" pairs. `pairs_per_call` is
    how many right rows one prompt may ask about; a local model gets one. `max_pairs` is a limit,
    the most alike first.

    `by=sw.classify("text", […])` says that the statement holds exactly where the labels are equal:
    a call a row and none a pair; for the right table's own column give two. With `rewrite` a
    statement that the model takes to be of that kind is treated so by itself, if that agrees with
    direct answers about a few pairs. `symmetric`: of a table with itself, each pair is asked about
    once; None judges by the words. `model` may be an `sw.cascade`; `embed_model` is the alias of
    the embeddings' (the packaged encoder; without it letters alone).
    """
    cascade = model if isinstance(model, Cascade) else None
    predicate = Predicate(
        Template(template),
        instructions or getattr(template, "instructions", None),
        model=model.large if isinstance(model, Cascade) else model,
        max_tokens=max_tokens,
        temperature=temperature,
    )
    if pairs_per_call != "auto" and (not isinstance(pairs_per_call, int) or pairs_per_call < 1):
        raise InputError("pairs_per_call= is 'auto' or a number.", hint="1 asks about each alone.")
    return On(
        predicate,
        Settings(candidates, recall, max_pairs, embed_model).checked(),
        pairs_per_call,
        None if by is None else _sides(by),
        rewrite,
        symmetric,
        cascade,
    )


def same(by: Operator, right: Operator | None = None) -> On:
    """Rows for which a model gives the same value, for `frame.join(other, on=…)`: a call a row.

    reviews.join(reviews, on=sw.same(sw.classify("text", ["positive", "negative"])))
    """
    return On(None, by=_sides(by if right is None else (by, right)))


def _sides(by: Operator | tuple[Operator, Operator]) -> tuple[Operator, Operator]:
    both = by if isinstance(by, tuple) else (by, by)
    for operator in both:
        if not isinstance(operator, Operator) or operator.dtype.is_nested():
            raise InputError(
                "by= takes an operator that gives one value a row.",
                hint="For example by=sw.classify('text', ['positive', 'negative']).",
            )
    return both
