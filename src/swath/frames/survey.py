"""What can be learned of a source cheaply: how many rows, and a sample spread over them."""

from __future__ import annotations

import time
from dataclasses import dataclass

import polars as pl

from swath.frames.plan import Plan

EXACT_ROWS = 2000  # up to so many rows, all of them are the sample
PATIENCE = 2.0  # seconds that counting may take


@dataclass(frozen=True)
class Survey:
    """`rows` is None where counting took too long and nothing tells; `counted` says whether it is
    a count or a guess. `sample` is spread evenly over the rows where they were counted."""

    rows: int | None
    counted: bool
    sample: pl.DataFrame

    @property
    def exact(self) -> bool:
        return self.counted and self.sample.height == self.rows


def survey(table: pl.LazyFrame, plan: Plan, wanted: int) -> Survey:
    """Blocks on Polars: call it off the session's loop. Raises Polars' errors."""
    rows = count(table)
    if rows is not None:
        if rows <= wanted:
            return Survey(rows, True, table.collect(engine="streaming"))
        step = -(-rows // wanted)
        sample = table.gather_every(step).collect(engine="streaming")
        return Survey(rows, True, sample)
    sample = table.head(wanted).collect(engine="streaming")
    if plan.source.size is None or not sample.height:
        return Survey(None, False, sample)
    # The file's bytes per row are not known without reading it; those in memory are near enough.
    width = max(sample.estimated_size() / sample.height, 1.0)
    return Survey(int(plan.source.size / width), False, sample)


def count(table: pl.LazyFrame, patience: float = PATIENCE) -> int | None:
    """How many rows, or None where counting takes longer than `patience` seconds."""
    query = table.select(pl.len()).collect(engine="streaming", background=True)
    end = time.monotonic() + patience
    pause = 0.0005
    while time.monotonic() < end:
        result = query.fetch()
        if result is not None:
            return int(result.item())
        time.sleep(pause)
        pause = min(pause * 2, 0.05)
    query.cancel()
    return None
