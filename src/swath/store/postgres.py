"""The store for several machines: a Postgres database, by URL.

Same tables and same promises as the SQLite store. A broken connection is opened again; what was
being written is written again, and no ledger row twice.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar
from urllib.parse import quote

import msgspec

from swath.errors import MissingExtra, StoreError
from swath.store.base import TABLES, CallRow, PromptRow, PromptUse, RunRow, columns, table
from swath.store.grouped import Batch, GroupedStore

try:
    import psycopg
    from psycopg.adapt import Loader
    from psycopg.conninfo import conninfo_to_dict, make_conninfo
except ImportError:
    raise MissingExtra("The Postgres store", "postgres") from None

T = TypeVar("T")
Connection = psycopg.Connection[tuple[Any, ...]]
RECONNECT_FOR = 15.0  # seconds: a restart, a failover
_LOCK = 0x5741_7448  # of the advisory lock under which tables are made: "SwAtH"
_DEFAULTS = {"connect_timeout": 10, "tcp_user_timeout": 30_000, "application_name": "swath"}
_TYPES = {
    str: "TEXT NOT NULL DEFAULT ''",
    int: "BIGINT NOT NULL DEFAULT 0",
    float: "DOUBLE PRECISION NOT NULL DEFAULT 0",
    bool: "BOOLEAN NOT NULL DEFAULT FALSE",
}
_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS responses"
    " (hash BYTEA PRIMARY KEY, at DOUBLE PRECISION, value BYTEA NOT NULL)",
    "ALTER TABLE responses ALTER COLUMN value SET STORAGE EXTERNAL",  # compressed already
    table("calls", CallRow, _TYPES),
    "CREATE INDEX IF NOT EXISTS calls_by_run ON calls (run)",
    table("runs", RunRow, _TYPES, ", PRIMARY KEY (id)"),
    table("prompts", PromptRow, _TYPES, ", PRIMARY KEY (name, id), UNIQUE (name, version)"),
    table("prompt_uses", PromptUse, _TYPES, ", PRIMARY KEY (run, label, prompt, name)"),
)
_HAVE = (
    "SELECT attname FROM pg_attribute"
    " WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped"
)


def _insert(name: str, row: Mapping[str, str], conflict: str = "") -> str:
    """INSERT of any number of rows, given as one array a column: `row` maps names to types."""
    arrays = ", ".join(f"%b::{kind}[]" for kind in row.values())
    return f"INSERT INTO {name} ({', '.join(row)}) SELECT * FROM unnest({arrays}) {conflict}"


def _update(key: str, row: Mapping[str, str]) -> str:
    changes = ", ".join(f"{name} = EXCLUDED.{name}" for name in row if name != key)
    return f"ON CONFLICT ({key}) DO UPDATE SET {changes}"


def _kinds(row: type[msgspec.Struct]) -> dict[str, str]:
    return {name: _TYPES[kind].partition(" NOT NULL")[0] for name, kind in columns(row).items()}


_VALUE = {"hash": "BYTEA", "at": "DOUBLE PRECISION", "value": "BYTEA"}
_CALL, _RUN = _kinds(CallRow), _kinds(RunRow)
# One statement is one round trip, and all or nothing without BEGIN and COMMIT.
_SAVE = (
    f"WITH a AS ({_insert('responses', _VALUE, _update('hash', _VALUE))}),"
    f" b AS ({_insert('calls', _CALL)})"
    f" {_insert('runs', _RUN, _update('id', _RUN))}"
)
_SAVED = "SELECT 1 FROM calls WHERE run = %s AND at = %s AND hash = %s"
_FETCH = "SELECT hash, value FROM responses WHERE hash = ANY(%b)"


class PostgresStore(GroupedStore):
    """`url`: postgresql://user:password@host:5432/database, with libpq's options; what it leaves
    out comes from libpq's environment (PGPASSWORD, ~/.pgpass, …). No error shows the password."""

    def __init__(self, url: str) -> None:
        self._settings = _settings(url)
        self.where = "{host}:{port}/{dbname}".format_map(
            {"host": "localhost", "port": 5432, "dbname": ""} | self._settings
        )
        try:
            self._writing = self._connect()
            self._make_tables()
            self._reading = self._connect()
        except psycopg.Error as error:
            raise StoreError(
                f"The store '{self.where}' cannot be opened: {self._reason(error)}.",
                hint='Correct store = "postgresql://…" in swath.toml, or SWATH_STORE.',
            ) from None
        super().__init__()

    def _connect(self) -> Connection:
        # No prepared statements: a pooler may stand between. Each statement commits itself.
        db = psycopg.connect(
            make_conninfo("", **self._settings), autocommit=True, prepare_threshold=None
        )
        db.adapters.register_loader("numeric", _Number)
        return db

    def _make_tables(self) -> None:
        """Where they are not there, or an older version made them: both take the right to."""
        db = self._writing
        with db.transaction():
            db.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))  # others may start just now
            have = {
                name: {column for (column,) in db.execute(_HAVE, (name,))}
                for name in ("responses", *TABLES)
            }
            if not all(have.values()):
                for statement in _SCHEMA:
                    db.execute(statement)
            for name, row in TABLES.items():
                for column, kind in columns(row).items() if have[name] else ():
                    if column not in have[name]:
                        db.execute(f"ALTER TABLE {name} ADD COLUMN {column} {_TYPES[kind]}")

    def _fetch(self, keys: Sequence[bytes]) -> Iterable[tuple[bytes, bytes]]:
        return self._read(
            lambda db: db.cursor(binary=True).execute(_FETCH, (list(keys),)).fetchall()
        )

    def _select(self, sql: str, parameters: Sequence[Any]) -> list[dict[str, Any]]:
        def select(db: Connection) -> list[dict[str, Any]]:
            with db.transaction():
                db.execute("SET TRANSACTION READ ONLY")
                cursor = db.execute(placeholders(sql), tuple(parameters))
                names = [column.name for column in cursor.description or ()]
                return [dict(zip(names, row, strict=True)) for row in cursor]

        return self._read(select)

    def _read(self, read: Callable[[Connection], T]) -> T:
        try:
            return read(self._reading)
        except psycopg.Error as error:
            if not _broken(self._reading, error):
                raise self._failed(error) from None
        self._reading = self._reconnect(self._reading)
        try:
            return read(self._reading)
        except psycopg.Error as error:
            raise self._failed(error) from None

    def _commit(self, batch: Batch) -> None:
        # Everyone locks rows in the same order, so that no two machines wait for each other.
        arrays = (
            *_arrays(sorted(batch.values), len(_VALUE)),
            *_arrays(batch.calls, len(_CALL)),
            *_arrays(batch.runs, len(_RUN)),
        )
        try:
            self._writing.execute(_SAVE, arrays)
            return
        except psycopg.Error as error:
            if not _broken(self._writing, error):
                raise self._failed(error) from None
        self._writing = self._reconnect(self._writing)
        try:
            # It may have been committed before the answer was lost: then its first call is there.
            if not (batch.calls and self._has(batch.calls[0])):
                self._writing.execute(_SAVE, arrays)
        except psycopg.Error as error:
            raise self._failed(error) from None

    def _change(self, sql: str, parameters: Sequence[Any]) -> None:
        said = placeholders(sql)
        values = [v.replace("\0", "") if isinstance(v, str) else v for v in parameters]
        try:
            self._writing.execute(said, values)
            return
        except psycopg.Error as error:
            if not _broken(self._writing, error):
                raise self._failed(error) from None
        self._writing = self._reconnect(self._writing)
        try:
            self._writing.execute(said, values)
        except psycopg.Error as error:
            raise self._failed(error) from None

    def _has(self, call: tuple[Any, ...]) -> bool:
        row = dict(zip(_CALL, call, strict=True))
        found = self._writing.execute(_SAVED, (row["run"], row["at"], row["hash"]))
        return found.fetchone() is not None

    def _reconnect(self, db: Connection) -> Connection:
        db.close()
        until, pause = time.monotonic() + RECONNECT_FOR, 0.05
        while True:
            try:
                return self._connect()
            except psycopg.OperationalError as error:
                if time.monotonic() + pause > until:
                    raise self._failed(error) from None
            time.sleep(pause)
            pause = min(2 * pause, 2.0)

    def _failed(self, error: psycopg.Error) -> StoreError:
        return StoreError(
            f"The store '{self.where}' failed: {self._reason(error)}.",
            hint="Answers that were stored before are safe; mend this and run again.",
        )

    def _reason(self, error: psycopg.Error) -> str:
        text = error.diag.message_primary or str(error).partition("\n")[0]
        password = str(self._settings.get("password", ""))
        if password:
            text = text.replace(password, "…").replace(quote(password), "…")
        return text.strip().rstrip(".") or type(error).__name__

    def _let_go(self) -> None:
        self._reading.close()
        self._writing.close()


