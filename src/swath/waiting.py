"""Waiting for another thread in a way that Ctrl-C can end.

Polars hooks SIGINT with SA_RESTART, and a wait without a timeout is then resumed by the system
before Python gets to run its own handler: the interruption comes when the wait is over. Short waits
let it in.
"""

from __future__ import annotations

import concurrent.futures
import time
from typing import TypeVar

T = TypeVar("T")
STEP = 0.1  # seconds


def result(future: concurrent.futures.Future[T], timeout: float | None = None) -> T:
    """`future.result(timeout)`, open to KeyboardInterrupt all the while."""
    end = None if timeout is None else time.monotonic() + timeout
    while not future.done():
        step = STEP if end is None else min(STEP, max(end - time.monotonic(), 0.0))
        done, _ = concurrent.futures.wait([future], timeout=step)
        if not done and end is not None and time.monotonic() >= end:
            raise concurrent.futures.TimeoutError
    return future.result()
