"""Dollars: reserved before a call at its worst case, settled after it, never exceeded."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import TYPE_CHECKING

import msgspec

from swath.errors import BudgetReached, ConfigError, ProviderError
from swath.messages import AnyReply, Completion, Request, Usage

if TYPE_CHECKING:
    from swath.engine.call import Call, Next
    from swath.engine.tokens import TokenEstimates

HIDDEN_TOKENS = 64  # a chat template's own, beyond the bytes of the body


class Budget:
    """A cap in dollars over any number of concurrent calls. None: no cap, only a count.

    Invariant: `spent + reserved <= cap` at every moment, and a call may be sent only while its
    worst case is reserved. A call that does not fit waits while others are in flight, since they
    will give back what they did not use; once none is, the budget is reached.
    """

    def __init__(self, cap: float | None = None) -> None:
        self.cap = cap
        self.spent = 0.0
        self.reserved = 0.0
        self._held = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    @property
    def left(self) -> float:
        return float("inf") if self.cap is None else self.cap - self.spent - self.reserved

    async def reserve(self, worst: float, least: float | None = None) -> float:
        """Reserve `worst` dollars; where even an idle budget cannot, whatever is left if that is
        at least `least`. Returns what was reserved. Raises BudgetReached."""
        least = worst if least is None else least
        while self.cap is not None and worst > self.left:
            if self._held == 0:
                if 0 < least <= self.left:
                    worst = self.left
                    break
                raise self.reached(worst)
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(turn)
            try:
                await turn
            except asyncio.CancelledError:
                self._wake()
                raise
        self.reserved += worst
        self._held += 1
        return worst

    def reached(self, worst: float) -> BudgetReached:
        cap = self.cap or 0.0
        return BudgetReached(
            f"The budget of ${cap:.4f} is reached: ${self.spent:.4f} is spent and the next call "
            f"could cost ${worst:.4f}.",
            budget=cap,
            spent=self.spent,
        )

    def settle(self, reserved: float, actual: float) -> None:
        """Give back a reservation and book what the call did cost."""
        self.reserved = max(self.reserved - reserved, 0.0)
        self.spent += actual
        self._held -= 1
        self._wake()

    def _wake(self) -> None:
        # All of them: a small call may fit where the first in line does not.
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)


class Budgeting:
    """The budget stage: each try's worst case reserved, its cost booked with the run."""

    def __init__(self, estimates: TokenEstimates) -> None:
        self._estimates = estimates

    async def __call__(self, inner: Next, call: Call) -> AnyReply:
        run, model, price = call.run, call.model, call.model.price
        if run.budget.cap is None:
            return await self._booked(inner, call, 0.0)
        if price is None:
            raise ConfigError(
                f"No price is known for '{model.alias}' ({model.provider} {model.id}), so max_cost "
                "cannot be kept.",
                hint="Set price = { input = …, output = … }, in dollars per million tokens.",
            )
        assert call.parcel is not None
        request = call.request
        most = request.max_tokens or 0 if isinstance(request, Request) else 0
        input_most = call.parcel.size + HIDDEN_TOKENS
        price = price.at(input_most)
        input_worst = input_most * price.dearest_input / 1e6
        worst = input_worst + most * price.output / 1e6
        # Near the end of the money a call may still fit with a shorter leash than it asked for.
        usual = 1.5 * self._estimates.output_high(call.label, model, request) + 16
        least = input_worst + min(usual, most) * price.output / 1e6
        asked = time.perf_counter()
        reserved = await run.budget.reserve(worst, least)
        call.wait += time.perf_counter() - asked
        if reserved >= worst:
            return await self._booked(inner, call, reserved)
        room = int((reserved - input_worst) / (price.output / 1e6)) if price.output else most
        call.request = msgspec.structs.replace(request, max_tokens=max(room, 1))
        call.parcel = None  # to be packed again, with the lower max_tokens
        try:
            reply = await self._booked(inner, call, reserved)
        finally:
            call.request = request
        if isinstance(reply, Completion) and reply.finish == "length":
            raise run.budget.reached(worst)
        return reply

    async def _booked(self, inner: Next, call: Call, reserved: float) -> AnyReply:
        model, budget = call.model, call.run.budget
        call.tries += 1
        usage, actual, charged = Usage(), reserved, 0.0
        try:
            reply = await inner(call)
            usage = reply.usage
            if usage.input_tokens or usage.output_tokens or usage.cost_usd is not None:
                charged = model.price.cost(usage) if model.price else usage.cost_usd or 0.0
                actual = charged
            return msgspec.structs.replace(reply, model=model.alias, cost_usd=charged)
        except ProviderError as error:
            if error.usage is not None and model.price is not None:
                usage = error.usage
                actual = charged = model.price.cost(usage)
            elif not error.charged:
                actual = 0.0
            raise
        finally:
            # Cancelled, cut off or unclear: the reservation counts as spent, to be safe.
            if budget.cap is None:
                budget.spent += charged
            else:
                budget.settle(reserved, actual)
            call.usage += usage
            call.cost += charged
            call.run.count(model.alias, usage=usage, cost_usd=charged)
