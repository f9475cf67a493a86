"""`swath judge stats`: files in, a table and out.json out, and what is said of bad files."""

from __future__ import annotations

import io
import json
import sys
import time
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from swath.evals.stats.summarize import FIGURES
from tests.cli_kit import Cli, cli
from tests.stats_kit import figures, judge_data

__all__ = ["cli"]
VERDICTS = """\
item_id,judge,order,verdict
1,j,AB,A
1,j,BA,A
2,j,AB,B
2,j,BA,tie
3,j,AB,A
3,j,BA,
"""
ITEMS = """\
item_id,model_a,model_b,gold,topic
1,m,n,A,x
2,n,m,B,x
3,m,n,B,y
"""
HUMAN = """\
item_id,annotator,label
1,p,A
1,q,A
2,p,B
3,q,tie
"""


@pytest.fixture
def files(cli: Cli) -> Cli:
    for name, text in (("v.csv", VERDICTS), ("i.csv", ITEMS), ("h.csv", HUMAN)):
        cli.write(name, text)
    return cli


def stats(cli: Cli, *arguments: str | Path) -> list[dict[str, Any]]:
    """What is written as JSON."""
    done = cli("judge", "stats", *arguments, "--json", "out.json")
    assert done.status == 0, done.err
    found: list[dict[str, Any]] = json.loads((cli.folder / "out.json").read_text("utf-8"))
    return found


def test_every_figure_of_a_small_file(files: Cli) -> None:
    (found,) = stats(files, "v.csv", "--items", "i.csv", "--human", "h.csv", "--by", "judge")
    assert list(found) == ["judge", *FIGURES]
    assert found["judge"] == "j"
    assert (found["n"], found["unparsed"]) == (3, 1)
    assert found["first_rate"] == pytest.approx(2 / 4)  # of the four that decided
    assert found["order_agreement"] == pytest.approx(1 / 3)
    assert found["accuracy"] == pytest.approx(3 / 6)  # unparsed is not right, a tie is not B
    # Every label beside every verdict: 4 of 4 on the first item, 1 of 2, 0 of 2.
    assert found["human_agreement"] == pytest.approx(5 / 8)
    # m won both of 1, lost neither of 2 (n is first there: B is m), won the one parsed of 3.
    assert found["win_rate"]["m"]["estimate"] == pytest.approx((2 + 1.5 + 1) / 5)
    for rates in (found["win_rate"], found["bradley_terry"]):
        assert sum(rate["estimate"] for rate in rates.values()) == pytest.approx(1)
        assert {"estimate", "low", "high"} <= set(rates["m"])
    assert found["ppi"]["m"]["estimate"] == pytest.approx((1 + 1 + 0.5) / 3)


def test_what_the_data_does_not_allow_is_null(files: Cli) -> None:
    (found,) = stats(files, "v.csv")
    nulls = {name for name in FIGURES if found[name] is None}
    assert nulls == {
        "accuracy",
        "human_agreement",
        "human_kappa",
        "win_rate",
        "bradley_terry",
        "ppi",
    }
    files.write("single.csv", "item_id,verdict\n1,A\n2,B\n")
    (bare,) = stats(files, "single.csv")
    assert bare["first_rate"] is None
    assert bare["order_agreement"] is None


def test_by_takes_columns_of_both_tables_in_order(files: Cli) -> None:
    found = stats(files, "v.csv", "--items", "i.csv", "--by", "topic, order")
    assert [(g["topic"], g["order"], g["n"]) for g in found] == [
        ("x", "AB", 2),
        ("x", "BA", 2),
        ("y", "AB", 1),
        ("y", "BA", 1),
    ]
    assert found[3]["accuracy"] == 0
    assert found[3]["win_rate"] is None  # nothing of it was parsed


