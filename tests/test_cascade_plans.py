"""Cascades in plans, in operators over whole tables, and with the local models."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import swath as sw
from swath.messages import Completion, TokenLogprob
from swath.operators.asking import Ask
from swath.operators.cascading import answer_all, sureness
from swath.operators.table import ColumnOperator, Forecast
from tests.cascade_kit import CHEAP, ROWS, card, large, small, texts, truth
from tests.conftest import Open
from tests.data_kit import data
from tests.servers import Answer, OpenAIServer, serve

# -- plans


def test_explain_names_both_models_and_their_calls(open_session: Open) -> None:
    with serve(OpenAIServer(respond=small)) as few, serve(OpenAIServer(respond=large)) as much:
        open_session(small=(few, CHEAP), large=much)
        plan = sw.frame({"text": texts()}).with_columns(x=card(sw.cascade("small", "large")))
        told = plan.explain()
        loads = told.costs[0].loads
        assert {alias: load.calls for alias, load in loads.items()} == {"small": 600, "large": 300}
        assert loads["large"].cost_usd > 0
        assert "small → large" in str(told)
        assert told.costs[0].model == "small, large"
        assert "'large' is asked about 50% of what 'small' is asked" in told.assumptions
        assert few.stats.received == much.stats.received == 0


def test_both_models_are_checked_before_anything_is_spent(open_session: Open) -> None:
    with serve(OpenAIServer(respond=large)) as much:
        open_session(large=much)
        for cascade in (sw.cascade("smal", "large"), sw.cascade("large", "larg")):
            with pytest.raises(sw.UnknownModel):
                sw.frame({"text": texts()}).with_columns(x=card(cascade)).run()
        assert much.stats.received == 0


def test_two_cascades_are_equal_where_they_ask_the_same() -> None:
    a, b = sw.cascade("small", "large"), sw.cascade("small", "large")
    assert card(a) == card(b)
    assert card(a) != card("large")
    assert card(a) != card(sw.cascade("small", "large", quality=0.9))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"small": "a", "large": "a"}, "two models"),
        ({"small": None}, "two models"),
        ({"quality": 95}, "quality=95"),
        ({"quality": 1.0}, "from 0.5 to below 1"),
        ({"confidence": 0.0}, "confidence=0.0"),
        ({"target": "accuracy"}, "agreement"),
        ({"sample": 0}, "number of rows"),
    ],
)
def test_bad_cascades_say_what_is_wrong(wrong: dict[str, Any], said: str) -> None:
    given = {"small": "a", "large": "b", **wrong}
    with pytest.raises(sw.InputError, match=said):
        sw.cascade(given.pop("small"), given.pop("large"), **given)


def test_a_cascade_where_it_does_not_fit_says_so() -> None:
    with pytest.raises(sw.InputError, match="true or false"):
        sw.classify("text", ["a", "b"], model=sw.cascade("small", "large", target="recall"))
    with pytest.raises(sw.InputError, match="predicate, classify and join"):
        sw.map("Answer: {text}", model=sw.cascade("small", "large"))  # type: ignore[arg-type]


# -- for operators over whole tables


class Pairs(ColumnOperator):
    """Asks about every row at once, as a join does about its pairs."""

    kind = "pairs"

    def __init__(self, cascade: Any) -> None:
        super().__init__(model=(cascade.large, cascade.small))
        self.cascade = cascade
        self.question: Any = card("large")

    dtype = pl.Boolean()

    def reads(self, schema: pl.Schema) -> frozenset[str]:
        return frozenset({"text"})

    async def values(self, ask: Ask, table: pl.DataFrame) -> list[Any]:
        requests = self.question.requests(table, "large")
        found = await answer_all(ask, self.cascade, requests, self.question.value)
        out: list[Any] = []
        for row, reply in enumerate(found.replies):
            if reply is not None and not isinstance(reply, Completion):
                ask.failed(row, reply)
            out.append(self.question.value(reply) if isinstance(reply, Completion) else None)
        return out

    def forecast(self, table: pl.DataFrame, rows: float, *others: Any) -> Forecast:
        return Forecast([], self.cascade.calls(rows), rows)

    def describe(self) -> str:
        return "pairs"


def test_answer_all_keeps_precision_and_recall_over_a_list_of_questions(open_session: Open) -> None:
    def declines(text: str, body: Any) -> Answer:
        return Answer(refusal="No.") if text.endswith("9: a loan, level 3") else large(text, body)

    with serve(OpenAIServer(respond=small)) as few, serve(OpenAIServer(respond=declines)) as much:
        open_session(small=(few, CHEAP), large=much)
        rows = [*texts(), None, " "]
        cascade = sw.cascade("small", "large", quality=0.8)
        run = sw.frame({"text": rows}).with_columns(x=Pairs(cascade)).run()
        x = run.table["x"].to_list()
        promise = cascade.promises[-1]
        assert promise.target == "both"
        assert x[-2:] == [None, None]
        true = [truth(text) for text in texts()]
        right = sum(bool(a and b) for a, b in zip(x, true, strict=False))
        assert right / sum(map(bool, x)) >= 0.8
        assert right / sum(true) >= 0.8
        assert promise.rows == ROWS
        assert promise.by_small + promise.by_large == ROWS
        assert much.stats.received == promise.by_large < ROWS
        assert max(few.stats.repeats) == max(much.stats.repeats) == 1
        asked = few.stats.received, much.stats.received
        again = sw.frame({"text": rows}).with_columns(x=Pairs(cascade)).run()
        assert (few.stats.received, much.stats.received - asked[1]) == (asked[0], len(run.errors))
        assert again.table.equals(run.table)


# -- how sure


def test_how_sure_an_answer_is() -> None:
    tokens = [
        ('{"la', -0.5),
        ('bel": "', 0.0),
        ("card", -0.1),
        ("_ar", -0.2),
        ('rival"', -0.3),
        ("}", -2.0),
    ]
    written = tuple(TokenLogprob(token, logprob) for token, logprob in tokens)
    found = sureness(Completion(text="card_arrival", logprobs=written))
    assert found == pytest.approx(math.exp(-0.6))
    whole = sureness(Completion(text="Card Arrival", logprobs=written))
    assert whole == pytest.approx(math.exp(-3.1))
    assert sureness(Completion(text="a", scores={"a": 0.3, "b": 0.1})) == pytest.approx(0.75)
    assert sureness(Completion(text="a")) is None


# -- for real


@pytest.mark.local
def test_two_local_models_on_reviews(tmp_path: Path) -> None:
    pytest.importorskip("xllamacpp")
    session = sw.Session({"models": {}, "store": f"sqlite:///{tmp_path}/local.db"})
    try:
        reviews = sw.read_csv(data("reviews_polarity.csv")).head(48)
        cascade = sw.cascade(
            "local/smollm2-135m", "local/qwen2.5-coder-0.5b", quality=0.7, confidence=0.9, sample=16
        )
        labels = {"positive": "the reviewer liked the film", "negative": "the reviewer did not"}
        run = reviews.with_columns(x=sw.classify("text", labels, model=cascade)).run(
            session=session
        )
        promise = cascade.promises[-1]
        assert run.errors.is_empty()
        assert set(run.table["x"]) <= set(labels)
        assert promise.sampled == 16
        assert not any("tells no probabilities" in note for note in run.notes)
        alone = reviews.with_columns(x=sw.classify("text", labels, model=cascade.large))
        truth = alone.run(session=session)
        assert (
            truth.metrics.cached >= promise.sampled
        )  # what the cascade asked it is not asked again
        same = (run.table["x"] == truth.table["x"]).mean()
        assert same is not None
        assert same >= 0.7
        print(promise, same)
    finally:
        session.close()
