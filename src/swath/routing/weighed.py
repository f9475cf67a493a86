"""`Weighed`: routers whose hardness is a weighted sum of cheap features and a vector."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from swath.routing.features import NAMES
from swath.routing.router import Arrays, Texts
from swath.routing.shared import Floats, Shared

SHOWN = 8  # parts of an explanation


@dataclass
class Weighed(Shared):
    """hardness = [features, vector] @ coefficients. Subclasses name the vector and learn the
    coefficients."""

    coefficients: Floats = field(default_factory=lambda: np.zeros(0))

    by_gain = True
    floats = True

    @abstractmethod
    def vector(self, texts: Texts) -> Floats:
        """Shape (n, d)."""

    def inputs(self, texts: Texts) -> Floats:
        return np.hstack([texts.lexical, self.vector(texts)])

    def hardness(self, texts: Texts) -> Floats:
        return self.inputs(texts) @ self.coefficients

    def parts(self, texts: Texts) -> list[tuple[str, float]]:
        each = self.inputs(texts)[0] * self.coefficients / self.spread
        found = list(zip(NAMES, each[: len(NAMES)].tolist(), strict=True))
        found.append(("topic", float(each[len(NAMES) :].sum())))
        return sorted(found, key=lambda part: -abs(part[1]))[:SHOWN]

    def learned(self) -> tuple[dict[str, Any], Arrays]:
        return {}, {"coefficients": self.coefficients}

    def relearn(self, values: dict[str, Any], arrays: Arrays) -> None:
        self.coefficients = arrays["coefficients"]
        if self.coefficients.ndim != 1:
            raise ValueError("one coefficient a feature")
