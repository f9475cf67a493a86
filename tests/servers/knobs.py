"""The knobs that all test servers have. Each may be set at any time, also while serving."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

from . import answers
from .answers import Answer, Quotes
from .faults import Fault, Faults
from .limits import Limits, Window

Respond = Callable[[str, dict[str, Any]], "str | dict[str, Any] | Answer"]

_LIMITING = frozenset(
    (
        "rpm",
        "tpm",
        "input_tpm",
        "output_tpm",
        "window",
        "window_seconds",
        "burst_seconds",
        "count_refused",
        "scope",
        "clock",
    )
)


@dataclass(kw_only=True, eq=False)
class Knobs:
    # -- time and limits
    latency: float | tuple[float, float] = 0.0  # to the first byte; (low, high) is drawn from
    chunk_delay: float = 0.0  # between the events of a stream
    chunk_chars: int = 12  # of text in each
    fragment: int | None = None  # cut what a stream writes into writes of so many bytes
    rpm: int | None = None
    tpm: int | None = None
    input_tpm: int | None = None
    output_tpm: int | None = None
    # Token limits count what a call uses, or else its prompt plus its max_tokens.
    tpm_counts: Literal["actual", "reserved"] = "actual"
    window: Window = "bucket"
    window_seconds: float = 60.0  # a "minute", for tests with less patience
    burst_seconds: float = 1.0  # how much of the limit the bucket holds
    count_refused: bool = False  # refused calls use up the limit too
    scope: Literal["server", "model", "key"] = "server"  # what has a limit of its own
    concurrency: int | None = None
    headers: bool = True  # send rate-limit headers
    retry_after: bool | Literal["ms"] = True
    clock: Callable[[], float] = time.monotonic
    # -- access
    keys: frozenset[str] | None = None  # None takes any key, and none
    models: tuple[str, ...] | None = None  # None takes any name
    context_window: int | None = None
    max_body: int = 32 << 20
    # -- answers
    respond: Respond | None = None
    fixed: str | None = None  # this text, whatever is asked: the cheapest, for benchmarks
    tokens: Callable[[str], int] = answers.tokens
    quotes: Quotes = "real"
    # Which message a schema's strings are picked from, where the users said several things:
    # the first, so that a repair is still about its text; or the last.
    source: Literal["first", "last"] = "first"
    source_between: tuple[str, str] | None = None
    fenced: bool = False  # wrap JSON in a ```json fence where only the prompt asked for it
    count_schema: bool = True  # a schema and tools count as prompt tokens, as at the providers
    cached: float = 0.0  # share of the prompt reported as read from the cache
    reasoning: int = 0  # reasoning tokens added to each answer
    embedding_size: int = 64
    price: dict[str, float] = field(default_factory=dict)  # dollars a million: input, output, …
    # -- faults
    faults: Iterable[Fault | dict[str, Any]] = ()
    seed: int = 0
    # -- counting
    keep_requests: bool = False

    # What is kept of the limits (one set for each of a `scope`) and of the rules; a knob that
    # is set makes its own anew.
    limits: dict[str, Limits] = field(default_factory=dict, init=False, repr=False)
    rules: Faults = field(default_factory=lambda: Faults(()), init=False, repr=False)

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "faults":
            # A tuple: a rule appended behind the server's back would have no memory.
            value = tuple(value)
        elif name == "keys" and value is not None:
            value = frozenset(value)
        object.__setattr__(self, name, value)
        if name in _LIMITING:
            object.__setattr__(self, "limits", {})
        elif name in ("faults", "seed"):
            self.renew_rules()

    def renew_rules(self) -> None:
        rules = Faults(getattr(self, "faults", ()), getattr(self, "seed", 0))
        object.__setattr__(self, "rules", rules)

    def __post_init__(self) -> None:
        self.renew_rules()  # the fields above were set after the knobs

    def limits_of(self, group: str) -> Limits:
        found = self.limits.get(group)
        if found is None:
            found = self.limits[group] = Limits(
                rpm=self.rpm,
                tpm=self.tpm,
                input_tpm=self.input_tpm,
                output_tpm=self.output_tpm,
                window=self.window,
                window_seconds=self.window_seconds,
                burst_seconds=self.burst_seconds,
                count_refused=self.count_refused,
                clock=self.clock,
            )
        return found
