"""Prompts with a history: the value, the store, and which answers came from which version."""

from __future__ import annotations

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

import swath as sw
from swath.errors import InputError
from swath.prompting import history
from swath.prompting.diff import pieces
from swath.store import CallRow, PromptRow
from tests.conftest import Open
from tests.servers import OpenAIServer, serve
from tests.store_kit import Place, call_row, place, run_row

__all__ = ["place"]  # a fixture


class Reply(BaseModel):
    text: str
    polite: bool


# -- the value


def test_a_prompt_is_its_text() -> None:
    prompt = sw.Prompt("Answer: {text}", name="reply", tags=["short"])
    assert prompt == "Answer: {text}"
    assert prompt.tags == ("short",)
    assert (prompt.version, prompt.at, prompt.promoted) == (None, None, False)
    assert sw.map(prompt) == sw.map("Answer: {text}")


def test_equal_content_is_the_same_version() -> None:
    one = sw.Prompt("Answer: {text}", name="reply", tags=["a"])
    assert one.id == sw.Prompt("Answer: {text}", name="other").id
    others = [
        sw.Prompt("Answer:  {text}", name="reply"),
        sw.Prompt("Answer: {text}", name="reply", instructions="Be brief."),
        sw.Prompt("Answer: {text}", name="reply", schema=Reply),
    ]
    assert len({p.id for p in (one, *others)}) == 4


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1))
def test_any_text_with_something_in_it_is_a_prompt(text: str) -> None:
    if not text.strip():
        with pytest.raises(InputError, match="needs a text"):
            sw.Prompt(text, name="x")
        return
    prompt = sw.Prompt(text, name="x")
    again = pickle.loads(pickle.dumps(prompt))
    assert (again, again.id, again.name) == (text, prompt.id, "x")
    assert copy.deepcopy(prompt).id == prompt.id


