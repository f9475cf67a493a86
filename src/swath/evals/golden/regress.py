"""Is it worse than before? Paired over the same rows, so that noise fails no build."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from swath.errors import InputError
from swath.evals.golden.paired import difference_interval, holm, worse
from swath.evals.golden.report import Regression, Report, RowResult
from swath.evals.golden.text import sentence


class Pair(NamedTuple):
    """A row before and now; `change` is the difference of its scores."""

    before: RowResult
    now: RowResult
    change: float


def regressions(now: Report, before: Report, against: str) -> list[Regression]:
    """Every check that both have, by model. Raises InputError where they share nothing."""
    found = [
        _one(check, model, list(pairs(now, before, check, model)), against)
        for check, model in dict.fromkeys((c.check, c.model) for c in now.checks)
    ]
    kept = [one for one in found if one.rows]
    if not kept:
        raise InputError(
            f"{against} shares no row and check with this evaluation.",
            hint="Rows are compared where input and label are the same, checks by their name.",
        )
    held = holm([one.p for one in kept])
    told = [msgspec.structs.replace(r, regressed=lost) for r, lost in zip(kept, held, strict=True)]
    return [msgspec.structs.replace(r, sentence=sentence(r)) for r in told]


def pairs(now: Report, before: Report, check: str, model: str) -> Iterator[Pair]:
    """Rows of the same content under the same model; under another one, where `before` knows only
    one and it is not this."""
    other = model if model in before.models or len(before.models) > 1 else before.models[0]
    old = {row.key: row for row in before.rows if row.model == other}
    for row in now.rows:
        was = old.get(row.key)
        if row.model != model or was is None:
            continue
        a, b = was.scores.get(check), row.scores.get(check)
        if a is None or b is None or a.score is None or b.score is None:
            continue
        yield Pair(was, row, b.score - a.score)


def _one(check: str, model: str, found: list[Pair], against: str) -> Regression:
    changes = [pair.change for pair in found]
    clusters = [pair.now.cluster for pair in found] if any(p.now.cluster for p in found) else None
    n = max(len(found), 1)
    return Regression(
        check=check,
        model=model,
        against=against,
        rows=len(found),
        before=sum(p.before.scores[check].score or 0.0 for p in found) / n,
        now=sum(p.now.scores[check].score or 0.0 for p in found) / n,
        difference=difference_interval(changes, clusters),
        p=worse(changes, clusters),
        regressed=False,
        improved=tuple(p.now.row for p in found if p.change > 1e-9),
        worsened=tuple(p.now.row for p in found if p.change < -1e-9),
        sentence="",
    )
