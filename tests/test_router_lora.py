"""LoRA on language models: the arithmetic, what is learned, and the file that llama.cpp loads."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from swath.errors import InputError, OutputError
from swath.routing.lora import next_token, tune
from swath.routing.lora_file import Adapter, decoder, write

gguf = pytest.importorskip("gguf")
pytest.importorskip("jax")

WIDTH, HEADS, SHARED, INNER, LAYERS, VOCABULARY = 32, 4, 2, 48, 3, 40
BASE, EPSILON = 10000.0, 1e-5


def model(path: Path, architecture: str = "llama", seed: int = 0) -> Path:
    """A random language model as a GGUF file; qwen2's has biases, and an output of its own."""
    rng = np.random.default_rng(seed)
    each = WIDTH // HEADS
    file = gguf.GGUFWriter(path, architecture)
    file.add_block_count(LAYERS)
    file.add_embedding_length(WIDTH)
    file.add_head_count(HEADS)
    file.add_head_count_kv(SHARED)
    file.add_layer_norm_rms_eps(EPSILON)
    file.add_rope_freq_base(BASE)

    def put(name: str, *shape: int, around: float = 0.0, size: float = 0.3) -> None:
        file.add_tensor(name, (around + rng.normal(0, size, shape)).astype(np.float32))

    put("token_embd.weight", VOCABULARY, WIDTH, size=1.0)
    put("output_norm.weight", WIDTH, around=1.0)
    for i in range(LAYERS):
        shapes = {"q": WIDTH, "k": SHARED * each, "v": SHARED * each}
        for name, rows in shapes.items():
            put(f"blk.{i}.attn_{name}.weight", rows, WIDTH)
            if architecture == "qwen2":
                put(f"blk.{i}.attn_{name}.bias", rows)
        put(f"blk.{i}.attn_output.weight", WIDTH, WIDTH)
        put(f"blk.{i}.ffn_gate.weight", INNER, WIDTH)
        put(f"blk.{i}.ffn_up.weight", INNER, WIDTH)
        put(f"blk.{i}.ffn_down.weight", WIDTH, INNER)
        put(f"blk.{i}.attn_norm.weight", WIDTH, around=1.0)
        put(f"blk.{i}.ffn_norm.weight", WIDTH, around=1.0)
    if architecture == "qwen2":
        put("output.weight", VOCABULARY, WIDTH)
    file.write_header_to_file()
    file.write_kv_data_to_file()
    file.write_tensors_to_file()
    file.close()
    return path


