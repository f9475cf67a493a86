"""Sentences and bounded schemas: pure functions, checked by their invariants."""

from __future__ import annotations

import json
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from swath.local.grammar import compile_schema, label_fields
from swath.local.sentences import LONGEST, openings, quotable, sentences

PROSE = st.lists(
    st.sampled_from(
        [
            "Mr President,",
            "the House voted.",
            "No!",
            "On 12.5% of cases (e.g. fish) it",
            "said: “Never.”",
            "Dr. Who",
            "\n\n",
            "word " * 90,
            "clause, " * 60,
            "ends here;",
            "Why?",
            "  ",
            "欧州議会。",
            "…",
        ]
    ),
    max_size=12,
).map(" ".join)


@given(st.one_of(PROSE, st.text(max_size=300)))
def test_sentences_cover_the_text_with_exact_stretches(text: str) -> None:
    found = sentences(text)
    assert "".join("".join(found).split()) == "".join(text.split())
    at = 0
    for sentence in found:
        assert sentence == sentence.strip()
        assert sentence
        at = text.index(sentence, at) + len(sentence)
        assert len(sentence) <= LONGEST or " " not in sentence[25:LONGEST]


def test_sentences_end_where_a_reader_ends_them() -> None:
    text = (
        "Mr. Smith spoke for 3.5 hours. He said: “It is over.” Then\nnothing (Applause) e.g. this. "
        "Is it? Yes!"
    )
    assert sentences(text) == [
        "Mr. Smith spoke for 3.5 hours.",
        "He said: “It is over.”",
        "Then",
        "nothing (Applause) e.g. this.",
        "Is it?",
        "Yes!",
    ]


@given(PROSE)
def test_an_opening_names_one_sentence(text: str) -> None:
    found = quotable(text)
    named = openings(found)
    assert list(named.values()) == found
    for opening, sentence in named.items():
        assert sentence.startswith(opening)
        if opening != sentence:
            assert [s for s in found if s.startswith(opening)] == [sentence]


# --- schemas: each with a strategy for its small instances

Pair = tuple[dict[str, Any], st.SearchStrategy[Any]]
WORDS = st.text('ab cd.é"\n', max_size=8)
NAMES = st.sampled_from(["name", "age", "with space", "é"])


def leaf() -> st.SearchStrategy[Pair]:
    return st.sampled_from(
        [
            ({"type": "string"}, WORDS),
            ({"type": "string", "maxLength": 3}, st.text("xyz", max_size=3)),
            ({"type": "string", "enum": ["a", 'quote "b"']}, st.sampled_from(["a", 'quote "b"'])),
            ({"const": 7}, st.just(7)),
            ({"type": "integer"}, st.integers(-(10**6), 10**6)),
            ({"type": "integer", "minimum": 3, "maximum": 9}, st.integers(3, 9)),
            ({"type": "number", "exclusiveMinimum": 0}, st.sampled_from([0.5, 1, 2.25])),
            ({"type": "boolean"}, st.booleans()),
            ({"type": "null"}, st.none()),
            ({"type": ["string", "null"]}, st.one_of(WORDS, st.none())),
            ({"type": "string", "format": "date"}, st.just("2026-11-24")),
            ({}, st.one_of(WORDS, st.integers(0, 9), st.none())),
        ]
    )


@st.composite
def schemas(draw: st.DrawFn, depth: int = 2) -> Pair:
    kind = draw(st.sampled_from(["leaf", "object", "array", "any", "map", "all"]))
    if kind == "leaf" or depth == 0:
        return draw(leaf())
    if kind == "array":
        items, values = draw(schemas(depth - 1))
        bounds = draw(st.sampled_from([{}, {"minItems": 1}, {"maxItems": 2}]))
        least, most = bounds.get("minItems", 0), bounds.get("maxItems", 2)
        listed = st.lists(values, min_size=least, max_size=most)
        return {"type": "array", "items": items, **bounds}, listed
    if kind == "any":
        one, other = draw(schemas(depth - 1)), draw(leaf())
        return {"anyOf": [one[0], other[0]]}, st.one_of(one[1], other[1])
    if kind == "map":
        items, values = draw(leaf())
        keys = st.sampled_from(["x", "yy"])
        return (
            {"type": "object", "additionalProperties": items},
            st.dictionaries(keys, values, max_size=1),
        )
    fields = draw(st.dictionaries(NAMES, schemas(depth - 1), min_size=1, max_size=3))
    required = [name for name in fields if draw(st.booleans())]
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {name: pair[0] for name, pair in fields.items()},
        "required": required,
    }
    each = {name: pair[1] for name, pair in fields.items()}
    instances = st.fixed_dictionaries(
        {name: each[name] for name in required},
        optional={name: v for name, v in each.items() if name not in required},
    )
    return ({"allOf": [schema]} if kind == "all" else schema), instances


def instances(node: Any) -> st.SearchStrategy[Any]:
    """Anything that a bounded schema lets through."""
    if "enum" in node:
        return st.sampled_from(node["enum"])
    if "anyOf" in node:
        return st.one_of([instances(option) for option in node["anyOf"]])
    kind = node["type"]
    if kind == "object":
        named = {n: instances(p) for n, p in node.get("properties", {}).items()}
        required = {n: named[n] for n in node.get("required", ())}
        rest = {n: v for n, v in named.items() if n not in required}
        for values in node.get("patternProperties", {}).values():
            size = {"min_size": node["minProperties"], "max_size": node["maxProperties"]}
            return st.dictionaries(st.text("kl", min_size=1, max_size=9), instances(values), **size)
        return st.fixed_dictionaries(required, optional=rest)
    if kind == "array":
        size = {"min_size": node["minItems"], "max_size": node["maxItems"]}
        return st.lists(instances(node["items"]), **size)
    if kind == "string":
        if "format" in node:
            return st.just("2026-11-24")
        return st.text('ab é"', min_size=node["minLength"], max_size=node["maxLength"])
    if kind in ("integer", "number"):
        low = node.get("minimum", node.get("exclusiveMinimum", 0) + 1)
        high = node.get("maximum", node.get("exclusiveMaximum", 0) - 1)
        return st.integers(int(low), int(high))
    return st.booleans() if kind == "boolean" else st.none()


