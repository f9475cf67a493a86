"""`swath eval` and `swath prompts` as people run them."""

from __future__ import annotations

import json
import xml.etree.ElementTree as Xml
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import swath as sw
from tests.cli_kit import Cli, cli
from tests.conftest import Open
from tests.golden_kit import noisy, route, suite, system, tickets
from tests.servers import OpenAIServer, serve

__all__ = ["cli"]
GOOD = 'prompt = { name = "route", text = "Choose the good one." }'
BAD = 'prompt = { name = "route", text = "Choose the bad one." }'
CLASSIFY = ("--column", "text", "--classify", "card,loan,other")


@pytest.fixture
def server() -> Iterator[OpenAIServer]:
    with serve(OpenAIServer(respond=route)) as running:
        yield running


@pytest.fixture
def work(cli: Cli, server: OpenAIServer) -> Cli:
    tickets(cli.folder)
    cli.config(server.base_url, price="{ input = 1.0, output = 4.0 }")
    cli.write("swath.toml", "check_keys = false\n" + (cli.folder / "swath.toml").read_text())
    return cli


# -- eval


def test_eval_passes_and_writes_reports(work: Cli) -> None:
    suite(work.folder)
    done = work("eval", "golden.toml", "--json", "o.json", "--junit", "o.xml")
    assert (done.status, done.err) == (0, "")
    assert done.out.splitlines()[-1] == "PASSED."
    assert "20 of 20 pass" in done.out
    assert json.loads((work.folder / "o.json").read_text())["status"] == "passed"
    assert Xml.parse(work.folder / "o.xml").getroot().get("failures") == "0"


def test_eval_fails_with_1_and_says_which(work: Cli, server: OpenAIServer) -> None:
    server.respond = lambda p, b: "card"
    suite(work.folder, needs="threshold = 0.9")
    done = work("eval", "golden.toml")
    assert done.status == 1
    assert "FAILED: 1 of 1 checks do not reach what they need: exact (fast)." in done.out
    assert "row 1, id t1: got card, expected loan" in done.out


def test_eval_regresses_with_1_and_another_message(work: Cli, server: OpenAIServer) -> None:
    tickets(work.folder, 200)
    server.respond = noisy({"good": 0.95, "bad": 0.7}, seed=3)
    suite(work.folder, "threshold = 0.5", GOOD)
    assert work("eval", "golden.toml", "--json", "good.json").status == 0
    assert work("prompts", "promote", "route", "1").status == 0
    suite(work.folder, "threshold = 0.5", BAD)
    for against in ("promoted", "good.json"):
        done = work("eval", "golden.toml", "--against", against)
        assert done.status == 1
        assert "REGRESSED: worse than" in done.out
        assert "FAILED" not in done.out
    assert server.stats.answered == 400


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (("golden.toml", "--models", "fats"), 2, "Did you mean 'fast'"),
        (("golden.toml", "--against", "promoted"), 2, "has no name"),
        (("golden.toml", "--against", "no.json"), 2, "cannot be read"),
        (("golden.toml", "--prompt", "x@1"), 2, "There is no prompt 'x'"),
        (("none.toml",), 2, "cannot be read"),
        (("golden.toml", "--limit", "0"), 2, "swath eval --help"),
        (("golden.toml", "--max-cost", "0.000001"), 3, "reached its budget"),
        (("golden.toml", "--json", "no/such/folder.json"), 1, "folder"),
    ],
)
def test_other_exit_statuses(
    work: Cli, server: OpenAIServer, arguments: tuple[str, ...], status: int, said: str
) -> None:
    suite(work.folder)
    done = work("eval", *arguments)
    assert (done.status, server.stats.answered) == (status, 0), done.err
    assert said in done.err
    assert done.err.startswith("error: ")
    assert len(done.err.splitlines()) == 1


def test_a_budget_stop_still_writes_what_is_known(work: Cli, server: OpenAIServer) -> None:
    tickets(work.folder, 200)
    suite(work.folder)
    reports = ("--json", "out.json", "--junit", "out.xml")
    done = work("eval", "golden.toml", "--max-cost", "0.002", *reports)
    assert done.status == 3
    assert "STOPPED at the budget" in done.out
    report = json.loads((work.folder / "out.json").read_text())
    assert report["status"] == "stopped"
    assert 0 < len(report["rows"]) < 200
    assert all(row["scores"]["exact"]["score"] == 1 for row in report["rows"])
    assert not any(check["ok"] for check in report["checks"])
    assert 0 < report["metrics"]["cost_usd"] <= 0.002
    root = Xml.parse(work.folder / "out.xml").getroot()
    assert [case.find("skipped") is not None for case in root.iter("testcase")] == [True]
    asked = server.stats.answered
    assert work("eval", "golden.toml", *reports).status == 0
    assert server.stats.answered == 200 > asked
    assert json.loads((work.folder / "out.json").read_text())["status"] == "passed"


