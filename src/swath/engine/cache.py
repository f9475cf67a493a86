"""The cache stage: exact answers from the store, equal calls made once, nothing paid for twice.

A call gives up its slot only when its answer is durable, so what a killed process loses is at most
the calls that were in flight.
"""

from __future__ import annotations

import asyncio

import msgspec

from swath.engine.call import Call, Next
from swath.engine.shape import Invalid, check_for
from swath.errors import ProviderError
from swath.messages import AnyReply, Completion, Request
from swath.store.base import Store


class Caching:
    def __init__(self, store: Store) -> None:
        self._store = store
        self._flights: dict[bytes, asyncio.Future[AnyReply | ProviderError]] = {}

    async def __call__(self, inner: Next, call: Call) -> AnyReply:
        while (flight := self._flights.get(call.key)) is not None:
            outcome = await asyncio.shield(flight)
            if isinstance(outcome, ProviderError):
                raise outcome.again()
            if outcome is not _LANDED_NOWHERE and (reply := accept(outcome, call)) is not None:
                return reply
        if not (call.known_miss or call.fresh):
            stored = self._store.get_many([call.key]).get(call.key)
            if stored is not None and (reply := accept(stored, call)) is not None:
                return reply
        landing: asyncio.Future[AnyReply | ProviderError] = (
            asyncio.get_running_loop().create_future()
        )
        self._flights[call.key] = landing
        outcome = _LANDED_NOWHERE
        try:
            outcome = reply = await inner(call)
            await self._store.put(call.key, reply)
            return reply
        except ProviderError as error:
            outcome = error
            raise
        finally:
            del self._flights[call.key]
            landing.set_result(outcome)
            call.release()


_LANDED_NOWHERE = Completion(text="")  # cancelled, or out of budget: the next in line asks itself


def accept(stored: AnyReply, call: Call) -> AnyReply | None:
    """A stored answer as this call's, or None where it no longer passes the call's check."""
    if not isinstance(stored, Completion) or not isinstance(call.asked, Request):
        return msgspec.structs.replace(stored, cached=True, cost_usd=0.0)
    check = call.check or check_for(call.asked)
    parsed = stored.parsed
    if check is not None and not stored.tool_calls:
        try:
            parsed = check(stored.text)
        except Invalid:
            return None
    return msgspec.structs.replace(stored, cached=True, cost_usd=0.0, parsed=parsed)
