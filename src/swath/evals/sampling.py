"""Which rows are compared: a seeded random sample, or one that keeps the shares of a column."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from swath.errors import InputError
from swath.frames import Frame
from swath.frames.plan import Rows, Step
from swath.operators.template import missing


def sample(frame: Frame, n: int | None, by: str | Sequence[str] | None, seed: int) -> Frame:
    """`n` rows in their order, the same for the same seed; all of them where `n` is None.

    With `by`, each distinct value of those columns gets its share of `n`, to within a row."""
    names = [] if by is None else [by] if isinstance(by, str) else list(by)
    for name in names:
        if name not in frame.schema:
            raise missing(name, frame.columns)
    if n is None:
        return frame
    if n < 1:
        raise InputError(f"A sample of {n} rows has nothing to compare.", hint="Give n=50 or so.")
    if not names:
        return frame.sample(n, seed=seed)
    return frame.then(_stratified(n, names, seed))


def _stratified(n: int, names: list[str], seed: int) -> Step:
    """Systematic sampling (Madow 1949): rows of a stratum of size N stand at (rank + start) / N,
    in random order and with a random start, and the n lowest places are taken."""
    rank = pl.int_range(pl.len()).shuffle(seed=seed).over(names)
    # The start differs by stratum and seed: else small strata would win every tie, or lose it.
    start = pl.struct(names).hash(seed=seed).cast(pl.Float64) / 2.0**64
    place = (rank + start) / pl.len().over(names)
    chosen = place.rank("ordinal") <= n
    return Step(
        kind="sample",
        text=f"{n} by {', '.join(names)}",
        apply=lambda table, _: table.filter(chosen),
        reads=frozenset(names),
        rows=Rows.SUBSET,
        most=n,
    )
