"""Examples: told as earlier turns, checked when they are given."""

from __future__ import annotations

import json
from typing import Any, Literal

import pytest
from pydantic import BaseModel

import swath as sw
from tests.conftest import Open
from tests.servers import OpenAIServer, serve


class Ticket(BaseModel):
    topic: Literal["card", "loan"]
    note: str


OPERATORS: dict[str, Any] = {
    "extract": (
        lambda: sw.extract("text", Ticket, examples=[("A", Ticket(topic="card", note="n"))]),
        "A",
        {"topic": "card", "note": "n"},
    ),
    "extract list": (
        lambda: sw.extract("text", list[Ticket], examples=[("A", [{"topic": "loan", "note": ""}])]),
        "A",
        {"items": [{"topic": "loan", "note": ""}]},
    ),
    "classify": (lambda: sw.classify("text", ["a", "b"], examples={"A": "a"}), "A", "a"),
    "classify multi": (
        lambda: sw.classify("text", ["a", "b"], multi=True, examples=[("A", ["b", "a"])]),
        "A",
        {"labels": ["b", "a"]},
    ),
    "map": (lambda: sw.map("Say: {text}", examples=[("A", "B")]), "Say: A", "B"),
    "map of columns": (
        lambda: sw.map("{n}: {text}", examples=[({"n": 1, "text": "A"}, "B")]),
        "1: A",
        "B",
    ),
    "predicate": (lambda: sw.predicate("Lost? {text}", examples=[("A", True)]), "Lost? A", "yes"),
    "sentiment": (lambda: sw.sentiment("text", examples=[("A", "neutral")]), "A", "neutral"),
}


@pytest.mark.parametrize("name", OPERATORS)
def test_examples_are_earlier_turns(name: str, open_session: Open) -> None:
    make, asked, said = OPERATORS[name]
    with serve(OpenAIServer(keep_requests=True)) as server:
        open_session(fast=server)
        run = sw.frame({"text": ["My card."], "n": [2]}).with_columns(x=make()).run()
        assert run.errors.is_empty()
        turns = server.stats.requests[0].body["messages"]
        roles = [turn["role"] for turn in turns if turn["role"] != "system"]
        assert roles == ["user", "assistant", "user"]
        assert turns[-3]["content"] == asked
        answer = turns[-2]["content"]
        assert (answer if isinstance(said, str) else json.loads(answer)) == said


def test_other_examples_are_another_question(open_session: Open) -> None:
    with serve(OpenAIServer()) as server:
        open_session(fast=server)
        frame = sw.frame({"text": ["My card."]})
        for examples in (None, {"A": "a"}, {"A": "b"}, {"A": "b"}):
            frame.with_columns(x=sw.classify("text", ["a", "b"], examples=examples)).collect()
        assert server.stats.received == 3


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: sw.classify("t", ["a", "b"], examples=[("A", "c")]), "Example 1.*a, b"),
        (lambda: sw.classify("t", ["a", "b"], examples=[("A", "a"), "B"]), "Example 2 is no pair"),
        (lambda: sw.extract("t", Ticket, examples=[("A", {"topic": "x"})]), "does not fit"),
        (lambda: sw.predicate("{t}", examples=[("A", "yes")]), "neither True nor False"),
        (lambda: sw.map("{t} {u}", examples=[({"t": "A"}, "B")]), "no value for 'u'"),
        (lambda: sw.map("{t} {u}", examples=[("A", "B")]), "dict of: t, u"),
        (lambda: sw.map("{t}", examples=[("A", 3)]), "no text"),
    ],
)
def test_a_wrong_example_is_named(make: Any, said: str) -> None:
    with pytest.raises(sw.InputError, match=f"(?s).*{said}"):
        make()


def test_sentiment_has_three_labels_or_two(open_session: Open) -> None:
    with serve(OpenAIServer(keep_requests=True)) as server:
        open_session(fast=server)
        frame = sw.frame({"text": ["Bad service."]})
        table = frame.with_columns(
            x=sw.sentiment("text", about="the service"), y=sw.sentiment("text", neutral=False)
        ).collect()
        assert table["x"][0] in ("positive", "negative", "neutral")
        assert table["y"][0] in ("positive", "negative")
        said = [str(request.body) for request in server.stats.requests]
        assert sum("towards the service" in one for one in said) == 1
        assert sum("neutral" in one for one in said) == 1
