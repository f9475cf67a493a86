"""top_k and sort_by: the right order from few questions, and some order from any."""

from __future__ import annotations

import asyncio
import json
import random
import re
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import swath as sw
from swath.operators.ordering import Rank, partition, tournament
from tests.conftest import Open
from tests.servers import Fault, OpenAIServer, serve

BY = "Which ticket is more urgent?\n{text}"


def answer(said: str, body: dict[str, Any]) -> str:
    """A model that goes by the number after "urgency"."""
    task = body["messages"][0]["content"]
    numbers = [int(found) for found in re.findall(r"urgency (\d+)", said)]
    if "from 0 (not" in task:
        return str(min(numbers[0] // 10, 10))
    order = sorted(range(1, len(numbers) + 1), key=lambda i: -numbers[i - 1])
    return str(order[0]) if len(order) == 2 else json.dumps({"order": order})


def first(said: str, body: dict[str, Any]) -> str:
    """A model that likes what it is shown first."""
    count = said.count("Item ")
    return "1" if count == 2 else json.dumps({"order": list(range(1, count + 1))})


def tickets(n: int, seed: int = 1) -> pl.DataFrame:
    values = list(range(n))
    random.Random(seed).shuffle(values)
    return pl.DataFrame({"text": [f"Ticket of urgency {v}." for v in values], "v": values})


# -- which comparisons


@given(
    n=st.integers(0, 60),
    k=st.integers(1, 70),
    most=st.integers(2, 7),
    seed=st.integers(0, 99),
    noisy=st.booleans(),
    weak=st.floats(0, 0.3),
)
@settings(max_examples=300)
def test_any_answers_give_an_order_and_right_ones_the_right_one(
    n: int, k: int, most: int, seed: int, noisy: bool, weak: float
) -> None:
    draw = random.Random(seed)
    truth = draw.sample(range(n), n)
    items = draw.sample(range(n), n)
    bad = {item for item in items if draw.random() < weak}
    lost: set[int] = set()
    asked = 0

    async def rank(groups: list[list[int]]) -> list[list[int]]:
        nonlocal asked
        orders = []
        for group in groups:
            assert 2 <= len(group) == len(set(group)) <= most
            asked += 1
            lost.update(bad.intersection(group))
            order = [item for item in group if item not in bad]
            orders.append(
                draw.sample(order, len(order)) if noisy else sorted(order, key=truth.__getitem__)
            )
        return orders

    for order in (
        lambda rank: tournament(items, k, most, rank),
        lambda rank: partition([items], k, most, rank, seed),
    ):
        lost.clear()
        asked = 0
        found = asyncio.run(order(rank))
        assert len(found) == len(set(found))
        assert set(found) <= set(items)
        if n > 1:
            assert not set(found) & lost
            assert len(found) >= min(k, n - len(lost))
        if not noisy and n > 1 and not bad:
            assert found == sorted(items, key=truth.__getitem__)[:k]


def test_few_comparisons() -> None:
    """Against LOTUS's quick-select of pairs, which partitions all that may hold the cut and then
    sorts the winners: at most half its calls, mostly a sixth."""
    for n, k in ((50, 5), (100, 10), (400, 10)):
        for most, share in ((2, 0.75), (4, 0.25)):
            ours = sum(calls_of(tournament, n, k, most, seed) for seed in range(20))
            theirs = sum(quick_select(n, k, seed) for seed in range(20))
            assert ours / theirs < share, (n, k, most, ours / theirs)


def calls_of(order: Any, n: int, k: int, most: int, seed: int) -> int:
    truth = random.Random(seed).sample(range(n), n)
    calls = 0

    async def rank(groups: list[list[int]]) -> list[list[int]]:
        nonlocal calls
        calls += len(groups)
        return [sorted(group, key=truth.__getitem__) for group in groups]

    rank_: Rank = rank
    asyncio.run(order(range(n), k, most, rank_))
    return calls


def quick_select(n: int, k: int, seed: int) -> int:
    """Comparisons of a quicksort that only looks at the parts that reach into the first `k`."""
    draw = random.Random(seed)
    waiting = [(list(range(n)), k)]
    calls = 0
    while waiting:
        items, wanted = waiting.pop()
        if len(items) < 2 or wanted < 1:
            continue
        calls += len(items) - 1
        pivot = draw.choice(items)
        above = [i for i in items if i < pivot]
        waiting.append((above, wanted))
        waiting.append(([i for i in items if i > pivot], wanted - len(above) - 1))
    return calls


# -- through a frame


@pytest.mark.parametrize(("n", "k", "group"), [(1, 3, 4), (2, 1, 4), (30, 5, 2), (90, 10, 4)])
def test_top_k_of_a_sure_model(n: int, k: int, group: int, open_session: Open) -> None:
    with serve(OpenAIServer(respond=answer)) as server:
        open_session(fast=server)
        frame = sw.frame(tickets(n)).top_k(k, by=BY, items_per_call=group)
        table = frame.collect()
        assert table["v"].to_list() == list(range(n - 1, -1, -1))[:k]
        assert table.schema == frame.schema
        assert server.stats.received < 2.2 * n


def test_more_than_a_hundred_are_found_in_few_rounds(open_session: Open) -> None:
    with serve(OpenAIServer(respond=answer)) as server:
        open_session(fast=server)
        table = sw.frame(tickets(300)).top_k(150, by=BY, items_per_call=8).collect()
        assert table["v"].to_list() == list(range(299, 149, -1))
        assert server.stats.received < 300


@pytest.mark.parametrize("pointwise", [False, True])
def test_sort_by_of_a_sure_model(pointwise: bool, open_session: Open) -> None:
    with serve(OpenAIServer(respond=answer)) as server:
        open_session(fast=server)
        frame = sw.frame(tickets(100))
        down = frame.sort_by(BY, pointwise=pointwise, rank="place").collect()
        assert down["v"].to_list() == list(range(99, -1, -1))
        assert down["place"].to_list() == list(range(1, 101))
        asked = server.stats.received
        up = frame.sort_by(BY, pointwise=pointwise, descending=False).collect()
        assert up["v"].to_list() == list(range(100))
        assert server.stats.received == asked


def test_scores_first_then_comparisons_near_the_cut(open_session: Open) -> None:
    with serve(OpenAIServer(respond=answer)) as server:
        open_session(fast=server)
        table = sw.frame(tickets(100)).top_k(5, by=BY, items_per_call=2, pointwise=True).collect()
        assert table["v"].to_list() == [99, 98, 97, 96, 95]
        assert server.stats.received < 100 + 60


def test_what_a_model_is_asked(open_session: Open) -> None:
    table = pl.DataFrame({"name": ["Ann", "Bo"], "text": ["urgency 2", "urgency 3"]})
    asked = {
        "Which is more urgent? {name}: {text}": ("Which is more urgent?", "Ann: urgency 2"),
        "Which is more urgent:\n\n{text} ({name})": ("Which is more urgent:", "urgency 2 (Ann)"),
        "How urgent is {text}?": ("How urgent is text?", "urgency 2"),
        "{text}\nWhich is more urgent?": ("Which is more urgent?", "urgency 2"),
        "Rank by urgency: {text}": ("Rank by urgency:", "urgency 2"),
    }
    for by, (question, item) in asked.items():
        with serve(OpenAIServer(respond=answer, keep_requests=True)) as server:
            open_session(fast=server)
            assert sw.frame(table).top_k(1, by=by).collect()["name"].to_list() == ["Bo"]
            [system, user] = server.stats.requests[0].body["messages"]
            assert system["content"].endswith("\n\n" + question)
            assert re.search(rf"Item \d:\n{re.escape(item)}(\n|$)", user["content"])


def test_the_place_in_the_prompt_is_left_to_chance(open_session: Open) -> None:
    """A model that always says "the first" prefers no row by its place in the table."""
    with serve(OpenAIServer(respond=first)) as server:
        open_session(fast=server)
        won = []
        for n in range(40):
            table = pl.DataFrame({"text": [f"a {n}", f"b {n}"], "v": [0, 1]})
            won.append(sw.frame(table).top_k(1, by=BY).collect()["v"][0])
        assert 10 <= sum(won) <= 30


def test_equal_rows_share_a_place_and_blank_ones_come_last(open_session: Open) -> None:
    with serve(OpenAIServer(respond=answer)) as server:
        open_session(fast=server)
        rows = ["urgency 1", None, "urgency 3", "urgency 2", " ", "urgency 3", "urgency 1"]
        frame = sw.frame({"text": rows, "v": range(7)})
        run = frame.sort_by(BY, rank="place").run()
        assert run.table["v"].to_list() == [2, 5, 3, 0, 6, 1, 4]
        assert run.table["place"].to_list() == [1, 2, 3, 4, 5, None, None]
        assert run.errors.is_empty()
        assert server.stats.received == 1
        assert sum(run.notes.values()) == 2
        assert frame.top_k(2, by=BY).collect()["v"].to_list() == [2, 5]
        assert frame.top_k(9, by=BY).collect().height == 7


def test_nothing_to_compare_costs_nothing(open_session: Open) -> None:
    with serve(OpenAIServer(respond=answer)) as server:
        open_session(fast=server)
        for rows in ([], [None], ["one"], ["same"] * 5):
            table = pl.DataFrame({"text": rows}, schema={"text": pl.String})
            assert sw.frame(table).top_k(3, by=BY).collect().height == min(len(rows), 3)
            assert sw.frame(table).sort_by(BY).collect().height == len(rows)
        assert server.stats.received == 0


@pytest.mark.parametrize("make", ["top_k", "sort_by", "pairs", "scored"])
def test_a_row_that_no_model_takes_is_named_and_alone(make: str, open_session: Open) -> None:
    with serve(
        OpenAIServer(respond=answer, faults=[Fault("context", match="urgency 27.")])
    ) as server:
        open_session(fast=server)
        table = tickets(30)
        frame = {
            "top_k": sw.frame(table).top_k(30, by=BY),
            "sort_by": sw.frame(table).sort_by(BY),
            "pairs": sw.frame(table).top_k(30, by=BY, items_per_call=2),
            "scored": sw.frame(table).sort_by(BY, pointwise=True),
        }[make]
        run = frame.run()
        assert run.table["v"].to_list() == [v for v in range(29, -1, -1) if v != 27] + [27]
        (error,) = run.errors.to_dicts()
        assert error["row"] == table["v"].to_list().index(27)
        assert (error["model"], error["kind"]) == ("fast", "context")
        assert "urgency" not in error["reason"]


def test_a_useless_model_still_gives_all_rows(open_session: Open) -> None:
    with serve(OpenAIServer(fixed="I cannot say.")) as server:
        open_session(fast=server)
        run = sw.frame(tickets(9)).sort_by(BY).run()
        assert sorted(run.table["v"].to_list()) == list(range(9))
        assert run.errors.height >= 8  # all but one that no comparison was left for


def test_long_items_go_fewer_to_a_call(open_session: Open) -> None:
    with serve(OpenAIServer(respond=answer, keep_requests=True, context_window=1500)) as server:
        open_session(fast=(server, {"context_window": 1500}))
        table = tickets(20).with_columns(text=pl.col("text") + " Please. " * 200)
        run = sw.frame(table).top_k(3, by=BY, items_per_call=8).run()
        assert run.table["v"].to_list() == [19, 18, 17]
        assert run.errors.is_empty()
        assert (
            max(r.body["messages"][1]["content"].count("Item ") for r in server.stats.requests) == 2
        )


def test_nothing_is_paid_twice_and_the_budget_holds(open_session: Open) -> None:
    price = {"input": 1.0, "output": 4.0}
    with serve(OpenAIServer(respond=answer, latency=0.002, price=price)) as server:
        open_session(fast=(server, {"concurrency": 4, "price": price}))
        frame = sw.frame(tickets(200)).top_k(5, by=BY, max_tokens=60)
        with pytest.raises(sw.BudgetReached) as caught:
            frame.run(max_cost=0.006)
        assert 0 < server.stats.dollars <= 0.006
        assert caught.value.run.table.is_empty()
        assert frame.collect()["v"].to_list() == [199, 198, 197, 196, 195]
        assert set(server.stats.repeats) == {1}
        asked = server.stats.received
        assert frame.run().metrics.calls == 0
        assert server.stats.received == asked


@pytest.mark.parametrize("make", ["top_k", "pairs", "sort_by", "scored"])
def test_explain_tells_what_is_then_asked(make: str, open_session: Open) -> None:
    with serve(OpenAIServer(respond=answer)) as server:
        open_session(fast=(server, {"price": {"input": 1.0, "output": 4.0}}))

        def plan(table: pl.DataFrame) -> sw.Frame:
            frame = sw.frame(table)
            return {
                "top_k": frame.top_k(10, by=BY),
                "pairs": frame.top_k(10, by=BY, items_per_call=2),
                "sort_by": frame.sort_by(BY),
                "scored": frame.top_k(10, by=BY, pointwise=True),
            }[make]

        plan(tickets(40, seed=3).with_columns(pl.col("text") + " Before.")).collect()
        frame = plan(tickets(120))
        before = frame.explain()
        run = frame.run()
        assert before.calls == pytest.approx(run.metrics.calls, rel=0.2)
        if make in ("top_k", "sort_by"):  # the engine reckons labels without their schema
            assert before.cost_usd == pytest.approx(run.metrics.cost_usd, rel=0.2)


def test_bad_input_is_said_at_once(open_session: Open) -> None:
    frame = sw.frame({"text": ["a"], "id": [1]})
    with pytest.raises(sw.ColumnNotFound, match="Did you mean 'text'"):
        frame.top_k(3, by="Which?\n{txt}")
    for wrong in (
        lambda: frame.top_k(0, by=BY),
        lambda: frame.top_k("5", by=BY),  # type: ignore[arg-type]
        lambda: frame.top_k(3, by="Which is best?"),
        lambda: frame.top_k(3, by="{text}"),
        lambda: frame.top_k(3, by=BY, items_per_call=1),
        lambda: frame.sort_by(BY, items_per_call=99),
        lambda: frame.sort_by(BY, model=pl.col("id")),
    ):
        with pytest.raises(sw.InputError) as caught:
            wrong()
        assert caught.value.hint
    with serve(OpenAIServer()) as server:
        open_session(fast=server)
        unknown = frame.top_k(3, by=BY, model="nobody")
        with pytest.raises(sw.UnknownModel):
            unknown.collect()
