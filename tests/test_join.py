"""Joins on a statement: the right pairs for few questions, and nothing lost where things break."""

from __future__ import annotations

from random import Random
from tempfile import TemporaryDirectory
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import swath as sw
from tests.conftest import Open
from tests.join_kit import (
    STATEMENT,
    Oracle,
    abt_buy,
    names_of,
)
from tests.servers import Fault, OpenAIServer, serve

LEXICAL = {"candidates": "lexical"}


def goods(n: int, prefix: str = "maker") -> pl.DataFrame:
    """Rows with a model's number each: the same number is the same product."""
    return pl.DataFrame(
        {"id": range(n), "name": [f"{prefix} article XQ{i * 7919 % 99991:05d}" for i in range(n)]}
    )


def number(name: str) -> str:
    return name[-5:]


def equal(a: str, b: str) -> bool:
    return number(a) == number(b)


# -- the result


def test_inner_left_semi_and_anti(open_session: Open) -> None:
    """As Polars' own join would give, in the order of the left table, then the right."""
    left = pl.DataFrame({"n": [0, 1, 2, 3, 4], "name": ["b 2", "a 1", None, "c 3", " "]})
    right = pl.DataFrame({"m": [0, 1, 2, 3], "name": ["x 1", "y 2", "z 2", None]})
    with serve(OpenAIServer(respond=Oracle(lambda a, b: a[-1] == b[-1]))) as server:
        open_session(fast=server)
        got = {}
        for how in ("inner", "left", "semi", "anti"):
            frame = sw.frame(left).join(right, on=sw.join(STATEMENT), how=how)
            run = frame.run()
            assert run.table.schema == frame.schema
            assert run.errors.is_empty()
            got[how] = run.table
        assert got["inner"].select("n", "m").rows() == [(0, 1), (0, 2), (1, 0)]
        assert got["inner"].columns == ["n", "name", "m", "name_right"]
        assert got["inner"]["name_right"].to_list() == ["y 2", "z 2", "x 1"]
        expected = [(0, 1), (0, 2), (1, 0), (2, None), (3, None), (4, None)]
        assert got["left"].select("n", "m").rows() == expected
        assert got["semi"]["n"].to_list() == [0, 1]
        assert got["anti"]["n"].to_list() == [2, 3, 4]
        assert server.stats.received == 3  # a prompt a left row, asked once for all four


@given(
    st.lists(st.sampled_from(["a1", "b1", "a2", None]), max_size=6),
    st.lists(st.sampled_from(["c1", "d1", "c2", "d2", ""]), max_size=6),
    st.sampled_from(["auto", 1, 2]),
)
@settings(max_examples=12)
def test_any_tables(lefts: list[Any], rights: list[Any], per_call: Any) -> None:
    """Equal, null and blank rows: the pairs are those that the statement holds for, each asked
    about once."""
    oracle = Oracle(lambda a, b: a[-1] == b[-1])
    schema = {"name": pl.String}
    with serve(OpenAIServer(respond=oracle)) as server, TemporaryDirectory() as folder:
        models = {"m": {"provider": "openai", "model": "x", "base_url": server.base_url}}
        config = {"models": models, "store": f"sqlite:///{folder}/swath.db"}
        with sw.Session(config, check=False) as session:
            left = pl.DataFrame({"name": lefts}, schema=schema).with_row_index("i")
            right = pl.DataFrame({"name": rights}, schema=schema).with_row_index("j")
            on = sw.join(STATEMENT, pairs_per_call=per_call)
            table = sw.frame(left).join(right, on=on).collect(session=session)
    expected = [
        (i, j)
        for i, a in enumerate(lefts)
        for j, b in enumerate(rights)
        if a and b and a[-1] == b[-1]
    ]
    assert table.select("i", "j").rows() == expected
    assert all(count == 1 for count in oracle.pairs.values())
    distinct = [{x for x in side if x} for side in (lefts, rights)]
    assert len(oracle.pairs) == len(distinct[0]) * len(distinct[1])


