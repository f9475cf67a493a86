"""Dollars: reserved before a call at its worst case, settled after it, never exceeded."""

from __future__ import annotations

import asyncio
from collections import deque

from swath.errors import BudgetReached


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
                raise BudgetReached(
                    f"The budget of ${self.cap:.4f} is reached: ${self.spent:.4f} is spent and "
                    f"the next call could cost ${worst:.4f}.",
                    budget=self.cap,
                    spent=self.spent,
                )
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