def test_eval_with_a_limit_and_other_models(work: Cli, server: OpenAIServer) -> None:
    suite(work.folder)
    done = work("eval", "golden.toml", "--limit", "7", "--models", "fast")
    assert "7 of 7 pass" in done.out
    assert server.stats.answered == 7


# -- prompts


def test_prompts_before_there_are_any(work: Cli) -> None:
    done = work("prompts", "log")
    assert (done.status, done.out) == (0, "")
    assert "no prompts yet" in done.err
    done = work("prompts", "show", "reply")
    assert done.status == 1
    assert "none is saved yet" in done.err
    assert json.loads(work("prompts", "log", "--json").out) == []
    assert not (work.folder / ".swath").exists()


def test_save_log_show_diff_promote(work: Cli) -> None:
    work.write("one.txt", "Answer the customer: {text}\n")
    work.write("two.txt", "Answer this customer: {text}\n")
    assert work("prompts", "save", "reply", "one.txt", "--tag", "first").out.startswith("reply@1 ")
    assert work("prompts", "save", "reply", "two.txt").out.startswith("reply@2 ")
    assert work("prompts", "save", "reply", "one.txt").out.startswith("reply@1 ")
    log = work("prompts", "log", "reply").out
    assert log.index("reply@2") < log.index("reply@1")
    assert "first" in log
    diff = work("prompts", "diff", "reply", "1", "2").out
    assert "Answer [-the-]{+this+} customer: {text}" in diff
    assert work("prompts", "diff", "reply", "1").out == diff
    assert "No version of 'reply' is promoted" in work("prompts", "show", "reply").err
    assert work("prompts", "promote", "reply", "2").out == "reply@2 is promoted.\n"
    shown = work("prompts", "show", "reply")
    assert shown.out == "Answer this customer: {text}\n"
    assert "reply@2, promoted" in shown.err
    facts = json.loads(work("prompts", "show", "reply@1", "--json").out)
    assert (facts["version"], facts["tags"], facts["promoted"]) == (1, ["first"], False)
    wrong = work("prompts", "promote", "reply", "7")
    assert wrong.status == 1
    assert "There are: 1, 2" in wrong.err


def test_compare_asks_only_what_changed(work: Cli, server: OpenAIServer) -> None:
    def respond(prompt: str, body: dict[str, Any]) -> str:
        wrong = "other" if "first" in system(body) else "loan"
        return wrong if prompt.endswith(("0", "3")) else route(prompt, body)

    server.respond = respond
    suite(work.folder, prompt='prompt = { name = "route", text = "The first." }')
    work("eval", "golden.toml")
    work.write("two.txt", "The second.")
    work("prompts", "save", "route", "two.txt")
    assert server.stats.answered == 20
    done = work("prompts", "compare", "route", "1", "2", "--golden", "golden.toml")
    assert done.status == 0, done.err
    assert "The [-first-]{+second+}." in done.out
    assert "20 calls, 20 answers from the store" in done.out
    assert "exact (fast): route@1 0.80, route@2 0.90; 2 rows better, 0 worse." in done.out
    assert "better: row 10, id t10 'loan 10': other → loan" in done.out
    assert server.stats.answered == 40
    again = work(
        *("prompts", "compare", "route", "1", "2", "--data", "tickets.csv", *CLASSIFY),
        *("--expected", "label", "--json"),
    )
    value = json.loads(again.out)
    assert (value["calls"], value["reused"]) == (0, 40)
    (check,) = value["checks"]
    better = {row["row"] for row in check["better"]}
    assert better == {10, 13}
    assert check["decision"]["winner"] is None
    assert server.stats.answered == 40


