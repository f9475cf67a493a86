"""Limits by the minute, kept as providers keep them.

Three ways to keep one: a `Bucket` that refills all the time (OpenAI, Anthropic), a `Fixed`
window and a `Sliding` one. A `Limits` is the set that one account lives under; a call
takes from all of its gauges or from none.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

Window = Literal["bucket", "fixed", "sliding"]
NEVER = float("inf")


class Gauge(Protocol):
    limit: int

    def wait(self, amount: float, now: float) -> float:
        """Seconds until `amount` fits: 0 now, `NEVER` if it is more than the limit."""

    def take(self, amount: float, now: float) -> None: ...

    def remaining(self, now: float) -> int: ...

    def reset(self, now: float) -> float:
        """Seconds until the gauge is full again."""


class Bucket:
    """Refills at `limit` a period; holds `burst` seconds' worth, and at least one request."""

    def __init__(self, limit: int, period: float, burst: float, now: float) -> None:
        self.limit = limit
        self.rate = limit / period
        self.capacity = max(1.0, self.rate * burst)
        self.level = self.capacity
        self.seen = now

    def _refill(self, now: float) -> None:
        self.level = min(self.capacity, self.level + (now - self.seen) * self.rate)
        self.seen = now

    def wait(self, amount: float, now: float) -> float:
        if amount > self.limit:
            return NEVER
        self._refill(now)
        # A call larger than the bucket passes when it is full and leaves a debt, or else it
        # never would; the rate over time stays exact.
        need = min(amount, self.capacity)
        return 0.0 if self.level >= need - 1e-9 else (need - self.level) / self.rate

    def take(self, amount: float, now: float) -> None:
        self._refill(now)
        self.level -= amount

    def remaining(self, now: float) -> int:
        self._refill(now)
        return max(0, int(self.level + 1e-9))

    def reset(self, now: float) -> float:
        self._refill(now)
        return (self.capacity - self.level) / self.rate


class Fixed:
    """`limit` in each period, the first of which begins with the first call."""

    def __init__(self, limit: int, period: float, burst: float, now: float) -> None:
        self.limit = limit
        self.period = period
        self.start = -NEVER
        self.used = 0.0

    def _turn(self, now: float) -> None:
        if self.start == -NEVER:
            self.start = now
        elif now - self.start >= self.period:
            self.start += (now - self.start) // self.period * self.period
            self.used = 0.0

    def wait(self, amount: float, now: float) -> float:
        if amount > self.limit:
            return NEVER
        self._turn(now)
        return 0.0 if self.used + amount <= self.limit else self.start + self.period - now

    def take(self, amount: float, now: float) -> None:
        self._turn(now)
        self.used += amount

    def remaining(self, now: float) -> int:
        self._turn(now)
        return max(0, int(self.limit - self.used))

    def reset(self, now: float) -> float:
        self._turn(now)
        return self.start + self.period - now


class Sliding:
    """`limit` in any period, wherever it begins."""

    def __init__(self, limit: int, period: float, burst: float, now: float) -> None:
        self.limit = limit
        self.period = period
        self.used = 0.0
        self.taken: deque[tuple[float, float]] = deque()

    def _forget(self, now: float) -> None:
        while self.taken and now - self.taken[0][0] >= self.period:
            self.used -= self.taken.popleft()[1]

    def wait(self, amount: float, now: float) -> float:
        if amount > self.limit:
            return NEVER
        self._forget(now)
        over = self.used + amount - self.limit
        if over <= 0:
            return 0.0
        for when, what in self.taken:
            over -= what
            if over <= 0:
                return max(when + self.period - now, 1e-6)
        return self.period

    def take(self, amount: float, now: float) -> None:
        self.taken.append((now, amount))
        self.used += amount

    def remaining(self, now: float) -> int:
        self._forget(now)
        return max(0, int(self.limit - self.used))

    def reset(self, now: float) -> float:
        self._forget(now)
        return self.taken[-1][0] + self.period - now if self.taken else 0.0


_KINDS: dict[str, Callable[[int, float, float, float], Gauge]] = {
    "bucket": Bucket,
    "fixed": Fixed,
    "sliding": Sliding,
}


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a call was not let in."""

    by: str  # requests | tokens | input_tokens | output_tokens | concurrency
    wait: float  # seconds; NEVER where waiting cannot help
    limit: int
    used: int
    requested: int


class Limits:
    """All the gauges of one account; an unset limit has no gauge."""

    def __init__(
        self,
        *,
        rpm: int | None = None,
        tpm: int | None = None,
        input_tpm: int | None = None,
        output_tpm: int | None = None,
        window: Window = "bucket",
        window_seconds: float = 60.0,
        burst_seconds: float = 1.0,
        count_refused: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.clock = clock
        self.count_refused = count_refused
        kind = _KINDS[window]
        self.gauges: dict[str, Gauge] = {
            name: kind(limit, window_seconds, burst_seconds, clock())
            for name, limit in (
                ("requests", rpm),
                ("tokens", tpm),
                ("input_tokens", input_tpm),
                ("output_tokens", output_tpm),
            )
            if limit
        }

    def admit(self, input_tokens: int = 0, output_tokens: int = 0) -> Refusal | None:
        """Take one request's worth from every gauge, or nothing and say which refused."""
        now = self.clock()
        amounts = {
            "requests": 1,
            "tokens": input_tokens + output_tokens,
            "input_tokens": input_tokens,
            "output_tokens": output_tokens,
        }
        worst: Refusal | None = None
        for name, gauge in self.gauges.items():
            wait = gauge.wait(amounts[name], now)
            if wait > 0 and (worst is None or wait > worst.wait):
                used = gauge.limit - gauge.remaining(now)
                worst = Refusal(name, wait, gauge.limit, used, amounts[name])
        if worst is None:
            for name, gauge in self.gauges.items():
                gauge.take(amounts[name], now)
        elif self.count_refused and "requests" in self.gauges:
            self.gauges["requests"].take(1, now)
        return worst

    def state(self) -> dict[str, tuple[int, int, float]]:
        """(limit, remaining, seconds until full) of each gauge, for the headers."""
        now = self.clock()
        return {
            name: (gauge.limit, gauge.remaining(now), gauge.reset(now))
            for name, gauge in self.gauges.items()
        }