def test_names_in_the_statement(open_session: Open) -> None:
    left, right = sw.frame({"a": ["1"], "s": [{"x": "1"}]}), sw.frame({"b": ["1"], "a": ["1"]})
    with serve(OpenAIServer(respond=Oracle(equal))) as server:
        open_session(fast=server)
        on = sw.join("About {b}:\nA: {left.s.x}\nB: {right.a}", pairs_per_call=1)
        assert left.join(right, on=on).collect().height == 1
        plain = sw.predicate("Equal:\nA: {s.x}\nB: {b}")
        assert left.join(right, on=plain, how="semi").collect().height == 1
    with pytest.raises(sw.InputError, match="Both tables have a column 'a'"):
        left.join(right, on=sw.join("{a} is {b}"))
    with pytest.raises(sw.ColumnNotFound, match="'c'"):
        left.join(right, on=sw.join("{c} is {b}"))
    with pytest.raises(sw.InputError, match="about both tables"):
        left.join(right, on=sw.join("{left.a} is good"))
    with pytest.raises(sw.InputError, match="'full'"):
        left.join(right, on=sw.join("{left.a} is {b}"), how="full")
    with pytest.raises(sw.InputError, match="two columns"):
        left.join(right, on=sw.join("{left.a} is {b}"), suffix="")
    with pytest.raises(sw.InputError, match="statement"):
        left.join(right, on=sw.map("{a}"))
    for wrong in ({"recall": 2.0}, {"candidates": "some"}, {"pairs_per_call": 0}, {"max_pairs": 0}):
        with pytest.raises(sw.InputError):
            sw.join("{left.a} is {b}", **wrong)


# -- pruning


def test_few_of_many_pairs_are_asked_about(open_session: Open) -> None:
    left, right = goods(300), goods(400, "offer of")
    oracle = Oracle(equal)
    with serve(OpenAIServer(respond=oracle)) as server:
        open_session(fast=server)
        frame = sw.frame(left).join(right, on=sw.join(STATEMENT, **LEXICAL))
        run = frame.run()
        assert run.table.select("id", "id_right").rows() == [(i, i) for i in range(300)]
        assert len(oracle.pairs) < 0.05 * 300 * 400
        assert oracle.calls <= 0.2 * len(oracle.pairs)
        (said,) = [note for note in run.notes if "estimated share of the true pairs" in note]
        assert f"asked about {len(oracle.pairs):,} of 120,000" in said
        assert frame.run().metrics.calls == 0


def test_abt_buy_keeps_98_percent_for_under_1_percent(open_session: Open) -> None:
    """By letters alone; with embeddings too in benchmarks/joins.py."""
    left, right, true = abt_buy()
    names = names_of(left, right, true)
    oracle = Oracle(lambda a, b: (a, b) in names)
    with serve(OpenAIServer(respond=oracle)) as server:
        open_session(fast=(server, {"concurrency": 64}))
        run = sw.frame(left).join(right, on=sw.join(STATEMENT, **LEXICAL)).run()
    found = set(run.table.select("id", "id_right").rows())
    assert len(found & true) >= 0.98 * len(true)
    assert len(oracle.pairs) < 0.01 * left.height * right.height


def test_likeness_that_tells_nothing_is_found_out(open_session: Open) -> None:
    """Then everything is asked about, up to max_pairs, and said."""
    draw = Random(1)
    left, right = (
        pl.DataFrame({"name": ["".join(draw.choices("abcdefgh", k=9)) for _ in range(80)]})
        for _ in range(2)
    )
    oracle = Oracle(lambda a, b: (sum(map(ord, a)) + sum(map(ord, b))) % 2 == 0)
    with serve(OpenAIServer(respond=oracle)) as server:
        open_session(fast=server)
        run = sw.frame(left).join(right, on=sw.join(STATEMENT, **LEXICAL)).run()
        assert len(oracle.pairs) == 6400
        assert any("not alike are true too" in note for note in run.notes)
        oracle.pairs.clear()
        on = sw.join(STATEMENT, max_pairs=100, embed_model="fast", instructions="Anew.")
        run = sw.frame(left).join(right, on=on).run()
        assert len(oracle.pairs) <= 100 + 32
        assert any("100 of 6,400" in note for note in run.notes)


