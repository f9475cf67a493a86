"""`words`: the number of words, untrained. Hard to beat out of domain, so every table has it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from swath.routing.features import word_count
from swath.routing.graded import Graded
from swath.routing.router import Texts
from swath.routing.shared import Floats, Shared


@dataclass
class Words(Shared):
    """Long prompts go to the strong model."""

    kind = "words"
    summary = "the number of words, untrained: the baseline"

    def learn(self, texts: Texts, target: Floats, graded: Graded, seed: int) -> None:
        return

    def hardness(self, texts: Texts) -> Floats:
        return np.log1p(np.array([word_count(p) for p in texts.prompts], np.float64))

    def parts(self, texts: Texts) -> list[tuple[str, float]]:
        return [("words", float(self.wants(texts)[0]))]
