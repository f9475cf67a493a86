"""What a run would take, before it runs: `explain` and `try_rows`."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from pydantic import BaseModel

import swath as sw
from tests.conftest import Open
from tests.servers import OpenAIServer, serve

PRICE = {"input": 1.0, "output": 4.0}


class Note(BaseModel):
    about: str
    good: bool


def table(n: int) -> pl.DataFrame:
    return pl.DataFrame(
        {"text": [f"row {i} " + "word " * (i % 20) for i in range(n)], "n": range(n)}
    )


def test_explain_spends_nothing_and_tells_calls_tokens_dollars_minutes(open_session: Open) -> None:
    with serve(OpenAIServer()) as server:
        open_session(fast=(server, {"price": PRICE, "rpm": 600}))
        frame = sw.frame(table(1500)).with_columns(x=sw.extract("text", Note), y=sw.map("{text}"))
        explained = frame.explain()
        assert server.stats.received == 0
        assert explained.calls == 3000
        assert explained.stored == 0
        assert explained.input_tokens > 3000
        expected = (explained.input_tokens + 4 * explained.output_tokens) / 1e6
        assert explained.cost_usd == pytest.approx(expected, rel=0.01)
        assert explained.minutes == pytest.approx(5.0, rel=0.01)
        assert [(c.column, c.model, round(c.calls)) for c in explained.costs] == [
            ("x", "fast", 1500),
            ("y", "fast", 1500),
        ]
        text = str(explained)
        for part in ("1,500", "fast (config)", "merge: 'x', 'y' are asked for at once", "3,000"):
            assert part in text


def test_the_estimate_is_near_what_the_run_takes(open_session: Open) -> None:
    with serve(OpenAIServer(price=PRICE)) as server:
        open_session(fast=(server, {"price": PRICE}))
        frame = sw.frame(table(1000)).with_columns(x=sw.extract("text", Note))
        frame.limit(100).collect()  # what an operator's answers are like is learned
        explained = frame.explain()
        assert explained.calls == 900
        assert explained.stored == 100
        run = frame.run()
        assert explained.calls == run.metrics.calls
        assert explained.cost_usd == pytest.approx(run.metrics.cost_usd, rel=0.25)
        again = frame.explain()
        assert (again.calls, again.stored, again.cost_usd) == (0, 1000, 0.0)


def test_rules_are_told_and_can_be_switched_off(open_session: Open) -> None:
    with serve(OpenAIServer()) as server:
        open_session(fast=server)
        frame = (
            sw.frame(table(100))
            .with_columns(x=sw.map("{text}"), unused=sw.map("{n}"))
            .filter(pl.col("n") < 10)
            .drop("unused")
        )
        assert frame.explain().calls == 10
        assert {done.rule for done in frame.explain().rules} == {"prune", "pushdown"}
        off = {"pushdown": False, "prune": False}
        assert frame.explain(rules=off).calls == 200
        assert frame.explain(rules=off).rules[0].rule == "merge"


def test_equal_rows_count_once_and_blank_rows_not_at_all(open_session: Open) -> None:
    with serve(OpenAIServer()) as server:
        open_session(fast=server)
        rows = ["a", "b", "a", None, " "] * 20
        assert sw.frame({"text": rows}).with_columns(x=sw.map("{text}")).explain().calls == 2


def test_what_cannot_be_known_is_stated(open_session: Open) -> None:
    with serve(OpenAIServer()) as server:
        open_session(fast=(server, {"price": None, "model": "nobody-knows"}))
        frame = (
            sw.frame(table(100))
            .filter(sw.predicate("{text}"))
            .with_columns(x=sw.extract("text", Note))
            .filter(pl.col("x").struct.field("good"))
            .with_columns(y=sw.map("{x.about}"))
        )
        explained = frame.explain()
        assert [round(cost.calls) for cost in explained.costs] == [100, 50, 25]
        assert any("half of the rows" in line for line in explained.assumptions)
        assert any("no price is known for 'fast'" in line for line in explained.assumptions)
        frame.collect()  # once the answers are there, nothing has to be assumed
        explained = frame.explain()
        assert explained.calls == 0
        assert not any("half" in line for line in explained.assumptions)


def test_a_limit_is_seen(open_session: Open) -> None:
    with serve(OpenAIServer()) as server:
        open_session(fast=server)
        frame = sw.frame(table(1000)).with_columns(x=sw.map("{text}"))
        assert frame.limit(7).explain().calls == 7
        few = frame.filter(sw.predicate("{text}")).limit(10).explain()
        assert [round(c.calls) for c in few.costs] == [20, 10]


def test_a_large_file_is_sampled_over_its_length(open_session: Open, tmp_path: Path) -> None:
    """Later rows are longer: a look at the head alone would be far off."""
    big = pl.DataFrame({"text": [f"{i} " + "word " * (i // 100) for i in range(10_000)]})
    big.write_csv(tmp_path / "big.csv")
    with serve(OpenAIServer()) as server:
        open_session(fast=(server, {"price": PRICE}))
        frame = sw.read_csv(tmp_path / "big.csv").with_columns(x=sw.map("{text}"))
        explained = frame.explain()
        assert explained.calls == pytest.approx(10_000, rel=0.01)
        exact = big["text"].str.len_bytes().sum() / 4
        assert exact < explained.input_tokens < 1.6 * exact  # the wire format around it counts too


def test_joined_frames_and_plain_frames_are_explained(open_session: Open) -> None:
    assert sw.frame(table(5)).filter(pl.col("n") > 2).explain().calls == 0
    with serve(OpenAIServer()) as server:
        open_session(fast=server)
        other = sw.frame(table(20)).with_columns(x=sw.map("{text}")).select("n", "x")
        frame = sw.frame(table(10)).join(other, on="n").with_columns(y=sw.map("{x}"))
        assert frame.explain().calls == 30


def test_trying_rows_runs_them_and_extrapolates_with_a_range(open_session: Open) -> None:
    with serve(OpenAIServer(price=PRICE)) as server:
        open_session(fast=(server, {"price": PRICE}))
        frame = (
            sw.frame(table(1000))
            .with_columns(x=sw.extract("text", Note))
            .filter(pl.col("x").struct.field("good"))
            .with_columns(y=sw.map("Say: {text}"))
        )
        trial = frame.try_rows(40)
        assert trial.tried == 40
        assert trial.rows == 1000
        assert trial.table.columns == frame.columns
        assert 40 < server.stats.received < 80
        run = frame.run()
        true = run.metrics.calls + run.metrics.cached
        assert trial.calls.low < true < trial.calls.high
        assert trial.cost_usd.low < server.stats.dollars < trial.cost_usd.high
        assert "90%" in str(trial)
        assert server.stats.repeats == {1: server.stats.received}
        # Tried again, nothing is bought, and the estimate is the same.
        again = frame.try_rows(40)
        assert again.metrics.calls == 0
        assert again.cost_usd.estimate == pytest.approx(trial.cost_usd.estimate)


def test_trying_all_rows_leaves_no_range(open_session: Open) -> None:
    with serve(OpenAIServer()) as server:
        open_session(fast=server)
        trial = sw.frame(table(8)).with_columns(x=sw.map("{text}")).try_rows(20)
        assert (trial.tried, trial.rows) == (8, 8)
        assert trial.calls.low == trial.calls.high == 8


def test_trying_has_a_budget_too(open_session: Open) -> None:
    with serve(OpenAIServer()) as server:
        open_session(fast=server)
        frame = sw.frame(table(100)).with_columns(x=sw.map("{text}"))
        with pytest.raises(sw.BudgetReached):
            frame.try_rows(50, max_cost=0.001)
        with pytest.raises(sw.InputError):
            frame.try_rows(0)
