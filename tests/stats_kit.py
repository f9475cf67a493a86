"""The judge data for tests of statistics, and judges whose bias is known."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from tests.data_kit import data


def judge_data() -> Path:
    """The folder of judge data; the test is skipped where there is none."""
    return data("judge/figures.json").parent


@cache
def _read(path: Path) -> pl.DataFrame:
    return pl.read_parquet(path)


def table(name: str) -> pl.DataFrame:
    return _read(judge_data() / f"{name}.parquet")


@cache
def _figures(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return found


def figures() -> dict[str, Any]:
    return _figures(judge_data() / "figures.json")


def llmbar(subset: str, judge: str, strategy: str) -> pl.DataFrame:
    """The verdicts of one judge and strategy on one subset, with `subset` and `gold`."""
    items = table("llmbar_items").select("item_id", "subset", "gold")
    rows = table("llmbar_verdicts").with_columns(pl.col(pl.Categorical).cast(pl.String))
    rows = rows.filter((pl.col("judge") == judge) & (pl.col("strategy") == strategy))
    return rows.join(items, on="item_id").filter(pl.col("subset") == subset)


def preferences(verdicts: pl.DataFrame, human: pl.DataFrame) -> pl.DataFrame:
    """`item_id, judge, human`: the mean preference for A of each."""
    value = {"A": 1.0, "B": 0.0, "tie": 0.5}
    people = human.group_by("item_id").agg(human=pl.col("label").replace_strict(value).mean())
    judged = verdicts.select("item_id", judge=pl.col("verdict").replace_strict(value))
    return judged.join(people, on="item_id").sort("item_id")


def biased_judge(
    n: int, *, quality: float, first: float, unparsed: float = 0.0, seed: int = 0
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Items with gold and verdicts in both orders of a judge that picks whatever stands first with
    probability `first`, else what is better with probability `quality`."""
    random = np.random.default_rng(seed)
    gold = random.choice(["A", "B"], n)
    ids = [f"i{i}" for i in range(n)]
    rows = []
    for order in ("AB", "BA"):
        right = np.where(random.random(n) < quality, gold, np.where(gold == "A", "B", "A"))
        picked = np.where(random.random(n) < first, order[0], right)
        lost = random.random(n) < unparsed
        rows += [
            {"item_id": i, "judge": "j", "order": order, "verdict": None if gone else str(v)}
            for i, v, gone in zip(ids, picked, lost, strict=True)
        ]
    return pl.DataFrame({"item_id": ids, "gold": gold}), pl.DataFrame(rows)


def pairs_of(verdicts: list[tuple[str, str, str | None]]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """(item, order, verdict) between x as a and y as b."""
    ids = list(dict.fromkeys(v[0] for v in verdicts))
    items = pl.DataFrame({"item_id": ids, "model_a": ["x"] * len(ids), "model_b": ["y"] * len(ids)})
    return items, pl.DataFrame(
        verdicts, schema=["item_id", "order", "verdict"], orient="row"
    ).with_columns(judge=pl.lit("j"))
