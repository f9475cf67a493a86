"""Reading an encoder: the packaged MiniLM's ONNX file, or a folder as the model hub has them.

A folder holds `config.json`, `model.safetensors` and `tokenizer.json`. BERT, RoBERTa, XLM-RoBERTa
and DistilBERT are read. A hub's name stands for the folder that the hub's own client fetches, where
it is installed. Both formats are read here in a few lines, so that prediction needs neither the
`onnx` nor the `safetensors` package. Nothing in a file is executed.
"""

from __future__ import annotations

import hashlib
import json
import math
import struct
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from swath.errors import InputError, MissingExtra, listing
from swath.routing.encoding import Encoding, Floats32
from swath.routing.vectors import LOCAL

FAMILIES = ("bert", "roberta", "xlm-roberta", "distilbert")
FILES = ("config.json", "model.safetensors", "tokenizer.json")
HEAD = 32  # numbers a head of the packaged MiniLM has; its ONNX file does not say it outright

_BERT = {
    "query": "attention.self.query",
    "key": "attention.self.key",
    "value": "attention.self.value",
    "out": "attention.output.dense",
    "norm1": "attention.output.LayerNorm",
    "up": "intermediate.dense",
    "down": "output.dense",
    "norm2": "output.LayerNorm",
}
_DISTIL = {
    "query": "attention.q_lin",
    "key": "attention.k_lin",
    "value": "attention.v_lin",
    "out": "attention.out_lin",
    "norm1": "sa_layer_norm",
    "up": "ffn.lin1",
    "down": "ffn.lin2",
    "norm2": "output_layer_norm",
}
_EMBEDDINGS = {
    "words": "embeddings.word_embeddings.weight",
    "positions": "embeddings.position_embeddings.weight",
    "types": "embeddings.token_type_embeddings.weight",
    "norm.weight": "embeddings.LayerNorm.weight",
    "norm.bias": "embeddings.LayerNorm.bias",
}


@lru_cache(maxsize=2)
def encoding(name: str) -> Encoding:
    """The encoder called `name`: the packaged one, a folder, or a name on the hub. Raises
    InputError, WeightsError, MissingExtra."""
    if name == LOCAL:
        from swath.local import weights

        return _packaged(weights.obtain(name.split("/", 1)[1]))
    return _folder(name, _found(name))


def _found(name: str) -> Path:
    """The folder that `name` means."""
    path = Path(name).expanduser()
    if path.is_dir():
        return path
    if path.exists() or name.count("/") != 1 or name.startswith((".", "/", "~")):
        raise InputError(
            f"There is no folder '{name}' with an encoder to tune.",
            hint=f"Give a folder with {', '.join(FILES)}, or '{LOCAL}'.",
        )
    try:
        from huggingface_hub import snapshot_download
    except ImportError:
        raise InputError(
            f"'{name}' is no folder, and no client of the model hub is installed.",
            hint=f"Give a folder with {', '.join(FILES)}, or '{LOCAL}'.",
        ) from None
    try:
        return Path(snapshot_download(name, allow_patterns=list(FILES)))
    except Exception as error:  # the client raises types of its own, and its transport's
        raise InputError(
            f"The model hub gave no '{name}' ({type(error).__name__}).",
            hint=f"Give a folder with {', '.join(FILES)}, or '{LOCAL}'.",
        ) from None


def _tokenizer(path: Path) -> Any:
    try:
        from tokenizers import Tokenizer
    except ImportError:
        raise MissingExtra("An encoder's tokenizer", "local") from None
    try:
        made = Tokenizer.from_file(str(path))
    except Exception:  # the library's own bare Exception
        raise InputError(f"'{path}' is no tokenizer.", hint="Copy the folder again.") from None
    made.no_padding()
    made.no_truncation()
    return made


# --- a folder


