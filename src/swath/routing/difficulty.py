"""`difficulty`: item response difficulty, predicted linearly from cheap features and word vectors.

For prompts like its training prompts, at a fraction of a millisecond a decision. Features and
targets are centred within each source, so that only what makes a prompt hard among its own kind is
learned.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from swath.routing.features import NAMES
from swath.routing.graded import Graded
from swath.routing.router import Arrays, Texts
from swath.routing.shared import Floats, Shared, centred

LEXICAL, WORDS = 300.0, 3000.0  # how strongly the two blocks' coefficients are drawn to 0


@dataclass
class Difficulty(Shared):
    """hardness = [features, word vectors] @ slopes."""

    coefficients: Floats = field(default_factory=lambda: np.zeros(0))

    kind = "difficulty"
    summary = "item response difficulty, linear in features and words; for prompts like yours"
    by_gain = True
    floats = True
    memorizes = True

    def learn(self, texts: Texts, target: Floats, graded: Graded, seed: int) -> None:
        x = centred(_inputs(texts), graded)
        spread: Floats = np.asarray(x.std(axis=0), np.float64)
        scale = np.where(spread > 1e-6, 1 / np.maximum(spread, 1e-6), 0.0)
        pull = np.concatenate([np.full(len(NAMES), LEXICAL), np.full(texts.words.shape[1], WORDS)])
        z = x * scale
        # Fewer prompts deserve no less freedom than the strengths above, set on 4,000.
        pull *= min(1.0, len(graded) / 4000)
        slopes = np.linalg.solve(z.T @ z + np.diag(np.maximum(pull, 1.0)), z.T @ target)
        self.coefficients = np.asarray(slopes * scale, np.float64)

    def hardness(self, texts: Texts) -> Floats:
        return _inputs(texts) @ self.coefficients

    def parts(self, texts: Texts) -> list[tuple[str, float]]:
        each = _inputs(texts)[0] * self.coefficients / self.spread
        found = list(zip(NAMES, each[: len(NAMES)].tolist(), strict=True))
        found.append(("topic", float(each[len(NAMES) :].sum())))
        return sorted(found, key=lambda part: -abs(part[1]))[:8]

    def learned(self) -> tuple[dict[str, Any], Arrays]:
        return {}, {"coefficients": self.coefficients}

    def relearn(self, values: dict[str, Any], arrays: Arrays) -> None:
        self.coefficients = arrays["coefficients"]
        if self.coefficients.ndim != 1:
            raise ValueError("one coefficient a feature")


def _inputs(texts: Texts) -> Floats:
    return np.hstack([texts.lexical, texts.words])
