"""Golden sets: thresholds, reports, and what is asked and paid for."""

from __future__ import annotations

import json
import xml.etree.ElementTree as Xml
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import swath as sw
from swath.errors import BudgetReached
from swath.evals.golden.report import load_report
from swath.evals.golden.toml import GoldenError
from tests.conftest import Open, model_table
from tests.golden_kit import noisy, route, suite, system, tickets
from tests.servers import Fault, OpenAIServer, serve

# -- running


def test_a_golden_set_passes_and_names_rows_that_fail(tmp_path: Path, open_session: Open) -> None:
    tickets(tmp_path)
    with serve(OpenAIServer(respond=route)) as server:
        open_session(fast=server)
        report = sw.golden(suite(tmp_path))
        assert report.status == "passed", str(report)
        assert report.metrics.calls == server.stats.answered == 20
        assert (report.metrics.rows, report.metrics.ok, report.metrics.failed) == (20, 20, 0)
    wrong = {"card 3": "loan", "other 5": "card"}
    with serve(OpenAIServer(respond=lambda p, b: wrong.get(p) or route(p, b))) as server:
        session = open_session(store=f"sqlite:///{tmp_path}/other.db", fast=server)
        failed = sw.golden(suite(tmp_path), session=session)
        assert failed.status == "failed"
        assert not failed
        shown = str(failed)
        assert "row 3, id t3: got loan, expected card" in shown
        assert "row 5, id t5: got card, expected other" in shown
        assert "FAILED: 1 of 1 checks" in shown
        (result,) = failed.checks
        assert result.score is not None
        assert (result.score.mean, result.passed, result.rows) == (0.9, 18, 20)
        assert sw.golden(suite(tmp_path, needs="threshold = 0.9"), session=session).ok
        assert not sw.golden(suite(tmp_path, needs="threshold = 0.91"), session=session).ok
        assert sw.golden(suite(tmp_path, needs="floor = 0.95"), session=session).ok
        assert not sw.golden(suite(tmp_path, needs="floor = 0.99"), session=session).ok
        assert server.stats.answered == 20


def test_unanswered_rows_fail_and_are_named(tmp_path: Path, open_session: Open) -> None:
    table = tickets(tmp_path, 10)
    blank = table.with_columns(text=pl.when(pl.col("id") == "t9").then(None).otherwise("text"))
    blank.write_csv(tmp_path / "tickets.csv")
    faults = [Fault("content_filter", match="loan 4")]
    with serve(OpenAIServer(respond=route, faults=faults)) as server:
        open_session(fast=server)
        report = sw.golden(suite(tmp_path, needs="threshold = 0.9"))
        (result,) = report.checks
        assert (result.rows, result.passed, result.unanswered) == (10, 8, 2)
        assert result.score is not None
        assert result.score.mean == 0.8
        assert report.status == "failed"
        missing = {row.row: row.unanswered for row in report.rows if row.unanswered}
        assert missing[9] == "the row has no text"
        assert set(missing) == {4, 9}
        assert "2 rows without an answer (fast)" in str(report)
        assert report.metrics.failed == 2


def test_rows_without_a_label_do_not_count(tmp_path: Path, open_session: Open) -> None:
    table = tickets(tmp_path, 6)
    table.with_columns(label=pl.when(pl.col("id") == "t0").then(None).otherwise("label")).write_csv(
        tmp_path / "tickets.csv"
    )
    with serve(OpenAIServer(respond=route)) as server:
        open_session(fast=server)
        (result,) = sw.golden(suite(tmp_path)).checks
        assert (result.rows, result.unlabelled, result.ok) == (5, 1, True)


