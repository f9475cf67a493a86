"""Schemas in strict form, and answers brought back to the user's schema."""

from __future__ import annotations

import json
from enum import Enum
from typing import Any, Literal, Optional

import jsonschema_rs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from swath.messages import Schema
from swath.providers.schemas import ANTHROPIC, GOOGLE, OPENAI, lower


def strict(schema: dict[str, Any], rules=OPENAI):
    return lower(Schema("T", schema), rules)


class Mood(Enum):
    GOOD = "good"
    BAD = "bad"


class Claim(BaseModel):
    text: str = Field(description="What is claimed", min_length=3)
    weight: float = Field(ge=0, le=1)


class Speech(BaseModel):
    mood: Mood
    claims: list[Claim] = Field(max_length=3)
    about: Optional[Claim] = None  # noqa: UP045
    kind: Literal["a", "b"] = "a"
    tags: list[str] = []
    score: int | str | None = None


def every_object(node: Any):
    if isinstance(node, dict):
        if node.get("type") == "object":
            yield node
        for value in node.values():
            yield from every_object(value)
    elif isinstance(node, list):
        for value in node:
            yield from every_object(value)


@pytest.mark.parametrize("rules", [OPENAI, ANTHROPIC])
def test_a_pydantic_model_becomes_strict(rules):
    lowered = strict(Speech.model_json_schema(), rules)
    assert lowered.strict
    objects = list(every_object(lowered.json))
    assert len(objects) == 2
    for one in objects:
        assert one["required"] == list(one["properties"])
        assert one["additionalProperties"] is False
    text = json.dumps(lowered.json)
    assert '"title"' not in text
    assert '"default"' not in text
    assert json.loads(bytes(lowered.raw)) == lowered.json
    jsonschema_rs.validator_for(lowered.json)


def test_what_an_answer_leaves_null_is_left_out_again():
    lowered = strict(Speech.model_json_schema())
    answer = {
        "mood": "good",
        "claims": [{"text": "abc", "weight": 1}],
        "about": None,
        "kind": None,
        "tags": None,
        "score": None,
    }
    jsonschema_rs.validator_for(lowered.json).validate(answer)
    restored = json.loads(lowered.restore(json.dumps(answer)))
    assert restored == {
        "mood": "good",
        "claims": [{"text": "abc", "weight": 1}],
        "about": None,
        "score": None,
    }
    assert Speech.model_validate(restored).kind == "a"


def test_constraints_not_taken_are_said():
    claim = strict(Speech.model_json_schema(), ANTHROPIC).json["$defs"]["Claim"]["properties"]
    assert claim["text"]["description"] == "What is claimed (minLength: 3)"
    assert claim["weight"]["description"] == "(maximum: 1, minimum: 0)"
    assert strict(Claim.model_json_schema()).json["properties"]["weight"]["maximum"] == 1


@pytest.mark.parametrize(
    "root",
    [
        {"type": "string", "enum": ["a", "b"]},
        {"type": "array", "items": {"type": "integer"}},
        {"anyOf": [{"type": "string"}, {"type": "integer"}]},
    ],
)
def test_a_root_that_is_no_object_is_wrapped(root):
    lowered = strict(root)
    assert lowered.json["required"] == ["value"]
    assert lowered.restore('{"value": "a"}') == '"a"'
    assert strict(root, GOOGLE).json.get("required") is None


def test_a_root_reference_is_put_in_place():
    class Tree(BaseModel):
        name: str
        children: list[Tree] = []

    Tree.model_rebuild(_types_namespace={"Tree": Tree})
    lowered = strict(Tree.model_json_schema())
    assert lowered.strict
    assert lowered.json["type"] == "object"
    answer = '{"name": "a", "children": [{"name": "b", "children": null}]}'
    assert json.loads(lowered.restore(answer)) == {"name": "a", "children": [{"name": "b"}]}
    assert not strict(Tree.model_json_schema(), ANTHROPIC).strict


