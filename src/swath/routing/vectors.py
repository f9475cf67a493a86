"""Embeddings of prompts for the routers that need them: the packaged encoder, any model, or
vectors of words.

Of a long prompt its head and tail are embedded: an encoder's cost grows with length, and the task
is mostly named at either end.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Encode = Callable[[Sequence[str]], Floats]
"""n texts to (n, d)."""

LOCAL = "local/minilm-l6"
WORDS = "words"
"""The packaged word vectors in place of a model: a tenth of a millisecond, of the whole prompt."""

HEAD, TAIL = 200, 120  # characters
BATCH = 256  # texts asked for at once


def gist(prompt: str) -> str:
    """What is embedded of a prompt: all of it, or its first 200 and last 120 characters."""
    text = prompt.strip().removesuffix("Answer:").rstrip()
    return text if len(text) <= HEAD + TAIL + 1 else f"{text[:HEAD]}\n{text[-TAIL:]}"


class Vectors:
    """Embeds gists with `model`, each text once. `store` is a file that keeps vectors between runs,
    by the hash of their text."""

    def __init__(self, model: str = LOCAL, store: Path | None = None) -> None:
        self.model = model
        self._store = store
        self._known: dict[str, NDArray[np.float32]] = {}
        self._new = False
        if store is not None and store.is_file():
            with np.load(store) as kept:
                self._known = dict(zip(kept["keys"].tolist(), kept["vectors"], strict=True))

    def __call__(self, prompts: Sequence[str]) -> Floats:
        """Shape (n, d). Raises WeightsError, MissingExtra, ProviderError."""
        if self.model == WORDS:
            from swath.routing.lexicon import lexicon

            return lexicon().mean(prompts)
        # A lone surrogate is no text for an encoder, nor for a hash.
        texts = [gist(p).encode(errors="replace").decode() for p in prompts]
        keys = [hashlib.sha256(t.encode()).hexdigest() for t in texts]
        missing = {k: t for k, t in zip(keys, texts, strict=True) if k not in self._known}
        order = list(missing)
        for start in range(0, len(order), BATCH):
            part = order[start : start + BATCH]
            self._known.update(zip(part, self._embed([missing[k] for k in part]), strict=True))
        self._new = self._new or bool(missing)
        if not keys:
            return np.zeros((0, 0))
        return np.array([self._known[k] for k in keys], np.float64)

    def _embed(self, texts: list[str]) -> NDArray[np.float32]:
        if self.model == LOCAL:
            from swath.local.encoder import encoder

            return np.array(encoder().embed(texts).vectors, np.float32)
        from swath.session import current

        return np.array(current().embed(texts, model=self.model).vectors, np.float32)

    def save(self) -> None:
        """Keep what was embedded, where there is a `store`. Written beside it, then put in place:
        a run that is killed leaves the old file."""
        if self._store is None or not self._new:
            return
        self._store.parent.mkdir(parents=True, exist_ok=True)
        beside = self._store.with_name(f"{self._store.name}.{os.getpid()}.npz")
        keys = np.array(list(self._known))
        np.savez(beside, keys=keys, vectors=np.array(list(self._known.values()), np.float32))
        os.replace(beside, self._store)
        self._new = False
