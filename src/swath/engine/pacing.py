"""Whether refusals are about speed, and if so, at what pace there are none.

A provider with a limit refuses the excess: at pace P over a rate R the share refused is 1 - R/P,
and below R it is nothing. Some servers refuse at random, whatever the pace. One refusal cannot tell
the two apart, and taking each for a limit would slow a run down for ever. So:

    free ──first refusal──▶ testing ──none at half the pace──▶ steady
                              │  ▲                               │ refused too often for the pace
                              │  └───────────────────────────────┘
                              └──as many at half the pace──▶ random ──many more──▶ testing

In *testing* the pace goes down in spells of a few calls; in *steady* it creeps up from the rate
that was found, so that a raised limit is found too, and a refusal on the way up corrects the rate:
between two moments at which the provider's bucket was empty it accepted exactly what flowed in. In
*random* there is no pace at all, and a refused call waits alone.
"""

from __future__ import annotations

from collections import deque
from enum import Enum
from math import inf

from swath.engine.bucket import Bucket

TEST_SPELL, LONG_SPELL = 16, 32  # outcomes
ABOVE = 1.03  # how far above the rate a refusal is no surprise


class Phase(Enum):
    FREE = "free"
    TESTING = "testing"
    STEADY = "steady"
    RANDOM = "random"


class Pacing:
    """Judges the outcomes of one account's calls and sets the pace of its bucket of requests."""

    def __init__(self, bucket: Bucket, now: float) -> None:
        self.bucket = bucket
        self.phase = Phase.FREE
        self._begun = now  # calls sent before are of an earlier spell
        self._count = self._refused = 0
        self._recent: deque[bool] = deque(maxlen=6)
        self._found = 0.0  # the rate that a test so far speaks for
        self._usual = 0.0  # share refused at random
        self._dry = 0  # spells in a row with nothing accepted

    def accepted(self, sent: float, now: float) -> None:
        self._recent.append(False)
        self._dry = 0
        if self.phase is not Phase.FREE and sent >= self._begun:
            self._count += 1
            self._judge(now)

    def refused(self, sent: float, now: float) -> bool:
        """True: shut the gate for all; False: this call alone is to wait."""
        self._recent.append(True)
        dense = sum(self._recent) >= 4
        if self.phase is Phase.FREE:
            if self.bucket.ceiling < inf:
                self.bucket.refused(now)
                self._enter(Phase.STEADY, now)
            elif self.bucket.accepted_lately >= (1 if dense else TEST_SPELL):
                self._test(self.bucket.lately(now) / 2, now)
            return True
        if sent >= self._begun:
            self._count += 1
            self._refused += 1
        if self.phase is Phase.TESTING:
            self._judge(now)
            return self._dry >= 3  # not a matter of pace: nothing at all is accepted
        if self.phase is Phase.STEADY:
            if self.bucket.boost > ABOVE:
                self.bucket.refused(now)
                self._enter(Phase.STEADY, now)
                return True
            self._judge(now)
            return dense
        self._judge(now)
        return all(self._recent) and len(self._recent) == self._recent.maxlen

    def _enter(self, phase: Phase, now: float) -> None:
        self.phase = phase
        self._begun = now
        self._count = self._refused = 0

    def _test(self, rate: float, now: float, found: float = 0.0) -> None:
        self.bucket.pace(max(rate, 0.02), now)
        self._found = found
        self._enter(Phase.TESTING, now)

    def _judge(self, now: float) -> None:
        """At the end of a spell, draw the conclusion."""
        share = self._refused / self._count if self._count else 0.0
        if self.phase is Phase.TESTING:
            if self._count >= TEST_SPELL or (self._count >= 6 and share > 0.5):
                self._judge_test(share, now)
        elif self._count >= LONG_SPELL:
            if self.phase is Phase.STEADY:
                if share > 0.08:
                    self._test(self.bucket.rate / 2, now, found=self.bucket.rate * (1 - share))
                    return
            elif share > 1.4 * self._usual + 0.12:
                self._test(self.bucket.lately(now) / 2, now)
                return
            self._count = self._refused = 0

    def _judge_test(self, share: float, now: float) -> None:
        rate = self.bucket.rate
        through = rate * (1 - share)
        if not through:
            self._dry += 1
            self._test(rate / 4 if self._dry < 3 else rate, now)
        elif share > 0.5:  # far above the rate, if there is one: `through` estimates it
            self._test(through, now)
        elif self._found and 0.12 <= share <= 0.45:
            # Half of what should have been no excess at all, and still refused.
            self._usual = share
            self.bucket.let_go(now)
            self._enter(Phase.RANDOM, now)
        elif share > 0.05:
            self._test(rate / 2, now, found=through)
        else:
            self.bucket.pace(max(self._found, rate), now)
            self._enter(Phase.STEADY, now)
