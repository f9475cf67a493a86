"""Text to vectors: the packaged MiniLM encoder over ONNX Runtime.

Mean of the token vectors, scaled to length 1, as the model was trained for. Texts beyond its
window of 256 tokens are cut there, as its authors do.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from operator import mul
from pathlib import Path
from typing import Any

from swath.errors import MissingExtra, WeightsError
from swath.local import weights
from swath.messages import Embeddings, Usage

BATCH = 32  # texts at once
KEPT = 4096  # vectors of labels
_NEEDED = ("input_ids", "attention_mask", "token_type_ids")


class Encoder:
    """One loaded encoder; thread-safe. `path` is the ONNX file, tokenizer.json lies beside it."""

    def __init__(self, path: Path, *, window: int, threads: int = 0) -> None:
        try:
            import onnxruntime
            from tokenizers import Tokenizer
        except ImportError:
            raise MissingExtra("The local encoder", "local") from None
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or min(len(_allowed()), 4)
        options.log_severity_level = 3
        # Spinning threads would starve llama.cpp's, and everything else.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session: Any = onnxruntime.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"]
            )
            self._tokenizer: Any = Tokenizer.from_file(str(path.with_name("tokenizer.json")))
        except Exception as e:  # both libraries raise types of their own
            raise WeightsError(
                f"The encoder at '{path}' cannot be loaded ({type(e).__name__}).",
                hint="Delete its folder and run: swath models pull minilm-l6",
            ) from None
        self._tokenizer.enable_truncation(window)
        self._tokenizer.enable_padding()
        self._labels: dict[str, tuple[float, ...]] = {}
        self._inputs = [i.name for i in self._session.get_inputs() if i.name in _NEEDED]

    def embed(self, texts: Sequence[str]) -> Embeddings:
        """One vector of length 1 a text, in order."""
        # Texts of like length together: a batch is padded to its longest.
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        vectors: dict[int, tuple[float, ...]] = {}
        tokens = 0
        for start in range(0, len(order), BATCH):
            part = order[start : start + BATCH]
            found, used = self._batch([texts[i] for i in part])
            vectors.update(zip(part, found, strict=True))
            tokens += used
        return Embeddings(
            vectors=tuple(vectors[i] for i in range(len(texts))),
            usage=Usage(input_tokens=tokens),
        )

    def likeness(self, text: str, labels: Sequence[str]) -> list[float]:
        """The cosine of `text` with each of `labels`, whose vectors are kept."""
        new = [label for label in dict.fromkeys(labels) if label not in self._labels]
        if len(self._labels) > KEPT:
            self._labels.clear()
            new = list(dict.fromkeys(labels))
        if new:
            self._labels.update(zip(new, self.embed(new).vectors, strict=True))
        (vector,) = self.embed([text]).vectors
        return [sum(map(mul, vector, self._labels[label])) for label in labels]

    def _batch(self, texts: list[str]) -> tuple[list[tuple[float, ...]], int]:
        import numpy as np

        encoded = self._tokenizer.encode_batch(texts)
        mask = np.array([e.attention_mask for e in encoded], dtype=np.int64)
        given = {
            "input_ids": np.array([e.ids for e in encoded], dtype=np.int64),
            "attention_mask": mask,
            "token_type_ids": np.zeros_like(mask),
        }
        states = self._session.run(None, {name: given[name] for name in self._inputs})[0]
        weights = mask[:, :, None].astype(states.dtype)
        means = (states * weights).sum(axis=1) / weights.sum(axis=1)
        unit = means / np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-12)
        return [tuple(row) for row in unit.astype(float).tolist()], int(mask.sum())


def _allowed() -> Sequence[int]:
    try:
        return sorted(os.sched_getaffinity(0))
    except AttributeError:
        return range(os.cpu_count() or 1)


_encoders: dict[str, Encoder | WeightsError] = {}
_loading = threading.Lock()


def encoder(name: str = weights.DEFAULT_EMBED, threads: int = 0) -> Encoder:
    """The encoder called `name`, one a process, fetched and loaded when first asked for. Where that
    failed it is not tried again: a run asks for each of its rows."""
    with _loading:
        known = _encoders.get(name)
        if known is None:
            try:
                path, width = weights.obtain(name), weights.lookup(name).context_window
                known = Encoder(path, window=width, threads=threads)
            except WeightsError as e:
                known = e
            _encoders[name] = known
    if isinstance(known, WeightsError):
        raise known
    return known