def _folder(name: str, folder: Path) -> Encoding:
    here = sorted(p.name for p in folder.iterdir())
    for wanted in FILES:
        if wanted not in here:
            raise InputError(f"'{name}' has no {wanted}.", hint=listing(here, wanted))
    try:
        config = json.loads((folder / "config.json").read_text("utf-8"))
        family = str(config["model_type"])
    except (ValueError, KeyError, TypeError):
        raise InputError(
            f"config.json in '{name}' names no model_type.", hint="Copy the folder again."
        ) from None
    if family not in FAMILIES:
        raise InputError(
            f"'{name}' is a model of type '{family}', which cannot be tuned here.",
            hint=f"Types: {', '.join(FAMILIES)}.",
        )
    distil = family == "distilbert"
    try:
        layers = int(config["n_layers" if distil else "num_hidden_layers"])
        heads = int(config["n_heads" if distil else "num_attention_heads"])
        blob = (folder / "model.safetensors").read_bytes()
        held = _tensors(_safetensors(blob), layers, family)
        if held["words"].shape[1] % heads:
            raise ValueError("heads")
    except KeyError as error:
        raise InputError(
            f"'{name}' lacks {error}.", hint="Is it a whole encoder, with its config.json?"
        ) from None
    except (ValueError, TypeError, struct.error):
        raise InputError(
            f"The weights in '{name}' are damaged, or are not what config.json says.",
            hint="Copy the folder again.",
        ) from None
    activation = str(config.get("activation" if distil else "hidden_act", "gelu"))
    if activation != "gelu":
        raise InputError(
            f"'{name}' has the activation '{activation}'; only gelu is known here.",
            hint=f"Take another model, or '{LOCAL}'.",
        )
    offset = int(config.get("pad_token_id", 1)) + 1 if "roberta" in family else 0
    return Encoding(
        name=name,
        sha256=hashlib.sha256(blob).hexdigest(),
        layers=layers,
        heads=heads,
        epsilon=float(config.get("layer_norm_eps", 1e-12)),
        tensors=held,
        tokenizer=_tokenizer(folder / "tokenizer.json"),
        offset=offset,
        longest=held["positions"].shape[0] - offset,
    )


def _tensors(found: dict[str, Floats32], layers: int, family: str) -> dict[str, Floats32]:
    """A file's tensors under our names; matrices turned, so that rows are what goes in."""
    distil = family == "distilbert"
    names = _DISTIL if distil else _BERT
    place = "transformer.layer" if distil else "encoder.layer"
    heads = [k.split("embeddings.word_embeddings", 1)[0] for k in found if "word_embeddings.w" in k]
    head = heads[0] if heads else ""

    def take(name: str) -> Floats32:
        # Old exports call the two numbers of a norm gamma and beta.
        old = name.replace("Norm.weight", "Norm.gamma").replace("Norm.bias", "Norm.beta")
        return found[head + name] if head + name in found or old == name else found[head + old]

    made = {
        ours: take(theirs)
        for ours, theirs in _EMBEDDINGS.items()
        if not (distil and ours == "types")
    }
    for i in range(layers):
        for ours, theirs in names.items():
            weight = take(f"{place}.{i}.{theirs}.weight")
            made[f"{i}.{ours}.weight"] = weight if weight.ndim == 1 else weight.T
            made[f"{i}.{ours}.bias"] = take(f"{place}.{i}.{theirs}.bias")
    return {k: np.ascontiguousarray(v, np.float32) for k, v in made.items()}


def _safetensors(blob: bytes) -> dict[str, Floats32]:
    """The float tensors of a safetensors file. Raises ValueError."""
    (size,) = struct.unpack_from("<Q", blob)
    header = json.loads(blob[8 : 8 + size])
    body = memoryview(blob)[8 + size :]
    made = {}
    for name, about in header.items():
        if name == "__metadata__" or about["dtype"] not in ("F32", "F16", "BF16"):
            continue
        start, end = about["data_offsets"]
        part = body[start:end]
        if about["dtype"] == "BF16":
            array = (np.frombuffer(part, "<u2").astype(np.uint32) << 16).view(np.float32)
        else:
            array = np.frombuffer(part, "<f4" if about["dtype"] == "F32" else "<f2")
        made[name] = array.reshape(about["shape"]).astype(np.float32)
    return made


