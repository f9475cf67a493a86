"""What a server saw.

Every model call is counted once in `received` and ends in exactly one of `answered`,
`refused`, `rejected`, `failed` or `abandoned`; until then it is in `in_flight`. A call is
`answered` and charged at the moment its answer begins to be written, so that killing the
client cannot make the server forget what it would have billed.
"""

from __future__ import annotations

import dataclasses
import time
from collections import Counter
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any


@dataclass(slots=True)
class Logged:
    """One request as it came in."""

    method: str
    path: str
    headers: dict[str, str]
    body: Any


@dataclass(slots=True)
class Stats:
    # Model calls (chat, messages, generateContent, embeddings); `other` counts the rest.
    received: int = 0
    accepted: int = 0  # let through by key, limits and faults
    answered: int = 0  # 200 with its whole body written (or begun, should the client vanish)
    refused: int = 0  # 429 by the server's own limits
    rejected: int = 0  # 4xx for a bad key or a bad request
    failed: int = 0  # ended by a fault, without a whole good answer
    abandoned: int = 0  # the client left before the answer began
    broken_off: int = 0  # of the answered: the client left before the answer's end
    other: int = 0
    active: int = 0  # of those in flight, let in and being worked on
    in_flight: int = 0
    in_flight_peak: int = 0
    connections: int = 0
    connections_open: int = 0
    connections_open_peak: int = 0
    # What was billed: the answered, and those cut or garbled after the model had worked.
    charged: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    dollars: float = 0.0
    first_accepted: float = 0.0  # wall clock
    last_accepted: float = 0.0
    faults: Counter[str] = field(default_factory=Counter)
    refused_by: Counter[str] = field(default_factory=Counter)  # requests, tokens, concurrency, …
    statuses: Counter[int] = field(default_factory=Counter)  # of model calls
    models: Counter[str] = field(default_factory=Counter)  # charged calls by model
    by_prompt: Counter[str] = field(default_factory=Counter)  # received, by the users' text
    answered_by_prompt: Counter[str] = field(default_factory=Counter)
    accepted_by_second: Counter[int] = field(default_factory=Counter)  # since the first arrival
    refused_by_second: Counter[int] = field(default_factory=Counter)
    requests: list[Logged] = field(default_factory=list)  # with keep_requests
    bugs: list[str] = field(default_factory=list)  # tracebacks of the server or of a hook
    started: float = 0.0  # the first arrival, wall clock

    def arrive(self) -> None:
        self.received += 1
        self.in_flight += 1
        if self.in_flight > self.in_flight_peak:
            self.in_flight_peak = self.in_flight
        if not self.started:
            self.started = time.time()

    def accept(self) -> None:
        now = time.time()
        self.accepted += 1
        self.last_accepted = now
        if not self.first_accepted:
            self.first_accepted = now
        self.accepted_by_second[int(now - self.started)] += 1

    def refuse(self, by: str) -> None:
        self.refused_by[by] += 1
        self.refused_by_second[int(time.time() - self.started)] += 1

    @property
    def settled(self) -> bool:
        """Whether the books balance; false only while calls are in flight."""
        ended = self.answered + self.refused + self.rejected + self.failed + self.abandoned
        return self.in_flight == 0 and self.received == ended

    @property
    def repeats(self) -> dict[int, int]:
        """How many prompts were asked once, twice, …"""
        return dict(sorted(Counter(self.by_prompt.values()).items()))

    def clear(self) -> None:
        """Start again from nought, keeping what is still under way."""
        in_flight, active, open_now = self.in_flight, self.active, self.connections_open
        fresh = Stats()
        for name in self.__slots__:
            setattr(self, name, getattr(fresh, name))
        # Calls still under way will end in a counter; they have to have arrived as well.
        self.received = self.in_flight = self.in_flight_peak = in_flight
        self.active = active
        self.connections = self.connections_open = self.connections_open_peak = open_now

    def as_dict(self, *, prompts: bool = False, requests: bool = False) -> dict[str, Any]:
        """For JSON: prompts by digest, and only where asked for, as there may be many."""
        out: dict[str, Any] = {}
        for f in dataclasses.fields(self):
            value = getattr(self, f.name)
            if f.name in ("by_prompt", "answered_by_prompt"):
                if prompts:
                    out[f.name] = {digest(text): n for text, n in value.items()}
            elif f.name == "requests":
                if requests:
                    out[f.name] = [dataclasses.asdict(r) for r in value]
            elif isinstance(value, Counter):
                out[f.name] = {str(key): n for key, n in sorted(value.items())}
            else:
                out[f.name] = value
        out["distinct_prompts"] = len(self.by_prompt)
        out["repeats"] = {str(times): n for times, n in self.repeats.items()}
        out["settled"] = self.settled
        return out


def digest(text: str) -> str:
    """How a prompt is named outside the process."""
    return blake2b(text.encode(), digest_size=16).hexdigest()
