"""One file for a router: a zip of a JSON header and plain arrays. No pickle: opening one runs no
code of the file's, whoever it comes from.

`header.json` holds the format's name and version, the kind of router, its models, what it was
trained on, its calibration, its plain values, and the SHA-256 of each array; `NAME.npy` the arrays.
The bytes depend on the content only, so that the same training gives the same file.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import zipfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from swath.errors import InputError, OutputError
from swath.routing.kinds import kind_of
from swath.routing.router import Calibration, Learned
from swath.routing.vectors import Encode

FORMAT, VERSION = "swath-router", 1
LARGEST = 1 << 30  # bytes of one array: more is no router, or was made to fill the memory


class ArtifactError(InputError):
    """A file that is no router, is damaged, or was made by a newer Swath."""


def save(router: Learned, path: str | os.PathLike[str]) -> Path:
    """Write `router` to one file, put in place when it is whole. Raises OutputError."""
    target = Path(path)
    beside = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        beside.write_bytes(to_bytes(router))
        os.replace(beside, target)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise OutputError(
            f"The router cannot be written to '{target}': {error.strerror or error}.",
            hint="Give a path in a folder that exists and is writable.",
        ) from None
    return target


def to_bytes(router: Learned) -> bytes:
    """The file's content."""
    values, arrays = router.state()
    blobs = {name: _npy(array) for name, array in sorted(arrays.items())}
    header = {
        "format": FORMAT,
        "version": VERSION,
        "kind": router.kind,
        "models": list(router.models),
        "embedding": router.embedding if router.embeds else None,
        "training": router.training,
        "calibration": asdict(router.calibration) if router.calibration else None,
        "quantiles": list(router.quantiles),
        "values": values,
        "sha256": {name: hashlib.sha256(blob).hexdigest() for name, blob in blobs.items()},
    }
    text = json.dumps(header, sort_keys=True, indent=1, ensure_ascii=False)
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr(_entry("header.json"), text)
        file.writestr(_entry("header.sha256"), hashlib.sha256(text.encode()).hexdigest())
        for name, blob in blobs.items():
            file.writestr(_entry(f"{name}.npy"), blob)
    return whole.getvalue()


def load(path: str | os.PathLike[str], encode: Encode | None = None) -> Learned:
    """The router in a file. `encode` embeds prompts in place of the model it was trained with.
    Raises ArtifactError."""
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise ArtifactError(
            f"There is no router to read at '{path}': {error.strerror or error}.",
            hint="Train one: swath router train --data graded.parquet --out my.router; "
            "or say 'default' for the one that ships.",
        ) from None
    return of_bytes(data, str(path), encode)


def of_bytes(data: bytes, name: str, encode: Encode | None = None) -> Learned:
    """The router in a file's content; `name` is for errors. Raises ArtifactError."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as file:
            text = file.read("header.json")
            seal = file.read("header.sha256").decode("ascii")
            header = _header(text, seal, name)
            arrays = {n: _array(file, n, digest) for n, digest in header["sha256"].items()}
    except ArtifactError:
        raise
    except Exception:  # zipfile and numpy raise a dozen types on bytes that were not theirs
        raise ArtifactError(
            f"'{name}' is no router, or is damaged.",
            hint="Files that `swath router train` writes are. Copy it again, or train anew.",
        ) from None
    try:
        router = kind_of(header["kind"])(models=tuple(header["models"]))
        router.embedding = header["embedding"] or router.embedding
        router._encode = encode
        router.training = dict(header["training"])
        router.quantiles = tuple(float(q) for q in header["quantiles"])
        if header["calibration"] is not None:
            held = dict(header["calibration"])
            held["quantiles"] = tuple(held["quantiles"])
            router.calibration = Calibration(**held)
        router.restore(header["values"], arrays)
    except InputError as error:
        raise ArtifactError(f"'{name}': {error.message}", hint=error.hint) from None
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise ArtifactError(
            f"'{name}' is a router whose content does not fit its kind ({error}).",
            hint="Train it anew with this version.",
        ) from None
    return router


def _header(text: bytes, seal: str, name: str) -> dict[str, Any]:
    header = json.loads(text)
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise ArtifactError(
            f"'{name}' is a zip file, but no router.", hint="Give what `swath router train` wrote."
        )
    if header.get("version") != VERSION:
        raise ArtifactError(
            f"'{name}' has format version {header.get('version')}; this Swath reads {VERSION}.",
            hint="Upgrade Swath, or train the router anew.",
        )
    if hashlib.sha256(text).hexdigest() != seal:
        raise ArtifactError(
            f"'{name}' was changed after it was written.", hint="Copy it again, or train anew."
        )
    return header


def _array(file: zipfile.ZipFile, name: str, digest: str) -> NDArray[Any]:
    entry = file.getinfo(f"{name}.npy")
    if entry.file_size > LARGEST:
        raise ValueError("too large")
    blob = file.read(entry)
    if hashlib.sha256(blob).hexdigest() != digest:
        raise ValueError("another content")
    array: NDArray[Any] = np.load(io.BytesIO(blob), allow_pickle=False)
    return array


def _npy(array: NDArray[Any]) -> bytes:
    blob = io.BytesIO()
    np.save(blob, array, allow_pickle=False)
    return blob.getvalue()


def _entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
    entry.compress_type = zipfile.ZIP_DEFLATED
    return entry
