"""The study's data: RouteLLM's three benchmarks, its published figures, and training grades.

A folder holds `routellm_eval.parquet` (evaluation only), `routing_prompts.parquet` and
`routing_outcomes.parquet` (training), `routellm_published.csv`. Nothing that is trained here sees
the first. Martian's and Unify AI's points are packaged: RouteLLM's repository has them as text, its
tables do not.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from swath.errors import InputError, listing
from swath.routing.graded import Graded, require

if TYPE_CHECKING:
    import polars as pl

Floats = NDArray[np.float64]
BENCHMARKS = ("mt-bench", "mmlu", "gsm8k")


@dataclass(frozen=True)
class Benchmark:
    """Prompts, and how well the weak and the strong model did on each, shape (n,)."""

    name: str
    prompts: tuple[str, ...]
    weak: Floats
    strong: Floats


def benchmark(folder: str | os.PathLike[str], name: str) -> Benchmark:
    """One benchmark without the rows on RouteLLM's lists of contaminated prompts. Raises
    InputError."""
    import polars as pl

    if name not in BENCHMARKS:
        raise InputError(f"There is no benchmark '{name}'.", hint=listing(BENCHMARKS, name))
    table = _read(folder, "routellm_eval.parquet")
    require(table, ("bench", "prompt", "weak", "strong", "contaminated"), "The evaluation file")
    own = table.filter((pl.col("bench") == name) & ~pl.col("contaminated"))
    if not own.height:
        raise InputError(f"The evaluation file has no rows of '{name}'.", hint="See its README.")
    return Benchmark(
        name,
        tuple(own["prompt"].to_list()),
        own["weak"].to_numpy().astype(np.float64),
        own["strong"].to_numpy().astype(np.float64),
    )


def published(folder: str | os.PathLike[str], name: str) -> list[dict[str, str | float]]:
    """RouteLLM's published rows for a benchmark: `router`, `train_data`, `apgr`, `cpt50`, `cpt80`.
    Empty where the file is not there."""
    import polars as pl

    if not (Path(folder) / "routellm_published.csv").is_file():
        return []
    table = _read(folder, "routellm_published.csv").filter(pl.col("benchmark") == name)
    return table.drop("benchmark").to_dicts()


def commercial(name: str) -> list[dict[str, Any]]:
    """Points of commercial routers that RouteLLM's authors published beside their own, for a
    benchmark: `router`, `strong_share` (percent), `quality`, the mean qualities `weak` and `strong`
    of the pair that it chose between, `weak_model`, and `source`.

    They were measured on all 80 questions of MT-Bench with gpt-4-turbo as the strong model. Its own
    mean was not published; `strong` is that of gpt-4-1106-preview, as in the rest of the study.
    """
    import polars as pl

    with (files("swath.routing") / "commercial.csv").open("rb") as file:
        return pl.read_csv(file).filter(pl.col("benchmark") == name).to_dicts()


def training(folder: str | os.PathLike[str]) -> Graded:
    """All training grades. A source is a source and its metric: `alpaca_eval` was judged against
    two references, and those are two scales."""
    import polars as pl

    prompts = _read(folder, "routing_prompts.parquet")
    outcomes = _read(folder, "routing_outcomes.parquet")
    require(prompts, ("prompt_id", "source", "prompt"), "The file of training prompts")
    require(outcomes, ("prompt_id", "model", "metric", "quality"), "The file of outcomes")
    joined = outcomes.join(prompts.select("prompt_id", "source", "prompt"), on="prompt_id")
    return Graded.read(
        joined.with_columns(
            pl.when(pl.col("metric") == "correct")
            .then(pl.col("source"))
            .otherwise(pl.col("source") + "/" + pl.col("metric"))
            .alias("source")
        )
    )


def _read(folder: str | os.PathLike[str], name: str) -> pl.DataFrame:
    import polars as pl

    path = Path(folder) / name
    if not path.is_file():
        here = sorted(p.name for p in Path(folder).glob("*")) if Path(folder).is_dir() else []
        raise InputError(
            f"There is no '{name}' in '{folder}'.",
            hint=f"Give the folder with the routing data (--data). {listing(here, name)}",
        )
    try:
        return pl.read_csv(path) if path.suffix == ".csv" else pl.read_parquet(path)
    except pl.exceptions.PolarsError as error:
        first = str(error).splitlines()[0]
        raise InputError(f"'{path}' cannot be read: {first}", hint="Copy it again.") from None
