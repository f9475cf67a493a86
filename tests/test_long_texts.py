"""Texts longer than the model's window: the user's word, never silence. And how near rows came."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

import swath as sw
from swath.operators.chunks import split
from tests.conftest import Open
from tests.servers import OpenAIServer, serve

WINDOW = 1000  # tokens; the servers count a token for four characters


def speech(sentences: int, mark: str = "") -> str:
    return " ".join(f"Sentence {i} is about fish.{mark}" for i in range(sentences))


class Names(BaseModel):
    first: str | None
    names: list[str]


def numbered(_: str, body: dict[str, Any]) -> dict[str, Any]:
    """Every tenth sentence's number is a name."""
    text = body["messages"][-1]["content"]
    found = [w for w in text.split() if w.isdigit() and int(w) % 10 == 0]
    return {"first": found[0] if found else None, "names": found}


def test_a_text_that_is_too_long_fails_alone_and_says_so(open_session: Open) -> None:
    with serve(OpenAIServer(context_window=WINDOW)) as server:
        open_session(fast=(server, {"context_window": WINDOW}))
        frame = sw.frame({"text": [speech(3), speech(400), speech(4)]})
        run = frame.with_columns(x=sw.map("Shorten: {text}", max_tokens=100)).run()
        assert run.errors["row"].to_list() == [1]
        assert run.errors["kind"].to_list() == ["context"]
        assert "window" in run.errors["reason"][0]


@pytest.mark.parametrize("told", [True, False], ids=["window known", "window unknown"])
def test_truncate_keeps_the_beginning_and_counts_what_was_cut(
    open_session: Open, told: bool
) -> None:
    with serve(OpenAIServer(context_window=WINDOW, keep_requests=True)) as server:
        open_session(fast=(server, {"context_window": WINDOW} if told else {}))
        frame = sw.frame({"text": [speech(3), speech(400)]})
        asked = sw.map("Shorten: {text}", long="truncate", max_tokens=100)
        run = frame.with_columns(x=asked).run()
        assert run.errors.is_empty()
        assert run.notes == {"texts cut to what the model's window holds": 1}
        long = max((r["messages"][-1]["content"] for r in bodies(server)), key=len)
        assert len(long) > 1500
        assert run.table["x"].null_count() == 0


def bodies(server: OpenAIServer) -> list[dict[str, Any]]:
    return [dict(r.body) for r in server.stats.requests]


@pytest.mark.parametrize("told", [True, False], ids=["window known", "window unknown"])
def test_chunk_reads_every_piece_and_joins_what_is_found(open_session: Open, told: bool) -> None:
    with serve(OpenAIServer(context_window=WINDOW, respond=numbered)) as server:
        open_session(fast=(server, {"context_window": WINDOW} if told else {}))
        frame = sw.frame({"text": [speech(3), speech(400), speech(12)]})
        asked = sw.extract("text", Names, long="chunk", max_tokens=200)
        run = frame.with_columns(x=asked).run()
        assert run.errors.is_empty()
        assert run.notes == {"texts read in pieces, being longer than the model's window": 1}
        found = run.table["x"].to_list()
        assert [len(x["names"]) for x in found] == [1, 40, 2]
        assert found[1]["first"] == "0"
        calls = server.stats.received
        again = frame.with_columns(x=asked).run()
        assert again.table.equals(run.table)
        assert server.stats.received - calls <= (0 if told else 3)  # what is refused costs nothing


def test_pieces_of_each_operator_make_one_answer(open_session: Open) -> None:
    def respond(_: str, body: dict[str, Any]) -> str | dict[str, Any]:
        text = body["messages"][-1]["content"]
        system = body["messages"][0]["content"]
        schema = str(body.get("response_format", ""))
        late = "Sentence 399 " in text
        if "labels" in schema:
            return {"labels": ["late"] if late else ["early"]}
        if "true?" in system:
            return {"label": "yes" if late else "no"}
        return {"label": "late" if late else "early"}

    with serve(OpenAIServer(context_window=WINDOW, respond=respond)) as server:
        open_session(fast=(server, {"context_window": WINDOW}))
        frame = sw.frame({"text": [speech(400)]})
        run = frame.with_columns(
            one=sw.classify("text", ["early", "late"], long="chunk"),
            many=sw.classify("text", ["late", "early"], multi=True, long="chunk"),
            true=sw.predicate("The end is reached: {text}", long="chunk"),
        ).run()
        assert run.errors.is_empty()
        row = run.table.row(0, named=True)
        assert row["one"] == "early"  # of most pieces
        assert row["many"] == ["late", "early"]  # in the order of the labels
        assert row["true"] is True  # of any piece


def test_a_longer_model_reads_what_the_short_one_cannot(open_session: Open) -> None:
    with serve(OpenAIServer(context_window=WINDOW)) as small, serve(OpenAIServer()) as large:
        open_session(small=(small, {"context_window": WINDOW}), large=large)
        frame = sw.frame({"text": [speech(3), speech(400)]})
        run = frame.with_columns(
            x=sw.map("Shorten: {text}", model=["small", "large"], max_tokens=100)
        ).run()
        assert run.errors.is_empty()
        assert large.stats.received == 1
        assert any("stepped in" in note for note in run.notes)


def test_explain_counts_the_pieces(open_session: Open) -> None:
    with serve(OpenAIServer(context_window=WINDOW)) as server:
        open_session(fast=(server, {"context_window": WINDOW}))
        frame = sw.frame({"text": [speech(400), speech(3)]})
        plan = frame.with_columns(x=sw.map("Shorten: {text}", long="chunk", max_tokens=100))
        told = plan.explain().calls
        run = plan.run()
        assert abs(told - run.metrics.calls) <= 0.2 * run.metrics.calls


def test_headroom_is_in_the_ledger_and_the_summary(open_session: Open) -> None:
    with serve(OpenAIServer(context_window=WINDOW)) as server:
        open_session(fast=(server, {"context_window": WINDOW}))
        frame = sw.frame({"text": [speech(3), speech(125)]})
        run = frame.with_columns(x=sw.map("{text}", max_tokens=50)).run()
        shares = sw.calls().select("window_share").collect()["window_share"].sort().to_list()
        assert shares[0] < 0.1
        assert 0.8 < shares[1] <= 1
        assert run.metrics.window_share == shares[1]
        assert f"fullest call {shares[1]:.0%}" in repr(run)
        assert any("90% of the window" in n for n in run.notes) == (shares[1] > 0.9)
        stored = sw.runs().collect().filter(pl.col("id") == run.id)
        assert stored["window_share"].to_list() == [shares[1]]


def test_words_that_do_not_exist() -> None:
    with pytest.raises(sw.InputError, match="chunk, refuse, truncate"):
        sw.map("{a}", long="chop")  # type: ignore[arg-type]
    with pytest.raises(sw.InputError, match="one column"):
        sw.map("{a} {b}", long="chunk")


@given(st.text(alphabet="ab. \n。", max_size=400), st.integers(1, 60))
def test_pieces_are_the_text(text: str, most: int) -> None:
    pieces = split(text, most)
    assert "".join(pieces) == text
    assert all(0 < len(piece) <= most for piece in pieces) or not text
    assert len(pieces) <= 2 * (len(text) // most + 1)