class _Number(Loader):
    """Sums and averages of integers, which Postgres gives as `numeric`, as SQLite gives them."""

    def load(self, data: Any) -> int | float:
        text = bytes(data).decode()
        return int(text) if text.lstrip("-").isdigit() else float(text)


def _settings(url: str) -> dict[str, Any]:
    """The URL's parts and ours. An error shows nothing of it: where a password holds a character
    that should be escaped, its pieces turn up as host, port or database."""
    try:
        given = {k: v for k, v in conninfo_to_dict(url).items() if v is not None}
    except psycopg.Error:
        given = {"port": "?"}
    authority = url.partition("://")[2].partition("/")[0]
    names = f"{given.get('host', '')}{given.get('dbname', '')}"
    ports = [port for port in str(given.get("port", "")).split(",") if port]
    if "@" in names or authority.count("@") > 1 or not all(map(str.isdigit, ports)):
        raise StoreError(
            "The store's address is not a Postgres URL that can be read.",
            hint="Write postgresql://user:password@host:5432/database, and in the password "
            "%40 for @, %3A for :, %2F for / and %25 for %.",
        )
    return _DEFAULTS | given


def _broken(db: Connection, error: psycopg.Error) -> bool:
    """Whether the connection is at fault, and not the statement."""
    gone = (
        psycopg.errors.AdminShutdown,
        psycopg.errors.CrashShutdown,
        psycopg.errors.IdleSessionTimeout,
    )
    return db.closed or isinstance(error, gone)


def _arrays(rows: Sequence[tuple[Any, ...]], width: int) -> list[list[Any]]:
    """One list a column. Postgres takes no NUL in a text."""
    if not rows:
        return [[] for _ in range(width)]
    return [
        [value.replace("\0", "") if isinstance(value, str) else value for value in column]
        for column in zip(*rows, strict=True)
    ]


_PARTS = re.compile(r"'[^']*'|\"[^\"]*\"|--[^\n]*|/\*.*?\*/|[?%]", re.DOTALL)


def placeholders(sql: str) -> str:
    """`?` outside of strings, names and comments becomes `%s`; a plain `%` is doubled."""
    return _PARTS.sub(lambda m: "%s" if m[0] == "?" else m[0].replace("%", "%%"), sql)
