"""A recipe in words: how to call it, what the model is told, what should come out."""

from __future__ import annotations

import inspect
import json
from typing import Any

from swath.recipes.recipe import Asking, Corpus, Group, Recipe, Row

_COLUMNS = {"when": "date"}  # what a column might be called, where not as its parameter


def usage(recipe: Recipe) -> str:
    """A line of Python that calls it."""
    name = f"sw.recipes.{recipe.name}"
    if isinstance(recipe, Corpus):
        needed = [
            p.name
            for p in inspect.signature(recipe.make).parameters.values()
            if p.kind is p.KEYWORD_ONLY and p.default is p.empty
        ]
        more = "".join(f', {n}="{_COLUMNS.get(n, n)}"' for n in needed)
        return f'{name}(frame, "text"{more})'
    assert isinstance(recipe, Asking)
    given = "".join(f', {n}="{p.sample}"' for n, p in recipe.parameters.items())
    call = f'{name}("text"{given})'
    if isinstance(recipe, Group):
        return f"frame.group_by(…).agg(x={call})"
    return f"frame.with_columns(x={call})"


def prompt(recipe: Row | Group) -> str:
    """What the model is told before it sees a text; the examples come after it."""
    return str(operator(recipe).ask("", "model").messages[0].content)


def schema(recipe: Row | Group) -> dict[str, Any] | list[str] | None:
    """The JSON Schema of an answer, or its labels; None for plain text."""
    asked = operator(recipe).ask("", "model")
    if asked.choices:
        return list(asked.choices)
    return dict(asked.schema.json) if asked.schema else None


def operator(recipe: Row | Group) -> Any:
    return recipe("text", **recipe.sample)


def dtype(recipe: Recipe) -> str:
    """The type of the column, "" for a frame."""
    return str(operator(recipe).dtype) if isinstance(recipe, Row | Group) else ""


def pairs(recipe: Recipe) -> list[tuple[str, str]]:
    """The golden examples as texts: input, and answer as JSON or a label."""
    return [(_plain(given, "\n"), _plain(answer)) for given, answer in recipe.examples]


def text(recipe: Recipe) -> str:
    """All of it, for a terminal."""
    parts = [f"{recipe.name} (over {recipe.over})\n{recipe.about}", usage(recipe)]
    if isinstance(recipe, Corpus):
        parts.append(inspect.cleandoc(recipe.how))
        if recipe.parts:
            parts.append(f"Asks by: {', '.join(recipe.parts)}.")
        return "\n\n".join(parts)
    assert isinstance(recipe, Row | Group)
    for name, parameter in recipe.parameters.items():
        default = f" [default: {parameter.default}]" if parameter.default else ""
        parts.append(f"{name}=: {parameter.about}{default}")
    parts.append(f"Gives: {dtype(recipe)}")
    parts.append(f"Prompt\n{_indented(prompt(recipe))}")
    shape = schema(recipe)
    if isinstance(shape, dict):
        parts.append(f"Schema\n{_indented(json.dumps(shape, indent=2))}")
    for number, (given, answer) in enumerate(pairs(recipe), 1):
        parts.append(f"Example {number}\n{_indented(given)}\n  →\n{_indented(answer)}")
    if recipe.golden:
        parts.append(f"Golden set: swath eval {recipe.golden}")
    return "\n\n".join(parts)


def _plain(value: Any, between: str = "") -> str:
    if isinstance(value, str):
        return value
    if between and isinstance(value, list):
        return between.join(f"- {item}" for item in value)
    return json.dumps(value, ensure_ascii=False)


def _indented(said: str) -> str:
    return "\n".join(f"  {line}".rstrip() for line in said.splitlines())
