"""Routers on benchmarks: which ones, scored, measured, beside what RouteLLM published."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from swath.errors import InputError
from swath.paths import cache_dir
from swath.routing.benchmarks import BENCHMARKS, Benchmark, benchmark, training
from swath.routing.evaluate import Interval, Result, evaluate, oracle, random_curve
from swath.routing.graded import Graded
from swath.routing.kinds import KINDS
from swath.routing.router import Learned
from swath.routing.training import DEFAULT, load, train
from swath.routing.vectors import Vectors
from swath.routing.words import Words

Floats = NDArray[np.float64]
ALL = "all"
BASELINE = "words"


@dataclass(frozen=True)
class Study:
    """What `run` gives: a benchmark, and the results on it, in the order asked for, with the word
    count, random and the oracle last."""

    benchmark: Benchmark
    results: tuple[Result, ...]


def run(
    folder: str | os.PathLike[str],
    benchmarks: Sequence[str],
    routers: Sequence[str],
    *,
    resamples: int = 1000,
    seed: int = 0,
    note: Callable[[str], None] = lambda text: None,
) -> Iterator[Study]:
    """Each benchmark in turn. `routers` are kinds (trained here on the folder's training files),
    paths, `default`, or `all`: the default and every kind. Raises InputError."""
    asked = [DEFAULT, *KINDS] if ALL in routers else list(dict.fromkeys(routers))
    encode = Vectors(store=cache_dir() / "study" / "minilm-l6.npz")
    graded: Graded | None = None
    made: dict[str, Learned] = {}
    sets = [benchmark(folder, name) for name in benchmarks]
    for name in asked:
        if name in KINDS:
            if graded is None:
                graded = training(folder)
            note(f"training {name}")
            made[name] = train(graded, name, seed=seed, encode=encode)
        elif name == DEFAULT or Path(name).is_file():
            made[name] = load(name, encode=None)
        else:
            raise InputError(
                f"'{name}' is neither a kind of router nor a file.",
                hint=f"Kinds: {', '.join(KINDS)}; or 'default', 'all', or a path.",
            )
    for data in sets:
        found = []
        for name, router in made.items():
            note(f"{data.name}: {name}")
            scores = router.score(data.prompts)
            found.append(_measure(name, data, scores, resamples, seed))
        encode.save()
        if BASELINE not in made:
            counted = Words(models=("weak", "strong"))
            found.append(_measure(BASELINE, data, counted.score(data.prompts), resamples, seed))
        found.append(_random(data, seed))
        found.append(_measure("oracle", data, oracle(data.weak, data.strong), resamples, seed))
        yield Study(data, tuple(found))
    encode.save()


def chosen(names: str) -> list[str]:
    """Benchmarks named on the command line, `all` being all three. Raises InputError."""
    if names == ALL:
        return list(BENCHMARKS)
    return [n.strip() for n in names.split(",") if n.strip()]


def _measure(name: str, data: Benchmark, scores: Floats, resamples: int, seed: int) -> Result:
    return evaluate(
        scores,
        data.weak,
        data.strong,
        router=name,
        benchmark=data.name,
        resamples=resamples,
        seed=seed,
    )


def _random(data: Benchmark, seed: int) -> Result:
    """RouteLLM's random router; its interval is where single draws lie."""
    whole = random_curve(data.weak, data.strong, seed=seed)
    rng = np.random.default_rng(seed)
    drawn = [
        random_curve(data.weak, data.strong, runs=1, seed=int(rng.integers(1 << 31)))
        for _ in range(200)
    ]
    figures = np.array([(c.apgr, c.cpt(0.5), c.cpt(0.8)) for c in drawn])
    low, high = np.quantile(figures, [0.025, 0.975], axis=0).tolist()
    middle = (whole.apgr, whole.cpt(0.5), whole.cpt(0.8))
    apgr, cpt50, cpt80 = (Interval(*v) for v in zip(middle, low, high, strict=True))
    return Result("random (10 draws)", data.name, len(data.prompts), apgr, cpt50, cpt80, whole)
