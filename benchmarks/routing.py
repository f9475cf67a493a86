"""What ships with the routers, and how it was made.

    python -m benchmarks.routing words                        # the word vectors, from the encoder
    python -m benchmarks.routing default --data DATA/routing  # the default router
    python -m benchmarks.routing folds --data DATA/routing    # each training source left out
    python -m benchmarks.routing held --data DATA/routing     # a fifth of the clusters held out
    python -m benchmarks.routing apgr --data DATA/routing     # in domain, five folds by cluster
    python -m benchmarks.routing cost                         # CPU for one decision

`swath router eval --benchmark all --data DATA/routing --routers all` gives the tables of
docs/routing.md: out of domain. `held` and `apgr` are in domain, on the training files alone; the
two are never put in one table. The default router is trained on the training files only, with
seed 0; nothing here but `swath router eval` opens the evaluation file.
"""

from __future__ import annotations

import argparse
import json
import re
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl

from swath.paths import cache_dir
from swath.routing.ability import difficulties
from swath.routing.artifact import save
from swath.routing.benchmarks import training
from swath.routing.evaluate import evaluate, oracle
from swath.routing.features import split
from swath.routing.graded import Graded
from swath.routing.kinds import KINDS, kind_of
from swath.routing.lexicon import WIDTH
from swath.routing.shared import Shared, uniform
from swath.routing.training import load, train
from swath.routing.vectors import Vectors

HOME = Path(__file__).parent.parent / "src" / "swath" / "routing"
VECTORS = cache_dir() / "study" / "minilm-l6.npz"
_WHOLE = re.compile("[a-z]{2,}")
SPECIAL = 996  # MiniLM's vocabulary: special tokens and single signs first, then words by frequency


def make_words() -> None:
    """Each whole word of the encoder's vocabulary, encoded alone; 128 components, 8 bits."""
    from swath.local import weights
    from swath.local.encoder import encoder

    place = weights.obtain("minilm-l6").with_name("tokenizer.json")
    vocabulary: dict[str, int] = json.loads(place.read_text("utf-8"))["model"]["vocab"]
    words = sorted(
        (w for w in vocabulary if re.fullmatch("[a-z]{2,}", w)), key=vocabulary.__getitem__
    )
    vectors = np.array(encoder().embed(words).vectors)
    vectors -= vectors.mean(axis=0)
    _, axes = np.linalg.eigh(vectors.T @ vectors)
    main = axes[:, ::-1][:, :WIDTH]
    reduced = vectors @ (main * np.sign(main[np.abs(main).argmax(axis=0), np.arange(WIDTH)]))
    scale = np.abs(reduced).max(axis=0) / 127
    rank = np.array([max(vocabulary[w] - SPECIAL, 1) for w in words])
    np.savez_compressed(
        HOME / "words.npz",
        words=np.frombuffer("\n".join(words).encode("ascii"), np.uint8),
        vectors=np.round(reduced / scale).astype(np.int8),
        scale=scale.astype(np.float32),
        weights=np.log1p(rank / 20).astype(np.float32),
    )
    print(f"{len(words)} words, {(HOME / 'words.npz').stat().st_size / 1e6:.1f} MB")


def make_default(data: Path) -> None:
    """Trained on every source. Its two models are the middle and the best of the sources that are
    graded right or wrong and are no multiple choice: a win rate of 0.2 against a strong answer is
    no quality of 0.2, and options make a prompt longer and easier at once."""
    graded = training(data)
    router = train(graded, "transfer", seed=0)
    assert isinstance(router, Shared)
    compared = [i for i, name in enumerate(graded.sources) if "/win_vs_" in name]
    plain = np.array([not split(p)[1] for p in graded.prompts])
    router.recast(graded.rows(plain & ~np.isin(graded.source, compared)).tiers())
    # 166 models of other people's leaderboards are no use to whoever routes between two.
    router.training["mean_quality"] = {}
    path = save(router, HOME / "default.router")
    print(f"{path.name}: {path.stat().st_size / 1e3:.0f} kB, {router.training}")


def left_out(data: Path, kinds: list[str]) -> None:
    """Each training source left out in turn: the correlation of scores with its difficulties."""
    graded = training(data)
    encode = Vectors(store=VECTORS)
    names = [s for s in graded.sources if "davinci" not in s]
    keep = np.isin(graded.source, [graded.sources.index(s) for s in names])
    graded = graded.rows(keep)
    hard = difficulties(graded)
    print(f"{'':14}", *(f"{n[-12:]:>12}" for n in names))
    for kind in kinds:
        found = []
        for name in names:
            out = graded.source == graded.sources.index(name)
            inside, outside = graded.rows(~out), graded.rows(out)
            inside = _graded_only(inside)
            router = train(inside, kind, seed=0, encode=encode)
            scores = router.score(outside.prompts)
            found.append(_rank_correlation(scores, hard[out]))
        print(f"{kind:14}", *(f"{c:12.3f}" for c in found), flush=True)
    encode.save()


