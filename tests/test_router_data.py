"""What routers learn from: comparisons, preference pairs, golden sets, replayed prompts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import swath as sw
from swath import routing
from swath.engine.deciding import prompt_of
from swath.errors import InputError
from swath.evals.golden.read import read_suite
from swath.messages import Request
from swath.routing import replayed
from swath.routing.graded import Graded
from swath.routing.preferences import of_pairs
from swath.routing.training_data import combined, held_out, of_comparison, of_golden, rows_of
from tests import compare_kit
from tests.compare_kit import asked, number, tickets, world
from tests.conftest import Open
from tests.golden_kit import route
from tests.golden_kit import suite as golden_file
from tests.golden_kit import tickets as golden_tickets
from tests.router_kit import HARD, graded, pairs, prompts
from tests.servers import OpenAIServer, serve

ASK = sw.map("Answer: {text}")
QUIET: dict[str, Any] = {"progress": False}


def grades(made: Graded) -> dict[tuple[str, str], float]:
    """By prompt and model."""
    return {(p, m): q for p, m, q, _ in rows_of(made).iter_rows()}


# -- comparisons


def test_a_comparison_gives_the_prompts_that_auto_will_read(open_session: Open) -> None:
    with serve(OpenAIServer(respond=compare_kit.respond)) as server:
        world(open_session, server)
        table = pl.DataFrame(tickets(12)).with_columns(lang=pl.lit("en"))
        ask = sw.map("In {lang}, answer: {text}")
        made = sw.compare(table, ask, ["weak", "good"], judge="fair", **QUIET)
        found = of_comparison(made)
    requests = [r for r in ask.requests(table, "auto") if isinstance(r, Request)]
    assert set(found.prompts) == {prompt_of(request) for request in requests}
    assert found.models == ("good", "weak")
    for (prompt, model), quality in grades(found).items():
        # Equal answers are ties; the strongest is 0.5 by definition.
        assert quality == (0.5 if model == "good" or number(prompt) % 4 == 0 else 0.0)
    assert any("0.5 is the quality of 'good'" in note for note in found.notes)
    # What a cascade's verifier learns from: the answers themselves, as numbers.
    assert np.isfinite(found.extra["words"]).all()


def test_examples_before_the_question_are_no_part_of_the_prompt(open_session: Open) -> None:
    shown = sw.map("Answer: {text}", examples=[({"text": "ticket 99 is old"}, "right 99")])

    def respond(_: str, body: dict[str, Any]) -> Any:
        last = [m["content"] for m in body["messages"] if m["role"] == "user"][-1]
        return compare_kit.respond(_, body | {"messages": [{"role": "user", "content": last}]})

    with serve(OpenAIServer(respond=respond)) as server:
        world(open_session, server)
        made = sw.compare(tickets(6), shown, ["weak", "good"], judge="fair", **QUIET)
    assert of_comparison(made).prompts == tuple(f"Answer: ticket {i} is here" for i in range(6))


def three(_: str, body: dict[str, Any]) -> Any:
    """`mid` is right about even tickets."""
    i = number(asked(body))
    if body["model"] == "mid":
        return f"right {i}" if i % 2 == 0 else f"wrong {i}"
    return compare_kit.respond(_, body)


@pytest.mark.parametrize("baseline", [None, "good"])
def test_three_models_are_held_against_the_strongest(
    open_session: Open, baseline: str | None
) -> None:
    with serve(OpenAIServer(respond=three)) as server:
        names = ("weak", "mid", "good", "fair")
        open_session(**{name: (server, {"model": name}) for name in names})
        made = sw.compare(
            tickets(8), ASK, ["weak", "mid", "good"], judge="fair", baseline=baseline, **QUIET
        )
    for (prompt, model), quality in grades(of_comparison(made)).items():
        i = number(prompt)
        right = {"good": True, "mid": i % 2 == 0, "weak": i % 4 == 0}[model]
        assert quality == (0.5 if right else 0.0)


def test_scores_of_a_rubric_are_spread_over_their_scale(open_session: Open) -> None:
    with serve(OpenAIServer(respond=compare_kit.respond)) as server:
        world(open_session, server)
        judge = sw.Judge("fair", mode="rubric", scale=9)
        made = sw.compare(tickets(8), ASK, ["weak", "good"], judge=judge, **QUIET)
    for (prompt, model), quality in grades(of_comparison(made)).items():
        right = model == "good" or number(prompt) % 4 == 0
        assert quality == pytest.approx((5 - 1) / 8 if right else (2 - 1) / 8)


def test_people_stand_before_the_judge_and_silence_is_no_tie(open_session: Open) -> None:
    with serve(OpenAIServer(respond=compare_kit.respond)) as server:
        world(open_session, server)
        made = sw.compare(tickets(12), ASK, ["weak", "good"], judge="mute", **QUIET)
        assert made.items is not None
        # About every third ticket it says nothing that can be read.
        silent = {i for i in range(12) if i % 3 == 0 and i % 4}
        found = of_comparison(made)
        assert {number(p) for p in found.prompts} == set(range(12)) - silent
        assert any(f"{len(silent)} of 12 pairs have no verdict" in note for note in found.notes)
        first = made.items.filter(pl.col("row") == 1)["item_id"][0]
        labels = pl.DataFrame(
            {"item_id": [first] * 2, "annotator": ["ann", "bob"], "label": ["A", "tie"]}
        )
        found = of_comparison(made.with_human(labels))
        plain = sw.compare(tickets(12), ASK, ["weak", "good"], **QUIET)
        alone = of_comparison(plain.with_human(labels))
    assert grades(found)["Answer: ticket 1 is here", "weak"] == 0.75  # of A (weak) and a tie
    assert grades(found)["Answer: ticket 2 is here", "weak"] == 0.0  # the judge's
    # Nobody judged: labelled pairs, and equal answers.
    assert {number(p) for p in alone.prompts} == {0, 1, 4, 8}
    assert grades(alone)["Answer: ticket 1 is here", "good"] == 0.25


def test_models_go_by_their_aliases(open_session: Open) -> None:
    with serve(OpenAIServer(respond=compare_kit.respond)) as server:
        world(open_session, server)
        entered = [{"model": "weak", "temperature": 0.5}, "good"]
        made = sw.compare(tickets(8), ASK, entered, judge="fair", **QUIET)
        assert made.models == ("weak temperature=0.5", "good")
        assert of_comparison(made).models == ("good", "weak")
        both = ["weak", {"model": "weak", "max_tokens": 9}, "good"]
        made = sw.compare(tickets(8), ASK, both, judge="fair", **QUIET)
        assert of_comparison(made).models == ("good", "weak", "weak max_tokens=9")


def test_what_teaches_nothing_is_refused(open_session: Open) -> None:
    with serve(OpenAIServer(respond=compare_kit.respond)) as server:
        world(open_session, server)
        rows = {"text": [f"ticket {i} is here" for i in (1, 2, 3)]}
        made = sw.compare(rows, ASK, ["weak", "good"], judge="fair", **QUIET)
        with pytest.raises(InputError, match="'good' wins every pair"):
            of_comparison(made)
        rows = {"text": [f"ticket {i} is here" for i in (0, 4, 8)]}
        made = sw.compare(rows, ASK, ["weak", "good"], judge="fair", **QUIET)
        with pytest.raises(InputError, match="All verdicts are ties"):
            of_comparison(made)
        judge = sw.Judge("fair", mode="rubric")
        made = sw.compare(rows, ASK, ["weak", "good"], judge=judge, **QUIET)
        with pytest.raises(InputError, match="the same grade on every prompt"):
            of_comparison(made)
        with pytest.raises(InputError, match="was not judged"):
            of_comparison(sw.compare(rows, ASK, ["weak", "good"], **QUIET))


def test_a_router_learns_from_a_comparison_which_prompts_are_hard(open_session: Open) -> None:
    """Shares of wins add up to one on every prompt, hard or not: quality must not be those."""
    texts, hard = prompts(160, 3)
    difficult = dict(zip(texts, hard > 0.5, strict=True))

    def respond(_: str, body: dict[str, Any]) -> Any:
        prompt = asked(body)
        if body["model"] == "good":
            return "right"
        if body["model"] == "weak":
            return "wrong" if difficult[prompt] else "right too"
        shown = compare_kit.blocks(prompt)
        one, two = (shown[name].startswith("right") for name in ("answer_1", "answer_2"))
        return {"justification": "", "verdict": "tie" if one == two else "1" if one else "2"}

    with serve(OpenAIServer(respond=respond)) as server:
        open_session(**{name: (server, {"model": name}) for name in ("weak", "good", "fair")})
        made = sw.compare(
            {"text": texts}, sw.map("{text}"), ["weak", "good"], n=None, judge="fair", **QUIET
        )
    router = routing.train(of_comparison(made), "difficulty")
    new, hard = prompts(100, 4)
    assert np.corrcoef(router.score(new), hard)[0, 1] > 0.8
    quality = router.predict(new)
    weak = router.models.index("weak")
    assert quality[hard > 0.7, weak].mean() < quality[hard < 0.3, weak].mean() - 0.2


# -- golden sets


def test_a_golden_set_grades_each_model_by_its_checks(open_session: Open, tmp_path: Path) -> None:
    def respond(prompt: str, body: dict[str, Any]) -> str:
        right = route(prompt, body)
        return right if body["model"] == "good" or right != "loan" else "other"

    golden_tickets(tmp_path, 9)
    file = golden_file(tmp_path)
    with serve(OpenAIServer(respond=respond)) as server:
        open_session(weak=(server, {"model": "weak"}), good=(server, {"model": "good"}))
        report = sw.golden(file, models=["weak", "good"])
        suite = read_suite(file)
        found = of_golden(report, suite)
        for (prompt, model), quality in grades(found).items():
            assert quality == (0.0 if model == "weak" and prompt.startswith("loan") else 1.0)
        assert set(found.prompts) == {f"{('card', 'loan', 'other')[i % 3]} {i}" for i in range(9)}
        right = sw.golden(file, models=["good", "weak"], limit=1)
        with pytest.raises(InputError, match="the same grade"):
            of_golden(right, suite)
    changed = pl.read_csv(tmp_path / "tickets.csv").with_columns(text=pl.lit("card 7"))
    changed.write_csv(tmp_path / "tickets.csv")
    with pytest.raises(InputError, match="another one"):
        of_golden(report, read_suite(file))


# -- several sources, and a part held out


def test_sources_are_kept_apart() -> None:
    one = Graded.read(graded(40))  # of sources "one" and "two"
    other = of_pairs(pairs("A", "B", "A"))
    found = combined({"data": one, "pairs": other})
    assert found.sources == ("data/one", "data/two", "pairs")
    assert found.models == tuple(sorted({*one.models, "x", "y"}))
    assert len(found) == len(one) + len(other)
    both = grades(one) | grades(other)
    assert grades(found) == both
    assert combined({"data": one}) is one
    turned = combined({"pairs": other, "data": one})
    assert turned.prompts == found.prompts
    np.testing.assert_array_equal(turned.quality, found.quality)


def test_what_is_held_out_is_not_trained_on() -> None:
    whole = Graded.read(graded(200))
    kept, held = held_out(whole, 0.5)
    assert not set(kept.prompts) & set(held.prompts)
    assert len(kept) + len(held) == 200
    assert 70 < len(held) < 130
    again, _ = held_out(Graded.read(graded(200).sample(fraction=1, shuffle=True, seed=1)), 0.5)
    assert again.prompts == kept.prompts
    assert Graded.read(rows_of(held)).prompts == held.prompts
    with pytest.raises(InputError, match="hold"):
        held_out(whole.rows(np.arange(200) < 2), 0.5)


# -- prompts that are replayed


def test_replayed_prompts_are_asked_as_they_stand_and_once(open_session: Open) -> None:
    seen: list[Any] = []

    def respond(_: str, body: dict[str, Any]) -> Any:
        seen.append(body)
        return compare_kit.respond(_, body)

    texts = [f"ticket {i} is {HARD[i % 8]} {{braces}} here" for i in range(20)] + ["  ", "", None]
    said, left = replayed.conversations(pl.DataFrame({"prompt": texts}))
    assert left == 3
    with serve(OpenAIServer(respond=respond)) as server:
        session = world(open_session, server)
        chosen = replayed.sampled(said, 10, seed=1)
        assert chosen == replayed.sampled(said[::-1] * 2, 10, seed=1)
        assert chosen != replayed.sampled(said, 10, seed=2)
        told = replayed.forecast(chosen, ["weak", "good"], ["fair"], session=session)
        assert (told.prompts, told.calls, told.stored) == (10, 10 * 2 + 10 * 2, 0)
        assert told.cost_usd > 0
        assert server.stats.answered == 0
        made = replayed.judged(chosen, ["weak", "good"], "fair", **QUIET, session=session)
        paid = server.stats.answered
        assert paid <= told.calls
        plain = [b["messages"] for b in seen if b["model"] in ("weak", "good")]
        assert {tuple(m["role"] for m in asked) for asked in plain} == {("user",)}
        assert {asked[0]["content"] for asked in plain} == {c[0].content for c in chosen}
        assert set(of_comparison(made).prompts) == {c[0].content for c in chosen}
        replayed.judged(chosen, ["weak", "good"], "fair", **QUIET, session=session)
        assert server.stats.answered == paid
        again = replayed.forecast(chosen, ["weak", "good"], ["fair"], session=session)
        assert again.stored >= paid
        assert again.cost_usd < told.cost_usd / 2  # equal answers look as if they were judged
        # It is the question that `swath serve` asks: neither pays for what the other has.
        sw.complete(chosen[0][0].content, model="weak", max_tokens=4096)
        assert server.stats.answered == paid
        with pytest.raises(InputError, match="There are 1 prompts"):
            replayed.sampled(said[:1] * 3, 10, 0)


def test_the_ledger_keeps_prompts_only_where_it_is_told_to(open_session: Open) -> None:
    with serve(OpenAIServer()) as server:
        session = open_session(weak=server)
        session.complete("ticket 1", model="weak")
        assert sw.calls(session=session).collect()["prompt"].to_list() == [""]
        with pytest.raises(InputError, match="holds no prompts") as caught:
            replayed.logged(session.engine.store, "all")
        assert "keep_prompts = true" in caught.value.hint

        kept = open_session(weak=server, vectors=server, top={"keep_prompts": True})
        for i in (1, 2, 2):
            text = f"ticket {i} of ada@mail.example.org"
            kept.complete(text, system="Be brief.", model="weak")
        with pytest.raises(InputError, match="surrogate"):
            kept.complete("ticket \ud800", model="weak")
        kept.embed(["never kept"], model="vectors")
        table = pl.DataFrame({"text": [f"ticket {i}" for i in range(9)]})
        run = sw.frame(table).with_columns(a=ASK.with_model("weak")).run(session=kept, **QUIET)
        store = kept.engine.store
        single = replayed.logged(store, "all")
        said, left = replayed.conversations(single)
        assert left == 0
        assert [[m.content for m in c] for c in said] == [
            ["Be brief.", f"ticket {i} of [email]"] for i in (1, 2)
        ]
        assert replayed.logged(store, run.id[:8]).height == 9
        assert replayed.logged(store, "last").equals(replayed.logged(store, run.id))
        with pytest.raises(InputError, match="no prompts of 'nosuch'"):
            replayed.logged(store, "nosuch")


def test_logged_conversations_are_replayed_whole(open_session: Open) -> None:
    def turns(i: int) -> list[dict[str, Any]]:
        return [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": f"Hello, I have ticket {i}"},
            {"role": "assistant", "content": "Go on."},
            {"role": "user", "content": f"It is ticket {i} still"},
        ]

    seen: list[Any] = []

    def respond(_: str, body: dict[str, Any]) -> Any:
        seen.append(body["messages"])
        return compare_kit.respond(_, body)

    logged: list[Any] = [turns(i) for i in range(8)]
    table = pl.DataFrame({"messages": logged})
    said, left = replayed.conversations(table)
    assert (len(said), left) == (8, 0)
    as_json = pl.DataFrame({"messages": [json.dumps(row) for row in logged]})
    assert replayed.conversations(as_json) == (said, 0)
    odd = [
        "no JSON",
        json.dumps([{"role": "user", "content": [{"type": "text", "text": "in parts"}]}]),
        json.dumps([{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]),
        json.dumps([{"role": "tool", "content": "4"}]),
        json.dumps([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]),
        None,
    ]
    found, left = replayed.conversations(pl.DataFrame({"messages": odd}))
    assert ([c[0].content for c in found], left) == (["in parts"], 5)
    with serve(OpenAIServer(respond=respond)) as server:
        world(open_session, server)
        made = replayed.judged(said, ["weak", "good"], "fair", **QUIET)
        asked = [m for m in seen if m[0]["content"] == "Be brief."]
        assert len(asked) == 16
        assert asked[0] in logged
        made.save("kept")
        # A router is served the last message of the user's, so that is what it is trained on.
        assert set(of_comparison("kept").prompts) == {f"It is ticket {i} still" for i in range(8)}
