"""`factorization`: matrix factorization over models and prompts, as RouteLLM's MF router, in its
many-model form.

quality(prompt, model) = sigmoid(level_model + source + taste_model . (P x)), with x the prompt's
embedding and features, and P of low rank. Each source has a level of its own while training, so
that labels of two kinds do not mix. All models share the same first dimension of P x, difficulty;
the second lets models differ in what they are good at.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from swath.errors import MissingExtra
from swath.routing.ability import sigmoid
from swath.routing.graded import Graded
from swath.routing.router import Arrays, Learned, Texts
from swath.routing.shared import apart, gained, restored

Floats = npt.NDArray[np.float64]
RANK = 2
PULL = 3.0  # on the projection, in grades; on tastes a tenth of it
STEPS = 120


@dataclass
class Factorization(Learned):
    """`tastes` (m, rank), `projection` (d, rank), `levels` (m,)."""

    mean: Floats = field(default_factory=lambda: np.zeros(0))
    scale: Floats = field(default_factory=lambda: np.zeros(0))
    levels: Floats = field(default_factory=lambda: np.zeros(0))
    tastes: Floats = field(default_factory=lambda: np.zeros((0, RANK)))
    projection: Floats = field(default_factory=lambda: np.zeros((0, RANK)))
    ends: tuple[int, int] | None = None  # the weak and the strong one of two models

    kind = "factorization"
    summary = "matrix factorization over models and prompts, RouteLLM's MF for many models"
    embeds = True
    memorizes = True

    def fit(self, graded: Graded, texts: Texts, seed: int) -> Self:
        try:
            from scipy.optimize import minimize
        except ImportError:
            raise MissingExtra("Training a factorization", "routing") from None
        x = _inputs(texts)
        self.mean, spread = x.mean(axis=0), x.std(axis=0)
        d = texts.vectors.shape[1]
        # One scale for all of an embedding's numbers: its directions keep their proportions.
        spread[:d] = max(float(spread[:d].mean()), 1e-9)
        self.scale = np.where(spread > 1e-9, 1 / np.maximum(spread, 1e-9), 0.0)
        x = (x - self.mean) * self.scale / np.sqrt(x.shape[1])
        known = np.isfinite(graded.quality)
        n, m = known.shape
        each = max(float(known.sum()) / n, 1e-9)  # grades of a prompt; they weigh 1 in all
        pull = PULL * each / m
        blocks = _blocks(graded, each)
        sizes = (m, len(graded.sources), m * RANK, x.shape[1] * RANK)
        cuts = np.cumsum(sizes)[:-1]

        def unpack(v: Floats) -> tuple[Floats, Floats, Floats, Floats]:
            levels, offsets, tastes, projection = np.split(v, cuts)
            return levels, offsets, tastes.reshape(m, RANK), projection.reshape(-1, RANK)

        def loss(v: Floats) -> tuple[float, Floats]:
            levels, offsets, tastes, projection = unpack(v)
            h = x @ projection
            value = 0.005 * float((levels**2).sum() + (offsets**2).sum())
            value += 0.5 * pull * float(((tastes - start_tastes) ** 2).sum())
            value += 0.5 * pull * float((projection**2).sum())
            g_levels, g_offsets = 0.01 * levels, 0.01 * offsets
            g_tastes, g_h = pull * (tastes - start_tastes), np.zeros_like(h)
            for block in blocks:
                rows, own = block.rows, block.models
                logit = levels[own] + offsets[block.source] + h[rows] @ tastes[own].T
                small = np.exp(-np.abs(logit))  # for the loss and for its slope
                lost = np.maximum(logit, 0) + np.log1p(small)
                value += float((block.weight * (lost - block.grades * logit)).sum())
                p = np.where(logit > 0, 1.0, small) / (1 + small)
                off = block.weight * (p - block.grades)
                g_levels[own] += off.sum(axis=0)
                g_offsets[block.source] += off.sum()
                g_tastes[own] += off.T @ h[rows]
                g_h[rows] = off @ tastes[own]
            g_projection = x.T @ g_h + pull * projection
            gradient = np.concatenate([g_levels, g_offsets, g_tastes.ravel(), g_projection.ravel()])
            return value, gradient

        # The first taste starts at -1 for all: what makes a prompt hard. The others start at what
        # sets able models apart, so that the start is no saddle and no model's place matters.
        share = np.nanmean(graded.quality, axis=0)
        start_tastes = np.column_stack([-np.ones(m), *([share - share.mean()] * (RANK - 1))])
        start = np.concatenate(
            [np.zeros(sizes[0] + sizes[1]), start_tastes.ravel(), np.zeros(sizes[3])]
        )
        found = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": STEPS})
        levels, offsets, self.tastes, self.projection = unpack(found.x)
        self.levels = levels + float(offsets[graded.source].mean())
        self.projection = self.projection / np.sqrt(x.shape[1])
        self.models = graded.models
        return self

    def settle(self, graded: Graded) -> None:
        self.ends = apart(graded)

    def quality(self, texts: Texts) -> Floats:
        h = (_inputs(texts) - self.mean) * self.scale @ self.projection
        return sigmoid(self.levels + h @ self.tastes.T)

    def wants(self, texts: Texts) -> Floats:
        """What the strong one of two models is expected to gain; of more the share that are
        expected to fail."""
        quality = self.quality(texts)
        made: Floats = 1 - quality.mean(axis=1) if not self.ends else gained(quality, self.ends)
        return made

    def state(self) -> tuple[dict[str, Any], Arrays]:
        names = ("mean", "scale", "levels", "tastes", "projection")
        values = {} if self.ends is None else {"ends": list(self.ends)}
        return values, {name: getattr(self, name) for name in names}

    def restore(self, values: dict[str, Any], arrays: Arrays) -> None:
        self.ends = restored(values, len(self.models))
        self.mean, self.scale = arrays["mean"], arrays["scale"]
        self.levels, self.tastes = arrays["levels"], arrays["tastes"]
        self.projection = arrays["projection"]
        d, rank = self.projection.shape
        if self.mean.shape != (d,) or self.tastes.shape != (len(self.models), rank):
            raise ValueError("shapes that do not fit")


def _inputs(texts: Texts) -> Floats:
    return np.hstack([texts.vectors, texts.lexical])


@dataclass(frozen=True)
class _Block:
    """The grades of one source, of the models that were graded there."""

    source: int
    rows: npt.NDArray[np.intp]
    models: npt.NDArray[np.intp]
    grades: Floats
    weight: Floats  # 0 where there is no grade


def _blocks(graded: Graded, each: float) -> list[_Block]:
    made = []
    for rows in graded.by_source():
        models = np.flatnonzero(np.isfinite(graded.quality[rows]).any(axis=0))
        own = graded.quality[np.ix_(rows, models)]
        weight = np.isfinite(own) / each
        made.append(_Block(int(graded.source[rows[0]]), rows, models, np.nan_to_num(own), weight))
    return made
