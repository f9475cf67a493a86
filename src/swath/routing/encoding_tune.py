"""Fine-tuning an encoder's top layers on two cores, in JAX.

What lies below the tuned layers never changes, so it is computed once a text and kept. First a
ridge regression finds the head for the layers as they are, then both are trained together
(arXiv 2202.10054: a head that starts at random bends the layers for nothing). AdamW, a rising and
then falling rate, texts of like length together. Everything runs on one thread in a fixed order:
the same texts, targets and seed give the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from swath.errors import MissingExtra
from swath.routing.encoding import Encoding, Floats32, each, layer, pooled

Halves = NDArray[np.float16]
Floats = NDArray[np.float64]
STEP = 16  # tokens: texts are padded to a multiple, so that few shapes are compiled
PROBED = 1536  # texts that the head's first fit sees
RIDGE = 30.0
BETAS, TINY = (0.9, 0.98), 1e-8


@dataclass(frozen=True)
class Settings:
    """How to tune. `layers` from the top; `rate` of the layers, `decay` towards what they were."""

    layers: int = 1
    window: int = 64
    epochs: int = 1
    batch: int = 32
    rate: float = 2e-4
    decay: float = 0.01
    warm: float = 0.1  # of all steps, with a rising rate


@dataclass
class Tuned:
    """The tuned tensors by name, and the head: difficulty = vector @ head[:-1] + head[-1]."""

    tensors: dict[str, Floats32]
    head: Floats32


def frozen(base: Encoding, ids: Sequence[NDArray[np.int32]], layers: int) -> list[Halves]:
    """Each text's states (tokens, width) below the top `layers`, in half precision."""
    below = base.layers - layers

    def read(one: NDArray[np.int32]) -> Halves:
        made: Halves = base.states(one, below)[0].astype(np.float16)
        return made

    return each(read, ids)


def tune(
    base: Encoding, states: Sequence[Halves], target: Floats, settings: Settings, seed: int
) -> Tuned:
    """The top layers and a head, trained on squared error. `states` are `frozen`'s, of n texts;
    `target` has shape (n,). Raises MissingExtra."""
    try:
        import jax
    except ImportError:
        raise MissingExtra("Fine-tuning", "finetune") from None
    first = base.layers - settings.layers
    top = tuple(range(first, base.layers))
    own = {k: v for k, v in base.tensors.items() if k.split(".")[0] in {str(i) for i in top}}
    vectors, step = _compiled(top, base.heads, base.epsilon, settings.decay)
    with jax.default_device(jax.devices("cpu")[0]):
        rng = np.random.default_rng(seed)
        batches = list(_batches(states, target, settings.batch))
        order = rng.permutation(len(batches))
        head = _probe(vectors, own, [batches[i] for i in order], settings.batch)
        held: Any = {**own, "head": head}
        start = held
        moments: Any = (
            {k: np.zeros_like(v) for k, v in held.items()},
            {k: np.zeros_like(v) for k, v in held.items()},
        )
        total = settings.epochs * len(batches)
        rising = max(1.0, settings.warm * total)
        count = 0
        for _ in range(settings.epochs):
            for i in order:
                count += 1
                slope = min(count / rising, (total - count + 1) / max(total - rising, 1.0))
                rate = np.float32(settings.rate * min(slope, 1.0))
                held, moments = step(held, start, moments, rate, np.float32(count), *batches[i])
            order = rng.permutation(len(batches))
    made = {k: np.asarray(v, np.float32) for k, v in held.items()}
    return Tuned({k: v for k, v in made.items() if k != "head"}, made["head"])


def _batches(states: Sequence[Halves], target: Floats, size: int) -> Iterator[tuple[Any, ...]]:
    """(states, mask, target, weight) of `size` texts each, the shortest first, padded."""
    order = sorted(range(len(states)), key=lambda i: (len(states[i]), i))
    for start in range(0, len(order), size):
        part = order[start : start + size]
        longest = -(-max(len(states[i]) for i in part) // STEP) * STEP
        x = np.zeros((size, longest, states[part[0]].shape[1]), np.float16)
        mask = np.zeros((size, longest), np.float32)
        wanted, weight = np.zeros(size, np.float32), np.zeros(size, np.float32)
        mask[len(part) :, 0] = 1.0  # rows of padding only: their mean is defined, and weighs 0
        for row, i in enumerate(part):
            x[row, : len(states[i])], mask[row, : len(states[i])] = states[i], 1.0
            wanted[row], weight[row] = target[i], 1.0
        yield x, mask, wanted, weight


def _probe(vectors: Any, own: Any, batches: Sequence[tuple[Any, ...]], size: int) -> Floats32:
    """The head by ridge regression on the vectors of the layers as they are."""
    rows, wanted = [], []
    for x, mask, target, weight in batches[: max(1, PROBED // size)]:
        known = weight > 0
        rows.append(np.asarray(vectors(own, x, mask), np.float64)[known])
        wanted.append(target[known].astype(np.float64))
    a, y = np.vstack(rows), np.concatenate(wanted)
    middle, mean = a.mean(axis=0), y.mean()
    a = a - middle
    w = np.linalg.solve(a.T @ a + RIDGE * a.shape[1] ** 0.5 * np.eye(a.shape[1]), a.T @ (y - mean))
    return np.append(w, mean - middle @ w).astype(np.float32)


def vector(
    xp: Any, held: Any, top: Sequence[int], x: Any, mask: Any, heads: int, eps: float
) -> Any:
    """The text's vector, (texts, width), of its states below the tuned layers: the mean token,
    scaled to a length of sqrt(width)."""
    for i in top:
        x = layer(xp, held, i, x, mask, heads, eps)
    mean = pooled(xp, x, mask)
    length = xp.sqrt((mean * mean).mean(axis=-1, keepdims=True))
    return mean / (length + np.float32(1e-6))


@lru_cache(maxsize=8)
def _compiled(top: tuple[int, ...], heads: int, eps: float, decay: float) -> tuple[Any, Any]:
    """The forward pass and the training step, compiled once a shape."""
    import jax
    import jax.numpy as jnp

    # One thread: sums that threads share need not be equal to the last bit.
    one = {"xla_cpu_multi_thread_eigen": False}

    def vectors(held: Any, x: Any, mask: Any) -> Any:
        return vector(jnp, held, top, x.astype(jnp.float32), mask, heads, eps)

    def loss(held: Any, x: Any, mask: Any, wanted: Any, weight: Any) -> Any:
        said = vectors(held, x, mask) @ held["head"][:-1] + held["head"][-1]
        return (weight * (said - wanted) ** 2).sum() / weight.sum()

    def step(
        held: Any, start: Any, moments: Any, rate: Any, count: Any, *batch: Any
    ) -> tuple[Any, Any]:
        slope = jax.grad(loss)(held, *batch)
        first, second = moments
        first = jax.tree.map(lambda m, g: BETAS[0] * m + (1 - BETAS[0]) * g, first, slope)
        second = jax.tree.map(lambda m, g: BETAS[1] * m + (1 - BETAS[1]) * g * g, second, slope)

        def moved(p: Any, m: Any, v: Any, was: Any) -> Any:
            m, v = m / (1 - BETAS[0] ** count), v / (1 - BETAS[1] ** count)
            return p - rate * (m / (jnp.sqrt(v) + TINY) + decay * (p - was))

        return jax.tree.map(moved, held, first, second, start), (first, second)

    return (
        jax.jit(vectors, compiler_options=one),
        jax.jit(step, compiler_options=one, donate_argnums=(0, 2)),
    )