def held_out(data: Path, kinds: list[str]) -> None:
    """In domain: trained on four fifths of the clusters of near-duplicates, the correlation of
    scores with difficulty in the last fifth, within each source. The mean has a 95% bootstrap
    interval over the prompts of each source (1,000 resamples, seed 0)."""
    graded = training(data)
    encode = Vectors(store=VECTORS)
    out = _by_cluster(data, graded.prompts) < 0.2
    keep = np.array(["davinci" not in graded.sources[s] for s in graded.source])
    hard = difficulties(graded.rows(keep))[out[keep]]
    inside, outside = _graded_only(graded.rows(keep & ~out)), graded.rows(keep & out)
    names = [n for n in graded.sources if "davinci" not in n]
    print(f"{'':14}", *(f"{n[-12:]:>12}" for n in names), "        mean")
    for kind in kinds:
        scores = train(inside, kind, seed=0, encode=encode).score(outside.prompts)
        rows = [np.flatnonzero(outside.source == graded.sources.index(name)) for name in names]
        found = [_rank_correlation(scores[own], hard[own]) for own in rows]
        rng = np.random.default_rng(0)
        drawn = [
            np.mean(
                [
                    _rank_correlation(scores[d], hard[d])
                    for d in (rng.choice(r, len(r)) for r in rows)
                ]
            )
            for _ in range(1000)
        ]
        low, high = np.quantile(drawn, [0.025, 0.975])
        row = " ".join(f"{c:12.3f}" for c in (*found, float(np.mean(found))))
        print(f"{kind:14} {row} ({low:.3f} to {high:.3f})", flush=True)
    encode.save()


def in_domain(data: Path, kinds: list[str]) -> None:
    """In domain: APGR of scores for prompts whose cluster was not trained on (five folds), within
    each source, from the middle third of its models to its best fifth. Scores of different folds
    are compared by their place within fold and source. 95% bootstrap intervals, seed 0."""
    graded = training(data)
    graded = graded.rows(np.array(["davinci" not in graded.sources[s] for s in graded.source]))
    encode = Vectors(store=VECTORS)
    tiers = graded.tiers()
    fold = (_by_cluster(data, graded.prompts) * 5).astype(int)
    place = {
        (int(s), p): i for i, (s, p) in enumerate(zip(graded.source, graded.prompts, strict=True))
    }
    rows = np.array([place[int(s), p] for s, p in zip(tiers.source, tiers.prompts, strict=True)])
    for kind in kinds:
        scores = np.zeros(len(graded))
        for k in range(5):
            inside = _graded_only(graded.rows(fold != k))
            outside = np.flatnonzero(fold == k)
            router = train(inside, kind, seed=0, encode=encode)
            raw = router.score([graded.prompts[i] for i in outside])
            for source in np.unique(graded.source[outside]):
                own = graded.source[outside] == source
                scores[outside[own]] = np.argsort(np.argsort(raw[own])) / own.sum()
        for source, name in enumerate(graded.sources):
            own = tiers.source == source
            if not own.any():
                continue
            weak, strong = tiers.quality[own].T
            found = evaluate(scores[rows[own]], weak, strong, seed=0).apgr
            best = evaluate(oracle(weak, strong), weak, strong, resamples=20).apgr.estimate
            interval = f"{found.estimate:.3f} ({found.low:.3f} to {found.high:.3f})"
            print(
                f"{kind:14} {name[-24:]:24} {int(own.sum()):5} {interval}, oracle {best:.3f}",
                flush=True,
            )
    encode.save()


def _by_cluster(data: Path, prompts: Sequence[str]) -> np.ndarray:
    """A number in [0, 1) for each prompt, by the hash of its cluster of near-duplicates."""
    table = pl.read_parquet(data / "routing_prompts.parquet")
    cluster = dict(table.select("prompt", "cluster").iter_rows())
    return np.array([uniform(str(cluster[p]), 0) for p in prompts])


def cost() -> None:
    """Milliseconds of CPU for one decision of the default router, by length of the prompt."""
    router = load("default")
    words = [
        "Explain",
        "how",
        "the",
        "central",
        "limit",
        "theorem",
        "justifies",
        "the",
        "normal",
        "approximation",
        "here",
    ]
    for count in (10, 50, 200, 1000):
        prompt = " ".join(words[i % len(words)] for i in range(count))
        router.score([prompt])
        start = time.process_time()
        for _ in range(50):
            router.predict([prompt])
        print(f"{count:5} words: {(time.process_time() - start) / 50 * 1e3:.2f} ms")


def _graded_only(graded: Graded) -> Graded:
    """Without the models that have no grades in these rows."""
    used = np.atleast_1d(np.isfinite(graded.quality).any(axis=0))
    models = tuple(m for m, u in zip(graded.models, used, strict=True) if u)
    return replace(graded, models=models, quality=graded.quality[:, used])


def _rank_correlation(a: np.ndarray, b: np.ndarray) -> float:
    ranks = [np.argsort(np.argsort(v, kind="stable"), kind="stable") for v in (a, b)]
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])


def main() -> None:
    fast = [kind for kind in KINDS if not kind_of(kind).slow]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["words", "default", "folds", "held", "apgr", "cost"])
    parser.add_argument("--data", type=Path, help="the folder with routing_prompts.parquet")
    parser.add_argument("--kinds", default=",".join(fast), help="for folds, held, apgr; by comma")
    given = parser.parse_args()
    if given.what in ("default", "folds", "held", "apgr") and given.data is None:
        parser.error("--data FOLDER is needed")
    if given.what == "words":
        make_words()
    elif given.what == "cost":
        cost()
    elif given.what == "default":
        make_default(given.data)
    elif given.what == "held":
        held_out(given.data, given.kinds.split(","))
    elif given.what == "apgr":
        in_domain(given.data, given.kinds.split(","))
    else:
        left_out(given.data, given.kinds.split(","))


if __name__ == "__main__":
    main()
