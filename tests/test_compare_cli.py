"""`swath compare`, `swath label` and `swath judge PAIRS`, as people and scripts use them."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pytest

import swath as sw
from tests.cli_kit import Cli, cli
from tests.compare_kit import PRICES, respond, tickets
from tests.servers import OpenAIServer, serve

__all__ = ["cli"]
MODELS = ("weak", "good", "fair", "first", "mute")


def prepare(cli: Cli, base_url: str, **more: object) -> None:
    """A config with this world's models, and a table of twelve tickets."""
    lines = []
    for name in MODELS:
        price = PRICES.get(name, (1.0, 4.0))
        lines += [f"[models.{name}]", 'provider = "openai"', f'model = "{name}"']
        lines += [
            f'base_url = "{base_url}"',
            f"price = {{input = {price[0]}, output = {price[1]}}}",
        ]
        lines += [f"{key} = {value}" for key, value in more.items()]
    cli.write("swath.toml", "\n".join(lines) + "\n")
    pl.DataFrame(tickets(12)).write_csv(cli.folder / "in.csv")


COMPARE = ("compare", "in.csv", "--map", "Answer: {text}", "--models", "weak,good")


def test_compare_prints_keeps_and_shows_again(cli: Cli) -> None:
    with serve(OpenAIServer(respond=respond)) as server:
        prepare(cli, server.base_url)
        done = cli(*COMPARE, "--judge", "fair", "--n", "8")
        assert done.status == 0, done.err
        assert "good beats weak" in done.out
        assert all(len(line) <= 80 for line in done.out.splitlines())
        (folder,) = (cli.folder / ".swath" / "compare").iterdir()
        assert f"swath compare --show {folder.name}" in done.err
        paid = server.stats.answered

        shown = cli("compare", "--show", folder.name[:5])
        assert shown.status == 0
        assert shown.out == done.out
        made = sw.Comparison.load(folder)
        assert made.table.height == 8
        assert server.stats.answered == paid
        again = cli(*COMPARE, "--judge", "fair", "--n", "8", "--out", "kept")
        assert again.status == 0
        assert server.stats.answered == paid
        assert cli("compare", "--show", "kept").status == 0


@pytest.mark.parametrize(
    "how",
    [
        ("-c", "text", "--classify", "card,loan"),
        ("-c", "text", "--extract", "schema.py:Triage"),
        ("-c", "text", "--predicate", "A card was lost"),
        ("--predicate", "A card was lost: {text}", "--name", "lost"),
    ],
)
def test_compare_takes_every_operator(cli: Cli, how: tuple[str, ...]) -> None:
    with serve(OpenAIServer()) as server:
        prepare(cli, server.base_url)
        done = cli("compare", "tickets.csv", "--models", "weak,good", *how, "--by", "id")
        assert done.status == 0, done.err
        assert "Agreement" in done.out


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (("compare",), 2, "give IN"),
        (("compare", "in.csv", "--models", "weak,good"), 2, "exactly one of --extract"),
        (("compare", "in.csv", "--classify", "a,b", "--models", "weak,good"), 2, "give --column"),
        (("compare", "in.csv", "--map", "{text}"), 2, "give --models"),
        (("compare", "in.csv", "--map", "{text}", "--models", "weak,nobody"), 1, "There are: fa"),
        (("compare", "in.csv", "--map", "{text}", "--models", "weak"), 1, "at least two models"),
        (("compare", "in.csv", "--map", "{x}", "--models", "weak,good"), 1, "There are: id, text"),
        ((*COMPARE, "--where", "x >"), 1, "no SQL condition"),
        ((*COMPARE, "--judge", "fair", "--mode", "best"), 1, "no mode 'best'"),
        ((*COMPARE, "--html", "no/such/r.html"), 1, "no/such"),
        (("compare", "--show", "abc"), 1, "no comparison 'abc'"),
        (("label", "abc"), 1, "no comparison 'abc'"),
        (("judge", "in.csv", "--judge", "fair"), 1, "'in.csv' has no column 'item_id'"),
        (("judge", "none.csv", "--judge", "fair"), 1, "none.csv"),
        (("judge", "pairs.csv", "--judge", "nobody"), 1, "There are: fa"),
        (("judge", "twice.csv", "--judge", "fair"), 1, "item_id of their own"),
        (("judge", "pairs.csv", "--judge", "fair", "-o", "pairs.csv"), 1, "the input itself"),
    ],
)
def test_what_is_wrong_is_said_and_nothing_spent(
    cli: Cli, arguments: tuple[str, ...], status: int, says: str
) -> None:
    with serve(OpenAIServer(respond=respond)) as server:
        prepare(cli, server.base_url)
        write_pairs(cli, 4)
        pl.concat([pl.read_csv("pairs.csv")] * 2).write_csv("twice.csv")
        done = cli(*arguments)
        assert (done.status, says in done.err) == (status, True), done.err
        assert server.stats.received == 0


