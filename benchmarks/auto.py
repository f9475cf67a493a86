"""Does `sw.auto` keep its promise? Resampled trials on graded data, without a call.

    python -m benchmarks.auto FOLDER [--trials 200] [--json out.json]

Each trial draws a table of 2,000 prompts and a sample of it as `sw.auto` would, learns a router and
a threshold from the sample alone, routes the rest, and measures on the whole table what is kept:
of grades the share of the strong model's mean, of agreement the rows on which the weak model's
answer is no worse. `saved` counts the sample, at a weak call for a tenth of a strong one.

The data are `routing_outcomes` of MMLU-Pro and ZeroEval (right or wrong), for pairs of models from
near to far apart; two more "pairs" are made up, one that routing cannot help and one that it can.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from swath.operators.auto import Auto, Sent
from swath.operators.auto_learning import promised, router_of, tells
from swath.routing.router import Texts

TABLE = 2000
PRICE = 0.1  # of a weak call, in strong calls


def pairs(folder: Path) -> Iterator[tuple[str, list[str], np.ndarray, np.ndarray]]:
    """(name, prompts, weak, strong) of each pair: grades 0 or 1, rows that both were graded on."""
    prompts = pl.read_parquet(folder / "routing_prompts.parquet")
    outcomes = pl.read_parquet(folder / "routing_outcomes.parquet").filter(
        pl.col("metric") == "correct"
    )
    wide = (
        outcomes.pivot(on="model", index="prompt_id", values="quality", aggregate_function="mean")
        .join(prompts.select("prompt_id", "prompt"), on="prompt_id")
        .sort("prompt_id")
    )
    models = [name for name in wide.columns if name not in ("prompt_id", "prompt")]
    covered = [m for m in models if wide[m].is_not_null().sum() > 4000]
    ranked = sorted(covered, key=lambda m: float(wide[m].mean()))  # type: ignore[arg-type]
    strong = ranked[-1]
    for name, place in (("near", -4), ("middling", len(ranked) // 2), ("far", 2)):
        both = wide.drop_nulls([ranked[place], strong])
        low, high = both[ranked[place]].to_numpy(), both[strong].to_numpy()
        yield f"{name}: {ranked[place]} | {strong}", both["prompt"].to_list(), low, high
    texts = both["prompt"].to_list()
    draw = np.random.default_rng(0)
    yield "made up: a coin", texts, (draw.random(len(texts)) < 0.6) * 1.0, np.ones(len(texts))
    easy = np.array([len(t) < 350 for t in texts]) | (draw.random(len(texts)) < 0.2)
    yield "made up: short is easy", texts, easy * 1.0, np.ones(len(texts))


def trial(
    texts: Texts, weak: np.ndarray, strong: np.ndarray, auto: Auto, measure: str, seed: int
) -> tuple[float, float]:
    """(quality kept, share of the strong model's cost saved, the sample counted) on one table."""
    draw = np.random.default_rng(seed)
    rows = draw.permutation(len(texts))[: min(TABLE, len(texts))]
    table, low, high = texts.only(rows), weak[rows], strong[rows]
    n = len(rows)
    learned, checked = auto.parts(n)
    sent = Sent("weak", "strong", measure, auto.quality, auto.confidence, n, learned=learned)
    first, rest = slice(0, learned), slice(learned, learned + checked)
    router, _ = router_of(
        table.prompts[first],
        low[first],
        high[first],
        ("weak", "strong"),
        _none,
        "",
        seed,
        ("difficulty",),
    )
    scores = router.wants(table)
    share = promised(sent, router, scores[rest], low[rest], high[rest], auto.risk)
    sent.threshold = sent.threshold if sent.threshold is not None else -np.inf
    helps = share > 0 and (share == 1 or tells(scores[rest], high[rest] - low[rest]))
    to_weak = (scores < sent.threshold) & helps
    to_weak[: learned + checked] = False
    if measure == "grades":
        kept = float(np.where(to_weak, low, high).sum() / high.sum())
    else:
        kept = 1 - float((to_weak & (low < high)).mean())
    saved = to_weak.mean() * (1 - PRICE) - (learned + checked) / n * PRICE
    return kept, float(saved)


def study(
    texts: list[str],
    weak: np.ndarray,
    strong: np.ndarray,
    *,
    trials: int,
    quality: float = 0.95,
    confidence: float = 0.9,
    sample: int | None = None,
    measure: str = "grades",
) -> dict[str, Any]:
    """What `trials` tables show."""
    auto = Auto(("weak", "strong"), quality, confidence, sample)
    known = Texts(texts, _none)
    assert known.lexical.shape[0] == known.words.shape[0]  # worked out once, for all trials
    told = [trial(known, weak, strong, auto, measure, seed) for seed in range(trials)]
    kept, saved = np.array(told).T
    return {
        "weak": float(weak.mean()),
        "strong": float(strong.mean()),
        "measure": measure,
        "sample": sample or sum(auto.parts(TABLE)),
        "promised": confidence,
        "held": float((kept >= quality).mean()),
        "kept_mean": float(kept.mean()),
        "kept_least": float(kept.min()),
        "routed": float((saved > saved.min()).mean()),
        "saved_mean": float(saved.mean()),
        "saved_most": float(saved.max()),
        "trials": trials,
    }


def _none(prompts: Any) -> Any:
    raise AssertionError("the kind embeds nothing")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("data", type=Path)
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--quality", type=float, default=0.95)
    parser.add_argument("--confidence", type=float, default=0.9)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    found = []
    print("weak   strong  measure    sample  held   kept (least)   saved (most)  pair")
    for name, texts, weak, strong in pairs(given.data):
        for measure, samples in (("agreement", (None,)), ("grades", (None, 800))):
            for sample in samples:
                one = study(
                    texts,
                    weak,
                    strong,
                    trials=given.trials,
                    quality=given.quality,
                    confidence=given.confidence,
                    sample=sample,
                    measure=measure,
                )
                found.append({"pair": name, **one})
                print(
                    f"{one['weak']:.3f}  {one['strong']:.3f}   {measure:9}  {one['sample']:5d}"
                    f"   {one['held']:.3f}  {one['kept_mean']:.3f} ({one['kept_least']:.3f})"
                    f"  {one['saved_mean']:+.3f} ({one['saved_most']:+.3f})  {name}",
                    flush=True,
                )
    if given.json:
        given.json.write_text(json.dumps(found, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
