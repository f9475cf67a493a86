"""Runs: streaming, order, failures, budgets, Ctrl-C, what is counted."""

from __future__ import annotations

import re
import signal
import threading
import time
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import swath as sw
from swath.frames import run_local, spool
from tests.conftest import Open
from tests.servers import Fault, OpenAIServer, serve


def table(n: int) -> pl.DataFrame:
    return pl.DataFrame({"text": [f"row {i}." for i in range(n)], "n": range(n)})


def number(prompt: str) -> int:
    return int(re.findall(r"\d+", prompt)[-1])


def test_rows_come_out_in_order_through_several_stages(open_session: Open) -> None:
    with serve(OpenAIServer(latency=(0.0, 0.03), respond=lambda p, _: f"<{p}>")) as server:
        open_session(m=(server, {"concurrency": 32}))
        frame = (
            sw.frame(table(700))
            .with_columns(a=sw.map("{text}"))
            .filter(sw.predicate("{n}"), pl.col("n") % 7 != 0)
            .with_columns(b=sw.map("{a}"))
        )
        server.respond = lambda p, _: "yes" if p.isdigit() else f"<{p}>"
        out = frame.collect()
        expected = [n for n in range(700) if n % 7]
        assert out["n"].to_list() == expected
        assert out["b"].to_list() == [f"<<row {n}.>>" for n in expected]


@settings(
    max_examples=15,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    slow=st.sets(st.integers(0, 79), max_size=10),
    failing=st.sets(st.integers(0, 79), max_size=10),
    width=st.integers(1, 20),
)
def test_order_and_isolation_hold_whatever_is_slow_or_fails(
    open_session: Open, slow: set[int], failing: set[int], width: int
) -> None:
    faults = [Fault("context", match=f" {n}.") for n in failing]
    faults += [Fault("slow", match=f" {n}.", delay=0.05) for n in slow]
    with serve(OpenAIServer(faults=faults)) as server:
        session = open_session(
            store=f"sqlite:///{time.monotonic_ns()}.db", m=(server, {"concurrency": width})
        )
        run = sw.frame(table(80)).with_columns(x=sw.map("{text}")).run(session=session)
        expected = [None if n in failing else f"You said: row {n}." for n in range(80)]
        assert run.table["x"].to_list() == expected
        assert run.errors["row"].to_list() == sorted(failing)
        session.close()


def test_a_slow_first_row_holds_up_no_others(open_session: Open) -> None:
    faults = [Fault("slow", match="row 0.", delay=2.0)]
    with serve(OpenAIServer(faults=faults, latency=0.001)) as server:
        open_session(m=(server, {"concurrency": 8}))
        done: list[int] = []
        threading.Timer(1.7, lambda: done.append(server.stats.answered)).start()
        sw.frame(table(600)).with_columns(x=sw.map("{text}")).collect()
        assert done[0] >= 500


def test_stages_overlap(open_session: Open) -> None:
    """The second stage is under way long before the first is done."""
    with serve(OpenAIServer(latency=0.01)) as one, serve(OpenAIServer(latency=0.01)) as two:
        open_session(a=(one, {"concurrency": 8}), b=(two, {"concurrency": 8}))
        frame = sw.frame(table(400)).with_columns(x=sw.map("{text}", model="a"))
        frame.with_columns(y=sw.map("{x}", model="b")).collect()
        assert one.stats.first_accepted < two.stats.first_accepted < one.stats.last_accepted


def test_calls_in_flight_are_bounded_by_the_model(open_session: Open) -> None:
    with serve(OpenAIServer(latency=0.005)) as server:
        open_session(m=(server, {"concurrency": 12}))
        sw.frame(table(300)).with_columns(x=sw.map("{text}"), y=sw.map("{n}")).collect()
        assert server.stats.in_flight_peak == 12
        assert server.stats.received == 600


def test_a_limit_behind_a_condition_stops_soon(open_session: Open) -> None:
    yes = lambda p, _: "yes" if number(p) % 2 else "no"  # noqa: E731
    with serve(OpenAIServer(respond=yes)) as server:
        open_session(m=server)
        frame = sw.frame(table(5000)).filter(sw.predicate("{text}"))
        assert frame.limit(10).collect()["n"].to_list() == list(range(1, 20, 2))
        assert server.stats.received <= 40
        asked = server.stats.received
        frame.show(3)
        assert server.stats.received == asked


def test_a_rare_condition_is_looked_for_in_growing_steps(open_session: Open) -> None:
    yes = lambda p, _: "yes" if number(p) % 100 == 99 else "no"  # noqa: E731
    with serve(OpenAIServer(respond=yes)) as server:
        open_session(m=server)
        frame = sw.frame(table(5000)).filter(sw.predicate("{text}"))
        assert frame.limit(3).collect()["n"].to_list() == [99, 199, 299]
        assert server.stats.received <= 1000


