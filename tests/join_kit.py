"""A scripted judge of pairs, and the Abt-Buy catalogues with their true matches."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl

DATA = Path("/work/shared/data")
STATEMENT = "One product:\nA: {left.name}\nB: {right.name}"
_SINGLE = re.compile(r"A: (.*)\nB: (.*)\Z")
_GROUP = re.compile(r"\AStatement: .*?A: (.*)\nB: \[candidate\]\n\nCandidates:\n(.*)\Z", re.DOTALL)


class Oracle:
    """Answers STATEMENT, or any that ends on lines `A: …` and `B: …`, by `holds(a, b)`. `pairs`
    counts how often each was asked about, in groups or alone."""

    def __init__(self, holds: Callable[[str, str], bool]) -> None:
        self.holds = holds
        self.pairs: dict[tuple[str, str], int] = {}
        self.calls = 0

    def __call__(self, prompt: str, body: dict[str, Any]) -> str:
        self.calls += 1
        group = _GROUP.match(prompt)
        if group:
            left = group.group(1)
            lines = [line.partition(". ") for line in group.group(2).split("\n")]
            true = [int(number) for number, _, right in lines if self._said(left, right)]
            return json.dumps({"matches": true})
        single = _SINGLE.search(prompt)
        assert single, prompt
        said = "yes" if self._said(single.group(1), single.group(2)) else "no"
        return json.dumps({"label": said}) if "response_format" in body else said

    def _said(self, left: str, right: str) -> bool:
        self.pairs[left, right] = self.pairs.get((left, right), 0) + 1
        return self.holds(left, right)


def abt_buy() -> tuple[pl.DataFrame, pl.DataFrame, set[tuple[int, int]]]:
    """The two catalogues (id, name, …) and the pairs of ids that are one product."""
    left, right, pairs = (
        pl.read_csv(DATA / f"products_{name}.csv", encoding="latin1", infer_schema_length=None)
        for name in ("abt", "buy", "abt_buy_perfect_mapping")
    )
    return left, right, {(a, b) for a, b in pairs.rows()}


def names_of(
    left: pl.DataFrame, right: pl.DataFrame, true: set[tuple[int, int]]
) -> set[tuple[str, str]]:
    """The true pairs by name."""
    a, b = dict(left.select("id", "name").rows()), dict(right.select("id", "name").rows())
    return {(a[i], b[j]) for i, j in true}
