"""`Call`: the state of one journey, and the shape of a stage."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec

from swath.catalog.model import Model
from swath.engine.backend import Parcel
from swath.engine.limiter import Grant
from swath.engine.run import Run
from swath.messages import AnyReply, AnyRequest, Chunk, Usage
from swath.providers.base import RateLimits

Check = Callable[[str], Any]
"""Text of an answer in, its value out; raises `validate.Invalid` with the reason."""


class Routed(msgspec.Struct, kw_only=True):
    """How a router chose the model of a call, for the ledger. `why` is the decision's, or "unsure"
    or "failed" where a cascade went up, "sample" or "shadow". `sure` is how sure the model asked
    first was, `strong` the alias that would answer everything without a router, `strong_usd` what
    the same tokens would have cost there (0: nothing was asked)."""

    name: str
    why: str
    scores: str = ""
    sure: float | None = None
    strong: str = ""
    strong_usd: float = 0.0


class Call:
    """What the stages share about one call. `request` and `model` are what is asked right now:
    fallback, lowering and repair change them; `asked` is what the caller wanted."""

    __slots__ = (
        "asked",
        "backoff",
        "check",
        "cost",
        "emitted",
        "fallbacks",
        "fresh",
        "grants",
        "key",
        "known_miss",
        "label",
        "limits",
        "model",
        "notes",
        "on_chunk",
        "parcel",
        "provider_time",
        "request",
        "route",
        "run",
        "started",
        "tries",
        "ttft",
        "usage",
        "wait",
        "wanted",
    )

    def __init__(
        self,
        request: AnyRequest,
        model: Model,
        run: Run,
        *,
        key: bytes,
        check: Check | None = None,
        label: str = "",
        fallbacks: Sequence[Model] = (),
        known_miss: bool = False,
        fresh: bool = False,
        on_chunk: Callable[[Chunk], None] | None = None,
    ) -> None:
        self.asked = self.request = request
        self.wanted = self.model = model
        self.run = run
        self.key = key
        self.check = check
        self.label = label
        self.fallbacks = fallbacks
        self.known_miss = known_miss
        self.fresh = fresh
        self.on_chunk = on_chunk
        self.emitted = False  # a chunk has reached the caller: too late to start over
        self.grants: list[Grant] = []  # slots held until the answer is stored
        self.notes: list[str] = []
        self.route: Routed | None = None  # where a router chose the model
        self.parcel: Parcel | None = None  # of the try under way
        self.limits: RateLimits | None = None  # what its reply said
        self.tries = 0
        self.usage = Usage()
        self.cost = 0.0
        self.started = time.perf_counter()
        self.wait = self.backoff = self.provider_time = 0.0  # seconds
        self.ttft = 0.0

    def release(self) -> None:
        for grant in self.grants:
            grant.release()
        self.grants.clear()


Next = Callable[[Call], Awaitable[AnyReply]]
Stage = Callable[[Next, Call], Awaitable[AnyReply]]
