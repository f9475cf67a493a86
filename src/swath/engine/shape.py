"""How the shape of an answer is asked for, and what counts as an answer.

A request says *what* it wants (`schema`, `choices`); this file puts it in the terms that a model
takes: the provider's own JSON Schema, else its JSON mode with the schema in the prompt, else the
prompt alone. And it reads the text that comes back.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

import jsonschema_rs
import msgspec

from swath.catalog.model import Model
from swath.engine.call import Check
from swath.engine.quotes import ground, quote_paths
from swath.messages import Message, Request, Schema
from swath.providers import LOCAL, provider

LADDER = ("json_schema", "json_object")
KNOBS: dict[str, Any] = {
    "temperature": None,
    "top_p": None,
    "seed": None,
    "logprobs": None,
    "stop": (),
}
"""What may be left out of a request that a model refuses for it, and what leaving it out is."""


class Invalid(ValueError):
    """An answer of the wrong shape. The reason is shown to the model in the repair attempt, and
    `public` to the user: that one quotes nothing of the answer."""

    def __init__(self, reason: str, public: str = "", *, unreadable: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.public = public or reason
        self.unreadable = unreadable  # not even JSON, or empty: worth asking the same again
        self.ungrounded = False


def lower(request: Request, model: Model, features: frozenset[str]) -> tuple[Request, str]:
    """`request` in terms of what the model takes, and a note where that is a step down."""
    if request.choices and "choices" not in features:
        labels = Schema("label", label_schema(request.choices))
        asked = msgspec.structs.replace(request, choices=(), schema=labels)
        return lower(asked, model, features)
    if request.schema is None or "json_schema" in features:
        return request, ""
    told = _told(request)
    if "json_object" in features and model.provider != LOCAL:
        return provider(model.provider).json_mode(told), "JSON mode instead of a JSON schema"
    return msgspec.structs.replace(told, schema=None), "prompted for JSON instead of a JSON schema"


def without(request: Request, lacks: set[str]) -> tuple[Request, str]:
    """`request` without the knobs that the model is known to refuse, and a note of them."""
    gone = {k: KNOBS[k] for k in lacks if k in KNOBS and getattr(request, k) != KNOBS[k]}
    if not gone:
        return request, ""
    return msgspec.structs.replace(request, **gone), f"left out, not taken: {', '.join(gone)}"


def label_schema(choices: tuple[str, ...]) -> Mapping[str, Any]:
    return {
        "type": "object",
        "properties": {"label": {"type": "string", "enum": list(choices)}},
        "required": ["label"],
        "additionalProperties": False,
    }


def _told(request: Request) -> Request:
    """The schema said in the system message."""
    assert request.schema is not None
    text = (
        "Answer with one JSON object and nothing else. It must fit this JSON Schema:\n"
        + json.dumps(request.schema.json, ensure_ascii=False, separators=(",", ":"))
    )
    first = request.messages[0] if request.messages else None
    if first is not None and first.role == "system":
        head = (Message("system", f"{first.content}\n\n{text}"), *request.messages[1:])
    else:
        head = (Message("system", text), *request.messages)
    return msgspec.structs.replace(request, messages=head)


_FENCE = re.compile(r"^```[a-zA-Z]*\s*\n?(.*?)\n?```$", re.DOTALL)


def read_json(text: str) -> Any:
    """The JSON in an answer, which may stand in a code fence or between words."""
    body = text.strip()
    fenced = _FENCE.match(body)
    if fenced:
        body = fenced.group(1).strip()
    try:
        return msgspec.json.decode(body)
    except msgspec.DecodeError:
        pass
    starts = [i for i in (body.find("{"), body.find("[")) if i >= 0]
    if starts:
        try:
            return json.JSONDecoder(strict=False).raw_decode(body, min(starts))[0]
        except ValueError:
            pass
    reason = "It was not readable as JSON." if body else "It was empty."
    raise Invalid(
        reason, "the answer is not JSON." if body else "the answer is empty.", unreadable=True
    )


def check_for(request: Request) -> Check | None:
    """The check that the request itself implies: JSON of its schema, or one of its labels."""
    if request.choices:
        return lambda text: read_label(text, request.choices)
    if request.schema is not None:
        schema = request.schema
        return lambda text: conforming(read_json(text), schema)
    return None


def read_label(text: str, choices: tuple[str, ...]) -> str:
    answer: Any = text.strip()
    if answer.startswith(("{", "`")):
        value = read_json(answer)
        answer = value.get("label", "") if isinstance(value, dict) else value
    if answer in choices:
        return str(answer)
    if not answer:
        raise Invalid("It was empty.", "the answer is empty.", unreadable=True)
    plain = str(answer).strip(" \t\n\"'.`*").casefold()
    for choice in choices:
        if choice.casefold() == plain:
            return choice
    raise Invalid(
        f"It must be exactly one of: {', '.join(choices)}.", "the answer is none of the labels."
    )


def conforming(value: Any, schema: Schema) -> Any:
    """`value` if it fits; raises Invalid naming where it does not."""
    error = next(iter(_compile(schema).validator.iter_errors(value)), None)
    if error is None:
        return value
    where = ".".join(str(part) for part in error.instance_path) or "the answer"
    keyword = str(error.schema_path[-1]) if error.schema_path else "schema"
    raise Invalid(
        f"At {where}: {error.message}", f"the answer does not fit the schema ({where}: {keyword})."
    )


class _Compiled:
    __slots__ = ("paths", "schema", "validator")

    def __init__(self, schema: Schema) -> None:
        self.schema = schema  # held, so that its id stays its own
        self.validator = jsonschema_rs.validator_for(dict(schema.json))
        self.paths = quote_paths(schema.json)


_compiled: dict[int, _Compiled] = {}


def _compile(schema: Schema) -> _Compiled:
    """By identity: an operator asks thousands of times with one and the same schema."""
    known = _compiled.get(id(schema.json))
    if known is None:
        if len(_compiled) >= 256:
            _compiled.clear()
        known = _compiled[id(schema.json)] = _Compiled(schema)
    return known


def grounded(text: str, request: Request) -> str:
    """`text` with its quotes as the source spells them; raises Invalid where one is invented."""
    if request.schema is None or request.source is None:
        return text
    paths = _compile(request.schema).paths
    if not paths:
        return text
    value, missing = ground(read_json(text), paths, request.source)
    if missing:
        names = ", ".join(dict.fromkeys(missing))
        invalid = Invalid(
            f"{names} must be copied word for word from the text: what you gave does not occur "
            "there. Pick a sentence of the text and copy it exactly.",
            f"a quote is not in its source ({names}).",
        )
        invalid.ungrounded = True
        raise invalid
    return msgspec.json.encode(value).decode()
