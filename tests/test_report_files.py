"""What the report's file holds, and the same pictures as notebook objects."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

import swath as sw
from swath.errors import OutputError
from swath.evals.comparison import Comparison
from swath.evals.report import charts, summary_html, write
from swath.evals.report.figures import figures
from swath.evals.report.payload import differing, payload, plain_value
from swath.evals.report.write import embedded, page
from swath.evals.stats.estimate import Estimate
from tests import report_kit as kit
from tests.compare_kit import respond, tickets
from tests.conftest import Open
from tests.servers import Fault, OpenAIServer, serve

BARE = {"judge": False, "human": False, "scores": False}


def held(text: str) -> Any:
    """The data in a page."""
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.S)
    assert found is not None
    return json.loads(found[1])


def test_one_file_that_is_small_and_names_no_other(tmp_path: Path) -> None:
    path = write(kit.usual(), tmp_path / "new" / "report.html")
    assert path == (tmp_path / "new" / "report.html").resolve()
    text = path.read_text(encoding="utf-8")
    assert path.stat().st_size < 400_000
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]+)"', text)
    assert policy is not None
    assert policy[1].startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe" not in policy[1]
    without = text.replace("http://www.w3.org/2000/svg", "")  # a name, not an address
    assert re.findall(r"""(?:src|href)=["'](?!#)|@import|url\(""", without) == []


def test_a_folder_that_takes_no_file_is_an_error_with_a_hint(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="Name a file in a folder you may write to"):
        write(kit.comparison(2, ("a", "b"), **BARE), tmp_path / "file" / "report.html")


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=12,
    )
)
def test_embedded_data_comes_back_and_never_ends_its_element(value: Any) -> None:
    text = embedded(value)
    assert "<" not in text
    assert json.loads(text) == value
    text.encode("utf-8")


def test_lone_surrogates_are_held() -> None:
    assert json.loads(embedded("\ud800 fine").encode()) == "\ud800 fine"


CUT = "x" * 10 + " … (20 more characters in the table)"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (float("nan"), "nan"),
        (b"\x00" * 1500, "1,500 bytes"),
        (date(2026, 11, 24), "2026-11-24"),
        (datetime(2026, 11, 24, 15), "2026-11-24T15:00:00"),
        (timedelta(minutes=5), "0:05:00"),
        (Decimal("1.10"), "1.10"),
        ({"a": [1, None, "x" * 30]}, {"a": [1, None, CUT]}),
        (pl.Series([1, 2]), [1, 2]),
    ],
)  # fmt: skip
def test_any_cell_becomes_json(value: Any, shown: Any) -> None:
    assert plain_value(value, 10) == shown


def test_figures_that_are_no_number_are_left_out() -> None:
    made = kit.comparison(6, ("a", "b"))
    rate = Estimate(0.5, float("nan"), float("inf"), 1)
    made = replace(made, decisions=(replace(made.decisions[0], win_rate=rate),))
    told = held(page(made))
    assert told["decisions"][0]["win_rate"]["low"] is None
    assert "<svg" not in summary_html(made)


def test_differences_are_told_by_field_and_a_missing_answer_is_no_opinion() -> None:
    one, two = {"x": 1, "y": [1, 2]}, {"x": 1, "y": [2, 1]}
    assert differing([one, two], ["x", "y"]) == ["y"]
    assert differing([one, None, one], ["x", "y"]) == []
    assert differing(["a", "a", "b"], []) == [""]
    assert differing([None, "a"], []) == []
    assert differing([None, None], ["x"]) == []


def test_rows_come_in_the_order_of_what_they_tell() -> None:
    rows = payload(kit.usual())["rows"]
    telling = [row["telling"] for row in rows]
    assert telling == sorted(telling, reverse=True)
    assert sorted(row["i"] for row in rows) == list(range(50))
    torn = [any(i["against_labels"] and i["split"] for i in row["items"]) for row in rows]
    assert torn[0]
    last = rows[-1]
    assert not any(item["split"] or item["against_labels"] for item in last["items"])


def test_the_front_is_what_nobody_beats() -> None:
    made = kit.comparison(120, ("small", "medium", "large"))
    lines = figures(made)["quality"]
    for line in lines:
        beaten = any(
            o["x"] <= line["x"] and o["quality"] >= line["quality"]
            and (o["x"], o["quality"]) != (line["x"], line["quality"])
            for o in lines
        )  # fmt: skip
        assert line["front"] is not beaten
        assert line["low"] < line["quality"] < line["high"]
    assert {line["axis"] for line in lines} == {"cost"}
    free = figures(kit.comparison(20, ("a", "b"), free=True))["quality"]
    assert {line["axis"] for line in free} == {"time"}