def test_compare_stops_at_the_budget_and_goes_on(cli: Cli) -> None:
    with serve(OpenAIServer(respond=respond)) as server:
        prepare(cli, server.base_url, max_tokens=50, concurrency=2)
        # Enough for all answers, and not for the verdicts: the limit is of both together.
        done = cli(*COMPARE, "--judge", "fair", "--max-cost", "0.0075")
        assert done.status == 3, done.err
        assert "$0.0075 is reached" in done.err
        paid = server.stats.answered
        assert 24 < paid < 42
        done = cli(*COMPARE, "--judge", "fair", "--max-cost", "1")
        assert done.status == 0, done.err
        assert server.stats.answered == 24 + 18
        assert set(server.stats.by_prompt.values()) <= {1, 2}  # two models share each question


def test_a_saved_prompt_and_json(cli: Cli) -> None:
    with serve(OpenAIServer(respond=respond)) as server:
        prepare(cli, server.base_url)
        cli.write("prompt.txt", "Answer: {text}")
        cli("prompts", "save", "reply", "prompt.txt")
        how = ("compare", "in.csv", "--prompt", "reply@1", "--models", "weak,good")
        done = cli(*how, "--json", "--out", "kept")
        assert done.status == 0, done.err
        told = json.loads(done.out)
        assert (told["models"], told["rows"]) == (["weak", "good"], 12)
        assert [line["ok"] for line in told["by_model"]] == [12, 12]
        assert json.loads(cli("compare", "--show", "kept", "--json").out) == told
        paid = server.stats.answered
        assert cli(*COMPARE, "--out", "again").status == 0  # the same text, so the same answers
        assert server.stats.answered == paid
        assert "reply@1" in cli("prompts", "log").out
        assert cli(*how, "--map", "{text}").status == 2
        assert "no prompt 'none'" in cli(*how[:2], "--prompt", "none", *how[4:]).err
        settings = cli(*COMPARE[:-1], "weak,weak temperature=1", "--json")
        assert json.loads(settings.out)["models"] == ["weak", "weak temperature=1"]


