"""Prices and context windows of hosted models, from the offline data of `genai-prices`.

Rules that live here:
- The data is read from the installed package, never from the network: upgrading the package
  brings new prices. Importing it takes a quarter of a second and 40 MB, so that what Swath needs
  of it is kept in the cache directory, one file per version and day, and read from there in a few
  milliseconds; where that cannot be written, the import is paid.
- A price by length of the prompt has two tiers here: the base, and the dearest, from the first
  tier's start (200,000 tokens at some models of Google and Anthropic) on.
- A price by date is the one that holds today; one by time of day is the standard one.
- Prices by audio, image, search or request are left out.
- A compatible server's prices are looked up by its URL. At one that nobody knows, a proprietary
  model is taken for the provider's own behind a gateway; one with open weights has no price.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Sequence
from datetime import UTC, date, datetime
from functools import cache, lru_cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import msgspec

from swath.catalog import windows
from swath.catalog.model import Price
from swath.paths import cache_dir

Clause = tuple[str, str | list[Any]]
"""How a price's model is recognised: ("equals", text), ("starts_with", …), ("or", clauses), …"""

_FREE = Price(input=0.0, output=0.0)
_FORMAT = 2  # of the cached file


class Entry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One model of the catalogue. `price` is None where it is not one by tokens."""

    provider: str
    id: str
    name: str = ""
    price: Price | None = None
    context_window: int | None = None
    max_output_tokens: int | None = None
    modalities: tuple[str, ...] = ()
    deprecated: bool = False


class _Listed(msgspec.Struct, frozen=True):
    entry: Entry
    match: Clause


class _Provider(msgspec.Struct, frozen=True):
    """`url` is a pattern that its servers' addresses match."""

    id: str
    url: str
    models: list[_Listed]
    lenders: list[str] = []  # providers whose models it may serve as well


class _Catalogue(msgspec.Struct, frozen=True):
    date: str
    providers: list[_Provider]


# -- what callers ask -------------------------------------------------------------------


def price(provider: str, model_id: str, base_url: str = "") -> Price | None:
    """Dollars per million tokens, or None where unknown. The local model costs nothing. Give the
    `base_url` where the config has its own: it decides whose price holds."""
    if provider == "local":
        return _FREE
    found = find(provider, model_id, base_url)
    return found.price if found else None


def context_window(provider: str, model_id: str, base_url: str = "") -> int | None:
    """Tokens that prompt and answer may have together, or None where unknown."""
    found = find(provider, model_id, base_url)
    return found.context_window if found else None


def max_output(provider: str, model_id: str, base_url: str = "") -> int | None:
    """The most tokens an answer may have, or None where unknown."""
    found = find(provider, model_id, base_url)
    return found.max_output_tokens if found else None


def catalogue_date() -> str:
    """The day of the newest change in the data, as `2026-11-24`."""
    return _catalogue().date


def catalogue_source() -> str:
    """Where prices come from, for people: `genai-prices 0.2.3, 2026-11-09`."""
    return f"genai-prices {_version()}, {catalogue_date()}"


def entries(provider: str | None = None) -> list[Entry]:
    """Every model of the providers that Swath speaks to, or of one."""
    wanted = ("openai", "anthropic", "google", "groq", "openrouter")
    names = wanted if provider is None else (_CATALOGUE_NAMES.get(provider, provider),)
    return [m.entry for name in names for m in _provider(name).models]


def search(
    text: str = "",
    *,
    provider: str | None = None,
    max_price: float | None = None,
    min_context: int | None = None,
    modality: str | None = None,
    free: bool = False,
) -> list[Entry]:
    """Entries that fit all that is given, the cheapest first. `max_price` is in dollars per
    million input tokens; `text` occurs in the id or the name."""
    text = text.lower()

    def fits(entry: Entry) -> bool:
        cost = entry.price.input if entry.price else None
        return (
            (text in entry.id.lower() or text in entry.name.lower())
            and (max_price is None or (cost is not None and cost <= max_price))
            and (min_context is None or (entry.context_window or 0) >= min_context)
            and (modality is None or modality in entry.modalities)
            and (not free or entry.price == _FREE)
        )

    def order(entry: Entry) -> tuple[bool, float, str]:
        return (entry.price is None, entry.price.input if entry.price else 0.0, entry.id)

    return sorted(filter(fits, entries(provider)), key=order)


