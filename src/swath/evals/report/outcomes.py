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
    """One item: two answers to one row. `cluster`: the unit of evidence. `judged`: A, B, tie, or
    None where the judge said nothing that can be read; `split`: a judge said otherwise in the other
    order; `label`: what most people said."""

    id: str
    row: int
    cluster: str
    a: str
    b: str
    judged: str | None
    split: bool
    label: str | None
    verdicts: tuple[dict[str, Any], ...]
    labels: tuple[dict[str, Any], ...]

    @property
    def verdict(self) -> str | None:
        """The judge's; people's where no judge was asked."""
        return self.judged if self.verdicts or self.judged else self.label

    @property
    def against_labels(self) -> bool:
        """Whether the judge and the labels say different things."""
        return self.judged is not None and self.label is not None and self.label != self.judged


def outcomes(comparison: Comparison) -> list[Outcome]:
    """One outcome an item, in the items' order."""
    if comparison.items is None:
        return []
    labels, verdicts = _by_item(comparison.human), _by_item(comparison.verdicts)
    judged = _judged(comparison)
    found = []
    for item in comparison.items.to_dicts():
        key = item["item_id"]
        own = verdicts.get(key, [])
        label = most(each["label"] for each in labels.get(key, []))
        found.append(
            Outcome(
                id=key,
                row=item["row"],
                cluster=item["cluster"] or str(item["row"]),
                a=item["model_a"],
                b=item["model_b"],
                judged=judged.get(key),
                split=_split(own),
                label=label,
                verdicts=tuple(own),
                labels=tuple(labels.get(key, [])),
            )
        )
    return found


def _judged(comparison: Comparison) -> dict[str, str | None]:
    """What the judge (the jury, where there are several) makes of each item."""
    if comparison.trust is None or (comparison.verdicts is None and comparison.scores is None):
        return {}
    from swath.evals.concluding import opinions

    return dict(
        opinions(comparison, comparison.trust.judge).select("item_id", "verdict").iter_rows()
    )


def _by_item(table: pl.DataFrame | None) -> dict[str, list[dict[str, Any]]]:
    grouped: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in () if table is None else table.to_dicts():
        grouped[row["item_id"]].append(row)
    return grouped


def _split(verdicts: Iterable[dict[str, Any]]) -> bool:
    """Whether a judge said one thing in one order and another in the other."""
    by_judge: dict[str, set[str]] = defaultdict(set)
    for each in verdicts:
        if each["verdict"] is not None:
            by_judge[each["judge"]].add(each["verdict"])
    return any(len(said) > 1 for said in by_judge.values())


def most(votes: Iterable[str | None]) -> str | None:
    """What more say than anything else; a tie where none is ahead; None without a vote."""
    counts = Counter(vote for vote in votes if vote is not None).most_common(2)
    if not counts:
        return None
    return "tie" if len(counts) == 2 and counts[0][1] == counts[1][1] else counts[0][0]