def test_compare_by_a_judge(work: Cli, server: OpenAIServer) -> None:
    def respond(prompt: str, body: dict[str, Any]) -> str:
        if "You grade" in system(body):
            kind = prompt.split("<answer>\n")[1]
            return json.dumps({"reason": "so", "grade": "5" if kind.startswith("polite") else "1"})
        return "polite" if "well" in prompt else "rude"

    server.respond = respond
    work.write("one.txt", "Say: {text}")
    work.write("two.txt", "Say well: {text}")
    work("prompts", "save", "say", "one.txt")
    work("prompts", "save", "say", "two.txt")
    done = work(
        *("prompts", "compare", "say", "1", "2", "--data", "tickets.csv", "--judge", "fast"),
        *("--rubric", "Is it polite?"),
    )
    assert done.status == 0, done.err
    assert "judge (fast): say@1 0.00, say@2 1.00; 20 rows better, 0 worse." in done.out
    assert "say@2 beats say@1 in 100%" in done.out


def test_try_shows_answers(work: Cli, server: OpenAIServer) -> None:
    work.write("one.txt", "Choose.")
    work("prompts", "save", "route", "one.txt")
    done = work("prompts", "try", "route@1", "--data", "tickets.csv", "-n", "2", *CLASSIFY)
    assert done.status == 0, done.err
    assert "loan 1" in done.out
    assert server.stats.answered == 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("compare", "route", "1", "1"), "--golden, or --data"),
        (("compare", "route", "1", "1", "--data", "tickets.csv"), "--expected"),
        (
            ("compare", "route", "1", "1", "--data", "tickets.csv", "--classify", "a,b"),
            "--column",
        ),
        (("suggest", "route", "--from", "x.json"), "--model"),
    ],
)
def test_wrong_usage(work: Cli, arguments: tuple[str, ...], said: str) -> None:
    work.write("one.txt", "Choose.")
    work("prompts", "save", "route", "one.txt")
    done = work("prompts", *arguments)
    assert done.status == 2
    assert said in done.err


# -- suggest


def writer(seen: list[str], prompt: str) -> Any:
    """A model that writes `prompt`, and the one it improves: it calls loans cards until told."""

    def respond(asked: str, body: dict[str, Any]) -> str:
        said = system(body)
        if "You improve prompts" in said:
            seen.append(f"{said}\n{asked}")
            return json.dumps({"why": "Loans are taken for cards.", "prompt": prompt})
        label = asked.split()[0]
        return "card" if label == "loan" and "loans" not in said else label

    return respond


def test_suggest_learns_from_seen_rows_and_is_tried_on_others(
    work: Cli, server: OpenAIServer
) -> None:
    table = tickets(work.folder, 120)
    prompts: list[str] = []
    server.respond = writer(prompts, "Choose, and mind the loans.")
    suite(work.folder, prompt='prompt = { name = "route", text = "Choose." }')
    assert work("eval", "golden.toml", "--json", "o.json").status == 1
    done = work("prompts", "suggest", "route", "--from", "o.json", "--model", "fast")
    assert done.status == 0, done.err
    assert "Loans are taken for cards." in done.out
    assert "Choose{+, and mind the loans+}." in done.out
    assert "route@2 beats route@1" in done.out
    assert "Saved as route@2, not promoted" in done.out
    facts = json.loads(work("prompts", "show", "route@2", "--json").out)
    assert (facts["promoted"], facts["tags"]) == (False, ["suggested"])
    (first,) = [json.loads(work("prompts", "show", "route@1", "--json").out)["id"]]
    assert facts["parents"] == [first]
    # The writer saw failures with their reasons, and no row that was held back.
    (asked,) = prompts
    assert "got card, expected loan" in asked
    shown = {text for text in table["text"] if f"text: {text}\n" in asked}
    tried = set(server.stats.answered_by_prompt)
    twice = {p for p, n in server.stats.answered_by_prompt.items() if n > 1}
    assert shown
    assert twice <= tried - shown
    held = {p for p in twice if p in set(table["text"])}
    assert not held & shown
    assert len(held) > 30
    again = work("prompts", "suggest", "route", "--from", "o.json", "--model", "fast")
    assert again.status == 0
    assert len(prompts) == 1
    assert "0 calls" in again.out


