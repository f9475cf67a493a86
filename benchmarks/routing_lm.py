"""Does a local language model's own certainty say which prompts want a strong model?

    nice -n 15 python -m benchmarks.routing_lm read --data DATA/routing    # long: 2 s a prompt
    python -m benchmarks.routing_lm choose --data DATA/routing             # training side only
    python -m benchmarks.routing_lm measure --data DATA/routing            # once the design stands

`read` puts the model's readings (`swath.routing.causal_reading`) of a seeded sample into a store:
of every training source the same number of prompts, all of MT-Bench, and MMLU and GSM8K in a seeded
random order, for as long as it is left running. It sees no outcomes.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from swath.paths import cache_dir
from swath.routing import features
from swath.routing.ability import difficulties
from swath.routing.benchmarks import BENCHMARKS, Benchmark, benchmark, training
from swath.routing.causal import TELLS, Causal, favoured, told
from swath.routing.causal_reading import Readings
from swath.routing.evaluate import evaluate
from swath.routing.features import word_count
from swath.routing.graded import Graded
from swath.routing.shared import Floats, uniform
from swath.routing.training import load

MODEL = "qwen2.5-coder-0.5b"
EACH = 60  # training prompts of a source
MOST = {"mt-bench": 72, "mmlu": 1000, "gsm8k": 330}
MANY = 2000  # more than a source is read of: what was read is used
PULL = 10.0  # of the ridges that are compared
STEP = 8  # prompts between two saves
AVOID = "win_vs_text_davinci_003"  # a second grade of the same chat prompts


def sample(data: Path, each: int = EACH) -> Graded:
    """`each` prompts of every training source, by a hash of theirs."""
    graded = training(data)
    keep = np.zeros(len(graded), np.bool_)
    for rows in graded.by_source():
        if AVOID in graded.sources[graded.source[rows[0]]]:
            continue
        keep[sorted(rows, key=lambda i: uniform(graded.prompts[i], 1))[:each]] = True
    return graded.rows(keep)


def drawn(bench: Benchmark) -> Benchmark:
    """The benchmark in a seeded random order, cut at `MOST`."""
    order = np.random.default_rng(0).permutation(len(bench.prompts))[: MOST[bench.name]]
    prompts = tuple(bench.prompts[i] for i in order)
    return Benchmark(bench.name, prompts, bench.weak[order], bench.strong[order])


def store(model: str) -> Path:
    return cache_dir() / "study" / f"lm-{model}.npz"


def read(data: Path, model: str, each: int) -> None:
    """Training prompts first, then MT-Bench, then three of MMLU to one of GSM8K."""
    # The sources mixed, so that a reading that is cut short has some of each.
    texts = sorted(sample(data, each).prompts, key=lambda p: uniform(p, 2))
    sets = {name: list(drawn(benchmark(data, name)).prompts) for name in BENCHMARKS}
    texts += sets["mt-bench"]
    mmlu, maths = sets["mmlu"], sets["gsm8k"]
    for i in range(len(maths)):
        texts += [*mmlu[3 * i : 3 * i + 3], maths[i]]
    texts += mmlu[3 * len(maths) :]
    readings = Readings(model, store=store(model))
    for start in range(0, len(texts), STEP):
        readings(texts[start : start + STEP])
        readings.save()
        print(f"{start + STEP:5} of {len(texts)}", flush=True)


def choose(data: Path, model: str) -> None:
    """On the training side: the rank correlation, within each source, of what the readings tell
    with difficulty and with the gain from the middle models to the best; and with one source left
    out, of the routers that could be made of them."""
    whole = training(data)
    own = sample(data, MANY)
    readings = Readings(model, store=store(model))
    own = own.rows(readings.known(own.prompts))
    place = {(p, s): i for i, (p, s) in enumerate(zip(whole.prompts, whole.source, strict=True))}
    rows = [place[p, s] for p, s in zip(own.prompts, own.source, strict=True)]
    hard = difficulties(whole)[rows]
    gain = _gain(whole)[rows]
    cheap = np.log1p([word_count(p) for p in own.prompts])
    found = told(readings(own.prompts), favoured(readings(own.prompts)))
    named = {"words": cheap, **dict(zip(TELLS, found.T, strict=True))}
    sources = [(own.sources[own.source[r[0]]], r) for r in own.by_source()]
    for title, target in (("difficulty", hard), ("gain", gain)):
        print(f"\n{title:30}", *(f"{name[-10:]:>11}" for name, _ in sources), f"{'mean':>11}")
        print(f"{'prompts':30}", *(f"{len(r):11}" for _, r in sources))
        for name, value in named.items():
            _row(name, [rank_correlation(value[r], target[r]) for _, r in sources])
    print("\nleft out: difficulty, then gain")
    lexical, default = features.lexical(own.prompts), load("default").score(own.prompts)
    kinds = {"features": lexical, "readings": found, "both": np.hstack([found, lexical])}
    scores = {name: np.zeros(len(own)) for name in kinds}
    for _, out in sources:
        inside = np.setdiff1d(np.arange(len(own)), out)
        for name, x in kinds.items():
            scores[name][out] = x[out] @ ridge(x[inside], hard[inside], own.source[inside])
    for name, score in {"default": default, **scores}.items():
        for target in (hard, gain):
            _row(name, [rank_correlation(score[r], target[r]) for _, r in sources])


def measure(data: Path, model: str) -> None:
    """APGR on the drawn prompts that were read, beside the default router and the word count on the
    very same. The router is `causal` as it ships, trained on the readings of the sample."""
    readings = Readings(model, store=store(model))
    own = sample(data, MANY)
    own = own.rows(readings.known(own.prompts))
    router = Causal(models=own.models, reader=model)
    router._readings = readings
    router.fit(own, router.texts(own.prompts), 0)
    default = load("default")
    print(f"{model}: trained on {len(own)} prompts")
    for name in BENCHMARKS:
        bench = drawn(benchmark(data, name))
        known = readings.known(bench.prompts)
        count = int(np.argmin(known)) if not known.all() else len(known)
        if count < 30:
            print(f"{name}: only {count} were read")
            continue
        prompts, weak, strong = bench.prompts[:count], bench.weak[:count], bench.strong[:count]
        found = told(readings(prompts), router.favour)
        kinds = {
            "default": default.score(prompts),
            "words": np.array([word_count(p) for p in prompts], np.float64),
            "causal": router.score(prompts),
            "expected score": found[:, TELLS.index("expected score")],
            "uncertainty of the option": -found[:, TELLS.index("certainty of the option")],
            "uncertainty of the first word": -found[:, TELLS.index("certainty of the first word")],
        }
        for kind, score in kinds.items():
            apgr = evaluate(score, weak, strong).apgr
            told_ = f"{apgr.estimate:.3f} ({apgr.low:.3f} to {apgr.high:.3f})"
            print(f"{name:9} n={count:5} {kind:30} {told_}", flush=True)


def ridge(x: Floats, target: Floats, source: NDArray[np.intp]) -> Floats:
    """Coefficients of `x` (n, d) for `target` (n,), both less the mean of their source."""
    z, y = x.copy(), target.copy()
    for own in np.unique(source):
        rows = source == own
        z[rows] -= z[rows].mean(axis=0)
        y[rows] -= y[rows].mean()
    spread = np.maximum(z.std(axis=0), 1e-6)
    z = z / spread
    made: Floats = np.linalg.solve(z.T @ z + PULL * np.eye(z.shape[1]), z.T @ y) / spread
    return made


def rank_correlation(a: Floats, b: Floats) -> float:
    """Spearman's, equal values sharing their mean rank; NaN where one is constant."""
    from scipy.stats import rankdata

    ranks = [rankdata(v) for v in (a, b)]
    if min(r.std() for r in ranks) == 0:
        return float("nan")
    return float(np.corrcoef(*ranks)[0, 1])


def _gain(graded: Graded) -> Floats:
    """What the best models gain over the middle ones on each row; NaN where it is not known."""
    pair = graded.tiers()
    known = {
        (p, s): g
        for p, s, g in zip(
            pair.prompts, pair.source, pair.quality[:, 1] - pair.quality[:, 0], strict=True
        )
    }
    keys = zip(graded.prompts, graded.source, strict=True)
    return np.array([known.get(key, np.nan) for key in keys])


def _row(name: str, found: list[float]) -> None:
    print(f"{name:30}", *(f"{c:11.3f}" for c in (*found, float(np.nanmean(found)))), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["read", "choose", "measure"])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", default=MODEL)
    parser.add_argument("--each", type=int, default=EACH, help="training prompts a source")
    given = parser.parse_args()
    if given.what == "read":
        read(given.data, given.model, given.each)
    elif given.what == "choose":
        choose(given.data, given.model)
    else:
        measure(given.data, given.model)


if __name__ == "__main__":
    main()
