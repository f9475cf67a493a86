"""All of it over groups of a verdict file: what `swath judge stats` writes.

docs/statistics.md defines each figure.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import polars as pl

from swath.errors import InputError
from swath.evals.stats.agreement import beside, experts, human_with_human, table_kappa
from swath.evals.stats.corrected import corrected_of
from swath.evals.stats.estimate import RESAMPLES, Estimate
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
from swath.evals.stats.trust import judge_trust

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


class _How(NamedTuple):
    unit: str | None
    resamples: int
    seed: int


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
    and whether the judge may be used. Ready for JSON.

    `unit` names the column whose values are resampled; else `cluster`, `prompt_id` or `question_id`
    where there is one, else the item. Raises InputError for unusable tables.
    """
    labels = None if human is None else label_table(human)
    table = with_items(verdict_table(verdicts), None if items is None else item_table(items))
    by = list(dict.fromkeys(by))
    _known(by, table)
    table = with_unit(table, unit)
    if labels is not None and not table["item_id"].is_in(labels["item_id"].implode()).any():
        raise InputError(
            "No item_id of the verdicts is in the table of labels.",
            hint="Give the labels of the items that were judged.",
        )
    how = _How(unit, resamples, seed)
    return [_plain(values | _figures(rows, labels, how)) for values, rows in _groups(table, by)]


def _figures(rows: pl.DataFrame, labels: pl.DataFrame | None, how: _How) -> dict[str, Any]:
    """The figures of one group."""
    draw = (how.resamples, how.seed)
    if labels is not None:
        labels = labels.join(rows.select("item_id").unique(), on="item_id", how="semi")
        labels = labels if labels.height else None
    first, orders = first_rate_of(rows, *draw), order_agreement_of(rows, *draw)
    golden = _golden(rows)
    accuracy = None if golden is None else rate_by_unit(golden, pl.col("same"), *draw)
    pairs = None if labels is None else beside(rows, experts(labels))
    agreement = None if pairs is None else rate_by_unit(pairs, pl.col("same"), *draw)
    kappa = None if pairs is None else table_kappa(pairs)
    rates = _rates(rows, labels, how)
    ppi: dict[str, Corrected] | None = rates.pop("ppi")
    more = {
        "verdicts": rows.height,
        "units": rows["_unit"].n_unique(),
        "intervals": {
            "first_rate": first,
            "order_agreement": orders,
            "accuracy": accuracy,
            "human_agreement": agreement,
        },
        "gold_kappa": None if golden is None else table_kappa(golden),
        **_people(rows, labels),
        "labels_alone": ppi and {model: one.labels for model, one in ppi.items()},
        "ppi_notes": ppi and {model: one.sentence for model, one in ppi.items()},
        "length_controlled": _length(rows, draw),
        **_trust(rows, labels, how, first, orders, accuracy, agreement),
    }
    return {
        "n": rows["item_id"].n_unique(),
        "unparsed": rows["verdict"].null_count(),
        "first_rate": first and first.estimate,
        "order_agreement": orders and orders.estimate,
        "accuracy": accuracy and accuracy.estimate,
        "human_agreement": agreement and agreement.estimate,
        "human_kappa": kappa,
        **rates,
        "ppi": ppi,
        "more": more,
    }


def _golden(rows: pl.DataFrame) -> pl.DataFrame | None:
    """`_unit, verdict, label, same` where the item has a gold label; unparsed is not right."""
    if "gold" not in rows.columns or rows["gold"].null_count() == rows.height:
        return None
    kept = rows.filter(pl.col("gold").is_not_null())
    same = (pl.col("verdict") == pl.col("gold")).fill_null(False)
    return kept.select("item_id", "_unit", "verdict", label="gold", same=same)


def _rates(rows: pl.DataFrame, labels: pl.DataFrame | None, how: _How) -> dict[str, Any]:
    """Win rate, Bradley-Terry and PPI by model; None without models."""
    draw = (how.resamples, how.seed)
    none = {"win_rate": None, "bradley_terry": None, "ppi": None}
    if not {"model_a", "model_b"} <= set(rows.columns):
        return none
    cast = votes_of(rows)
    if not cast.units:
        return none
    corrected = None
    if labels is not None:
        sampled = rows if how.unit is not None else with_unit(rows, "item_id")
        corrected = corrected_of(sampled, labels, clustered=how.unit not in (None, "item_id"))
    return {
        "win_rate": win_rates_of(cast, *draw),
        "bradley_terry": bradley_terry_of(cast, *draw) or None,
        "ppi": corrected or None,
    }


def _people(rows: pl.DataFrame, labels: pl.DataFrame | None) -> dict[str, Any]:
    """How the judge stands to the label most people gave, and people to one another."""
    names = ("labelled", "majority_agreement", "majority_kappa", "label_with_label")
    if labels is None:
        return dict.fromkeys(names)
    top = beside(rows, majority(labels))
    each = human_with_human(experts(labels))
    values = (
        labels["item_id"].n_unique(),
        top["same"].mean(),
        table_kappa(top),
        each["same"].mean() if each.height else None,
    )
    return dict(zip(names, values, strict=True))


def _length(rows: pl.DataFrame, draw: tuple[int, int]) -> dict[str, Estimate] | None:
    needs = {"model_a": None, "model_b": None, "answer_a": pl.String, "answer_b": pl.String}
    for column, kind in needs.items():
        if column not in rows.columns or (kind is not None and rows.schema[column] != kind):
            return None
    controlled = length_controlled_of(rows, *draw)
    return controlled and controlled.rates


def _trust(
    rows: pl.DataFrame,
    labels: pl.DataFrame | None,
    how: _How,
    first: Estimate | None,
    orders: Estimate | None,
    accuracy: Estimate | None,
    agreement: Estimate | None,
) -> dict[str, Any]:
    """Only where the group is of one judge: a mixture of judges is not to be trusted or not."""
    if "judge" in rows.columns and rows["judge"].n_unique() > 1:
        return {"self_preference": None, "usable": None, "trust": None}
    judge = rows["judge"][0] if "judge" in rows.columns else None
    contestant, favour = _favour(rows, labels, how, judge)
    people = _people(rows, labels)
    by_gold = labels is None and accuracy is not None
    golden = _golden(rows) if by_gold else None
    pairs = None if labels is None else beside(rows, experts(labels))
    trust = judge_trust(
        judgements=rows.height,
        unparsed=rows["verdict"].null_count(),
        first_rate=first,
        order_agreement=orders and orders.estimate,
        labelled=golden["item_id"].n_unique() if golden is not None else people["labelled"] or 0,
        agreement=_value(accuracy if by_gold else agreement),
        kappa=table_kappa(golden if golden is not None else pairs),
        ceiling=people["label_with_label"],
        contestant=contestant,
        self_preference=favour,
    )
    return {
        "self_preference": favour and favour._asdict(),
        "usable": trust.usable,
        "trust": trust.sentence,
    }
