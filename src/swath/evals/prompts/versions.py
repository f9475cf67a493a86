"""Two versions of a prompt over the same rows: what became better, what worse, and is it luck?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from swath.evals.golden.purse import Purse
from swath.evals.golden.regress import Pair, pairs
from swath.evals.golden.report import Report
from swath.evals.golden.run import scored
from swath.evals.golden.values import short
from swath.prompting.prompt import Prompt

if TYPE_CHECKING:
    from swath.evals.golden.read import Suite
    from swath.evals.stats.decide import Decision
    from swath.session import Session

NAMED = 5


@dataclass(frozen=True)
class Flips:
    """One check of one model under both versions. `better` and `worse` hold the rows whose score
    changed, the largest change first; `unanswered` counts rows without an answer under either.
    `decision` says which version wins, or that nobody can tell."""

    check: str
    model: str
    before: float
    now: float
    better: tuple[Pair, ...]
    worse: tuple[Pair, ...]
    unanswered: int
    decision: Decision


@dataclass(frozen=True)
class Versions:
    """Two versions compared. `calls` were made for it, `reused` answers were in the store: only
    what changed is asked again."""

    a: Prompt
    b: Prompt
    before: Report
    now: Report
    flips: tuple[Flips, ...]
    calls: int
    reused: int
    cost_usd: float

    def __str__(self) -> str:
        from swath.frames.explanation import dollars

        parts = [self.a.diff(self.b), *(_shown(flip, self.a, self.b) for flip in self.flips)]
        parts.append(
            f"{self.calls:,} calls, {self.reused:,} answers from the store. "
            f"{dollars(self.cost_usd)}."
        )
        return "\n\n".join(parts)

    def to_dict(self) -> dict[str, Any]:
        """For JSON: per check the means, the decision, and the rows that flipped."""
        from dataclasses import asdict

        return {
            "a": self.a.ref,
            "b": self.b.ref,
            "calls": self.calls,
            "reused": self.reused,
            "cost_usd": self.cost_usd,
            "checks": [
                {
                    "check": flip.check,
                    "model": flip.model,
                    "before": flip.before,
                    "now": flip.now,
                    "unanswered": flip.unanswered,
                    "better": [_pair(p, flip.check) for p in flip.better],
                    "worse": [_pair(p, flip.check) for p in flip.worse],
                    "decision": asdict(flip.decision),
                }
                for flip in self.flips
            ],
        }


def compare_versions(
    suite: Suite,
    a: Prompt,
    b: Prompt,
    *,
    models: Sequence[str] | None = None,
    max_cost: float | None = None,
    progress: Any = False,
    session: Session | None = None,
) -> Versions:
    """Every check of the suite under both. Needs the extra `evals`. Raises GoldenError where one of
    them names a column that the rows do not have, BudgetReached."""
    from swath.evals.stats.decide import decide  # before anything is spent
    from swath.session import current

    purse = Purse(session or current(), max_cost, progress)
    before = scored(suite, a, models, purse, free=True)
    now = scored(suite, b, models, purse, free=True)
    found = []
    for check, model in dict.fromkeys((c.check, c.model) for c in now.checks):
        both = list(pairs(now, before, check, model))
        clusters = [p.now.cluster for p in both] if suite.cluster else None
        changed = sorted(both, key=lambda pair: -abs(pair.change))
        found.append(
            Flips(
                check,
                model,
                _mean([p.before.scores[check].score for p in both]),
                _mean([p.now.scores[check].score for p in both]),
                tuple(p for p in changed if p.change > 1e-9),
                tuple(p for p in changed if p.change < -1e-9),
                sum(bool(p.before.unanswered or p.now.unanswered) for p in both),
                decide([p.change for p in both], clusters=clusters, a=a.ref, b=b.ref),
            )
        )
    total = purse.total
    return Versions(a, b, before, now, tuple(found), total.calls, total.cached, total.cost_usd)


def _mean(scores: Sequence[float | None]) -> float:
    known = [s for s in scores if s is not None]
    return sum(known) / len(known) if known else 0.0


def _shown(flip: Flips, a: Prompt, b: Prompt) -> str:
    change = f"{a.ref} {flip.before:.2f}, {b.ref} {flip.now:.2f}"
    lines = [
        f"{flip.check} ({flip.model}): {change}; {len(flip.better):,} rows better, "
        f"{len(flip.worse):,} worse.",
        flip.decision.sentence,
    ]
    if flip.unanswered:
        lines.append(f"{flip.unanswered:,} rows lack an answer, which scores 0.")
    for title, found in (("better", flip.better), ("worse", flip.worse)):
        for pair in found[:NAMED]:
            said = ", ".join(short(v, 40) for v in pair.now.input.values())
            was, now = (_answer(row) for row in (pair.before, pair.now))
            lines.append(f"  {title}: {pair.now.title} {said!r}: {was} → {now}")
            reason = (pair.now if title == "worse" else pair.before).scores[flip.check].reason
            if reason:
                lines.append(f"    {short(reason, 160)}")
        if len(found) > NAMED:
            lines.append(f"  and {len(found) - NAMED:,} more {title}")
    return "\n".join(lines)


def _answer(row: Any) -> str:
    return "(unanswered)" if row.unanswered else short(row.answer, 40)


def _pair(pair: Pair, check: str) -> dict[str, Any]:
    return {
        "row": pair.now.row,
        "id": pair.now.id,
        "input": pair.now.input,
        "before": pair.before.answer,
        "now": pair.now.answer,
        "score_before": pair.before.scores[check].score,
        "score_now": pair.now.scores[check].score,
        "reason_before": pair.before.scores[check].reason,
        "reason_now": pair.now.scores[check].reason,
    }
