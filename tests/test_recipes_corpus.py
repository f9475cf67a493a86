"""Recipes over a corpus, with scripted answers: which texts are put to the model, and what comes
out. A server's vectors lie near each other where texts share words."""

from __future__ import annotations

import json
import re
from datetime import date
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

import swath as sw
from swath.recipes.threads import Threads
from tests.conftest import Open
from tests.servers import Fault, OpenAIServer, serve

BRIDGE, NO_BRIDGE, MILK = (
    "The town should build the new bridge over the river.",
    "The town should not build the new bridge over the river.",
    "Milk prices fell by a fifth in spring.",
)


class Script:
    """A model that lists each sentence of a text, and judges pairs by `holds(first, second)`."""

    def __init__(self, yes: str = "", no: str = "", holds: Any = None) -> None:
        self.yes, self.no, self.holds = yes, no, holds or (lambda a, b: False)
        self.pairs: list[tuple[str, str]] = []

    def __call__(self, prompt: str, body: dict[str, Any]) -> str:
        pair = re.fullmatch(r"First: (.*)\n\nSecond: (.*)", prompt, re.DOTALL)
        if pair:
            self.pairs.append((pair[1], pair[2]))
            return json.dumps({"label": self.yes if self.holds(*pair.groups()) else self.no})
        shape = body.get("response_format", {}).get("json_schema", {}).get("schema", {})
        fields = shape.get("properties", {})
        if "items" in fields:
            item = fields["items"]["items"]["properties"]
            sentences = re.findall(r"[^.?!]+[.?!]", re.sub(r"</?item>", "", prompt))
            return json.dumps({"items": [self._item(item, s.strip()) for s in sentences]})
        if "matches" in fields:
            return json.dumps({"matches": []})
        if "label" in fields:
            return json.dumps({"label": "no"})
        return "One definition."

    def _item(self, fields: dict[str, Any], sentence: str) -> dict[str, Any]:
        word = sentence.split()[0].strip(".?!")
        own = {"cited": word, "term": word}
        return {
            name: field["enum"][0] if "enum" in field else own.get(name, sentence)
            for name, field in fields.items()
        }


def debate(*texts: str | None) -> sw.Frame:
    return sw.frame({"id": list(range(1, len(texts) + 1)), "text": list(texts)})


def test_contradictions(open_session: Open) -> None:
    script = Script("contradict", "unrelated", lambda a, b: ("not" in a) != ("not" in b))
    with serve(OpenAIServer(respond=script)) as server:
        open_session(fast=server)
        frame = sw.recipes.contradictions(
            debate(f"{BRIDGE} {MILK}", NO_BRIDGE, MILK, None), "text", id="id", embed_model="fast"
        )
        assert server.stats.received == 0  # it is a plan
        run = frame.run()
        assert run.table.schema == frame.schema
        (found,) = run.table.to_dicts()
        assert {found["id"], found["id_right"]} == {1, 2}
        assert {found["claim"], found["claim_right"]} == {BRIDGE, NO_BRIDGE}
        assert {found["quote"], found["quote_right"]} == {BRIDGE, NO_BRIDGE}
        # Each pair of texts once, none of a text with itself, none of claims that are unlike.
        assert sorted(map(sorted, script.pairs)) == sorted(
            [sorted([BRIDGE, NO_BRIDGE]), [MILK, MILK]]
        )


def test_cross_references(open_session: Open) -> None:
    script = Script("opposes", "unrelated", lambda a, b: "bridge" in a)
    with serve(OpenAIServer(respond=script)) as server:
        open_session(fast=server)
        frame = sw.recipes.cross_references(
            debate(BRIDGE, NO_BRIDGE, MILK, " "), "text", id="id", embed_model="fast"
        )
        table = frame.collect()
        assert table.columns == ["id", "id_right", "relation", "similarity"]
        assert table["relation"].to_list() == ["opposes"]
        assert {*table.row(0)[:2]} == {1, 2}
        assert table["similarity"][0] > 0.5
        assert len(script.pairs) == 1


def test_reply_threads(open_session: Open) -> None:
    script = Script("answers", "independent", lambda a, b: a.split()[0] == b.split()[-1])
    turns = {
        "id": ["a", "b", "c", "d", "e"],
        "at": [1, 2, 3, 4, 5],
        "debate": ["x", "x", "x", "x", "y"],
        "text": [
            "Anna wants the library to open on Saturdays",
            "Ben says the library must not open on Saturdays dear Anna",
            "Carl wants the library to open on Saturdays too dear Ben",
            "Dora saw the library on fire",
            "Emil wants the library to open on Saturdays like Anna",
        ],
    }
    with serve(OpenAIServer(respond=script)) as server:
        open_session(fast=server)
        frame = sw.recipes.reply_threads(
            sw.frame(turns), "text", id="id", order="at", within="debate", embed_model="fast"
        )
        table = frame.collect()
    assert table.drop("replies_to", "thread").equals(pl.DataFrame(turns))
    assert table["replies_to"].to_list() == [None, "a", "b", None, None]
    assert table["thread"].to_list() == ["a", "a", "a", "d", "e"]
    # Only earlier turns of the same debate are asked about, the earlier one first.
    place = {text: i for i, text in enumerate(turns["text"])}
    assert all(place[first] < place[second] < 4 for first, second in script.pairs)


@given(st.lists(st.integers(0, 9), max_size=10))
def test_every_row_is_in_the_thread_of_what_it_answers(parents: list[int]) -> None:
    import asyncio

    ids = list(range(len(parents)))
    above = [p if p < i else None for i, p in enumerate(parents)]
    table = pl.DataFrame({"id": ids, "up": above}, schema={"id": pl.Int64, "up": pl.Int64})
    made = asyncio.run(Threads("id", "up").run(None, table))  # type: ignore[arg-type]
    assert made.schema == Threads("id", "up").after(table.schema)
    thread = made["thread"].to_list()
    for i, up in enumerate(above):
        assert thread[i] == (i if up is None else thread[up])


