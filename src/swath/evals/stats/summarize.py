"""All of it over groups of a verdict file: what `swath judge stats` writes.

docs/statistics.md defines each figure.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, is_dataclass
from datetime import date, time
from decimal import Decimal
from typing import Any, NamedTuple

import polars as pl

from swath.errors import ColumnNotFound, InputError, listing
from swath.evals.stats.agreement import beside, experts, human_with_human, table_kappa
from swath.evals.stats.corrected import corrected_of
from swath.evals.stats.decide import Decision, decide_of
from swath.evals.stats.estimate import RESAMPLES, Estimate
from swath.evals.stats.favour import SelfPreference, self_preference_of
from swath.evals.stats.length import length_controlled_of
from swath.evals.stats.pairwise import votes_of, win_rates_of
from swath.evals.stats.position import first_rate_of, order_agreement_of, rate_by_unit
from swath.evals.stats.ppi import Corrected
from swath.evals.stats.strength import bradley_terry_of
from swath.evals.stats.tables import (
    item_table,
    label_table,
    majority,
    verdict_table,
    with_items,
    with_unit,
)
from swath.evals.stats.trust import Trust, judge_trust

FIGURES = (
    "n",
    "unparsed",
    "first_rate",
    "order_agreement",
    "accuracy",
    "human_agreement",
    "human_kappa",
    "win_rate",
    "bradley_terry",
    "ppi",
    "more",
)


class _Group(NamedTuple):
    """The rows of one group with what several figures stand on: the labels of its items, verdict
    beside gold and verdict beside label (columns verdict, label, same), or None."""

    rows: pl.DataFrame
    labels: pl.DataFrame | None
    gold: pl.DataFrame | None
    pairs: pl.DataFrame | None
    unit: str | None
    draw: tuple[int, int]  # resamples, seed

    def rate(self, table: pl.DataFrame | None) -> Estimate | None:
        return None if table is None else rate_by_unit(table, pl.col("same"), *self.draw)


def summarize(
    verdicts: pl.DataFrame,
    items: pl.DataFrame | None = None,
    human: pl.DataFrame | None = None,
    by: Sequence[str] = (),
    *,
    unit: str | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """One dict a group of `by` (columns of the verdicts or items; none: one group), in the order of
    its values: those values, then `n` (items), `unparsed` (verdicts) and the other `FIGURES`, each
    None where the data does not allow it. `more` holds intervals, what stands beside the figures,
    and whether the judge may be used. Labels of other items leave what needs labels None. Ready for
    JSON.

    `unit` names the column whose values are resampled; else `cluster`, `prompt_id` or `question_id`
    where there is one, else the item. Raises InputError for unusable tables.
    """
    labels = None if human is None else label_table(human)
    table = with_items(verdict_table(verdicts), None if items is None else item_table(items))
    by = list(dict.fromkeys(by))
    _known(by, table)
    table = with_unit(table, unit)
    found = []
    for values, rows in _groups(table, by):
        group = _group(rows, labels, unit, (resamples, seed))
        found.append({key: _plain(value) for key, value in (values | _figures(group)).items()})
    return found


def _group(
    rows: pl.DataFrame, labels: pl.DataFrame | None, unit: str | None, draw: tuple[int, int]
) -> _Group:
    if labels is not None:
        labels = labels.join(rows.select("item_id").unique(), on="item_id", how="semi")
        labels = labels if labels.height else None
    gold = None
    if "gold" in rows.columns and rows["gold"].null_count() < rows.height:
        same = (pl.col("verdict") == pl.col("gold")).fill_null(False)  # unparsed is not right
        gold = rows.filter(pl.col("gold").is_not_null()).select(
            "item_id", "_unit", "verdict", label="gold", same=same
        )
    pairs = None if labels is None else beside(rows, experts(labels))
    return _Group(rows, labels, gold, pairs, unit, draw)


def _figures(group: _Group) -> dict[str, Any]:
    """In the order of FIGURES."""
    rows = group.rows
    first, orders = first_rate_of(rows, *group.draw), order_agreement_of(rows, *group.draw)
    accuracy, agreement = group.rate(group.gold), group.rate(group.pairs)
    models = _models(group)
    ppi: dict[str, Corrected] | None = models["ppi"]
    people = _people(group)
    intervals = {
        "first_rate": first,
        "order_agreement": orders,
        "accuracy": accuracy,
        "human_agreement": agreement,
    }
    favour = _favour(group)
    found: dict[str, Any] = {
        "n": rows["item_id"].n_unique(),
        "unparsed": rows["verdict"].null_count(),
        **{name: _value(estimate) for name, estimate in intervals.items()},
        "human_kappa": None if group.pairs is None else table_kappa(group.pairs),
        "win_rate": models["win_rate"],
        "bradley_terry": models["bradley_terry"],
        "ppi": ppi and {model: _bare(one) for model, one in ppi.items()},
    }
    trust = _trust(group, found, people, first, favour)
    found["more"] = {
        "verdicts": rows.height,
        "units": rows["_unit"].n_unique(),
        "intervals": intervals,
        "gold_kappa": None if group.gold is None else table_kappa(group.gold),
        **people,
        "labels_alone": ppi and {model: _bare(one.labels) for model, one in ppi.items()},
        "ppi_notes": ppi and {model: one.sentence for model, one in ppi.items()},
        "length_controlled": _length(group),
        "decision": _decision(group, models),
        "self_preference": favour,
        "usable": trust and trust.usable,
        "trust": trust and trust.sentence,
    }
    return found


def _models(group: _Group) -> dict[str, Any]:
    """Win rate, Bradley-Terry and PPI by model; None without models."""
    none = dict.fromkeys(("win_rate", "bradley_terry", "ppi"))
    if not {"model_a", "model_b"} <= set(group.rows.columns):
        return none
    cast = votes_of(group.rows)
    if not cast.units:
        return none
    corrected: dict[str, Corrected] = {}
    if group.labels is not None:
        # Labels are a random sample of items, unless the user names another unit.
        sampled = with_unit(group.rows, group.unit or "item_id")
        clustered = group.unit not in (None, "item_id")
        corrected = corrected_of(sampled, group.labels, clustered=clustered)
    return {
        "win_rate": win_rates_of(cast, *group.draw),
        "bradley_terry": bradley_terry_of(cast, *group.draw) or None,
        "ppi": corrected or None,
    }


def _decision(group: _Group, models: dict[str, Any]) -> Decision | None:
    """Where the group is about two models."""
    names = sorted(models["win_rate"] or ())
    if len(names) != 2:
        return None
    sides = [pl.col(side).cast(pl.String) for side in ("model_a", "model_b")]
    return decide_of(group.rows.with_columns(sides), *names)


def _people(group: _Group) -> dict[str, Any]:
    """How the judge stands to the label that most people gave, and people to one another."""
    if group.labels is None:
        return dict.fromkeys(
            ("labelled", "majority_agreement", "majority_kappa", "label_with_label")
        )
    top = beside(group.rows, majority(group.labels))
    each = human_with_human(experts(group.labels))
    return {
        "labelled": group.labels["item_id"].n_unique(),
        "majority_agreement": top["same"].mean(),
        "majority_kappa": table_kappa(top),
        "label_with_label": each["same"].mean() if each.height else None,
    }


def _length(group: _Group) -> dict[str, Estimate] | None:
    kinds = group.rows.schema
    texts = all(kinds.get(column) == pl.String for column in ("answer_a", "answer_b"))
    if not texts or not {"model_a", "model_b"} <= set(kinds):
        return None
    controlled = length_controlled_of(group.rows, *group.draw)
    return None if controlled is None else controlled.rates


def _judge(group: _Group) -> str | None:
    """The group's one judge; None where there are several."""
    if "judge" not in group.rows.columns:
        return ""
    names = group.rows["judge"].unique()
    return str(names[0]) if len(names) == 1 else None


