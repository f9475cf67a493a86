"""What LoRA reads and writes: a GGUF model as float32, and a GGUF adapter that llama.cpp loads.

Reading a model needs the `gguf` package (its quantizations are many); writing an adapter does not,
so that a router with one predicts without it.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from swath.errors import InputError, MissingExtra, OutputError

Floats32 = NDArray[np.float32]
ARCHITECTURES = {"llama": True, "qwen2": False}
"""Architecture to whether its file has the rotary numbers side by side (or half a head apart)."""

_LAYER = (
    ("attn_norm", "weight"),
    ("attn_q", "weight"),
    ("attn_q", "bias"),
    ("attn_k", "weight"),
    ("attn_k", "bias"),
    ("attn_v", "weight"),
    ("attn_v", "bias"),
    ("attn_output", "weight"),
    ("ffn_norm", "weight"),
    ("ffn_gate", "weight"),
    ("ffn_up", "weight"),
    ("ffn_down", "weight"),
)
ALIGNED = 32  # bytes: where a tensor begins
_FLOAT, _TEXT = 6, 8  # GGUF's types of values
_F16 = 1  # ggml's type of half precision


@dataclass
class Adapter:
    """What was learned, by tensor: NAME.lora_a (rank, in) and NAME.lora_b (out, rank), in half
    precision. The tensor NAME then counts as itself plus alpha / rank * b @ a."""

    architecture: str
    alpha: float
    arrays: dict[str, NDArray[np.float16]]


@dataclass
class Decoder:
    """A language model's weights in float32, matrices as (out, in), and its shape."""

    architecture: str
    layers: int
    heads: int
    shared: int
    each: int
    base: float
    epsilon: float
    tensors: dict[str, Floats32] = field(repr=False)

    @property
    def kinds(self) -> list[tuple[str, str]]:
        """The tensors that each layer has."""
        return [(n, e) for n, e in _LAYER if f"blk.0.{n}.{e}" in self.tensors]


def decoder(path: Path) -> Decoder:
    """The model in a GGUF file. Raises MissingExtra, and InputError for a file that is none or an
    architecture that is not known here."""
    try:
        import gguf
    except ImportError:
        raise MissingExtra("Reading a language model's weights", "finetune") from None
    try:
        file = gguf.GGUFReader(path)
        about: dict[str, Any] = {
            k: v.contents() for k, v in file.fields.items() if not k.startswith("tokenizer")
        }
        kind = str(about["general.architecture"])
    except (OSError, ValueError, KeyError, IndexError):
        raise InputError(f"'{path}' is no GGUF model.", hint="Give the path of one.") from None
    if kind not in ARCHITECTURES:
        raise InputError(
            f"'{path}' has the architecture '{kind}', which cannot be tuned here.",
            hint=f"Architectures: {', '.join(ARCHITECTURES)}.",
        )
    tensors = {
        t.name: np.asarray(gguf.quants.dequantize(t.data, t.tensor_type), np.float32)
        for t in file.tensors
    }
    tensors.setdefault("output.weight", tensors["token_embd.weight"])
    heads = int(about[f"{kind}.attention.head_count"])
    return Decoder(
        architecture=kind,
        layers=int(about[f"{kind}.block_count"]),
        heads=heads,
        shared=int(about.get(f"{kind}.attention.head_count_kv", heads)),
        each=tensors["blk.0.attn_q.weight"].shape[0] // heads,
        base=float(about.get(f"{kind}.rope.freq_base", 10000.0)),
        epsilon=float(about[f"{kind}.attention.layer_norm_rms_epsilon"]),
        tensors=tensors,
    )


def write(adapter: Adapter, path: Path) -> Path:
    """The adapter as a GGUF file, put in place when it is whole; the bytes depend on its content
    only. Raises OutputError."""
    values = (
        ("general.architecture", adapter.architecture),
        ("general.type", "adapter"),
        ("adapter.type", "lora"),
        ("adapter.lora.alpha", adapter.alpha),
    )
    names = sorted(adapter.arrays)
    whole = bytearray(struct.pack("<4sIQQ", b"GGUF", 3, len(names), len(values)))
    for key, value in values:
        whole += _text(key)
        if isinstance(value, str):
            whole += struct.pack("<I", _TEXT) + _text(value)
        else:
            whole += struct.pack("<If", _FLOAT, value)
    blobs, at = [], 0
    for name in names:
        array = np.ascontiguousarray(adapter.arrays[name], "<f2")
        blob = array.tobytes()
        blob += bytes(-len(blob) % ALIGNED)
        # GGUF counts dimensions from the fastest.
        whole += _text(name) + struct.pack("<IQQIQ", 2, *array.shape[::-1], _F16, at)
        blobs.append(blob)
        at += len(blob)
    whole += bytes(-len(whole) % ALIGNED)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        beside.write_bytes(bytes(whole) + b"".join(blobs))
        os.replace(beside, path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise OutputError(
            f"The adapter cannot be written to '{path}': {error.strerror or error}.",
            hint="Give a path in a folder that exists and is writable.",
        ) from None
    return path


def _text(value: str) -> bytes:
    blob = value.encode()
    return struct.pack("<Q", len(blob)) + blob
