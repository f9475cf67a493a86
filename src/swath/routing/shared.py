"""`Shared`: routers that learn one number a prompt, its difficulty, for all models at once.

Learning the difficulty that models share, rather than the gap of one pair, uses every grade there
is, and carries over to pairs that were never seen. It is learned within each source: labels of two
kinds (a judge's win rate, right or wrong) on one scale would teach that all chat is hard. Each
model then gets its own curve from difficulty to quality.

Where there are two models, graded on the same prompts, the score is what the strong one is expected
to gain, and not the difficulty: it fails on the hardest prompts too, and sending it those is worth
nothing. Of three or more no pair is known beforehand, and the gain of one is not that of another.
"""

from __future__ import annotations

import hashlib
import weakref
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
REACH = 4.0  # standard deviations of the training prompts


@dataclass
class Shared(Learned):
    """Subclasses say how `hardness` is computed and learned. `standing` is hardness with mean 0 and
    standard deviation 1 over the training prompts. The score is that, or, where `ends` names the
    places of the weak and the strong model, what the strong one is expected to gain."""

    centre: float = 0.0
    spread: float = 1.0
    level: Floats = field(default_factory=lambda: np.zeros(0))
    slope: Floats = field(default_factory=lambda: np.zeros(0))

    ends: tuple[int, int] | None = None
    _raw: Floats | None = None  # hardness of the training prompts, as if not trained on
    _stood: tuple[weakref.ref[Texts], Floats] | None = (
        None  # standing of the texts last asked about
    )

    by_gain: ClassVar[bool] = False  # whether it may score by gain
    floats: ClassVar[bool] = False  # learned from centred features: its level means nothing

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
                raw[out] -= self.mean_level(texts.only(inside))
            self.learn(texts, target, graded, seed)
            raw += self.mean_level(texts)
        else:
            self.learn(texts, target, graded, seed)
            raw = self.hardness(texts)
        self.centre = float(raw.mean())
        self.spread = float(raw.std()) or 1.0
        return self.recast(graded, raw)

    def mean_level(self, texts: Texts) -> float:
        """What has to be taken off the hardness before it is compared with another fold's."""
        return float(self.hardness(texts).mean()) if self.floats else 0.0

    def recast(self, graded: Graded, raw: Floats | None = None) -> Self:
        """Give it the models of `graded`: new curves, the same difficulty. `raw` is the hardness
        of its prompts where it is known."""
        self._stood, self._raw = None, raw
        raw = self.hardness(self.texts(graded.prompts)) if raw is None else raw
        self.models = graded.models
        # What a score is worth is learned within sources too: that one source's prompts are long
        # and easy says nothing of long prompts. A source's average prompt counts as an average one.
        score = centred(raw[:, None], graded)[:, 0] / self.spread
        self.level, self.slope = curves(within(score), graded.quality)
        return self

    def settle(self, graded: Graded) -> None:
        self.ends = apart(graded) if self.by_gain else None

    def unseen(self, graded: Graded, texts: Texts, seed: int) -> Floats:
        if self._raw is None:
            return self.wants(texts)
        return self._scored((self._raw - self.centre) / self.spread)

    def standing(self, texts: Texts) -> Floats:
        """How hard each prompt is, on the scale that curves start from. Shape (n,)."""
        stood = self._stood  # read once: other threads put theirs there
        if stood is not None and stood[0]() is texts:
            return stood[1]
        made = (self.hardness(texts) - self.centre) / self.spread
        self._stood = (weakref.ref(texts), made)
        return made

    def wants(self, texts: Texts) -> Floats:
        return self._scored(self.standing(texts))

    def quality(self, texts: Texts) -> Floats:
        return self._expected(self.standing(texts))

    def _scored(self, standing: Floats) -> Floats:
        return standing if self.ends is None else gained(self._expected(standing), self.ends)

    def _expected(self, standing: Floats) -> Floats:
        return sigmoid(self.level[None, :] + self.slope[None, :] * within(standing)[:, None])

    def state(self) -> tuple[dict[str, Any], Arrays]:
        values, arrays = self.learned()
        values = {"centre": self.centre, "spread": self.spread, **values}
        if self.ends is not None:
            values["ends"] = list(self.ends)
        return values, {"level": self.level, "slope": self.slope, **arrays}

    def restore(self, values: dict[str, Any], arrays: Arrays) -> None:
        self.centre, self.spread = float(values["centre"]), float(values["spread"])
        self.level, self.slope = arrays["level"], arrays["slope"]
        if not self.level.shape == self.slope.shape == (len(self.models),):
            raise ValueError("a curve for each model")
        self.ends = restored(values, len(self.models))
        self.relearn(values, arrays)

    def learned(self) -> tuple[dict[str, Any], Arrays]:
        """What `hardness` needs: plain values, and arrays."""
        return {}, {}

    def relearn(self, values: dict[str, Any], arrays: Arrays) -> None:
        """The reverse of `learned`."""
        return


