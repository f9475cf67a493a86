"""Vectors: each text kept for itself, asked for in batches, whatever asks for it."""

from __future__ import annotations

import asyncio
from typing import Any

import polars as pl
import pytest

import swath as sw
from swath.engine.run import Run
from swath.messages import EmbedRequest
from swath.providers import openai
from tests.conftest import Open
from tests.servers import Fault, OpenAIServer, serve


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """A provider that takes four texts a call."""
    monkeypatch.setattr(openai.OpenAI, "max_texts", lambda self, model: 4)


def embed(session: sw.Session, texts: Any, run: Run | None = None) -> Any:
    request = EmbedRequest(model="m", texts=tuple(texts))
    return session.call(session.engine.embed(request, run=run, label="e"))


# -- the engine


def test_a_text_is_kept_for_itself(open_session: Open) -> None:
    with serve(OpenAIServer()) as server:
        session = open_session(m=server)
        first = embed(session, ["a", "b"])
        run = Run("second")
        second = embed(session, ["b", "c", "b"], run)
        assert server.stats.received == 2
        assert second.vectors[0] == second.vectors[2] == first.vectors[1]
        assert not second.cached
        assert (run.metrics.calls, run.metrics.cached) == (1, 1)
        third = embed(session, ["c", "a"])
        assert third.cached
        assert (third.cost_usd, third.usage.input_tokens) == (0.0, 0)
        assert server.stats.received == 2
        rows = session.engine.store.query("SELECT status, cached FROM calls")
        assert [(r["status"], bool(r["cached"])) for r in rows] == [("ok", False)] * 2


def test_batches_as_large_as_the_provider_takes(open_session: Open, small_batches: None) -> None:
    with serve(OpenAIServer()) as server:
        session = open_session(m=server)
        reply = embed(session, [f"t{i % 10}" for i in range(40)])
        assert len(reply.vectors) == 40
        assert reply.vectors[:10] == reply.vectors[10:20]
        assert server.stats.received == 3
        assert reply.usage.input_tokens == server.stats.prompt_tokens
        assert reply.cost_usd == pytest.approx(server.stats.prompt_tokens / 1e6)
        assert embed(session, []).vectors == ()
        assert server.stats.received == 3


def test_single_texts_of_one_run_leave_together(open_session: Open) -> None:
    with serve(OpenAIServer(latency=0.02)) as server:
        session = open_session(m=server)

        async def many() -> list[Any]:
            run = Run("many")
            one = [EmbedRequest(model="m", texts=(f"t{i % 20}",)) for i in range(60)]
            return await asyncio.gather(*(session.engine.embed(r, run=run) for r in one))

        replies = session.call(many())
        assert server.stats.received == 1
        assert [r.vectors for r in replies[:20]] == [r.vectors for r in replies[20:40]]


def test_a_text_under_way_is_waited_for(open_session: Open) -> None:
    """Also by another run; and where the first run's budget ends it, the other asks itself."""
    with serve(OpenAIServer(latency=0.05)) as server:
        session = open_session(m=server)
        request = EmbedRequest(model="m", texts=("a", "b"))

        async def both(first: Run) -> list[Any]:
            one = asyncio.ensure_future(session.engine.embed(request, run=first))
            await asyncio.sleep(0.01)
            two = session.engine.embed(request, run=Run("two"))
            return await asyncio.gather(one, two, return_exceptions=True)

        one, two = session.call(both(Run("one")))
        assert one.vectors == two.vectors
        assert server.stats.received == 1

        request = EmbedRequest(model="m", texts=("c",))

        async def poor() -> list[Any]:
            calls = [
                session.engine.embed(request, run=Run("poor", max_cost=1e-12)),
                session.engine.embed(request, run=Run("rich", max_cost=1.0)),
            ]
            return await asyncio.gather(*calls, return_exceptions=True)

        broke, fine = session.call(poor())
        assert isinstance(broke, sw.BudgetReached)
        assert len(fine.vectors) == 1


def test_who_gives_up_does_not_end_it_for_others(open_session: Open) -> None:
    with serve(OpenAIServer(latency=0.1)) as server:
        session = open_session(m=server)
        request = EmbedRequest(model="m", texts=("a",))

        async def both() -> Any:
            one, two = (
                asyncio.ensure_future(session.engine.embed(request, run=Run(n))) for n in "xy"
            )
            await asyncio.sleep(0.02)
            one.cancel()
            return await two

        assert len(session.call(both()).vectors) == 1
        assert server.stats.received == 1


