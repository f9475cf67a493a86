"""Routers on benchmarks: which ones, scored, measured, beside what RouteLLM published."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from swath.errors import InputError, MissingExtra, WeightsError
from swath.paths import cache_dir
from swath.routing.benchmarks import BENCHMARKS, Benchmark, benchmark, training
from swath.routing.evaluate import Interval, Result, evaluate, oracle, random_curve
from swath.routing.graded import Graded
from swath.routing.kinds import KINDS, kind_of
from swath.routing.router import Learned, Texts
from swath.routing.training import DEFAULT, load, train
from swath.routing.vectors import Vectors
from swath.routing.words import Words

Floats = NDArray[np.float64]
ALL = "all"
BASELINE = "words"
PART = {"mmlu": 300, "gsm8k": 200}  # prompts that slow kinds are measured on
HEAVY_PART = {"mmlu": 3000}


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
    paths, `default`, or `all`: the default and every kind but the slow ones, which are asked for by
    name and measured on a seeded part. Of `all` what lacks an extra or weights is left out, and
    noted. Only the benchmarks asked for are embedded. Raises InputError, MissingExtra,
    WeightsError."""
    asked = _asked(routers)
    encode = Vectors(store=cache_dir() / "study" / "minilm-l6.npz")
    sets = [benchmark(folder, name) for name in benchmarks]
    made: dict[str, Learned] = {}
    graded: Graded | None = None
    texts: Texts | None = None
    for name in asked:
        if name not in KINDS:
            made[name] = _found(name)
            continue
        if graded is None or texts is None:
            graded = training(folder)
            texts = Texts(graded.prompts, encode)
        if kind_of(name).embeds and "vectors" not in texts.__dict__:
            note(f"embedding {len(set(graded.prompts)):,} training prompts, where not kept already")
            _ = texts.vectors
            encode.save()
        note(f"training {name}")
        _keep_readings(name)
        try:
            made[name] = train(graded, name, seed=seed, encode=encode, texts=texts)
        except (MissingExtra, WeightsError) as error:
            if ALL not in routers:
                raise
            note(f"{name} is left out: {error.message}")
    for data in sets:
        shared = Texts(data.prompts, encode)
        if any(r.embeds for n, r in made.items() if n in KINDS):
            note(f"embedding {len(data.prompts):,} prompts of {data.name}, where not kept already")
            _ = shared.vectors
            encode.save()
        found = []
        for name, router in made.items():
            note(f"{data.name}: {name}")
            own = data
            if router.slow or router.heavy:
                own = _part(data, PART if router.slow else HEAVY_PART, seed)
            same = name in KINDS and own is data
            scores = router.wants(shared) if same else router.score(own.prompts)
            found.append(_measure(name, own, scores, resamples, seed))
        if BASELINE not in made:
            counted = Words(models=("weak", "strong"))
            found.append(_measure(BASELINE, data, counted.score(data.prompts), resamples, seed))
        found.append(_random(data, seed))
        found.append(_measure("oracle", data, oracle(data.weak, data.strong), resamples, seed))
        yield Study(data, tuple(found))
    encode.save()
    for router in made.values():
        if (readings := getattr(router, "readings", None)) is not None:
            readings.save()


def _asked(routers: Sequence[str]) -> list[str]:
    """What `all` means: the default, and every kind but those that are too slow for it."""
    names = dict.fromkeys(routers)
    if ALL in names:
        fast = [k for k in KINDS if not kind_of(k).slow]
        names = dict.fromkeys([DEFAULT, *fast, *(n for n in names if n != ALL)])
    return list(names)


def _found(name: str) -> Learned:
    if name == DEFAULT or Path(name).is_file():
        return load(name, encode=None)
    raise InputError(
        f"'{name}' is neither a kind of router nor a file.",
        hint=f"Kinds: {', '.join(KINDS)}; or 'default', 'all', or a path.",
    )


def _part(data: Benchmark, sizes: Mapping[str, int], seed: int) -> Benchmark:
    """What a kind is measured on that takes long for a prompt: a seeded part, in its order."""
    size = sizes.get(data.name, len(data.prompts))
    if size >= len(data.prompts):
        return data
    rows = np.sort(np.random.default_rng(seed).permutation(len(data.prompts))[:size])
    prompts = tuple(data.prompts[i] for i in rows)
    return Benchmark(data.name, prompts, data.weak[rows], data.strong[rows])


def _keep_readings(name: str) -> None:
    """What a language model read once is kept beside the embeddings."""
    if name == "causal":
        from swath.routing.causal import store_at

        store_at(cache_dir() / "study" / "lm-smollm2-135m.npz")


def trained(
    graded: Graded,
    routers: Sequence[str],
    *,
    seed: int = 0,
    note: Callable[[str], None] = lambda text: None,
) -> dict[str, Learned]:
    """Routers on the user's own grades: kinds are trained, files read; `all` is every kind but the
    slow ones, without the default, which knows other models. Raises InputError, MissingExtra,
    WeightsError."""
    # What the study embedded is read; of the user's own prompts nothing is kept.
    encode = Vectors(store=cache_dir() / "study" / "minilm-l6.npz")
    texts = Texts(graded.prompts, encode)
    made: dict[str, Learned] = {}
    for name in _asked(routers):
        if name == DEFAULT and ALL in routers:
            continue
        note(f"training {name}")
        try:
            made[name] = (
                train(graded, name, seed=seed, encode=encode, texts=texts)
                if name in KINDS
                else _found(name)
            )
        except (MissingExtra, WeightsError) as error:
            if ALL not in routers:
                raise
            note(f"{name} is left out: {error.message}")
    return made


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
