"""`random`: a coin for each prompt. What every other router is compared with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from swath.routing.graded import Graded
from swath.routing.router import Arrays, Texts
from swath.routing.shared import Floats, Shared, uniform


@dataclass
class Random(Shared):
    """The same prompt always gets the same score."""

    seed: int = 0

    kind = "random"
    summary = "a coin for each prompt: the floor"

    def learn(self, texts: Texts, target: Floats, graded: Graded, seed: int) -> None:
        self.seed = seed

    def hardness(self, texts: Texts) -> Floats:
        return np.array([uniform(p, self.seed) for p in texts.prompts], np.float64)

    def learned(self) -> tuple[dict[str, Any], Arrays]:
        return {"seed": self.seed}, {}

    def relearn(self, values: dict[str, Any], arrays: Arrays) -> None:
        self.seed = int(values["seed"])
