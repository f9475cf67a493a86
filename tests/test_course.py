"""docs/course.md does what it says: its blocks are run in order, on local models."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import polars as pl
import pytest

import swath as sw
from swath.errors import WeightsError
from swath.local import weights

pytestmark = [pytest.mark.local, pytest.mark.slow]
if find_spec("xllamacpp") is None:
    pytest.skip("the extra 'local' is not installed", allow_module_level=True)

PAGE = Path(__file__).parent.parent / "docs" / "course.md"
KEEP = os.environ.get("SWATH_COURSE_OUT")  # a folder for what the blocks print, to be shown
_BLOCK = re.compile(
    r"(?:^<!-- (?P<said>(?:keys|status): [^\n]*) -->\n)?^```(?P<kind>toml|python|bash)\n"
    r"(?P<text>.*?)^```\n(?:\n<!-- output: (?P<name>\w+) -->\n(?:```text\n(?P<shown>.*?)^```\n)?)?",
    re.DOTALL | re.MULTILINE,
)


class Block(NamedTuple):
    kind: str
    text: str
    keys: str
    statuses: tuple[int, ...]
    name: str
    shown: str


def blocks() -> Iterator[Block]:
    for found in _BLOCK.finditer(PAGE.read_text("utf-8")):
        what, _, value = (found["said"] or "").partition(": ")
        yield Block(
            found["kind"],
            found["text"],
            "\n".join(value.split()) + "\n" if what == "keys" else "",
            tuple(map(int, value.split())) if what == "status" else (0,),
            found["name"] or "",
            found["shown"] or "",
        )


def run(block: Block, folder: Path) -> str:
    """What it prints; a block whose first line names a file is that file."""
    named = re.match(r"# (\w+\.\w+)\n", block.text)
    if named:
        (folder / named[1]).write_text(block.text, "utf-8")
        return ""
    command = [sys.executable, "-c"] if block.kind == "python" else ["bash", "-ec"]
    env = {**os.environ, "PYTHONPATH": "", "COLUMNS": "80", "NO_COLOR": "1"}
    env["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        [*command, block.text],
        cwd=folder,
        env=env,
        input=block.keys,
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode in block.statuses, f"{block.text}\n{done.stdout}{done.stderr}"
    if KEEP:
        (Path(KEEP) / f"{block.name or 'other'}.txt").write_text(
            f"{done.stdout}\n--- stderr\n{done.stderr}", "utf-8"
        )
    return done.stdout


def headings(text: str) -> list[str]:
    """What a screen of a comparison is divided into."""
    return re.findall(r"^(?:Agreement|Judged|Decided)", text, re.MULTILINE)


def test_the_page_runs_in_order(tmp_path: Path) -> None:
    for name in ("smollm2-135m", weights.DEFAULT_CHAT, "qwen2.5-coder-1.5b"):
        try:
            weights.pull(name)
        except WeightsError as error:
            pytest.skip(f"{name} is not to be had here: {error}")
    said = {}
    for block in blocks():
        out = run(block, tmp_path)
        if block.name:
            said[block.name] = out
            assert KEEP or headings(out) == headings(block.shown), block.name

    # The first comparison: three models, both orders, reasons, a report.
    first = sw.Comparison.load(tmp_path / "first")
    assert first.by_model["ok"].to_list() == [6, 6]
    assert first.by_model["schema_valid"].to_list() == [1.0, 1.0]
    assert first.verdicts is not None
    assert first.items is not None
    asked = first.items.filter(pl.col("answer_a") != pl.col("answer_b"))
    assert first.verdicts.height == 2 * first.items.height
    reasons = first.verdicts.join(asked, on="item_id")["justification"]
    assert reasons.str.len_chars().min() > 0
    assert first.trust is not None
    assert first.trust.usable is not True  # of a judge this small, with six labels at most
    assert "<script" in (tmp_path / "report.html").read_text("utf-8")
    for row in first.table.iter_rows(named=True):
        for column in first.columns.values():
            assert row[column]["quote"].strip() in row["speech"]

    # The other door finds every answer in the store, and the labels are kept.
    again = sw.Comparison.load(tmp_path / "again")
    assert again.by_model["cached"].to_list() == [6, 6]
    assert KEEP or first.human is not None
    assert first.decisions[0].sentence.startswith(("By ", "No "))

    # Version 2 is promoted, and made the arguments, within the budget.
    with sw.Session(tmp_path / "swath.toml"):
        assert sw.prompt("argument").version == 2
        assert sw.prompt("argument").tags == ("short",)
    assert "argument@2" in said["versions"]
    assert "done: 12 rows, 0 failed" in said["scale"]
    table = pl.read_parquet(tmp_path / "arguments.parquet")
    assert table.height == 12
    assert table["argument"].struct.field("claim").null_count() == 0