def test_a_suggestion_must_keep_the_columns(cli: Cli, open_session: Open, tmp_path: Path) -> None:
    from swath.evals.golden.read import read_suite
    from swath.evals.prompts.suggest import suggest

    path = tmp_path / "say.golden.toml"
    pl.DataFrame({"text": [f"text {i}" for i in range(30)]}).write_csv(tmp_path / "d.csv")
    path.write_text(
        'data = "d.csv"\n[operator]\nkind = "map"\nprompt = "Say: {text}"\n'
        '[[checks]]\nkind = "contains"\ntext = "please"\n'
    )
    written = ["Say it: {txt}", "Say please: {text}"]
    asked: list[str] = []

    def respond(prompt: str, body: dict[str, Any]) -> str:
        if "You improve prompts" in system(body):
            asked.append(prompt)
            return json.dumps({"why": "w", "prompt": written[min(len(asked), 2) - 1]})
        return "yes please" if "please" in prompt else "no"

    with serve(OpenAIServer(respond=respond)) as server:
        session = open_session(fast=server)
        parent = sw.Prompt("Say: {text}", name="say")
        found = suggest(read_suite(path), parent, model="fast", session=session)
        assert found.prompt == "Say please: {text}"
        assert len(asked) == 2  # repaired once
        assert found.seen + found.held == 30
        assert found.trial.flips[0].decision.winner == "say@2"
        assert [p.version for p in sw.prompts("say")] == [1, 2]
        with pytest.raises(sw.InputError, match="No failure to learn from"):
            suggest(read_suite(path), found.prompt, model="fast", session=session)
        written[:] = ["Say it: {txt}", "No columns"]
        asked.clear()
        with pytest.raises(sw.ProviderError, match=r"same columns|no template"):
            suggest(read_suite(path), parent, model="fast", session=session, fresh=True)
        assert len(sw.prompts("say")) == 2


def test_suggest_reads_what_a_judge_held_against_a_comparison(
    work: Cli, server: OpenAIServer
) -> None:
    prompts: list[str] = []

    def respond(asked: str, body: dict[str, Any]) -> str:
        said = system(body)
        if "You improve prompts" in said:
            prompts.append(asked)
            return json.dumps({"why": "Rude.", "prompt": "Say well: {text}"})
        if "You grade" in said:
            kind = asked.split("<answer>\n")[1]
            return json.dumps({"reason": "so", "grade": "5" if kind.startswith("fine") else "1"})
        return "fine" if "well" in asked else "rude"

    server.respond = respond
    work.write("one.txt", "Say: {text}")
    work("prompts", "save", "say", "one.txt")
    from swath.evals.comparison import AGREEMENT, BY_MODEL, ERRORS, ITEMS, VERDICTS, Comparison

    table = pl.read_csv(work.folder / "tickets.csv")
    items = [
        {
            "item_id": f"i{n}",
            "row": n,
            "instruction": "Say: {text}",
            "input": text,
            "answer_a": "rude",
            "answer_b": "kinder",
            "model_a": "fast",
            "model_b": "other",
            "reference": None,
        }
        for n, text in enumerate(table["text"])
    ]
    verdicts = [
        {
            "item_id": f"i{n}",
            "judge": "fast",
            "order": "AB",
            "verdict": "B",
            "picked_position": 2,
            "model_a": "fast",
            "model_b": "other",
            "justification": f"reason {n} was rude",
        }
        for n in range(20)
    ]
    Comparison(
        id="abc",
        name="say",
        at=0.0,
        column="say",
        operator="map(text)",
        instructions="Say: {text}",
        models=("fast", "other"),
        inputs=("text",),
        table=table.with_columns(say_fast=pl.lit("rude"), say_other=pl.lit("kinder")),
        columns={"fast": "say_fast", "other": "say_other"},
        by_model=pl.DataFrame(schema=BY_MODEL),
        agreement=pl.DataFrame(schema=AGREEMENT),
        errors=pl.DataFrame(schema=ERRORS),
        items=pl.DataFrame(items, schema=ITEMS),
        verdicts=pl.DataFrame(verdicts, schema=VERDICTS),
        settings={"judge": ["fast"]},
    ).save(work.folder / "compared")
    done = work("prompts", "suggest", "say", "--from", "compared", "--model", "fast")
    assert done.status == 0, done.err
    assert "say@2 beats say@1" in done.out
    (asked,) = prompts
    assert "was rude (Preferred to it: kinder)" in asked
    seen = {n for n, text in enumerate(table["text"]) if f"text: {text}\n" in asked}
    said = {n for n in range(20) if f"reason {n} was" in asked}
    assert said == seen
    assert 0 < len(seen) < 20