@lru_cache(4096)
def find(provider: str, model_id: str, base_url: str = "") -> Entry | None:
    """The entry for a model id as a config writes it: dated (`gpt-4o-2024-08-06`) or not."""
    id = model_id.lower().removeprefix("models/")
    name = _provider_at(base_url) if base_url else None
    if name is None:
        # An address that nobody knows: a gateway before the provider, which charges its prices,
        # or a server of one's own, which has models with open weights.
        if base_url and "oss" in id:
            return None
        name = _CATALOGUE_NAMES.get(provider, provider)
    one = _provider(name)
    models = [*one.models, *(m for lender in one.lenders for m in _provider(lender).models)]
    exact = next((m for m in models if m.entry.id == id), None)
    found = exact or next((m for m in models if _matches(m.match, id)), None)
    if found is not None:
        return found.entry
    if name == "openrouter" and id.endswith(":free"):
        return Entry(provider=name, id=id, price=_FREE)
    window, most = windows.row(name, id)
    if window is None and most is None:
        return None
    return Entry(provider=name, id=id, context_window=window, max_output_tokens=most)


_CATALOGUE_NAMES = {"vertex": "google"}


def _provider(name: str) -> _Provider:
    return _by_name().get(name) or _Provider(name, "", [])


@cache
def _by_name() -> dict[str, _Provider]:
    return {p.id: p for p in _catalogue().providers}


def _provider_at(base_url: str) -> str | None:
    return next((p.id for p in _catalogue().providers if p.url and re.match(p.url, base_url)), None)


def _matches(clause: Clause, id: str) -> bool:
    kind, what = clause
    if isinstance(what, list):
        return (any if kind == "or" else all)(_matches(one, id) for one in what)
    if kind == "regex":
        return re.search(what, id) is not None
    what = what.lower()
    if kind == "equals":
        return id == what
    if kind == "starts_with":
        return id.startswith(what)
    if kind == "ends_with":
        return id.endswith(what)
    return kind == "contains" and what in id


# -- where it comes from ----------------------------------------------------------------


@cache
def _catalogue() -> _Catalogue:
    kept = _kept_file()
    try:
        return msgspec.msgpack.decode(kept.read_bytes(), type=_Catalogue)
    except (OSError, msgspec.DecodeError):
        made = _read_package()
        _keep(kept, made)
        return made


@cache
def _version() -> str:
    return version("genai-prices")


def _kept_file() -> Path:
    """One file per version of the data, of Swath's extract, and per day: prices have dates."""
    name = f"prices-{_version()}-{_FORMAT}-{windows.DATE}-{_today().isoformat()}.msgpack"
    return cache_dir() / name


def _keep(path: Path, made: _Catalogue) -> None:
    """Write it whole or not at all; a disk that refuses only costs the next start some time."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for old in path.parent.glob("prices-*.msgpack"):
            old.unlink(missing_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix="prices-")
        with os.fdopen(handle, "wb") as file:
            file.write(msgspec.msgpack.encode(made))
        os.replace(name, path)
    except OSError:
        return


def _today() -> date:
    return datetime.now(UTC).date()


def _read_package() -> _Catalogue:
    from genai_prices.data import providers

    today = _today()
    changes = {
        start
        for provider in providers
        for model in provider.models
        for start in (_start(p) for p in _conditional(model))
        if start is not None and start <= min(today, _installed())
    }
    return _Catalogue(
        date=max(changes, default=_installed()).isoformat(),
        providers=[_provider_of(p, today) for p in providers],
    )


def _installed() -> date:
    """When the package's data was put here: no change in it is younger."""
    spec = find_spec("genai_prices.data")
    if spec is None or spec.origin is None:
        return _today()
    return datetime.fromtimestamp(Path(spec.origin).stat().st_mtime, UTC).date()


