"""Scripted judges of pairs, and the data they judge by: Abt-Buy, film reviews."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import polars as pl

from tests.data_kit import data

SENTIMENT = "Both reviews express the same sentiment.\nFirst: {left.text}\nSecond: {right.text}"
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
        pl.read_csv(data(f"products_{name}.csv"), encoding="latin1", infer_schema_length=None)
        for name in ("abt", "buy", "abt_buy_perfect_mapping")
    )
    return left, right, {(a, b) for a, b in pairs.rows()}


def names_of(
    left: pl.DataFrame, right: pl.DataFrame, true: set[tuple[int, int]]
) -> set[tuple[str, str]]:
    """The true pairs by name."""
    a, b = dict(left.select("id", "name").rows()), dict(right.select("id", "name").rows())
    return {(a[i], b[j]) for i, j in true}


def reviews(n: int) -> pl.DataFrame:
    """Film reviews (id, text, label), each text once."""
    return pl.read_csv(data("reviews_polarity.csv")).unique("text", maintain_order=True).head(n)


class Sentiments:
    """Answers by the true labels: labels, statements about pairs, and what the statement compares.
    `direct`: what it says of a pair, given whether their labels are equal."""

    def __init__(self, table: pl.DataFrame, separable: bool = True, direct: Any = bool) -> None:
        self.label = dict(table.select("text", "label").rows())
        self.separable = separable
        self.direct = direct
        self.calls = 0

    def __call__(self, prompt: str, body: dict[str, Any]) -> str:
        self.calls += 1
        if prompt.startswith("Statement: ") and "[A]" in prompt:
            return json.dumps(
                {
                    "one_property": self.separable,
                    "question": "What sentiment does the review express?",
                    "values": ["positive", "negative"],
                }
            )
        if prompt in self.label:
            return json.dumps({"label": self.label[prompt]})
        if "Candidates:" in prompt:
            head, _, rest = prompt.partition("\n\nCandidates:\n")
            mine = self.label[head.partition("First: ")[2].partition("\nSecond: ")[0]]
            lines = [line.partition(". ") for line in rest.split("\n")]
            true = [int(n) for n, _, text in lines if self.direct(self.label[text] == mine)]
            return json.dumps({"matches": true})
        a, b = prompt.partition("First: ")[2].split("\nSecond: ")
        holds = self.direct(self.label[a] == self.label[b])
        return json.dumps({"label": "yes" if holds else "no"})
