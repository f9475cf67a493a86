"""Vectors of words, without a model: 21,719 English words, 128 numbers each, in this package.

They were distilled once from all-MiniLM-L6-v2 (Apache-2.0): each whole word of its vocabulary was
encoded alone, and the vectors reduced to their first 128 principal components and eight bits
(`benchmarks/routing.py words`). A text is the mean over its words, rare ones weighing more. It
knows the topic of a prompt at a thousandth of the encoder's cost.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
WIDTH = 128
_WORD = re.compile(r"[a-z]+")


class Lexicon:
    """`vectors` (w, 128) float32, already times the words' weights; `weights` (w,)."""

    def __init__(self, words: Sequence[str], vectors: NDArray[np.float32], weights: Floats) -> None:
        self.vectors = vectors
        self.weights = weights
        self._index = {word: i for i, word in enumerate(words)}

    def ids(self, text: str) -> list[int]:
        """The known words of a text, in order, by their row."""
        known = self._index
        return [known[w] for w in _WORD.findall(text.lower()) if w in known]

    def mean(self, texts: Sequence[str]) -> Floats:
        """One vector a text; zeros where it has no known word. Shape (n, 128)."""
        made = np.zeros((len(texts), WIDTH))
        for row, text in enumerate(texts):
            ids = self.ids(text)
            total = float(self.weights[ids].sum()) if ids else 0.0
            if total > 0:
                made[row] = self.vectors[ids].sum(axis=0, dtype=np.float64) / total
        return made

    def telling(self, text: str, slope: Floats, top: int = 5) -> list[tuple[str, float]]:
        """The words that move `mean(text) @ slope` the most, and by how much."""
        ids = self.ids(text)
        total = float(self.weights[ids].sum()) if ids else 0.0
        if total <= 0:
            return []
        each = self.vectors[ids].astype(np.float64) @ slope / total
        moved: dict[str, float] = {}
        names = [w for w in _WORD.findall(text.lower()) if w in self._index]
        for word, value in zip(names, each.tolist(), strict=True):
            moved[word] = moved.get(word, 0.0) + value
        return sorted(moved.items(), key=lambda item: (-abs(item[1]), item[0]))[:top]


@cache
def lexicon() -> Lexicon:
    """The packaged one, loaded when first used (about 40 ms)."""
    with (files("swath.routing") / "words.npz").open("rb") as file, np.load(file) as stored:
        words = bytes(stored["words"]).decode("ascii").split("\n")
        weights = stored["weights"].astype(np.float64)
        scaled = stored["vectors"].astype(np.float32) * stored["scale"].astype(np.float32)
    return Lexicon(words, scaled * weights[:, None].astype(np.float32), weights)
