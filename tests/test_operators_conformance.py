"""What every operator must do, whichever it is: run over a server that counts what it is asked.

A new operator joins by one line in OPERATORS. Those over whole tables are in
test_tables_conformance.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import polars as pl
import pytest
from pydantic import BaseModel

import swath as sw
from swath.operators.base import Operator
from tests.conftest import Open
from tests.servers import Fault, OpenAIServer, serve


class Ticket(BaseModel):
    topic: Literal["card", "loan"]
    summary: str
    evidence: sw.Quote


OPERATORS: dict[str, Callable[..., Operator]] = {
    "extract": lambda **s: sw.extract("text", Ticket, **s),
    "extract_list": lambda **s: sw.extract("text", list[Ticket], **s),
    "classify": lambda **s: sw.classify("text", ["card", "loan"], **s),
    "classify_multi": lambda **s: sw.classify("text", ["card", "loan"], multi=True, **s),
    "classify_scores": lambda **s: sw.classify("text", ["card", "loan"], scores=True, **s),
    "map": lambda **s: sw.map("Answer: {text}", **s),
    "map_response": lambda **s: sw.map("Read:\n\n{text}", response=Ticket, **s),
    "predicate": lambda **s: sw.predicate("A card was lost: {text}", **s),
    "sentiment": lambda **s: sw.sentiment("text", **s),
    "summarize": lambda **s: sw.summarize("text", words=10, **s),
    "extract_chunked": lambda **s: sw.extract("text", Ticket, long="chunk", **s),
    "map_truncated": lambda **s: sw.map("Answer: {text}", long="truncate", **s),
    "classify_examples": lambda **s: sw.classify(
        "text", ["card", "loan"], examples=[("My loan?", "loan")], **s
    ),
}


@pytest.fixture(params=OPERATORS)
def make(request: pytest.FixtureRequest) -> Callable[..., Operator]:
    return OPERATORS[request.param]


def texts(n: int) -> list[str]:
    return [f"Ticket {i}. My card is lost. Please help." for i in range(n)]


def test_answers_stay_with_their_rows_in_order(
    make: Callable[..., Operator], open_session: Open
) -> None:
    """Whatever order the answers come in: each row alone gives the same."""
    with serve(OpenAIServer(latency=(0.0, 0.02))) as server:
        open_session(fast=(server, {"concurrency": 16}))
        frame = sw.frame({"text": texts(60), "n": range(60)}).with_columns(x=make())
        table = frame.collect()
        assert table["n"].to_list() == list(range(60))
        assert table.schema == frame.schema
        assert table["x"].null_count() == 0
        for row in (0, 17, 59):
            alone = sw.frame(table.select("text")[row]).with_columns(x=make()).collect()
            assert alone["x"].to_list() == table["x"].slice(row, 1).to_list()


def test_null_and_blank_rows_are_null_and_cost_nothing(
    make: Callable[..., Operator], open_session: Open
) -> None:
    with serve(OpenAIServer()) as server:
        open_session(fast=server)
        run = sw.frame({"text": [None, "", "  \n", "A card."]}).with_columns(x=make()).run()
        assert run.table["x"].is_null().to_list() == [True, True, True, False]
        assert run.errors.is_empty()
        assert server.stats.received == 1
        assert sum(run.notes.values()) == 3


def test_equal_rows_are_asked_once(make: Callable[..., Operator], open_session: Open) -> None:
    with serve(OpenAIServer(latency=0.01)) as server:
        open_session(fast=server)
        rows = texts(5) * 40
        table = sw.frame({"text": rows}).with_columns(x=make()).collect()
        assert server.stats.received == 5
        assert table["x"].to_list() == table["x"].to_list()[:5] * 40


def test_a_failed_row_is_null_and_named_and_alone(
    make: Callable[..., Operator], open_session: Open
) -> None:
    with serve(OpenAIServer(faults=[Fault("context", match="Ticket 3.")])) as server:
        open_session(fast=server)
        run = sw.frame({"text": texts(10)}).with_columns(x=make()).run()
        assert run.table["x"].is_null().arg_true().to_list() == [3]
        (error,) = run.errors.to_dicts()
        assert error["row"] == 3
        assert (error["column"], error["model"], error["kind"]) == ("x", "fast", "context")
        assert "Ticket" not in error["reason"]
        assert (run.metrics.rows, run.metrics.ok, run.metrics.failed) == (10, 9, 1)


def test_a_limit_stops_early(make: Callable[..., Operator], open_session: Open) -> None:
    with serve(OpenAIServer()) as server:
        open_session(fast=server)
        frame = sw.frame({"text": texts(5000)}).with_columns(x=make())
        assert frame.limit(7).collect().height == 7
        assert server.stats.received == 7


def test_nothing_is_paid_twice(make: Callable[..., Operator], open_session: Open) -> None:
    with serve(OpenAIServer()) as server:
        open_session(fast=server)
        frame = sw.frame({"text": texts(30)}).with_columns(x=make())
        first = frame.limit(10).collect()
        whole = frame.run()
        assert server.stats.received == 30
        assert whole.metrics.cached == 10
        assert whole.table.head(10).equals(first)
        assert frame.run().metrics.calls == 0
        assert server.stats.received == 30


def test_the_budget_is_kept_and_the_next_run_goes_on(
    make: Callable[..., Operator], open_session: Open
) -> None:
    price = {"input": 1.0, "output": 4.0}
    with serve(OpenAIServer(latency=0.002, price=price)) as server:
        open_session(fast=(server, {"concurrency": 4, "price": price}))
        frame = sw.frame({"text": texts(200)}).with_columns(x=make(max_tokens=200))
        with pytest.raises(sw.BudgetReached) as caught:
            frame.run(max_cost=0.008)
        assert 0 < server.stats.dollars <= 0.008
        part = caught.value.run
        bought = server.stats.answered
        assert part.status == "budget"
        assert 0 < part.table.height == bought
        assert part.table["x"].null_count() == 0
        assert part.metrics.rows == bought
        table = frame.collect(max_cost=10)
        assert server.stats.answered == 200
        assert server.stats.repeats == {1: 200}
        assert table.filter(pl.col("text").is_in(part.table["text"].implode())).equals(part.table)


def test_the_fallback_steps_in(make: Callable[..., Operator], open_session: Open) -> None:
    with (
        serve(OpenAIServer(faults=[Fault("context")])) as broken,
        serve(OpenAIServer()) as good,
    ):
        open_session(fast=broken, backup=good)
        run = sw.frame({"text": texts(5)}).with_columns(x=make(model=["fast", "backup"])).run()
        assert run.errors.is_empty()
        assert good.stats.answered == 5


def test_a_model_for_each_row(make: Callable[..., Operator], open_session: Open) -> None:
    with serve(OpenAIServer()) as one, serve(OpenAIServer()) as two:
        open_session(fast=one, strong=two)
        chosen = pl.when(pl.col("n") % 3 == 0).then(pl.lit("strong")).otherwise(pl.lit("fast"))
        frame = sw.frame({"text": texts(9), "n": range(9)}).with_columns(x=make(model=chosen))
        assert frame.collect()["x"].null_count() == 0
        assert (one.stats.answered, two.stats.answered) == (6, 3)
