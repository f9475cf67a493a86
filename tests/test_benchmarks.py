"""The benchmarks of the operators and of the large plan run, and measure what they say."""

from __future__ import annotations

import subprocess
import sys
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import swath as sw
from benchmarks import _operators_data as data
from benchmarks import _operators_truth as truth
from benchmarks import million
from tests.servers import OpenAIServer, serve

ROOT = Path(__file__).parents[1]
ROWS = {"join": 25, "top-k": 40, "self-join": 24}

try:
    data.folder()
except SystemExit as missing:
    pytest.skip(str(missing), allow_module_level=True)


def fields_of(name: str) -> dict[str, Any]:
    schema = {"type": "object", "properties": {name: {}}}
    return {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}


def answers(task: str, rows: int, folder: Path) -> tuple[list[Any], int]:
    """What Swath's contender answers, and how many calls it took."""
    from benchmarks._operators_swath import TASKS

    respond: Callable[..., Any] = getattr(truth, truth.HOOKS[task])
    with serve(OpenAIServer(respond=respond)) as server:
        model = {"provider": "openai", "model": "gpt-4.1-nano", "base_url": server.base_url}
        store = f"sqlite:///{folder}/{task}.db"
        config = {"models": {"m": model}, "default_model": "m", "store": store}
        with sw.Session(config, check=False):
            found = TASKS[task](Namespace(task=task, rows=rows, k=data.K))
        return found, server.stats.answered


@pytest.mark.parametrize("task", data.MEASURES)
def test_every_task_is_answered_rightly_and_scored(task: str, tmp_path: Path) -> None:
    rows = ROWS.get(task, 30)
    found, calls = answers(task, rows, tmp_path)
    assert data.quality(task, rows, found) == 1
    left, right = data.sides(rows)
    pairs = {"join": len(left) * len(right), "top-k": rows * (rows - 1) // 2}
    assert calls == rows if task not in pairs else calls < pairs[task] / 4
    assert data.quality(task, rows, found[: len(found) // 2]) < 1


def test_a_wrong_answer_costs_quality() -> None:
    texts = data.texts("map", 10)
    said = [[text, data.heading(text)] for text in texts]
    said[3][1] = "something else"
    assert data.quality("map", 10, said) == pytest.approx(0.9)
    kept = [text for text in data.texts("predicate", 40) if not data.about_card()[text]]
    assert data.quality("predicate", 40, kept) == 0


@pytest.mark.parametrize(
    ("system", "body", "answer"),
    [
        ("The answer should be either True or False", {}, "Answer: True"),
        ("", {"response_format": fields_of("output")}, '{"output": true}'),
        ("", {"response_format": fields_of("label")}, '{"label": "yes"}'),
        ("", {}, "yes"),
    ],
)
def test_each_system_is_answered_in_its_own_form(system: str, body: Any, answer: str) -> None:
    text = next(text for text, card in data.about_card().items() if card)
    said = {"messages": [{"role": "system", "content": system}], **body}
    for prompt in (text, f"Context:\n[Text]: «{text}»\n\nClaim: so", f"About a card: {text}"):
        assert truth.predicate(prompt, said) == answer


def test_the_large_plan_takes_nothing_but_stored_answers(tmp_path: Path) -> None:
    million.work("fill", tmp_path, 1_500, None)
    for role in ("write", "group"):
        million.work(role, tmp_path, 1_500, None)


@pytest.mark.slow
def test_the_tables_are_printed() -> None:
    sizes = ["--rows", "20", "--join", "8", "--top", "20", "--self-join", "16"]
    command = [sys.executable, "-m", "benchmarks.operators", "--no-peers", *sizes]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    lines = [line.strip("| ") for line in done.stdout.splitlines() if line.startswith("| ")]
    rows = [[cell.strip() for cell in line.split("|")] for line in lines]
    assert [row[0] for row in rows[1:6]] == list(data.TASKS)
    assert {row[-1] for row in rows[1:6]} == {"1.000"}
    assert next(row for row in rows[6:] if row[0] == "swath")[:2] == ["swath", "16"]
