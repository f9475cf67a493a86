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
LEVEL = 1 / 2.0**2  # the precision with which a level is drawn to the mean of all
ROUNDS = 30  # of Newton steps at most
CLOSE = 1e-6  # logits: a smaller step is none


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
    row, column = np.nonzero(known)  # most of a table of several sources is empty
    grades = quality[known]
    n, m = quality.shape
    difficulty, ability = np.zeros(n), np.zeros(m)
    for _ in range(ROUNDS):
        moved = 0.0
        for models in (True, False):
            p = sigmoid(ability[column] - difficulty[row])
            place, size = (column, m) if models else (row, n)
            slope = np.bincount(place, grades - p, size)
            bend = np.bincount(place, p * (1 - p), size)
            if models:
                step = np.clip((slope - ability / 25) / (bend + 1 / 25), -1, 1)
                ability += step
            else:
                prior = 1 / SPREAD**2
                step = np.clip((-slope - prior * difficulty) / (bend + prior), -1, 1)
                difficulty += step
            moved = max(moved, float(np.abs(step).max(initial=0.0)))
        if moved < CLOSE:
            break
    return difficulty, ability


def curves(score: Floats, quality: Floats) -> tuple[Floats, Floats]:
    """For each model the line in logits that predicts its quality from a score: quality =
    sigmoid(level + slope * score). Levels (m,) and slopes (m,).

    `score` (n,), `quality` (n, m) with NaN. A model's slope is drawn towards the slope of all,
    as strongly as 20 grades would draw it; its level towards the mean of all grades, so that three
    right answers make no model perfect.
    """
    known = np.isfinite(quality)
    grades = np.where(known, quality, 0.0)
    mean = float(np.clip(grades.sum() / max(int(known.sum()), 1), 0.02, 0.98))
    middle = float(np.log(mean / (1 - mean)))
    level, slope = np.full(quality.shape[1], middle), np.zeros(quality.shape[1])
    x = score[:, None]
    common = 0.0
    pull = 20 * 0.25
    shared = True  # first all models' slope together, then each its own, drawn towards it
    for _ in range(ROUNDS):
        p = sigmoid(level[None, :] + slope[None, :] * x)
        off = np.where(known, grades - p, 0.0)
        w = np.where(known, p * (1 - p), 0.0)
        mass, mixed = w.sum(axis=0), (w * x).sum(axis=0)
        if shared:
            centred = x - mixed / np.maximum(mass, 1e-9)
            gain = float((off * centred).sum() / ((w * centred**2).sum() + 1.0))
            common += float(np.clip(gain, -1, 1))
            slope[:] = common
            drawn = off.sum(axis=0) - (level - middle) * LEVEL
            up = np.clip(drawn / (mass + LEVEL), -1, 1)
            level += up
            shared = max(abs(gain), float(np.abs(up).max())) > 1e-3
            continue
        a, c = mass + LEVEL, (w * x**2).sum(axis=0) + pull
        g = off.sum(axis=0) - (level - middle) * LEVEL
        h = (off * x).sum(axis=0) - pull * (slope - common)
        det = np.maximum(a * c - mixed**2, 1e-9)
        up, over = (c * g - mixed * h) / det, (a * h - mixed * g) / det
        level += np.clip(up, -1, 1)
        slope += np.clip(over, -1, 1)
        if max(float(np.abs(up).max()), float(np.abs(over).max())) < CLOSE:
            break
    return level, slope
