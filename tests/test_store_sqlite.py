"""What only the SQLite store can meet: files that are none, folders that cannot be written."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from swath.errors import ConfigError, StoreError
from swath.store import open_store
from tests.store_kit import SqlitePlace, call_row, key, reply


def opened(path: Path) -> None:
    open_store(f"sqlite:///{path}", Path("/")).close()


@pytest.mark.parametrize("content", [b"a,b\n1,2\n" * 200, b"SQLite format 3\0" + b"\xff" * 4000])
def test_a_file_that_is_no_database_is_refused_and_left_alone(
    tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "table.csv"
    path.write_bytes(content)
    with pytest.raises(StoreError, match=r"table\.csv.*cannot be opened") as caught:
        opened(path)
    assert "SWATH_STORE" in caught.value.hint
    assert path.read_bytes() == content


def test_a_folder_in_place_of_the_file(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot be opened"):
        opened(tmp_path)


def test_a_file_in_place_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(StoreError, match="cannot be opened"):
        opened(tmp_path / "taken" / "swath.db")


_AS_ANYONE = """
import os, sys
from pathlib import Path
from swath.errors import StoreError
from swath.store import open_store
from swath.store.sqlite import SqliteStore  # while it can still be read
if os.geteuid() == 0:
    os.setuid(65534)  # root may write anywhere
try:
    open_store("sqlite:///" + sys.argv[1], Path("/"))
except StoreError as error:
    print(error)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX permissions")
@pytest.mark.parametrize("there", [False, True])
def test_a_folder_that_cannot_be_written(tmp_path: Path, there: bool) -> None:
    folder = tmp_path / "kept"
    folder.mkdir()
    if there:
        opened(folder / "swath.db")
    for path in (tmp_path, *tmp_path.parents[:2]):
        path.chmod(path.stat().st_mode | 0o755)
    folder.chmod(0o555)
    for file in folder.iterdir():
        file.chmod(0o444)
    command = [sys.executable, "-c", _AS_ANYONE, str(folder / "swath.db")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    folder.chmod(0o755)
    assert "cannot be opened" in done.stdout
    assert "SWATH_STORE" in done.stdout


async def test_a_database_that_breaks_while_it_is_used(tmp_path: Path) -> None:
    path = tmp_path / "swath.db"
    store = open_store(f"sqlite:///{path}", Path("/"))
    for i in range(200):
        await store.put(key(i), reply("word " * 50 + str(i)))
    store.close()
    content = bytearray(path.read_bytes())
    content[4096:] = b"\xff" * (len(content) - 4096)
    path.write_bytes(content)
    with pytest.raises(StoreError, match="malformed"):
        read_all(path)


def read_all(path: Path) -> None:
    store = open_store(f"sqlite:///{path}", Path("/"))
    try:
        store.get_many([key(i) for i in range(200)])
    finally:
        store.close()


async def test_memory_leaves_nothing_behind() -> None:
    store = open_store("memory://", Path("/"))
    await store.put(key("a"), reply())
    folder = store.path.parent  # type: ignore[attr-defined]
    assert folder.is_dir()
    assert store.get_many([key("a")]) == {key("a"): reply()}
    store.close()
    assert not folder.exists()


async def test_paths_start_at_the_config(tmp_path: Path) -> None:
    store = open_store("sqlite:///.swath/swath.db", tmp_path)
    await store.put(key("a"), reply())
    store.close()
    assert (tmp_path / ".swath" / "swath.db").is_file()


@pytest.mark.parametrize("url", ["mysql://host/db", "swath.db", "sqlite://", "sqlite:///", ""])
def test_an_address_that_is_not_known(url: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not known") as caught:
        open_store(url, tmp_path)
    assert "sqlite:///" in caught.value.hint


async def test_another_process_may_write_between_two_commits(tmp_path: Path) -> None:
    there = SqlitePlace(tmp_path / "swath.db")
    store = there.open()
    await store.put(key("a"), reply())
    store.query("SELECT 1 AS one")
    db = sqlite3.connect(there.path, timeout=0.5)
    db.execute("UPDATE responses SET at = 1")
    db.commit()
    db.close()
    store.log_call(call_row())
    await store.put(key("b"), reply())
    store.close()


async def test_a_full_file(tmp_path: Path) -> None:
    there = SqlitePlace(tmp_path / "swath.db")
    store = there.open()
    await store.put(key("a"), reply())
    store._writing.execute("PRAGMA max_page_count=20")  # type: ignore[attr-defined]
    many = (store.put(key(i), reply(os.urandom(3000).hex())) for i in range(100))
    with pytest.raises(StoreError, match="full"):
        await asyncio.gather(*many)
    assert store.get_many([key("a")]) == {key("a"): reply()}
    store.close()