def without_steps(node: Any) -> Any:
    """`multipleOf` only ends a number's digits, and binary fractions fail it."""
    if isinstance(node, dict):
        return {k: without_steps(v) for k, v in node.items() if k != "multipleOf"}
    return [without_steps(v) for v in node] if isinstance(node, list) else node


@settings(max_examples=150)
@given(st.data())
def test_a_bounded_schema_accepts_small_instances(data: st.DataObject) -> None:
    schema, values = data.draw(schemas())
    value = data.draw(values)
    bounded = compile_schema(schema, source=None, tokens=4000).schema
    assert jsonschema_rs.is_valid(without_steps(bounded), value)


@settings(max_examples=150)
@given(st.data())
def test_a_bounded_schema_accepts_nothing_new_and_nothing_long(data: st.DataObject) -> None:
    schema, _ = data.draw(schemas())
    bounded = compile_schema(schema, source=None, tokens=400, chars_per_token=1.0)
    value = data.draw(instances(bounded.schema))
    assert jsonschema_rs.is_valid(schema, value)
    # Quotation marks are escaped, which at most doubles what they take.
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    assert len(text.replace('\\"', "'")) <= 400


TREE: dict[str, Any] = {
    "$defs": {
        "Node": {
            "type": "object",
            "properties": {
                "name": {"type": "string"},
                "children": {"type": "array", "items": {"$ref": "#/$defs/Node"}},
                "next": {"anyOf": [{"$ref": "#/$defs/Node"}, {"type": "null"}]},
            },
            "required": ["name", "children", "next"],
        }
    },
    "$ref": "#/$defs/Node",
}


def test_recursion_ends() -> None:
    bounded = dict(compile_schema(TREE, source=None, tokens=2000).schema)
    end: dict[str, Any] = {"name": "b", "children": [], "next": None}
    assert jsonschema_rs.is_valid(bounded, {"name": "a", "children": [end], "next": end})
    assert "$ref" not in json.dumps(bounded)
    endless: dict[str, Any] = {
        "$defs": {"E": {"properties": {"e": {"$ref": "#/$defs/E"}}, "required": ["e"]}}
    }
    with pytest.raises(ValueError, match="no finite instance"):
        compile_schema({**endless, "$ref": "#/$defs/E"}, source=None, tokens=100)


SPEECH = (
    "Mr President, the quota must stay. The quota must go, say others, and they are wrong. "
    "Farmers in the north depend on it!"
)
QUOTING: dict[str, Any] = {
    "type": "object",
    "properties": {
        "claim": {"type": "string", "description": "the main point in one short sentence"},
        "stance": {"enum": ["for", "against"]},
        "quotes": {"type": "array", "items": {"type": "string", "format": "quote"}},
    },
    "required": ["claim", "stance", "quotes"],
}


def test_quotes_are_written_short_and_read_whole() -> None:
    compiled = compile_schema(QUOTING, source=SPEECH, tokens=300)
    allowed = compiled.schema["properties"]["quotes"]["items"]["enum"]
    assert allowed == ["Mr", "The", "Farmers"]
    reply = '{"claim":"It must stay.","stance":"for","quotes":["The","Farmers"]}'
    read = json.loads(compiled.read(reply))
    assert read["quotes"] == [
        "The quota must go, say others, and they are wrong.",
        "Farmers in the north depend on it!",
    ]
    assert all(q in SPEECH for q in read["quotes"])
    whole = compile_schema(QUOTING, source=SPEECH, tokens=300, whole_quotes=True)
    assert whole.schema["properties"]["quotes"]["items"]["enum"] == sentences(SPEECH)


@pytest.mark.parametrize(
    "reply",
    [
        '{"claim":"It must stay.","stance":"for","quotes":["Invented"]}',
        '{"claim":"It must stay. And so on.","stance":"for","quotes":[]}',
        '{"claim":"It must stay.","stance":"maybe","quotes":[]}',
        '{"claim":"It must st',
        "Sure! Here you are",
    ],
)
def test_a_reply_that_nothing_held_is_told_apart(reply: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        compile_schema(QUOTING, source=SPEECH, tokens=300).read(reply)


def test_a_string_that_ran_into_its_bound_ends_at_a_sentence_or_word() -> None:
    schema = {"type": "object", "properties": {"s": {"type": "string", "maxLength": 30}}}
    compiled = compile_schema(schema, source=None, tokens=100)
    assert json.loads(compiled.read('{"s":"One two three four. Five six s"}'))["s"] == (
        "One two three four."
    )
    assert json.loads(compiled.read('{"s":"One two three four five six se"}'))["s"] == (
        "One two three four five six"
    )
    assert json.loads(compiled.read('{"s":"short"}'))["s"] == "short"


def test_a_long_speech_has_quotes_of_readable_length() -> None:
    speech = ("The honourable member, who spoke before me, said so; I do not agree. " * 220)[:15000]
    found = quotable(speech + "A last word, then " + "and on it goes, " * 60 + "done.")
    assert all(25 <= len(q) <= LONGEST for q in found)


def test_label_fields_are_those_of_a_fixed_choice() -> None:
    assert label_fields(QUOTING) == {"stance": ("for", "against")}
    assert label_fields({"type": "array", "items": QUOTING}) == {}