@pytest.mark.parametrize(
    "shape",
    [
        {"type": "object", "additionalProperties": {"type": "integer"}},
        {"type": "object"},
        {"type": "object", "properties": {"x": {}}},
        {"type": "object", "properties": {"x": True}},
        {"type": "object", "properties": {"x": {"type": "array"}}},
        {"type": "object", "properties": {"x": {"not": {"type": "string"}}}},
        {"type": "object", "properties": {"x": {"allOf": [{"type": "string"}, {"minLength": 3}]}}},
        {"type": "object", "properties": {"x": {"type": "array", "prefixItems": []}}},
    ],
)
def test_what_has_no_strict_form_is_sent_as_it_is(shape):
    lowered = strict(shape)
    assert not lowered.strict
    assert lowered.json == shape
    assert lowered.restore('{"x": null}') == '{"x": null}'


def test_a_property_may_be_called_like_a_keyword():
    shape = {
        "type": "object",
        "properties": {
            "title": {"type": "string"},
            "format": {"type": "string"},
            "default": {"type": "string"},
        },
        "required": ["title", "format", "default"],
    }
    assert strict(shape).json == {**shape, "additionalProperties": False}


def test_unions_and_single_arms():
    shape = {
        "type": "object",
        "properties": {
            "x": {"oneOf": [{"type": "string"}, {"type": "integer"}], "discriminator": {}},
            "y": {"allOf": [{"type": "string"}], "description": "d"},
            "z": {"const": 1},
            "w": {"enum": ["a", None]},
        },
        "required": ["x", "y", "z", "w"],
    }
    assert strict(shape).json["properties"] == {
        "x": {"anyOf": [{"type": "string"}, {"type": "integer"}]},
        "y": {"type": "string", "description": "d"},
        "z": {"const": 1, "type": "integer"},
        "w": {"enum": ["a", None], "type": ["string", "null"]},
    }
    assert strict(shape, GOOGLE).json["properties"]["z"] == {"enum": [1], "type": "integer"}


def test_names_are_made_fit():
    assert lower(Schema("My form / v2", {"type": "object"}), OPENAI).name == "My_form___v2"
    assert lower(Schema("", {"type": "object"}), OPENAI).name == "reply"


def test_a_text_cut_short_stays_as_it_is():
    assert strict(Speech.model_json_schema()).restore('{"mood": "go') == '{"mood": "go'


def test_a_schema_is_written_once():
    schema = Schema("T", Speech.model_json_schema())
    assert lower(schema, OPENAI) is lower(schema, OPENAI)
    assert lower(Schema("T", Speech.model_json_schema()), OPENAI) is lower(schema, OPENAI)
    assert lower(schema, OPENAI) is not lower(schema, ANTHROPIC)


leaves = st.sampled_from(
    [
        {"type": "string"},
        {"type": "integer", "minimum": 0},
        {"type": ["string", "null"]},
        {"enum": ["a", "b"]},
        {"type": "boolean", "default": True},
    ]
)


def objects(children):
    def build(parts):
        names = {f"p{i}": child for i, (child, _) in enumerate(parts)}
        required = [f"p{i}" for i, (_, needed) in enumerate(parts) if needed]
        return {"type": "object", "properties": names, "required": required}

    return st.lists(st.tuples(children, st.booleans()), min_size=1, max_size=4).map(build)


shapes = objects(
    st.recursive(
        leaves,
        lambda inner: objects(inner) | inner.map(lambda i: {"type": "array", "items": i}),
        max_leaves=6,
    )
)


def answer_to(draw, node):
    """An answer that fits a strict schema."""
    kind = node.get("type")
    if isinstance(kind, list):
        kind = draw(st.sampled_from(kind))
    if kind == "null":
        return None
    if "enum" in node:
        return draw(st.sampled_from([v for v in node["enum"] if v is not None]))
    if kind == "object":
        return {name: answer_to(draw, child) for name, child in node["properties"].items()}
    if kind == "array":
        return [answer_to(draw, node["items"]) for _ in range(draw(st.integers(0, 2)))]
    return {"string": "x", "integer": 1, "boolean": False}[kind]


@given(shapes, st.data())
def test_any_strict_answer_fits_the_users_schema_once_restored(shape, data):
    lowered = strict(shape)
    assert lowered.strict
    answer = answer_to(data.draw, lowered.json)
    jsonschema_rs.validator_for(lowered.json).validate(answer)
    restored = json.loads(lowered.restore(json.dumps(answer)))
    jsonschema_rs.validator_for(shape).validate(restored)
