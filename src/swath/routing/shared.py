"""`Shared`: routers that learn one number a prompt, its difficulty, for all models at once.

Learning the difficulty that models share, rather than the gap of one pair, uses every grade there
is, and carries over to pairs that were never seen. It is learned within each source: labels of two
kinds (a judge's win rate, right or wrong) on one scale would teach that all chat is hard. Each
model then gets its own curve from difficulty to quality.
"""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from swath.routing.ability import curves, difficulties, sigmoid
from swath.routing.graded import Graded
from swath.routing.router import Arrays, Learned, Texts

Floats = NDArray[np.float64]
FOLDS = 5


@dataclass
class Shared(Learned):
    """Subclasses say how `hardness` is computed and learned. Scores are hardness with mean 0 and
    standard deviation 1 over the training prompts."""

    centre: float = 0.0
    spread: float = 1.0
    level: Floats = field(default_factory=lambda: np.zeros(0))
    slope: Floats = field(default_factory=lambda: np.zeros(0))

    memorizes: ClassVar[bool] = False  # scores of its own training prompts are too good to be true

    @abstractmethod
    def learn(self, texts: Texts, target: Floats, graded: Graded, seed: int) -> None:
        """Learn to predict `target` (n,), the difficulty of each row of `graded`."""

    @abstractmethod
    def hardness(self, texts: Texts) -> Floats:
        """Predicted difficulty on any scale, shape (n,)."""

    def fit(self, graded: Graded, texts: Texts, seed: int) -> Self:
        target = difficulties(graded)
        if self.memorizes:
            raw = np.zeros(len(graded))
            fold = folds(graded.prompts, seed)
            for k in range(FOLDS):
                out = fold == k
                if not out.any() or out.all():
                    continue
                inside = np.flatnonzero(~out)
                self.learn(texts.only(inside), target[inside], graded.rows(~out), seed)
                raw[out] = self.hardness(texts.only(np.flatnonzero(out)))
            self.learn(texts, target, graded, seed)
        else:
            self.learn(texts, target, graded, seed)
            raw = self.hardness(texts)
        self.centre = float(raw.mean())
        self.spread = float(raw.std()) or 1.0
        return self.recast(graded, raw)

    def recast(self, graded: Graded, raw: Floats | None = None) -> Self:
        """Give it the models of `graded`: new curves, the same difficulty. `raw` is the hardness
        of its prompts where it is known."""
        raw = self.hardness(self.texts(graded.prompts)) if raw is None else raw
        self.models = graded.models
        # What a score is worth is learned within sources too: that one source's prompts are long
        # and easy says nothing of long prompts. A source's average prompt counts as an average one.
        score = centred(raw[:, None], graded)[:, 0] / self.spread
        self.level, self.slope = curves(score, graded.quality)
        return self

    def wants(self, texts: Texts) -> Floats:
        return (self.hardness(texts) - self.centre) / self.spread

    def quality(self, texts: Texts) -> Floats:
        return sigmoid(self.level[None, :] + self.slope[None, :] * self.wants(texts)[:, None])

    def state(self) -> tuple[dict[str, Any], Arrays]:
        values, arrays = self.learned()
        values = {"centre": self.centre, "spread": self.spread, **values}
        return values, {"level": self.level, "slope": self.slope, **arrays}

    def restore(self, values: dict[str, Any], arrays: Arrays) -> None:
        self.centre, self.spread = float(values["centre"]), float(values["spread"])
        self.level, self.slope = arrays["level"], arrays["slope"]
        if not self.level.shape == self.slope.shape == (len(self.models),):
            raise ValueError("a curve for each model")
        self.relearn(values, arrays)

    def learned(self) -> tuple[dict[str, Any], Arrays]:
        """What `hardness` needs: plain values, and arrays."""
        return {}, {}

    def relearn(self, values: dict[str, Any], arrays: Arrays) -> None:
        """The reverse of `learned`."""
        return


def centred(x: Floats, graded: Graded) -> Floats:
    """`x` (n, d) less the mean of each source."""
    made = x.copy()
    for rows in graded.by_source():
        made[rows] -= x[rows].mean(axis=0)
    return made


def folds(prompts: tuple[str, ...], seed: int) -> NDArray[np.intp]:
    """A fold for each prompt, by its hash: equal prompts share one, and row order does not
    matter. Shape (n,)."""
    return np.array([int(uniform(p, seed) * FOLDS) for p in prompts], np.intp)


def uniform(prompt: str, seed: int) -> float:
    """A number in [0, 1) that depends on the prompt and the seed only."""
    digest = hashlib.sha256(f"{seed}:{prompt}".encode()).digest()
    return int.from_bytes(digest[:7], "big") / (1 << 56)
