"""May this judge be used here? A plain answer with its reasons, and one judge against another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from swath.errors import InputError, listing
from swath.evals.stats.decide import Paired, paired
from swath.evals.stats.estimate import Estimate
from swath.evals.stats.favour import SelfPreference
from swath.evals.stats.tables import (
    item_table,
    label_table,
    verdict_table,
    with_items,
    with_unit,
)

FEW = 20  # verdicts, or labelled items, below which nothing is held against a judge
UNPARSED, ORDERS, FIRST = 0.1, 0.6, 0.1  # share of verdicts; agreement of orders; off one half
POOR, FAIR, BELOW = 0.2, 0.4, 0.1  # kappa; and how far below the people a judge may agree


@dataclass(frozen=True)
class Trust:
    """`usable`: True, False, or None where it cannot be told; `reasons` for it; all in one
    `sentence`."""

    usable: bool | None
    reasons: tuple[str, ...]
    sentence: str


def judge_trust(
    *,
    judgements: int,
    unparsed: int = 0,
    first_rate: Estimate | None = None,
    order_agreement: float | None = None,
    labelled: int = 0,
    agreement: float | None = None,
    kappa: float | None = None,
    ceiling: float | None = None,
    contestant: bool = False,
    self_preference: SelfPreference | None = None,
) -> Trust:
    """Whether a judge may be used, from what is known of it.

    `judgements` and `unparsed` count verdicts; `labelled` counts the items behind `agreement` and
    `kappa` (with labels or gold); `ceiling` is how people agree with one another. The rules are in
    docs/statistics.md.
    """
    against: list[str] = []
    for_it: list[str] = []
    enough = judgements >= FEW
    share = unparsed / judgements if judgements else 0.0
    if enough and share > UNPARSED:
        against.append(f"{share:.0%} of its verdicts could not be parsed")
    if order_agreement is not None:
        said = f"its two orders agree on {order_agreement:.0%} of the rows"
        (against if enough and order_agreement < ORDERS else for_it).append(said)
    elif first_rate is not None and _leans(first_rate):
        picks = "first" if first_rate.estimate > 0.5 else "second"
        rate = max(first_rate.estimate, 1 - first_rate.estimate)
        against.append(f"it was asked in one order only and picks the {picks} in {rate:.0%}")
    told = labelled >= FEW and agreement is not None
    if told and agreement is not None:
        people = "" if ceiling is None else f", people with one another in {ceiling:.0%}"
        beyond = "" if kappa is None else f" (kappa {kappa:.2f})"
        said = f"it agrees with the labels in {agreement:.0%}{beyond}{people}"
        low = ceiling is None or agreement < ceiling - BELOW
        poor = kappa is not None and (kappa < POOR or (kappa < FAIR and low))
        (against if poor else for_it).append(said)
        if not poor and ceiling is not None and low:
            for_it.append("it is further from people than they are, so correct it by labels (ppi)")
    if self_preference is not None and self_preference.found:
        gap = self_preference.gap.estimate * 100
        against.append(f"it gives its own model {gap:.0f} points more than people do")
    also = contestant and self_preference is None
    if against:
        return _trust(False, against)
    if not told:
        rows = "1 labelled row is" if labelled == 1 else f"{labelled} labelled rows are"
        why = "there are no labels" if not labelled else f"{rows} too few"
        unknown = [f"{why} to compare it with" if not labelled else why, *for_it]
        if also:
            unknown.append("it judges its own answers")
        return _trust(None, unknown)
    if also:
        for_it.append("though it judges its own answers")
    return _trust(True, for_it)


def _trust(usable: bool | None, reasons: list[str]) -> Trust:
    start = {
        True: "This judge may be used here",
        False: "This judge may not be used here",
        None: "Whether this judge may be used here cannot be told",
    }[usable]
    end = " Label a random sample of 50 rows." if usable is None else ""
    return Trust(usable, tuple(reasons), f"{start}: {'; '.join(reasons)}.{end}")


def _leans(rate: Estimate) -> bool:
    clear = rate.low > 0.5 or rate.high < 0.5
    return clear and abs(rate.estimate - 0.5) > FIRST


def compare_judges(
    items: pl.DataFrame,
    verdicts: pl.DataFrame,
    first: Mapping[str, str],
    second: Mapping[str, str],
    *,
    human: pl.DataFrame | None = None,
    unit: str = "item_id",
) -> Paired:
    """Two judges, strategies or prompts on the same items: how often each is right, second minus
    first. `first` and `second` name their rows: {"judge": "GPT-4", "strategy": "Vanilla"}.

    Right is the item's `gold`, or with `human` the share of votes that a verdict agrees with;
    unparsed is not right. Both orders of an item are averaged.
    """
    table = with_unit(with_items(verdict_table(verdicts), item_table(items)), unit)
    if human is not None:
        votes = label_table(human).select("item_id", gold="label")
        table = table.drop("gold", strict=False).join(votes, on="item_id", how="inner")
    if "gold" not in table.columns:
        raise InputError("There is no column 'gold'.", hint="Give labels: human=….")
    right = (pl.col("verdict") == pl.col("gold")).fill_null(False).cast(pl.Float64)
    scored = table.filter(pl.col("gold").is_not_null()).with_columns(_right=right)
    one, two = (
        _rows_of(scored, names)
        .group_by("item_id", "_unit", maintain_order=True)
        .agg(pl.col("_right").mean())
        for names in (first, second)
    )
    both = one.join(two, on=["item_id", "_unit"], suffix="_two", maintain_order="left")
    return paired(
        both["_right"].to_numpy(), both["_right_two"].to_numpy(), clusters=both["_unit"].to_list()
    )


def _rows_of(table: pl.DataFrame, names: Mapping[str, str]) -> pl.DataFrame:
    for column, value in names.items():
        if column not in table.columns:
            raise InputError(f"There is no column '{column}'.", hint=listing(table.columns, column))
        known = [str(v) for v in table[column].drop_nulls().unique()]
        if value not in known:
            raise InputError(f"No verdict has {column} '{value}'.", hint=listing(known, value))
        table = table.filter(pl.col(column).cast(pl.String) == value)
    if not table.height:
        raise InputError("No verdict has all of these together.", hint=f"Asked: {dict(names)}.")
    return table
