"""LoRA (arXiv 2106.09685) for the packaged language models, in JAX on two cores: small matrices
beside the query and value projections learn which score token answers a prompt.

The weights stay as the GGUF file has them, dequantized. Only the upper layers are tuned; what lies
below is computed once a prompt. What comes out goes back to llama.cpp as a GGUF adapter
(`lora_file.py`), so that prediction needs neither JAX nor the weights in float32.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from swath.errors import InputError, MissingExtra
from swath.routing.lora_file import ARCHITECTURES, Adapter, Decoder, decoder

Ints = NDArray[np.intp]
Floats32 = NDArray[np.float32]
TARGETS = ("attn_q", "attn_v")
STEP = 32  # tokens: prompts are padded to a multiple, so that few shapes are compiled
BETAS, TINY = (0.9, 0.98), 1e-8


@dataclass(frozen=True)
class Shape:
    """What the compiled functions depend on, besides the shapes of arrays."""

    heads: int
    shared: int  # key and value heads
    each: int  # numbers of a head
    base: float  # of the rotary angles
    epsilon: float
    paired: bool  # llama's files turn neighbouring numbers, qwen2's the two halves
    scale: float  # alpha / rank


def tune(
    path: Path,
    prompts: Sequence[Sequence[int]],
    labels: Ints,
    score_tokens: Sequence[int],
    *,
    rank: int = 8,
    alpha: float = 16.0,
    layers: int = 10,
    rate: float = 1e-3,
    epochs: int = 2,
    batch: int = 8,
    seed: int = 0,
    note: Callable[[int, int], None] = lambda done, total: None,
) -> Adapter:
    """An adapter for the GGUF model at `path` under which the next token after `prompts[i]` is
    `score_tokens[labels[i]]`.

    `prompts` are token ids, as llama.cpp would be sent them; `labels` has shape (n,). The loss is
    cross-entropy among the score tokens alone. `layers` from the top are tuned (all where there are
    fewer); `note` hears the steps done and their total. Raises MissingExtra, and InputError for an
    architecture other than llama's and qwen2's.
    """
    labels = np.asarray(labels)
    if not prompts or len(prompts) != len(labels) or not all(len(p) for p in prompts):
        raise InputError(
            f"{len(prompts)} prompts and {len(labels)} labels cannot be learned from.",
            hint="Give a label for each prompt, and no empty prompt.",
        )
    if labels.min() < 0 or labels.max() >= len(score_tokens):
        raise InputError(
            f"Labels lie between {labels.min()} and {labels.max()}, "
            f"with {len(score_tokens)} score tokens.",
            hint="A label is the place of its token among the score tokens, from 0.",
        )
    model = decoder(path)
    try:
        import jax
    except ImportError:
        raise MissingExtra("LoRA fine-tuning", "finetune") from None
    layers = min(layers, model.layers)
    below, step, _ = _compiled(_shape(model, alpha / rank))
    low, high = _parts(model, model.layers - layers)
    batches = _batches(prompts, labels, batch)
    rng = np.random.default_rng(seed)
    held: Any = {}
    for name in TARGETS:
        wide, out = high[name].shape[1:]
        # B starts at zero: the first step is taken from the model as it is.
        drawn = rng.normal(0, wide**-0.5, (layers, wide, rank)).astype(np.float32)
        held[f"{name}.a"] = drawn
        held[f"{name}.b"] = np.zeros((layers, rank, out), np.float32)
    moments: Any = tuple({k: np.zeros_like(v) for k, v in held.items()} for _ in range(2))
    head = model.tensors["output.weight"][np.asarray(score_tokens)].T.copy()
    norm = model.tensors["output_norm.weight"]
    with jax.default_device(jax.devices("cpu")[0]):
        low = jax.device_put(low)
        states = []
        for b in batches:
            x = np.asarray(below(low, model.tensors["token_embd.weight"][b.ids]))
            states.append(x.astype(np.float16))
            note(len(states), len(batches) * (1 + epochs))
        del low
        high, total, count = jax.device_put(high), epochs * len(batches), 0
        for _ in range(epochs):
            for i in rng.permutation(len(batches)):
                count += 1
                now = np.float32(rate * min(count / (0.1 * total), 1.1 - count / total, 1.0))
                b = batches[i]
                given = (states[i], b.last, b.labels, b.weight)
                held, moments = step(held, moments, high, head, norm, now, np.float32(count), given)
                note(len(batches) + count, len(batches) * (1 + epochs))
    first = model.layers - layers
    arrays = {}
    for name in TARGETS:
        a, b2 = np.asarray(held[f"{name}.a"]), np.asarray(held[f"{name}.b"])
        for i in range(layers):
            place = f"blk.{first + i}.{name}.weight"
            arrays[f"{place}.lora_a"] = np.ascontiguousarray(a[i].T, np.float16)
            arrays[f"{place}.lora_b"] = np.ascontiguousarray(b2[i].T, np.float16)
    return Adapter(model.architecture, float(alpha), arrays)


def next_token(path: Path, prompt: Sequence[int]) -> Floats32:
    """Log-probabilities of the token after `prompt`, shape (words of the vocabulary,), by the same
    arithmetic that `tune` uses: to be held against llama.cpp's. Raises as `tune` does."""
    model = decoder(path)
    try:
        import jax
    except ImportError:
        raise MissingExtra("LoRA fine-tuning", "finetune") from None
    below, _, last = _compiled(_shape(model, 1.0))
    whole, _ = _parts(model, model.layers)
    with jax.default_device(jax.devices("cpu")[0]):
        x = below(whole, model.tensors["token_embd.weight"][np.asarray([prompt])])
        logits = last(x[:, -1], model.tensors["output_norm.weight"])
        logits = np.asarray(logits)[0] @ model.tensors["output.weight"].T
    logits = logits - logits.max()
    made: Floats32 = logits - np.log(np.exp(logits).sum())
    return made


