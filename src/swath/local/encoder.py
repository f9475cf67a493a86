"""Text to vectors: the packaged MiniLM encoder over ONNX Runtime.

Mean of the token vectors, scaled to length 1, as the model was trained for. Texts beyond its
window of 256 tokens are cut there, as its authors do.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from operator import mul
from pathlib import Path
from typing import Any

from swath.errors import MissingExtra, WeightsError
from swath.local import weights
from swath.messages import Embeddings, Usage

KEPT = 4096  # vectors of labels
_NEEDED = ("input_ids", "attention_mask", "token_type_ids")


class Encoder:
    """One loaded encoder; thread-safe. `path` is the ONNX file, tokenizer.json lies beside it."""

    def __init__(self, path: Path, *, window: int, threads: int = 0) -> None:
        try:
            import onnxruntime  # noqa: F401
            from tokenizers import Tokenizer
        except ImportError:
            raise MissingExtra("The local encoder", "local") from None
        self._threads = threads or min(len(_allowed()), 4)
        self._path = path
        try:
            self._session: Any = self._loaded(self._threads)
            self._tokenizer: Any = Tokenizer.from_file(str(path.with_name("tokenizer.json")))
        except Exception as e:  # both libraries raise types of their own
            raise WeightsError(
                f"The encoder at '{path}' cannot be loaded ({type(e).__name__}).",
                hint="Delete its folder and run: swath models pull minilm-l6",
            ) from None
        self._many: Any = None  # for many texts: a session whose runs take one thread each
        self._tokenizer.enable_truncation(window)
        self._tokenizer.no_padding()  # the file asks for it, up to a fixed length
        self._labels: dict[str, tuple[float, ...]] = {}
        self._inputs = [i.name for i in self._session.get_inputs() if i.name in _NEEDED]

    def embed(self, texts: Sequence[str]) -> Embeddings:
        """One vector of length 1 a text, in order.

        Each text goes through by itself, on several threads: in a batch the larger matrices fall
        out of the processor's cache (half the speed here), and the last digits of a text's vector
        would depend on its neighbours.
        """
        if len(texts) > 1 and self._threads > 1:
            with _loading:
                self._many = self._many or self._loaded(1)
            with ThreadPoolExecutor(self._threads) as pool:
                found = list(pool.map(lambda text: self._one(text, self._many), texts))
        else:
            found = [self._one(text, self._session) for text in texts]
        return Embeddings(
            vectors=tuple(vector for vector, _ in found),
            usage=Usage(input_tokens=sum(tokens for _, tokens in found)),
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

    def _loaded(self, threads: int) -> Any:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        # Spinning threads would starve llama.cpp's, and everything else.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        return onnxruntime.InferenceSession(
            str(self._path), options, providers=["CPUExecutionProvider"]
        )

    def _one(self, text: str, session: Any) -> tuple[tuple[float, ...], int]:
        import numpy as np

        ids = np.array([self._tokenizer.encode(text).ids], dtype=np.int64)
        given = {
            "input_ids": ids,
            "attention_mask": np.ones_like(ids),
            "token_type_ids": np.zeros_like(ids),
        }
        states = session.run(None, {name: given[name] for name in self._inputs})[0]
        mean = states[0].mean(axis=0)
        unit = mean / max(float(np.linalg.norm(mean)), 1e-12)
        return tuple(unit.astype(float).tolist()), ids.shape[1]


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