def within(standing: Floats) -> Floats:
    """Squeezed to within `REACH`, in the same order: of prompts far from all that it was trained
    on a router knows no more than of the last ones that it saw."""
    made: Floats = REACH * np.tanh(standing / REACH)
    return made


def centred(x: Floats, graded: Graded) -> Floats:
    """`x` (n, d) less the mean of each source."""
    made = x.copy()
    for rows in graded.by_source():
        made[rows] -= x[rows].mean(axis=0)
    return made


def held_out(router: Learned, graded: Graded, texts: Texts, seed: int) -> Floats:
    """Scores of the prompts that `router` was trained on, each by one trained on other folds. A
    fold without which a model has no grades is scored by `router` itself. Shape (n,)."""
    made = router.wants(texts)
    fold = folds(graded.prompts, seed)
    for k in range(FOLDS):
        out = fold == k
        inside = graded.rows(~out)
        if not out.any() or len(inside) < 2 or not np.isfinite(inside.quality).any(axis=0).all():
            continue
        other = type(router)(models=router.models)
        other.fit(inside, texts.only(np.flatnonzero(~out)), seed)
        other.settle(inside)
        made[out] = other.wants(texts.only(np.flatnonzero(out)))
    return made


def apart(graded: Graded) -> tuple[int, int] | None:
    """The places of the weak and the strong one of two models, by their means over the prompts that
    both were graded on. None where there are more models, where those prompts are less than half
    of all, or where either's grades or the means are all alike: then difficulty is all there is to
    go by."""
    if len(graded.models) != 2:
        return None
    both = np.isfinite(graded.quality).all(axis=1)
    if both.mean() < 0.5:
        return None
    mean = graded.quality[both].mean(axis=0)
    weak, strong = int(mean.argmin()), int(mean.argmax())
    alike = graded.quality[both].std(axis=0) < 1e-9
    if alike[weak] or alike[strong] or mean[strong] - mean[weak] < 1e-9:
        return None
    return weak, strong


def gained(quality: Floats, ends: tuple[int, int]) -> Floats:
    """What the strong model's quality (n, m) has over the weak one's. Shape (n,)."""
    weak, strong = ends
    made: Floats = quality[:, strong] - quality[:, weak]
    return made


def restored(values: dict[str, Any], models: int) -> tuple[int, int] | None:
    """`ends` of a file, where it has them. Raises ValueError."""
    if values.get("ends") is None:
        return None
    weak, strong = (int(i) for i in values["ends"])
    if not (0 <= weak < models and 0 <= strong < models and weak != strong):
        raise ValueError("ends that are no models")
    return weak, strong


def folds(prompts: tuple[str, ...], seed: int) -> NDArray[np.intp]:
    """A fold for each prompt, by its hash: equal prompts share one, and row order does not
    matter. Shape (n,)."""
    return np.array([int(uniform(p, seed) * FOLDS) for p in prompts], np.intp)


def uniform(prompt: str, seed: int) -> float:
    """A number in [0, 1) that depends on the prompt and the seed only."""
    digest = hashlib.sha256(f"{seed}:{prompt}".encode(errors="replace")).digest()
    return int.from_bytes(digest[:7], "big") / (1 << 56)
