"""The limiter against providers that keep their quota in different ways, in virtual time."""

from __future__ import annotations

import asyncio
import random
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from swath.engine.limiter import Limiter
from swath.errors import Kind, ProviderError
from swath.providers.base import RateLimits, Window
from tests.virtual_time import run

Keeps = Literal["bucket", "fixed"]


class Quota:
    """A provider that permits `rpm`, answers after `latency`, and counts."""

    def __init__(
        self,
        rpm: float,
        burst: float,
        *,
        keeps: Keeps = "bucket",
        headers: bool = False,
        retry_after: bool = False,
        latency: float = 0.05,
    ) -> None:
        self.rpm, self.rate, self.burst = rpm, rpm / 60, burst
        self.level, self.stamp, self.window = burst, 0.0, -1
        self.keeps, self.headers, self.retry_after = keeps, headers, retry_after
        self.latency = latency
        self.refused = 0
        self.accepted: list[float] = []

    async def ask(self) -> tuple[bool, float | None, RateLimits | None]:
        loop = asyncio.get_running_loop()
        await asyncio.sleep(random.uniform(0.0005, 0.003))
        now = loop.time()
        if self.keeps == "bucket":
            self.level = min(self.burst, self.level + self.rate * (now - self.stamp))
            wait = (1 - self.level) / self.rate
        else:
            if now // 60 != self.window:
                self.window, self.level = int(now // 60), self.rpm
            wait = (self.window + 1) * 60 - now
        self.stamp = now
        allowed = self.level >= 1 - 1e-9
        self.level -= allowed
        limits = (
            RateLimits(requests=Window(self.rpm, float(int(self.level)))) if self.headers else None
        )
        if not allowed:
            self.refused += 1
            return False, wait if self.retry_after else None, limits
        self.accepted.append(now)
        await asyncio.sleep(self.latency * random.uniform(0.8, 1.2))
        return True, None, limits

    def permitted(self, seconds: float) -> float:
        if self.keeps == "fixed":
            return self.rpm * -(-seconds // 60)
        return self.burst + self.rate * seconds

    @property
    def refused_share(self) -> float:
        return self.refused / (self.refused + len(self.accepted))


async def saturate(limiter: Limiter, quota: Quota, seconds: float, workers: int = 64) -> None:
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds

    async def work() -> None:
        while loop.time() < end:
            grant = await limiter.acquire(100, 50)
            if loop.time() >= end:
                grant.release()
                return
            accepted, retry_after, limits = await quota.ask()
            if accepted:
                grant.accepted(100, 50, limits)
            else:
                grant.refused(retry_after, limits)
            grant.release()

    tasks = [asyncio.create_task(work()) for _ in range(workers)]
    await asyncio.wait(tasks, timeout=seconds + 5)
    for task in tasks:
        task.cancel()


def trial(quota: Quota, seconds: float, rpm: float | None, seed: int = 1) -> None:
    async def go() -> None:
        await saturate(Limiter(concurrency=64, rpm=rpm), quota, seconds)

    random.seed(seed)
    run(go())


@pytest.mark.parametrize("burst", [2, 10, 100, 600])
@pytest.mark.parametrize("headers", [False, True])
@pytest.mark.parametrize("retry_after", [False, True])
def test_a_known_limit_is_used_up_and_almost_never_passed(
    burst: float, headers: bool, retry_after: bool
) -> None:
    quota = Quota(600, burst, headers=headers, retry_after=retry_after)
    trial(quota, 120, rpm=600)
    # What headers say is taken with caution, which costs a provider without a burst some room.
    share = 0.9 if headers and burst == 2 else 0.97
    assert len(quota.accepted) >= share * quota.permitted(120)
    assert quota.refused_share < 0.005


@pytest.mark.parametrize("burst", [10, 600])
@pytest.mark.parametrize("headers", [False, True])
@pytest.mark.parametrize("retry_after", [False, True])
@pytest.mark.parametrize("seed", [1, 2])
def test_an_unknown_limit_is_found(
    burst: float, headers: bool, retry_after: bool, seed: int
) -> None:
    quota = Quota(600, burst, headers=headers, retry_after=retry_after)
    trial(quota, 120, rpm=None, seed=seed)
    late = sum(when >= 20 for when in quota.accepted)
    assert late >= 0.9 * quota.rate * 100


def test_a_provider_that_counts_by_the_minute() -> None:
    quota = Quota(600, 600, keeps="fixed", retry_after=True)
    trial(quota, 300, rpm=600)
    assert len(quota.accepted) >= 0.97 * quota.permitted(300)
    assert quota.refused_share < 0.005


def test_a_limit_lower_than_the_config_says_is_found_too() -> None:
    quota = Quota(300, 10)
    trial(quota, 240, rpm=600)
    assert len(quota.accepted) >= 0.95 * quota.permitted(240)
    assert quota.refused_share < 0.08


@pytest.mark.parametrize("share", [0.1, 0.2, 0.3])
@pytest.mark.parametrize("rpm", [None, 60_000])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_random_refusals_do_not_slow_a_run_down_for_ever(
    share: float, rpm: float | None, seed: int
) -> None:
    """Of 4,000 calls of 50 ms, 64 at a time: 3 s without refusals."""

    async def go() -> float:
        limiter = Limiter(concurrency=64, rpm=rpm)
        rows = iter(range(4000))

        async def work() -> None:
            for _ in rows:
                while True:
                    grant = await limiter.acquire()
                    await asyncio.sleep(0.002)
                    refused = random.random() < share
                    alone = 0.0
                    if refused:
                        alone = grant.refused(0.01)
                    else:
                        await asyncio.sleep(0.05)
                        grant.accepted()
                    grant.release()
                    if not refused:
                        break
                    await asyncio.sleep(alone)

        await asyncio.gather(*(work() for _ in range(128)))
        return asyncio.get_running_loop().time()

    random.seed(seed)
    assert run(go()) < 60


def test_after_a_refusal_one_call_tries_the_water() -> None:
    """While the provider refuses everything, calls go out one at a time and ever more slowly."""

    async def go() -> list[float]:
        limiter = Limiter(concurrency=64)
        loop = asyncio.get_running_loop()
        sent: list[float] = []

        async def work() -> None:
            while loop.time() < 30:
                grant = await limiter.acquire()
                sent.append(loop.time())
                await asyncio.sleep(0.01)
                grant.refused(None)
                grant.release()

        tasks = [asyncio.create_task(work()) for _ in range(50)]
        await asyncio.wait(tasks, timeout=31)
        for task in tasks:
            task.cancel()
        return sent

    sent = run(go())
    assert len([t for t in sent if t > 0.1]) < 12


def test_calls_fail_when_nothing_but_refusals_came_for_long() -> None:
    async def go() -> int:
        limiter = Limiter(concurrency=8, patience=60)

        async def work() -> None:
            while True:
                grant = await limiter.acquire()
                grant.refused(None)
                grant.release()

        outcomes = await asyncio.wait_for(
            asyncio.gather(*(work() for _ in range(20)), return_exceptions=True), 600
        )
        return sum(isinstance(o, ProviderError) and o.kind is Kind.THROTTLED for o in outcomes)

    assert run(go()) == 20


def test_retry_after_is_believed() -> None:
    async def go() -> float:
        limiter = Limiter(concurrency=4)
        grant = await limiter.acquire()
        grant.refused(7.5)
        grant.release()
        await limiter.acquire()
        return asyncio.get_running_loop().time()

    assert run(go()) == pytest.approx(7.5, abs=0.01)


@settings(max_examples=40)
@given(
    tpm=st.integers(6_000, 600_000),
    sizes=st.lists(st.tuples(st.integers(1, 900), st.integers(1, 300)), min_size=5, max_size=60),
)
def test_reserved_tokens_never_outrun_a_known_rate(tpm: int, sizes: list[tuple[int, int]]) -> None:
    """With the burst known (from headers), what is granted stays below what has flowed in."""

    async def go() -> None:
        loop = asyncio.get_running_loop()
        limiter = Limiter(concurrency=1000, tpm=tpm)
        first = await limiter.acquire(1, 0)
        first.accepted(1, 0, RateLimits(tokens=Window(tpm, 1000.0)))
        first.release()
        begun, total = loop.time(), 0.0
        for size in sizes:
            grant = await limiter.acquire(*size)
            total += sum(size)
            grant.release()
            largest = max(sum(s) for s in sizes)
            assert total <= 1000 + (loop.time() - begun) * tpm / 60 + largest + 1e-6

    run(go())


@settings(max_examples=60)
@given(
    concurrency=st.integers(1, 20),
    calls=st.lists(st.tuples(st.floats(0, 2), st.booleans()), min_size=1, max_size=80),
)
def test_never_more_in_flight_than_allowed_and_none_is_lost(
    concurrency: int, calls: list[tuple[float, bool]]
) -> None:
    async def go() -> None:
        limiter = Limiter(concurrency=concurrency, slow_start=False)
        flying = peak = ended = 0

        async def one(length: float, cancel: bool) -> None:
            nonlocal flying, peak, ended
            grant = await limiter.acquire(1, 1)
            flying += 1
            peak = max(peak, flying)
            try:
                await asyncio.sleep(length)
            finally:
                flying -= 1
                grant.release()
            ended += 1
            grant.accepted(1, 1)

        tasks = [asyncio.create_task(one(*call)) for call in calls]
        await asyncio.sleep(0.5)
        assert limiter.in_flight == flying
        doomed = 0
        for task, (_, cancel) in zip(tasks, calls, strict=True):
            if cancel and not task.done():
                # Cancelled while waiting in line or in flight: its slot must come back.
                doomed += 1
                task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert peak <= concurrency
        assert ended >= len(calls) - doomed
        assert limiter.in_flight == 0

    run(go())
