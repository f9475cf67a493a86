"""What only the Postgres store can meet: passwords in URLs, connections that drop."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from swath.errors import StoreError
from swath.store import Store, open_store
from tests.store_kit import (
    POSTGRES,
    PostgresPlace,
    call_row,
    key,
    needs_postgres,
    postgres,
    reply,
    run_row,
)

__all__ = ["postgres"]  # a fixture

SECRET = "S3cr3tPiece"


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://bob:{SECRET}@127.0.0.1:1/db",
        f"postgresql://bob:{SECRET}%40%2F@127.0.0.1:1/db",
        f"postgresql://127.0.0.1:1/db?user=bob&password={SECRET}",
        f"postgresql://bob:p@{SECRET}@127.0.0.1:1/db",
        f"postgresql://bob:p/{SECRET}@127.0.0.1:1/db",
        f"postgresql://bob:1/{SECRET}@127.0.0.1:1/db",
        f"postgresql://bob:{SECRET}/x@127.0.0.1:1/db",
        f"postgresql://bob:p?{SECRET}@127.0.0.1:1/db",
        f"postgresql://bob:p#{SECRET}@127.0.0.1:1/db",
        f"postgresql://bob:%{SECRET}@127.0.0.1:1/db",
        f"postgresql://bob:{SECRET}@127.0.0.1:1/db?sslmode={SECRET}",
        f"postgresql://bob:x@127.0.0.1:1/db?sslpassword={SECRET}&sslmode=require",
        f"postgresql://bob:{SECRET}@[::1/db",
    ],
)
def test_no_error_shows_the_password(url: str) -> None:
    with pytest.raises(StoreError) as caught:
        open_store(url, Path("/"))
    shown = "".join(traceback.format_exception(caught.value)) + repr(caught.value)
    assert SECRET not in shown.replace(url, "")  # the test's own source line holds no secret
    assert "postgresql://" in caught.value.hint


def test_without_psycopg_the_extra_is_named() -> None:
    code = (
        "import sys; sys.modules['psycopg'] = None\n"
        "from pathlib import Path\n"
        "from swath.errors import MissingExtra\n"
        "from swath.store import open_store\n"
        "try: open_store('postgresql://host/db', Path('/'))\n"
        "except MissingExtra as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "pip install 'swath[postgres]'" in done.stdout


@needs_postgres
def test_a_database_that_is_not_there() -> None:
    from psycopg.conninfo import conninfo_to_dict

    info = conninfo_to_dict(POSTGRES)
    url = f"postgresql://{info.get('user', '')}@{info['host']}:{info['port']}/no_such_database"
    with pytest.raises(StoreError, match="no_such_database"):
        open_store(url, Path("/"))


@needs_postgres
async def test_a_server_that_drops_connections(postgres: PostgresPlace) -> None:
    store = postgres.open()
    for i in range(3):
        await store.put(key(i), reply(str(i)))
        store.log_call(call_row(hash=key(i).hex()))
        store.log_run(run_row(ok=i))
        postgres.raw(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE application_name = 'swath'"
        )
        assert set(store.get_many([key(j) for j in range(3)])) == {key(j) for j in range(i + 1)}
        assert store.query("SELECT count(*) AS n FROM calls") == [{"n": i + 1}]
    assert store.query("SELECT ok FROM runs") == [{"ok": 2}]
    store.close()


class Wire:
    """A connection to Postgres that can be cut, before or after the server heard the last words."""

    def __init__(self, host: str, port: int) -> None:
        self.target = (host, port)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.cut = ""  # "asking": what comes next is lost; "answering": its answer is
        self.pairs: list[tuple[socket.socket, socket.socket]] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            server = socket.create_connection(self.target)
            self.pairs.append((client, server))
            for pair in ((client, server, "asking"), (server, client, "answering")):
                threading.Thread(target=self._carry, args=pair, daemon=True).start()

    def _carry(self, source: socket.socket, sink: socket.socket, way: str) -> None:
        try:
            while data := source.recv(65536):
                if self.cut == way:
                    self.cut = ""
                    break
                sink.sendall(data)
        except OSError:
            pass
        shut(source, sink)

    def close(self) -> None:
        shut(self.listener, *(end for pair in self.pairs for end in pair))


def shut(*ends: socket.socket) -> None:
    """For the other side, and for threads of ours that wait on it."""
    for end in ends:
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


@contextmanager
def through_a_wire(place: PostgresPlace) -> Iterator[tuple[Store, Wire]]:
    from psycopg.conninfo import conninfo_to_dict

    info = conninfo_to_dict(POSTGRES)
    wire = Wire(str(info["host"]), int(str(info["port"])))
    url = place.url.replace(f":{info['port']}", f":{wire.port}", 1)
    store = open_store(url, Path("/"))
    try:
        yield store, wire
    finally:
        store.close()
        wire.close()


@needs_postgres
@pytest.mark.parametrize("cut", ["asking", "answering"])
async def test_a_cut_wire_loses_and_doubles_nothing(postgres: PostgresPlace, cut: str) -> None:
    with through_a_wire(postgres) as (store, wire):
        await store.put(key("before"), reply())
        await asyncio.sleep(0.05)  # the writer rests
        wire.cut = cut
        rows = [call_row(hash=key(i).hex(), at=1.7e9 + i / 7) for i in range(20)]
        with store._commit_lock:  # type: ignore[attr-defined]  # one group
            for row in rows:
                store.log_call(row)
            done = store.put(key("after"), reply("after"))
        await asyncio.wait_for(done, 20)
        assert wire.cut == ""
        assert store.query("SELECT count(*) AS n FROM calls") == [{"n": 20}]
        assert store.get_many([key("after")]) == {key("after"): reply("after")}


@needs_postgres
async def test_a_server_that_stays_away(
    postgres: PostgresPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("swath.store.postgres.RECONNECT_FOR", 0.3)
    with through_a_wire(postgres) as (store, wire):
        wire.close()
        with pytest.raises(StoreError, match="failed"):
            await store.put(key("a"), reply())
        with pytest.raises(StoreError, match="failed"):
            store.get_many([key("a")])


@needs_postgres
async def test_tables_in_a_schema_of_which_one_only_has_the_use(postgres: PostgresPlace) -> None:
    """A role that may read and write the tables need not be able to create any."""
    postgres.open().close()
    role = f"{postgres.schema}_user"
    postgres.raw(f"CREATE ROLE {role}")
    try:
        postgres.raw(f"GRANT USAGE ON SCHEMA {postgres.schema} TO {role}")
        postgres.raw(f"GRANT ALL ON ALL TABLES IN SCHEMA {postgres.schema} TO {role}")
        url = postgres.url.replace("-csearch_path", f"-crole%3D{role}%20-csearch_path")
        store = open_store(url, Path("/"))
        await store.put(key("a"), reply())
        store.close()
    finally:
        postgres.raw(f"DROP OWNED BY {role}")
        postgres.raw(f"DROP ROLE {role}")


@needs_postgres
def test_the_process_ends_though_the_store_was_left_open(postgres: PostgresPlace) -> None:
    code = (
        "import sys\nfrom pathlib import Path\nfrom swath.store import open_store\n"
        "open_store(sys.argv[1], Path('/'))\n"
    )
    environment = {**os.environ, "PYTHONWARNINGS": "error"}
    subprocess.run(
        [sys.executable, "-c", code, postgres.url], env=environment, check=True, timeout=20
    )
