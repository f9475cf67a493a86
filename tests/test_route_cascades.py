"""Cascades in the engine: whose answer stands, what it costs, what is written down."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import swath as sw
from swath.errors import BudgetReached, ConfigError
from swath.routing.artifact import save
from swath.routing.training import train
from swath.session import Session
from tests.conftest import model_table
from tests.route_kit import CHEAP, EASY, HARD, house, ledger, prompts, request, trained
from tests.servers import Answer, Fault, OpenAIServer, serve

# -- judged by sureness


def _sure(share: float) -> Callable[[str, Any], Answer]:
    def respond(prompt: str, body: Any) -> Answer:
        # Of three tokens the first is as unsure as it takes for their mean to be `share`.
        first = 3 * math.log(share) + 0.05
        return Answer(text="from small", top_logprobs={"from": first, "by": -9.0})

    return respond


@pytest.mark.parametrize(("sure", "model"), [(0.95, "small"), (0.5, "large")])
def test_a_cascade_goes_up_where_the_weak_model_is_unsure(
    tmp_path: Path, sure: float, model: str
) -> None:
    with house(tmp_path, small=OpenAIServer(respond=_sure(sure))) as them:
        session = them.session()
        name = "auto:cascade=0.8"
        reply = session.complete(EASY, model=name)
        assert reply.model == model
        text = "".join(chunk.text for chunk in session.stream(EASY + "?", model=name))
        assert text == f"from {model}"
        assert them.asked == ((2, 0) if model == "small" else (2, 2))
        why = {row["route_why"] for row in ledger(session)}
        assert why == {"weak" if model == "small" else "unsure"}
        assert session.complete(EASY, model=name).cached
        assert sum(them.asked) == (2 if model == "small" else 4)


def test_routing_and_cascading_go_together(tmp_path: Path) -> None:
    with house(tmp_path, small=OpenAIServer(respond=_sure(0.95))) as them:
        session = them.session()
        name = "auto:share=0.5,cascade=0.8"
        assert session.complete(HARD, model=name).model == "large"
        assert them.asked == (0, 1)  # straight to the strong one
        assert session.complete(EASY, model=name).model == "small"


def test_a_cascade_whose_weak_model_is_down_goes_up(tmp_path: Path) -> None:
    with house(tmp_path, small=OpenAIServer(faults=[Fault("500")])) as them:
        session = them.session(small={"deadline": 0.3})
        assert session.complete(EASY, model="auto:cascade=0.8").model == "large"
        assert ledger(session)[-1]["route_why"] == "failed"


def test_the_cost_of_going_up_is_in_its_row_and_is_no_retry(tmp_path: Path) -> None:
    with house(tmp_path, small=OpenAIServer(respond=_sure(0.5))) as them:
        session = them.session()
        frame = sw.frame({"text": [EASY, HARD]}).with_columns(
            a=sw.map("{text}", model="auto:cascade=0.8")
        )
        run = frame.run()
        assert run.metrics.retries == 0
        assert {m: c.calls for m, c in run.by_model.items()} == {"small": 2, "large": 2}
        for row in ledger(session):
            said = json.loads(row["route_scores"])["asked"]["small"]
            assert said["sure"] == pytest.approx(0.5, abs=0.01)
            assert 0 < said["usd"] < row["cost_usd"]
            # What going up cost in vain counts against the saving.
            assert row["strong_usd"] - row["cost_usd"] == pytest.approx(-said["usd"])
        again = frame.run()
        assert again.metrics.calls == 0
        assert {m: c.cached for m, c in again.by_model.items()} == {"small": 2, "large": 2}


def test_an_estimate_has_both_models_of_a_cascade(tmp_path: Path) -> None:
    with house(tmp_path) as them:
        session = them.session()
        costs = {
            name: session.engine.estimate(request(EASY, name)).cost_usd
            for name in ("small", "large", "auto:cascade=0.8")
        }
        half = costs["small"] + costs["large"] / 2
        assert costs["auto:cascade=0.8"] == pytest.approx(half)
        ask = sw.map("{text}", model="auto:cascade=0.8")
        shown = str(sw.frame({"text": [EASY] * 10}).with_columns(a=ask).explain())
        assert "small" in shown
        assert "large" in shown


def test_an_answer_that_is_there_steps_in_for_a_strong_model_that_is_out(tmp_path: Path) -> None:
    small = OpenAIServer(respond=_sure(0.5))
    with house(tmp_path, small=small, large=OpenAIServer(faults=[Fault("500")])) as them:
        session = them.session(large={"deadline": 0.3})
        reply = session.complete(EASY, model="auto:cascade=0.8")
        assert reply.model == "small"
        assert any("'small' stepped in for 'large'" in note for note in reply.notes)
        assert them.small.stats.received == 1  # and is not asked again
        (row,) = ledger(session)
        assert (row["model"], row["route_why"]) == ("small", "failed")


def test_a_budget_holds_over_both_steps_of_a_cascade(tmp_path: Path) -> None:
    texts = [f"{EASY} {i}" for i in range(40)]
    with house(tmp_path, small=OpenAIServer(respond=_sure(0.5))) as them:
        them.session()
        frame = sw.frame({"text": texts}).with_columns(
            a=sw.map("{text}", model="auto:cascade=0.8", max_tokens=20)
        )
        whole = frame.run(max_cost=1.0)
        run_cost = whole.metrics.cost_usd
    with house(tmp_path / "b", small=OpenAIServer(respond=_sure(0.5))) as them:
        (tmp_path / "b").mkdir()
        them.session()
        with pytest.raises(BudgetReached):
            frame.run(max_cost=run_cost / 3)
        paid = sum(row["cost_usd"] for row in ledger(sw.session.current()))
        assert 0 < paid <= run_cost / 3
        before = them.asked
        assert frame.run(max_cost=1.0).table["a"].to_list() == ["from large"] * 40
        assert them.asked == (40, 40)  # what was answered before the end is not asked again
        assert before < them.asked


# -- judged by samples


def _drawn(labels: list[str]) -> Callable[[str, Any], Answer]:
    """The answer by the seed of the sample: the first has none. No probabilities are given."""

    def respond(prompt: str, body: Any) -> Answer:
        return Answer(text=labels[body.get("seed") or 0])

    return respond


@pytest.mark.parametrize(
    ("labels", "model", "text"),
    [
        (["billing", "Billing.", "billing"], "small", "billing"),
        (["other", "billing", "billing"], "small", "billing"),
        (["a", "b", "c"], "large", "from large"),
    ],
)
def test_a_cascade_goes_up_where_samples_differ(
    tmp_path: Path, labels: list[str], model: str, text: str
) -> None:
    small = OpenAIServer(respond=_drawn(labels), strict_parameters=False)
    with house(tmp_path, small=small) as them:
        session = them.session()
        name = "auto:samples=3,cascade=0.6"
        reply = session.complete(EASY, model=name, temperature=0.0)
        assert (reply.model, reply.text) == (model, text)
        assert them.asked == (3, int(model == "large"))
        rows = ledger(session)
        assert [row["route_why"] for row in rows].count("sample") == 2
        row = next(row for row in rows if row["route_why"] != "sample")
        said = json.loads(row["route_scores"])["asked"]["small"]
        assert said["agreement"] == pytest.approx(
            1 if labels[0] == "billing" else 2 / 3 if model == "small" else 1 / 3
        )
        total = sum(r["cost_usd"] for r in rows)
        assert said["usd"] + (row["strong_usd"] if model == "large" else 0) == pytest.approx(total)
        again = session.complete(EASY, model=name, temperature=0.0)
        assert (again.text, again.cached) == (text, True)
        assert them.asked == (3, int(model == "large"))
        shown = "".join(c.text for c in session.stream(EASY, model=name, temperature=0.0))
        assert shown == text


def test_a_budget_that_ends_among_the_samples_is_said_as_one(tmp_path: Path) -> None:
    texts = [f"{EASY} {i}" for i in range(40)]
    ask = sw.map("{text}", model="auto:samples=3,cascade=0.6", max_tokens=20)
    frame = sw.frame({"text": texts}).with_columns(a=ask)
    paid: list[float] = []
    for name, share in (("a", None), ("b", 0.5)):
        (tmp_path / name).mkdir()
        small = OpenAIServer(respond=_drawn(["a", "a", "a"]))
        with house(tmp_path / name, small=small) as them:
            session = them.session()
            if share is None:
                frame.run()
            else:
                with pytest.raises(BudgetReached):
                    frame.run(max_cost=paid[0] * share)
            paid.append(sum(row["cost_usd"] for row in ledger(session)))
    assert 0 < paid[1] <= paid[0] / 2


def test_labels_are_compared_as_labels(tmp_path: Path) -> None:
    small = OpenAIServer(respond=_drawn(["billing", "billing", "other"]))
    with house(tmp_path, small=small) as them:
        them.session()
        ask = sw.classify("text", ["billing", "other"], model="auto:samples=3,cascade=0.6")
        run = sw.frame({"text": ["I was charged twice."]}).with_columns(a=ask).run()
        assert run.table["a"].to_list() == ["billing"]
        assert run.metrics.calls == 3
        assert them.large.stats.received == 0


# -- judged by what was learned


def _verified(texts: list[str], models: dict[str, float], seed: int = 0) -> Any:
    """A cascade's router. Each model is right with this probability, and where it is not it is
    unsure of its words; which prompts those are cannot be told before."""
    draw = np.random.default_rng(seed)
    rows = [
        (text, name, float(right), 0.95 if right else 0.5, "from")
        for text in texts
        for name, able in models.items()
        for right in [draw.random() < able]
    ]
    columns = ["prompt", "model", "quality", "sure", "answer"]
    return train(pl.DataFrame(rows, schema=columns, orient="row"), "cascade")


@pytest.mark.parametrize(("sure", "model"), [(0.95, "small"), (0.5, "large")])
def test_a_learned_verifier_decides_whether_to_go_up(
    tmp_path: Path, sure: float, model: str
) -> None:
    texts = prompts(300)
    save(_verified(texts, {"small": 0.6, "large": 0.9}), tmp_path / "my.router")
    with house(tmp_path, small=OpenAIServer(respond=_sure(sure))) as them:
        session = them.session(artifact="my.router")
        name = "auto:cascade"
        reply = session.complete(texts[0], model=name)
        assert reply.model == model
        (row,) = ledger(session)
        assert row["route_why"] == ("value" if model == "small" else "unsure")
        said = json.loads(row["route_scores"])
        assert said["small"] == pytest.approx(0.6, abs=0.1)
        seen = said["asked"]["small"]["quality"]
        assert seen > 0.85 if model == "small" else seen < 0.25
        asked = them.asked
        again = "".join(chunk.text for chunk in session.stream(texts[0], model=name))
        assert again == f"from {model}"
        assert them.asked == asked
        if model == "large":  # its answer is the one that a question to it by name has
            assert session.complete(texts[0], model="large").cached
        estimate = session.engine.estimate(request(texts[1], name)).cost_usd
        small, large = (
            session.engine.estimate(request(texts[1], n)).cost_usd for n in ("small", "large")
        )
        assert small < estimate < small + 0.8 * large


def test_a_cascade_of_three_climbs_step_by_step_and_keeps_the_best(tmp_path: Path) -> None:
    texts = prompts(300)
    able = {"small": 0.5, "middle": 0.7, "large": 0.9}
    save(_verified(texts, able), tmp_path / "my.router")
    shares = {"tiny": 0.5, "mid": 0.95}

    def respond(prompt: str, body: Any) -> Answer:
        return _sure(shares[body["model"]])(prompt, body)

    with (
        serve(OpenAIServer(respond=respond)) as cheap,
        serve(OpenAIServer(respond=lambda p, b: "from large")) as dear,
    ):
        price = {"price": {"input": 0.3, "output": 1.2}}
        models = {
            "small": model_table(cheap, model="tiny", **CHEAP),
            "middle": model_table(cheap, model="mid", **price),
            "large": model_table(dear, model="huge", price={"input": 5.0, "output": 20.0}),
        }
        config = {
            "models": models,
            "store": f"sqlite:///{tmp_path}/swath.db",
            "router": {"artifact": str(tmp_path / "my.router")},
        }
        with Session(config, check=False) as session:
            reply = session.complete(texts[0], model="auto:cascade")
            assert reply.model == "middle"
            (row,) = ledger(session)
            asked = json.loads(row["route_scores"])["asked"]
            assert list(asked) == ["small", "middle"]
            assert asked["small"]["quality"] < 0.3 < 0.8 < asked["middle"]["quality"]
            assert row["cost_usd"] == pytest.approx(sum(a["usd"] for a in asked.values()))
            assert (row["model"], dear.stats.received) == ("middle", 0)
            shares["mid"] = 0.5
            # Unsure twice: up go those of which most is expected there.
            up, stayed = [], []
            for text in texts[20:44]:
                went = session.complete(text, model="auto:cascade").model == "large"
                expected = json.loads(ledger(session)[-1]["route_scores"])["large"]
                (up if went else stayed).append(expected)
            assert up
            assert stayed
            assert min(up) > max(stayed)
            run = (
                sw.frame({"text": texts[44:68]})
                .with_columns(a=sw.map("{text}", model="auto:cascade"))
                .run()
            )
            calls = {m: c.calls for m, c in run.by_model.items()}
            assert (calls["small"], calls["middle"]) == (24, 24)
            # Where as much is expected of it as it costs; its answers stand.
            assert 1 <= calls["large"] == (run.table["a"] == "from large").sum() < 24
            assert run.metrics.calls == sum(calls.values())
            assert run.metrics.retries == 0
            # With so little to spend nobody but the smallest is asked.
            cheapest = session.complete(texts[7], model="auto:cascade,max_price=0.18")
            assert cheapest.model == "small"


def test_a_verifier_needs_its_kind_prices_and_answers(tmp_path: Path) -> None:
    texts = prompts(100)
    save(trained(texts), tmp_path / "plain.router")
    save(_verified(texts, {"small": 0.6, "large": 0.9}), tmp_path / "my.router")
    save(trained(texts, "cascade"), tmp_path / "blind.router")
    with house(tmp_path, small=OpenAIServer(respond=_sure(0.9))) as them:
        session = them.session(artifact="plain.router")
        with pytest.raises(ConfigError, match=r"kind 'cascade'.*--kind cascade.*cascade=0.8"):
            session.complete(EASY, model="auto:cascade")
        session = them.session(artifact="my.router", small={"price": None})
        with pytest.raises(ConfigError, match=r"'small' has no price"):
            session.complete(EASY, model="auto:cascade")
        # Without answers to learn from it goes by sureness, and says so.
        session = them.session(artifact="blind.router")
        ask = sw.map("{text}", model="auto:cascade")
        run = sw.frame({"text": [EASY]}).with_columns(a=ask).run()
        assert run.table["a"].to_list() == ["from small"]
        assert any("no answers to learn a verifier from" in note for note in run.notes)
