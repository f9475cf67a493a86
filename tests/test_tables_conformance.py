"""What every operator over whole tables must do, whichever it is, over a server that counts.

A new one joins by one line in TABLES. The server answers in any shape, always the same to the same
question; what the answers mean is tested with each operator.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import polars as pl
import pytest

import swath as sw
from tests.conftest import Open
from tests.servers import Fault, OpenAIServer, serve

Make = Callable[..., sw.Frame]
PRICE = {"input": 1.0, "output": 4.0}
KINDS = ("card", "loan", "phone")


def words(i: int) -> str:
    return f"Ticket {i}. My {KINDS[i % 3]} number {i * 7919 % 9973} is lost, please help me."


def rows(n: int) -> pl.DataFrame:
    return pl.DataFrame({"id": range(n), "text": [words(i) for i in range(n)]})


def others(n: int) -> pl.DataFrame:
    return pl.DataFrame({"key": range(n), "what": [f"Case of a {words(i)}" for i in range(n)]})


TABLES: dict[str, Make] = {
    "join": lambda t, **s: sw.frame(t).join(
        others(12), on=sw.join("{text} belongs to {what}", candidates=3, pairs_per_call=1, **s)
    ),
    "join grouped": lambda t, **s: sw.frame(t).join(
        others(12), on=sw.join("{text} belongs to {what}", candidates="all", **s)
    ),
    "sim_join": lambda t, **s: sw.frame(t).sim_join(others(12), "text", "what", model="vectors"),
    "search": lambda t, **s: sw.frame(t).search("text", "a lost card", k=5, model="vectors"),
    "dedupe": lambda t, **s: sw.frame(t).dedupe("text", embed_model="vectors", candidates=4, **s),
    "reduce": lambda t, **s: (
        sw.frame(t)
        .with_columns(kind=pl.col("text").str.extract("My (\\w+)"))
        .group_by("kind")
        .agg(said=sw.reduce("What do they want?", "text", max_items=4, **s))
    ),
    "reduce all": lambda t, **s: sw.frame(t).agg(said=sw.reduce("What is this?", "text", **s)),
    "top_k": lambda t, **s: sw.frame(t).top_k(3, by="Which is more urgent?\n{text}", **s),
    "sort_by": lambda t, **s: sw.frame(t).sort_by("Which is more urgent?\n{text}", **s),
    "cluster": lambda t, **s: sw.frame(t).with_columns(c=sw.cluster("text", k=3, model="vectors")),
    "cluster named": lambda t, **s: sw.frame(t).with_columns(
        c=sw.cluster("text", k=3, model="vectors", names="fast")
    ),
    "topics": lambda t, **s: sw.frame(t).with_columns(
        c=sw.topics("text", k=3, embed_model="vectors", **s)
    ),
}
EMBEDDING_ONLY = {"sim_join", "search", "cluster"}
BRIEF = {"join", "join grouped", "reduce", "reduce all", "top_k", "sort_by"}  # take max_tokens


@pytest.fixture(params=TABLES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def answer(said: str, body: dict[str, Any]) -> Any:
    """Something that fits, whatever is asked; the same to the same question."""
    form = body.get("response_format", {}).get("json_schema", {}).get("schema", {})
    fields = form.get("properties", {})
    if "order" in fields:
        return {"order": list(range(said.count("Item "), 0, -1))}
    if "matches" in fields:
        return {"matches": []}
    if "enum" in fields.get("label", {}):
        return {"label": fields["label"]["enum"][len(said) % len(fields["label"]["enum"])]}
    if fields:
        return {name: f"{name} {hash_of(said)}" for name in fields}
    return f"Answer {hash_of(said)}"


def hash_of(text: str) -> int:
    return sum(map(ord, text)) % 997


def session(open_session: Open, server: OpenAIServer, **settings: Any) -> None:
    priced = {"price": PRICE, **settings}
    vectors = {**priced, "model": "text-embedding-3-small"}
    open_session(fast=(server, priced), vectors=(server, vectors))


def test_the_schema_is_kept_and_runs_are_alike(name: str, open_session: Open) -> None:
    with serve(OpenAIServer(latency=(0.0, 0.01), respond=answer)) as server:
        session(open_session, server)
        frame = TABLES[name](rows(24))
        run = frame.run()
        assert run.table.schema == frame.schema
        assert run.errors.is_empty()
        assert run.table.equals(TABLES[name](rows(24)).collect())


def test_nothing_is_paid_twice(name: str, open_session: Open) -> None:
    with serve(OpenAIServer(respond=answer)) as server:
        session(open_session, server)
        frame = TABLES[name](rows(24))
        first = frame.run()
        asked = server.stats.received
        assert asked > 0
        again = frame.run()
        assert again.metrics.calls == 0
        assert server.stats.received == asked
        assert again.table.equals(first.table)
        assert set(server.stats.repeats) <= {1}


def test_null_and_blank_rows_do_no_harm(name: str, open_session: Open) -> None:
    with serve(OpenAIServer(respond=answer)) as server:
        session(open_session, server)
        table = rows(12).with_columns(
            text=pl.when(pl.col("id") == 3)
            .then(None)
            .when(pl.col("id") == 5)
            .then(pl.lit(" "))
            .otherwise("text")
        )
        run = TABLES[name](table).run()
        assert run.errors.is_empty()
        assert run.table.schema == TABLES[name](rows(12)).schema
        nothing = TABLES[name](rows(12).clear()).run()
        assert nothing.errors.is_empty()
        assert nothing.metrics.calls == 0


def test_a_question_that_fails_never_sinks_the_run(name: str, open_session: Open) -> None:
    faults = [Fault("refusal", match="Ticket 7.")] if name not in EMBEDDING_ONLY else []
    with serve(OpenAIServer(faults=faults, respond=answer)) as server:
        session(open_session, server)
        frame = TABLES[name](rows(24))
        run = frame.run()
        assert run.status == "done"
        assert run.table.schema == frame.schema
        if faults:
            assert run.errors.height >= 1 or name in ("cluster named", "topics")
            assert all("Ticket" not in reason for reason in run.errors["reason"])


def test_the_budget_is_kept_and_the_next_run_goes_on(name: str, open_session: Open) -> None:
    with serve(OpenAIServer(latency=0.002, price=PRICE, respond=answer)) as server:
        session(open_session, server, concurrency=4)
        frame = TABLES[name](rows(60), **({"max_tokens": 60} if name in BRIEF else {}))
        whole = frame.explain().cost_usd
        with pytest.raises(sw.BudgetReached) as caught:
            frame.run(max_cost=whole / 20)
        assert server.stats.dollars <= whole / 20
        assert caught.value.run.status == "budget"
        assert caught.value.run.table.schema == frame.schema
        run = frame.run(max_cost=100)
        assert run.errors.is_empty()
        assert set(server.stats.repeats) <= {1}


def test_explain_tells_about_how_many_calls(name: str, open_session: Open) -> None:
    with serve(OpenAIServer(respond=answer)) as server:
        session(open_session, server)
        frame = TABLES[name](rows(60))
        told = frame.explain()
        run = frame.run()
        assert abs(told.calls - run.metrics.calls) <= max(0.2 * run.metrics.calls, 2)
        assert any(name.split()[0] in line for line, _, _ in told.lines) or name == "join grouped"


def test_rows_before_and_steps_after(name: str, open_session: Open) -> None:
    """A filter before is done first, and what comes after sees what came out."""
    with serve(OpenAIServer(respond=answer)) as server:
        session(open_session, server)
        narrowed = sw.frame(rows(40)).filter(pl.col("id") < 20)
        frame = TABLES[name](narrowed)
        assert frame.limit(2).collect().equals(TABLES[name](rows(20)).collect().head(2))
