"""Every error that Swath raises, each saying what is at fault, what exists, and what to do next.

Messages never contain prompt text, completions or keys: they may be shown to an end user.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from swath.messages import Usage
    from swath.providers.base import RateLimits


class SwathError(Exception):
    """The base of all. `hint` says what to do next. Where it stopped a frame's run, `run` holds
    what was done before."""

    run: Any = None

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".rstrip()


class ConfigError(SwathError):
    """The config file, a key or a model alias is wrong."""


class UnknownModel(ConfigError):
    """No such alias, model or profile."""


class KeyMissing(ConfigError):
    """A provider's key is not set, or was refused. Names the variable, never the key."""


class InputError(SwathError):
    """A file, a table, a column, a schema or an argument from the user is unusable."""


class ColumnNotFound(InputError):
    """An operator names a column that the table at that point does not have."""


class OutputError(SwathError):
    """A result cannot be written where it was asked to go. Nothing that was bought is lost."""


class StoreError(SwathError):
    """The response store cannot be opened, read or written."""


class MissingExtra(SwathError, ImportError):
    """An optional part is not installed."""

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(
            f"{what} needs the extra '{extra}'.", hint=f"Run: pip install 'swath[{extra}]'"
        )
        self.extra = extra


class WeightsError(SwathError):
    """A model file cannot be found, fetched, or is not the one the catalogue names."""


class BudgetReached(SwathError):
    """The money ran out before the work did. What was bought is stored, and in `run`."""

    def __init__(self, message: str, *, budget: float, spent: float, run: Any = None) -> None:
        super().__init__(
            message, hint="Run the same again with a larger max_cost: it goes on from here."
        )
        self.budget = budget
        self.spent = spent
        self.run = run


class Interrupted(SwathError):
    """The user stopped the run. What was bought is stored, and in `run`."""

    def __init__(self, message: str, *, run: Any = None) -> None:
        super().__init__(message, hint="Run the same again: it pays only for what is missing.")
        self.run = run


class Kind(StrEnum):
    """Why a call failed. The engine's policy is written over these, never over status codes."""

    AUTH = "auth"  # key missing, wrong or without the right
    NOT_FOUND = "not_found"  # no such model or endpoint
    BAD_REQUEST = "bad_request"  # the provider will never accept this
    UNSUPPORTED = "unsupported"  # a feature this model or server lacks, e.g. JSON schema
    CONTEXT = "context"  # longer than the model's window
    THROTTLED = "throttled"  # too fast: wait and try again
    QUOTA = "quota"  # no money or no allowance left: waiting does not help
    OVERLOADED = "overloaded"  # the provider is out of capacity
    SERVER = "server"  # the provider broke
    TIMEOUT = "timeout"
    CONNECTION = "connection"  # refused, reset, cut, DNS, TLS
    MALFORMED = "malformed"  # a reply that is not the wire format
    REFUSAL = "refusal"  # the model or its filter declined
    TRUNCATED = "truncated"  # ended at max_tokens with the answer incomplete
    INVALID = "invalid"  # an answer, but not of the shape asked for
    UNGROUNDED = "ungrounded"  # a quote that is not in its source


class ProviderError(SwathError):
    """A call to a model failed.

    `retry_after` is in seconds. `usage` is what the failed call cost in tokens if the provider
    said; `charged` is False where the provider surely charged nothing, True where it may have.
    """

    def __init__(
        self,
        kind: Kind,
        message: str,
        *,
        hint: str = "",
        provider: str = "",
        model: str = "",
        status: int | None = None,
        retry_after: float | None = None,
        request_id: str = "",
        usage: Usage | None = None,
        charged: bool | None = None,
        feature: str = "",
    ) -> None:
        super().__init__(message, hint=hint)
        self.kind = kind
        self.provider = provider
        self.model = model
        self.status = status
        self.retry_after = retry_after
        self.request_id = request_id
        self.usage = usage
        self.charged = kind in _MAY_BE_CHARGED if charged is None else charged
        self.feature = feature  # for UNSUPPORTED: json_schema, json_object, seed, …
        self.limits: RateLimits | None = None  # what the refusing reply's headers said

    def again(self) -> ProviderError:
        """The same error for another call: an exception raised twice would gather tracebacks."""
        copy = ProviderError(self.kind, self.message, hint=self.hint, charged=False)
        for name in ("provider", "model", "status", "retry_after", "request_id", "feature"):
            setattr(copy, name, getattr(self, name))
        return copy

    def __str__(self) -> str:
        where = " ".join(p for p in (self.provider, self.model and f"'{self.model}'") if p)
        return f"{where}: {super().__str__()}" if where else super().__str__()


# Once a request was sent whole and no clear refusal came back, the provider may have worked.
_MAY_BE_CHARGED = frozenset(
    {
        Kind.TIMEOUT,
        Kind.CONNECTION,
        Kind.MALFORMED,
        Kind.REFUSAL,
        Kind.TRUNCATED,
        Kind.INVALID,
        Kind.UNGROUNDED,
    }
)


def listing(names: Iterable[str], wanted: str = "") -> str:
    """'Did you mean x? There are: a, b, c.' for error messages."""
    have = sorted(names)
    close = get_close_matches(wanted, have, n=1)
    guess = f"Did you mean '{close[0]}'? " if close else ""
    shown = ", ".join(have[:12]) + (f", and {len(have) - 12} more" if len(have) > 12 else "")
    return f"{guess}There are: {shown}." if have else f"{guess}There are none."
