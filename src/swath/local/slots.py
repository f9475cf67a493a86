"""Who computes next, and where.

llama.cpp keeps, in each slot, what it read last: a prompt that begins in the same way is read from
where it differs. So each slot has a worker that takes the waiting job which shares most with what
its slot holds, and leaves a job alone for a moment that a busy slot is about to know the long
beginning of (the second operator over one long text).
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import Any

WORTH = 500  # characters of a prompt whose reading is worth waiting for
PATIENCE = 16  # times that younger jobs may be taken first
HELD_BACK = 2  # jobs that may wait for one slot
GRACE = 20.0  # seconds that closing waits for the batch under way

Work = Callable[[int, threading.Event], Any]
"""Called with the slot and an event that is set when nobody wants the result any more."""


class Job:
    """Work that waits for a slot. `prompt` stands for what the model will read."""

    __slots__ = ("dropped", "future", "passed", "prompt", "work")

    def __init__(self, prompt: str, work: Work) -> None:
        self.prompt, self.work = prompt, work
        self.future: Future[Any] = Future()
        self.dropped = threading.Event()
        self.passed = 0

    def drop(self) -> None:
        """Nobody waits for it: it is not begun, or ends at the next token."""
        self.future.cancel()
        self.dropped.set()


class Slots:
    """`count` workers. They are daemons: a process that ends does not wait for them."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._change = threading.Condition()
        self._waiting: list[Job] = []
        self._busy: dict[int, Job] = {}
        self._held = [""] * count  # what each slot read last
        self._closed = False
        self._threads = [
            threading.Thread(target=self._run, args=(i,), name=f"swath-local-{i}", daemon=True)
            for i in range(count)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, prompt: str, work: Work) -> Job:
        """Queue `work`; its result arrives in the job's future."""
        job = Job(prompt, work)
        with self._change:
            if self._closed:
                job.future.cancel()
            self._waiting.append(job)
            self._change.notify_all()
        return job

    def close(self) -> bool:
        """Drop everything. Whether every worker has stopped within `GRACE`."""
        with self._change:
            self._closed = True
            for job in (*self._waiting, *self._busy.values()):
                job.drop()
            self._waiting.clear()
            self._change.notify_all()
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(GRACE)
        return not any(thread.is_alive() for thread in self._threads)

    def _run(self, slot: int) -> None:
        while True:
            with self._change:
                while (job := self._next(slot)) is None:
                    if self._closed:
                        return
                    self._change.wait()
                self._busy[slot] = job
                self._change.notify_all()  # what others left to this slot is open again
            wanted = job.future.set_running_or_notify_cancel()
            settle = _settled(slot, job) if wanted else None
            with self._change:
                # Before anybody hears: who asks next finds this slot free, and what it holds.
                del self._busy[slot]
                self._held[slot] = job.prompt if wanted else self._held[slot]
                self._change.notify_all()
            if settle is not None:
                settle()

    def _next(self, slot: int) -> Job | None:
        """The job for `slot` now, or None. Called with the lock held."""
        best, best_gain, promised = None, -1, dict.fromkeys(self._busy, 0)
        for job in self._waiting:
            here = shared(job.prompt, self._held[slot])
            if any(shared(job.prompt, self._held[i]) > here for i in self._idle(slot)):
                continue
            there, owner = max(
                ((shared(job.prompt, b.prompt), i) for i, b in self._busy.items()), default=(0, -1)
            )
            if job.passed < PATIENCE and there - here > WORTH and promised[owner] < HELD_BACK:
                promised[owner] += 1
                continue
            if best is None or here > best_gain + WORTH:
                best, best_gain = job, here
            if job.passed >= PATIENCE:
                best = job
                break
        if best is not None:
            for job in self._waiting:
                if job is best:
                    break
                job.passed += 1
            self._waiting.remove(best)
        return best

    def _idle(self, but: int) -> list[int]:
        return [i for i in range(self.count) if i != but and i not in self._busy]


def _settled(slot: int, job: Job) -> Callable[[], None]:
    """Do the job; what is returned tells its future how it went."""
    try:
        result = job.work(slot, job.dropped)
    except BaseException as e:
        return partial(job.future.set_exception, e)
    return partial(job.future.set_result, result)


def shared(one: str, other: str) -> int:
    """Characters that both begin with."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