def test_other_formats_and_the_pipe_say_the_same(
    files: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = stats(files, "v.csv", "--items", "i.csv")
    rows, items = pl.read_csv(files.folder / "v.csv"), pl.read_csv(files.folder / "i.csv")
    rows.write_ndjson(files.folder / "v.jsonl")
    rows.write_parquet(files.folder / "v.parquet")
    items.write_parquet(files.folder / "i.parquet")
    assert stats(files, "v.jsonl", "--items", "i.parquet") == expected
    assert stats(files, "v.parquet", "--items", "i.csv") == expected
    piped = io.TextIOWrapper(io.BytesIO(VERDICTS.encode()))
    monkeypatch.setattr(sys, "stdin", piped)
    done = files("judge", "stats", "-", "--items", "i.csv", "--json", "-")
    assert json.loads(done.out) == expected


def test_what_it_prints(files: Cli) -> None:
    done = files("judge", "stats", "v.csv", "--items", "i.csv", "--human", "h.csv")
    assert done.status == 0, done.err
    for text in (
        "orders agree",
        "33.3%",
        "Whether this judge may be used here cannot be told",
        "No difference between m and n can be told from 2 rows",
        "1 row could not be parsed",
    ):
        assert text in done.out
    many = files("judge", "stats", "v.csv", "--items", "i.csv", "--by", "item_id,order")
    assert "--json FILE" in many.out
    assert many.out.count("\n") == 2 + 6 + 2


def test_repeats_of_spelling_are_one(files: Cli) -> None:
    files.write("odd.csv", VERDICTS.replace("tie", " TIE ").replace("A\n", "a\n"))
    assert stats(files, "odd.csv", "--items", "i.csv") == stats(files, "v.csv", "--items", "i.csv")


@pytest.mark.parametrize(
    ("name", "text", "arguments", "said"),
    [
        ("e.csv", "item_id,verdict\n", [], "The table of verdicts is empty."),
        ("e.csv", "", [], "e.csv"),
        ("e.csv", "id,verdict\n1,A\n", [], "no column 'item_id'. There are: id, verdict."),
        (
            "e.csv",
            "item_id,winner,order\n1,A,AB\n",
            [],
            "no column 'verdict'. There are: item_id, order, winner.",
        ),
        (
            "e.csv",
            "item_id,verdict\n1,A\n2,C\n3,D\n",
            [],
            "Row 2 has 'C' as its verdict, as have 1 more rows. It must be one of A, B, tie, or",
        ),
        (
            "e.csv",
            "item_id,verdict\n1,The secret answer is better\n",
            [],
            "Row 1 has a text of 27 characters as its verdict.",
        ),
        (
            "e.csv",
            "item_id,verdict,order\n1,A,CD\n",
            [],
            "'CD' as its order. It must be one of AB, BA, both",
        ),
        ("e.csv", "item_id,verdict\n,A\n", [], "rows without an item_id"),
        ("e.csv", VERDICTS, ["--by", "model"], "There are: item_id, judge, order, verdict."),
        ("e.csv", VERDICTS, ["--unit", "prompt"], "no column 'prompt'"),
        ("e.csv", VERDICTS.replace("judge", "n"), ["--by", "n"], "'n' is the name of a figure"),
        ("e.csv", VERDICTS, ["--items", "none.csv"], "no file 'none.csv'"),
        ("e.csv", VERDICTS, ["--items", "v.csv"], "more than once"),
        ("e.csv", VERDICTS, ["--human", "i.csv"], "The table of labels has no column 'label'."),
        (
            "e.csv",
            VERDICTS.replace("\n", "\n9", 6),
            ["--items", "i.csv"],
            "No item_id of the verdicts is in the table of items.",
        ),
        ("e.csv", VERDICTS, ["--json", "nowhere/out.json"], "no folder 'nowhere'"),
    ],
)
def test_files_that_will_not_do(
    files: Cli, name: str, text: str, arguments: list[str], said: str
) -> None:
    files.write(name, text)
    done = files("judge", "stats", name, *arguments)
    assert done.status == 1
    assert done.err.startswith("error: ")
    assert said in done.err
    assert "secret" not in done.err
    assert "Traceback" not in done.err


def test_reasonable_files_are_taken(files: Cli) -> None:
    """Labels of other items, ids as pandas writes them, a row twice, a date to group by."""
    files.write("other.csv", "item_id,annotator,label\n77,a,A\n")
    done = files("judge", "stats", "v.csv", "--human", "other.csv", "--json", "-")
    assert done.status == 0
    assert "None of the labels belongs to an item" in done.err
    assert {g["human_agreement"] for g in json.loads(done.out)} == {None}
    files.write("float.csv", "item_id,verdict,day\n1.0,A,2024-05-01\n2.0,,2024-05-01\n")
    files.write("gold.csv", "item_id,gold\n1,A\n1,A\n2,B\n")
    arguments = ("float.csv", "--items", "gold.csv", "--by", "day", "--json", "-")
    (group,) = json.loads(files("judge", "stats", *arguments).out)
    assert (group["day"], group["n"], group["accuracy"]) == ("2024-05-01", 2, 0.5)


def test_wrong_usage(files: Cli) -> None:
    assert files("judge", "stats").status == 2
    assert files("judge", "stats", "v.csv", "--resamples", "3").status == 2
    assert files("judge", "stats", "--help").status == 0
    assert "stats" in files("judge", "--help").out


def test_labels_may_stand_in_for_verdicts(cli: Cli) -> None:
    """People's votes: each annotator is a judge, every vote counts, items are still the unit."""
    folder = judge_data()
    (found,) = stats(
        cli, folder / "llmfao_human.parquet", "--items", folder / "llmfao_items.parquet"
    )
    assert found["n"] == 2139
    assert found["more"]["verdicts"] == 8931
    assert len(found["bradley_terry"]) == 59
    for model, score in figures()["llmfao"]["human"]["bt_top10_sum1"].items():
        assert found["bradley_terry"][model]["estimate"] == pytest.approx(score, abs=1e-6)
    said = figures()["llmfao"]["win_rate_GPT4_human"]
    assert found["win_rate"]["GPT 4"]["estimate"] == pytest.approx(said["win_rate"])


def test_llmbar_as_it_is_and_quickly(cli: Cli) -> None:
    folder = judge_data()
    started = time.perf_counter()
    found = stats(
        cli,
        folder / "llmbar_verdicts.parquet",
        "--items",
        folder / "llmbar_items.parquet",
        "--by",
        "judge,strategy,subset",
    )
    assert time.perf_counter() - started < 10
    published = {
        (r["judge"], r["strategy"], r["subset"]): r
        for r in pl.read_csv(folder / "llmbar_all_195.csv").iter_rows(named=True)
    }
    assert len(found) == len(published) == 195
    for group in found:
        row = published[group["judge"], group["strategy"], group["subset"]]
        assert 100 * group["accuracy"] == pytest.approx(row["acc"], abs=1e-5)
        assert 100 * group["order_agreement"] == pytest.approx(row["agr"], abs=1e-5)
        assert group["unparsed"] == row["null_verdicts"]
        if group["first_rate"] is None:
            assert group["strategy"].startswith("Rating")
        else:
            assert 100 * group["first_rate"] == pytest.approx(row["first_rate"], abs=1e-5)


def test_ppi_with_labels_on_some(cli: Cli) -> None:
    """Only the labelled items' votes are given: each corrected rate is near what all votes say."""
    folder = judge_data()
    split = pl.read_parquet(folder / "mtbench_ppi_split.parquet").filter("labelled")
    human = pl.read_parquet(folder / "mtbench_human.parquet")
    human.join(split, on="item_id", how="semi").write_parquet(cli.folder / "some.parquet")
    arguments = [folder / "mtbench_verdicts.parquet", "--items", folder / "mtbench_items.parquet"]
    (found,) = stats(cli, *arguments, "--human", "some.parquet")
    (whole,) = stats(cli, *arguments, "--human", folder / "mtbench_human.parquet")
    assert found["more"]["labelled"] == 150
    inside = 0
    for model, rate in found["ppi"].items():
        alone = found["more"]["labels_alone"][model]
        assert rate["high"] - rate["low"] <= alone["high"] - alone["low"] + 1e-9
        inside += rate["low"] <= whole["ppi"][model]["estimate"] <= rate["high"]
    assert inside >= 5
    assert len(found["ppi"]) == 6


def test_the_page_defines_every_figure(files: Cli) -> None:
    page = (Path(__file__).parent.parent / "docs" / "statistics.md").read_text("utf-8")
    (found,) = stats(files, "v.csv", "--items", "i.csv", "--human", "h.csv")
    for name in FIGURES[:-1]:
        assert f"\n`{name}`" in page, name
    beside = {*found["more"]} - {"labelled"}
    for name in beside:
        assert f"`more.{name}`" in page, name