def test_row_numbers_in_errors_are_those_of_the_source(open_session: Open) -> None:
    faults = [Fault("context", match="row 50."), Fault("context", match="row 51.")]
    with serve(OpenAIServer(faults=faults)) as server:
        open_session(m=server)
        frame = sw.frame(table(60)).with_columns(x=sw.map("{text}")).filter(pl.col("n") >= 40)
        for rules in ({}, {"pushdown": False}):
            assert frame.run(rules=rules).errors["row"].to_list() == [50, 51]
        wild = sw.frame(table(60)).filter(
            pl.all_horizontal(pl.all().is_not_null(), pl.col("n") > 9)
        )
        assert wild.with_columns(x=sw.map("{text}")).run().errors["row"].to_list() == [50, 51]
        backwards = sw.frame(table(60)).sort("n", descending=True).with_columns(x=sw.map("{text}"))
        assert backwards.run().errors["row"].to_list() == [50, 51]


def test_a_condition_that_failed_leaves_the_row_out_and_says_so(open_session: Open) -> None:
    with serve(OpenAIServer(faults=[Fault("context", match="row 3.")])) as server:
        server.respond = lambda *_: "yes"
        open_session(m=server)
        run = sw.frame(table(6)).filter(sw.predicate("{text}")).run()
        assert run.table["n"].to_list() == [0, 1, 2, 4, 5]
        assert run.errors.select("row", "column").rows() == [(3, "predicate")]
        assert run.metrics.failed == 1


def test_collect_warns_of_failed_cells(open_session: Open) -> None:
    with serve(OpenAIServer(faults=[Fault("context", match="row 3.")])) as server:
        open_session(m=server)
        with pytest.warns(UserWarning, match="1 cells failed and are null \\(1 context\\)"):
            sw.frame(table(6)).with_columns(x=sw.map("{text}")).collect()


@pytest.mark.parametrize(("fault", "kind"), [("unauthorized", "auth"), ("quota", "quota")])
def test_what_would_fail_for_every_row_stops_the_run(
    open_session: Open, fault: Any, kind: str
) -> None:
    with serve(OpenAIServer(latency=0.002)) as server:
        open_session(m=(server, {"concurrency": 4}))
        frame = sw.frame(table(500)).with_columns(x=sw.map("{text}"))
        server.faults = [Fault(fault, match="row 100.")]
        with pytest.raises(sw.ProviderError) as caught:
            frame.collect()
        assert caught.value.kind == kind
        part = caught.value.run
        assert 80 <= part.table.height < 150
        assert server.stats.received < 150
        server.faults = []
        assert frame.collect().height == 500
        assert server.stats.answered == 500


def test_transient_faults_lose_no_row(open_session: Open) -> None:
    faults = [
        Fault("429", rate=0.2, retry_after=0.05),
        Fault("500", rate=0.1),
        Fault("malformed", rate=0.01),
    ]
    with serve(OpenAIServer(faults=faults)) as server:
        open_session(m=server)
        run = sw.frame(table(300)).with_columns(x=sw.map("{text}")).run()
        assert run.errors.is_empty()
        assert run.table["x"].to_list() == [f"You said: row {n}." for n in range(300)]
        assert run.metrics.retries > 0


def test_metrics_agree_with_the_server(open_session: Open) -> None:
    price = {"input": 1.0, "output": 4.0}
    with serve(OpenAIServer(price=price)) as server:
        open_session(m=(server, {"price": price}))
        run = sw.frame(table(50)).with_columns(x=sw.map("{text}")).run()
        metrics = run.metrics
        assert metrics.calls == server.stats.answered == 50
        assert metrics.input_tokens == server.stats.prompt_tokens
        assert metrics.output_tokens == server.stats.completion_tokens
        assert metrics.cost_usd == pytest.approx(server.stats.dollars)
        assert run.by_model["m"].calls == 50
        assert (metrics.rows, metrics.ok, metrics.failed) == (50, 50, 0)
        assert metrics.seconds > 0


def test_progress_is_told_to_a_callback(open_session: Open) -> None:
    with serve(OpenAIServer(latency=0.02)) as server:
        open_session(m=(server, {"concurrency": 10}))
        seen: list[tuple[int, int | None, float, int]] = []
        frame = sw.frame(table(200)).with_columns(x=sw.map("{text}"))
        frame.run(progress=lambda p: seen.append((p.done, p.total, p.cost_usd, p.failures)))
        assert seen[-1][:2] == (200, 200)
        assert seen[-1][2] > 0
        assert [s[0] for s in seen] == sorted(s[0] for s in seen)
        assert all(s[1] == 200 for s in seen)


def test_a_bar_is_shown_when_asked_for(
    open_session: Open, capsys: pytest.CaptureFixture[str]
) -> None:
    with serve(OpenAIServer()) as server:
        open_session(m=server)
        frame = sw.frame(table(20)).with_columns(x=sw.map("{text}"))
        frame.run()
        assert capsys.readouterr().err == ""
        frame.run(progress=True)
        assert "20/20" in capsys.readouterr().err


def interrupt_after(seconds: float, times: int = 1) -> None:
    main = threading.main_thread().ident
    assert main is not None
    for i in range(times):
        threading.Timer(seconds + 0.2 * i, lambda: signal.pthread_kill(main, signal.SIGINT)).start()


