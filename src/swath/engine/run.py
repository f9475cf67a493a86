"""`Run`: what a group of calls shares: a name, a budget, running totals.

A frame's `collect`, a comparison, an evaluation are runs; a single `sw.complete` is a run of one.
"""

from __future__ import annotations

import time
import uuid

import msgspec

from swath.engine.budget import Budget
from swath.errors import ProviderError
from swath.messages import Usage


class Metrics(msgspec.Struct):
    """Totals over a run. `rows`, `ok`, `failed` are the frame's; the rest the engine counts.

    `calls` are questions that reached a provider and were answered or failed there; `cached` were
    answered from the store; `retries` are the additional tries. Tokens and dollars include those
    of failed tries that the provider charged for. `seconds` is wall time. `window_share` is how
    much of its model's context window the fullest call took: how near to the limit the rows came.
    """

    rows: int = 0
    ok: int = 0
    failed: int = 0
    calls: int = 0
    cached: int = 0
    retries: int = 0
    input_tokens: int = 0
    cached_input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float = 0.0
    seconds: float = 0.0
    window_share: float = 0.0


class ModelMetrics(msgspec.Struct):
    """The engine's part of `Metrics`, for one model of a run."""

    calls: int = 0
    cached: int = 0
    retries: int = 0
    failed: int = 0
    input_tokens: int = 0
    cached_input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float = 0.0


class Run:
    """One run. Used on the engine's loop only."""

    def __init__(self, name: str = "", *, max_cost: float | None = None) -> None:
        self.id = uuid.uuid4().hex[:12]
        self.name = name
        self.budget = Budget(max_cost)
        self.started = time.time()
        self.metrics = Metrics()
        self.by_model: dict[str, ModelMetrics] = {}
        self.notes: dict[str, int] = {}  # what was done differently from what was asked, how often
        self.hopeless: dict[tuple[str, str, str], ProviderError] = {}  # accounts no call can use

    def count(
        self,
        model: str,
        *,
        calls: int = 0,
        cached: int = 0,
        retries: int = 0,
        failed: int = 0,
        usage: Usage | None = None,
        cost_usd: float = 0.0,
    ) -> None:
        one = self.by_model.get(model) or self.by_model.setdefault(model, ModelMetrics())
        for total in (self.metrics, one):
            total.calls += calls
            total.cached += cached
            total.retries += retries
            total.cost_usd += cost_usd
            if usage is not None:
                total.input_tokens += usage.input_tokens
                total.cached_input_tokens += usage.cached_input_tokens
                total.output_tokens += usage.output_tokens
        one.failed += failed

    def note(self, text: str, times: int = 1) -> None:
        self.notes[text] = self.notes.get(text, 0) + times

    def finish(self) -> Metrics:
        self.metrics.seconds = time.time() - self.started
        return self.metrics