def test_fields_of_a_struct_and_cases_in_the_file(tmp_path: Path, open_session: Open) -> None:
    (tmp_path / "shapes.py").write_text(
        "from pydantic import BaseModel\n\n\nclass Triage(BaseModel):\n"
        "    topic: str\n    urgent: bool\n    tags: list[str]\n    amount: float | None\n"
    )
    path = tmp_path / "triage.golden.toml"
    path.write_text(
        """
        [operator]
        kind = "extract"
        text = "text"
        schema = "shapes.py:Triage"

        [[checks]]
        kind = "exact"
        fields = { topic = "topic", urgent = "urgent" }

        [[checks]]
        kind = "set_f1"
        field = "tags"
        expected = "tags"
        threshold = 0.5

        [[checks]]
        kind = "numeric"
        field = "amount"
        expected = "amount"
        rel = 0.01

        [[cases]]
        text = "one"
        topic = "card"
        urgent = true
        tags = ["a", "b"]
        amount = 10.0

        [[cases]]
        text = "two"
        topic = "loan"
        urgent = false
        tags = ["a"]
        """
    )
    said = {
        "one": {"topic": "card", "urgent": True, "tags": ["a"], "amount": 10.05},
        "two": {"topic": "card", "urgent": False, "tags": ["x"], "amount": None},
    }
    with serve(OpenAIServer(respond=lambda p, _: json.dumps(said[p]))) as server:
        open_session(fast=server)
        report = sw.golden(path)
    means = {c.check: c.score and round(c.score.mean, 3) for c in report.checks}
    assert means == {
        "exact:topic": 0.5,
        "exact:urgent": 1.0,
        "set_f1:tags": pytest.approx(0.333, abs=1e-3),
        "numeric:amount": 1.0,
    }
    assert report.name == "triage"
    assert [c.check for c in report.checks if not c.ok] == ["exact:topic", "set_f1:tags"]


def test_similarity_and_a_judge_that_gives_reasons(tmp_path: Path, open_session: Open) -> None:
    pl.DataFrame(
        {"text": ["hi", "bye"], "wanted": ["hello dear friend", "farewell dear friend"]}
    ).write_ndjson(tmp_path / "d.jsonl")
    path = tmp_path / "reply.golden.toml"
    path.write_text(
        """
        data = "d.jsonl"
        expected = "wanted"
        [operator]
        kind = "map"
        prompt = "Answer: {text}"
        instructions = "Be brief."
        [[checks]]
        kind = "similarity"
        model = "near"
        threshold = 0.6
        [[checks]]
        kind = "judge"
        model = "big"
        rubric = "Is it polite?"
        threshold = 0.5
        """
    )
    asked: list[str] = []

    def grade(prompt: str, body: dict[str, Any]) -> str:
        asked.append(f"{system(body)}\n{prompt}")
        good = "hello" in prompt.split("<answer>")[1].split("</answer>")[0]
        return json.dumps({"reason": "because", "grade": "5" if good else "2"})

    def answer(prompt: str, body: dict[str, Any]) -> str:
        return "hello dear friend" if "hi" in prompt else "go away"

    with (
        serve(OpenAIServer(respond=answer)) as fast,
        serve(OpenAIServer(respond=grade)) as big,
        serve(OpenAIServer()) as near,
    ):
        embedder = (near, {"model": "text-embedding-3-small"})
        open_session(fast=fast, big=big, near=embedder)
        report = sw.golden(path)
        scores = {row.row: row.scores for row in report.rows}
        assert scores[0]["similarity"].score == pytest.approx(1.0)
        assert scores[0]["judge"].score == 1.0
        assert scores[1]["judge"].score == 0.25
        assert scores[1]["judge"].reason == "2 of 5: because"
        assert (scores[1]["similarity"].score or 0) < 0.6
        assert "Is it polite?" in asked[0]
        for part in ("Be brief.", "Answer: hi", "<answer>", "hello dear friend"):
            assert any(part in one for one in asked)
        calls = (fast.stats.answered, big.stats.answered, near.stats.answered)
        assert calls == (2, 2, 1)
        again = sw.golden(path)
        assert again.metrics.calls == 0
        assert (fast.stats.answered, big.stats.answered, near.stats.answered) == calls


def test_an_answer_that_the_judge_does_not_grade_has_failed(
    tmp_path: Path, open_session: Open
) -> None:
    path = tmp_path / "g.golden.toml"
    path.write_text(
        """
        [[cases]]
        text = "hi"
        [operator]
        kind = "map"
        prompt = "{text}"
        [[checks]]
        kind = "judge"
        rubric = "Good?"
        model = "big"
        """
    )
    with (
        serve(OpenAIServer()) as fast,
        serve(OpenAIServer(faults=[Fault("content_filter")])) as big,
    ):
        open_session(fast=fast, big=big)
        report = sw.golden(path)
        assert report.status == "failed"
        score = report.rows[0].scores["judge"]
        assert score.score == 0
        assert score.reason.startswith("not judged")