def test_quality_of_two_is_the_decision_and_of_scores_their_mean() -> None:
    made = kit.comparison(40, ("a", "b"), human=False)
    rate = made.decisions[0].win_rate
    a, b = figures(made)["quality"]
    assert (b["quality"], b["low"], b["high"]) == (rate.estimate, rate.low, rate.high)
    assert (a["quality"], a["low"]) == (1 - rate.estimate, 1 - rate.high)
    scored = replace(made, decisions=(), verdicts=None, trust=None)
    assert made.scores is not None
    mean = made.scores.filter(pl.col("model") == "a")["score"].mean()
    line = figures(scored)["quality"][0]
    assert line["quality"] == pytest.approx(mean)
    assert line["measure"] == "Mean score"


def test_quality_of_several_resamples_rows_and_not_pairs() -> None:
    made = kit.comparison(60, ("a", "b", "c"), scores=False, human=False)
    assert made.items is not None
    assert made.verdicts is not None
    twice = [made.items, made.items.with_columns(item_id=pl.col("item_id") + "-again")]
    verdicts = [made.verdicts, made.verdicts.with_columns(item_id=pl.col("item_id") + "-again")]
    doubled = replace(made, items=pl.concat(twice), verdicts=pl.concat(verdicts))
    for one, two in zip(figures(made)["quality"], figures(doubled)["quality"], strict=True):
        assert two["quality"] == pytest.approx(one["quality"])
        assert two["low"] == pytest.approx(one["low"], abs=1e-9)


def test_score_levels() -> None:
    made = kit.comparison(10, ("a", "b"))
    assert made.scores is not None
    odd = made.scores.with_columns(score=pl.int_range(pl.len()) * 0.37)
    for line in figures(replace(made, scores=odd))["scores"]:
        assert len(line["levels"]) == 10
        assert sum(line["counts"]) + line["unread"] > 0
    unread = made.scores.with_columns(score=pl.lit(None, pl.Float64))
    for line in figures(replace(made, scores=unread))["scores"]:
        assert line["mean"] is None
        assert line["unread"] > 0


NAMES = ["quality", "wins", "outcomes", "scores", "latency", "agreement"]


@pytest.mark.parametrize(
    ("made", "names"),
    [
        (kit.comparison(12), NAMES),
        (kit.comparison(8, ("a", "b"), kind="text", free=True), NAMES),
        (kit.comparison(8, ("a", "b"), kind="label", **BARE), ["latency", "agreement"]),
    ],
    ids=["three", "two free", "no judge"],
)
def test_charts_for_notebooks_draw(made: Comparison, names: list[str], tmp_path: Path) -> None:
    drawn = charts(made)
    assert list(drawn) == names
    for name, chart in drawn.items():
        chart.save(tmp_path / f"{name}.svg")
        assert (tmp_path / f"{name}.svg").read_text().startswith("<svg")
        assert chart._repr_mimebundle_()


def test_the_summary_is_short_escaped_and_says_the_decision() -> None:
    made = kit.comparison(12, ("a", "<b>"))
    text = summary_html(made)
    assert made.decisions[0].sentence.replace("<b>", "&lt;b&gt;") in text
    assert "<b>" not in text
    assert len(text) < 4000


def test_a_real_comparison_with_failures_a_rubric_and_a_jury(
    open_session: Open, tmp_path: Path
) -> None:
    with (
        serve(OpenAIServer(respond=respond, faults=[Fault("context", match="ticket 3 ")])) as bad,
        serve(OpenAIServer(respond=respond)) as server,
    ):
        judges = {name: (server, {"model": name}) for name in ("good", "fair", "first")}
        open_session(weak=(bad, {"model": "weak"}), **judges)
        ask = sw.map("Answer: {text}")
        settings: dict[str, Any] = {"progress": False}
        alone = sw.compare(tickets(6), ask, ["weak", "good"], **settings)
        jury = sw.compare(tickets(6), ask, ["weak", "good"], judge=["fair", "first"], **settings)
        graded = sw.compare(
            tickets(6), ask, ["weak", "good"], judge=sw.Judge("fair", mode="rubric"), **settings
        )
    told = held(alone.to_html(tmp_path / "alone.html").read_text(encoding="utf-8"))
    (row,) = (row for row in told["rows"] if row["i"] == 3)
    assert [bool(error) for error in row["errors"]] == [True, False]
    assert told["trust"] is None
    assert told["items"]  # pairs can be labelled without a judge

    assert jury.trust is not None
    told = held(jury.to_html(tmp_path / "jury.html").read_text(encoding="utf-8"))
    assert told["trust"]["judge"] == "jury"
    assert len(told["judges"]) == 3
    outcomes = [item["outcome"] for row in told["rows"] for item in row["items"]]
    decision = jury.decisions[0]
    counted = (outcomes.count("A"), outcomes.count("B"), outcomes.count("tie"))
    assert counted == (decision.wins_a, decision.wins_b, decision.ties)

    told = held(graded.to_html(tmp_path / "graded.html").read_text(encoding="utf-8"))
    assert told["figures"]["scores"]
    assert {score["model"] for row in told["rows"] for score in row["scores"]} == {"weak", "good"}
