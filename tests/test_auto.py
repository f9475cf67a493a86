"""`sw.auto`: a router learned from the table's own rows, over servers that count what they are
asked."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import numpy as np
import polars as pl
import pytest
from pydantic import BaseModel

import swath as sw
from swath.errors import InputError
from swath.session import Session
from tests.conftest import Open, model_table
from tests.servers import Fault, OpenAIServer, serve

ROWS = 900
CHEAP = {"price": {"input": 0.1, "output": 0.4}}
LABELS = ["card", "loan", "fee"]
_EASY = "please tell me about it today thanks".split()  # noqa: SIM905
_HARD = "notwithstanding the aforementioned irrevocable counterparty clause".split()  # noqa: SIM905


def texts(n: int = ROWS, hard: float = 0.4, seed: int = 0) -> list[str]:
    """Tickets, of which a share is worded so that the small model does not follow."""
    draw = random.Random(seed)
    made = []
    for i in range(n):
        words = _HARD * 3 if draw.random() < hard else _EASY
        said = " ".join(draw.sample(words, len(words)))
        made.append(f"Ticket {i}: a {draw.choice(LABELS)}, {said}")
    return made


def truth(text: str) -> str:
    found = re.search(r": a (\w+),", text)
    assert found
    return found[1]


def is_hard(text: str) -> bool:
    return "counterparty" in text


def wrong(text: str) -> str:
    return LABELS[(LABELS.index(truth(text)) + 1) % 3]


def small(text: str, body: Any) -> str:
    """Wrong on most of the hard ones, and on one in a hundred of the others."""
    number = int(re.findall(r"Ticket (\d+)", text)[-1])
    fails = number % 10 < 7 if is_hard(text) else number % 100 == 50
    return wrong(text) if fails else truth(text)


def large(text: str, body: Any) -> str:
    return truth(text)


def coin(text: str, body: Any) -> str:
    """Wrong on a third of the rows, whatever they say."""
    return wrong(text) if random.Random(text).random() < 0.33 else truth(text)


class House:
    def __init__(self, few: OpenAIServer, much: OpenAIServer, other: OpenAIServer) -> None:
        self.few, self.much, self.other = few, much, other

    @property
    def asked(self) -> tuple[int, int]:
        return self.few.stats.received, self.much.stats.received


@contextmanager
def house(weak: Any = small, strong: Any = large, **more: Any) -> Iterator[House]:
    with (
        serve(OpenAIServer(respond=weak, **more)) as few,
        serve(OpenAIServer(respond=strong)) as much,
        serve(OpenAIServer()) as other,
    ):
        models = {
            "small": model_table(few, **CHEAP, model="tiny"),
            "large": model_table(much, model="huge"),
            "vectors": model_table(other, model="vectors"),
        }
        with Session({"models": models, "store": "memory://"}, check=False):
            yield House(few, much, other)


def auto(**settings: Any) -> Any:
    return sw.auto(["small", "large"], **{"embedding": "vectors", **settings})


def label(model: Any) -> Any:
    return sw.classify("text", LABELS, model=model)


def test_easy_rows_go_to_the_small_model_and_the_promise_is_kept() -> None:
    with house() as them:
        chosen = auto(quality=0.95, confidence=0.9)
        frame = sw.frame({"text": texts()}).with_columns(x=label(chosen))
        run = frame.run()
        sent = chosen.promises[-1]
        right = [truth(t) == x for t, x in zip(run.table["text"], run.table["x"], strict=True)]
        assert run.table["text"].to_list() == texts()
        assert sum(right) >= 0.95 * ROWS
        assert sent.threshold is not None
        assert sent.learned + sent.checked == chosen.parts(ROWS)[0] + chosen.parts(ROWS)[1]
        assert sent.ranking is not None
        assert sent.ranking > 0.75
        # Of the 540 rows not sampled some 324 are easy.
        assert 200 < sent.by_small < 400
        assert sent.by_small + sent.by_large == ROWS
        assert them.much.stats.received == sent.by_large
        assert them.few.stats.received == sent.by_small + sent.learned + sent.checked
        assert run.notes[str(sent)] == 1
        assert run.notes["auto: answered by 'small'"] == sent.by_small
        assert "At least 95% of the answers are those of 'large' at 90% confidence" in str(sent)
        # What it saved is what all-large would have cost less what was spent.
        spent = sum(m.cost_usd for a, m in run.by_model.items() if a != "vectors")
        everything = ROWS * run.by_model["large"].cost_usd / sent.by_large
        assert sent.saved_usd == pytest.approx(everything - spent, rel=0.02)
        assert sent.saved == pytest.approx(1 - spent / everything, rel=0.05)
        assert 0.1 < sent.saved < 0.5


def test_nothing_is_paid_twice_and_the_split_is_the_same() -> None:
    with house() as them:
        frame = sw.frame({"text": texts()}).with_columns(x=label(auto()))
        first = frame.run()
        asked = them.asked
        again = frame.run()
        assert again.metrics.calls == 0
        assert them.asked == asked
        assert again.table.equals(first.table)


def test_where_routing_cannot_help_all_goes_to_the_large_model() -> None:
    with house(weak=coin) as them:
        chosen = auto()
        run = sw.frame({"text": texts()}).with_columns(x=label(chosen)).run()
        sent = chosen.promises[-1]
        assert run.table["x"].to_list() == [truth(t) for t in texts()]
        assert sent.threshold is None
        assert them.asked == (sent.learned + sent.checked, ROWS)
        assert "everything goes to 'large'" in str(sent)
        assert run.notes[str(sent)] == 1
        assert sent.saved_usd is not None
        assert sent.saved_usd < 0  # what the sample cost
        with pytest.raises(InputError, match="no router to save"):
            sent.save("my.router")


def test_a_small_model_that_is_always_right_answers_all_that_is_left() -> None:
    with house(weak=large) as them:
        chosen = auto()
        run = sw.frame({"text": texts()}).with_columns(x=label(chosen)).run()
        sent = chosen.promises[-1]
        assert run.table["x"].to_list() == [truth(t) for t in texts()]
        assert sent.share == 1
        assert them.much.stats.received == sent.learned + sent.checked


def test_too_few_rows_are_not_asked_of_the_small_model() -> None:
    with house() as them:
        run = sw.frame({"text": texts(80)}).with_columns(x=label(auto())).run()
        assert them.asked == (0, 80)
        assert any("80 rows are too few to learn from" in note for note in run.notes)


def test_a_dearer_small_model_is_left_out(open_session: Open) -> None:
    with serve(OpenAIServer(respond=small)) as few, serve(OpenAIServer(respond=large)) as much:
        open_session(small=(few, {"price": {"input": 2.0, "output": 8.0}}), large=much)
        chosen = auto(embedding="large")
        sw.frame({"text": texts()}).with_columns(x=label(chosen)).run()
        assert "costs more than it would save" in chosen.promises[-1].why
        assert chosen.promises[-1].threshold is None


def test_of_several_small_models_the_one_that_saves_most_is_used(open_session: Open) -> None:
    with (
        serve(OpenAIServer(respond=coin)) as bad,
        serve(OpenAIServer(respond=small)) as few,
        serve(OpenAIServer(respond=large)) as much,
    ):
        open_session(bad=(bad, CHEAP), small=(few, CHEAP), large=much)
        chosen = sw.auto(["bad", "small", "large"], embedding="large")
        run = sw.frame({"text": texts()}).with_columns(x=label(chosen)).run()
        sent = chosen.promises[-1]
        assert (sent.small, sent.large) == ("small", "large")
        assert bad.stats.received == sent.learned + sent.checked
        right = [truth(t) == x for t, x in zip(run.table["text"], run.table["x"], strict=True)]
        assert np.mean(right) >= 0.95


def test_filters_structs_and_repeated_rows() -> None:
    class Ticket(BaseModel):
        kind: Literal["card", "loan", "fee"]
        about: str

    def says(answer: Any) -> Any:
        def respond(text: str, body: Any) -> Any:
            if "kind" in str(body.get("response_format")):
                return f'{{"kind": "{answer(text, body)}", "about": "money"}}'
            return "yes" if answer(text, body) == "card" else "no"

        return respond

    with house(weak=says(small), strong=says(large)):
        chosen = auto()
        frame = sw.frame({"text": texts()})
        run = frame.with_columns(x=sw.extract("text", Ticket, model=chosen)).run()
        kinds = run.table["x"].struct.field("kind")
        agree = [truth(t) == k for t, k in zip(run.table["text"], kinds, strict=True)]
        assert np.mean(agree) >= 0.95
        assert chosen.promises[-1].by_small > 100
        twice = sw.frame({"text": texts() * 2})
        kept = twice.filter(sw.predicate("A card? {text}", model=auto(quality=0.9))).run()
        wanted = [t for t in texts() * 2 if truth(t) == "card"]
        assert len(set(kept.table["text"]) ^ set(wanted)) < 0.1 * ROWS


def test_free_text_needs_a_judge() -> None:
    with house(), pytest.raises(InputError, match="judge="):
        sw.frame({"text": texts(10)}).with_columns(x=sw.map("Answer: {text}", model=auto()))


def test_a_judge_says_which_answers_are_no_worse() -> None:
    def judge(prompt: str, body: Any) -> str:
        one, two = (re.search(rf"<answer_{i}>(.*?)</answer_{i}>", prompt, re.S) for i in (1, 2))
        assert one
        assert two
        good = [truth(prompt) in said[1] for said in (one, two)]
        return "tie" if good[0] == good[1] else ("1" if good[0] else "2")

    def wordy(text: str, body: Any) -> str:
        return f"It is about a {small(text, body)}."

    with house(weak=wordy) as them:
        them.other.respond = judge
        chosen = auto(judge="vectors")
        run = sw.frame({"text": texts()}).with_columns(x=sw.map("{text}", model=chosen)).run()
        sent = chosen.promises[-1]
        good = [truth(t) in x for t, x in zip(run.table["text"], run.table["x"], strict=True)]
        assert np.mean(good) >= 0.95
        assert sent.by_small > 100
        assert sent.judge_usd > 0
        assert "no worse, by the judge" in str(sent)


@pytest.mark.parametrize("later", [False, True])
def test_a_function_grades(later: bool) -> None:
    def grade(text: str, answer: str) -> float:
        return 1.0 if truth(text) == answer else 0.2

    async def graded(text: str, answer: str) -> float:
        return grade(text, answer)

    with house():
        chosen = auto(judge=graded if later else grade, sample=450)
        run = sw.frame({"text": texts()}).with_columns(x=sw.map("{text}", model=chosen)).run()
        sent = chosen.promises[-1]
        mean = np.mean(
            [grade(t, x) for t, x in zip(run.table["text"], run.table["x"], strict=True)]
        )
        assert mean >= 0.95
        assert sent.by_small > 50
        assert "mean grade" in str(sent)


def test_a_small_model_that_fails_is_stood_in_for() -> None:
    with house(faults=[Fault("content_filter", match="Ticket 7")]) as them:
        chosen = auto()
        run = sw.frame({"text": texts()}).with_columns(x=label(chosen)).run()
        assert run.errors.is_empty()
        sevens = run.table.filter(pl.col("text").str.contains("Ticket 7"))
        assert [truth(t) for t in sevens["text"]] == sevens["x"].to_list()
        assert chosen.promises[-1].by_small > 100
        assert them.much.stats.received == chosen.promises[-1].by_large


def test_explain_shows_both_models_and_asks_nothing() -> None:
    with house() as them:
        shown = str(sw.frame({"text": texts()}).with_columns(x=label(auto())).explain())
        assert "auto(small | large)" in shown
        assert "small" in shown
        assert "50% of the rows go to 'large'" in shown
        assert them.asked == (0, 0)


def test_what_was_learned_can_be_served(tmp_path: Any) -> None:
    with house() as them:
        chosen = auto()
        sw.frame({"text": texts()}).with_columns(x=label(chosen)).run()
        path = chosen.promises[-1].save(tmp_path / "tickets.router")
        models = {
            "small": model_table(them.few, **CHEAP, model="tiny"),
            "large": model_table(them.much, model="huge"),
            "vectors": model_table(them.other, model="vectors"),
        }
        config = {"models": models, "store": "memory://", "router": {"artifact": str(path)}}
        with Session(config, check=False):
            fresh = texts(100, seed=9)
            run = sw.frame({"text": fresh}).with_columns(x=label("auto")).run()
            by_small = run.by_model["small"].calls
            assert 30 <= by_small <= 80
            right = [truth(t) == x for t, x in zip(fresh, run.table["x"], strict=True)]
            assert np.mean(right) >= 0.9


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"models": ["small"]}, "two models"),
        ({"models": ["small", "small"]}, "two models"),
        ({"models": "small"}, "two models"),
        ({"quality": 1.0}, "quality=1.0"),
        ({"confidence": 0.2}, "confidence=0.2"),
        ({"sample": 0}, "sample="),
        ({"judge": 3}, "judge="),
    ],
)
def test_bad_settings_are_refused(given: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        sw.auto(**{"models": ["small", "large"], **given})
