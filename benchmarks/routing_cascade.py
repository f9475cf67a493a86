"""Routing, cascading, and both together, at equal cost.

    python -m benchmarks.routing_cascade simulated            # answers that can be judged well
    python -m benchmarks.routing_cascade real --data DATA/routing

`simulated`: three models, 1,000 prompts a seed, ten seeds. In logits quality is ability less
difficulty, known beforehand, and something that is seen of the answer only.

`real`: the training outcomes of MMLU-Pro's parts (the evaluation file is not opened), each fifth of
the clusters of near-duplicates held out once. Of the answers the data has nothing but the number of
characters, so that the verifier has little to go by: with token probabilities there is more. Prices
are round figures of the right order, dollars per million tokens.

Printed is the mean quality at five mean costs, and what both together gain over the others there:
mean over seeds or fifths, and the standard error of that mean.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from swath.routing.cascade import Cascade
from swath.routing.cascade_decide import STOP, Rule, by_reservation, by_supermodel, play
from swath.routing.graded import Graded
from swath.routing.shared import uniform
from swath.routing.training import train

Floats = NDArray[np.float64]
Beliefs = Callable[[Floats], Floats]

SIMULATED = np.array([8.0, 12.0, 20.0])
PRICES = {
    "Phi-3-mini-4k-instruct": 0.1,
    "mathstral-7B": 0.25,
    "Meta-Llama-3_1-70B": 0.9,
    "gemini-1.5-pro-002": 5.0,
}
RATES = 60  # a frontier's, in the simulation; 24 on the larger data
BOTH = "both"


def in_order(seen: Floats, belief: Floats, cost: Floats, rate: float) -> NDArray[np.intp]:
    """Cascading alone: from the cheapest upwards, past none, while the next is worth its price."""
    order = np.argsort(cost[0] if cost.ndim == 2 else cost)
    rows, count = np.arange(len(seen)), (~np.isnan(seen)).sum(axis=1)
    following = order[np.minimum(count, len(order) - 1)]
    best = np.where(np.isnan(seen), -np.inf, seen).max(axis=1)
    gain = np.maximum(belief[rows, following] - best[:, None], 0).mean(axis=1)
    price = rate * np.broadcast_to(cost, seen.shape)[rows, following]
    on = (count == 0) | ((count < len(order)) & (gain > price))
    return np.where(on, following, STOP)


def frontier(
    beliefs: Beliefs,
    looks: Floats,
    quality: Floats,
    cost: Floats,
    rule: Rule,
    at: Floats,
    count: int,
) -> Floats:
    """The best mean quality for mean costs `at`: the upper hull over rates, since two rates can be
    mixed."""
    points = []
    for rate in np.geomspace(1e-4, 1e3, count) / cost.max():
        played = play(beliefs, looks, cost, float(rate), rule)
        points.append((played.cost(cost), played.quality(quality)))
    hull: list[tuple[float, float]] = []
    for point in sorted(set(points)):
        while len(hull) > 1 and _left(hull[-2], hull[-1], point):
            hull.pop()
        hull.append(point)
    x, y = np.array(hull).T
    return np.interp(at, x, np.maximum.accumulate(y))


def _left(a: tuple[float, float], b: tuple[float, float], c: tuple[float, float]) -> bool:
    """Whether b lies on or below the line from a to c."""
    return (b[1] - a[1]) * (c[0] - a[0]) <= (c[1] - a[1]) * (b[0] - a[0])


def compare(
    beliefs: Beliefs,
    plain: Beliefs,
    looks: Floats,
    quality: Floats,
    cost: Floats,
    at: Floats,
    count: int = RATES,
) -> dict[str, Floats]:
    """Quality at each cost, by name. `plain` are the beliefs of answers that are not judged."""
    blind = np.full_like(looks, np.nan)
    return {
        "routing alone": frontier(plain, blind, quality, cost, by_reservation, at, count),
        "cascading alone": frontier(beliefs, looks, quality, cost, in_order, at, count),
        "both, supermodels": frontier(beliefs, looks, quality, cost, by_supermodel, at, count),
        BOTH: frontier(beliefs, looks, quality, cost, by_reservation, at, count),
    }


def _always(belief: Floats) -> Beliefs:
    """Beliefs that no answer changes."""
    return lambda seen: belief


def simulated() -> None:
    found = []
    at = np.array([9.0, 11.0, 13.0, 15.0, 18.0])
    for seed in range(10):
        rng = np.random.default_rng(seed)
        known, shown = rng.normal(0, 2.0, (1000, 1)), rng.normal(0, 1.5, (1000, 3))
        base = np.array([0.2, 1.0, 2.0]) - known
        moves = np.quantile(rng.normal(0, 1.5, 4000), (np.arange(15) + 0.5) / 15)
        belief = 1 / (1 + np.exp(-(base[:, :, None] + moves)))
        looks = 1 / (1 + np.exp(-(base + shown)))
        flat = belief.mean(axis=2, keepdims=True)
        beliefs, plain = _always(belief), _always(flat)
        found.append(compare(beliefs, plain, looks, looks, SIMULATED, at))
    show(at, found)


def real(folder: Path) -> None:
    prompts = pl.read_parquet(folder / "routing_prompts.parquet")
    outcomes = pl.read_parquet(folder / "routing_outcomes.parquet")
    table = (
        outcomes.filter(pl.col("model").is_in(list(PRICES)), pl.col("metric") == "correct")
        .join(prompts.filter(pl.col("source").str.starts_with("mmlu-pro")), on="prompt_id")
        .sort("prompt_id", "model")
    )
    # The number of words, as `evidence` has it, by five characters a word.
    graded = Graded.read(table)
    wide = table.group_by("source", "prompt", "model").agg(pl.col("output_chars").sort().mean())
    chars = wide.pivot(on="model", index=["source", "prompt"], values="output_chars")
    counted = chars.sort("source", "prompt").select(graded.models).to_numpy().astype(np.float64)
    graded = Graded(
        graded.prompts,
        graded.models,
        graded.quality,
        graded.source,
        graded.sources,
        extra={"words": np.log1p(counted / 5)},
    )
    graded = graded.rows(np.asarray(np.isfinite(graded.quality).all(axis=1), np.bool_))
    cluster = dict(table.select("prompt", "cluster").unique("prompt").iter_rows())
    fold = np.array([int(uniform(cluster[p], 0) * 5) for p in graded.prompts])
    cost = np.array([PRICES[name] for name in graded.models])
    at = np.array([0.3, 0.8, 1.5, 2.5, 4.0])
    found = []
    for k in range(5):
        router = train(graded.rows(fold != k), "cascade")
        assert isinstance(router, Cascade)
        held = graded.rows(fold == k)
        ante = router.predict(held.prompts)
        looks = np.array(
            [
                [
                    router.judge(float(ante[i, m]), m, {"words": float(held.extra["words"][i, m])})
                    for m in range(len(cost))
                ]
                for i in range(len(held))
            ]
        )
        places = list(range(len(cost)))
        blind = router.only(places)
        blind.judges[:], blind.moves[:] = False, 0.0
        both = router.only(places, int(cost.argmax()))
        looks[:, cost.argmax()] = np.nan
        found.append(
            compare(both.beliefs(ante), blind.beliefs(ante), looks, held.quality, cost, at, 24)
        )
        brier = [np.mean((x - held.quality) ** 2, axis=0) for x in (ante, looks)]
        shown = ", ".join(
            f"{name} {a:.3f} to {b:.3f}"
            for name, a, b in zip(held.models, *brier, strict=True)
            if np.isfinite(b)
        )
        print(f"fifth {k}, {len(held)} prompts, carry {router.carry:.2f}; Brier score {shown}")
    show(at, found)


def show(at: Floats, found: list[dict[str, Floats]]) -> None:
    print("mean cost".ljust(20), *(f"{c:7.2f}" for c in at))
    for name in found[0]:
        mean = np.mean([one[name] for one in found], axis=0)
        print(name.ljust(20), *(f"{q:7.4f}" for q in mean))
    for name in found[0]:
        if name != BOTH:
            gain = np.array([one[BOTH] - one[name] for one in found])
            each = gain.mean(axis=1)
            error = each.std(ddof=1) / np.sqrt(len(each))
            print(f"both over {name}: {each.mean():+.4f} (se {error:.4f}), least {gain.min():+.4f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["simulated", "real"])
    parser.add_argument("--data", type=Path, help="the folder with routing_prompts.parquet")
    given = parser.parse_args()
    if given.what == "simulated":
        simulated()
    elif given.data is None:
        parser.error("--data FOLDER is needed")
    else:
        real(given.data)


if __name__ == "__main__":
    main()