# --- the packaged ONNX file: int8 weights with a scale for each, read once into float32


def _packaged(path: Path) -> Encoding:
    blob = path.read_bytes()
    found = _named(blob)
    layers = sum(k.endswith("attention.self.query.bias") for k in found)
    # `_named` leaves matrices as they multiply; `_tensors` turns them from the hub's layout.
    turned = {k: v.T if ".layer." in k and v.ndim == 2 else v for k, v in found.items()}
    held = _tensors(turned, layers, "bert")
    return Encoding(
        name=LOCAL,
        sha256=hashlib.sha256(blob).hexdigest(),
        layers=layers,
        heads=held["words"].shape[1] // HEAD,
        epsilon=1e-12,
        tensors=held,
        tokenizer=_tokenizer(path.with_name("tokenizer.json")),
        longest=held["positions"].shape[0],
    )


def _named(blob: bytes) -> dict[str, Floats32]:
    """The weights of an ONNX graph. A matrix has no telling name there: it is named by the bias
    that is added to its product."""
    graph = next(bytes(v) for k, v in _fields(blob) if k == 7)
    arrays: dict[str, NDArray[Any]] = {}
    nodes: list[tuple[str, list[str], str]] = []
    for key, value in _fields(graph):
        if key == 5:
            name, array = _initializer(bytes(value))
            arrays[name] = array
        elif key == 1:
            nodes.append(_node(bytes(value)))
    made = {k: v.astype(np.float32) for k, v in arrays.items() if v.dtype == np.float32}
    for name in [k.removesuffix("_q") for k in arrays if k.endswith("_q")]:
        made[name] = arrays[f"{name}_q"].astype(np.float32) * made[f"{name}_scale"]
    products = {out: given[1] for kind, given, out in nodes if kind == "MatMul"}
    for kind, given, _ in nodes:
        if kind == "Add" and given[0] in products and given[1].endswith(".bias"):
            weight = products[given[0]]
            if weight in made:
                made[given[1].removesuffix("bias") + "weight"] = made[weight]
    return made


def _initializer(blob: bytes) -> tuple[str, NDArray[Any]]:
    dims: list[int] = []
    name, kind, raw = "", 0, b""
    for key, value in _fields(blob):
        if key == 1:
            dims += [value] if isinstance(value, int) else _varints(bytes(value))
        elif key == 2:
            kind = int(value)
        elif key == 8:
            name = bytes(value).decode()
        elif key == 9:
            raw = bytes(value)
    types = {1: "<f4", 2: "u1", 3: "i1", 6: "<i4", 7: "<i8", 9: "?", 10: "<f2"}
    if kind not in types or len(raw) != np.dtype(types[kind]).itemsize * math.prod(dims):
        return name, np.zeros(0, np.int8)  # a shape or a constant of another form: not a weight
    return name, np.frombuffer(raw, types[kind]).reshape(dims)


def _node(blob: bytes) -> tuple[str, list[str], str]:
    given: list[str] = []
    kind = out = ""
    for key, value in _fields(blob):
        if key == 1:
            given.append(bytes(value).decode())
        elif key == 2:
            out = out or bytes(value).decode()
        elif key == 4:
            kind = bytes(value).decode()
    return kind, given, out


def _fields(blob: bytes) -> Iterator[tuple[int, Any]]:
    """The numbered fields of a protocol buffer message: whole numbers, or bytes."""
    at, view = 0, memoryview(blob)
    while at < len(blob):
        tag, at = _varint(blob, at)
        kind = tag & 7
        if kind == 0:
            value: Any
            value, at = _varint(blob, at)
        elif kind == 2:
            size, at = _varint(blob, at)
            value, at = view[at : at + size], at + size
        else:
            size = 8 if kind == 1 else 4
            value, at = view[at : at + size], at + size
        yield tag >> 3, value


def _varint(blob: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = blob[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at


def _varints(blob: bytes) -> list[int]:
    at, made = 0, []
    while at < len(blob):
        value, at = _varint(blob, at)
        made.append(value)
    return made
