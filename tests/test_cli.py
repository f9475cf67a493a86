"""The command line: what it prints, writes, and with which status it ends."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from tests.cli_kit import Cli, cli, start
from tests.servers import OpenAIServer, serve

__all__ = ["cli"]
TOTALS = (
    "rows",
    "ok",
    "failed",
    "calls",
    "cached",
    "retries",
    "input_tokens",
    "output_tokens",
    "cost_usd",
    "seconds",
)


def test_enrich_extracts_typed_columns_and_reports(cli: Cli) -> None:
    with serve(OpenAIServer()) as server:
        cli.config(server.base_url)
        done = cli(
            *("enrich", "tickets.csv", "--column", "text", "--extract", "schema.py:Triage"),
            *("--name", "triage", "--model", "fast", "--out", "out.parquet"),
            *("--report", "run.json"),
        )
        assert done.status == 0, done.err
        table = pl.read_parquet(cli.folder / "out.parquet")
        assert table["id"].to_list() == [1, 2, 3, 4, 5]
        assert table.schema["triage"] == pl.Struct({"summary": pl.String, "urgent": pl.Boolean})
        assert table["triage"].null_count() == 1  # the blank row: no call
        assert server.stats.answered == 3  # two rows are equal
        report = json.loads((cli.folder / "run.json").read_text())
        assert set(TOTALS) <= report.keys()
        assert (report["rows"], report["ok"], report["failed"]) == (5, 5, 0)
        assert (report["calls"], report["status"], report["errors"]) == (3, "done", [])
        assert report["input_tokens"] == server.stats.prompt_tokens
        assert "5 rows: 5 ok, 0 failed." in done.err

        again = cli(
            *("enrich", "tickets.csv", "-c", "text", "--extract", "schema.py:Triage"),
            *("--name", "triage", "-o", "out.jsonl", "--report", "run.json"),
        )
        assert again.status == 0
        assert server.stats.answered == 3  # nothing is paid twice
        assert json.loads((cli.folder / "run.json").read_text())["calls"] == 0
        rows = [json.loads(line) for line in (cli.folder / "out.jsonl").read_text().splitlines()]
        assert rows[0]["triage"] == table["triage"][0]


@pytest.mark.parametrize("ending", ["csv", "tsv", "json", "jsonl", "parquet", "arrow"])
def test_every_format_goes_in_and_comes_out(cli: Cli, ending: str) -> None:
    table = pl.read_csv(cli.folder / "tickets.csv")
    source = cli.folder / f"in.{ending}"
    {
        "csv": table.write_csv,
        "tsv": lambda path: table.write_csv(path, separator="\t"),
        "json": table.write_json,
        "jsonl": table.write_ndjson,
        "parquet": table.write_parquet,
        "arrow": table.write_ipc,
    }[ending](source)
    with serve(OpenAIServer()) as server:
        cli.config(server.base_url)
        done = cli("enrich", source, "-c", "text", "--classify", "card,loan", "-o", f"out.{ending}")
        assert done.status == 0, done.err
        back = cli("enrich", f"out.{ending}", "--map", "{id}: {label}", "--where", "id < 3")
    assert back.status == 0, back.err
    rows = [json.loads(line) for line in back.out.splitlines()]
    assert [row["id"] for row in rows] == [1, 2]
    assert all(row["label"] in ("card", "loan") for row in rows)


def test_a_prompt_without_columns_gets_the_one_that_is_named(cli: Cli) -> None:
    with serve(OpenAIServer(keep_requests=True)) as server:
        cli.config(server.base_url)
        done = cli(
            "enrich", "tickets.csv", "-c", "text", "--map", "Summarize this.", "--limit", "1"
        )
        assert done.status == 0, done.err
        prompt = server.stats.requests[-1].body["messages"][-1]["content"]
    assert prompt.startswith("Summarize this.")
    assert "I lost my card" in prompt
    assert len(done.out.splitlines()) == 1


def test_the_pipe_takes_lines_and_tables(cli: Cli) -> None:
    with serve(OpenAIServer()) as server:
        cli.config(server.base_url)
        for data in ('{"text": "a b c"}\n{"text": "d e f"}\n', "text\na b c\nd e f\n"):
            command = [sys.executable, "-m", "swath", "enrich", "-", "--map", "Say {text}"]
            done = subprocess.run(
                command, input=data, cwd=cli.folder, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, done.stderr
            rows = [json.loads(line) for line in done.stdout.splitlines()]
            assert [row["text"] for row in rows] == ["a b c", "d e f"]
        assert server.stats.answered == 2


def test_dry_run_and_try_say_what_it_would_cost(cli: Cli) -> None:
    with serve(OpenAIServer()) as server:
        cli.config(server.base_url)
        common = ("enrich", "tickets.csv", "-c", "text", "--classify", "card,loan", "-o", "x.csv")
        plan = cli(*common, "--dry-run")
        assert plan.status == 0, plan.err
        assert "3 calls" in plan.out
        assert server.stats.received == 0
        tried = cli(*common, "--try", "2")
        assert tried.status == 0, tried.err
        assert "Tried 2 of 5 rows" in tried.out
        assert server.stats.answered == 2
    assert not (cli.folder / "x.csv").exists()


def test_labels_may_come_with_what_they_mean(cli: Cli) -> None:
    cli.write("labels.json", '{"card": "a payment card", "loan": "borrowed money"}')
    with serve(OpenAIServer(keep_requests=True)) as server:
        cli.config(server.base_url)
        done = cli("enrich", "tickets.csv", "-c", "text", "--classify", "labels.json")
        assert done.status == 0, done.err
        assert "borrowed money" in str(server.stats.requests[-1].body["messages"])


def test_failed_rows_are_counted_named_and_no_error(cli: Cli) -> None:
    def respond(prompt: str, body: object) -> str:
        return "neither" if "app crashes" in str(body) else "card"

    with serve(OpenAIServer(respond=respond)) as server:
        cli.config(server.base_url)
        done = cli(
            *("enrich", "tickets.csv", "-c", "text", "--classify", "card,loan"),
            *("-o", "out.csv", "--report", "run.json"),
        )
    assert done.status == 0, done.err
    assert "4 ok, 1 failed" in done.err
    assert "row 3, label (fast):" in done.err
    report = json.loads((cli.folder / "run.json").read_text())
    assert report["failed"] == 1
    assert [(e["row"], e["column"], e["model"]) for e in report["errors"]] == [(3, "label", "fast")]


def test_budget_stops_with_3_and_the_next_run_goes_on(cli: Cli) -> None:
    rows = 300
    cli.write("many.csv", "text\n" + "".join(f"row number {i} here\n" for i in range(rows)))
    # A call costs 0.6 cents, and could cost 40: its worst case counts a token a byte.
    with serve(OpenAIServer(latency=0.01, price={"input": 1000, "output": 0})) as server:
        cli.config(server.base_url, price="{ input = 1000, output = 0 }", concurrency=4)
        command = (
            *("enrich", "many.csv", "--map", "Echo {text}", "-o", "out.jsonl"),
            *("--report", "run.json"),
        )
        stopped = cli(*command, "--max-cost", "0.9")
        assert stopped.status == 3, stopped.err
        last = stopped.err.splitlines()[-1]
        assert last.startswith("error: The budget of $0.9000 is reached")
        assert "larger max_cost" in last
        assert server.stats.dollars <= 0.9
        report = json.loads((cli.folder / "run.json").read_text())
        assert report["status"] == "budget"
        assert report["cost_usd"] == pytest.approx(server.stats.dollars)
        bought = server.stats.answered
        assert 0 < bought < rows
        kept = (cli.folder / "out.jsonl").read_text().splitlines()
        assert 0 < len(kept) <= bought
        assert "rows that were ready" in stopped.err

        done = cli(*command, "--max-cost", "100")
        assert done.status == 0, done.err
        assert server.stats.answered == rows  # each was paid once
    assert len((cli.folder / "out.jsonl").read_text().splitlines()) == rows


@pytest.mark.skipif(sys.platform == "win32", reason="signals differ")
@pytest.mark.parametrize("signalled", [signal.SIGINT, signal.SIGTERM])
def test_interruption_ends_with_130_and_resumes(cli: Cli, signalled: signal.Signals) -> None:
    rows = 200
    cli.write("many.csv", "text\n" + "".join(f"row number {i} here\n" for i in range(rows)))
    with serve(OpenAIServer(latency=0.1)) as server:
        cli.config(server.base_url, concurrency=8)
        command = (
            *("enrich", "many.csv", "--map", "Echo {text}", "-o", "o.csv"),
            *("--report", "r.json"),
        )
        process = start(cli.folder, *command)
        assert until(lambda: server.stats.answered >= 20)
        process.send_signal(signalled)
        _, err = process.communicate(timeout=30)
        assert process.returncode == 130, err
        assert "Traceback" not in err
        assert err.splitlines()[-1].startswith("error: Stopped: ")
        assert "pays only for what is missing" in err
        report = json.loads((cli.folder / "r.json").read_text())
        assert report["status"] == "interrupted"
        assert 0 < report["rows"] < rows
        assert pl.read_csv(cli.folder / "o.csv").height > 0

        done = cli(*command)
        assert done.status == 0, done.err
        assert pl.read_csv(cli.folder / "o.csv").height == rows
        assert server.stats.answered <= rows + 8  # what was in flight may be asked twice


def until(true: Callable[[], bool], seconds: float = 20) -> bool:
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def test_calls_and_runs_read_the_ledger(cli: Cli) -> None:
    nothing = cli("calls")
    assert (nothing.status, nothing.out) == (0, "")
    assert "no calls yet" in nothing.err
    assert not (cli.folder / ".swath").exists()  # a look makes no store
    none = json.loads(cli("runs", "--json").out)
    assert none == {"runs": [], "by_model": [], "by_route": []}

    with serve(OpenAIServer()) as server:
        cli.config(server.base_url)
        assert cli("enrich", "tickets.csv", "-c", "text", "--classify", "card,loan").status == 0
        server.respond = lambda prompt, body: "neither"
        assert cli("enrich", "tickets.csv", "-c", "text", "--classify", "sun,moon").status == 0
        before = server.stats.received + server.stats.other

        listed = json.loads(cli("runs", "--json").out)
        assert [run["name"] for run in listed["runs"]] == ["enrich tickets.csv"] * 2
        assert [run["failed"] for run in listed["runs"]] == [4, 0]
        assert listed["by_model"][0]["model"] == "fast"

        first = listed["runs"][1]["id"]
        one = json.loads(cli("calls", "--run", first[:5], "--json").out)
        assert len(one["calls"]) == 3
        assert {call["label"] for call in one["calls"]} == {"label"}
        failed = cli("calls", "--failed")
        assert failed.status == 0
        assert "invalid" in failed.out
        assert server.stats.received + server.stats.other == before  # nobody was asked


def test_models_show_aliases_then_the_catalogue(cli: Cli) -> None:
    cli.config("http://127.0.0.1:9/v1")
    shown = cli("models")
    assert shown.status == 0, shown.err
    assert shown.out.index("fast *") < shown.out.index("Catalogue:")
    cheap = json.loads(cli("models", "--provider", "openai", "--max-price", "0.2", "--json").out)
    assert cheap["catalogue"]
    assert all(m["provider"] == "openai" and m["input"] <= 0.2 for m in cheap["catalogue"])
    assert len(cheap["catalogue_date"]) == 10
    wide = json.loads(cli("models", "--min-context", "1000000", "--json").out)["catalogue"]
    assert wide
    assert all(m["context_window"] >= 1_000_000 for m in wide)
    free = json.loads(cli("models", "--free", "--json").out)["catalogue"]
    assert all(m["input"] == 0 and m["output"] == 0 for m in free)
    weights = json.loads(cli("models", "list", "--json").out)
    assert "smollm2-135m" in {w["name"] for w in weights}


def test_doctor_tells_good_from_broken(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOD_KEY", "sk-good-123456")
    with serve(OpenAIServer(keys=frozenset({"sk-good-123456"}))) as server:
        cli.config(server.base_url, api_key_env='"GOOD_KEY"', rpm=500)
        well = cli("doctor")
        assert well.status == 0, well.out
        assert "key in GOOD_KEY accepted" in well.out
        assert "500 requests/min" in well.out
        assert not (cli.folder / ".swath").exists()  # a look leaves no trace

        monkeypatch.setenv("GOOD_KEY", "sk-wrong-123456")
        ill = cli("doctor")
        assert ill.status == 1
        assert "refused the key in GOOD_KEY" in " ".join(ill.out.split())
        assert "sk-wrong" not in ill.out + ill.err
    gone = cli("doctor", "--json")
    assert gone.status == 1
    assert {f["what"]: f["state"] for f in json.loads(gone.out)}["fast"] == "bad"


def test_help_version_and_a_closed_pipe(cli: Cli) -> None:
    assert cli("--version").out.startswith("swath ")
    for command in ("demo", "enrich", "models", "calls", "runs", "doctor"):
        told = cli(command, "--help")
        assert told.status == 0
        assert "Usage: swath" in told.out
    for command in ("models --all", "models --all --json"):
        piped = subprocess.run(
            f"{sys.executable} -m swath {command} | head -n 1; exit ${{PIPESTATUS[0]}}",
            shell=True,
            executable="/bin/bash",
            cwd=cli.folder,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (piped.returncode, piped.stderr) == (0, "")


def test_debug_shows_the_traceback(cli: Cli) -> None:
    quiet = cli("enrich", "nowhere.csv", "-c", "text", "--classify", "a,b")
    assert "Traceback" not in quiet.err
    for place in (0, 3):
        arguments = ["enrich", "nowhere.csv", "-c", "text", "--classify", "a,b"]
        arguments.insert(place, "--debug")
        loud = cli(*arguments)
        assert loud.status == 1
        assert "Traceback" in loud.err
        assert loud.err.splitlines()[-1].startswith("error: There is no file 'nowhere.csv'.")


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys; from swath.cli.app import run; run(['--help']);"
        "print([m for m in ('polars', 'pydantic', 'msgspec', 'rich') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.local
def test_demo_runs_on_the_local_model_and_is_free_again(cli: Cli) -> None:
    first = cli("demo", "--limit", "2")
    assert first.status == 0, first.err
    assert "2: 2 ok, 0 failed" in first.out
    table = pl.read_parquet(cli.folder / "swath-demo" / "debates.parquet")
    assert table.height == 2
    for quote, speech in table.select("quote", "speech").iter_rows():
        assert quote in speech
    assert pl.read_csv(cli.folder / "swath-demo" / "debates.csv").columns == table.columns
    lines = (cli.folder / "swath-demo" / "debates.jsonl").read_text("utf-8").splitlines()
    assert json.loads(lines[0])["claim"] == table["claim"][0]
    cli.config("http://127.0.0.1:9/v1")  # another config changes nothing
    again = cli("demo", "--limit", "2")
    assert again.status == 0, again.err
    assert "0, 6 from the store" in again.out


def test_demo_over_a_configured_model(cli: Cli) -> None:
    with serve(OpenAIServer()) as server:
        cli.config(server.base_url)
        done = cli("demo", "--model", "fast", "--limit", "8")
        assert done.status == 0, done.err
        assert server.stats.answered == 24
        assert "would cost" in done.out
    assert Path("swath-demo/debates.parquet").exists()