def test_pairs_can_be_labelled_without_a_judge(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    with serve(OpenAIServer(respond=respond)) as server:
        prepare(cli, server.base_url)
        assert "swath label kept" in cli(*COMPARE, "--out", "kept").err
        monkeypatch.setattr(sys, "stdin", io.StringIO("t\n" * 12))
        done = cli("label", "kept", "--annotator", "ada")
        assert done.status == 0, done.err
        assert "By the labels, no difference between weak and good can be told" in " ".join(
            done.out.split()
        )


def test_label_is_blind_resumes_and_corrects(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    with serve(OpenAIServer(respond=respond)) as server:
        prepare(cli, server.base_url)
        cli(*COMPARE, "--judge", "fair", "--out", "kept")
        paid = server.stats.answered
        monkeypatch.setattr(sys, "stdin", io.StringIO("1\nwhat\n2\ns\nq\n"))
        first = cli("label", "kept", "--n", "12", "--annotator", "ada")
        assert first.status == 0, first.err
        for name in ("weak", "good"):  # until the labels are in
            assert name not in first.out.partition("Comparison ")[0]
        human = pl.read_parquet(cli.folder / "kept" / "human.parquet")
        assert human.columns == ["item_id", "annotator", "label"]
        # A person who knows what is right answers what is left, in whatever order it is shown.
        made = sw.Comparison.load(cli.folder / "kept")
        assert made.items is not None
        from swath.evals import labelling

        drawn = labelling.draw(made.items, 12)
        shown = list(labelling.pairs(drawn, "ada"))
        todo = [p for p in shown if p.item_id not in set(human["item_id"])]
        reached = [p.first == p.second for p in shown]
        unequal = [i for i, same in enumerate(reached) if not same]
        skipped, end = unequal[2], unequal[3]  # two were answered, then s, then q
        assert [p.item_id for p in todo] == [
            p.item_id for i, p in enumerate(shown) if i == skipped or i >= end
        ]
        todo = [p for p in todo if p.first != p.second]
        keys = "".join("1\n" if p.first.startswith("right") else "2\n" for p in todo)
        assert {p.turned for p in labelling.pairs(made.items, "ada")} == {True, False}
        monkeypatch.setattr(sys, "stdin", io.StringIO(keys))
        second = cli("label", "kept", "--n", "12", "--annotator", "ada")
        assert second.status == 0, second.err
        assert f"12 pairs, {human.height} of them labelled" in second.err
        human = pl.read_parquet(cli.folder / "kept" / "human.parquet")
        assert human["item_id"].n_unique() == human.height == 12
        right = human.join(made.items, on="item_id").filter(
            pl.col("item_id").is_in([p.item_id for p in todo])
        )
        assert set(right["label"]) == {"B"}
        kept = sw.Comparison.load(cli.folder / "kept")
        assert kept.human is not None
        assert kept.trust is not None
        assert kept.trust.human_agreement is not None
        assert server.stats.answered == paid


def write_pairs(cli: Cli, n: int, **more: list[str]) -> Path:
    table = {
        "item_id": list(range(n)),
        "instruction": [f"ticket {i}" for i in range(n)],
        "answer_a": [f"wrong {i}" for i in range(n)],
        "answer_b": [f"right {i}" if i else "wrong 0" for i in range(n)],
    }
    pl.DataFrame(table | more).write_csv(cli.folder / "pairs.csv")
    return cli.folder / "pairs.csv"


def test_judge_pairs(cli: Cli) -> None:
    with serve(OpenAIServer(respond=respond)) as server:
        prepare(cli, server.base_url)
        write_pairs(cli, 10, model_a=["old"] * 10, model_b=["new"] * 10)
        settings = ("--judge", "fair,first,mute", "--out", "verdicts.parquet")
        done = cli("judge", "pairs.csv", *settings, "--report", "run.json")
        assert done.status == 0, done.err
        table = pl.read_parquet(cli.folder / "verdicts.parquet")
        assert table.columns == [
            *("item_id", "judge", "order", "verdict", "picked_position"),
            *("model_a", "model_b", "justification"),
        ]
        assert table.schema["item_id"] == pl.Int64
        assert table.height == 10 * 2 * 4  # the jury's too
        fair = table.filter(pl.col("judge") == "fair")
        assert fair["order"].to_list() == ["AB", "BA"] * 10
        assert fair["verdict"].to_list() == ["tie"] * 2 + ["B"] * 18
        assert fair["picked_position"].to_list() == [None] * 2 + ["second", "first"] * 9
        mute = table.filter(pl.col("judge") == "mute")
        assert mute["verdict"].null_count() == 6
        assert "mute: 0 A, 12 B, 2 tie, 6 unreadable." in done.err
        report = json.loads((cli.folder / "run.json").read_text())
        assert report["failed"] == 6
        paid = server.stats.answered

        stats = cli("judge", "stats", "verdicts.parquet", "--by", "judge", "--json", "out.json")
        assert stats.status == 0, stats.err
        found = {g["judge"]: g for g in json.loads((cli.folder / "out.json").read_text())}
        assert found["first"]["first_rate"] == 1.0
        assert found["fair"]["win_rate"]["new"]["estimate"] == pytest.approx(0.95)
        assert found["mute"]["unparsed"] == 6

        again = cli("judge", "pairs.csv", "--judge", "fair", "-o", "again.csv")
        assert again.status == 0
        assert server.stats.answered == paid
        lines = cli("judge", "pairs.csv", "--judge", "fair", "--orders", "one", "--limit", "3")
        assert [json.loads(line)["item_id"] for line in lines.out.splitlines()] == [0, 1, 2]
        assert server.stats.answered == paid


def test_judge_pairs_stops_at_the_budget_with_what_is_ready(cli: Cli) -> None:
    with serve(OpenAIServer(respond=respond)) as server:
        prepare(cli, server.base_url, max_tokens=100, concurrency=2)
        write_pairs(cli, 12)
        settings = ("judge", "pairs.csv", "--judge", "fair", "--out", "v.parquet")
        done = cli(*settings, "--max-cost", "0.005")
        assert done.status == 3, done.err
        part = pl.read_parquet(cli.folder / "v.parquet")
        ties = 2  # the pair of equal answers costs nothing
        assert part.height - ties == server.stats.answered < 22
        assert part["verdict"].null_count() == 0
        assert cli(*settings).status == 0
        assert server.stats.repeats == {1: 22}


def test_judge_pairs_killed_and_resumed_pays_once(cli: Cli) -> None:
    with serve(OpenAIServer(respond=respond, latency=(0.02, 0.05))) as server:
        prepare(cli, server.base_url, concurrency=4)
        write_pairs(cli, 40)
        command = [
            sys.executable,
            "-m",
            "swath",
            "judge",
            "pairs.csv",
            "-j",
            "fair",
            "-o",
            "v.parquet",
        ]
        for target in (10, 40):
            process = subprocess.Popen(command, cwd=cli.folder, stderr=subprocess.PIPE)
            deadline = time.monotonic() + 30
            while server.stats.answered < target and time.monotonic() < deadline:
                time.sleep(0.005)
            assert process.poll() is None, "it ended before it was killed"
            process.kill()
            process.communicate()
        done = cli("judge", "pairs.csv", "-j", "fair", "-o", "v.parquet")
        assert done.status == 0, done.err
        assert pl.read_parquet(cli.folder / "v.parquet").height == 80
        assert len(server.stats.answered_by_prompt) == 78
        twice = sum(n - 1 for n in server.stats.answered_by_prompt.values())
        assert twice <= 2 * 4  # what was in flight when it was killed
