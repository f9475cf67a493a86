"""A BERT-family encoder as plain arithmetic: token ids in, one vector a text out.

Written once over an array namespace: `jax.numpy` where the top layers are tuned, `numpy` where a
router predicts. Prediction needs no JAX for that, and a reloaded router scores as the trained one.
Tensors carry one set of names whatever file they came from (`encoding_files.py`): `words`,
`positions`, `types`, `norm.*`, and `{layer}.query`, `key`, `value`, `out`, `norm1`, `up`, `down`,
`norm2`, each with `.weight` (rows in, columns out) and `.bias`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T")
U = TypeVar("U")
Floats32 = NDArray[np.float32]
Tensors = Mapping[str, Any]
LINEAR = ("query", "key", "value", "out", "up", "down")
NORM = ("norm1", "norm2")


@dataclass
class Encoding:
    """An encoder's weights and its tokenizer. `sha256` is that of the file of weights."""

    name: str
    sha256: str
    layers: int
    heads: int
    epsilon: float
    tensors: dict[str, Floats32]
    tokenizer: Any = field(repr=False)
    offset: int = 0  # where positions begin: RoBERTa's start after the padding's
    longest: int = 512

    @property
    def width(self) -> int:
        """Numbers of one token's state."""
        return int(self.tensors["words"].shape[1])

    def tokens(self, texts: Sequence[str], window: int) -> list[NDArray[np.int32]]:
        """Token ids of each text, at most `window`. Of a longer text the first two thirds of what
        fits and the last third are read: the task is mostly named at either end."""
        window = min(window, self.longest)
        made = []
        for one in self.tokenizer.encode_batch(list(texts)):
            ids = np.array(one.ids, np.int32)
            tail = window // 3
            made.append(
                ids if len(ids) <= window else np.concatenate([ids[: window - tail], ids[-tail:]])
            )
        return made

    def states(self, ids: NDArray[np.int32], layers: int, tensors: Tensors | None = None) -> Any:
        """The states (1, tokens, width) of one text after the first `layers` layers, by numpy."""
        held = tensors or self.tensors
        x = embedded(np, held, ids[None, :], self.offset, self.epsilon)
        for i in range(layers):
            x = layer(np, held, i, x, None, self.heads, self.epsilon)
        return x


def embedded(xp: Any, held: Tensors, ids: Any, offset: int, epsilon: float) -> Any:
    """What the first layer reads, (texts, tokens, width), of ids (texts, tokens)."""
    x = held["words"][ids] + held["positions"][offset : offset + ids.shape[1]]
    if "types" in held:
        x = x + held["types"][0]
    return normed(xp, x, held["norm.weight"], held["norm.bias"], epsilon)


def layer(xp: Any, held: Tensors, i: int, x: Any, mask: Any, heads: int, epsilon: float) -> Any:
    """One transformer layer on states (texts, tokens, width). `mask` (texts, tokens) is 1 for a
    token and 0 for padding; None where there is none."""
    texts, tokens, width = x.shape
    each = width // heads

    def linear(name: str, given: Any) -> Any:
        flat = given.reshape(texts * tokens, -1) @ held[f"{i}.{name}.weight"]
        return (flat + held[f"{i}.{name}.bias"]).reshape(texts, tokens, -1)

    def split(name: str) -> Any:
        return linear(name, x).reshape(texts, tokens, heads, each).transpose(0, 2, 1, 3)

    weight = split("query") @ split("key").transpose(0, 1, 3, 2) * np.float32(each**-0.5)
    if mask is not None:
        weight = weight + (1 - mask[:, None, None, :]) * np.float32(-1e9)
    weight = xp.exp(weight - weight.max(axis=-1, keepdims=True))
    weight = weight / weight.sum(axis=-1, keepdims=True)
    seen = (weight @ split("value")).transpose(0, 2, 1, 3).reshape(texts, tokens, width)

    def after(name: str, given: Any) -> Any:
        return normed(xp, given, held[f"{i}.{name}.weight"], held[f"{i}.{name}.bias"], epsilon)

    x = after("norm1", x + linear("out", seen))
    return after("norm2", x + linear("down", gelu(xp, linear("up", x))))


def pooled(xp: Any, x: Any, mask: Any) -> Any:
    """The mean over tokens, (texts, width), as sentence encoders are trained."""
    if mask is None:
        return x.mean(axis=1)
    return (x * mask[:, :, None]).sum(axis=1) / mask.sum(axis=1)[:, None]


def normed(xp: Any, x: Any, weight: Any, bias: Any, epsilon: float) -> Any:
    """Layer normalization."""
    x = x - x.mean(axis=-1, keepdims=True)
    spread = xp.sqrt((x * x).mean(axis=-1, keepdims=True) + np.float32(epsilon))
    return x / spread * weight + bias


def gelu(xp: Any, x: Any) -> Any:
    """x times the normal distribution function, which numpy lacks: by Abramowitz and Stegun's
    7.1.26, within 2e-7."""
    f = np.float32
    size = xp.abs(x) * f(0.5**0.5)
    t = 1 / (1 + f(0.3275911) * size)
    t = t * (
        f(0.254829592)
        + t * (f(-0.284496736) + t * (f(1.421413741) + t * (f(-1.453152027) + t * f(1.061405429))))
    )
    upper = 0.5 * t * xp.exp(-size * size)  # of the tail
    return x * xp.where(x > 0, 1 - upper, upper)


@contextmanager
def one_thread() -> Iterator[None]:
    """Numpy's matrix products on one thread: a text's matrices are too small to share, and the sums
    of several threads need not be equal to the last bit."""
    try:
        from threadpoolctl import threadpool_limits
    except ImportError:
        yield
        return
    with threadpool_limits(1, user_api="blas"):
        yield


def each(work: Callable[[T], U], texts: Sequence[T]) -> list[U]:
    """`work` of each text, in order, on all cores. Every text is worked on by itself, so that how
    many cores there are changes nothing."""
    if len(texts) < 2:
        return [work(text) for text in texts]
    with one_thread(), ThreadPoolExecutor(min(os.cpu_count() or 1, 8)) as pool:
        return list(pool.map(work, texts))
