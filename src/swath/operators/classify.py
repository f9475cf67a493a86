"""`classify`: one label for a text, or every label that fits."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from enum import Enum
from functools import cached_property
from typing import Any, Literal, get_args, get_origin

import msgspec
import polars as pl

from swath.engine.shape import conforming, read_json, read_label
from swath.errors import InputError
from swath.messages import Completion, Message, Request, Schema
from swath.operators.base import Ask, Check, ModelChoice, Operator
from swath.operators.cascade import Cascade
from swath.operators.cascaded import by
from swath.operators.examples import Examples, as_label, shots
from swath.operators.long import Long
from swath.operators.parts import Part
from swath.operators.prompts import labels as label_lines

_ALONE = "\n\nAnswer with the label alone."
_SCORED = pl.Struct({"label": pl.String(), "score": pl.Float64()})


class Classify(Operator):
    """String, or List(String) with `multi`, or a struct of label and score with `scores`."""

    kind = "classify"

    def __init__(
        self,
        text: str | pl.Expr,
        labels: Mapping[str, str],
        *,
        multi: bool,
        scores: bool,
        instructions: str | None,
        **common: Any,
    ) -> None:
        super().__init__(text, **common)
        self.labels = labels
        self.multi = multi
        self.scores = scores
        self.instructions = instructions
        self._choices = tuple(labels)

    @property
    def dtype(self) -> pl.DataType:
        if self.multi:
            return pl.List(pl.String())
        return _SCORED if self.scores else pl.String()

    @property
    def settings(self) -> tuple[Hashable, ...]:
        return (tuple(self.labels.items()), self.multi, self.scores, self.instructions)

    @cached_property
    def system(self) -> Message:
        task = self.instructions or (
            "Name every label that fits the text; none is an answer too."
            if self.multi
            else "Choose the one label that fits the text best."
        )
        end = "" if self.multi else _ALONE
        return Message("system", f"{task}\n\n{label_lines(self.labels)}{end}")

    @cached_property
    def schema(self) -> Schema:
        items = {"type": "string", "enum": list(self._choices)}
        listed = {"type": "array", "items": items, "uniqueItems": True}
        return Schema(
            "labels",
            {
                "type": "object",
                "properties": {"labels": listed},
                "required": ["labels"],
                "additionalProperties": False,
            },
        )

    def ask(self, text: str, model: str) -> Request:
        return Request(
            model=model,
            messages=(self.system, *self.shots, Message("user", text)),
            schema=self.schema if self.multi else None,
            choices=() if self.multi else self._choices,
            source=text,
            temperature=self.temperature,
            max_tokens=self.max_tokens,
        )

    @property
    def check(self) -> Check | None:
        return self._check_many if self.multi else None

    def _check_many(self, text: str) -> list[str]:
        value = read_json(text)
        if isinstance(value, dict) and isinstance(value.get("labels"), list):
            # A label named twice is no fault worth a second call.
            value = {**value, "labels": list(dict.fromkeys(map(str, value["labels"])))}
        return list(conforming(value, self.schema)["labels"])

    def value(self, completion: Completion) -> Any:
        if self.multi:
            parsed = completion.parsed
            return self._check_many(completion.text) if parsed is None else parsed
        label = completion.text
        if label not in self.labels:
            label = read_label(label, self._choices)
        if not self.scores:
            return label
        return {"label": label, "score": completion.scores.get(label)}

    @property
    def part(self) -> Part | None:
        if self.shots or self.long != "refuse" or self.scores or not isinstance(self.text, str):
            return None
        task = self.system.content.removesuffix(_ALONE)
        if self.multi:
            labels = {
                k: v
                for k, v in self.schema.json["properties"]["labels"].items()
                if k != "uniqueItems"
            }
            return Part(self.text, task, labels, lambda v: list(dict.fromkeys(map(str, v))))
        label = {"type": "string", "enum": list(self._choices)}
        return Part(self.text, task, label, lambda v: read_label(str(v), self._choices))

    async def combine(self, ask: Ask, request: Request, values: list[Any]) -> Any:
        if self.multi:
            found = {label for labels in values for label in labels}
            return [label for label in self._choices if label in found]
        if not self.scores:
            return max(dict.fromkeys(values), key=values.count)
        weights: dict[str, float] = {}
        for value in values:
            weight = 1.0 if value["score"] is None else value["score"]
            weights[value["label"]] = weights.get(value["label"], 0.0) + weight
        label = max(weights, key=lambda name: weights[name])
        known = all(value["score"] is not None for value in values)
        return {"label": label, "score": weights[label] / len(values) if known else None}

    def describe(self) -> str:
        return f"classify({self._text_name()}, {len(self.labels)} labels)"


def classify(
    text: str | pl.Expr,
    labels: Iterable[str] | Mapping[str, str] | type[Enum] | Any,
    *,
    multi: bool = False,
    scores: bool = False,
    model: ModelChoice | Cascade = None,
    instructions: str | None = None,
    examples: Examples = None,
    long: Long = "refuse",
    max_tokens: int | None = None,
    temperature: float | None = None,
) -> Operator:
    """The label of `text` as a String column.

    `labels`: a list, a mapping from label to what it means, an Enum, or a Literal. `multi` gives
    every label that fits (a list column); `scores` a struct of the label and its probability (null
    where the model does not tell). Null and blank texts give null without a call. `examples` are
    pairs of a text and its label (with `multi`: its list of labels). `long` says what becomes of a
    text over the model's window: "refuse", "truncate", or "chunk" (the label of most of its pieces;
    with `multi` every label of any). `model` may be an `sw.cascade`.

        sw.classify("text", {"fraud": "a payment the customer did not make", "other": ""})
    """
    if multi and scores:
        raise InputError("scores are not known for several labels.", hint="Leave out one of both.")
    described = _described(labels)
    write = _many(tuple(described)) if multi else as_label(tuple(described))
    return by(
        model,
        lambda alias: Classify(
            text,
            described,
            shots=shots(examples, write),
            long=long,
            multi=multi,
            scores=scores,
            instructions=instructions,
            model=alias,
            max_tokens=max_tokens,
            temperature=temperature,
        ),
    )


def _many(labels: tuple[str, ...]) -> Callable[[Any], str]:
    """Examples of several labels, as the schema wants them said."""
    one = as_label(labels)

    def write(answer: Any) -> str:
        if isinstance(answer, str):
            answer = [answer]
        return msgspec.json.encode({"labels": [one(label) for label in answer]}).decode()

    return write


def _described(labels: Any) -> dict[str, str]:
    if isinstance(labels, Mapping):
        described = {str(label): str(about or "") for label, about in labels.items()}
    elif isinstance(labels, type) and issubclass(labels, Enum):
        described = {str(member.value): "" for member in labels}
    elif get_origin(labels) is Literal:
        described = {str(label): "" for label in get_args(labels)}
    elif isinstance(labels, str) or not isinstance(labels, Iterable):
        raise InputError(
            "labels must be a list, a mapping from label to description, an Enum or a Literal.",
            hint="For example ['card', 'loan'], or {'card': 'about a payment card'}.",
        )
    else:
        given = [str(label) for label in labels]
        described = dict.fromkeys(given, "")
        if len(described) < len(given):
            raise InputError("A label is given twice.", hint="Each label must be its own.")
    if len(described) < 2 or not all(label.strip() for label in described):
        raise InputError("At least two labels are needed, none of them blank.")
    return described
