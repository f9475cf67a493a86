"""What stores share: writes gather, and one thread commits them in groups.

The writer commits whatever has gathered, at most every few milliseconds, so a call waits about that
long for its answer to be durable and thousands of writes a second cost a few hundred commits.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import msgspec

from swath.errors import StoreError
from swath.messages import AnyReply
from swath.store.base import (
    CallRow,
    PromptRow,
    PromptUse,
    RunRow,
    columns,
    compress,
    decode_reply,
    encode_reply,
)

COMMIT_EVERY = 0.004  # seconds
KEYS_A_QUERY = 500
RACES = 100  # other machines that may take a prompt's next version number before us
_PROMPT = ", ".join(columns(PromptRow))
_USE = ", ".join(columns(PromptUse))
# Two machines may count up to the same number: one of them then inserts nothing, and counts again.
_NEW_PROMPT = (
    f"INSERT INTO prompts ({_PROMPT})"
    " SELECT ?, ?, (SELECT coalesce(max(version), 0) + 1 FROM prompts WHERE name = ?),"
    f" {', '.join('?' * 7)} WHERE true ON CONFLICT DO NOTHING"
)
_THE_PROMPT = f"SELECT {_PROMPT} FROM prompts WHERE name = ? AND id = ?"
_TAG = "UPDATE prompts SET tags = ? WHERE name = ? AND id = ?"
_PROMOTE = "UPDATE prompts SET promoted = ? WHERE name = ? AND id = ?"
_NEW_USE = f"INSERT INTO prompt_uses ({_USE}) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING"


class Batch(NamedTuple):
    """One commit. `values` are (key, Unix time, value), each key once; the rest are the columns of
    CallRow and RunRow, in order, each run once."""

    values: list[tuple[bytes, float, bytes]]
    calls: list[tuple[Any, ...]]
    runs: list[tuple[Any, ...]]


class GroupedStore(ABC):
    """A subclass says how to read and how to commit. It opens what it needs first, then calls
    `super().__init__()`, which starts the writer. What it raises is StoreError."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # over what is pending
        self._commit_lock = threading.Lock()  # over the writing connection
        self._wake = threading.Event()
        self._fresh: dict[bytes, bytes] = {}  # encoded, not yet committed
        self._puts: list[tuple[bytes, bytes, asyncio.Future[None]]] = []
        self._calls: list[CallRow] = []
        self._runs: dict[str, RunRow] = {}
        self._closing = False
        self._untold: StoreError | None = None  # a failure that no call was waiting for
        self._thread = threading.Thread(target=self._writer, name="swath-store", daemon=True)
        self._thread.start()

    # -- what a subclass says

    @abstractmethod
    def _fetch(self, keys: Sequence[bytes]) -> Iterable[tuple[bytes, bytes]]:
        """Stored (key, value) of at most KEYS_A_QUERY keys. Called on the loop's thread."""

    @abstractmethod
    def _select(self, sql: str, parameters: Sequence[Any]) -> list[dict[str, Any]]:
        """Rows of a SELECT. Called on the loop's thread."""

    @abstractmethod
    def _commit(self, batch: Batch) -> None:
        """Make all of it durable, or nothing. Called under the commit lock, on either thread."""

    @abstractmethod
    def _change(self, sql: str, parameters: Sequence[Any]) -> None:
        """Carry out one statement and make it durable. Doing it twice does no harm. Called under
        the commit lock."""

    @abstractmethod
    def _let_go(self) -> None:
        """Close the connections."""

    # -- responses

    def get_many(self, keys: Sequence[bytes]) -> dict[bytes, AnyReply]:
        found: dict[bytes, AnyReply] = {}
        fresh = self._fresh
        if fresh:
            missing = []
            for key in keys:
                value = fresh.get(key)
                if value is None:
                    missing.append(key)
                elif (reply := decode_reply(value)) is not None:
                    found[key] = reply
            keys = missing
        for start in range(0, len(keys), KEYS_A_QUERY):
            for key, value in self._fetch(keys[start : start + KEYS_A_QUERY]):
                if (reply := decode_reply(value)) is not None:
                    found[key] = reply
        return found

    def put(self, key: bytes, reply: AnyReply) -> asyncio.Future[None]:
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self._closing or self._untold is not None:
            done.set_exception(self._told() or StoreError("The store is closed."))
            return done
        value = encode_reply(reply)
        with self._lock:
            self._fresh[key] = value
            self._puts.append((key, value, done))
        self._wake_writer()
        return done

    # -- ledger

    def log_call(self, row: CallRow) -> None:
        with self._lock:
            self._calls.append(row)
        self._wake_writer()

    def log_run(self, row: RunRow) -> None:
        with self._lock:
            self._runs[row.id] = row
        self._wake_writer()

    def query(self, sql: str, parameters: Sequence[Any] = ()) -> list[dict[str, Any]]:
        self._drain()
        if (failure := self._told()) is not None:
            raise failure
        return self._select(sql, parameters)

    # -- prompts

    def save_prompt(self, row: PromptRow) -> PromptRow:
        values = list(msgspec.structs.astuple(row))
        for _ in range(RACES):
            found = self._select(_THE_PROMPT, (row.name, row.id))
            if found:
                return self._tagged(PromptRow(**found[0]), row)
            self._change_now(_NEW_PROMPT, [row.id, row.name, row.name, *values[3:]])
        raise StoreError(f"The prompt '{row.name}' got no version number.", hint="Try again.")

    def _tagged(self, saved: PromptRow, row: PromptRow) -> PromptRow:
        have: list[str] = msgspec.json.decode(saved.tags)
        more = [tag for tag in msgspec.json.decode(row.tags) if tag not in have]
        if not more:
            return saved
        tags = msgspec.json.encode([*have, *more]).decode()
        self._change_now(_TAG, (tags, row.name, row.id))
        return msgspec.structs.replace(saved, tags=tags)

    def promote_prompt(self, name: str, id: str, at: float) -> None:
        self._change_now(_PROMOTE, (at, name, id))

    def log_prompt(self, use: PromptUse) -> None:
        self._change_now(_NEW_USE, msgspec.structs.astuple(use))

    def _change_now(self, sql: str, parameters: Sequence[Any]) -> None:
        with self._commit_lock:
            self._change(sql, parameters)

    # -- the writer's thread

    def _wake_writer(self) -> None:
        # Setting it takes a lock and a switch of threads; while it is set the writer is still to
        # look for work, and finds this too.
        if not self._wake.is_set():
            self._wake.set()

    def _writer(self) -> None:
        while not self._closing:
            self._wake.wait()
            self._wake.clear()
            self._drain()
            time.sleep(COMMIT_EVERY)
        self._drain()

    def _drain(self) -> None:
        """Write and commit all that is pending. `query` calls it too, on the loop's thread."""
        with self._commit_lock:
            with self._lock:
                puts, self._puts = self._puts, []
                calls, self._calls = self._calls, []
                runs, self._runs = self._runs, {}
            if not (puts or calls or runs):
                return
            failure = self._write(puts, calls, runs)
            with self._lock:
                for key, value, _ in puts:
                    if self._fresh.get(key) is value:
                        del self._fresh[key]
        if puts:
            loop = puts[0][2].get_loop()
            with contextlib.suppress(RuntimeError):  # the loop is gone, and so are the waiters
                loop.call_soon_threadsafe(_resolve, [done for _, _, done in puts], failure)
        elif failure is not None:
            self._untold = failure

    def _write(
        self,
        puts: list[tuple[bytes, bytes, asyncio.Future[None]]],
        calls: list[CallRow],
        runs: dict[str, RunRow],
    ) -> StoreError | None:
        astuple = msgspec.structs.astuple
        now = time.time()
        latest = {key: value for key, value, _ in puts}
        try:
            self._commit(
                Batch(
                    [(key, now, compress(value)) for key, value in latest.items()],
                    [astuple(row) for row in calls],
                    [astuple(row) for row in runs.values()],
                )
            )
        except StoreError as error:
            return error
        except Exception as error:  # the thread must live: calls wait for it
            return StoreError(f"The store failed: {type(error).__name__}.")
        return None

    def _told(self) -> StoreError | None:
        failure, self._untold = self._untold, None
        return failure

    def close(self) -> None:
        if self._closing:
            return
        self._closing = True
        self._wake.set()
        self._thread.join()
        self._let_go()


def _resolve(waiting: list[asyncio.Future[None]], failure: StoreError | None) -> None:
    for done in waiting:
        if done.done():
            continue
        if failure is None:
            done.set_result(None)
        else:
            done.set_exception(failure)