def _contestant(group: _Group) -> bool:
    """Whether the judge is also one of the models, by name."""
    sides = [c for c in ("model_a", "model_b") if c in group.rows.columns]
    judge = _judge(group)
    return any((group.rows[side].cast(pl.String) == judge).any() for side in sides)


def _favour(group: _Group) -> SelfPreference | None:
    judge = _judge(group)
    if judge is None or group.labels is None or not _contestant(group):
        return None
    scored = group.rows.join(group.labels.select("item_id").unique(), on="item_id", how="semi")
    sides = (pl.col("model_a").cast(pl.String) == judge) | (pl.col("model_b") == judge)
    if not scored.filter(sides).height:
        return None
    resamples, seed = group.draw
    return self_preference_of(group.rows, group.labels, (judge,), resamples, seed)


def _trust(
    group: _Group,
    found: dict[str, Any],
    people: dict[str, Any],
    first: Estimate | None,
    favour: SelfPreference | None,
) -> Trust | None:
    """None for a mixture of judges."""
    if _judge(group) is None:
        return None
    by_gold = group.labels is None and group.gold is not None
    compared = group.gold if by_gold else group.pairs
    return judge_trust(
        judgements=group.rows.height,
        unparsed=found["unparsed"],
        first_rate=first,
        order_agreement=found["order_agreement"],
        labelled=0 if compared is None else compared["item_id"].n_unique(),
        agreement=found["accuracy" if by_gold else "human_agreement"],
        kappa=None if compared is None else table_kappa(compared),
        ceiling=people["label_with_label"],
        contestant=_contestant(group),
        self_preference=favour,
    )


def _known(by: Sequence[str], table: pl.DataFrame) -> None:
    for column in by:
        if column not in table.columns or column == "_first":
            known = [c for c in table.columns if not c.startswith("_")]
            raise ColumnNotFound(f"There is no column '{column}'.", hint=listing(known, column))
        if column in FIGURES:
            raise InputError(
                f"'{column}' is the name of a figure, so it cannot name a group.",
                hint="Rename the column.",
            )


def _groups(table: pl.DataFrame, by: list[str]) -> Iterator[tuple[dict[str, Any], pl.DataFrame]]:
    if not by:
        yield {}, table
        return
    parts = table.sort(by, nulls_last=True, maintain_order=True).group_by(by, maintain_order=True)
    for values, rows in parts:
        yield dict(zip(by, values, strict=True)), rows


def _value(estimate: Estimate | None) -> float | None:
    return None if estimate is None else estimate.estimate


def _bare(estimate: Estimate) -> Estimate:
    """Without what a corrected estimate holds beside, and within 0 and 1, as a rate is."""
    low, high = max(0.0, estimate.low), min(1.0, estimate.high)
    return Estimate(estimate.estimate, low, high, estimate.n)


def _plain(value: Any) -> Any:
    """As JSON has it: dataclasses are dicts, what is no number is null."""
    if is_dataclass(value) and not isinstance(value, type):
        return _plain(asdict(value))
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, date | time | Decimal) else value