def test_it_does_not_change() -> None:
    prompt = sw.Prompt("Answer: {text}", name="reply")
    with pytest.raises(AttributeError, match=r"\.edit\(tags="):
        prompt.tags = ("x",)
    child = prompt.edit("Answer politely: {text}")
    assert (child.parents, child.name) == ((prompt.id,), "reply")
    assert prompt == "Answer: {text}"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"text": " ", "name": "x"}, "needs a text"),
        ({"text": "a", "name": "no name"}, "no name for a prompt"),
        ({"text": "a", "name": ""}, "no name for a prompt"),
        ({"text": "a", "name": "x", "parent": "reply"}, "is no prompt"),
        ({"text": "a", "name": "x", "schema": list[int]}, "named fields"),
    ],
)
def test_what_is_no_prompt(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        sw.Prompt(arguments.pop("text"), **arguments)  # type: ignore[arg-type]


@given(st.text(), st.text())
def test_a_diff_holds_both_texts(old: str, new: str) -> None:
    found = pieces(old, new)
    assert "".join(p for mark, p in found if mark != "new") == old
    assert "".join(p for mark, p in found if mark != "gone") == new


def test_a_diff_says_what_changed() -> None:
    old = sw.Prompt("Answer the customer: {text}", name="reply")
    new = old.edit("Answer this customer: {text}", instructions="Be brief.")
    shown = old.diff(new)
    assert "Answer [-the-]{+this+} customer: {text}" in shown
    assert "instructions: {+Be brief.+}" in shown


# -- wherever a text goes


def test_a_template_brings_its_own_instructions_and_schema() -> None:
    prompt = sw.Prompt("Answer: {text}", name="r", instructions="Be brief.", schema=Reply)
    request = sw.map(prompt).ask("Answer: hi", "m")
    assert request.system.startswith("Be brief.")
    assert request.schema is not None
    assert request.schema.json["required"] == ["text", "polite"]
    assert sw.map(prompt, instructions="Be long.").ask("x", "m").system.startswith("Be long.")
    assert sw.predicate(prompt).ask("x", "m").system.startswith("Be brief.")


def test_runs_save_what_they_use(open_session: Open) -> None:
    reply = sw.Prompt("Answer: {text}", name="reply", tags=["first"])
    speech = sw.Prompt("Find it.", name="find")
    pick = sw.Prompt("Pick one.", name="pick")
    true = sw.Prompt("It is kind: {text}", name="kind")
    with serve(OpenAIServer()) as server:
        open_session(fast=server)
        frame = sw.frame({"text": ["a", "b", "c"]})
        frame.with_columns(
            a=sw.map(reply),
            b=sw.extract("text", Reply, instructions=speech),
            c=sw.classify("text", ["x", "y"], instructions=pick),
            d=sw.predicate(true),
        ).collect()
        assert [p.name for p in sw.prompts()] == ["find", "kind", "pick", "reply"]
        frame.with_columns(a=sw.map(reply)).collect()
        (saved,) = sw.prompts("reply")
        assert (saved, saved.version, saved.tags, saved.id) == (reply, 1, ("first",), reply.id)
        assert saved.at is not None
        assert str(sw.complete(sw.Prompt("hello", name="x"))) == "You said: hello"


def test_the_ledger_tells_which_answers_came_from_which_version(open_session: Open) -> None:
    first = sw.Prompt("Answer: {text}", name="reply")
    second = first.edit("Answer well: {text}")
    with serve(OpenAIServer()) as server:
        session = open_session(fast=server)
        frame = sw.frame({"text": ["a", "b", "c"]})
        one = frame.with_columns(x=sw.map(first), y=sw.map("plain {text}")).run()
        frame.limit(2).with_columns(x=sw.map(second)).run()
        frame.with_columns(x=sw.map(first)).run()

        def ask(store: object) -> tuple[object, ...]:
            hashes = session.engine.store.query(
                "SELECT c.hash AS hash FROM calls c JOIN prompt_uses u"
                " ON u.run = c.run AND u.label = c.label WHERE u.prompt = ?",
                [first.id],
            )
            return history.usage(session.engine.store), len({h["hash"] for h in hashes})

        usage, hashes = history._within(session, ask)
        assert hashes == 3
        assert isinstance(usage, dict)
        assert (usage["reply", first.id].runs, usage["reply", first.id].calls) == (2, 3)
        assert (usage["reply", second.id].runs, usage["reply", second.id].calls) == (1, 2)
        mine = usage["reply", first.id].cost_usd + usage["reply", second.id].cost_usd
        assert 0 < mine < one.metrics.cost_usd + mine
        listed = history._within(session, lambda store: history.runs(store, first))
        assert {run["label"] for run in listed} == {"x"}
        assert one.id in {run["run"] for run in listed}


def test_a_single_question_records_its_version_once(open_session: Open) -> None:
    with serve(OpenAIServer(respond=lambda p, b: "yes")) as server:
        session = open_session(fast=server)
        prompt = sw.Prompt("Is it so?", name="ask", instructions="Say yes or no.")
        for seed in (1, 2, 3):
            assert session.complete(prompt, seed=seed).text == "yes"
        assert "".join(chunk.text for chunk in session.stream(prompt, seed=4)) == "yes"
        session.complete("Is it so?", system="Say yes or no.", seed=1)  # the same question
        assert server.stats.answered == 4
        saved = sw.prompts("ask")
        assert [p.version for p in saved] == [1]

        async def count() -> tuple[int, int]:
            store = session.engine.store
            use = history.usage(store)["ask", saved[0].id]
            return use.calls, len(store.query("SELECT * FROM prompt_uses"))

        assert session.call(count()) == (4, 2)  # a use a door, however many calls


def test_promoted_and_found_by_name(open_session: Open) -> None:
    first = sw.Prompt("Answer: {text}", name="reply").save(session := open_session())
    second = first.edit("Answer well: {text}", tags=["well"]).save()
    assert second.parents == (first.id,)
    with pytest.raises(InputError, match="swath prompts promote reply 2"):
        sw.prompt("reply")
    assert second.promote().promoted
    assert sw.prompt("reply") == second
    first.promote()
    assert sw.prompt("reply") == first
    assert [p.promoted for p in sw.prompts("reply")] == [True, False]
    for ref in ("reply@2", "reply@v2", "reply@latest", f"reply@{second.id}"):
        assert sw.prompt(ref, session=session) == second
    with pytest.raises(InputError, match="Did you mean 'reply'"):
        sw.prompt("repl")
    with pytest.raises(InputError, match=r"no version '3'.*There are: 1, 2"):
        sw.prompt("reply@3")


def test_parents_follow_each_other_by_default(open_session: Open) -> None:
    open_session()
    saved = [sw.Prompt(f"Answer {i}: {{text}}", name="reply").save() for i in range(3)]
    assert [p.version for p in saved] == [1, 2, 3]
    assert [p.parents for p in saved] == [(), (saved[0].id,), (saved[1].id,)]
    merged = sw.Prompt("Both: {text}", name="reply", parent=saved[:2]).save()
    assert merged.parents == (saved[0].id, saved[1].id)
    again = sw.Prompt("Answer 0: {text}", name="reply", tags=["back"]).save()
    assert (again.version, again.parents, again.tags) == (1, (), ("back",))


def test_a_schema_comes_back(open_session: Open) -> None:
    open_session()
    sw.Prompt("Answer: {text}", name="reply", schema=Reply).save()
    loaded = sw.prompt("reply@1")
    assert sw.map(loaded).dtype == sw.map(loaded, response=Reply).dtype
    assert loaded.edit("Answer well: {text}").schema == loaded.schema
    assert sw.Prompt("Answer: {text}", name="reply", schema=loaded.schema).id == loaded.id


# -- the store, SQLite's and Postgres'


def row(name: str, id: str, **fields: object) -> PromptRow:
    plain: dict[str, object] = {
        "version": 0, "at": 1.5, "text": f"text {id}", "instructions": "", "schema": "",
        "tags": "[]", "parents": "[]", "promoted": 0.0,
    }  # fmt: skip
    return PromptRow(name=name, id=id, **plain | fields)  # type: ignore[arg-type]


def test_versions_count_within_a_name(place: Place) -> None:
    store = place.open()
    assert store.save_prompt(row("a", "1", tags='["x"]')).version == 1
    assert store.save_prompt(row("a", "2")).version == 2
    assert store.save_prompt(row("b", "1")).version == 1
    again = store.save_prompt(row("a", "1", tags='["y", "x"]', at=9.0))
    assert (again.version, again.tags, again.at) == (1, '["x","y"]', 1.5)
    store.promote_prompt("a", "2", 7.5)
    store.close()
    store = place.open()
    found = store.query("SELECT name, id, version, promoted FROM prompts ORDER BY name, version")
    assert [tuple(r.values()) for r in found] == [
        ("a", "1", 1, 0.0),
        ("a", "2", 2, 7.5),
        ("b", "1", 1, 0.0),
    ]
    store.close()


def test_several_that_save_at_once_get_a_number_each(place: Place) -> None:
    stores = [place.open() for _ in range(4)]
    jobs = [(store, f"{i}-{j}") for i, store in enumerate(stores) for j in range(8)]
    with ThreadPoolExecutor(4) as pool:
        by_store = [[job for job in jobs if job[0] is store] for store in stores]

        def save(mine: list[tuple[object, str]]) -> list[int]:
            return [s.save_prompt(row("a", id)).version for s, id in mine]  # type: ignore[attr-defined]

        versions = [v for part in pool.map(save, by_store) for v in part]
    assert sorted(versions) == list(range(1, 33))
    for store in stores:
        store.close()


def test_usage_is_counted_over_calls(place: Place) -> None:
    store = place.open()
    saved = history.save_in(store, sw.Prompt("Answer: {text}", name="reply"))
    history.record(store, "r1", [("x", sw.map(saved)), ("y", sw.map("plain {text}"))])
    history.record(store, "r1", [("x", sw.map(saved))])  # twice is once
    store.log_run(run_row(id="r1"))
    calls: list[CallRow] = [
        call_row(run="r1", label="x", cost_usd=0.5),
        call_row(run="r1", label="x", cost_usd=0.25, status="timeout"),
        call_row(run="r1", label="x", cost_usd=0.0, cached=True),
        call_row(run="r1", label="y", cost_usd=9.0),
    ]
    for call in calls:
        store.log_call(call)
    found = history.usage(store)["reply", saved.id]
    assert found == history.Usage(runs=1, calls=2, cached=1, failed=1, cost_usd=0.75)
    store.close()


def test_a_store_of_an_older_version_gets_the_tables(place: Place) -> None:
    store = place.open()
    store.log_call(call_row())
    store.close()
    place.raw("DROP TABLE prompts")
    place.raw("DROP TABLE prompt_uses")
    store = place.open()
    assert store.save_prompt(row("a", "1")).version == 1
    assert store.query("SELECT count(*) AS n FROM calls") == [{"n": 1}]
    store.close()
