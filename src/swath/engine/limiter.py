"""The limiter: use all of a provider's quota, and almost never be refused.

One `Limiter` stands before each account and model. It bounds the calls in flight, and paces
requests and tokens with one `Bucket` (bucket.py) each. What a bucket knows comes, best first, from
the reply's rate-limit headers, from the config, or from refusals:

- *Known rate, unknown burst.* Providers let an idle client burst by an amount they do not state.
  The pace therefore starts at the stated rate and grows by 15% a second until the first refusal
  shows that the provider's bucket is empty: a handful of refusals buys the whole burst.
- *Unknown rate.* The window of calls in flight doubles every round trip, as TCP's slow start does,
  until the first refusal. Then pacing.py finds the rate, or that there is none.
- *After a refusal* the gate shuts for `Retry-After` (else a growing pause with jitter), then one
  probe goes out, and only when it is not refused do the others follow, at the pace: no stampede.
  Refusals of calls sent before the gate shut belong to the same episode and change nothing.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from math import inf

from swath.engine.bucket import Bucket
from swath.engine.pacing import Pacing
from swath.errors import Kind, ProviderError
from swath.providers.base import RateLimits, Window

FIRST_WINDOW = 16  # calls in flight before anything is known
PROBE_PATIENCE = 1.0  # a refusal comes fast: a probe unanswered this long was accepted
PAUSE, LONGEST_PAUSE = 0.25, 20.0
IDLE = 5.0  # seconds without a call that end a busy period


class Grant:
    """Leave to send one request. Ends with `accepted` or `refused`; the slot with `release`."""

    __slots__ = ("held", "input", "limiter", "marks", "output", "probe", "sent")

    def __init__(self, limiter: Limiter, input_tokens: float, output_tokens: float) -> None:
        self.limiter = limiter
        self.input = input_tokens
        self.output = output_tokens
        self.sent = limiter.loop.time()
        self.marks = tuple(b.granted for b in limiter.buckets)
        self.probe = False
        self.held = True

    def accepted(
        self,
        input_tokens: float | None = None,
        output_tokens: float | None = None,
        limits: RateLimits | None = None,
    ) -> None:
        """The provider took the request. Settles the tokens reserved to those used."""
        limiter = self.limiter
        if input_tokens is not None and output_tokens is not None:
            less_in, less_out = self.input - input_tokens, self.output - output_tokens
            limiter.tokens.give_back(less_in + less_out)
            limiter.input_tokens.give_back(less_in)
            limiter.output_tokens.give_back(less_out)
        limiter.took(self, limits)

    def refused(self, retry_after: float | None, limits: RateLimits | None = None) -> float:
        """The provider said 429: too fast. Gives the seconds that this call is to wait by itself
        before it stands in line again: 0 where the limiter makes all of them wait."""
        return self.limiter.turned_away(self, retry_after, limits)

    def release(self) -> None:
        """The call no longer counts as in flight."""
        if self.held:
            self.held = False
            self.limiter.in_flight -= 1
            self.limiter.pump()


class Starved(ProviderError):
    """Refused for so long that waiting on is of no use: not to be tried again."""


class Limiter:
    """All limits of one account and model. Used on one event loop; first come, first served."""

    def __init__(
        self,
        *,
        concurrency: int = 64,
        rpm: float | None = None,
        tpm: float | None = None,
        input_tpm: float | None = None,
        output_tpm: float | None = None,
        patience: float = 300.0,
        slow_start: bool = True,
    ) -> None:
        self.loop = asyncio.get_running_loop()
        now = self.loop.time()
        self.requests = Bucket(rpm, now)
        self.tokens = Bucket(tpm, now)
        self.input_tokens = Bucket(input_tpm, now)
        self.output_tokens = Bucket(output_tpm, now)
        self.buckets = (self.requests, self.tokens, self.input_tokens, self.output_tokens)
        self.concurrency = concurrency
        self.window = float(min(concurrency, FIRST_WINDOW) if slow_start else concurrency)
        self.in_flight = 0
        self._waiting: deque[tuple[asyncio.Future[Grant], float, float]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._shut_since = -inf  # when the gate last shut
        self._shut_until = -inf
        self._probing = False
        self._misses = 0  # refused probes in a row
        self._last_grant = now
        self._pacing = Pacing(self.requests, now)
        self._patience = patience  # seconds of nothing but refusals until calls fail
        self._last_taken = now

    async def acquire(self, input_tokens: float = 0.0, output_tokens: float = 0.0) -> Grant:
        """Wait for leave to send a request of about so many tokens. Raises THROTTLED where the
        provider has refused every call for longer than `patience`."""
        if self._starved():
            raise self._starvation()
        if not self._waiting and self._delay(input_tokens, output_tokens, waiting=False) == 0.0:
            return self._grant(input_tokens, output_tokens)
        turn: asyncio.Future[Grant] = self.loop.create_future()
        self._waiting.append((turn, input_tokens, output_tokens))
        self.pump()
        try:
            return await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                turn.result().release()
            else:
                self.pump()
            raise

    def pump(self) -> None:
        """Grant to those in line whatever may go now, and wake again when more may."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._waiting:
            turn, input_tokens, output_tokens = self._waiting[0]
            if turn.done():  # cancelled
                self._waiting.popleft()
                continue
            delay = self._delay(input_tokens, output_tokens, waiting=True)
            if delay == 0.0:
                self._waiting.popleft()
                turn.set_result(self._grant(input_tokens, output_tokens))
                continue
            if delay < inf:
                # While the pace grows the delay shrinks, so look again before its end.
                self._timer = self.loop.call_later(min(max(delay, 0.001), 1.0), self.pump)
            return

    def _delay(self, input_tokens: float, output_tokens: float, *, waiting: bool) -> float:
        """0.0: now; inf: when a call in flight ends."""
        if self.in_flight >= min(self.window, self.concurrency) or self._probing:
            return inf
        now = self.loop.time()
        if now < self._shut_until:
            return self._shut_until - now
        longest = 0.0
        for bucket, amount in (
            (self.requests, 1.0),
            (self.tokens, input_tokens + output_tokens),
            (self.input_tokens, input_tokens),
            (self.output_tokens, output_tokens),
        ):
            if bucket.rate == inf:
                continue
            bucket.refill(now, waiting=waiting and bucket.delay(amount) > 0)
            longest = max(longest, bucket.delay(amount))
        return longest

    def _grant(self, input_tokens: float, output_tokens: float) -> Grant:
        now = self.loop.time()
        if self.in_flight == 0 and now - self._last_grant > IDLE:
            for bucket in self.buckets:
                bucket.after_idling(now)
        self._last_grant = now
        self.requests.take(1.0)
        self.tokens.take(input_tokens + output_tokens)
        self.input_tokens.take(input_tokens)
        self.output_tokens.take(output_tokens)
        self.in_flight += 1
        grant = Grant(self, input_tokens, output_tokens)
        if self._shut_since > -inf:
            grant.probe = self._probing = True
            self.loop.call_later(PROBE_PATIENCE, self._probe_ended, grant)
        return grant

    def _probe_ended(self, grant: Grant) -> None:
        """The probe was not refused: open the gate."""
        if grant.probe:
            grant.probe = False
            self._probing = False
            self._shut_since = -inf
            self._misses = 0
            for bucket in self.buckets:  # what gathered behind the gate is not to go all at once
                bucket.level = min(bucket.level, max(bucket.rate, 1.0))
            self.pump()

    # -- what the provider said

    def took(self, grant: Grant, limits: RateLimits | None) -> None:
        self._last_taken = self.loop.time()
        self._pacing.accepted(grant.sent, self._last_taken)
        if self.window < self.concurrency:
            self.window += 1
        if limits is not None:
            self._hints(grant, limits)
        if grant.probe:
            self._probe_ended(grant)

    def turned_away(
        self, grant: Grant, retry_after: float | None, limits: RateLimits | None
    ) -> float:
        now = self.loop.time()
        amounts = (1.0, grant.input + grant.output, grant.input, grant.output)
        for bucket, amount, mark in zip(self.buckets, amounts, grant.marks, strict=True):
            bucket.forget(amount, mark)
        if limits is not None:
            self._hints(grant, limits)
        if grant.sent < self._shut_since and not grant.probe:
            if retry_after is not None:
                self._shut_until = max(self._shut_until, now + min(retry_after, LONGEST_PAUSE))
            return 0.0
        pause = PAUSE
        if grant.probe:  # still the same episode: it says nothing new of the rate
            grant.probe = self._probing = False
            self._misses += 1
            pause = min(PAUSE * 2**self._misses, LONGEST_PAUSE)
        else:
            blamed = self._blamed(limits)
            if blamed is not self.requests:
                blamed.refused(now)
            elif not self._pacing.refused(grant.sent, now):
                return retry_after if retry_after is not None else PAUSE * random.uniform(0.2, 1)
            if blamed.ceiling < inf:
                pause = min(pause, max(1.0 / blamed.rate, 0.02))
        wait = pause * random.uniform(0.5, 1.0) if retry_after is None else retry_after
        self._shut_since = now
        self._shut_until = now + wait
        if self._starved():
            while self._waiting:
                turn, _, _ = self._waiting.popleft()
                if not turn.done():
                    turn.set_exception(self._starvation())
        self.pump()
        return 0.0

    def _starved(self) -> bool:
        """Refused for too long; but one call at a time may still try."""
        now = self.loop.time()
        if now >= self._shut_until:
            return False
        refused_for = now - self._last_taken
        return self._shut_until - now > self._patience or (
            self._misses > 3 and refused_for > self._patience
        )

    def _starvation(self) -> Starved:
        return Starved(
            Kind.THROTTLED,
            f"refuses every call as too fast, for longer than {self._patience:.0f} s.",
            charged=False,
            retry_after=max(self._shut_until - self.loop.time(), 1.0),
            hint="Another program may use up the quota: lower rpm or tpm, or run again later.",
        )

    def _blamed(self, limits: RateLimits | None) -> Bucket:
        """The bucket that ran dry: as the headers tell, else the emptiest with a known limit."""
        for bucket, window in zip(self.buckets, _windows(limits), strict=True):
            if window is not None and window.remaining == 0:
                return bucket
        known = [b for b in self.buckets if b.ceiling < inf]
        return min(known, key=lambda b: b.level / b.burst) if known else self.requests

    def _hints(self, grant: Grant, limits: RateLimits) -> None:
        now = self.loop.time()
        amounts = (1.0, grant.input + grant.output, grant.input, grant.output)
        for bucket, amount, mark, window in zip(
            self.buckets, amounts, grant.marks, _windows(limits), strict=True
        ):
            if window is not None:
                bucket.hint(window, grant.sent, mark, (self.in_flight - 1) * amount, now)


def _windows(limits: RateLimits | None) -> tuple[Window | None, ...]:
    if limits is None:
        return (None, None, None, None)
    return (limits.requests, limits.tokens, limits.input_tokens, limits.output_tokens)
