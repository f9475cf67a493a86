"""Joins on what a model says: pairs found, pairs asked about, calls: `python -m benchmarks.joins`

The judges are scripted by the data's own truth and never err, so the figures are those of the
plan: which pairs it leaves out, and how many calls it takes. Abt-Buy's two catalogues (1,081 and
1,092 products) are matched by name; 256 film reviews are joined with themselves where the
sentiment is the same. Another system is one more entry of MATCHERS.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import polars as pl

import swath as sw
from benchmarks import _report
from tests.join_kit import (
    SENTIMENT,
    STATEMENT,
    Oracle,
    Sentiments,
    abt_buy,
    names_of,
    reviews,
)
from tests.servers import OpenAIServer, serve

Pairs = set[tuple[Any, Any]]


@dataclass
class Result:
    """The pairs of ids that were found, the questions it took, and what was said of the recall."""

    pairs: Pairs
    calls: int
    tokens: int
    seconds: float
    said: str = ""


Matcher = Callable[[str, pl.DataFrame, pl.DataFrame], Result]
"""(base url of the judge, left, right) -> what a system finds. Columns: id, and name or text."""


def matched(on: Callable[[], Any]) -> Matcher:
    """Swath, joining on what `on` gives."""

    def run(url: str, left: pl.DataFrame, right: pl.DataFrame) -> Result:
        model = {"provider": "openai", "model": "judge", "base_url": url, "concurrency": 64}
        with tempfile.TemporaryDirectory() as folder:
            config = {"models": {"judge": model}, "store": f"sqlite:///{folder}/swath.db"}
            with sw.Session(config, check=False) as session:
                frame = sw.frame(left).join(right, on=on())
                done = frame.run(session=session, progress=False)
        asked = done.by_model["judge"]
        said = [note.partition("pairs: ")[2] for note in done.notes if "estimated share" in note]
        said = [note.partition("true pairs: ")[2] for note in said]
        return Result(
            set(done.table.select("id", "id_right").rows()),
            asked.calls,
            asked.input_tokens + asked.output_tokens,
            done.metrics.seconds,
            said[0] if said else "",
        )

    return run


MATCHERS: dict[str, Matcher] = {
    "one pair a call": matched(lambda: sw.join(STATEMENT, pairs_per_call=1)),
    "several a call": matched(lambda: sw.join(STATEMENT)),
    "several, letters alone": matched(lambda: sw.join(STATEMENT, candidates="lexical")),
    "several, vectors alone": matched(lambda: sw.join(STATEMENT, candidates="embedding")),
}
SELF_MATCHERS: dict[str, Matcher] = {
    "sw.same(classify)": matched(lambda: sw.same(sw.classify("text", ["positive", "negative"]))),
    "sw.join, found out by itself": matched(lambda: sw.join(SENTIMENT)),
    "sw.join, pairs, no rewrite": matched(
        lambda: sw.join(SENTIMENT, rewrite=False, candidates="all")
    ),
}


def quality(found: Pairs, true: Pairs) -> list[str]:
    """Precision, recall, F1."""
    hits = len(found & true)
    precision, recall = hits / max(len(found), 1), hits / max(len(true), 1)
    f1 = 2 * hits / max(len(found) + len(true), 1)
    return [f"{precision:.4f}", f"{recall:.4f}", f"{f1:.4f}"]


def products() -> None:
    left, right, true = abt_buy()
    names = names_of(left, right, true)
    total = left.height * right.height
    _report.heading(
        "Abt-Buy by name",
        f"{left.height:,} x {right.height:,} = {total:,} pairs, {len(true):,} of them true. The "
        "judge knows the mapping by name: products of one name cannot be told apart, which is "
        "what precision lacks.",
    )
    rows = []
    for name, matcher in MATCHERS.items():
        oracle = Oracle(lambda a, b: (a, b) in names)
        with serve(OpenAIServer(respond=oracle)) as server:
            found = matcher(server.base_url, left.select("id", "name"), right.select("id", "name"))
        share = f"{len(oracle.pairs) / total:.2%}"
        row = [name, share, f"{found.calls:,}", f"{found.tokens:,}", f"{found.seconds:.1f}"]
        rows.append([*row, *quality(found.pairs, true), found.said])
    columns = ["asked about", "calls", "tokens", "seconds", "precision", "recall", "F1"]
    _report.table(["Abt-Buy", *columns, "recall as estimated"], rows)


def sentiments() -> None:
    table = reviews(256)
    ids = table.join(table, on="label").select("id", "id_right")
    true = {pair for pair in ids.rows() if pair[0] != pair[1]}
    _report.heading(
        "Same sentiment, 256 reviews with themselves", "65,280 ordered pairs of two reviews."
    )
    rows = []
    for name, matcher in SELF_MATCHERS.items():
        with serve(OpenAIServer(respond=Sentiments(table))) as server:
            found = matcher(server.base_url, table, table)
        pairs = {pair for pair in found.pairs if pair[0] != pair[1]}
        row = [name, f"{found.calls:,}", f"{found.tokens:,}", f"{found.seconds:.1f}"]
        rows.append([*row, *quality(pairs, true)])
    _report.table(["reviews", "calls", "tokens", "seconds", "precision", "recall", "F1"], rows)


def vectors(rows: int) -> None:
    import numpy as np

    from swath.operators.nearest import nearest

    draw = np.random.default_rng(0)
    a, b = (draw.normal(size=(rows, 384)).astype(np.float32) for _ in range(2))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    nearest(a, b, 10)
    took = time.perf_counter() - start
    more = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    _report.heading("Ten nearest of each vector, exactly")
    whole = rows * rows * 4 / 2**20
    _report.table(
        ["vectors of 384", "seconds", "more memory", "all similarities would take"],
        [[f"{rows:,} x {rows:,}", f"{took:.1f}", f"{more:,.0f} MB", f"{whole:,.0f} MB"]],
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--vectors", type=int, default=20_000, help="a side, of the last table")
    chosen = parser.parse_args()
    print(f"{_report.machine()}. {_report.versions('swath', 'polars', 'numpy', 'scikit-learn')}")
    products()
    sentiments()
    vectors(chosen.vectors)


if __name__ == "__main__":
    main()
