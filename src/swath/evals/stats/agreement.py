"""How far two or more agree, beyond chance: kappas, alpha, judge and label, label and label."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from typing import Any, Literal

import numpy as np
import polars as pl

from swath.errors import InputError, listing
from swath.evals.stats.estimate import Floats, numbers, same_length
from swath.evals.stats.tables import label_table, verdict_table

Level = Literal["nominal", "ordinal", "interval"]
Weights = Literal["linear", "quadratic"]
_LEVELS = ("nominal", "ordinal", "interval")
_WEIGHTS = ("linear", "quadratic")


def raw_agreement(a: Sequence[Any], b: Sequence[Any]) -> float | None:
    """The share of pairs that are equal, over those where neither is None. None where none is."""
    pairs = _pairs(a, b)
    return sum(x == y for x, y in pairs) / len(pairs) if pairs else None


def cohen_kappa(
    a: Sequence[Any],
    b: Sequence[Any],
    *,
    weights: Weights | None = None,
    order: Sequence[Any] | None = None,
) -> float | None:
    """Cohen's kappa (1960), over the pairs where neither is None; None where there are none.

    `weights` makes near misses count less wrong (Cohen 1968): the categories are then ordered, by
    value or as `order` says. Where both use one and the same category only, chance explains all
    and kappa has no value: None. Raises InputError for lists of different length.
    """
    pairs = _pairs(a, b)
    if not pairs:
        return None
    if weights is not None and weights not in _WEIGHTS:
        raise InputError(f"There are no weights '{weights}'.", hint=listing(_WEIGHTS, weights))
    found = {x for pair in pairs for x in pair}
    names = list(order) if order is not None else _sorted(found, weights is not None)
    missing = found - set(names)
    if missing:
        raise InputError(
            f"`order` lacks {len(missing)} of the categories.", hint=listing(map(str, found))
        )
    number = {name: i for i, name in enumerate(names)}
    k = len(names)
    table = np.zeros((k, k))
    for x, y in pairs:
        table[number[x], number[y]] += 1
    table /= len(pairs)
    apart = np.abs(np.subtract.outer(np.arange(k), np.arange(k))).astype(float)
    wrong = (apart > 0).astype(float) if weights is None else apart
    if weights == "quadratic":
        wrong = apart**2
    expected = float((wrong * np.outer(table.sum(1), table.sum(0))).sum())
    return 1 - float((wrong * table).sum()) / expected if expected > 0 else None


def fleiss_kappa(table: Sequence[Sequence[int]] | Floats) -> float | None:
    """Fleiss' kappa (1971) of counts (items, categories), each row summing to the number of raters.

    Items with fewer than two ratings are left out; the others need not have equally many (each
    item's agreement is over its own pairs). None where nothing is left, or all use one category.
    """
    counts = np.asarray(table, dtype=np.float64)
    if counts.ndim != 2 or (counts.size and (counts < 0).any()):
        raise InputError(
            "Fleiss' kappa needs a table of counts: a row an item, a column a category.",
            hint="fleiss_table(ratings) makes one from lists of ratings.",
        )
    raters = counts.sum(1)
    counts, raters = counts[raters >= 2], raters[raters >= 2]
    if not len(counts):
        return None
    agreed = ((counts * (counts - 1)).sum(1) / (raters * (raters - 1))).mean()
    share = counts.sum(0) / raters.sum()
    chance = float((share**2).sum())
    return float((agreed - chance) / (1 - chance)) if chance < 1 else None


def fleiss_table(ratings: Sequence[Sequence[Any]]) -> Floats:
    """Counts (items, categories) from one list of ratings an item; None in it is no rating."""
    names = _sorted({r for item in ratings for r in item if r is not None}, ordered=False)
    number = {name: i for i, name in enumerate(names)}
    counts = np.zeros((len(ratings), len(names)))
    for i, item in enumerate(ratings):
        for rating in item:
            if rating is not None:
                counts[i, number[rating]] += 1
    return counts


def krippendorff_alpha(
    ratings: Sequence[Sequence[Any]], *, level: Level = "nominal", order: Sequence[Any] = ()
) -> float | None:
    """Krippendorff's alpha (2018), through evalica: one list of ratings an item, None for none.

    Raters need not be the same, nor equally many. `level` says what a distance is: nominal (equal
    or not), ordinal (by `order`, else by value) or interval (numbers). None where no item has two
    ratings.
    """
    if level not in _LEVELS:
        raise InputError(f"There is no level '{level}'.", hint=listing(_LEVELS, level))
    kept = [[r for r in item if r is not None] for item in ratings]
    kept = [item for item in kept if len(item) > 1]
    if not kept:
        return None
    import evalica
    import pandas as pd

    names = list(order) or _sorted({r for item in kept for r in item}, level != "nominal")
    # Nominal and ordinal distances ask only for the place in the order.
    value = {name: float(i) for i, name in enumerate(names)}
    if level == "interval":
        value = dict(zip(names, numbers(names, "The ratings").tolist(), strict=True))
    most = max(map(len, kept))
    try:
        cells = [[value[r] for r in item] + [np.nan] * (most - len(item)) for item in kept]
    except KeyError:
        raise InputError("`order` lacks some of the ratings.", hint="Name them all.") from None
    if len(names) == 1:
        return 1.0
    return float(evalica.alpha(pd.DataFrame(cells).T, level).alpha)


def human_alpha(human: pl.DataFrame) -> float | None:
    """Nominal alpha of a table of labels `item_id, annotator, label`."""
    votes = label_table(human).group_by("item_id").agg("label")
    return krippendorff_alpha(votes["label"].to_list())


def judge_with_human(
    verdicts: pl.DataFrame, human: pl.DataFrame, *, ties: bool = True
) -> pl.DataFrame:
    """Every verdict beside every label of its item: `item_id, verdict, label, same` (bool).

    As FastChat's compute_agreement: each vote counts. A verdict that could not be parsed agrees
    with no label. Without `ties` only the pairs remain where both decided.
    """
    return beside(verdict_table(verdicts), label_table(human), ties)


def human_with_human(human: pl.DataFrame, *, ties: bool = True) -> pl.DataFrame:
    """Every two labels of an item that two annotators gave: `item_id, verdict, label, same`."""
    votes = label_table(human).with_row_index("_vote").select("item_id", "_vote", "label")
    pairs = votes.join(votes, on="item_id", suffix="_two").filter(
        pl.col("_vote") < pl.col("_vote_two")
    )
    pairs = pairs.select("item_id", verdict="label", label="label_two")
    if not ties:
        pairs = pairs.filter((pl.col("verdict") != "tie") & (pl.col("label") != "tie"))
    return pairs.with_columns(same=pl.col("verdict") == pl.col("label"))


def beside(verdicts: pl.DataFrame, labels: pl.DataFrame, ties: bool = True) -> pl.DataFrame:
    """`judge_with_human` of checked tables; a column `_unit` of the verdicts stays."""
    kept = [c for c in ("_unit",) if c in verdicts.columns]
    pairs = verdicts.select("item_id", "verdict", *kept).join(
        labels.select("item_id", "label"), on="item_id", how="inner"
    )
    if not ties:
        pairs = pairs.filter(pl.col("verdict").is_in(["A", "B"]) & (pl.col("label") != "tie"))
    return pairs.with_columns(same=(pl.col("verdict") == pl.col("label")).fill_null(False))


def experts(labels: pl.DataFrame) -> pl.DataFrame:
    """The labels of experts where a column `kind` marks some (MT-Bench's rule: those of its own
    authors are no independent witness); else all."""
    if "kind" in labels.columns and (labels["kind"] == "expert").any():
        return labels.filter(pl.col("kind") == "expert")
    return labels


def table_kappa(pairs: pl.DataFrame) -> float | None:
    """Cohen's kappa of the columns `verdict` and `label`, where both are there."""
    counts = pairs.drop_nulls(["verdict", "label"]).group_by("verdict", "label").len()
    if not counts.height:
        return None
    total = int(counts["len"].sum())
    rows: Counter[str] = Counter()
    columns: Counter[str] = Counter()
    same = 0
    for verdict, label, n in counts.iter_rows():
        rows[verdict] += n
        columns[label] += n
        same += n if verdict == label else 0
    chance = sum(rows[name] * columns[name] for name in rows) / total**2
    return float((same / total - chance) / (1 - chance)) if chance < 1 else None


def _pairs(a: Sequence[Any], b: Sequence[Any]) -> list[tuple[Any, Any]]:
    same_length(a=a, b=b)
    return [(x, y) for x, y in zip(a, b, strict=True) if x is not None and y is not None]


def _sorted(names: set[Hashable], ordered: bool) -> list[Any]:
    try:
        return sorted(names)
    except TypeError:
        if ordered:
            raise InputError(
                "The categories cannot be put in order.", hint="Say how they go: order=[…]."
            ) from None
        return sorted(names, key=str)