def test_every_model_is_held_to_every_check(tmp_path: Path, open_session: Open) -> None:
    tickets(tmp_path)
    with (
        serve(OpenAIServer(respond=route)) as good,
        serve(OpenAIServer(respond=lambda p, b: "card")) as bad,
    ):
        open_session(good=good, bad=bad)
        report = sw.golden(suite(tmp_path), models=["good", "bad"])
        assert {(c.model, c.ok) for c in report.checks} == {("good", True), ("bad", False)}
        assert "exact (bad)" in str(report).splitlines()[-1]
        assert len(report.runs) == 1


def test_an_operator_of_the_users(tmp_path: Path, open_session: Open) -> None:
    tickets(tmp_path, 6)
    (tmp_path / "ops.py").write_text(
        "import swath as sw\n\nroute = sw.classify('text', ['card', 'loan', 'other'],"
        " instructions=sw.Prompt('Choose.', name='route'))\n\ndef make():\n    return route\n"
    )
    with serve(OpenAIServer(respond=route)) as server:
        open_session(fast=server)
        for name in ("ops.py:route", "ops:make"):
            text = suite(tmp_path).read_text()
            head, _, checks = text.partition("[[checks]]")
            own = head.partition("[operator]")[0]
            path = tmp_path / "own.toml"
            path.write_text(
                f'{own}[operator]\nkind = "python"\nfunction = "{name}"\n\n[[checks]]{checks}'
            )
            report = sw.golden(path, models=["fast"])
            assert report.ok, str(report)
            assert report.prompt is not None
            assert report.prompt.name == "route"


# -- reports


def test_json_and_junit(tmp_path: Path, open_session: Open) -> None:
    table = tickets(tmp_path)
    odd = table.with_columns(text=pl.col("text") + " <&\x07>")
    odd.write_csv(tmp_path / "tickets.csv")
    needs = 'threshold = 0.9\n[[checks]]\nkind = "regex"\npattern = "x"\nthreshold = 0'
    with serve(OpenAIServer(respond=lambda p, b: "card")) as server:
        open_session(fast=server)
        report = sw.golden(suite(tmp_path, needs=needs))
    report.save(tmp_path / "out.json")
    report.save_junit(tmp_path / "out.xml")
    assert load_report(tmp_path / "out.json") == report
    value = json.loads((tmp_path / "out.json").read_text())
    assert value["format"] == "swath-eval/1"
    assert value["status"] == "failed"
    assert value["checks"][0]["score"]["mean"] == 0.35
    assert value["rows"][1]["input"]["text"].startswith("loan 1")
    assert value["rows"][1]["scores"]["exact"]["passed"] is False
    root = Xml.parse(tmp_path / "out.xml").getroot()
    assert (root.get("tests"), root.get("failures")) == ("2", "1")
    cases = root.findall("./testsuite/testcase")
    assert [case.get("name") for case in cases] == ["exact", "regex"]
    failure = cases[0].find("failure")
    assert failure is not None
    assert failure.text is not None
    assert "row 1, id t1" in failure.text
    assert cases[1].find("failure") is None


# -- what is paid


def test_the_budget_is_over_all_of_it_and_resumes(tmp_path: Path, open_session: Open) -> None:
    tickets(tmp_path, 200)
    with serve(OpenAIServer(respond=route)) as server:
        open_session(fast=(server, {"concurrency": 2}))
        with pytest.raises(BudgetReached, match=r"reached its budget of \$0.005") as stop:
            sw.golden(suite(tmp_path), max_cost=0.005)
        part = server.stats.answered
        assert 0 < part < 200
        assert 0 < stop.value.spent <= 0.005
        report = sw.golden(suite(tmp_path), max_cost=1)
        assert report.ok
        assert server.stats.answered == 200
        assert server.stats.repeats == {1: 200}


def test_only_what_changed_is_asked_again(tmp_path: Path, open_session: Open) -> None:
    table = tickets(tmp_path)
    with serve(OpenAIServer(respond=route)) as server:
        open_session(fast=server)
        sw.golden(suite(tmp_path))
        more = pl.DataFrame({"id": ["t20"], "text": ["card 20"], "label": ["card"]})
        pl.concat([more, table]).write_csv(tmp_path / "tickets.csv")
        report = sw.golden(suite(tmp_path))
        assert (report.metrics.calls, report.metrics.cached) == (1, 20)


