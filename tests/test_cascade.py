"""Cascades in frames, over two servers that count what they are asked."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import polars as pl
import pytest

import swath as sw
from tests.cascade_kit import CHEAP, ROWS, card, large, level, says, sly, small, texts, truth
from tests.conftest import Open
from tests.servers import Answer, AnthropicServer, Fault, OpenAIServer, serve


def test_the_small_model_answers_where_it_is_sure(open_session: Open) -> None:
    with serve(OpenAIServer(respond=small)) as few, serve(OpenAIServer(respond=large)) as much:
        open_session(small=(few, CHEAP), large=much)
        cascade = sw.cascade("small", "large", quality=0.95)
        run = sw.frame({"text": texts()}).with_columns(x=card(cascade)).run()
        promise = cascade.promises[-1]
        assert run.table["text"].to_list() == texts()
        right = [truth(text) == x for text, x in zip(texts(), run.table["x"], strict=True)]
        assert sum(right) >= 0.95 * ROWS
        assert few.stats.received == ROWS
        assert much.stats.received == promise.by_large < 0.6 * ROWS
        assert promise.by_small + promise.by_large == ROWS
        assert promise.cut is not None
        assert 0.6 <= promise.cut.yes <= 0.93
        assert run.notes[str(promise)] == 1
        assert "at least 95% of the answers" in str(promise).lower()
        assert run.notes["cascade: answered by 'small'"] == promise.by_small
        assert run.notes["cascade: answered by 'large'"] == promise.by_large
        spent = run.metrics.cost_usd
        all_large = ROWS * run.by_model["large"].cost_usd / promise.by_large
        assert promise.saved_usd == pytest.approx(all_large - spent, rel=0.01)


def test_the_small_model_is_asked_for_its_probabilities(open_session: Open) -> None:
    with (
        serve(OpenAIServer(respond=small, keep_requests=True)) as few,
        serve(OpenAIServer(respond=large, keep_requests=True)) as much,
    ):
        open_session(small=(few, CHEAP), large=much)
        sw.frame({"text": texts()}).filter(card(sw.cascade("small", "large"))).collect()
        assert all(r.body["logprobs"] is True for r in few.stats.requests)
        assert all("logprobs" not in r.body for r in much.stats.requests)


def test_a_filter_keeps_what_the_column_says(open_session: Open) -> None:
    with serve(OpenAIServer(respond=small)) as few, serve(OpenAIServer(respond=large)) as much:
        open_session(small=(few, CHEAP), large=much)
        frame = sw.frame({"text": texts()})
        column = frame.with_columns(x=card(sw.cascade("small", "large"))).collect()
        kept = frame.filter(card(sw.cascade("small", "large"))).collect()
        assert kept["text"].to_list() == column.filter("x")["text"].to_list()
        assert few.stats.repeats == {1: ROWS}


def test_nothing_is_paid_twice(open_session: Open) -> None:
    with serve(OpenAIServer(respond=small)) as few, serve(OpenAIServer(respond=large)) as much:
        open_session(small=(few, CHEAP), large=much)
        frame = sw.frame({"text": texts() * 2}).with_columns(x=card(sw.cascade("small", "large")))
        first = frame.run()
        asked = few.stats.received, much.stats.received
        assert asked[0] == ROWS
        assert max(few.stats.repeats) == max(much.stats.repeats) == 1
        again = frame.run()
        assert again.metrics.calls == 0
        assert (few.stats.received, much.stats.received) == asked
        assert again.table.equals(first.table)


def test_another_seed_draws_another_sample(open_session: Open) -> None:
    with serve(OpenAIServer(respond=small)) as few, serve(OpenAIServer(respond=large)) as much:
        open_session(small=(few, CHEAP), large=much)
        frame = sw.frame({"text": texts()})
        for seed, new in ((0, True), (0, False), (1, True)):
            before = much.stats.received
            frame.filter(card(sw.cascade("small", "large", seed=seed))).collect()
            assert (much.stats.received > before) is new


def test_where_the_sample_does_not_bear_it_out_all_goes_to_the_large_model(
    open_session: Open,
) -> None:
    with serve(OpenAIServer(respond=sly)) as few, serve(OpenAIServer(respond=large)) as much:
        open_session(small=(few, CHEAP), large=much)
        cascade = sw.cascade("small", "large", quality=0.95)
        run = sw.frame({"text": texts()}).with_columns(x=card(cascade)).run()
        assert run.table["x"].to_list() == [truth(text) for text in texts()]
        assert much.stats.received == ROWS
        assert max(much.stats.repeats) == 1
        assert few.stats.received < ROWS / 3
        promise = cascade.promises[-1]
        assert promise.cut is None
        assert run.notes[str(promise)] == 1
        assert "everything goes to 'large'" in str(promise)


def test_too_few_rows_are_not_asked_of_the_small_model(open_session: Open) -> None:
    with serve(OpenAIServer(respond=small)) as few, serve(OpenAIServer(respond=large)) as much:
        open_session(small=(few, CHEAP), large=much)
        run = sw.frame({"text": texts(60)}).with_columns(x=card(sw.cascade("small", "large"))).run()
        assert (few.stats.received, much.stats.received) == (0, 60)
        assert any("60 rows are too few to learn from" in note for note in run.notes)


def test_a_small_model_that_costs_more_than_it_saves_is_left_out(open_session: Open) -> None:
    with serve(OpenAIServer(respond=small)) as few, serve(OpenAIServer(respond=large)) as much:
        price = {"input": 0.9, "output": 4.0}
        open_session(small=(few, {"price": price}), large=much)
        run = sw.frame({"text": texts()}).with_columns(x=card(sw.cascade("small", "large"))).run()
        assert much.stats.received == ROWS
        assert few.stats.received < ROWS / 3
        assert any("would cost more than that saves" in note for note in run.notes)


@pytest.mark.parametrize(("wrong", "trusted"), [(False, True), (True, False)])
def test_without_probabilities_it_is_all_rows_or_none(
    wrong: bool, trusted: bool, open_session: Open
) -> None:
    def answer(text: str, body: Any) -> str:
        return "yes" if truth(text) ^ (wrong and level(text) < 20) else "no"

    with serve(AnthropicServer(respond=answer)) as few, serve(OpenAIServer(respond=large)) as much:
        open_session(small=(few, CHEAP), large=much)
        cascade = sw.cascade("small", "large", quality=0.9)
        run = sw.frame({"text": texts()}).with_columns(x=card(cascade)).run()
        assert run.errors.is_empty()
        assert (cascade.promises[-1].cut is not None) is trusted
        assert (much.stats.received < ROWS / 3) is trusted
        assert any("tells no probabilities" in note for note in run.notes)


def test_a_failed_small_answer_goes_to_the_large_model(open_session: Open) -> None:
    def declines(text: str, body: Any) -> Answer:
        return Answer(refusal="No.") if level(text) % 10 == 7 else small(text, body)

    with serve(OpenAIServer(respond=declines)) as few, serve(OpenAIServer(respond=large)) as much:
        open_session(small=(few, CHEAP), large=much)
        run = sw.frame({"text": texts()}).with_columns(x=card(sw.cascade("small", "large"))).run()
        assert run.errors.is_empty()
        declined = [i for i, text in enumerate(texts()) if level(text) % 10 == 7]
        assert [run.table["x"][i] for i in declined] == [truth(texts()[i]) for i in declined]
        assert much.stats.received < 0.65 * ROWS


def test_a_failed_large_answer_fails_its_row_alone_and_is_asked_once(open_session: Open) -> None:
    def declines(text: str, body: Any) -> Answer:
        return Answer(refusal="No.") if level(text) % 10 == 7 else large(text, body)

    with serve(OpenAIServer(respond=small)) as few, serve(OpenAIServer(respond=declines)) as much:
        open_session(small=(few, CHEAP), large=much)
        cascade = sw.cascade("small", "large")
        run = sw.frame({"text": texts()}).with_columns(x=card(cascade)).run()
        assert run.table.height == ROWS
        failed = run.errors["row"].to_list()
        assert failed
        assert set(run.errors["kind"]) == {"refusal"}
        assert all(level(texts()[row]) % 10 == 7 for row in failed)
        assert run.table["x"].is_null().arg_true().to_list() == failed
        assert max(much.stats.repeats) == 1
        assert cascade.promises[-1].by_small + cascade.promises[-1].by_large == ROWS


def test_a_fallback_of_the_small_model_is_not_taken_for_it(open_session: Open) -> None:
    with (
        serve(OpenAIServer(respond=small, faults=[Fault("context", match="level 7")])) as few,
        serve(OpenAIServer(respond=sly)) as other,
        serve(OpenAIServer(respond=large)) as much,
    ):
        open_session(small=(few, {**CHEAP, "fallback": ["other"]}), other=other, large=much)
        run = sw.frame({"text": texts()}).with_columns(x=card(sw.cascade("small", "large"))).run()
        assert other.stats.answered > 0
        for text, x in zip(texts(), run.table["x"], strict=True):
            if "level 7" in text:  # "other" is sure of all of them, and wrong on some
                assert x is truth(text)


def test_the_budget_holds_while_the_sample_is_asked(open_session: Open) -> None:
    price = {"input": 1.0, "output": 4.0}
    with (
        serve(OpenAIServer(respond=small, latency=0.001, price=price)) as few,
        serve(OpenAIServer(respond=large, latency=0.001, price=price)) as much,
    ):
        narrow = {"concurrency": 4, "price": price}
        open_session(small=(few, {**narrow, **CHEAP}), large=(much, narrow))
        frame = sw.frame({"text": texts()}).with_columns(
            x=card(sw.cascade("small", "large"), max_tokens=20)
        )
        with pytest.raises(sw.BudgetReached) as caught:
            frame.run(max_cost=0.002)
        assert 0 < much.stats.dollars <= 0.002
        assert caught.value.run.table.height == 0  # no row was answered: the sample was not whole
        bought = much.stats.answered
        table = frame.collect(max_cost=10)
        assert table["x"].null_count() == 0
        assert much.stats.answered > bought
        assert max(much.stats.repeats) == max(few.stats.repeats) == 1


def test_null_and_blank_rows_cost_nothing(open_session: Open) -> None:
    with serve(OpenAIServer(respond=small)) as few, serve(OpenAIServer(respond=large)) as much:
        open_session(small=(few, CHEAP), large=much)
        rows = [text for pair in zip(texts(), [None, "  "] * 300, strict=True) for text in pair]
        run = sw.frame({"text": rows}).with_columns(x=card(sw.cascade("small", "large"))).run()
        assert run.table["x"].is_null().to_list() == [False, True] * ROWS
        assert few.stats.received == ROWS
        assert much.stats.received < 0.7 * ROWS


# -- targets


def test_recall_and_precision(open_session: Open) -> None:
    """Only the answers that could hurt what was promised stand; the large model gives the rest."""
    with serve(OpenAIServer(respond=small)) as few, serve(OpenAIServer(respond=large)) as much:
        open_session(small=(few, CHEAP), large=much)
        true = [truth(text) for text in texts()]
        for target in ("recall", "precision", "both"):
            cascade = sw.cascade("small", "large", quality=0.8, target=target)
            x = sw.frame({"text": texts()}).with_columns(x=card(cascade)).collect()["x"].to_list()
            right = sum(a and b for a, b in zip(x, true, strict=True))
            precision, recall = right / sum(x), right / sum(true)
            assert precision >= (0.8 if target != "recall" else 1)
            assert recall >= (0.8 if target != "precision" else 1)
            level = cascade.promises[-1].cut
            assert level is not None
            assert (level.no < math.inf) is (target != "precision")
            assert (level.yes < math.inf) is (target != "recall")
            assert cascade.promises[-1].by_small > 0


# -- classify


def label(words: tuple[str, str]) -> Callable[[str, Any], Answer]:
    return lambda text, body: says(truth(text), 0.6 if level(text) < 30 else 0.95, words)


def test_classify(open_session: Open) -> None:
    def unsure(text: str, body: Any) -> Answer:
        wrong = level(text) < 30 and level(text) % 2 == 0
        return says(truth(text) ^ wrong, 0.6 if level(text) < 30 else 0.95, ("card", "loan"))

    with (
        serve(OpenAIServer(respond=unsure)) as few,
        serve(OpenAIServer(respond=label(("card", "loan")))) as much,
    ):
        open_session(small=(few, CHEAP), large=much)
        for scores in (False, True):
            cascade = sw.cascade("small", "large", quality=0.9)
            operator = sw.classify("text", ["card", "loan"], scores=scores, model=cascade)
            run = sw.frame({"text": texts()}).with_columns(x=operator).run()
            found = run.table["x"].struct.field("label") if scores else run.table["x"]
            assert run.table.schema["x"] == operator.dtype
            right = sum((x == "card") == truth(t) for t, x in zip(texts(), found, strict=True))
            assert right >= 0.9 * ROWS
            assert 0.2 * ROWS < cascade.promises[-1].by_small < ROWS


def test_classify_with_several_labels(open_session: Open) -> None:
    def several(wrong: bool) -> Callable[[str, Any], dict[str, Any]]:
        def answer(text: str, body: Any) -> dict[str, Any]:
            labels = ["card", "lost"] if truth(text) else ["loan"]
            swapped = labels[::-1] if body.get("logprobs") else labels  # the order is no slip
            return {"labels": swapped + (["late"] if wrong and level(text) < 50 else [])}

        return answer

    for wrong in (False, True):
        with (
            serve(OpenAIServer(respond=several(wrong))) as few,
            serve(OpenAIServer(respond=several(False))) as much,
        ):
            open_session(small=(few, CHEAP), large=much, store=f"sqlite:///{wrong}.db")
            cascade = sw.cascade("small", "large", quality=0.9)
            labels = ["card", "loan", "lost", "late"]
            operator = sw.classify("text", labels, multi=True, model=cascade)
            table = sw.frame({"text": texts()}).with_columns(x=operator).collect()
            assert table.schema["x"] == pl.List(pl.String())
            promise = cascade.promises[-1]
            assert (promise.by_small > 0.5 * ROWS) is not wrong
            late = table["x"].list.contains("late").sum()
            assert late <= 0.1 * ROWS