def test_citation_network(open_session: Open) -> None:
    with serve(OpenAIServer(respond=Script())) as server:
        open_session(fast=server)
        frame = sw.recipes.citation_network(
            debate("Keller said no. Council said yes.", "Keller was right.", None), "text", id="id"
        )
        table = frame.collect()
    assert table.columns == ["id", "cited", "kind", "quote"]
    assert table.select("id", "cited").rows() == [(1, "Keller"), (1, "Council"), (2, "Keller")]
    assert table["quote"].to_list() == ["Keller said no.", "Council said yes.", "Keller was right."]


def test_glossary_makes_one_definition_where_there_are_several(open_session: Open) -> None:
    with serve(OpenAIServer(respond=Script())) as server:
        open_session(fast=server)
        frame = sw.recipes.glossary(
            debate("Quota is a limit. Levy is a fee.", "quota means a bound.", ""), "text", id="id"
        )
        table = frame.collect()
        assert server.stats.received == 3
    assert table.rows() == [
        ("Levy", "Levy is a fee.", [1], 1),
        ("Quota", "One definition.", [1, 2], 2),
    ]


def test_questions_the_corpus_answers(open_session: Open) -> None:
    with serve(OpenAIServer(respond=Script())) as server:
        open_session(fast=server)
        frame = sw.recipes.questions_the_corpus_answers(
            debate("It is late.", "Who came? It is late."), "text", id="id"
        )
        table = frame.collect()
    assert table.columns == ["question", "answers", "quotes", "texts"]
    assert table.select("question", "texts").rows() == [("It is late.", [1, 2]), ("Who came?", [2])]


def test_evolution_over_time_is_in_order_and_by_value(open_session: Open) -> None:
    seen: list[str] = []

    def respond(prompt: str, body: dict[str, Any]) -> str:
        seen.append(prompt)
        first = re.findall(r"<item>\n(.*)\n</item>", prompt)[0]
        when, _, said = first.partition(": ")
        return json.dumps({"items": [{"when": when, "position": "held", "quote": said}]})

    table = pl.DataFrame(
        {
            "day": [date(2020, 5, 1), date(2019, 1, 1), date(2021, 1, 1)],
            "about": ["bridge", "bridge", "milk"],
            "text": ["Build it now.", "Never build it.", "Milk is dear."],
        }
    )
    with serve(OpenAIServer(respond=respond)) as server:
        open_session(fast=server)
        made = sw.recipes.evolution_over_time(sw.frame(table), "text", when="day", by="about")
        assert set(made.collect().rows()) == {
            ("bridge", "2019-01-01", "held", "Never build it."),
            ("milk", "2021-01-01", "held", "Milk is dear."),
        }
        whole = sw.recipes.evolution_over_time(sw.frame(table), "text", when="day").collect()
        assert whole.columns == ["when", "position", "quote"]
    assert seen[-1].index("2019") < seen[-1].index("2020") < seen[-1].index("2021")


def test_taxonomy(open_session: Open) -> None:
    texts = [f"{word} {word} number {i}" for word in ("milk", "cow", "ship", "car") for i in "123"]

    def respond(prompt: str, body: dict[str, Any]) -> str:
        farm = "milk" in prompt or "cow" in prompt
        word = next(w for w in ("milk", "cow", "ship", "car") if w in prompt)
        area = "covers farms" in prompt or "covers traffic" in prompt
        name = ("Farms" if farm else "Traffic") if area else f"About {word}"
        return json.dumps({"name": name, "covers": "covers farms" if farm else "covers traffic"})

    with serve(OpenAIServer(respond=respond)) as server:
        open_session(fast=server)
        frame = sw.recipes.taxonomy(
            sw.frame({"text": texts}), "text", k=4, areas=2, model="fast", embed_model="fast"
        )
        table = frame.collect()
    assert table.columns == ["area", "topic", "covers", "rows", "share", "examples"]
    assert table["rows"].sum() == 12
    assert table["area"].n_unique() == 2
    farms = table.filter(pl.col("topic").is_in(["About milk", "About cow"]))["area"]
    assert farms.to_list() == ["Farms", "Farms"]


def test_a_failed_text_sinks_no_corpus(open_session: Open) -> None:
    script = Script("contradict", "unrelated", lambda a, b: True)
    with serve(OpenAIServer(respond=script, faults=[Fault("context", match="Milk")])) as server:
        open_session(fast=server)
        frame = sw.recipes.contradictions(
            debate(BRIDGE, NO_BRIDGE, MILK), "text", id="id", embed_model="fast"
        )
        run = frame.run()
        assert run.table.height == 1
        assert run.errors["kind"].to_list() == ["context"]


@pytest.mark.parametrize("name", sw.recipes.names("corpus"))
def test_a_corpus_of_nothing(name: str, open_session: Open) -> None:
    with serve(OpenAIServer()) as server:
        open_session(fast=server)
        recipe: Any = sw.recipes.get(name)
        needed = {"taxonomy": {"k": 2, "areas": 2}, "evolution_over_time": {"when": "id"}}
        more = needed.get(name, {"id": "id"})
        empty = sw.frame(pl.DataFrame(schema={"id": pl.Int64, "text": pl.String}))
        made = recipe(empty, "text", **more)
        assert made.collect().schema == made.schema
        assert made.collect().height == 0
        assert server.stats.received == 0
