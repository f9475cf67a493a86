"""Few-shot examples: what a row may look like and what its answer then is, told as earlier turns.

They stand between the instructions and the row, the same for every row, so that a provider's prompt
cache keeps them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
from pydantic import BaseModel

from swath.engine.shape import Invalid
from swath.errors import InputError
from swath.messages import Message
from swath.operators.schema import Shape
from swath.operators.template import Template

Examples = Sequence[tuple[Any, Any]] | Mapping[str, Any] | None
"""Pairs of a text and its answer. For a template of several columns the first of a pair is a dict
of their values."""


def shots(
    examples: Examples, write: Callable[[Any], str], template: Template | None = None
) -> tuple[Message, ...]:
    """The turns. `write` turns an answer into what a model would have said; raises InputError."""
    if not examples:
        return ()
    pairs = list(examples.items()) if isinstance(examples, Mapping) else list(examples)
    turns: list[Message] = []
    for number, pair in enumerate(pairs, 1):
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            raise InputError(
                f"Example {number} is no pair.", hint="Give (text, answer) for each example."
            )
        try:
            turns.append(Message("user", _asked(pair[0], template)))
            turns.append(Message("assistant", write(pair[1])))
        except InputError as error:
            raise InputError(f"Example {number}: {error.message}", hint=error.hint) from None
    return tuple(turns)


def _asked(given: Any, template: Template | None) -> str:
    if template is not None:
        return template.filled(given)
    if not isinstance(given, str):
        raise InputError("its text is no text.", hint="Give (text, answer) for each example.")
    return given


def as_label(labels: Sequence[str]) -> Callable[[Any], str]:
    """Answers that are one of `labels`."""

    def write(answer: Any) -> str:
        said = str(getattr(answer, "value", answer))
        if said not in labels:
            raise InputError(
                "its answer is none of the labels.", hint=f"There are: {', '.join(labels)}."
            )
        return said

    return write


def as_json(shape: Shape) -> Callable[[Any], str]:
    """Answers of a shape: a Pydantic object, or what JSON can say."""

    def plain(value: Any) -> Any:
        if isinstance(value, BaseModel):
            return value.model_dump(mode="json", by_alias=True)
        if isinstance(value, list | tuple):
            return [plain(item) for item in value]
        return value

    def write(answer: Any) -> str:
        value = {shape.wrapped: plain(answer)} if shape.wrapped else plain(answer)
        try:
            text = msgspec.json.encode(value).decode()
            shape.check(text)
        except (Invalid, TypeError) as error:
            public = error.public if isinstance(error, Invalid) else "it is no JSON value."
            raise InputError(
                f"its answer does not fit the schema: {public}",
                hint="Give an object of the schema.",
            ) from None
        return text

    return write


def as_text(answer: Any) -> str:
    if not isinstance(answer, str):
        raise InputError("its answer is no text.", hint="Give (text, answer) for each example.")
    return answer
