"""`boosted`: gradient-boosted trees (LightGBM) over embeddings and cheap features, for prompts like
its training prompts. Saved as plain arrays, evaluated by numpy."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from swath.errors import MissingExtra
from swath.routing.graded import Graded
from swath.routing.router import Arrays, Texts
from swath.routing.shared import Floats, Shared
from swath.routing.trees import Trees

COMPONENTS = 64
ROUNDS = 250
SETTINGS: dict[str, Any] = {
    "objective": "regression",
    "learning_rate": 0.04,
    "num_leaves": 15,
    "min_data_in_leaf": 20,
    "bagging_fraction": 0.7,
    "bagging_freq": 1,
    "feature_fraction": 0.4,
    "lambda_l2": 5.0,
    "deterministic": True,
    "force_row_wise": True,
    "num_threads": 1,
    "verbosity": -1,
}


@dataclass
class Boosted(Shared):
    """hardness = trees([features, principal components of the embeddings])."""

    mean: Floats = field(default_factory=lambda: np.zeros(0))
    axes: Floats = field(default_factory=lambda: np.zeros((0, 0)))
    trees: Trees | None = None

    kind = "boosted"
    summary = "boosted trees over embeddings and features; for prompts like yours"
    by_gain = True
    embeds = True
    memorizes = True

    def learn(self, texts: Texts, target: Floats, graded: Graded, seed: int) -> None:
        try:
            import lightgbm
        except ImportError:
            raise MissingExtra("Training boosted trees", "routing") from None
        vectors = texts.vectors
        self.mean, self.axes = components(vectors, COMPONENTS)
        least = max(1, min(SETTINGS["min_data_in_leaf"], len(target) // 10))
        settings = SETTINGS | {"seed": seed, "min_data_in_leaf": least}
        data = lightgbm.Dataset(self._inputs(texts), label=target)
        model = lightgbm.train(settings, data, num_boost_round=ROUNDS)
        self.trees = Trees.of_lightgbm(model.dump_model())

    def _inputs(self, texts: Texts) -> Floats:
        return np.hstack([texts.lexical, (texts.vectors - self.mean) @ self.axes])

    def hardness(self, texts: Texts) -> Floats:
        assert self.trees is not None, "trained or restored before it is asked"
        return self.trees.predict(self._inputs(texts))

    def learned(self) -> tuple[dict[str, Any], Arrays]:
        assert self.trees is not None, "trained before it is saved"
        return {}, {"mean": self.mean, "axes": self.axes, **self.trees.arrays()}

    def relearn(self, values: dict[str, Any], arrays: Arrays) -> None:
        self.mean, self.axes = arrays["mean"], arrays["axes"]
        self.trees = Trees.of(arrays)


def components(vectors: Floats, count: int) -> tuple[Floats, Floats]:
    """The mean (d,) and the first principal axes (d, count) of vectors (n, d), each axis with its
    largest entry positive, so that the same data always give the same axes."""
    mean = vectors.mean(axis=0)
    _, axes = np.linalg.eigh((vectors - mean).T @ (vectors - mean))
    first = axes[:, ::-1][:, : min(count, vectors.shape[1])]
    largest = np.abs(first).argmax(axis=0)
    first = first * np.sign(first[largest, np.arange(first.shape[1])])
    return mean, np.ascontiguousarray(first)
