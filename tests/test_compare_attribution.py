"""`sw.attribute`: what the model and what the prompt contributed, known beforehand."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest

import swath as sw
from tests.compare_kit import asked, number, respond, tickets, world
from tests.conftest import Open
from tests.servers import OpenAIServer, serve

QUIET: dict[str, Any] = {"progress": False}
LABELS = ["card", "loan"]


def answer(_: str, body: dict[str, Any]) -> str:
    """The right label is card. Right are: the good model always; the weak one on every fourth
    ticket, with the new prompt on every second one."""
    prompt, new = asked(body), "Think." in str(body["messages"])
    right = body["model"] == "good" or number(prompt) % (2 if new else 4) == 0
    return "card" if right else "loan"


def operators() -> dict[str, Any]:
    return {
        "old": sw.classify("text", LABELS),
        "new": sw.classify("text", LABELS, instructions="Think."),
    }


def test_effects_are_what_they_were_made(open_session: Open) -> None:
    with serve(OpenAIServer(respond=answer)) as server:
        world(open_session, server)
        rows = tickets(80) | {"gold": ["card"] * 80, "half": ["a"] * 40 + ["b"] * 40}
        made = sw.attribute(rows, operators(), ["weak", "good"], gold="gold", by="half", **QUIET)
        quality = {(r["prompt"], r["model"]): r["quality"] for r in made.cells.to_dicts()}
        assert quality == {
            ("old", "weak"): 0.25,
            ("old", "good"): 1.0,
            ("new", "weak"): 0.5,
            ("new", "good"): 1.0,
        }
        whole = made.effects.filter(pl.col("slice") == "")
        found = {r["part"]: r for r in whole.to_dicts()}
        assert {part: r["effect"] for part, r in found.items()} == {
            "model": pytest.approx((0.75 + 0.5) / 2),
            "prompt": pytest.approx((0.25 + 0) / 2),
            "interaction": pytest.approx(0.5 - 0.75),
            "both": pytest.approx(0.75),
        }
        for row in found.values():
            assert row["low"] < row["effect"] < row["high"]
            assert row["n"] == 80
        costs = {(r["prompt"], r["model"]): r["cost_per_row_usd"] for r in made.cells.to_dicts()}
        gap = costs["old", "good"] - costs["old", "weak"] + costs["new", "good"]
        assert found["model"]["cost_per_row_usd"] == pytest.approx((gap - costs["new", "weak"]) / 2)
        assert found["prompt"]["cost_per_row_usd"] < 0  # "Think." is short
        assert set(made.effects["slice"]) == {"", "half=a", "half=b"}
        assert made.effects.filter(pl.col("slice") == "half=a")["n"].to_list() == [40] * 4
        assert server.stats.answered == 4 * 80
        assert all(len(line) <= 80 for line in str(made).splitlines())

        flipped = made.flipped(("old", "weak"), ("new", "weak"))
        assert flipped["id"].to_list() == [i for i in range(80) if i % 4 == 2]
        assert flipped["change"].to_list() == [1.0] * 20
        with pytest.raises(sw.InputError, match="There are"):
            made.flipped(("old", "weak"), ("old", "nobody"))


@pytest.mark.parametrize("mode", ["pairwise", "rubric"])
def test_a_judge_may_say_what_is_good(open_session: Open, mode: Any) -> None:
    with serve(OpenAIServer(respond=respond)) as server:
        world(open_session, server)
        prompts = {"old": sw.map("Answer: {text}"), "new": sw.map("Say: {text}")}
        judge = sw.Judge("fair", mode=mode)
        made = sw.attribute(tickets(20), prompts, ["weak", "good"], judge=judge, **QUIET)
        found = {r["part"]: r for r in made.effects.to_dicts()}
        assert found["model"]["low"] > 0  # the good model is better
        assert found["prompt"]["effect"] == pytest.approx(0)  # and the prompt makes no difference
        assert found["interaction"]["effect"] == pytest.approx(0)
        assert made.table.height == 20
        assert made.cost_usd > 0


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"gold": None}, "gold= or judge="),
        ({"judge": "fair"}, "gold= or judge="),
        ({"models": ["good"]}, "it takes two of each"),
        ({"operators": {"old": sw.classify("text", LABELS)}}, "it takes two of each"),
        (
            {"operators": {"a": sw.classify("text", LABELS), "b": sw.predicate("{text}")}},
            "different types",
        ),
        ({"gold": "label"}, "label"),
        ({"by": "lang"}, "lang"),
    ],
)
def test_bad_input(open_session: Open, change: dict[str, Any], says: str) -> None:
    with serve(OpenAIServer(respond=answer)) as server:
        world(open_session, server)
        settings = {"operators": operators(), "models": ["weak", "good"], "gold": "gold"} | change
        with pytest.raises(sw.InputError, match=says):
            sw.attribute(tickets(4) | {"gold": ["card"] * 4}, **settings, **QUIET)
        assert server.stats.received == 0
