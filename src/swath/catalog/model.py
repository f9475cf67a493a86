"""`Model`: an alias in the config, resolved: provider, id, limits, price, context window."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from swath.messages import Usage


class Secret:
    """A key that prints as stars. Only `reveal()` gives it, and only providers call that."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        return self._value

    def __bool__(self) -> bool:
        return bool(self._value)

    def __repr__(self) -> str:
        return "Secret(***)"

    __str__ = __repr__

    def __reduce__(self) -> Any:
        raise TypeError("a Secret is not to be pickled")


class Price(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """Dollars per million tokens. Cached input costs as input where it is not stated.

    Some models cost more once a prompt is long: over `long_from` input tokens, `long` holds for all
    of the call's tokens.
    """

    input: float
    output: float
    cached_input: float | None = None
    cache_write: float | None = None
    long_from: int | None = None
    long: Price | None = None

    def at(self, input_tokens: float) -> Price:
        """The price that holds for a call with so many input tokens."""
        if self.long is None or self.long_from is None or input_tokens <= self.long_from:
            return self
        return self.long

    def cost(self, usage: Usage) -> float:
        """Dollars for `usage`; the provider's own figure wins where it gave one."""
        if usage.cost_usd is not None:
            return usage.cost_usd
        if self.long is not None and (price := self.at(usage.input_tokens)) is not self:
            return price.cost(usage)
        cached = self.input if self.cached_input is None else self.cached_input
        written = self.input if self.cache_write is None else self.cache_write
        fresh = usage.input_tokens - usage.cached_input_tokens - usage.cache_write_tokens
        return (
            max(fresh, 0) * self.input
            + usage.cached_input_tokens * cached
            + usage.cache_write_tokens * written
            + usage.output_tokens * self.output
        ) / 1e6

    @property
    def dearest_input(self) -> float:
        """The most that one input token can cost: what a worst case is reserved at."""
        return max(self.input, self.cached_input or 0.0, self.cache_write or 0.0)


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """One model that can be asked. `alias` is the user's name for it, `id` the provider's.

    Limits are per minute. None means unknown: the engine then finds the limit. `options` are the
    provider's own settings (OpenRouter's `sort`, Vertex's `project`), `defaults` are request
    settings used where a request does not state its own.
    """

    alias: str
    provider: str
    id: str
    base_url: str
    api_key_env: str = ""
    key: Secret = Secret("")
    rpm: float | None = None
    tpm: float | None = None
    input_tpm: float | None = None
    output_tpm: float | None = None
    concurrency: int = 64
    timeout: float = 60.0
    deadline: float = 300.0
    price: Price | None = None
    price_source: str = ""
    context_window: int | None = None
    max_output_tokens: int | None = None
    fallback: tuple[str, ...] = ()
    options: Mapping[str, Any] = {}
    defaults: Mapping[str, Any] = {}

    @property
    def identity(self) -> tuple[str, ...]:
        """What can change an answer besides the request; part of the content hash. The options of
        the local model say how fast it answers, not what."""
        relevant = {} if self.provider == "local" else dict(self.options)
        options = msgspec.json.encode(relevant, order="deterministic").decode()
        return (self.provider, self.id, self.base_url, options)

    @property
    def account(self) -> tuple[str, str, str]:
        """Aliases that share this share their limits."""
        return (self.base_url, self.api_key_env, self.id)
