"""Graded answers for router tests, and an encoder that needs no weights."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from tests.data_kit import data

MODELS = {"tiny": -1.0, "small": 0.0, "large": 1.5, "huge": 2.5}  # ability, in logits
EASY = ["colour", "garden", "music", "friend", "holiday", "recipe", "river", "summer"]
HARD = ["integral", "eigenvalue", "theorem", "entropy", "lattice", "tensor", "manifold", "kernel"]


def prompts(count: int, seed: int = 0) -> tuple[list[str], np.ndarray]:
    """Prompts, no two alike, and how hard each is (0 to 1): the share of hard words in it."""
    rng = np.random.default_rng(seed)
    made, hard = [], []
    for i in range(count):
        share = float(rng.random())
        size = int(rng.integers(6, 16))
        words = [
            str(rng.choice(HARD)) if rng.random() < share else str(rng.choice(EASY))
            for _ in range(size)
        ]
        made.append(f"Tell me about {' '.join(words)}, part {i}")
        hard.append(sum(w in HARD for w in words) / size)
    return made, np.array(hard)


def graded(count: int = 240, seed: int = 0, models: Sequence[str] = tuple(MODELS)) -> pl.DataFrame:
    """Rows of prompt, model, quality (0 or 1) and source, from an item response model."""
    texts, hard = prompts(count, seed)
    rng = np.random.default_rng(seed + 1)
    rows = []
    for i, text in enumerate(texts):
        for name in models:
            chance = 1 / (1 + np.exp(-(MODELS[name] - 5 * (hard[i] - 0.5))))
            rows.append(
                {
                    "prompt": text,
                    "model": name,
                    "quality": float(rng.random() < chance),
                    "source": "one" if i % 2 else "two",
                }
            )
    return pl.DataFrame(rows)


def pairs(*verdicts: Any, column: str = "verdict") -> pl.DataFrame:
    """Verdicts on pairs of x and y, one a prompt."""
    one = {"model_a": "x", "model_b": "y"}
    return pl.DataFrame([one | {"prompt": f"p{i}", column: v} for i, v in enumerate(verdicts)])


def encode(texts: Sequence[str]) -> np.ndarray:
    """A random vector for each word, the mean for a text: like words, like vectors. (n, 16)."""
    made = np.zeros((len(texts), 16))
    for row, text in enumerate(texts):
        for word in text.lower().split():
            seed = int.from_bytes(hashlib.sha256(word.encode()).digest()[:4], "big")
            made[row] += np.random.default_rng(seed).normal(size=16)
        made[row] /= max(len(text.split()), 1)
    return made


def study_data() -> Path:
    """The folder of the routing data, or a skip that says where it was looked for."""
    return data("routing/routellm_eval.parquet").parent