def _provider_of(provider: Any, today: date) -> _Provider:
    listed = []
    for model in provider.models:
        prices = _price_today(model, today)
        window, most = windows.row(provider.id, model.id)
        entry = Entry(
            provider=provider.id,
            id=model.id,
            name=model.name or "",
            price=_price_of(model.id, prices),
            context_window=model.context_window or window,
            max_output_tokens=most,
            modalities=_modalities(model.id, prices),
            deprecated=bool(getattr(model, "deprecated", False)),
        )
        listed.append(_Listed(entry, _clause(model.match)))
    lenders = list(getattr(provider, "fallback_model_providers", None) or ())
    return _Provider(provider.id, provider.api_pattern, listed, lenders)


def _conditional(model: Any) -> Sequence[Any]:
    return model.prices if isinstance(model.prices, list) else ()


def _start(conditional: Any) -> date | None:
    found = getattr(conditional.constraint, "start_date", None)
    return found if isinstance(found, date) else None


def _price_today(model: Any, today: date) -> Any:
    """The last price that has begun. Those of a time of day are exceptions to the standard; where
    there is nothing else, the dearest."""
    if not isinstance(model.prices, list):
        return model.prices
    holding = [
        p.prices
        for p in model.prices
        if p.constraint is None or ((start := _start(p)) is not None and start <= today)
    ]
    if holding:
        return holding[-1]
    others = (p.prices for p in model.prices)
    return max(others, key=lambda p: _dollars(p, "input_mtok") or 0.0, default=None)


def _price_of(id: str, prices: Any) -> Price | None:
    starts = {
        tier.start for key in _PRICED for tier in getattr(getattr(prices, key, None), "tiers", ())
    }
    base = _tier(prices, 0)
    if base is None:
        return _FREE if id.endswith(":free") else None
    if not starts:
        return base
    return msgspec.structs.replace(base, long_from=min(starts), long=_tier(prices, max(starts)))


_PRICED = ("input_mtok", "output_mtok", "cache_read_mtok", "cache_write_mtok")


def _tier(prices: Any, tokens: int) -> Price | None:
    """The price of a prompt of so many tokens."""
    read, written, cached, stored = (_dollars(prices, key, tokens) for key in _PRICED)
    if read is None and written is None:
        return None
    return Price(input=read or 0.0, output=written or 0.0, cached_input=cached, cache_write=stored)


def _dollars(prices: Any, key: str, tokens: int = 0) -> float | None:
    amount = getattr(prices, key, None)
    dollars = getattr(amount, "base", amount)
    for tier in getattr(amount, "tiers", ()):  # in ascending order
        if tokens >= tier.start:
            dollars = tier.price
    return None if dollars is None else float(dollars)


def _modalities(id: str, prices: Any) -> tuple[str, ...]:
    """As far as what is priced tells: text, embedding, image, audio, video."""
    priced = " ".join(k for k, v in vars(prices).items() if v is not None) if prices else ""
    found = ["embedding" if "embed" in id else "text"] if "put_mtok" in priced else []
    return (*found, *(m for m in ("image", "audio", "video") if m in priced))


def _clause(clause: Any) -> Clause:
    for kind, attribute in (("or", "or_"), ("and", "and_")):
        if (parts := getattr(clause, attribute, None)) is not None:
            return (kind, [_clause(part) for part in parts])
    for kind in ("equals", "starts_with", "ends_with", "contains", "regex"):
        if (text := getattr(clause, kind, None)) is not None:
            return (kind, text)
    return ("none", "")