def test_one_bad_text_fails_alone(open_session: Open) -> None:
    with serve(OpenAIServer(faults=[Fault("context", match="bad")])) as server:
        session = open_session(m=server)
        with pytest.raises(sw.ProviderError) as caught:
            embed(session, ["a", "b", "bad", "c"])
        assert caught.value.kind == "context"
        before = server.stats.received
        assert len(embed(session, ["a", "b", "c"]).vectors) == 3
        assert server.stats.received == before  # the others were bought and kept


def test_the_budget_is_kept_over_batches(open_session: Open, small_batches: None) -> None:
    with serve(OpenAIServer(latency=0.005)) as server:
        session = open_session(m=(server, {"concurrency": 2}))
        texts = [f"text number {i}" for i in range(100)]
        with pytest.raises(sw.BudgetReached):
            embed(session, texts, Run("poor", max_cost=0.0005))
        bought = server.stats.answered
        assert 0 < bought < 25
        assert server.stats.prompt_tokens / 1e6 <= 0.0005
        embed(session, texts)
        assert server.stats.answered == 25


# -- the column


def test_a_column_of_vectors(open_session: Open) -> None:
    with serve(OpenAIServer(embedding_size=8)) as server:
        open_session(m=server)
        texts = ["b", None, "a", " ", "b"]
        frame = sw.frame({"text": texts}).with_columns(v=sw.embed("text", model="m"))
        assert frame.schema["v"] == pl.List(pl.Float32)
        run = frame.run()
        assert run.table.schema == frame.schema
        vectors = run.table["v"].to_list()
        assert [v is None for v in vectors] == [False, True, False, True, False]
        assert vectors[0] == vectors[4] != vectors[2]
        assert sum(x * x for x in vectors[0]) == pytest.approx(1.0, abs=1e-5)
        assert server.stats.received == 1
        direct = sw.embed(["a", "b"], model="m")
        assert direct.cached
        assert direct.vectors[1] == pytest.approx(vectors[0], abs=1e-6)
        assert frame.run().metrics.calls == 0


def test_many_rows_in_few_calls_and_a_limit_stops(open_session: Open) -> None:
    with serve(OpenAIServer(embedding_size=4)) as server:
        open_session(m=(server, {"concurrency": 8}))
        texts = [f"the complaint of customer number {i} about a card" for i in range(3000)]
        frame = sw.frame({"text": texts}).with_columns(v=sw.embed("text", model="m"))
        said = frame.explain()
        assert server.stats.received == 0
        assert frame.limit(7).collect()["v"].null_count() == 0
        assert server.stats.received == 1
        run = frame.run()
        assert run.table["v"].null_count() == 0
        assert server.stats.received <= 12
        assert said.cost_usd == pytest.approx(run.metrics.cost_usd, rel=0.25)


def test_a_failed_row_is_alone(open_session: Open) -> None:
    with serve(OpenAIServer(faults=[Fault("context", match="row 3")])) as server:
        open_session(m=server)
        frame = sw.frame({"text": [f"row {i}" for i in range(9)]})
        run = frame.with_columns(v=sw.embed("text", model="m")).run()
        assert run.table["v"].is_null().arg_true().to_list() == [3]
        assert run.errors.select("row", "column", "kind").rows() == [(3, "v", "context")]


def test_bad_input(open_session: Open) -> None:
    with pytest.raises(sw.InputError, match="cannot be compared"):
        sw.embed("text", model=["a", "b"])
    with pytest.raises(sw.ColumnNotFound):
        sw.frame({"a": ["x"]}).with_columns(v=sw.embed("text"))


@pytest.mark.local
def test_the_packaged_encoder(open_session: Open) -> None:
    with serve(OpenAIServer()) as server:
        open_session(m=server)
        table = sw.frame({"t": ["a cat sat", "a kitten sat", "tax law"]})
        rows = table.with_columns(v=sw.embed("t")).collect()["v"].to_list()
        assert all(len(v) == 384 for v in rows)

        def alike(a: list[float], b: list[float]) -> float:
            return sum(x * y for x, y in zip(a, b, strict=True))

        assert alike(rows[0], rows[1]) > alike(rows[0], rows[2]) + 0.3
        assert server.stats.received == 0