def test_all_pairs_on_request_and_a_number_of_candidates(open_session: Open) -> None:
    oracle = Oracle(equal)
    with serve(OpenAIServer(respond=oracle)) as server:
        open_session(fast=server)
        left, right = goods(30), goods(30, "offer of")
        sw.frame(left).join(right, on=sw.join(STATEMENT, candidates="all")).collect()
        assert len(oracle.pairs) == 900
        oracle.pairs.clear()
        on = sw.join(STATEMENT, candidates=2, pairs_per_call=1)
        assert sw.frame(left).join(right, on=on).collect().height == 30
        assert 0 < len(oracle.pairs) <= 2 * 60


def test_without_the_extra_local_letters_do(
    open_session: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("swath.operators.similar.find_spec", lambda name: None)
    with serve(OpenAIServer(respond=Oracle(equal))) as server:
        open_session(fast=server)
        run = sw.frame(goods(60)).join(goods(60), on=sw.join(STATEMENT)).run()
        assert run.table.height == 60
        assert any("letters alone" in note for note in run.notes)


@pytest.mark.local
def test_with_the_packaged_encoder(open_session: Open) -> None:
    """What words mean counts where no letter is shared."""
    left = pl.DataFrame({"name": ["car", "doctor", "sea", *(f"q{i}" for i in range(40))]})
    right = pl.DataFrame(
        {"name": [*(f"z{i}" for i in range(40)), "ocean", "automobile", "physician"]}
    )
    true = {("car", "automobile"), ("doctor", "physician"), ("sea", "ocean")}
    oracle = Oracle(lambda a, b: (a, b) in true)
    with serve(OpenAIServer(respond=oracle)) as server:
        open_session(fast=server)
        on = sw.join(STATEMENT, candidates="embedding")
        table = sw.frame(left).join(right, on=on).collect()
        assert set(table.select("name", "name_right").rows()) == true
        assert len(oracle.pairs) < 0.5 * 43 * 43


# -- when things break


def test_a_failed_pair_is_named_by_its_left_row(open_session: Open) -> None:
    left, right = goods(10), goods(10)
    broken = left["name"][3]
    with serve(
        OpenAIServer(respond=Oracle(equal), faults=[Fault("context", match=f"A: {broken}")])
    ) as server:
        open_session(fast=server)
        for how, rows in (("inner", 9), ("left", 10), ("anti", 0)):
            run = sw.frame(left).join(right, on=sw.join(STATEMENT), how=how).run()
            assert run.table.height == rows
            assert set(run.errors["row"]) == {3}
            assert set(run.errors["column"]) == {"join"}
            assert "article" not in run.errors["reason"][0]


def test_an_unusable_answer_about_several_is_asked_one_by_one(open_session: Open) -> None:
    oracle = Oracle(equal)

    def respond(prompt: str, body: dict[str, Any]) -> str:
        several = any("Candidates:" in message["content"] for message in body["messages"])
        return '{"matches": [99]}' if several else oracle(prompt, body)

    with serve(OpenAIServer(respond=respond)) as server:
        open_session(fast=server)
        run = sw.frame(goods(6)).join(goods(6), on=sw.join(STATEMENT)).run()
        assert run.table.height == 6
        assert run.errors.is_empty()
        assert run.notes["an answer about several pairs was unusable: asked one by one"] == 6


@pytest.mark.parametrize("per_call", [1, 5])
def test_the_budget_holds_and_the_next_run_goes_on(per_call: int, open_session: Open) -> None:
    left, right = goods(60), goods(60, "offer of")
    oracle = Oracle(equal)
    price = {"input": 1.0, "output": 4.0}
    with serve(OpenAIServer(respond=oracle, price=price, latency=0.002)) as server:
        open_session(fast=(server, {"concurrency": 4, "price": price}))
        on = sw.join(
            STATEMENT, candidates=3, pairs_per_call=per_call, max_tokens=100, embed_model="fast"
        )
        frame = sw.frame(left).join(right, on=on)
        with pytest.raises(sw.BudgetReached) as caught:
            frame.run(max_cost=0.004)
        assert 0 < server.stats.dollars <= 0.004
        part = caught.value.run.table
        table = frame.collect(max_cost=1.0)
        assert table.height == 60
        assert all(count == 1 for count in oracle.pairs.values())
        assert set(part["id"]) <= set(range(60))
        assert part.height < 60


def test_what_was_known_when_the_money_ran_out_comes_back(open_session: Open) -> None:
    price = {"input": 1.0, "output": 4.0}
    with serve(OpenAIServer(respond=Oracle(equal), price=price, latency=0.002)) as server:
        open_session(fast=(server, {"concurrency": 2, "price": price}))
        frame = sw.frame(goods(20))
        on = sw.join(STATEMENT, candidates="all", pairs_per_call=1, max_tokens=50)
        with pytest.raises(sw.BudgetReached) as caught:
            frame.join(goods(20), on=on).run(max_cost=0.008)
        rows = caught.value.run.table
        assert 0 < rows.height < 20
        assert rows["id"].to_list() == rows["id_right"].to_list()
        with pytest.raises(sw.BudgetReached) as caught:
            frame.join(goods(20), on=on, how="anti").run(max_cost=0.00001)
        assert caught.value.run.table.height == 0  # nothing is surely without a match


def test_explain_says_what_is_then_spent(open_session: Open) -> None:
    left, right = goods(200), goods(200, "offer of")
    oracle = Oracle(equal)

    def respond(prompt: str, body: dict[str, Any]) -> str:
        return oracle(prompt, body) if "B: " in prompt else '{"label": "a"}'

    with serve(OpenAIServer(respond=respond)) as server:
        open_session(fast=server)
        for on in (
            sw.join(STATEMENT, candidates=4, embed_model="fast", pairs_per_call=1),
            sw.join(STATEMENT, **LEXICAL),
            sw.same(sw.classify("name", ["a", "b"])),
        ):
            frame = sw.frame(left).join(right, on=on)
            said = frame.explain()
            assert "join(" in str(said)
            run = frame.run()
            asked = run.by_model["fast"].calls - (1 if on.settings.embed_model else 0)
            assert said.calls == pytest.approx(asked, rel=0.2)


def test_a_cascade_of_two_models(open_session: Open) -> None:
    left, right = goods(60), goods(60, "offer of")
    with (
        serve(OpenAIServer(respond=Oracle(equal))) as small,
        serve(OpenAIServer(respond=Oracle(equal))) as large,
    ):
        open_session(large=large, small=small)
        on = sw.join(STATEMENT, model=sw.cascade("small", "large", quality=0.9), **LEXICAL)
        run = sw.frame(left).join(right, on=on).run()
        assert run.table.height == 60
        assert small.stats.received > 0
        assert any("cascade" in note for note in run.notes)


def test_joins_after_and_before_other_steps(open_session: Open) -> None:
    """In a plan: columns pruned, rows filtered, a joined table that asks a model itself."""
    with serve(OpenAIServer(respond=Oracle(equal))) as server:
        open_session(fast=server)
        right = sw.frame(goods(8, "offer of")).filter(pl.col("id") % 2 == 0)
        frame = (
            sw.frame(goods(8))
            .join(right, on=sw.join(STATEMENT))
            .filter(pl.col("id") > 2)
            .select("id", "name_right")
            .limit(1)
        )
        assert frame.collect().rows() == [(4, goods(8, "offer of")["name"][4])]