# -- against an earlier version

GOOD = 'prompt = { name = "route", text = "Choose the good one." }'
BAD = 'prompt = { name = "route", text = "Choose the bad one." }'


def test_a_loss_of_15_points_over_200_rows_is_found(tmp_path: Path, open_session: Open) -> None:
    tickets(tmp_path, 200)
    with serve(OpenAIServer(respond=noisy({"good": 0.9, "bad": 0.75}, seed=1))) as server:
        session = open_session(fast=server)
        before = sw.golden(suite(tmp_path, "threshold = 0.5", GOOD))
        before.save(tmp_path / "before.json")
        sw.prompt("route@1").promote()
        for against in ("promoted", tmp_path / "before.json", before):
            report = sw.golden(suite(tmp_path, "threshold = 0.5", BAD), against=against)
            assert report.status == "regressed"
            (found,) = report.regressions
            assert found.regressed
            assert found.rows == 200
            assert found.difference.high < 0
            assert len(found.worsened) > len(found.improved)
            assert "REGRESSED: worse than" in str(report).splitlines()[-1]
        back = sw.golden(
            suite(tmp_path, "threshold = 0.5", GOOD), against="promoted", session=session
        )
        assert back.status == "passed"
        assert server.stats.answered == 400


def test_against_needs_something_to_hold_it_against(tmp_path: Path, open_session: Open) -> None:
    tickets(tmp_path)
    with serve(OpenAIServer(respond=route)) as server:
        open_session(fast=server)
        with pytest.raises(GoldenError, match="has no name"):
            sw.golden(suite(tmp_path), against="promoted")
        with pytest.raises(sw.InputError, match="No version of 'route' is promoted"):
            sw.golden(suite(tmp_path, prompt=GOOD), against="promoted")
        report = sw.golden(suite(tmp_path))
        table = pl.read_csv(tmp_path / "tickets.csv")
        table.with_columns(text=pl.col("text") + " else").write_csv(tmp_path / "tickets.csv")
        with pytest.raises(sw.InputError, match="shares no row"):
            sw.golden(suite(tmp_path), against=report)
        (tmp_path / "x.json").write_text("{}")
        with pytest.raises(sw.InputError, match="no report of swath eval"):
            sw.golden(suite(tmp_path), against=tmp_path / "x.json")


def test_a_stored_prompt_by_name_and_version(tmp_path: Path, open_session: Open) -> None:
    tickets(tmp_path)
    with serve(OpenAIServer(respond=route)) as server:
        open_session(fast=server)
        sw.Prompt("One.", name="route").save()
        sw.Prompt("Two.", name="route").save()
        newest = sw.golden(suite(tmp_path, prompt='prompt = { name = "route" }'))
        first = sw.golden(suite(tmp_path, prompt='prompt = { name = "route", version = 1 }'))
        other = sw.golden(suite(tmp_path), prompt="route@2")
        used = [r.prompt and r.prompt.version for r in (newest, first, other)]
        assert used == [2, 1, 2]
        assert server.stats.answered == 40


def test_a_killed_run_pays_nothing_twice(tmp_path: Path) -> None:
    import subprocess
    import sys
    import time

    tickets(tmp_path, 300)
    path = suite(tmp_path)
    with serve(OpenAIServer(respond=route, latency=(0.01, 0.03))) as server:
        table = model_table(server, concurrency=8)
        lines = ['store = "sqlite:///killed.db"', "[models.fast]"]
        lines += [f"{k} = {json.dumps(v)}" for k, v in table.items() if k != "price"]
        (tmp_path / "swath.toml").write_text("\n".join(lines))
        command = [sys.executable, "-m", "swath", "eval", str(path)]
        process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL)
        until = time.monotonic() + 30
        while server.stats.answered < 80 and time.monotonic() < until:
            time.sleep(0.005)
        process.kill()
        process.wait()
        assert 80 <= server.stats.answered < 300
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "PASSED" in done.stdout
        counts = server.stats.answered_by_prompt
        assert len(counts) == 300
        assert sum(n - 1 for n in counts.values()) <= 8 + 1  # what was in flight