def reference(path: Path, prompt: Sequence[int], adapter: Adapter | None = None) -> np.ndarray:
    """Log-probabilities of the next token, one position and one head at a time, in float64."""
    held = {k: v.astype(np.float64) for k, v in decoder(path).tensors.items()}
    for name in {k.rsplit(".", 1)[0] for k in adapter.arrays} if adapter else ():
        assert adapter is not None
        a, b = (adapter.arrays[f"{name}.lora_{s}"].astype(np.float64) for s in "ab")
        held[name] = held[name] + adapter.alpha / len(a) * b @ a
    each, paired = WIDTH // HEADS, decoder(path).architecture == "llama"

    def rms(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
        made: np.ndarray = x / np.sqrt(np.mean(x * x) + EPSILON) * weight
        return made

    def turned(x: np.ndarray, place: int) -> np.ndarray:
        made = x.copy()
        for j in range(each // 2):
            first, other = (2 * j, 2 * j + 1) if paired else (j, j + each // 2)
            angle = place * BASE ** (-2 * j / each)
            both = (x[first] + 1j * x[other]) * np.exp(1j * angle)
            made[first], made[other] = both.real, both.imag
        return made

    states = [held["token_embd.weight"][t] for t in prompt]
    for i in range(LAYERS):
        part = {k.split(".", 2)[2]: v for k, v in held.items() if k.startswith(f"blk.{i}.")}

        def linear(name: str, x: np.ndarray, part: dict[str, np.ndarray] = part) -> np.ndarray:
            made: np.ndarray = part[f"{name}.weight"] @ x + part.get(f"{name}.bias", 0.0)
            return made

        normed = [rms(x, part["attn_norm.weight"]) for x in states]
        q, k, v = (
            [linear(f"attn_{n}", x).reshape(-1, each) for x in normed] for n in ("q", "k", "v")
        )
        after = []
        for t, x in enumerate(states):
            seen = []
            for h in range(HEADS):
                g = h // (HEADS // SHARED)
                mine = turned(q[t][h], t)
                weight = np.exp([mine @ turned(k[s][g], s) / each**0.5 for s in range(t + 1)])
                seen.append(sum(w * v[s][g] for s, w in enumerate(weight)) / weight.sum())
            x = x + linear("attn_output", np.concatenate(seen))
            y = rms(x, part["ffn_norm.weight"])
            gate = linear("ffn_gate", y)
            after.append(x + linear("ffn_down", gate / (1 + np.exp(-gate)) * linear("ffn_up", y)))
        states = after
    logits = held["output.weight"] @ rms(states[-1], held["output_norm.weight"])
    logits = logits - logits.max()
    made: np.ndarray = logits - np.log(np.exp(logits).sum())
    return made


def labelled(count: int, seed: int = 0) -> tuple[list[list[int]], np.ndarray]:
    """Prompts of 3 to 7 tokens, the last one saying the label."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, count)
    sizes = rng.integers(2, 7, count)
    return [
        [*rng.integers(10, VOCABULARY, size).tolist(), 5 + int(label)]
        for size, label in zip(sizes, labels, strict=True)
    ], labels


@pytest.mark.parametrize("architecture", ["llama", "qwen2"])
def test_the_arithmetic_is_that_of_the_architecture(architecture: str, tmp_path: Path) -> None:
    path = model(tmp_path / "m.gguf", architecture)
    for prompt in ([3], [7, 1, 30, 2, 2, 19, 11]):
        found = next_token(path, prompt)
        assert found.shape == (VOCABULARY,)
        np.testing.assert_allclose(found, reference(path, prompt), atol=2e-4)


def test_lora_fits_what_the_frozen_model_misses(tmp_path: Path) -> None:
    path = model(tmp_path / "m.gguf", "qwen2")
    prompts, labels = labelled(24)
    told: list[tuple[int, int]] = []
    made = tune(
        path,
        prompts,
        labels,
        [1, 2],
        rank=4,
        layers=2,
        rate=1e-2,
        epochs=30,
        note=lambda done, total: told.append((done, total)),
    )
    assert told[-1] == (3 * 31, 3 * 31)

    def right(adapter: Adapter | None) -> float:
        found = [reference(path, p, adapter)[[1, 2]].argmax() for p in prompts]
        return float(np.mean(np.array(found) == labels))

    # By a reference of its own, with the adapter added to the weights as llama.cpp adds it.
    assert right(None) < 0.8
    assert right(made) > 0.9
    assert made.architecture == "qwen2"
    assert set(made.arrays) == {
        f"blk.{i}.attn_{n}.weight.lora_{s}" for i in (1, 2) for n in "qv" for s in "ab"
    }
    assert made.arrays["blk.2.attn_v.weight.lora_a"].shape == (4, WIDTH)
    assert made.arrays["blk.2.attn_v.weight.lora_b"].shape == (SHARED * WIDTH // HEADS, 4)


def test_the_same_seed_gives_the_same_adapter(tmp_path: Path) -> None:
    path = model(tmp_path / "m.gguf")
    prompts, labels = labelled(24)
    one, same, other = (
        tune(path, prompts, labels, [1, 2], rank=2, epochs=1, seed=s).arrays for s in (0, 0, 1)
    )
    assert all((one[k] == same[k]).all() for k in one)
    assert any((one[k] != other[k]).any() for k in one)


def test_the_adapter_file_is_what_the_gguf_library_reads(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    arrays = {
        f"blk.{i}.attn_q.weight.lora_{s}": rng.normal(size=shape).astype(np.float16)
        for i in range(2)
        for s, shape in (("a", (3, 7)), ("b", (5, 3)))
    }
    path = write(Adapter("llama", 12.0, arrays), tmp_path / "a.gguf")
    file = gguf.GGUFReader(path)
    about: dict[str, Any] = {k: v.contents() for k, v in file.fields.items()}
    assert about["general.architecture"] == "llama"
    assert about["general.type"] == "adapter"
    assert about["adapter.type"] == "lora"
    assert about["adapter.lora.alpha"] == 12.0
    assert {t.name for t in file.tensors} == set(arrays)
    for tensor in file.tensors:
        np.testing.assert_array_equal(tensor.data, arrays[tensor.name])
    before = path.read_bytes()
    mixed = dict(reversed(arrays.items()))
    assert write(Adapter("llama", 12.0, mixed), path).read_bytes() == before
    with pytest.raises(OutputError):
        write(Adapter("llama", 12.0, arrays), tmp_path / "no" / "a.gguf")


def test_what_cannot_be_tuned_is_refused(tmp_path: Path) -> None:
    path = model(tmp_path / "m.gguf")
    with pytest.raises(InputError, match="2 prompts and 1 labels"):
        tune(path, [[1], [2]], np.array([0]), [1, 2])
    with pytest.raises(InputError, match="between 0 and 2, with 2 score tokens"):
        tune(path, [[1], [2]], np.array([0, 2]), [1, 2])
    with pytest.raises(InputError, match="'gpt2'") as caught:
        tune(model(tmp_path / "other.gguf", "gpt2"), [[1]], np.array([0]), [1])
    assert "llama, qwen2" in caught.value.hint
    (tmp_path / "no.gguf").write_bytes(b"GGUF nothing")
    with pytest.raises(InputError, match="no GGUF model"):
        tune(tmp_path / "no.gguf", [[1]], np.array([0]), [1])


# -- the packaged model


def likeliest(host: Any, prompt: Sequence[int], count: int = 20) -> dict[int, float]:
    """Log-probabilities of the next token by llama.cpp, of the `count` likeliest."""
    found: dict[int, float] = {}

    def hear(event: dict[str, Any]) -> bool:
        for choice in event.get("choices") or ():
            for token in (choice.get("logprobs") or {}).get("content") or ():
                found.update({o["id"]: o["logprob"] for o in token.get("top_logprobs") or ()})
        return False

    asked = {"prompt": list(prompt), "max_tokens": 1, "temperature": 0.0, "logprobs": count}
    host.chat({**asked, "stream": True, "cache_prompt": False}, hear, raw=True)
    return found


@pytest.mark.local
@pytest.mark.slow
def test_the_packaged_model_is_what_llama_cpp_computes() -> None:
    from swath.local import weights
    from swath.local.server import Server
    from swath.local.server import Settings as Run

    path = weights.find("smollm2-135m")
    host = Server(path, Run(slots=1, context=512))
    for text in ("The capital of France is", "Two trains leave at nine. How many hours until"):
        prompt = host.tokens(text, special=True)
        wanted, found = likeliest(host, prompt), next_token(path, prompt)
        # llama.cpp rounds activations to 8 bits; the weights are the same.
        assert np.mean([abs(found[t] - v) for t, v in wanted.items()]) < 0.25
        assert int(found.argmax()) == max(wanted, key=lambda t: wanted[t])
    host.close()


@pytest.mark.local
@pytest.mark.slow
def test_llama_cpp_answers_by_the_adapter(tmp_path: Path) -> None:
    """A label that any reader sees and the frozen model misses: is it about a garden or a sum?"""
    from swath.local import weights
    from swath.local.server import Server
    from swath.local.server import Settings as Run

    path = weights.find("smollm2-135m")
    host = Server(path, Run(slots=1, context=512))
    rng = np.random.default_rng(0)
    nouns = (["roses", "hedges", "lawns", "tulips"], ["fractions", "primes", "squares", "roots"])
    verbs = ["Tell me of", "What about", "Explain", "I want", "Describe", "List some"]

    def asked(label: int) -> list[int]:
        text = f"{rng.choice(verbs)} {rng.choice(nouns[label])}, part {rng.integers(99)}. Class"
        return host.tokens(f"{text} (1 or 2):", special=True)

    labels = rng.integers(0, 2, 96)
    prompts = [asked(int(label)) for label in labels]
    digits = [host.tokens(str(i))[-1] for i in (1, 2)]
    made = tune(path, prompts[:64], labels[:64], digits, rate=2e-3, epochs=3)

    def right(which: Any) -> float:
        found = [likeliest(which, p, 200) for p in prompts[64:]]
        said = [int(np.argmax([f.get(d, -99.0) for d in digits])) for f in found]
        return float(np.mean(np.array(said) == labels[64:]))

    frozen = right(host)
    host.close()
    tuned = Server(path, Run(slots=1, context=512, adapter=str(write(made, tmp_path / "a.gguf"))))
    assert frozen < 0.75
    assert right(tuned) > 0.9
    tuned.close()
