"""`neighbours`: the difficulty of the most similar training prompts. A strong, simple baseline
(arXiv 2505.12601), and one that can say what it leans on. Prompts are kept as vectors, never as
text."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from swath.routing.graded import Graded
from swath.routing.router import Arrays, Neighbour, Texts
from swath.routing.shared import Floats, Shared

K = 40
SHARPNESS = 10.0  # a neighbour's weight is exp(sharpness * cosine)
BLOCK, CELLS = 1024, 1 << 22  # queries at once, and cosines at once: 32 MB


@dataclass
class Neighbours(Shared):
    """hardness = weighted mean over the K nearest by cosine."""

    kept: NDArray[np.float32] = field(default_factory=lambda: np.zeros((0, 0), np.float32))
    target: Floats = field(default_factory=lambda: np.zeros(0))
    source: NDArray[Any] = field(default_factory=lambda: np.zeros(0, np.int32))
    sources: tuple[str, ...] = ()

    kind = "neighbours"
    summary = "the difficulty of the most similar training prompts"
    by_gain = True
    embeds = True
    memorizes = True

    def learn(self, texts: Texts, target: Floats, graded: Graded, seed: int) -> None:
        # What is saved is what is used, in half precision, so that a reloaded router is the same.
        self.kept = _unit(texts.vectors).astype(np.float16).astype(np.float32)
        self.target = target
        self.source, self.sources = graded.source.astype(np.int32), graded.sources

    def hardness(self, texts: Texts) -> Floats:
        x = _unit(texts.vectors).astype(np.float32)
        made = np.zeros(len(x))
        block = min(BLOCK, max(1, CELLS // max(len(self.kept), 1)))
        for start in range(0, len(x), block):
            near, weight = self._nearest(x[start : start + block])
            made[start : start + block] = (weight * self.target[near]).sum(axis=1)
        return made

    def _nearest(self, x: NDArray[np.float32]) -> tuple[NDArray[np.intp], Floats]:
        """Rows of the K nearest and their weights, which sum to 1; the nearest first."""
        cosine = (x @ self.kept.T).astype(np.float64)
        k = min(K, cosine.shape[1])
        near = np.argpartition(-cosine, k - 1, axis=1)[:, :k]
        value = np.take_along_axis(cosine, near, axis=1)
        order = np.argsort(-value, axis=1, kind="stable")
        near, value = np.take_along_axis(near, order, 1), np.take_along_axis(value, order, 1)
        weight = np.exp(SHARPNESS * (value - value[:, :1]))
        return near, weight / weight.sum(axis=1, keepdims=True)

    def neighbours(self, texts: Texts) -> list[Neighbour]:
        x = _unit(texts.vectors).astype(np.float32)
        near, _ = self._nearest(x)
        return [
            Neighbour(
                row=int(i),
                source=self.sources[int(self.source[i])],
                likeness=float(x[0] @ self.kept[i]),
                difficulty=float(self.target[i]),
            )
            for i in near[0][:5]
        ]

    def learned(self) -> tuple[dict[str, Any], Arrays]:
        arrays: Arrays = {
            "kept": self.kept.astype(np.float16),
            "target": self.target,
            "source": self.source,
        }
        return {"sources": list(self.sources)}, arrays

    def relearn(self, values: dict[str, Any], arrays: Arrays) -> None:
        self.kept = arrays["kept"].astype(np.float32)
        self.target, self.source = arrays["target"], arrays["source"]
        self.sources = tuple(values["sources"])
        if not len(self.kept) == len(self.target) == len(self.source):
            raise ValueError("a target for each vector")


def _unit(x: Floats) -> Floats:
    length = np.linalg.norm(x, axis=1, keepdims=True)
    made: Floats = x / np.maximum(length, 1e-12)
    return made
