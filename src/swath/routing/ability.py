"""Item response: how hard each prompt is and how able each model, estimated together.

The Rasch model for grades in [0, 1]: E[quality] = sigmoid(ability - difficulty). A strong model
fails on the hardest prompts too, so its ability is estimated and not assumed. Difficulties have a
normal prior, so that prompts with few grades stay near the mean of their source.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from swath.routing.graded import Graded

Floats = NDArray[np.float64]
SPREAD = 2.0  # the prior's standard deviation of a difficulty, in logits
ROUNDS = 30


def sigmoid(x: Floats) -> Floats:
    """1 / (1 + exp(-x)), without overflow."""
    made: Floats = 0.5 * (1 + np.tanh(0.5 * x))
    return made


def difficulties(graded: Graded) -> Floats:
    """The difficulty of each row against its own source: mean 0, standard deviation 1 in each
    (all 0 where a source's prompts are equally hard). Shape (n,)."""
    made = np.zeros(len(graded))
    for rows in graded.by_source():
        raw, _ = rasch(graded.quality[rows])
        spread = raw.std()
        made[rows] = (raw - raw.mean()) / spread if spread > 1e-9 else 0.0
    return made


def rasch(quality: Floats) -> tuple[Floats, Floats]:
    """Difficulties (n,) and abilities (m,), in logits, of grades (n, m) with NaN where none is.

    The most probable values under the prior, by Newton steps for rows and columns in turn.
    """
    known = np.isfinite(quality)
    grades = np.where(known, quality, 0.0)
    difficulty, ability = np.zeros(len(quality)), np.zeros(quality.shape[1])
    for _ in range(ROUNDS):
        for axis in (0, 1):
            p = sigmoid(ability[None, :] - difficulty[:, None])
            slope = np.where(known, grades - p, 0.0).sum(axis=axis)
            bend = np.where(known, p * (1 - p), 0.0).sum(axis=axis)
            if axis == 0:
                ability += np.clip((slope - ability / 25) / (bend + 1 / 25), -1, 1)
            else:
                prior = 1 / SPREAD**2
                step = (-slope - prior * difficulty) / (bend + prior)
                difficulty += np.clip(step, -1, 1)
    return difficulty, ability


def curves(score: Floats, quality: Floats) -> tuple[Floats, Floats]:
    """For each model the line in logits that predicts its quality from a score: quality =
    sigmoid(level + slope * score). Levels (m,) and slopes (m,).

    `score` (n,), `quality` (n, m) with NaN. A model's slope is drawn towards the slope of all,
    as strongly as 20 grades would draw it.
    """
    known = np.isfinite(quality)
    grades = np.where(known, quality, 0.0)
    level, slope = np.zeros(quality.shape[1]), np.zeros(quality.shape[1])
    x = score[:, None]
    common = 0.0
    for round_ in range(ROUNDS):
        p = sigmoid(level[None, :] + slope[None, :] * x)
        off = np.where(known, grades - p, 0.0)
        w = np.where(known, p * (1 - p), 0.0)
        # All models' slope is moved first; then each model's own line, with its prior.
        if round_ < ROUNDS // 2:
            centred = x - (w * x).sum(axis=0) / np.maximum(w.sum(axis=0), 1e-9)
            gain = (off * centred).sum() / max((w * centred**2).sum() + 1.0, 1e-9)
            common += float(np.clip(gain, -1, 1))
            slope[:] = common
            level += np.clip((off.sum(axis=0) - level / 25) / (w.sum(axis=0) + 1 / 25), -1, 1)
            continue
        pull = 20 * 0.25
        a, b, c = w.sum(axis=0) + 1 / 25, (w * x).sum(axis=0), (w * x**2).sum(axis=0) + pull
        g = off.sum(axis=0) - level / 25
        h = (off * x).sum(axis=0) - pull * (slope - common)
        det = np.maximum(a * c - b**2, 1e-9)
        level += np.clip((c * g - b * h) / det, -1, 1)
        slope += np.clip((a * h - b * g) / det, -1, 1)
    return level, slope
