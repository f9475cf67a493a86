"""A call under way, and the ways it may be turned away."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .answers import Answer, Call
from .core import Exchange
from .faults import Fault
from .limits import Limits

if TYPE_CHECKING:
    from .server import Server


class Rejected(Exception):
    """A request turned away, in the provider's words."""

    def __init__(self, status: int, body: Any, headers: bytes = b"") -> None:
        super().__init__(status, body)
        self.status = status
        self.body = body
        self.headers = headers


@dataclass(slots=True)
class Route:
    """What a path means. `kind` "chat" and "embed" are model calls; others list things."""

    kind: str
    model: str = ""
    stream: bool = False
    form: str = ""  # whatever the wire format needs to know besides


NO_CALL = Call({}, "")


class Trip:
    """One model call under way."""

    __slots__ = (
        "active",
        "answer",
        "begun",
        "call",
        "ended",
        "exchange",
        "fault",
        "limits",
        "outcome",
        "route",
        "server",
    )

    def __init__(self, server: Server, exchange: Exchange, route: Route) -> None:
        self.server = server
        self.exchange = exchange
        self.route = route
        self.call = NO_CALL
        self.answer: Answer | None = None
        self.fault: Fault | None = None
        self.limits: Limits | None = None
        self.outcome = ""
        self.active = False  # let in
        self.begun = False  # a stream has begun, and
        self.ended = False  # has said all it had to say

    def settle(self, outcome: str) -> None:
        """Book how the call ends."""
        self.outcome = outcome
        stats = self.server.stats
        setattr(stats, outcome, getattr(stats, outcome) + 1)

    def done(self) -> None:
        stats = self.server.stats
        stats.in_flight -= 1
        if self.active:
            stats.active -= 1
        if not self.outcome:
            hung = self.fault is not None and self.fault.kind == "hang"
            self.settle("failed" if hung else "abandoned")
        elif self.begun and not self.ended:
            stats.broken_off += 1
