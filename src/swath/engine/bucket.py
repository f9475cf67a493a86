"""One quota as the provider presumably keeps it: a bucket that fills at a rate up to a burst."""

from __future__ import annotations

from collections import deque
from math import inf

from swath.providers.base import Window

EXPLORE = 1.15  # growth of the pace per second while burst or rate are being found
CREEP, CREEP_TIME = 0.02, 4.0  # then by 2% after 4 s without a refusal, 50% after 20 s
MARGIN = 0.99  # share of a stated rate that is used: clocks differ
HEADER_DOUBT = 0.2  # seconds of inflow that are not counted on
MEMORY = 60.0  # seconds of refusals that the estimate looks back on


class Bucket:
    """One quota, in units (requests or tokens), as the provider presumably keeps it.

    `rate` is units per second, `level` what may be sent now; `ceiling` is the stated rate.
    """

    def __init__(self, per_minute: float | None, now: float) -> None:
        self.ceiling = inf
        self.rate = inf
        self.burst = 1.0  # how far unused quota adds up
        self.level = 1.0
        self.boost = 1.0
        self.exploring = True
        self.met = False  # the rate was met from below, not guessed from above
        self.granted = 0.0  # ever
        self.turned_away = 0.0  # of these
        self.empties: deque[_Empty] = deque(maxlen=64)
        self.stamp = self.steady_since = now
        self.busy_since, self.accepted_before = now, 0.0
        if per_minute is not None:
            self.state(per_minute, now)

    def after_idling(self, now: float) -> None:
        """A new busy period: what went is measured from here."""
        self.busy_since, self.accepted_before = now, self.granted - self.turned_away

    def state(self, per_minute: float, now: float) -> None:
        """The rate as the config or the provider states it."""
        ceiling = max(per_minute, 1e-9) / 60 * MARGIN
        if ceiling == self.ceiling:
            return
        self.refill(now, waiting=False)
        self.ceiling = ceiling
        self.rate = min(self.rate, ceiling)
        self.burst = max(self.burst, ceiling)

    def refill(self, now: float, *, waiting: bool) -> None:
        """Let time pass. The pace grows only while somebody waits on this bucket."""
        passed = now - self.stamp
        self.stamp = now
        if passed <= 0 or self.rate == inf:
            return
        if waiting:
            if self.exploring:
                self.boost *= EXPLORE**passed
            else:
                since = now - self.steady_since
                creep = 1 + CREEP * (since / CREEP_TIME) ** 2 if self.met else EXPLORE**since
                self.boost = min(creep, max(self.ceiling / self.rate, 1.0))
        self.level = min(self.level + self.rate * self.boost * passed, max(self.burst, self.level))

    def delay(self, amount: float) -> float:
        """Seconds until `amount` may go. More than the burst may go when the bucket is full."""
        if self.rate == inf:
            return 0.0
        lacking = min(amount, self.burst) - self.level
        return lacking / (self.rate * self.boost) if lacking > 1e-9 else 0.0

    def take(self, amount: float) -> None:
        self.granted += amount
        self.level -= amount

    def give_back(self, amount: float) -> None:
        """The difference of an estimate to the truth; negative where more was used."""
        self.granted -= amount
        self.level = min(self.level + amount, max(self.burst, self.level))

    def hint(
        self, window: Window, sent: float, granted_then: float, on_the_way: float, now: float
    ) -> None:
        """What a reply says. It was written when the call arrived: what was granted since is not
        in it, what flowed in since is not either. `on_the_way` is what the calls in flight hold."""
        self.refill(now, waiting=False)
        if window.limit is not None and window.limit > 0:
            self.state(window.limit, now)
        if window.remaining is not None and self.rate != inf:
            since = self.granted - granted_then
            # Some write their headers with the answer, when that much had flowed in already.
            level = window.remaining - since + self.rate * max(now - sent - HEADER_DOUBT, 0.0)
            # Calls overtake each other on the way, so a reply may not count some sent before it.
            self.level = max(level - on_the_way, min(level, self.level))
            self.burst = max(self.burst, window.remaining)
            self.exploring = False
            self.boost = 1.0

    def forget(self, amount: float, granted_then: float) -> None:
        """A grant was refused: it does not count as accepted, also by the time of an earlier
        refusal that it was already on its way at."""
        self.turned_away += amount
        for empty in self.empties:
            if empty.granted >= granted_then:
                empty.accepted -= amount

    def let_go(self, now: float) -> None:
        """Refusals were not about speed: forget what was concluded from them."""
        self.refill(now, waiting=False)
        self.empties.clear()
        self.rate = self.ceiling
        self.exploring = True
        self.boost = 1.0
        self.after_idling(now)

    def refused(self, now: float) -> None:
        """The provider's bucket is empty now."""
        self.refill(now, waiting=False)
        accepted = self.granted - self.turned_away
        if self.exploring and self.ceiling < inf:
            flowed = self.rate * (now - self.busy_since)
            self.burst = max(self.ceiling, self.accepted_lately - flowed, 1.0)
        while self.empties and now - self.empties[0].when > MEMORY:
            self.empties.popleft()
        if self.rate >= 0.9 * self.ceiling:  # stated, and still refused: no burst at all, perhaps
            self.rate = max(self.rate * 0.985, self.ceiling * 0.9)
        else:
            # Met on the way up. A rate that was met before is believed for the most part; one met
            # for the first time is between the pace it began at and the pace now.
            least = self.rate * (0.97 if self.met else 0.6 * self.boost)
            self.rate = min(max(self._measured(accepted, now), least), self.ceiling)
        self.empties.append(_Empty(now, self.granted, accepted))
        self.exploring = False
        self.met = True
        self.emptied(now)

    def _measured(self, accepted: float, now: float) -> float:
        """Between two moments at which the bucket was empty, what flowed in was accepted; at least,
        since a bucket that was full in between has run over."""
        if not self.empties or now - self.empties[0].when <= 0.2:
            return 0.0
        first = self.empties[0]
        return max(accepted - first.accepted, 1.0) / (now - first.when)

    def pace(self, rate: float, now: float) -> None:
        """Go at `rate` from now on, at most at the stated one."""
        self.refill(now, waiting=False)
        self.rate = min(rate, self.ceiling)
        self.exploring = self.met = False
        self.emptied(now)

    def emptied(self, now: float) -> None:
        if self.ceiling == inf and self.rate < inf:
            self.burst = max(self.rate, 1.0)
        self.steady_since = now
        self.boost = 1.0
        self.level = 0.0

    @property
    def accepted_lately(self) -> float:
        """Accepted, or still under way, in this busy period."""
        return self.granted - self.turned_away - self.accepted_before

    def lately(self, now: float) -> float:
        """The same per second."""
        return self.accepted_lately / max(now - self.busy_since, 0.5)


class _Empty:
    """A moment at which the provider's bucket was empty."""

    __slots__ = ("accepted", "granted", "when")

    def __init__(self, when: float, granted: float, accepted: float) -> None:
        self.when = when
        self.granted = granted
        self.accepted = accepted
