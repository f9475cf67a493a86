"""Operators as values: schemas, templates, questions, answers. No session, no model."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from enum import Enum
from typing import Any, Literal

import msgspec
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field, field_validator
from typing_extensions import TypedDict

import swath as sw
from swath.engine import Invalid
from swath.messages import Completion
from swath.operators.base import Operator
from swath.operators.template import Template


class Person(BaseModel):
    name: str = Field(description="full name")
    age: int | None = None


class Everything(BaseModel):
    claim: str
    stance: Literal["for", "against"]
    score: float
    count: int
    sure: bool
    on: date | None
    at: datetime
    people: list[Person]
    evidence: sw.Quote
    others: list[sw.Quote] = []
    maybe: sw.Quote | None = None
    tags: dict[str, int] = {}
    either: int | str = 0


GOOD = {
    "claim": "c",
    "stance": "for",
    "score": 1.5,
    "count": 2,
    "sure": True,
    "on": "2024-02-03",
    "at": "2024-02-03T10:00:00+02:00",
    "people": [{"name": "Ann", "age": 3}, {"name": "Bo", "age": None}],
    "evidence": "words",
    "others": ["words"],
    "maybe": None,
    "tags": {"x": 1},
    "either": "text",
}


def said(value: Any) -> Completion:
    return Completion(text=value if isinstance(value, str) else msgspec.json.encode(value).decode())


def asked(operator: Operator, **columns: list[Any]) -> list[str | None]:
    requests = operator.requests(pl.DataFrame(columns, strict=False), "m")
    return [r and r.messages[-1].content for r in requests]


def test_a_pydantic_model_becomes_a_typed_struct() -> None:
    fields = dict(sw.extract("text", Everything).dtype)  # type: ignore[call-overload]
    person = pl.Struct({"name": pl.String, "age": pl.Int64})
    assert fields == {
        "claim": pl.String,
        "stance": pl.String,
        "score": pl.Float64,
        "count": pl.Int64,
        "sure": pl.Boolean,
        "on": pl.Date,
        "at": pl.Datetime("us"),
        "people": pl.List(person),
        "evidence": pl.String,
        "others": pl.List(pl.String),
        "maybe": pl.String,
        "tags": pl.List(pl.Struct({"key": pl.String, "value": pl.Int64})),
        "either": pl.String,
    }


def test_values_fit_the_column() -> None:
    operator = sw.extract("text", Everything)
    column = operator.column("x", [operator.value(said(GOOD)), None])
    row = column[0]
    assert row["on"] == date(2024, 2, 3)
    assert row["at"] == datetime(2024, 2, 3, 8)
    assert row["people"] == GOOD["people"]
    assert row["tags"] == [{"key": "x", "value": 1}]
    assert row["either"] == '"text"'
    assert column[1] is None


def test_the_model_sees_plain_schema_and_every_field() -> None:
    request = sw.extract("text", Everything).ask("the text", "m")
    assert request.schema is not None
    schema = request.schema.json
    assert "$ref" not in str(schema)
    assert "title" not in schema
    assert schema["required"] == list(Everything.model_fields)
    assert schema["properties"]["evidence"] == {"type": "string", "format": "quote"}
    assert schema["properties"]["others"]["items"]["format"] == "quote"
    assert request.source == "the text"
    assert "full name" in request.system
    assert [m.role for m in request.messages] == ["system", "user"]


def test_the_users_own_validators_count() -> None:
    class Strict(BaseModel):
        code: str

        @field_validator("code")
        @classmethod
        def upper(cls, value: str) -> str:
            if not value.isupper():
                raise ValueError("must be upper case")
            return value

    operator = sw.extract("text", Strict)
    assert operator.value(said({"code": "AB"})) == {"code": "AB"}
    with pytest.raises(Invalid) as caught:
        operator.value(said({"code": "secret"}))
    assert "upper case" in caught.value.reason
    assert "secret" not in caught.value.public


@pytest.mark.parametrize(
    "text", ['```json\n{"name": "Ann", "age": 3}\n```', 'Here: {"name": "Ann", "age": 3} Done.']
)
def test_json_between_words_is_read(text: str) -> None:
    assert sw.extract("text", Person).value(said(text)) == {"name": "Ann", "age": 3}


def test_other_types_are_schemas_too() -> None:
    @dataclass
    class Point:
        x: int

    class Typed(TypedDict):
        y: float

    assert sw.extract("t", Point).dtype == pl.Struct({"x": pl.Int64})
    assert sw.extract("t", Typed).dtype == pl.Struct({"y": pl.Float64})
    several = sw.extract("t", list[Point])
    assert several.dtype == pl.List(pl.Struct({"x": pl.Int64}))
    assert several.value(said({"items": [{"x": 1}]})) == [{"x": 1}]


def test_a_json_schema_dict_is_a_schema_too() -> None:
    operator = sw.extract(
        "t",
        {
            "type": "object",
            "properties": {
                "size": {"type": ["integer", "null"]},
                "kind": {"enum": ["a", "b"]},
                "when": {"type": "string", "format": "date"},
            },
        },
    )
    expected = {"size": pl.Int64, "kind": pl.String, "when": pl.Date}
    assert dict(operator.dtype) == expected  # type: ignore[call-overload]
    value = operator.value(said({"size": None, "kind": "a", "when": "2020-01-01"}))
    assert value == {"size": None, "kind": "a", "when": date(2020, 1, 1)}
    with pytest.raises(Invalid):
        operator.value(said({"size": "big", "kind": "a", "when": ""}))


@pytest.mark.parametrize(
    "bad", [{"type": "array"}, {"properties": {}}, {"a": 1}, "Model", lambda: 1, pytest]
)
def test_what_is_no_schema_is_refused_at_once(bad: Any) -> None:
    with pytest.raises(sw.InputError) as caught:
        sw.extract("text", bad)
    assert caught.value.hint


def test_recursive_models_keep_the_inner_part_as_json() -> None:
    class Tree(BaseModel):
        name: str
        children: list[Tree] = []

    operator = sw.extract("t", Tree)
    value = operator.value(said({"name": "a", "children": [{"name": "b", "children": []}]}))
    assert operator.column("x", [value]).dtype == operator.dtype


def test_templates_name_their_columns_strictly() -> None:
    operator = sw.map("{{json}} {a}-{ b }")
    assert asked(operator, a=["x", None, "y", " "], b=[1, 2, None, None]) == [
        "{json} x-1",
        None,
        None,
        None,
    ]
    with pytest.raises(sw.ColumnNotFound, match="There are: a, b"):
        sw.map("{c}").reads(pl.Schema({"a": pl.String, "b": pl.String}))


def test_templates_reach_into_structs_and_show_nested_values_as_json() -> None:
    nested = [{"x": 1, "l": ["p", "q"]}]
    assert asked(sw.map("{s.x} {s.l} {s}"), s=nested) == ['1 ["p","q"] {"x":1,"l":["p","q"]}']
    schema = pl.DataFrame({"s": nested}).schema
    with pytest.raises(sw.ColumnNotFound, match=r"s\.l, s\.x"):
        sw.map("{s.z}").reads(schema)
    assert sw.map("{s.x}").reads(schema) == {"s"}


@pytest.mark.parametrize("bad", ["no column", "{", "{}", "}", "{a", "a}", "{a{b}}"])
def test_broken_templates_are_refused(bad: str) -> None:
    with pytest.raises(sw.InputError):
        sw.map(bad)


@given(st.lists(st.sampled_from(["{", "}", "x", " ", "ü"]), max_size=12))
def test_doubled_braces_are_plain_ones(pieces: list[str]) -> None:
    text = "".join(pieces)
    doubled = text.replace("{", "{{").replace("}", "}}")
    schema = pl.Schema({"c": pl.String()})
    template = Template(doubled + "{c}")
    filled = pl.DataFrame({"c": ["v"]}).select(template.expr(schema))
    assert filled.item() == text + "v"


def test_equal_rows_share_one_question() -> None:
    operator = sw.extract("text", Person)
    first, second, third = operator.requests(pl.DataFrame({"text": ["a", "b", "a"]}), "m")
    assert first is third
    assert first is not second


def test_the_model_can_differ_by_row() -> None:
    long = pl.when(pl.col("text").str.len_chars() > 3).then(pl.lit("big"))
    operator = sw.classify("text", ["x", "y"], model=long)
    requests = operator.requests(pl.DataFrame({"text": ["abcd", "ab", None]}), "standard")
    assert [r and r.model for r in requests] == ["big", "standard", None]
    assert operator.reads(pl.Schema({"text": pl.String, "n": pl.Int64})) == {"text"}


def test_a_list_of_models_is_first_and_fallback() -> None:
    operator = sw.map("{a}", model=["one", "two", "three"])
    assert operator.model == "one"
    assert operator.fallback == ("two", "three")


def test_an_expression_of_a_column_can_be_the_text() -> None:
    operator = sw.classify(pl.col("text").str.head(3), ["x", "y"])
    assert asked(operator, text=["abcdef"]) == ["abc"]


def test_labels_come_in_many_forms() -> None:
    class Colour(Enum):
        RED = "red"
        BLUE = "blue"

    for labels in (["red", "blue"], ("red", "blue"), Colour, Literal["red", "blue"]):
        request = sw.classify("t", labels).ask("x", "m")
        assert request.choices == ("red", "blue")
    described = sw.classify("t", {"red": "as blood", "blue": ""}).ask("x", "m")
    assert "- red: as blood\n- blue" in described.system


@pytest.mark.parametrize("bad", [["one"], ["a", "a"], "ab", 3, ["a", " "]])
def test_labels_must_be_a_choice(bad: Any) -> None:
    with pytest.raises(sw.InputError):
        sw.classify("t", bad)


def test_several_labels_make_a_list() -> None:
    operator = sw.classify("t", ["a", "b"], multi=True)
    assert operator.dtype == pl.List(pl.String)
    assert operator.value(said({"labels": ["b", "a", "b"]})) == ["b", "a"]
    assert operator.value(said({"labels": []})) == []
    with pytest.raises(Invalid):
        operator.value(said({"labels": ["c"]}))


def test_scores_are_offered() -> None:
    operator = sw.classify("t", ["a", "b"], scores=True)
    value = operator.value(Completion(text="a", scores={"a": 0.75, "b": 0.25}))
    assert operator.column("x", [value])[0] == {"label": "a", "score": 0.75}
    assert operator.value(Completion(text="b")) == {"label": "b", "score": None}


def test_predicates_are_boolean() -> None:
    operator = sw.predicate("Lost: {t}")
    assert operator.dtype == pl.Boolean
    assert [operator.value(said(text)) for text in ("yes", "no", "No.")] == [True, False, False]


def test_operators_are_values() -> None:
    assert sw.extract("t", Person) == sw.extract("t", Person)
    assert sw.extract("t", Person) != sw.extract("u", Person)
    assert sw.map("{a}", model="x") != sw.map("{a}", model="y")
    assert hash(sw.predicate("{a}")) == hash(sw.predicate("{a}"))
    by_row = pl.when(pl.col("a") == "").then(pl.lit("x"))
    assert sw.map("{a}", model=by_row) == sw.map("{a}", model=by_row)


@pytest.mark.parametrize("use", [lambda o: o + 1, lambda o: ~o, lambda o: o & o, lambda o: bool(o)])
def test_an_operator_is_no_expression_and_says_so(use: Any) -> None:
    with pytest.raises(sw.InputError, match="column first"):
        use(sw.predicate("{a}"))


def test_public_names_are_the_functions_whatever_was_imported() -> None:
    import swath.operators.extract
    import swath.operators.map

    assert callable(swath.operators.extract)
    assert swath.operators.map("{a}") == sw.map("{a}")


def test_a_question_says_which_part_of_it_the_row_gave() -> None:
    """Quotes must come from there, not from the words of the template."""

    def source(operator: Operator, **columns: list[Any]) -> str | None:
        (request,) = operator.requests(pl.DataFrame(columns), "m")
        return request.source if request else None

    assert source(sw.extract("t", Person), t=["words"]) == "words"
    assert source(sw.classify("t", ["a", "b"]), t=["words"]) == "words"
    assert source(sw.predicate("Is {t} good?"), t=["words"]) == "words"
    assert source(sw.map("Read {t}.", response=Person), t=["words"]) == "words"
    assert source(sw.map("{t}", response=Person), t=["words"]) == "words"
    assert source(sw.map("Read {t} and {u}.", response=Person), t=["a"], u=["b"]) == "Read a and b."
