"""The default store: one SQLite file in WAL mode.

A commit in WAL mode with `synchronous=NORMAL` survives a killed process (not a power cut). Several
processes may share the file: each waits for the others' commits, which are short.
"""

from __future__ import annotations

import contextlib
import sqlite3
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from swath.errors import StoreError
from swath.store.base import TABLES, CallRow, PromptRow, PromptUse, RunRow, columns, table
from swath.store.grouped import Batch, GroupedStore

PATIENCE = 30.0  # seconds to wait for another process to let go of the file
_TYPES = {
    str: "TEXT NOT NULL DEFAULT ''",
    int: "INTEGER NOT NULL DEFAULT 0",
    float: "REAL NOT NULL DEFAULT 0",
    bool: "INTEGER NOT NULL DEFAULT 0",
}
_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS responses (hash BLOB PRIMARY KEY, at REAL, value BLOB NOT NULL)",
    table("calls", CallRow, _TYPES),
    "CREATE INDEX IF NOT EXISTS calls_by_run ON calls (run)",
    table("runs", RunRow, _TYPES, ", PRIMARY KEY (id)"),
    table("prompts", PromptRow, _TYPES, ", PRIMARY KEY (name, id), UNIQUE (name, version)"),
    table("prompt_uses", PromptUse, _TYPES, ", PRIMARY KEY (run, label, prompt, name)"),
)


def _insert(name: str, names: Iterable[str]) -> str:
    names = list(names)
    marks = ", ".join("?" * len(names))
    return f"INSERT OR REPLACE INTO {name} ({', '.join(names)}) VALUES ({marks})"


_PUT = _insert("responses", ("hash", "at", "value"))
_CALL = _insert("calls", columns(CallRow))
_RUN = _insert("runs", columns(RunRow))


class SqliteStore(GroupedStore):
    """`path` None keeps everything in a temporary file that goes with the process."""

    def __init__(self, path: Path | None) -> None:
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        if path is None:
            self._temporary = tempfile.TemporaryDirectory(prefix="swath-")
            path = Path(self._temporary.name) / "swath.db"
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._writing = self._connect()
            self._make_tables()
            self._reading = self._connect()
            self._reading.execute("PRAGMA query_only=ON")
        except (OSError, sqlite3.Error) as error:
            raise StoreError(
                f"The store '{path}' cannot be opened: {_reason(error)}.",
                hint='Name another place with store = "sqlite:///…" in swath.toml, or SWATH_STORE.',
            ) from None
        super().__init__()

    def _connect(self) -> sqlite3.Connection:
        db = sqlite3.connect(self.path, timeout=PATIENCE, check_same_thread=False)
        until = time.monotonic() + PATIENCE
        while True:
            try:
                db.execute("PRAGMA journal_mode=WAL")
                break
            except sqlite3.OperationalError as error:
                # SQLite does not wait where another process is just switching the file to WAL.
                if "locked" not in str(error) or time.monotonic() > until:
                    db.close()
                    raise
                time.sleep(0.01)
        db.execute("PRAGMA synchronous=NORMAL")
        db.execute("PRAGMA wal_autocheckpoint=4000")  # pages: each one waits for the disk
        db.execute("PRAGMA cache_size=-16384")  # KiB; mapped, all that was ever read would count
        return db

    def _make_tables(self) -> None:
        db = self._writing
        db.execute("BEGIN IMMEDIATE")
        for statement in _SCHEMA:
            db.execute(statement)
        for name, row in TABLES.items():  # made by an older version
            have = {info[1] for info in db.execute(f"PRAGMA table_info({name})")}
            for column, kind in columns(row).items():
                if column not in have:
                    db.execute(f"ALTER TABLE {name} ADD COLUMN {column} {_TYPES[kind]}")
        db.commit()

    def _fetch(self, keys: Sequence[bytes]) -> Iterable[tuple[bytes, bytes]]:
        marks = ",".join("?" * len(keys))
        sql = f"SELECT hash, value FROM responses WHERE hash IN ({marks})"
        try:
            return self._reading.execute(sql, keys).fetchall()
        except sqlite3.Error as error:
            raise self._failed(error) from None

    def _select(self, sql: str, parameters: Sequence[Any]) -> list[dict[str, Any]]:
        try:
            cursor = self._reading.execute(sql, parameters)
            names = [column[0] for column in cursor.description or ()]
            return [dict(zip(names, row, strict=True)) for row in cursor]
        except sqlite3.Error as error:
            raise self._failed(error) from None

    def _commit(self, batch: Batch) -> None:
        db = self._writing
        try:
            db.executemany(_PUT, batch.values)
            db.executemany(_CALL, batch.calls)
            db.executemany(_RUN, batch.runs)
            db.commit()
        except sqlite3.Error as error:
            raise self._failed(error) from None
        finally:
            if db.in_transaction:
                with contextlib.suppress(sqlite3.Error):
                    db.rollback()

    def _change(self, sql: str, parameters: Sequence[Any]) -> None:
        try:
            with self._writing as db:  # commits, or rolls back
                db.execute(sql, parameters)
        except sqlite3.Error as error:
            raise self._failed(error) from None

    def _failed(self, error: sqlite3.Error) -> StoreError:
        return StoreError(
            f"The store '{self.path}' failed: {_reason(error)}.",
            hint="Answers that were stored before are safe; mend this and run again.",
        )

    def _let_go(self) -> None:
        self._reading.close()
        self._writing.close()
        if self._temporary is not None:
            self._temporary.cleanup()


def _reason(error: Exception) -> str:
    text = getattr(error, "strerror", None) or str(error)
    return text.rstrip(".") or type(error).__name__
