"""`sw.compare`: the same operator by several models, side by side, over one sample."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any, Literal

import polars as pl
import pytest
from pydantic import BaseModel

import swath as sw
from swath.evals.measure import agreement
from swath.evals.sampling import sample
from tests.compare_kit import respond, tickets, world
from tests.conftest import Open
from tests.servers import Fault, OpenAIServer, serve

ASK = sw.map("Answer: {text}")
QUIET: dict[str, Any] = {"progress": False}


def test_a_column_each_and_the_input_untouched(open_session: Open) -> None:
    with serve(OpenAIServer(respond=respond)) as server:
        world(open_session, server)
        source = pl.DataFrame(tickets(40) | {"answer_weak": ["mine"] * 40})
        made = sw.compare(source, ASK, ["weak", "good"], n=12, **QUIET)
        assert made.table.height == 12
        assert made.columns == {"weak": "answer_weak_2", "good": "answer_good"}
        kept = source.filter(pl.col("id").is_in(made.table["id"].implode()))
        assert made.table.select(source.columns).equals(kept)
        for i, weak, good in made.table.select("id", *made.columns.values()).iter_rows():
            assert good == f"right {i}"
            assert weak == (f"right {i}" if i % 4 == 0 else f"wrong {i}")
        assert server.stats.answered == 24
        assert made.inputs == ("text",)
        assert made.instructions == "Answer: {text}"
        again = sw.compare(source, ASK, ["weak", "good"], n=12, **QUIET)
        assert again.table.equals(made.table)
        other = sw.compare(source, ASK, ["weak", "good"], n=12, seed=1, **QUIET)
        assert not other.table["id"].equals(made.table["id"])


def test_figures_by_model_also_when_all_comes_from_the_store(open_session: Open) -> None:
    with serve(OpenAIServer(respond=respond, latency=0.01)) as server:
        world(open_session, server)
        made = sw.compare(tickets(10), ASK, ["weak", "good"], **QUIET)
        cost = dict(made.by_model.select("model", "cost_usd").iter_rows())
        assert sum(made.by_model["input_tokens"]) == server.stats.prompt_tokens
        assert sum(made.by_model["output_tokens"]) == server.stats.completion_tokens
        assert cost["good"] == pytest.approx(9 * cost["weak"])
        assert made.by_model["calls"].to_list() == [10, 10]
        assert made.by_model["cached"].to_list() == [0, 0]
        assert made.by_model["cost_per_row_usd"].to_list() == pytest.approx(
            [cost["weak"] / 10, cost["good"] / 10]
        )
        assert made.by_model["latency_p50_ms"].min() >= 10
        assert (made.by_model["latency_p95_ms"] >= made.by_model["latency_p50_ms"]).all()
        assert made.by_model["schema_valid"].to_list() == [None, None]  # plain text has no shape

        again = sw.compare(tickets(10), ASK, ["weak", "good"], **QUIET)
        assert server.stats.answered == 20
        assert again.by_model["cached"].to_list() == [10, 10]
        same = ("calls", "cost_usd", "input_tokens", "output_tokens", "latency_p50_ms")
        assert again.by_model.select(same).equals(made.by_model.select(same))


def test_a_failed_row_never_sinks_the_run(open_session: Open) -> None:
    with (
        serve(OpenAIServer(respond=respond, faults=[Fault("context", match="ticket 3 ")])) as bad,
        serve(OpenAIServer(respond=respond)) as server,
    ):
        open_session(weak=(bad, {"model": "weak"}), good=(server, {"model": "good"}))
        made = sw.compare(tickets(6), ASK, ["weak", "good"], **QUIET)
        assert made.table["answer_weak"].is_null().arg_true().to_list() == [3]
        assert made.table["answer_good"].null_count() == 0
        (error,) = made.errors.to_dicts()
        assert (error["row"], error["model"], error["kind"]) == (3, "weak", "context")
        assert made.by_model["failed"].to_list() == [1, 0]
        assert made.by_model["ok"].to_list() == [5, 6]
        assert "row 3, weak: context" in str(made)


class Ticket(BaseModel):
    topic: Literal["card", "loan"]
    urgent: bool
    tags: list[str]
    summary: str


def test_schema_validity_counts_first_answers(open_session: Open) -> None:
    whole = '{"topic": "card", "urgent": true, "tags": [], "summary": "s"}'

    def answer(prompt: str, body: dict[str, Any]) -> str:
        first = not any(m["role"] == "assistant" for m in body["messages"])
        return "{}" if first and "ticket 2 " in body["messages"][1]["content"] else whole

    with serve(OpenAIServer(respond=answer)) as server:
        session = open_session(weak=(server, {"model": "weak"}), good=(server, {"model": "good"}))
        for _ in range(2):  # bought, and from the store
            operator = sw.extract("text", Ticket)
            made = sw.compare(tickets(8), operator, ["weak", "good"], **QUIET)
            assert made.by_model["schema_valid"].to_list() == [7 / 8, 7 / 8]
            assert made.by_model["failed"].to_list() == [0, 0]
        assert sorted(session.call(_repaired(session))) == [0] * 14 + [1] * 2


def test_kappa_and_shares_equal_by_hand() -> None:
    table = pl.DataFrame({"x": ["a", "a", "b", "b", None], "y": ["a", "b", "b", "b", "a"]})
    operator = sw.classify("text", ["a", "b"])
    rows = agreement(table, {"m": "x", "n": "y"}, operator).to_dicts()
    found = {r["measure"]: (r["value"], r["n"]) for r in rows}
    # Observed 3/4; by chance 1/2 * 1/4 + 1/2 * 3/4 = 1/2; kappa (3/4 - 1/2) / (1 - 1/2).
    assert found == {"exact": (0.75, 4), "cohen_kappa": (pytest.approx(0.5), 4)}

    three = table.with_columns(z=pl.lit("a")).head(4)
    rows = agreement(three, {"m": "x", "n": "y", "o": "z"}, operator).to_dicts()
    (fleiss,) = [r for r in rows if r["measure"] == "fleiss_kappa"]
    # Agreement within rows 1, 1/3, 1/3, 1/3; labels a 7/12, b 5/12.
    chance = (7 / 12) ** 2 + (5 / 12) ** 2
    assert fleiss["value"] == pytest.approx((0.5 - chance) / (1 - chance))
    assert fleiss["model_a"] is None


def test_structs_agree_field_by_field() -> None:
    operator = sw.extract("text", Ticket)
    one = {"topic": "card", "urgent": True, "tags": ["x", "y"], "summary": "The card is lost"}
    two = {"topic": "card", "urgent": False, "tags": ["y"], "summary": "A lost card"}
    table = pl.DataFrame({"a": [one, one], "b": [one, two]})
    rows = agreement(table, {"m": "a", "n": "b"}, operator).to_dicts()
    found = {(r["field"], r["measure"]): r["value"] for r in rows}
    assert found["", "exact"] == 0.5
    assert found["topic", "exact"] == 1.0
    assert found["topic", "cohen_kappa"] is None  # one label only: chance explains all
    assert found["urgent", "exact"] == 0.5
    assert found["tags", "set_f1"] == pytest.approx((1 + 2 / 3) / 2)
    assert found["summary", "token_overlap"] == pytest.approx((1 + 4 / 7) / 2)


@pytest.mark.parametrize("n", [1, 3, 10, 33, 100])
def test_a_stratified_sample_keeps_the_shares(n: int) -> None:
    sizes = {"a": 60, "b": 30, None: 9, "d": 1}
    rows = {"g": [g for g, size in sizes.items() for _ in range(size)], "i": list(range(100))}
    frame = sw.frame(rows)
    picked = sample(frame, n, "g", seed=3).collect()
    assert picked.height == n
    assert picked["i"].is_sorted()
    counts = Counter(picked["g"].to_list())
    for group, size in sizes.items():
        assert abs(counts[group] - n * size / 100) <= 1
    assert picked.equals(sample(frame, n, ["g"], seed=3).collect())


def test_every_row_may_be_drawn_by_a_stratified_sample() -> None:
    frame = sw.frame({"g": list("aabbccdd"), "i": range(8)})
    drawn: Counter[int] = Counter()
    for seed in range(200):
        drawn.update(sample(frame, 2, "g", seed).collect()["i"].to_list())
    assert len(drawn) == 8
    assert min(drawn.values()) > 20  # 50 on average


def test_blank_rows_are_not_drawn(open_session: Open) -> None:
    with serve(OpenAIServer(respond=respond)) as server:
        world(open_session, server)
        rows = {"text": [None, "ticket 1", " ", "ticket 2", ""]}
        made = sw.compare(rows, ASK, ["weak", "good"], n=5, **QUIET)
        assert made.table["text"].to_list() == ["ticket 1", "ticket 2"]
        with pytest.raises(sw.InputError, match="missing or blank"):
            sw.compare({"text": [None, " "]}, ASK, ["weak", "good"], **QUIET)


def test_a_frame_with_model_columns_is_run_once(open_session: Open) -> None:
    with serve(OpenAIServer(respond=respond)) as server:
        world(open_session, server)
        frame = sw.frame(tickets(5)).with_columns(first=sw.map("Say: {text}", model="good"))
        again = sw.map("On ticket 7: {first}")
        made = sw.compare(frame, again, ["weak", "good"], **QUIET)
        assert server.stats.answered == 15
        assert made.table.columns == ["text", "id", "first", "answer_weak", "answer_good"]


def test_the_budget_holds_for_models_and_judge_together(open_session: Open) -> None:
    with serve(OpenAIServer(respond=respond, price={"input": 9.0, "output": 36.0})) as server:
        world(open_session, server, max_tokens=200, concurrency=2)
        sw.compare(tickets(20), ASK, ["weak", "good"], **QUIET)
        bought, limit = server.stats.answered, 0.006
        with pytest.raises(sw.BudgetReached) as stop:
            sw.compare(tickets(20), ASK, ["weak", "good"], judge="fair", max_cost=limit, **QUIET)
        assert stop.value.spent <= limit
        partly = server.stats.answered
        assert bought < partly < bought + 30
        made = sw.compare(tickets(20), ASK, ["weak", "good"], judge="fair", max_cost=9, **QUIET)
        assert made.verdicts is not None
        assert made.verdicts["verdict"].null_count() == 0
        assert server.stats.answered == bought + 30  # 15 pairs differ, each in two orders


def test_save_and_load(open_session: Open, tmp_path: Path) -> None:
    with serve(OpenAIServer(respond=respond)) as server:
        world(open_session, server)
        made = sw.compare(tickets(12), ASK, ["weak", "good"], judge=["fair", "first"], **QUIET)
        made = made.with_human(_labels(made, 8))
        folder = made.save(tmp_path / "kept")
        assert not list(folder.glob("*.pkl"))
        back = sw.Comparison.load(folder)
        assert str(back) == str(made)
        assert back.trust == made.trust
        assert back.judges == made.judges
        assert back.decisions == made.decisions
        assert back.settings == made.settings
        for name in ("table", "by_model", "agreement", "items", "verdicts", "human", "calibration"):
            assert getattr(back, name).equals(getattr(made, name)), name
        home = made.save()
        assert home == tmp_path / "compare" / made.id  # beside the store
        assert sw.Comparison.load(made.id[:6]).id == made.id
        with pytest.raises(sw.InputError, match=r"no comparison 'zzz'.*There are: " + made.id):
            sw.Comparison.load("zzz")
        (folder / "comparison.json").write_text("{}")
        with pytest.raises(sw.InputError, match="cannot be read"):
            sw.Comparison.load(folder)


def _labels(made: sw.Comparison, n: int) -> pl.DataFrame:
    assert made.items is not None
    right = pl.col("answer_a").str.starts_with("right")
    label = pl.when(pl.col("answer_a") == pl.col("answer_b")).then(pl.lit("tie"))
    label = label.when(right).then(pl.lit("A")).otherwise(pl.lit("B"))
    return made.items.head(n).select("item_id", annotator=pl.lit("me"), label=label)


def test_disagreements_and_twins(open_session: Open) -> None:
    with serve(OpenAIServer(respond=respond)) as server:
        open_session(
            weak=(server, {"model": "weak"}),
            good=(server, {"model": "good"}),
            best=(server, {"model": "good"}),
        )
        made = sw.compare(tickets(8), ASK, ["weak", "good", "best"], **QUIET)
        assert made.disagreements()["id"].to_list() == [1, 2, 3, 5, 6, 7]
        assert any("'good' and 'best' are the same model" in note for note in made.notes)
        assert all(len(line) <= 80 for line in str(made).splitlines())


def test_one_model_with_several_settings(open_session: Open) -> None:
    asked: list[tuple[str, float | None]] = []

    def answer(prompt: str, body: dict[str, Any]) -> str:
        asked.append((body["model"], body.get("temperature")))
        return f"warm {prompt}" if body.get("temperature") else prompt

    with serve(OpenAIServer(respond=answer)) as server:
        session = open_session(weak=(server, {"model": "weak"}))
        entered = ["weak", {"model": "weak", "temperature": 1.0}, "weak temperature=0.5"]
        made = sw.compare(tickets(3), ASK, entered, **QUIET)
        warm = "weak temperature=1"
        assert made.models == ("weak", warm, "weak temperature=0.5")
        assert made.columns[warm] == "answer_weak_temperature_1"
        assert made.table[made.columns[warm]].str.starts_with("warm").all()
        assert not made.table[made.columns["weak"]].str.starts_with("warm").any()
        assert sorted(t or 0.0 for _, t in asked) == [0.0] * 3 + [0.5] * 3 + [1.0] * 3
        assert made.by_model["calls"].to_list() == [3, 3, 3]
        assert not made.notes
        named = [{"model": "weak", "temperature": 1, "name": "warm"}, "weak"]
        assert sw.compare(tickets(3), ASK, named, **QUIET).models == ("warm", "weak")
        assert server.stats.answered == 9
        flags = session.call(_repaired(session))
        assert flags == [0] * 9


async def _repaired(session: sw.Session) -> list[int]:
    rows = session.engine.store.query("SELECT repaired FROM calls WHERE NOT cached")
    return [int(row["repaired"]) for row in rows]


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        ({"models": ["weak", {"model": "weak", "temp": 1}]}, sw.InputError, "no setting 'temp'"),
        ({"models": ["weak", {"temperature": 1}]}, sw.InputError, "has no model"),
        ({"models": ["weak", "weak temperature=hot"]}, sw.InputError, "is no number"),
        ({"models": ["weak", "god"]}, sw.UnknownModel, r"no model 'god'.*mean 'good'.*There are"),
        ({"models": ["weak"]}, sw.InputError, "at least two models"),
        ({"models": "weak"}, sw.InputError, "at least two models"),
        ({"models": ["weak", "weak"]}, sw.InputError, "named twice"),
        ({"judge": "nobody"}, sw.UnknownModel, "no model 'nobody'"),
        ({"judge": "keyless"}, sw.KeyMissing, "ABSENT_KEY"),
        ({"judge": []}, sw.InputError, "jury is empty"),
        ({"by": "lang"}, sw.ColumnNotFound, "lang"),
        ({"reference": "gold"}, sw.ColumnNotFound, "gold"),
        ({"baseline": "fair"}, sw.InputError, "none of the models"),
        ({"n": 0}, sw.InputError, "nothing to compare"),
        ({"operator": "text"}, sw.InputError, "An operator was expected"),
        ({"operator": sw.map("{speech}")}, sw.ColumnNotFound, "speech"),
    ],
)
def test_bad_input_is_told_before_anything_is_spent(
    open_session: Open, change: dict[str, Any], error: type[Exception], says: str
) -> None:
    with serve(OpenAIServer(respond=respond)) as server:
        open_session(
            weak=(server, {"model": "weak"}),
            good=(server, {"model": "good"}),
            fair=(server, {"model": "fair"}),
            keyless=(server, {"model": "fair", "api_key_env": "ABSENT_KEY"}),
        )
        settings: dict[str, Any] = {"operator": ASK, "models": ["weak", "good"]} | change
        with pytest.raises(error, match=says):
            sw.compare(tickets(4), **settings, **QUIET)
        assert server.stats.received == 0