@dataclass(frozen=True)
class _Batch:
    ids: Ints
    last: Ints
    labels: Ints
    weight: Floats32


def _batches(prompts: Sequence[Sequence[int]], labels: Ints, size: int) -> list[_Batch]:
    """Prompts of like length together, padded at their end; rows of nothing fill the last."""
    order = sorted(range(len(prompts)), key=lambda i: (len(prompts[i]), i))
    made = []
    for start in range(0, len(order), size):
        part = order[start : start + size]
        longest = -(-max(len(prompts[i]) for i in part) // STEP) * STEP
        ids = np.zeros((size, longest), np.intp)
        last, wanted = np.zeros(size, np.intp), np.zeros(size, np.intp)
        weight = np.zeros(size, np.float32)
        for row, i in enumerate(part):
            ids[row, : len(prompts[i])] = prompts[i]
            last[row], wanted[row], weight[row] = len(prompts[i]) - 1, labels[i], 1.0
        made.append(_Batch(ids, last, wanted, weight))
    return made


def _shape(model: Decoder, scale: float) -> Shape:
    return Shape(
        heads=model.heads,
        shared=model.shared,
        each=model.each,
        base=model.base,
        epsilon=model.epsilon,
        paired=ARCHITECTURES[model.architecture],
        scale=scale,
    )


def _parts(model: Decoder, first: int) -> tuple[Any, Any]:
    """The layers below `first` and those from it on, each tensor stacked over layers, matrices
    with rows in and columns out."""

    def gathered(places: range) -> Any:
        made = {}
        for name, end in model.kinds:
            key = name if end == "weight" else f"{name}.bias"
            if places:
                made[key] = np.stack(
                    [_turned(model.tensors[f"blk.{i}.{name}.{end}"]) for i in places]
                )
        return made

    return gathered(range(first)), gathered(range(first, model.layers))


def _turned(array: Floats32) -> Floats32:
    return array.T if array.ndim == 2 else array


@lru_cache(maxsize=4)
def _compiled(shape: Shape) -> tuple[Any, Any, Any]:
    """The layers that are not tuned, one training step, and the last norm."""
    import jax
    import jax.numpy as jnp

    def rms(x: Any, weight: Any) -> Any:
        return x * jax.lax.rsqrt((x * x).mean(axis=-1, keepdims=True) + shape.epsilon) * weight

    def turned(x: Any) -> Any:
        """Rotary positions of (texts, tokens, heads, each)."""
        half = shape.each // 2
        speed = shape.base ** (-jnp.arange(half, dtype=jnp.float32) / half)
        angle = jnp.arange(x.shape[1], dtype=jnp.float32)[:, None] * speed
        cos, sin = jnp.cos(angle)[:, None, :], jnp.sin(angle)[:, None, :]
        if shape.paired:
            a, b = x[..., 0::2], x[..., 1::2]
            return jnp.stack([a * cos - b * sin, a * sin + b * cos], axis=-1).reshape(x.shape)
        a, b = x[..., :half], x[..., half:]
        return jnp.concatenate([a * cos - b * sin, a * sin + b * cos], axis=-1)

    def layer(x: Any, w: Any, lora: Any) -> Any:
        texts, tokens, _ = x.shape

        def linear(name: str, given: Any) -> Any:
            made = given @ w[name]
            if f"{name}.bias" in w:
                made = made + w[f"{name}.bias"]
            if f"{name}.a" in lora:
                made = made + (given @ lora[f"{name}.a"]) @ lora[f"{name}.b"] * shape.scale
            return made

        def split(name: str, given: Any, heads: int) -> Any:
            return linear(name, given).reshape(texts, tokens, heads, shape.each)

        y = rms(x, w["attn_norm"])
        q = turned(split("attn_q", y, shape.heads))
        k = turned(split("attn_k", y, shape.shared))
        v = split("attn_v", y, shape.shared)
        q = q.reshape(texts, tokens, shape.shared, shape.heads // shape.shared, shape.each)
        weight = jnp.einsum("btgrd,bsgd->bgrts", q, k) * shape.each**-0.5
        earlier = jnp.tril(jnp.ones((tokens, tokens), bool))
        weight = jax.nn.softmax(jnp.where(earlier, weight, -1e30), axis=-1)
        seen = jnp.einsum("bgrts,bsgd->btgrd", weight, v).reshape(texts, tokens, -1)
        x = x + linear("attn_output", seen)
        y = rms(x, w["ffn_norm"])
        return x + linear("ffn_down", jax.nn.silu(linear("ffn_gate", y)) * linear("ffn_up", y))

    def below(held: Any, x: Any) -> Any:
        if not held:
            return x
        return jax.lax.scan(lambda x, w: (layer(x, w, {}), None), x, held)[0]

    def loss(lora: Any, held: Any, head: Any, norm: Any, given: Any) -> Any:
        states, last, labels, weight = given
        x = states.astype(jnp.float32)
        x = jax.lax.scan(lambda x, both: (layer(x, *both), None), x, (held, lora))[0]
        logits = rms(x[jnp.arange(len(last)), last], norm) @ head
        found = jax.nn.log_softmax(logits)[jnp.arange(len(last)), labels]
        return -(weight * found).sum() / weight.sum()

    def step(
        lora: Any, moments: Any, held: Any, head: Any, norm: Any, rate: Any, count: Any, given: Any
    ) -> tuple[Any, Any]:
        slope = jax.grad(loss)(lora, held, head, norm, given)
        first = jax.tree.map(lambda m, g: BETAS[0] * m + (1 - BETAS[0]) * g, moments[0], slope)
        second = jax.tree.map(lambda m, g: BETAS[1] * m + (1 - BETAS[1]) * g**2, moments[1], slope)

        def moved(p: Any, m: Any, v: Any) -> Any:
            m, v = m / (1 - BETAS[0] ** count), v / (1 - BETAS[1] ** count)
            return p - rate * m / (jnp.sqrt(v) + TINY)

        return jax.tree.map(moved, lora, first, second), (first, second)

    return jax.jit(below), jax.jit(step, donate_argnums=(0, 1)), jax.jit(rms)
