"""`difficulty`: item response difficulty, predicted linearly from cheap features and word vectors.

For prompts like its training prompts, at a fraction of a millisecond a decision. Features and
targets are centred within each source, so that only what makes a prompt hard among its own kind is
learned.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from swath.routing.features import NAMES
from swath.routing.graded import Graded
from swath.routing.router import Texts
from swath.routing.shared import Floats, centred
from swath.routing.weighed import Weighed

LEXICAL, WORDS = 300.0, 3000.0  # how strongly the two blocks' coefficients are drawn to 0


@dataclass
class Difficulty(Weighed):
    """hardness = [features, word vectors] @ coefficients."""

    kind = "difficulty"
    summary = "item response difficulty, linear in features and words; for prompts like yours"
    memorizes = True

    def learn(self, texts: Texts, target: Floats, graded: Graded, seed: int) -> None:
        x = centred(self.inputs(texts), graded)
        spread: Floats = np.asarray(x.std(axis=0), np.float64)
        scale = np.where(spread > 1e-6, 1 / np.maximum(spread, 1e-6), 0.0)
        pull = np.concatenate([np.full(len(NAMES), LEXICAL), np.full(texts.words.shape[1], WORDS)])
        z = x * scale
        # Fewer prompts deserve no less freedom than the strengths above, set on 4,000.
        pull *= min(1.0, len(graded) / 4000)
        slopes = np.linalg.solve(z.T @ z + np.diag(np.maximum(pull, 1.0)), z.T @ target)
        self.coefficients = np.asarray(slopes * scale, np.float64)

    def vector(self, texts: Texts) -> Floats:
        return texts.words
