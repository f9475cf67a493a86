"""`linear`: difficulty, linear in cheap features and the embedding, as strongly bound as the
prompts themselves say.

For few prompts, such as the sample that `sw.auto` learns from: how much either block counts, and
how far coefficients are drawn to 0, is chosen by the error on prompts left out one at a time, which
ridge regression gives without refitting (Allen's PRESS; Golub, Heath and Wahba 1979).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from swath.routing.ability import difficulties
from swath.routing.graded import Graded
from swath.routing.router import Texts
from swath.routing.shared import Floats, centred
from swath.routing.weighed import Weighed

PARTS = (1.0, 0.5, 0.0)  # of the features in what likens two prompts; the embedding has the rest
PULLS = (3.0, 10.0, 30.0, 100.0, 300.0)  # where a prompt is as like itself as 1


@dataclass
class Linear(Weighed):
    """hardness = [features, embedding] @ coefficients."""

    kind = "linear"
    summary = "linear in features and the embedding; for few prompts like yours"
    embeds = True

    def fit(self, graded: Graded, texts: Texts, seed: int) -> Self:
        target = difficulties(graded)
        raw = self._learn_leaving_out(texts, target, graded)
        hard = self.hardness(texts)
        self.centre = float(hard.mean())
        self.spread = float(raw.std()) or 1.0
        # What was left out is centred within sources; each source's level is put back.
        return self.recast(graded, raw + hard - centred(hard[:, None], graded)[:, 0])

    def learn(self, texts: Texts, target: Floats, graded: Graded, seed: int) -> None:
        self._learn_leaving_out(texts, target, graded)

    def _learn_leaving_out(self, texts: Texts, target: Floats, graded: Graded) -> Floats:
        """Learns, and predicts for each prompt what the others say of it. Shape (n,)."""
        blocks = [_even(centred(x, graded)) for x in (texts.lexical, texts.vectors)]
        aim = centred(target[:, None], graded)[:, 0]
        best, told = np.inf, np.zeros(len(aim))
        for part in PARTS:
            scale = np.concatenate(
                [s * share**0.5 for (_, s), share in zip(blocks, (part, 1 - part), strict=True)]
            )
            telling = scale > 0
            x = np.hstack([z for z, _ in blocks])[:, telling] * scale[telling]
            # Whichever is smaller: how prompts are alike, or how columns are.
            wide = x.shape[1] > len(x)
            size, axes = np.linalg.eigh(x @ x.T if wide else x.T @ x)
            size = np.maximum(size, 0.0)
            rows = axes if wide else x @ axes
            along = rows.T @ aim
            for pull in PULLS:
                weight = (size if wide else 1.0) / (size + pull)
                own = np.minimum((rows**2) @ weight, 0.999)
                off = (aim - rows @ (weight * along)) / (1 - own)
                error = float((off**2).mean())
                if error < best * (1 - 1e-9):
                    best, told = error, aim - off
                    slopes = axes @ (along / (size + pull))
                    self.coefficients = np.zeros(len(scale))
                    self.coefficients[telling] = x.T @ slopes if wide else slopes
                    self.coefficients *= scale
        return told

    def vector(self, texts: Texts) -> Floats:
        return texts.vectors


def _even(x: Floats) -> tuple[Floats, Floats]:
    """`x` (n, d), centred, and for each column the factor that makes its spread 1 and the mean
    squared length of a row 1; columns that are constant count for nothing."""
    spread: Floats = np.asarray(x.std(axis=0), np.float64)
    telling = spread > 1e-6
    scale = np.where(telling, 1 / np.maximum(spread, 1e-6), 0.0)
    return x, scale / max(int(telling.sum()), 1) ** 0.5