def test_ctrl_c_stops_cleanly_and_the_next_run_goes_on(open_session: Open) -> None:
    with serve(OpenAIServer(latency=0.02)) as server:
        open_session(m=(server, {"concurrency": 5}))
        frame = sw.frame(table(300)).with_columns(x=sw.map("{text}"))
        interrupt_after(0.4)
        with pytest.raises(sw.Interrupted, match="rows are done") as caught:
            frame.run()
        part = caught.value.run
        assert part.status == "interrupted"
        assert 0 < part.table.height == server.stats.answered < 300
        assert frame.run().metrics.cached == part.table.height
        assert server.stats.repeats == {1: 300}


def test_a_second_ctrl_c_does_not_wait(open_session: Open) -> None:
    faults = [Fault("slow", match="row 3.", delay=5)]
    with serve(OpenAIServer(faults=faults)) as server:
        open_session(m=(server, {"concurrency": 4}))
        start = time.monotonic()
        interrupt_after(0.3, times=2)
        with pytest.raises(sw.Interrupted) as caught:
            sw.frame(table(20)).with_columns(x=sw.map("{text}")).run()
        assert time.monotonic() - start < 2
        assert 3 not in caught.value.run.table["n"]


def test_a_budget_stop_gives_the_rows_that_are_whole(open_session: Open) -> None:
    """Of two stages: only rows that passed both are in the table."""
    with serve(OpenAIServer(latency=0.002)) as server:
        open_session(m=(server, {"concurrency": 4}))
        frame = (
            sw.frame(table(300))
            .with_columns(x=sw.map("{text}", max_tokens=50))
            .with_columns(y=sw.map("{x}", max_tokens=50))
        )
        with pytest.raises(sw.BudgetReached) as caught:
            frame.run(max_cost=0.01)
        part = caught.value.run.table
        assert part.columns == ["text", "n", "x", "y"]
        assert part.null_count().sum_horizontal().item() == 0
        assert caught.value.run.metrics.cost_usd <= 0.01


def test_a_users_broken_check_is_raised_and_nothing_is_lost(open_session: Open) -> None:
    from pydantic import BaseModel, field_validator

    class Odd(BaseModel):
        x: str

        @field_validator("x")
        @classmethod
        def broken(cls, value: str) -> str:
            raise KeyError("a bug")

    with serve(OpenAIServer()) as server:
        open_session(m=server)
        with pytest.raises(KeyError, match="a bug"):
            sw.frame(table(3)).with_columns(x=sw.extract("text", Odd)).run()


def test_gathered_rows_go_to_disk_beyond_a_bound(
    open_session: Open, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(spool, "IN_MEMORY", 2000)
    monkeypatch.setattr(spool.tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(run_local, "READ_ROWS", 50)
    with serve(OpenAIServer()) as server:
        open_session(m=server)
        frame = (
            sw.frame(table(400))
            .with_columns(x=sw.map("{text}"))
            .sort(pl.col("x"), descending=True)
            .with_columns(y=sw.map("{n}"))
        )
        out = frame.collect()
        assert out["x"].to_list() == sorted(f"You said: row {n}." for n in range(400))[::-1]
        assert out["y"].to_list() == [f"You said: {n}" for n in out["n"]]
    assert not list(tmp_path.glob("swath-*"))


def test_iter_batches_gives_all_rows() -> None:
    pieces = list(sw.frame(table(25)).iter_batches(10))
    assert [p.height for p in pieces] == [10, 10, 5]


def test_runs_are_written_down(open_session: Open) -> None:
    with serve(OpenAIServer()) as server:
        session = open_session(m=server)
        sw.frame(table(3)).with_columns(x=sw.map("{text}")).run(name="nightly")

        async def runs() -> Any:
            return session.engine.store.query("SELECT name, status, rows, calls FROM runs", ())

        (row,) = session.call(runs())
        assert dict(row) == {"name": "nightly", "status": "done", "rows": 3, "calls": 3}


def test_a_value_that_no_column_can_hold_fails_its_row_alone(open_session: Open) -> None:
    from pydantic import BaseModel

    class Size(BaseModel):
        size: int

    answer = lambda p, _: {"size": 10**30 if "row 2." in p else 7}  # noqa: E731
    with serve(OpenAIServer(respond=answer)) as server:
        open_session(m=server)
        run = sw.frame(table(4)).with_columns(x=sw.extract("text", Size)).run()
        assert run.table["x"].struct.field("size").to_list() == [7, 7, None, 7]
        assert run.errors.select("row", "kind").rows() == [(2, "invalid")]


def test_long_rows_are_held_in_small_numbers_and_still_fill_the_model(open_session: Open) -> None:
    with serve(OpenAIServer(latency=0.02)) as server:
        open_session(m=(server, {"concurrency": 16}))
        texts = [f"{i} " + "long " * 100_000 for i in range(60)]
        frame = sw.frame({"text": texts}).with_columns(x=sw.classify("text", ["a", "b"]))
        assert frame.select("x").collect()["x"].null_count() == 0
        assert server.stats.in_flight_peak >= 10
