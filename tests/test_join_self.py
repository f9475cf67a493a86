"""A table with itself: each pair once; a label a row where the statement compares a property."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest

import swath as sw
from tests.conftest import Open
from tests.join_kit import SENTIMENT, Oracle, Sentiments, reviews
from tests.servers import OpenAIServer, serve


def test_a_symmetric_statement_asks_about_each_pair_once(open_session: Open) -> None:
    table = pl.DataFrame({"id": range(12), "name": [f"x{i} {i % 3}" for i in range(12)]})
    statement = "The same kind:\nA: {left.name}\nB: {right.name}"
    oracle = Oracle(lambda a, b: a[-1] == b[-1])
    with serve(OpenAIServer(respond=oracle)) as server:
        open_session(fast=server)
        frame = sw.frame(table)
        on = sw.join(statement, pairs_per_call=1, rewrite=False)
        got = frame.join(frame, on=on).collect()
        assert got.height == 12 * 4
        assert oracle.calls == 12 * 11 // 2
        on = sw.join(statement, pairs_per_call=1, rewrite=False, symmetric=False)
        assert frame.join(frame, on=on).collect().equals(got)
        assert len(oracle.pairs) == 144


def test_same_sentiment_takes_a_label_a_row(open_session: Open) -> None:
    """65,280 ordered pairs of 256 reviews: 256 labels and a few questions; by word, 256."""
    table = reviews(256)
    expected = table.join(table, on="label", maintain_order="left_right").select("id", "id_right")
    answers = Sentiments(table)
    with serve(OpenAIServer(respond=answers)) as server:
        open_session(fast=server)
        frame = sw.frame(table)
        run = frame.join(frame, on=sw.join(SENTIMENT)).run()
        assert run.table.select("id", "id_right").equals(expected)
        assert answers.calls <= 256 + 16
        assert any("labels agreed with 12 of 12" in note for note in run.notes)
        before = answers.calls
        on = sw.same(sw.classify("text", ["positive", "negative"]))
        run = frame.join(frame, on=on).run()
        assert run.table.select("id", "id_right").equals(expected)
        assert answers.calls - before == 256
        by = sw.classify("text", ["positive", "negative"])
        assert frame.join(frame, on=sw.join(SENTIMENT, by=by)).run().metrics.calls == 0


@pytest.mark.parametrize(
    "answers",
    [
        pytest.param({"separable": False}, id="the model says no"),
        pytest.param({"direct": lambda same: not same}, id="labels disagree with answers"),
    ],
)
def test_labels_are_not_taken_where_they_do_not_hold(
    answers: dict[str, Any], open_session: Open
) -> None:
    table = reviews(40)
    said = Sentiments(table, **answers)
    with serve(OpenAIServer(respond=said)) as server:
        open_session(fast=server)
        frame = sw.frame(table)
        got = frame.join(frame, on=sw.join(SENTIMENT)).run()
        plain = frame.join(frame, on=sw.join(SENTIMENT, rewrite=False, candidates="all")).run()
        assert got.table.equals(plain.table)
        wrong = "direct" in answers
        assert any("so pairs were asked about" in note for note in got.notes) == wrong
