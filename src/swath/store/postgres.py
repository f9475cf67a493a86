"""The store for several machines: a Postgres database, by URL.

Same tables and same promises as the SQLite store. A broken connection is opened again; what was
being written is written again, and no ledger row twice.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit

from swath.errors import MissingExtra, StoreError
from swath.store.base import CallRow, RunRow, columns, table
from swath.store.grouped import Batch, GroupedStore

try:
    import psycopg
    from psycopg.adapt import Loader
    from psycopg.conninfo import conninfo_to_dict, make_conninfo
except ImportError:
    raise MissingExtra("The Postgres store", "postgres") from None

T = TypeVar("T")
RECONNECT_FOR = 15.0  # seconds: a restart, a failover
_LOCK = 0x5741_7448  # of the advisory lock under which tables are made: "SwAtH"
_SETTINGS = {"connect_timeout": 10, "tcp_user_timeout": 30_000, "application_name": "swath"}
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
)
