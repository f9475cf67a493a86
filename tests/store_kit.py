"""Places for stores, and a writer that can be killed: `python -m tests.store_kit URL NAME COUNT`.

Postgres is tested where SWATH_TEST_POSTGRES holds the URL of a database; each test has a schema of
its own in it.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import subprocess
import sys
import uuid
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote

import pytest

from swath.messages import Completion, Usage
from swath.store import CallRow, RunRow, Store, open_store

POSTGRES = os.environ.get("SWATH_TEST_POSTGRES", "")
KINDS = ["sqlite", "postgres"]
needs_postgres = pytest.mark.skipif(
    not POSTGRES, reason="SWATH_TEST_POSTGRES names no Postgres database"
)


class Place(Protocol):
    """Where a store can be opened, again and again."""

    url: str

    def open(self) -> Store: ...

    def raw(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Past the store; `?` marks parameters."""
        ...


class SqlitePlace:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.url = f"sqlite:///{path}"

    def open(self) -> Store:
        return open_store(self.url, Path("/"))

    def raw(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        db = sqlite3.connect(self.path)
        try:
            with db:
                return db.execute(sql, parameters).fetchall()
        finally:
            db.close()


class PostgresPlace:
    def __init__(self) -> None:
        self.schema = f"swath_test_{uuid.uuid4().hex[:8]}"
        mark = "&" if "?" in POSTGRES else "?"
        self.url = f"{POSTGRES}{mark}options={quote(f'-csearch_path={self.schema}')}"
        self.raw(f"CREATE SCHEMA {self.schema}")

    def open(self) -> Store:
        return open_store(self.url, Path("/"))

    def raw(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        import psycopg

        with psycopg.connect(self.url, autocommit=True) as db:
            cursor = db.execute(sql.replace("?", "%s"), parameters)
            return cursor.fetchall() if cursor.description else []

    def drop(self) -> None:
        self.raw(f"DROP SCHEMA {self.schema} CASCADE")


@pytest.fixture(params=[KINDS[0], pytest.param(KINDS[1], marks=needs_postgres)])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    if request.param == "sqlite":
        yield SqlitePlace(tmp_path / "deep" / "swath.db")
        return
    there = PostgresPlace()
    yield there
    there.drop()


@pytest.fixture
def postgres() -> Iterator[PostgresPlace]:
    there = PostgresPlace()
    yield there
    there.drop()


def key(name: object) -> bytes:
    return blake2b(str(name).encode(), digest_size=16).digest()


def reply(text: str = "yes", **fields: Any) -> Completion:
    usage = Usage(input_tokens=12, output_tokens=3)
    return Completion(text=text, model="fast", model_id="gpt-test", usage=usage, **fields)


def call_row(**fields: Any) -> CallRow:
    row: dict[str, Any] = {
        "run": "r1",
        "at": 1_700_000_000.25,
        "label": "extract",
        "model": "fast",
        "provider": "openai",
        "model_id": "gpt-test",
        "wanted": "fast",
        "status": "ok",
        "error": "",
        "cached": False,
        "tries": 1,
        "input_tokens": 12,
        "cached_input_tokens": 0,
        "output_tokens": 3,
        "cost_usd": 0.001,
        "total_ms": 51.5,
        "wait_ms": 0.5,
        "backoff_ms": 0.0,
        "provider_ms": 50.0,
        "ttft_ms": 49.0,
        "hash": key("a").hex(),
    }
    return CallRow(**row | fields)


def run_row(**fields: Any) -> RunRow:
    row: dict[str, Any] = {
        "id": "r1",
        "name": "try",
        "at": 1_700_000_000.0,
        "status": "running",
        "rows": 10,
        "ok": 0,
        "failed": 0,
        "calls": 0,
        "cached": 0,
        "retries": 0,
        "input_tokens": 0,
        "cached_input_tokens": 0,
        "output_tokens": 0,
        "cost_usd": 0.0,
        "seconds": 0.0,
    }
    return RunRow(**row | fields)


def writer(url: str, name: str, count: int) -> subprocess.Popen[str]:
    """A process that writes `count` answers and ledger rows, and prints the number of each answer
    once its future is done."""
    command = [sys.executable, "-m", "tests.store_kit", url, name, str(count)]
    root = Path(__file__).parents[1]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root)


async def _write(url: str, name: str, count: int) -> None:
    store = open_store(url, Path("/"))
    slots = asyncio.Semaphore(64)

    async def one(i: int) -> None:
        async with slots:
            await store.put(key(f"{name}-{i}"), reply(f"{name}-{i} " + "word " * 200))
            store.log_call(call_row(run=name, hash=key(f"{name}-{i}").hex()))
        os.write(1, f"{i}\n".encode())  # no buffer of Python's that a kill could lose

    await asyncio.gather(*(one(i) for i in range(count)))
    store.close()


if __name__ == "__main__":
    asyncio.run(_write(sys.argv[1], sys.argv[2], int(sys.argv[3])))
