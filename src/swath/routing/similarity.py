"""`similarity`: RouteLLM's similarity-weighted ranking, for all queries at once.

For a query, every training prompt's battles count with weight gamma ** (1 + s / max s), s being the
cosine of the two prompts and gamma 10; Bradley-Terry strengths are fitted to the weighted battles.
As in the paper, models are grouped into ten tiers of ability first; graded answers make a battle of
each pair of tiers on each prompt. A battle compares grades of one prompt, so sources do not mix.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from swath.routing.ability import rasch, sigmoid
from swath.routing.graded import Graded
from swath.routing.router import Arrays, Learned, Texts

Floats = NDArray[np.float64]
GAMMA = 10.0
TIERS = 10
ROUNDS = 12  # Newton steps for the strengths of a block of queries
BLOCK, CELLS = 512, 1 << 22  # queries at once, and weights at once: 32 MB


@dataclass
class Similarity(Learned):
    """`kept` (n, d) unit vectors; `wins` (n, k, k), how far tier i beat tier j on each prompt."""

    kept: NDArray[np.float32] = field(default_factory=lambda: np.zeros((0, 0), np.float32))
    wins: Floats = field(default_factory=lambda: np.zeros((0, 0, 0)))
    tier: NDArray[Any] = field(default_factory=lambda: np.zeros(0, np.int32))
    level: float = 0.0

    kind = "similarity"
    summary = "RouteLLM's similarity-weighted ranking"
    embeds = True
    memorizes = True

    def fit(self, graded: Graded, texts: Texts, seed: int) -> Self:
        self.kept = _unit(texts.vectors).astype(np.float16).astype(np.float32)
        _, ability = rasch(graded.quality)
        self.tier = _tiers(ability)
        count = int(self.tier.max()) + 1
        known = np.isfinite(graded.quality)
        grades = np.where(known, graded.quality, 0.0)
        member = np.eye(count)[self.tier]
        seen = known.astype(np.float64) @ member
        mean = np.where(seen > 0, (grades @ member) / np.maximum(seen, 1), np.nan)
        gap = mean[:, :, None] - mean[:, None, :]
        both = np.isfinite(gap)
        won = np.where(both, 0.5 + 0.5 * np.nan_to_num(gap), 0.0)
        won[:, np.arange(count), np.arange(count)] = 0.0
        self.wins = won.astype(np.float16).astype(np.float64)
        average = min(max(float(grades.sum() / max(known.sum(), 1)), 0.01), 0.99)
        self.level = float(np.log(average / (1 - average)))
        self.models = graded.models
        return self

    def _strengths(self, texts: Texts) -> Floats:
        """Bradley-Terry strengths of the tiers for each query, with mean 0. Shape (q, k)."""
        x = _unit(texts.vectors).astype(np.float32)
        count = self.wins.shape[1]
        flat = self.wins.reshape(len(self.wins), -1)
        made = np.zeros((len(x), count))
        block = min(BLOCK, max(1, CELLS // max(len(self.kept), 1)))
        for start in range(0, len(x), block):
            cosine = x[start : start + block] @ self.kept.T
            most = cosine.max(axis=1, keepdims=True)
            # Where nothing is alike at all, all prompts count the same.
            alike = np.where(most > 1e-6, cosine / np.maximum(most, 1e-6), np.float32(1))
            weight = np.exp(np.log(np.float32(GAMMA)) * (1 + alike))
            weight /= weight.sum(axis=1, keepdims=True)
            made[start : start + block] = _bradley_terry((weight @ flat).reshape(-1, count, count))
        return made

    def quality(self, texts: Texts) -> Floats:
        """A model's expected success: its tier's strength around the average grade."""
        made: Floats = sigmoid(self.level + self._strengths(texts))[:, self.tier]
        return made

    def wants(self, texts: Texts) -> Floats:
        """The chance that the best tier beats the middle one."""
        strengths = self._strengths(texts)
        middle = (strengths.shape[1] - 1) // 2
        return sigmoid(strengths[:, -1] - strengths[:, middle])

    def state(self) -> tuple[dict[str, Any], Arrays]:
        arrays: Arrays = {
            "kept": self.kept.astype(np.float16),
            "wins": self.wins.astype(np.float16),
            "tier": self.tier,
        }
        return {"level": self.level}, arrays

    def restore(self, values: dict[str, Any], arrays: Arrays) -> None:
        self.level = float(values["level"])
        self.kept = arrays["kept"].astype(np.float32)
        self.wins = arrays["wins"].astype(np.float64)
        self.tier = arrays["tier"]
        count = self.wins.shape[1]
        if self.wins.shape != (len(self.kept), count, count):
            raise ValueError("battles for each vector")
        if self.tier.shape != (len(self.models),) or self.tier.max() >= count:
            raise ValueError("a tier for each model")


def _bradley_terry(won: Floats) -> Floats:
    """Strengths (q, k) from weighted wins (q, k, k), by Newton steps with a slight pull to 0."""
    battles = won + won.transpose(0, 2, 1)
    count = won.shape[1]
    # A query's weights sum to 1; as many battles as that make the pull slight.
    total = np.maximum(battles.sum(axis=(1, 2), keepdims=True) / 2, 1e-12)
    won, battles = won / total, battles / total
    strength = np.zeros(won.shape[:2])
    eye = np.eye(count)
    for _ in range(ROUNDS):
        p = sigmoid(strength[:, :, None] - strength[:, None, :])
        slope = (won - battles * p).sum(axis=2) - 1e-3 * strength
        bend = battles * p * (1 - p)
        hessian = eye * (bend.sum(axis=2) + 1e-3)[:, :, None] - bend
        strength += np.clip(np.linalg.solve(hessian, slope[:, :, None])[:, :, 0], -2, 2)
    made: Floats = strength - strength.mean(axis=1, keepdims=True)
    return made


def _tiers(ability: Floats) -> NDArray[np.int32]:
    """A tier for each model, of about equal size, 0 for the weakest."""
    count = min(TIERS, len(ability))
    place = np.argsort(np.argsort(ability, kind="stable"), kind="stable")
    return (place * count // len(ability)).astype(np.int32)


def _unit(x: Floats) -> Floats:
    made: Floats = x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
    return made
