"""Does `sw.auto` keep its promise? Resampled trials on graded data, without a call.

    python -m benchmarks.auto FOLDER [--trials 200] [--json out.json]

Each trial draws a table of 2,000 prompts and a sample of it as `sw.auto` would, learns a router and
a threshold from the sample alone, routes the rest, and measures on the whole table what is kept:
of grades the share of the strong model's mean, of agreement the rows on which the weak model's
answer is no worse. `saved` counts the sample, at a weak call for a tenth of a strong one.

The data are `routing_outcomes` of MMLU-Pro and ZeroEval (right or wrong), for pairs of models from
near to far apart; two more "pairs" are made up, one that routing cannot help and one that it can.
Embeddings and features of a prompt are worked out once for all trials; what learns and promises is
what `sw.auto` runs. Rows are printed as they are done. With `--json` each trial is kept beside
that file, and a run that was stopped goes on from there: delete both after a change of the code.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from swath.operators.auto import Auto, Sent
from swath.operators.auto_learning import KINDS, promised, router_of, tells
from swath.paths import cache_dir
from swath.routing.router import Learned, Texts
from swath.routing.vectors import Vectors

TABLE = 2000
PRICE = 0.1  # of a weak call, in strong calls
SURE = 0.95  # of the bound on how often a promise is kept


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
    texts: Texts,
    weak: np.ndarray,
    strong: np.ndarray,
    auto: Auto,
    measure: str,
    seed: int,
    kinds: tuple[str, ...] = KINDS,
    routers: dict[tuple[int, int], Learned] | None = None,
) -> tuple[float, float, float]:
    """(quality kept, share of the strong model's cost saved, the sample counted, share of rows
    routed to the weak one) on one table. `routers` keeps what was learned, by seed and sample: it
    is the same whatever is promised afterwards."""
    draw = np.random.default_rng(seed)
    rows = draw.permutation(len(texts))[: min(TABLE, len(texts))]
    table, low, high = texts.only(rows), weak[rows], strong[rows]
    n = len(rows)
    learned, checked = auto.parts(n)
    sent = Sent("weak", "strong", measure, auto.quality, auto.confidence, n, learned=learned)
    first, rest = slice(0, learned), slice(learned, learned + checked)
    routers = {} if routers is None else routers
    router = routers.get((seed, learned))
    if router is None:
        read, names = table.only(np.arange(learned)), ("weak", "strong")
        router, _ = router_of(read, low[first], high[first], names, auto.embedding, seed, kinds)
        routers[seed, learned] = router
    scores = router.wants(table)
    share = promised(sent, router, scores[rest], low[rest], high[rest], auto.risk, high[first])
    assert sent.threshold is not None
    helps = share > 0 and (share == 1 or tells(scores[rest], high[rest] - low[rest]))
    to_weak = (scores < sent.threshold) & helps
    to_weak[: learned + checked] = False
    if measure == "grades":
        kept = float(np.where(to_weak, low, high).sum() / high.sum())
    else:
        kept = 1 - float((to_weak & (low < high)).mean())
    saved = to_weak.mean() * (1 - PRICE) - (learned + checked) / n * PRICE
    return kept, float(saved), float(to_weak.mean())


def study(
    texts: Texts,
    weak: np.ndarray,
    strong: np.ndarray,
    *,
    trials: int,
    quality: float = 0.95,
    confidence: float = 0.9,
    sample: int | None = None,
    measure: str = "grades",
    kinds: tuple[str, ...] = KINDS,
    routers: dict[tuple[int, int], Learned] | None = None,
    told: list[list[float]] | None = None,
    tell: Callable[[list[float]], None] = lambda one: None,
) -> dict[str, Any]:
    """What `trials` tables show. `kinds` are the routers to choose from; see `trial`. `told` are
    the trials that are done already, `tell` is called after each other one."""
    from scipy.stats import beta

    auto = Auto(("weak", "strong"), quality, confidence, sample)
    assert len(texts.lexical) == len(texts)  # worked out once, for all trials
    assert "linear" not in kinds or len(texts.vectors) == len(texts)
    told = list(told or [])[:trials]
    for seed in range(len(told), trials):
        told.append([*trial(texts, weak, strong, auto, measure, seed, kinds, routers)])
        tell(told[-1])
    kept, saved, routed = np.array(told).T
    held = int((kept >= quality - 1e-12).sum())
    return {
        "weak": float(weak.mean()),
        "strong": float(strong.mean()),
        "measure": measure,
        "quality": quality,
        "sample": sum(auto.parts(TABLE)),
        "promised": confidence,
        "held": held / trials,
        # Clopper and Pearson: the share of tables is at least so much, and at most so much.
        "held_least": float(beta.ppf(1 - SURE, held, trials - held + 1)) if held else 0.0,
        "held_most": float(beta.ppf(SURE, held + 1, trials - held)) if held < trials else 1.0,
        "kept_mean": float(kept.mean()),
        "kept_least": float(kept.min()),
        "routed": float((routed > 0).mean()),
        "to_weak": float(routed.mean()),
        "saved_mean": float(saved.mean()),
        "saved_most": float(saved.max()),
        "trials": trials,
    }


HEAD = (
    "weak   strong  measure    quality  sample  held (95% bounds)        kept (least)   "
    "saved (most)     routed  pair"
)


def line(one: dict[str, Any]) -> str:
    return (
        f"{one['weak']:.3f}  {one['strong']:.3f}   {one['measure']:9}  {one['quality']:7.2f}"
        f"   {one['sample']:5d}  {one['held']:.3f} ({one['held_least']:.3f} to "
        f"{one['held_most']:.3f})  {one['kept_mean']:.3f} ({one['kept_least']:.3f})"
        f"  {one['saved_mean']:+.3f} ({one['saved_most']:+.3f})  {one['routed']:6.2f}"
        f"  {one['pair']}"
    )


class Trials:
    """The trials that are done, in a file of a line each: a run that was stopped loses none."""

    def __init__(self, file: Path | None) -> None:
        self.file = file
        self.known: dict[str, list[list[float]]] = {}
        rows = file.read_text("utf-8").splitlines(True) if file and file.exists() else []
        if file and rows and not rows[-1].endswith("\n"):  # half written
            rows.pop()
            file.write_text("".join(rows), "utf-8")
        for row in rows:
            key, *one = json.loads(row)
            self.known.setdefault(key, []).append(one)

    def add(self, key: str, one: list[float]) -> None:
        if self.file:
            with self.file.open("a", encoding="utf-8") as out:
                out.write(json.dumps([key, *one]) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("data", type=Path)
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--quality", type=float, default=0.95)
    parser.add_argument("--confidence", type=float, default=0.9)
    parser.add_argument("--samples", type=int, nargs="*", default=[0, 800], help="0: sw.auto's own")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    found: list[dict[str, Any]] = []
    done = Trials(given.json and given.json.with_suffix(".trials.jsonl"))
    vectors = Vectors(store=cache_dir() / "study" / "minilm-l6.npz")
    known: dict[tuple[str, ...], Texts] = {}
    began = time.process_time()
    print(HEAD)
    for name, prompts, weak, strong in pairs(given.data):
        texts = known.setdefault(tuple(prompts), Texts(prompts, vectors))
        routers: dict[tuple[int, int], Learned] = {}
        for measure, sample in (
            ("agreement", 0),
            *(("grades", size) for size in given.samples),
        ):
            asked = {
                "pair": name,
                "measure": measure,
                "asked": sample,
                "trials": given.trials,
                "quality": given.quality,
                "promised": given.confidence,
            }
            key = json.dumps({k: v for k, v in asked.items() if k != "trials"}, sort_keys=True)
            made = study(
                texts,
                weak,
                strong,
                trials=given.trials,
                quality=given.quality,
                confidence=given.confidence,
                sample=sample or None,
                measure=measure,
                routers=routers,
                told=done.known.get(key),
                tell=partial(done.add, key),
            )
            one = {**made, **asked}
            found.append(one)
            if given.json:
                given.json.write_text(json.dumps(found, indent=1) + "\n", "utf-8")
            print(line(one), flush=True)
    vectors.save()
    print(f"{time.process_time() - began:.0f} seconds of CPU")


if __name__ == "__main__":
    main()
