"""The ledger as tables."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

import swath as sw
from tests.conftest import Open
from tests.servers import Fault, OpenAIServer, serve


def test_calls_and_runs_are_lazy_frames(open_session: Open) -> None:
    with serve(OpenAIServer(faults=[Fault("refusal", match="Row 13")])) as server:
        open_session(fast=server, other=(server, {"model": "gpt-4.1-mini"}))
        rows = sw.frame({"t": [f"Row {i}" for i in range(20)]})
        run = rows.with_columns(x=sw.map("{t}"), y=sw.map("{t}", model="other")).run()
        calls = sw.calls()
        assert isinstance(calls, pl.LazyFrame)
        table = calls.collect()
        assert table.height == 40
        assert table.schema == calls.collect_schema()
        age = datetime.now(UTC) - table["at"][0]
        assert timedelta() < age < timedelta(minutes=5)
        by_model = calls.group_by("model").agg(pl.col("cost_usd").sum(), pl.len()).collect()
        assert sorted(by_model["model"]) == ["fast", "other"]
        assert by_model["cost_usd"].sum() == pytest.approx(run.metrics.cost_usd)
        slowest = calls.sort("total_ms", descending=True).head(3).collect()
        assert slowest.height == 3
        failed = calls.filter(pl.col("status") != "ok").select("label", "status").collect()
        assert failed.height == run.errors.height == 2
        runs = sw.runs().collect()
        assert runs["id"].to_list() == [run.id]
        assert runs["calls"].to_list() == [40]
        joined = calls.join(sw.runs(), left_on="run", right_on="id").collect()
        assert joined.height == 40


def test_head_and_an_empty_ledger(open_session: Open) -> None:
    with serve(OpenAIServer()) as server:
        open_session(fast=server)
        assert sw.calls().collect().is_empty()
        assert sw.runs().select("id").collect().columns == ["id"]
        sw.frame({"t": ["a", "b", "c"]}).with_columns(x=sw.map("{t}")).collect()
        assert sw.calls().head(2).collect().height == 2
        assert sw.calls().filter(pl.col("label") == "x").head(2).collect().height == 2
        assert sw.frame(sw.calls()).select("model").collect()["model"].to_list() == ["fast"] * 3
