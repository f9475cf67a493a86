"""Rules that make a plan cheaper: by what they measure, and by how they put the questions."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Any, Literal

import polars as pl
import pytest
from pydantic import BaseModel

import swath as sw
from tests.conftest import Open
from tests.servers import Fault, OpenAIServer, serve


class Ticket(BaseModel):
    topic: Literal["card", "loan"]
    note: str


def asked(body: dict[str, Any]) -> str:
    return str(body["messages"][-1]["content"])


def number(text: str) -> int:
    return int(re.findall(r"\d+", text)[-1])


def one_of(text: str, schema: dict[str, Any]) -> Any:
    """The right answer about a text that ends in its number, in any shape of question."""
    if "enum" in schema:
        return schema["enum"][number(text) % len(schema["enum"])]
    if schema.get("type") == "object":
        return {k: one_of(text, inner) for k, inner in schema["properties"].items()}
    return f"note {number(text)}" if schema.get("type") == "string" else number(text)


def answer(_: str, body: dict[str, Any]) -> Any:
    """Rightly, whether about one text or several."""
    schema = body["response_format"]["json_schema"]["schema"]
    text = asked(body)
    if "answers" in schema["properties"] and text.startswith("[1]"):
        parts = re.split(r"(?:^|\n\n)\[(\d+)\]\n", text)[1:]
        inner = schema["properties"]["answers"]["items"]["properties"]["answer"]
        pairs = zip(parts[::2], parts[1::2], strict=True)
        return {"answers": [{"number": int(n), "answer": one_of(t, inner)} for n, t in pairs]}
    return one_of(text, schema)


@pytest.fixture
def server() -> Iterator[OpenAIServer]:
    with serve(OpenAIServer(respond=answer, keep_requests=True)) as made:
        yield made


def rows(n: int) -> sw.Frame:
    return sw.frame({"text": [f"Ticket {i}" for i in range(n)]})


# -- order


def passes(share: dict[str, int]) -> Any:
    """Each condition, by its first word, holds for one row in so many (0: all)."""

    def respond(_: str, body: dict[str, Any]) -> dict[str, str]:
        text = asked(body)
        every = share[text.partition(":")[0]]
        return {"label": "yes" if not every or number(text) % every == 0 else "no"}

    return respond


def test_conditions_are_asked_in_the_order_of_what_they_drop(open_session: Open) -> None:
    with serve(OpenAIServer(respond=passes({"Often": 0, "Seldom": 10}))) as server:
        open_session(fast=server)
        frame = rows(1000).filter(sw.predicate("Often: {text}"), sw.predicate("Seldom: {text}"))
        run = frame.run()
        assert run.table["text"].to_list() == [f"Ticket {i}" for i in range(0, 1000, 10)]
        # All rows by the second, a tenth by the first, and the sample by both.
        assert run.metrics.calls <= 1000 + 100 + 32
        said = [str(done) for done in run.rules if done.rule == "order"]
        assert len(said) == 1
        assert "of a sample pass" in said[0]
        off = frame.run(rules={"order": False})
        assert off.table.equals(run.table)
        assert off.metrics.calls > 800  # the first condition drops nothing


def test_stored_answers_tell_the_order_before_anything_is_asked(open_session: Open) -> None:
    with serve(OpenAIServer(respond=passes({"Often": 0, "Seldom": 10}))) as server:
        open_session(fast=server)
        often, seldom = sw.predicate("Often: {text}"), sw.predicate("Seldom: {text}")
        frame = rows(1000).filter(often, seldom)
        assert frame.explain().rules == []
        few = rows(1000).filter(pl.col("text").str.contains("[05]$"))
        few.with_columns(a=often, b=seldom).collect()
        told = frame.explain()
        assert [done.rule for done in told.rules] == ["order"]
        assert "calls" in told.rules[0].saves
        assert any("as in a sample" in line for line in told.assumptions)


def test_a_dearer_condition_that_drops_more_may_come_first(open_session: Open) -> None:
    with serve(OpenAIServer(respond=passes({"Cheap": 2, "Dear": 50}))) as server:
        prices = {"price": {"input": 1.2, "output": 4.0}, "model": "gpt-4.1-mini"}
        open_session(fast=server, dear=(server, prices))
        frame = rows(1000).filter(
            sw.predicate("Cheap: {text}", model="fast"), sw.predicate("Dear: {text}", model="dear")
        )
        run = frame.run()
        by_model = run.by_model
        assert by_model["dear"].calls >= 900
        assert by_model["fast"].calls <= 20 + 32


def test_few_rows_are_not_worth_a_sample(open_session: Open) -> None:
    with serve(OpenAIServer(respond=passes({"Often": 0, "Seldom": 10}))) as server:
        open_session(fast=server)
        frame = rows(100).filter(sw.predicate("Often: {text}"), sw.predicate("Seldom: {text}"))
        assert frame.run().metrics.calls == 200


# -- fuse


def questions() -> dict[str, Any]:
    return {
        "label": sw.classify("text", ["even", "odd"]),
        "both": sw.classify("text", ["a", "b", "c"], multi=True),
        "ticket": sw.extract("text", Ticket),
        "lost": sw.predicate("A card was lost: {text}"),
        "short": sw.map("Shorten: {text}"),
    }


def test_questions_about_one_text_become_one_where_it_is_allowed(
    open_session: Open, server: OpenAIServer
) -> None:
    open_session(fast=server)
    columns = {k: v for k, v in questions().items() if k in ("label", "ticket", "lost")}
    frame = rows(20).with_columns(**columns)
    apart = frame.run()
    assert apart.metrics.calls == 60
    fused = frame.run(rules={"fuse": True})
    assert fused.metrics.calls == 20
    assert fused.table.equals(apart.table)
    assert fused.table.schema == frame.schema
    other = sw.frame({"text": [f"Other {i}" for i in range(30)]})
    told = other.with_columns(**columns).explain(rules={"fuse": True})
    assert told.calls == 30
    assert "about 60 calls" in next(d.saves for d in told.rules if d.rule == "fuse")


def test_every_operator_can_be_part_of_one_question(open_session: Open) -> None:
    with serve(OpenAIServer()) as plain:
        open_session(fast=plain)
        frame = rows(3).with_columns(**questions()).filter(pl.col("lost").is_not_null())
        run = frame.run(rules={"fuse": True})
        assert run.metrics.calls == 3
        assert run.errors.is_empty()
        assert run.table.schema == frame.schema
        assert all(run.table[name].null_count() == 0 for name in questions())


def test_a_fused_question_that_fails_fails_its_row_alone(open_session: Open) -> None:
    with serve(OpenAIServer(respond=answer, faults=[Fault("refusal", match="Ticket 7")])) as server:
        open_session(fast=server)
        frame = rows(20).with_columns(
            label=sw.classify("text", ["even", "odd"]), lost=sw.predicate("Lost: {text}")
        )
        run = frame.run(rules={"fuse": True})
        assert run.errors["row"].to_list() == [7]
        assert run.errors["column"].to_list() == ["label, lost"]
        assert run.table["label"].is_null().arg_true().to_list() == [7]


# -- pack


def test_short_rows_go_several_to_a_call_where_answers_agree(
    open_session: Open, server: OpenAIServer
) -> None:
    open_session(fast=server)
    frame = rows(400).with_columns(x=sw.classify("text", ["even", "odd"]))
    run = frame.run(rules={"pack": True})
    assert run.table["x"].to_list() == ["even", "odd"] * 200
    assert run.metrics.calls < 400 / 5
    assert any("so rows are packed" in note for note in run.notes)
    again = frame.run(rules={"pack": True})
    assert again.metrics.calls == 0
    assert again.table.equals(run.table)
    told = (
        rows(399).with_columns(x=sw.classify("text", ["odd", "even"])).explain(rules={"pack": True})
    )
    assert told.calls < 80
    assert "calls" in next(d.saves for d in told.rules if d.rule == "pack")


def test_rows_are_not_packed_where_answers_differ(open_session: Open) -> None:
    def careless(prompt: str, body: dict[str, Any]) -> Any:
        given = answer(prompt, body)
        if isinstance(given, dict) and "answers" in given:
            for one in given["answers"]:
                one["answer"] = "even"
        return given

    with serve(OpenAIServer(respond=careless)) as server:
        open_session(fast=server)
        run = (
            rows(200).with_columns(x=sw.classify("text", ["even", "odd"])).run(rules={"pack": True})
        )
        assert run.table["x"].to_list() == ["even", "odd"] * 100
        assert any("so none are packed" in note for note in run.notes)


def test_a_pack_that_is_not_whole_is_asked_row_by_row(open_session: Open) -> None:
    def forgetful(prompt: str, body: dict[str, Any]) -> Any:
        given = answer(prompt, body)
        if isinstance(given, dict) and "answers" in given and "Ticket 137" in asked(body):
            given["answers"].pop()
        return given

    faults = [Fault("refusal", match="Ticket 251")]
    with serve(OpenAIServer(respond=forgetful, faults=faults)) as server:
        open_session(fast=server)
        texts = [f"Ticket {i}" for i in range(300)] + ["x" * 5000 + " 8", None, ""]
        frame = sw.frame({"text": texts}).with_columns(x=sw.predicate("Even? {text}"))
        run = frame.run(rules={"pack": True})
        expected: list[bool | None] = [i % 2 == 0 for i in range(300)]
        expected[251] = None
        assert run.table["x"].to_list() == [*expected, True, None, None]
        assert run.errors["row"].to_list() == [251]


def test_pack_under_a_filter_and_a_budget(open_session: Open, server: OpenAIServer) -> None:
    open_session(fast=server)
    kept = rows(200).filter(sw.predicate("Even? {text}")).run(rules={"pack": True})
    assert kept.table.height == 100
    frame = rows(2000).with_columns(x=sw.classify("text", ["odd", "even"]))
    with pytest.raises(sw.BudgetReached) as stopped:
        frame.run(rules={"pack": True}, max_cost=0.002)
    assert stopped.value.run.metrics.cost_usd <= 0.002
    done = frame.run(rules={"pack": True})
    assert done.table["x"].to_list() == ["odd", "even"] * 1000


# -- prompts that begin alike, and what providers keep of them


def test_prompts_that_begin_alike_are_asked_in_a_row(open_session: Open) -> None:
    with serve(OpenAIServer(keep_requests=True)) as server:
        open_session(fast=(server, {"concurrency": 1}))
        policies = [f"Policy {i}. " + "It must be read with care. " * 100 for i in range(4)]
        frame = sw.frame({"policy": policies * 10, "text": [f"Ticket {i}" for i in range(40)]})
        asking = frame.with_columns(x=sw.map("{policy}\n\nIs it covered? {text}"))
        table = asking.collect()
        assert table["text"].to_list() == [f"Ticket {i}" for i in range(40)]
        seen = [asked(dict(r.body))[:8] for r in server.stats.requests]
        changes = sum(a != b for a, b in pairwise(seen))
        assert changes <= 8  # of 39: the order of the rows would change each time
        assert [d.rule for d in asking.explain().rules] == ["group"]


def test_what_a_provider_keeps_is_in_the_estimate(open_session: Open) -> None:
    price = {"input": 1.0, "output": 4.0, "cached_input": 0.1}
    with serve(OpenAIServer(cached=0.8)) as server:
        open_session(fast=(server, {"price": price, "concurrency": 2}))
        rules = "Mind the rules of the house. " * 400
        frame = rows(100).with_columns(x=sw.map("{text}", instructions=rules, max_tokens=20))
        told = frame.explain()
        kept = told.costs[0].cached_tokens / told.input_tokens
        assert kept > 0.9
        assert told.cost_usd < 0.3 * told.input_tokens / 1e6
        run = rows(40).with_columns(x=sw.map("{text}", instructions=rules, max_tokens=20)).run()
        assert run.metrics.cached_input_tokens > 0
        learned = frame.explain()
        share = learned.costs[0].cached_tokens / learned.costs[0].input_tokens
        assert share == pytest.approx(0.8, abs=0.05)


def test_each_rule_can_be_switched_off_and_is_named() -> None:
    with pytest.raises(sw.InputError, match="dedupe, fuse, group, limit, merge, order, pack"):
        rows(3).with_columns(x=sw.map("{text}")).explain(rules={"fus": True})
