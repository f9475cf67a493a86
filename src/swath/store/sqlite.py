"""The default store: one SQLite file in WAL mode, one writer thread, grouped commits.

A commit in WAL mode with `synchronous=NORMAL` survives a killed process (not a power cut). The
writer commits whatever has gathered, at most every few milliseconds, so a call waits about that
long for its answer to be durable and thousands of writes a second cost a few hundred commits.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from swath.errors import StoreError
from swath.messages import AnyReply
from swath.store.base import (
    CallRow,
    RunRow,
    columns,
    compress,
    decode_reply,
    encode_reply,
)

_COMMIT_EVERY = 0.004  # seconds
_KEYS_A_QUERY = 500
_TYPES = {str: "TEXT NOT NULL", int: "INTEGER NOT NULL", float: "REAL NOT NULL", bool: "INTEGER"}


def _table(name: str, row: type[msgspec.Struct], constraint: str = "") -> str:
    body = ", ".join(f"{c} {_TYPES[t]}" for c, t in columns(row).items())
    return f"CREATE TABLE IF NOT EXISTS {name} ({body}{constraint})"


def _insert(name: str, row: type[msgspec.Struct], verb: str = "INSERT") -> str:
    names = list(columns(row))
    return f"{verb} INTO {name} ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})"


_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS responses (hash BLOB PRIMARY KEY, at REAL, value BLOB NOT NULL)",
    _table("calls", CallRow),
    "CREATE INDEX IF NOT EXISTS calls_by_run ON calls (run)",
    _table("runs", RunRow, ", PRIMARY KEY (id)"),
)
_PUT = "INSERT OR REPLACE INTO responses (hash, at, value) VALUES (?, ?, ?)"
_CALL = _insert("calls", CallRow)
_RUN = _insert("runs", RunRow, "INSERT OR REPLACE")


class SqliteStore:
    """`path` None keeps everything in a temporary file that goes with the process."""

    def __init__(self, path: Path | None) -> None:
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        if path is None:
            self._temporary = tempfile.TemporaryDirectory(prefix="swath-")
            path = Path(self._temporary.name) / "swath.db"
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._write = self._connect()
            for statement in _SCHEMA:
                self._write.execute(statement)
            self._write.commit()
            self._read = self._connect()
        except (OSError, sqlite3.Error) as error:
            raise StoreError(
                f"The store '{path}' cannot be opened: {_reason(error)}.",
                hint='Name another place with store = "sqlite:///…" in swath.toml, or SWATH_STORE.',
            ) from None
        self._lock = threading.Lock()  # over what is pending
        self._commit_lock = threading.Lock()  # over the writing connection
        self._wake = threading.Event()
        self._fresh: dict[bytes, bytes] = {}  # encoded, not yet committed
        self._puts: list[tuple[bytes, bytes, asyncio.Future[None]]] = []
        self._calls: list[CallRow] = []
        self._runs: list[RunRow] = []
        self._closing = False
        self._failure: StoreError | None = None
        self._thread = threading.Thread(target=self._writer, name="swath-store", daemon=True)
        self._thread.start()

    def _connect(self) -> sqlite3.Connection:
        db = sqlite3.connect(self.path, timeout=30.0, check_same_thread=False)
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=NORMAL")
        db.execute("PRAGMA mmap_size=268435456")
        return db

    # -- responses

    def get_many(self, keys: Sequence[bytes]) -> dict[bytes, AnyReply]:
        found: dict[bytes, AnyReply] = {}
        fresh = self._fresh
        if fresh:
            for key in keys:
                value = fresh.get(key)
                if value is not None:
                    found[key] = decode_reply(value)
            keys = [key for key in keys if key not in found]
        try:
            for start in range(0, len(keys), _KEYS_A_QUERY):
                some = keys[start : start + _KEYS_A_QUERY]
                marks = ",".join("?" * len(some))
                rows = self._read.execute(
                    f"SELECT hash, value FROM responses WHERE hash IN ({marks})", some
                )
                for key, value in rows:
                    with contextlib.suppress(msgspec.DecodeError):  # another version's: ask anew
                        found[key] = decode_reply(value)
        except sqlite3.Error as error:
            raise self._error(error) from None
        return found

    def put(self, key: bytes, reply: AnyReply) -> asyncio.Future[None]:
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self._failure is not None:
            done.set_exception(self._failure)
            return done
        value = encode_reply(reply)
        with self._lock:
            self._fresh[key] = value
            self._puts.append((key, value, done))
        self._wake.set()
        return done

    # -- ledger

    def log_call(self, row: CallRow) -> None:
        with self._lock:
            self._calls.append(row)
        self._wake.set()

    def log_run(self, row: RunRow) -> None:
        with self._lock:
            self._runs.append(row)
        self._wake.set()

    def query(self, sql: str, parameters: Sequence[Any] = ()) -> list[dict[str, Any]]:
        self._drain()
        try:
            cursor = self._read.execute(sql, parameters)
        except sqlite3.Error as error:
            raise self._error(error) from None
        names = [d[0] for d in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor]

    # -- the writer's thread

    def _writer(self) -> None:
        while not self._closing:
            self._wake.wait()
            self._wake.clear()
            self._drain()
            time.sleep(_COMMIT_EVERY)
        self._drain()

    def _drain(self) -> None:
        """Write and commit all that is pending. `query` calls it too, on the loop's thread."""
        with self._commit_lock:
            with self._lock:
                puts, self._puts = self._puts, []
                calls, self._calls = self._calls, []
                runs, self._runs = self._runs, []
            if puts or calls or runs:
                self._write_out(puts, calls, runs)

    def _write_out(
        self,
        puts: list[tuple[bytes, bytes, asyncio.Future[None]]],
        calls: list[CallRow],
        runs: list[RunRow],
    ) -> None:
        failure: StoreError | None = None
        now = time.time()
        try:
            self._write.executemany(_PUT, [(k, now, compress(v)) for k, v, _ in puts])
            self._write.executemany(_CALL, [msgspec.structs.astuple(row) for row in calls])
            self._write.executemany(_RUN, [msgspec.structs.astuple(row) for row in runs])
            self._write.commit()
        except sqlite3.Error as error:
            failure = self._failure = self._error(error)
        with self._lock:
            for key, value, _ in puts:
                if self._fresh.get(key) is value:
                    del self._fresh[key]
        if puts:
            loop = puts[0][2].get_loop()
            with contextlib.suppress(RuntimeError):  # the loop is gone, and so are the waiters
                loop.call_soon_threadsafe(_resolve, [done for _, _, done in puts], failure)

    def _error(self, error: sqlite3.Error) -> StoreError:
        return StoreError(
            f"The store '{self.path}' failed: {_reason(error)}.",
            hint="Answers that were stored before are safe; mend this and run again.",
        )

    def close(self) -> None:
        if self._closing:
            return
        self._closing = True
        self._wake.set()
        self._thread.join()
        self._read.close()
        self._write.close()
        if self._temporary is not None:
            self._temporary.cleanup()


def _resolve(waiting: list[asyncio.Future[None]], failure: StoreError | None) -> None:
    for done in waiting:
        if done.done():
            continue
        if failure is None:
            done.set_result(None)
        else:
            done.set_exception(failure)


def _reason(error: Exception) -> str:
    text = getattr(error, "strerror", None) or str(error)
    return text.rstrip(".") or type(error).__name__
