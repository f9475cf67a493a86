"""The retry stage: again what may succeed, never what cannot; one deadline over all tries.

Backoff is exponential with full jitter (Brooker, "Exponential Backoff And Jitter", 2015), and at
least what `Retry-After` says. Nothing below this stage retries, and nothing above it does.
"""

from __future__ import annotations

import asyncio
import random

from swath.engine.call import Call, Next
from swath.engine.limiter import Starved
from swath.errors import Kind, ProviderError
from swath.messages import AnyReply

BASE, LONGEST = 0.5, 20.0  # seconds
TRIES = {
    Kind.SERVER: 8,
    Kind.OVERLOADED: 10,
    Kind.CONNECTION: 8,
    Kind.TIMEOUT: 4,
    Kind.MALFORMED: 5,
    Kind.INVALID: 3,  # the provider's own word that its answer fits no schema (Groq)
    Kind.THROTTLED: 1_000_000,  # the limiter paces these; the deadline ends them
}
FOR_EVERY_CALL = frozenset({Kind.AUTH, Kind.QUOTA, Kind.NOT_FOUND})
OUTAGE = frozenset({Kind.SERVER, Kind.OVERLOADED, Kind.CONNECTION, Kind.TIMEOUT})
OUT_AFTER = 10  # calls given up on in a row


class Retrying:
    def __init__(self) -> None:
        self._given_up: dict[tuple[str, str, str], int] = {}

    async def __call__(self, inner: Next, call: Call) -> AnyReply:
        account = call.model.account
        tried = 0
        while True:
            try:
                reply = await inner(call)
            except ProviderError as error:
                tried += 1
                if error.kind in FOR_EVERY_CALL:
                    # No other row of this run can fare better: the limit stage turns them away.
                    call.run.hopeless[account] = error
                    raise
                delay = self._delay(call, error, tried)
                if delay is None:
                    if error.kind in OUTAGE:
                        self._given_up[account] = self._given_up.get(account, 0) + 1
                    raise
                call.backoff += delay
                if delay:
                    await asyncio.sleep(delay)
            else:
                if self._given_up:
                    self._given_up.pop(account, None)
                return reply

    def _delay(self, call: Call, error: ProviderError, tried: int) -> float | None:
        """Seconds until the next try, or None where there is to be none."""
        if isinstance(error, Starved):
            return None
        most = TRIES.get(error.kind, 0)
        if error.kind in OUTAGE and self._given_up.get(call.model.account, 0) >= OUT_AFTER:
            most = 1  # the provider is down: one knock a call until it answers again
        if call.emitted or tried >= most:
            return None
        left = call.model.deadline - call.backoff - call.provider_time
        least = error.retry_after or 0.0
        if error.kind is Kind.THROTTLED:
            return least if least < left else None  # what the limiter left for this call alone
        jitter = random.uniform(0, min(LONGEST, BASE * 2 ** (tried - 1)))
        delay = max(least, jitter)
        return delay if delay < left else None
