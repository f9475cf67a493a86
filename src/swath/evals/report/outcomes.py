"""What each pair of answers came to: one verdict a pair, from however many were given."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import polars as pl

    from swath.evals.comparison import Comparison


@dataclass(frozen=True)
class Outcome:
    """One item: two answers to one row. `verdict` is A, B, tie, or None where none can be read;
    `split`: a judge said otherwise in the other order; `label`: what most people said."""

    id: str
    row: int
    a: str
    b: str
    verdict: str | None
    split: bool
    label: str | None
    verdicts: tuple[dict[str, Any], ...]
    labels: tuple[dict[str, Any], ...]

    @property
    def against_labels(self) -> bool:
        """Whether the judge and the labels say different things."""
        said = any(each["verdict"] is not None for each in self.verdicts)
        return said and self.label is not None and self.label != self.verdict


def outcomes(comparison: Comparison) -> list[Outcome]:
    """One outcome an item, in the items' order."""
    if comparison.items is None:
        return []
    labels, verdicts = _by_item(comparison.human), _by_item(comparison.verdicts)
    settled = _by_item(_settled(comparison))
    return [
        _outcome(item, *(table.get(item["item_id"], []) for table in (verdicts, settled, labels)))
        for item in comparison.items.to_dicts()
    ]


def _settled(comparison: Comparison) -> pl.DataFrame | None:
    """One verdict an item and judge, of both orders."""
    if comparison.verdicts is None or not len(comparison.verdicts):
        return None
    from swath.evals.stats.position import settle

    return settle(comparison.verdicts)


def _by_item(table: pl.DataFrame | None) -> dict[str, list[dict[str, Any]]]:
    grouped: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in () if table is None else table.to_dicts():
        grouped[row["item_id"]].append(row)
    return grouped


def _outcome(
    item: dict[str, Any],
    verdicts: list[dict[str, Any]],
    settled: list[dict[str, Any]],
    labels: list[dict[str, Any]],
) -> Outcome:
    by_judge: dict[str, set[str]] = defaultdict(set)
    for each in verdicts:
        if each["verdict"] is not None:
            by_judge[each["judge"]].add(each["verdict"])
    label = most(each["label"] for each in labels)
    return Outcome(
        id=item["item_id"],
        row=item["row"],
        a=item["model_a"],
        b=item["model_b"],
        verdict=most(each["verdict"] for each in settled) if verdicts else label,
        split=any(len(some) > 1 for some in by_judge.values()),
        label=label,
        verdicts=tuple(verdicts),
        labels=tuple(labels),
    )


def most(votes: Iterable[str | None]) -> str | None:
    """What more say than anything else; a tie where none is ahead; None without a vote."""
    counts = Counter(vote for vote in votes if vote is not None).most_common(2)
    if not counts:
        return None
    return "tie" if len(counts) == 2 and counts[0][1] == counts[1][1] else counts[0][0]
