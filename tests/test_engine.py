"""The journey of a call, through the engine's doors, over servers that misbehave as real ones."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from pydantic import BaseModel

from swath.engine import Run
from swath.errors import BudgetReached, Kind, ProviderError
from swath.messages import Completion, EmbedRequest, Message, Request, Schema
from swath.session import Session
from tests.conftest import Open
from tests.servers import AnthropicServer, Fault, GoogleServer, OpenAIServer, serve

SCHEMA = Schema(
    "argument",
    {
        "type": "object",
        "properties": {
            "claim": {"type": "string"},
            "stance": {"type": "string", "enum": ["for", "against"]},
        },
        "required": ["claim", "stance"],
        "additionalProperties": False,
    },
)
QUOTED = Schema(
    "quoted",
    {
        "type": "object",
        "properties": {"evidence": {"type": "string", "format": "quote"}},
        "required": ["evidence"],
        "additionalProperties": False,
    },
)


def ask(text: str, **settings: Any) -> Request:
    return Request(model="m", messages=(Message("user", text),), **settings)


def ask_all(
    session: Session, requests: list[Request], run: Run | None = None
) -> list[Completion | BaseException]:
    run = run or Run("test")

    async def go() -> list[Completion | BaseException]:
        calls = (session.engine.complete(r, run=run, label="test") for r in requests)
        return await asyncio.gather(*calls, return_exceptions=True)

    return session.call(go())


def fast_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("swath.engine.retry.BASE", 0.01)
    monkeypatch.setattr("swath.engine.limiter.PAUSE", 0.01)


# -- cache


def test_an_equal_call_is_paid_for_once(open_session: Open) -> None:
    with serve(OpenAIServer(latency=0.02)) as server:
        session = open_session(m=server)
        replies = ask_all(session, [ask("same")] * 20 + [ask("other")])
        assert server.stats.answered == 2
        assert [r.cached for r in replies].count(False) == 2  # type: ignore[union-attr]
        again = session.complete("same")
        assert again.cached
        assert again.cost_usd == 0.0
        assert server.stats.answered == 2
        assert not session.complete("same", fresh=True).cached
        assert server.stats.answered == 3


def test_an_answer_outlives_the_session_and_the_alias(open_session: Open) -> None:
    with serve(OpenAIServer()) as server:
        first = open_session(m=server).complete("q")
        renamed = open_session(n=server)
        assert renamed.complete("q").text == first.text
        assert server.stats.received == 1


@pytest.mark.parametrize(
    "change",
    [
        {"temperature": 0.5},
        {"top_p": 0.5},
        {"max_tokens": 7},
        {"stop": "x"},
        {"seed": 3},
        {"system": "s"},
        {"response": dict(SCHEMA.json)},
        {"extra": {"user": "u"}},
    ],
)
def test_whatever_can_change_the_answer_is_in_the_hash(
    open_session: Open, change: dict[str, Any]
) -> None:
    with serve(OpenAIServer()) as server:
        session = open_session(m=server)
        session.complete("q")
        session.complete("q", **change)
        assert server.stats.answered == 2


# -- retry


@pytest.mark.parametrize("fault", ["500", "503", "529", "reset", "cut", "malformed", "html", "429"])
def test_what_may_succeed_is_tried_again(
    open_session: Open, monkeypatch: pytest.MonkeyPatch, fault: Any
) -> None:
    fast_backoff(monkeypatch)
    with serve(OpenAIServer(faults=[Fault(fault, times=2, retry_after=0.01)])) as server:
        session = open_session(m=server)
        reply = session.complete("q")
        assert reply.text
        assert server.stats.received == 3


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ("unauthorized", Kind.AUTH),
        ("not_found", Kind.NOT_FOUND),
        ("quota", Kind.QUOTA),
        ("context", Kind.CONTEXT),
        ("refusal", Kind.REFUSAL),
        ("content_filter", Kind.REFUSAL),
    ],
)
@pytest.mark.parametrize("make", [OpenAIServer, AnthropicServer, GoogleServer])
def test_what_cannot_succeed_is_not_tried_again(
    open_session: Open, fault: Any, kind: Kind, make: Any
) -> None:
    with serve(make(faults=[Fault(fault)])) as server:
        session = open_session(m=server)
        with pytest.raises(ProviderError) as caught:
            session.complete("a private question")
        assert caught.value.kind is kind
        assert server.stats.received == 1
        assert "private" not in str(caught.value)


def test_one_refused_key_does_not_cost_a_call_for_every_row(open_session: Open) -> None:
    with serve(OpenAIServer(faults=[Fault("quota")], latency=0.01)) as server:
        session = open_session(m=(server, {"concurrency": 4}))
        replies = ask_all(session, [ask(f"q{i}") for i in range(200)])
        assert all(isinstance(r, ProviderError) and r.kind is Kind.QUOTA for r in replies)
        assert server.stats.received <= 8


def test_a_hanging_server_times_out(open_session: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    fast_backoff(monkeypatch)
    with serve(OpenAIServer(faults=[Fault("hang", nth=frozenset({1}))])) as server:
        session = open_session(m=(server, {"timeout": 0.3}))
        assert session.complete("q").text
        assert server.stats.received == 2


def test_a_dead_server_fails_calls_within_the_deadline(open_session: Open) -> None:
    with serve(OpenAIServer()) as server:
        session = open_session(m=(server, {"deadline": 0.5}))
    begun = time.monotonic()
    with pytest.raises(ProviderError) as caught:
        session.complete("q")
    assert caught.value.kind is Kind.CONNECTION
    assert time.monotonic() - begun < 5


def test_storm_of_faults_loses_no_row(open_session: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """1% malformed replies, 10% 500s, 20% 429s at once."""
    fast_backoff(monkeypatch)
    faults = [
        Fault("malformed", rate=0.005),
        Fault("malformed_content", rate=0.005),
        Fault("500", rate=0.1),
        Fault("429", rate=0.2, retry_after=0.01),
    ]
    with serve(OpenAIServer(faults=faults, latency=0.002, seed=5)) as server:
        session = open_session(m=server)
        run = Run("storm")
        replies = ask_all(session, [ask(f"q{i}", schema=SCHEMA) for i in range(400)], run)
        assert not [r for r in replies if isinstance(r, BaseException)]
        assert len(server.stats.answered_by_prompt) >= 400
        assert run.metrics.retries == server.stats.received - 400


# -- shape


@pytest.mark.parametrize("make", [OpenAIServer, AnthropicServer, GoogleServer])
@pytest.mark.parametrize("fault", ["malformed_content", "wrong_schema", "empty"])
def test_a_wrong_answer_is_repaired(open_session: Open, make: Any, fault: Any) -> None:
    with serve(make(faults=[Fault(fault, times=1)])) as server:
        session = open_session(m=server)
        reply = session.complete("The dog barked.", response=dict(SCHEMA.json))
        assert set(reply.parsed) == {"claim", "stance"}
        assert server.stats.received == 2


def test_an_answer_that_stays_wrong_is_an_error_that_quotes_nothing(open_session: Open) -> None:
    with serve(OpenAIServer(faults=[Fault("wrong_schema")])) as server:
        session = open_session(m=server)
        with pytest.raises(ProviderError) as caught:
            session.complete("secret", response=dict(SCHEMA.json))
        assert caught.value.kind is Kind.INVALID
        assert "unexpected" not in str(caught.value)
        assert server.stats.received == 2


@pytest.mark.parametrize(
    ("server", "note"),
    [
        (OpenAIServer(json_schema=False), "JSON mode"),
        (OpenAIServer(json_schema=False, json_object=False, fenced=True), "prompted"),
    ],
)
def test_a_server_without_json_schema_is_asked_another_way(
    open_session: Open, server: OpenAIServer, note: str
) -> None:
    with serve(server):
        session = open_session(m=server)
        reply = session.complete("The dog barked.", response=dict(SCHEMA.json))
        assert reply.parsed["stance"] in ("for", "against")
        assert any(note in n for n in reply.notes)
        before = server.stats.received
        session.complete("Another.", response=dict(SCHEMA.json))
        assert server.stats.received == before + 1  # what it lacks is remembered


def test_pydantic_models_come_back_parsed(open_session: Open) -> None:
    class Pet(BaseModel):
        name: str
        age: int

    with serve(OpenAIServer(respond=lambda prompt, body: {"name": "Rex", "age": 3})) as server:
        reply = open_session(m=server).complete("Who?", response=Pet)
        assert reply.parsed == {"name": "Rex", "age": 3} or reply.parsed == Pet(name="Rex", age=3)


@pytest.mark.parametrize("make", [OpenAIServer, AnthropicServer, GoogleServer])
def test_choices_give_exactly_a_label(open_session: Open, make: Any) -> None:
    with serve(make()) as server:
        session = open_session(m=server)
        for i in range(6):
            reply = session.complete(f"text {i}", choices=["red", "green"])
            assert reply.text in ("red", "green")


SOURCE = "We must act now. The river floods every spring, and “nobody” helps us. It is late."


@pytest.mark.parametrize("make", [OpenAIServer, AnthropicServer, GoogleServer])
def test_an_invented_quote_is_repaired_or_refused(open_session: Open, make: Any) -> None:
    with serve(make(quotes="repair")) as server:
        session = open_session(m=server)
        reply = session.complete(SOURCE, response=dict(QUOTED.json), source=SOURCE)
        assert reply.parsed["evidence"] in SOURCE
        assert server.stats.received == 2
    with serve(make(quotes="invent")) as server:
        session = open_session(n=server)
        with pytest.raises(ProviderError) as caught:
            session.complete(SOURCE, response=dict(QUOTED.json), source=SOURCE)
        assert caught.value.kind is Kind.UNGROUNDED


def test_a_bent_quote_takes_the_spelling_of_its_source(open_session: Open) -> None:
    bent = {"evidence": 'the river floods every\nspring, and "nobody" helps us'}
    with serve(OpenAIServer(respond=lambda prompt, body: bent)) as server:
        session = open_session(m=server)
        reply = session.complete(SOURCE, response=dict(QUOTED.json), source=SOURCE)
        assert reply.parsed["evidence"] == "The river floods every spring, and “nobody” helps us"
        assert server.stats.received == 1


# -- fallback


@pytest.mark.parametrize("fault", ["503", "refusal", "context", "quota", "wrong_schema"])
def test_another_model_steps_in(
    open_session: Open, monkeypatch: pytest.MonkeyPatch, fault: Any
) -> None:
    fast_backoff(monkeypatch)
    with serve(OpenAIServer(faults=[Fault(fault)])) as bad, serve(AnthropicServer()) as good:
        session = open_session(m=(bad, {"fallback": ["spare"]}), spare=good)
        reply = session.complete("q", response=dict(SCHEMA.json))
        assert reply.model == "spare"
        row = session.engine.store.query("SELECT model, wanted, status FROM calls")[0]
        assert row == {"model": "spare", "wanted": "m", "status": "ok"}


def test_a_prompt_over_the_window_is_not_sent(open_session: Open) -> None:
    with serve(OpenAIServer()) as server:
        session = open_session(m=(server, {"context_window": 100}), big=server)
        with pytest.raises(ProviderError) as caught:
            session.complete("word " * 2000)
        assert caught.value.kind is Kind.CONTEXT
        assert server.stats.received == 0
        assert session.complete("word " * 2000, model=["m", "big"]).model == "big"


# -- budget


def test_the_budget_is_never_passed(open_session: Open) -> None:
    price = {"input": 100.0, "output": 400.0}
    with serve(OpenAIServer(price=price, latency=0.005)) as server:
        session = open_session(m=(server, {"price": price}))
        requests = [ask(f"question number {i} " * 10) for i in range(200)]
        everything = Run("all")
        ask_all(session, requests[:20], everything)
        whole = everything.metrics.cost_usd * 10
        server.reset()
        run = Run("capped", max_cost=whole / 10)
        replies = ask_all(session, requests[20:], run)
        assert any(isinstance(r, BudgetReached) for r in replies)
        bought = [r for r in replies if isinstance(r, Completion)]
        assert len(bought) >= 8
        assert server.stats.dollars <= whole / 10
        assert server.stats.dollars == pytest.approx(run.metrics.cost_usd)
        assert server.stats.dollars >= 0.8 * whole / 10
        # What was bought is kept: the rest is all that a second run pays for.
        server.reset()
        assert not [r for r in ask_all(session, requests) if isinstance(r, BaseException)]
        assert server.stats.answered == len(requests) - 20 - len(bought)


def test_the_budget_holds_while_everything_breaks(
    open_session: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    fast_backoff(monkeypatch)
    price = {"input": 10.0, "output": 40.0}
    faults = [
        Fault("malformed", rate=0.1),
        Fault("cut", rate=0.1),
        Fault("wrong_schema", rate=0.2),
        Fault("500", rate=0.1),
    ]
    with serve(OpenAIServer(price=price, faults=faults, latency=0.002)) as server:
        session = open_session(m=(server, {"price": price}))
        run = Run("capped", max_cost=1.0)
        ask_all(session, [ask(f"q{i} " * 20, schema=SCHEMA) for i in range(300)], run)
        assert 0.1 < server.stats.dollars <= 1.0


def test_a_long_prompt_is_reserved_and_booked_at_its_own_price(open_session: Open) -> None:
    long = {"input": 200.0, "output": 200.0}
    price = {"input": 1.0, "output": 1.0, "long_from": 500, "long": long}
    with serve(OpenAIServer()) as server:
        session = open_session(m=(server, {"price": price}))
        short, lengthy = session.complete("word " * 10), session.complete("word " * 1000)
        assert short.cost_usd < 0.001
        used = lengthy.usage.input_tokens + lengthy.usage.output_tokens
        assert lengthy.cost_usd == pytest.approx(used * 200 / 1e6)
        with pytest.raises(BudgetReached):
            session.complete("words " * 1000, max_cost=0.1)


# -- streams


@pytest.mark.parametrize("make", [OpenAIServer, AnthropicServer, GoogleServer])
def test_a_stream_gives_text_then_the_whole(open_session: Open, make: Any) -> None:
    with serve(make(fragment=7)) as server:
        session = open_session(m=server)
        stream = session.stream("Tell me something long, please. " * 4)
        text = "".join(chunk.text for chunk in stream)
        assert stream.completion is not None
        assert text == stream.completion.text != ""
        assert stream.completion.usage.output_tokens > 0
        again = session.stream("Tell me something long, please. " * 4)
        assert "".join(c.text for c in again) == text  # from the store
        assert server.stats.received == 1


async def test_a_stream_in_a_running_loop(open_session: Open) -> None:
    with serve(OpenAIServer()) as server:
        session = open_session(m=server)
        text = ""
        async for chunk in session.stream("hello"):
            text += chunk.text
        assert text == (await session.acomplete("hello")).text


def test_a_cut_stream_is_an_error_and_not_a_short_answer(open_session: Open) -> None:
    with serve(OpenAIServer(faults=[Fault("cut")])) as server:
        session = open_session(m=server)
        with pytest.raises(ProviderError) as caught:
            for _ in session.stream("Tell me something long, please. " * 10):
                pass
        assert caught.value.kind in (Kind.CONNECTION, Kind.MALFORMED)
        assert server.stats.received == 1


@pytest.mark.parametrize("make", [OpenAIServer, AnthropicServer, GoogleServer])
def test_an_error_in_the_middle_of_a_stream_is_raised(open_session: Open, make: Any) -> None:
    with serve(make(faults=[Fault("stream_error")])) as server:
        session = open_session(m=server)
        with pytest.raises(ProviderError) as caught:
            for _ in session.stream("Tell me something long, please. " * 10):
                pass
        assert caught.value.kind in (Kind.SERVER, Kind.OVERLOADED)
        assert server.stats.received == 1


def test_leaving_a_stream_ends_the_call(open_session: Open) -> None:
    with serve(OpenAIServer(chunk_delay=0.05)) as server:
        session = open_session(m=server)
        for _ in session.stream("Tell me something long, please. " * 10):
            break
        deadline = time.monotonic() + 3
        while server.stats.in_flight and time.monotonic() < deadline:
            time.sleep(0.01)
        assert server.stats.broken_off == 1
        assert session.complete("still works").text


# -- the rest


def test_embeddings_in_order(open_session: Open) -> None:
    with serve(OpenAIServer()) as server:
        session = open_session(m=server)
        request = EmbedRequest(model="m", texts=("a", "b", "a"))
        vectors = session.call(session.engine.embed(request)).vectors
        assert len(vectors) == 3
        assert vectors[0] == vectors[2] != vectors[1]


def test_the_ledger_tells_where_the_time_went(open_session: Open) -> None:
    with serve(OpenAIServer(latency=0.05, faults=[Fault("500", times=1)])) as server:
        session = open_session(m=server)
        session.complete("q")
        row = session.engine.store.query("SELECT * FROM calls")[0]
        assert row["tries"] == 2
        assert row["provider_ms"] >= 50
        assert row["total_ms"] >= row["provider_ms"] + row["backoff_ms"] + row["wait_ms"] - 1
        assert row["status"] == "ok"
        assert (row["input_tokens"], row["output_tokens"]) == (
            server.stats.prompt_tokens,
            server.stats.completion_tokens,
        )


def test_estimates_spend_nothing_and_learn(open_session: Open) -> None:
    with serve(OpenAIServer()) as server:
        session = open_session(m=server)
        before = session.engine.estimate(ask("some question " * 20), "test")
        assert server.stats.received == 0
        ask_all(session, [ask(f"some question {i} " * 20) for i in range(30)])
        after = session.engine.estimate(ask("some question x " * 20), "test")
        used = server.stats
        assert after.output_tokens == pytest.approx(used.completion_tokens / 30, rel=0.1)
        assert after.input_tokens == pytest.approx(used.prompt_tokens / 30, rel=0.1)
        assert before.cost_usd > 0


def test_answers_that_need_repair_do_not_hold_every_slot(open_session: Open) -> None:
    """Each further try takes a slot of its own, also where all slots are at that point at once."""
    with serve(OpenAIServer(fixed="no json")) as server:
        session = open_session(m=(server, {"concurrency": 8}))
        requests = [ask(f"Row {i}", schema=SCHEMA) for i in range(40)]

        async def go() -> list[Any]:
            calls = (session.engine.complete(request) for request in requests)
            return await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), 30)

        kinds = {str(getattr(outcome, "kind", outcome)) for outcome in session.call(go())}
        assert kinds == {"invalid"}
        assert server.stats.answered == 120  # as it stands, once more, repaired
