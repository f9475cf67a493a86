"""`Models`: the names that `model=` takes, resolved to what is asked."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from swath.catalog.model import Model, Price, Secret
from swath.catalog.routed import ROUTED, Route, route_of
from swath.config import Config, ModelConfig, RouterConfig
from swath.errors import ConfigError, KeyMissing, UnknownModel, listing
from swath.providers import LOCAL, NAMES, provider

LOCAL_SLOTS = 4
WAITING = 2  # calls a slot, so that it can choose one that begins like the last
LOCAL_DEADLINE = 1800.0  # seconds: nothing is gained by giving up on this machine's own work


class Models(Mapping[str, Model]):
    """Models by name. A name is an alias of the config, `alias:profile`, `local`,
    `provider/model-id` for a model that the config does not list, or one that leaves the choice to
    a router (`auto`, see routed.py): its model is asked nothing itself."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._known: dict[str, Model] = {}
        self.default = config.default_model

    def __getitem__(self, name: str) -> Model:
        known = self._known.get(name)
        if known is None:
            known = self._known[name] = self._resolve(name)
        return known

    def __iter__(self) -> Iterator[str]:
        yield from self._config.models
        if LOCAL not in self._config.models:
            yield LOCAL

    def __len__(self) -> int:
        return len(list(iter(self)))

    def __contains__(self, name: object) -> bool:
        try:
            return isinstance(name, str) and bool(self[name])
        except ConfigError:
            return False

    def configured(self, name: str) -> ModelConfig:
        """The config table behind `name`, profile applied."""
        config = self._config.models
        section = config.get(name)
        if section is not None:
            return section
        alias, _, profile = name.partition(":")
        if profile and alias in config:
            return _with_profile(config[alias], alias, profile)
        if name == LOCAL:
            from swath.local.weights import DEFAULT_CHAT

            return ModelConfig(provider=LOCAL, model=DEFAULT_CHAT)
        which, _, model_id = name.partition("/")
        if model_id and which in NAMES:
            return ModelConfig(provider=which, model=model_id)
        raise UnknownModel(
            f"There is no model '{name}'.",
            hint=f"{listing(self, name)} Or name one directly: provider/model-id; or auto.",
        )

    @property
    def router(self) -> RouterConfig:
        """What such names mean in this config."""
        return self._config.router

    @property
    def base(self) -> Path:
        """The folder that the config's paths start at."""
        return self._config.base

    @property
    def configured_names(self) -> tuple[str, ...]:
        """The aliases that the config itself lists."""
        return tuple(self._config.models)

    def use_router(self, artifact: str) -> None:
        """Let `auto` mean the router in this file, or `default`, from now on."""
        where = artifact if artifact == "default" else str(Path(artifact).resolve())
        router = msgspec.structs.replace(self._config.router, artifact=where)
        self._config = msgspec.structs.replace(self._config, router=router)

    def route(self, name: str) -> Route | None:
        """What a name that leaves the choice open asks for; None for any other."""
        if name.partition(":")[0] in self._config.models:
            return None
        return route_of(name)

    def key(self, section: ModelConfig) -> tuple[str, Secret]:
        """(variable, key); the key is empty where the variable is not set."""
        variable = section.api_key_env or (
            "" if section.provider == LOCAL else provider(section.provider).key_env
        )
        value = os.environ.get(variable) or self._config.env.get(variable) or ""
        return variable, Secret(value.strip())

    def require_key(self, name: str) -> None:
        """Raises KeyMissing where the model needs a key that is not set."""
        if self.route(name) is not None:
            return  # those of the models it may choose are looked at when it does
        section = self.configured(name)
        variable, key = self.key(section)
        needed = section.base_url is None or section.api_key_env is not None
        if section.provider not in (LOCAL, "vertex") and needed and not key:
            raise KeyMissing(
                f"The key of {section.provider} for the model '{name}' is not set.",
                hint=f"Set {variable} in the environment or in .env"
                " (or api_key_env to the variable you use).",
            )

    def _resolve(self, name: str) -> Model:
        if self.route(name) is not None:
            return self._open(name)
        section = self.configured(name)
        local = section.provider == LOCAL
        where = self._local(section) if local else self._remote(name, section)
        for key in ("rpm", "tpm", "input_tpm", "output_tpm", "fallback"):
            where[key] = getattr(section, key)
        model = Model(
            alias=name,
            provider=section.provider,
            id=section.model,
            options=section.options,
            defaults=section.defaults,
            **where,
        )
        if not local:
            return provider(model.provider).authorize(model)
        from swath.local.backend import context_window

        window = section.context_window or context_window(model)
        return msgspec.structs.replace(model, context_window=window)

    def _open(self, name: str) -> Model:
        """The model of a name that leaves the choice open: as wide as its models together, and
        with the window of the smallest."""
        router = self._config.router
        named = [n for n in (router.weak, router.strong, *router.models.values()) if n]
        aliases = dict.fromkeys(named or self._config.models)
        found = [self[alias] for alias in aliases if alias in self]
        windows = [model.context_window for model in found if model.context_window]
        return Model(
            alias=name,
            provider=ROUTED,
            id=name,
            base_url="",
            concurrency=sum(model.concurrency for model in found) or 1,
            context_window=min(windows, default=None),
        )

    @staticmethod
    def _local(section: ModelConfig) -> dict[str, Any]:
        return {
            "base_url": "",
            "concurrency": section.concurrency
            or WAITING * int(section.options.get("slots", LOCAL_SLOTS)),
            "timeout": section.timeout,
            "deadline": max(section.deadline, LOCAL_DEADLINE),
            "price": section.price or Price(input=0.0, output=0.0),
            "price_source": "local" if section.price is None else "config",
            "max_output_tokens": section.max_output_tokens,
        }

    def _remote(self, name: str, section: ModelConfig) -> dict[str, Any]:
        from swath.catalog import prices

        self.require_key(name)
        variable, key = self.key(section)
        catalogued = (section.provider, section.model, section.base_url or "")
        price, source = section.price, "config"
        if price is None:
            price = prices.price(*catalogued)
            source = f"catalogue of {prices.catalogue_date()}" if price else "unknown"
        return {
            "base_url": (section.base_url or provider(section.provider).base_url).rstrip("/"),
            "api_key_env": variable,
            "key": key,
            "concurrency": section.concurrency or 64,
            "timeout": section.timeout,
            "deadline": section.deadline,
            "price": price,
            "price_source": source,
            "context_window": section.context_window or prices.context_window(*catalogued),
            "max_output_tokens": section.max_output_tokens or prices.max_output(*catalogued),
        }


def _with_profile(section: ModelConfig, alias: str, profile: str) -> ModelConfig:
    """A profile overrides the model's own keys; those of the provider go to its options."""
    changes = section.profiles.get(profile)
    if changes is None:
        raise UnknownModel(
            f"The model '{alias}' has no profile '{profile}'.",
            hint=listing(section.profiles, profile),
        )
    fields = {f.name for f in msgspec.structs.fields(ModelConfig)} - {"profiles", "provider"}
    own = {key: value for key, value in changes.items() if key in fields}
    options = {key: value for key, value in changes.items() if key not in fields}
    table = {
        **msgspec.to_builtins(section),
        **own,
        "options": {**section.options, **own.get("options", {}), **options},
    }
    try:
        return msgspec.convert(table, ModelConfig)
    except msgspec.ValidationError as error:
        raise ConfigError(
            f"models.{alias}.profiles.{profile}: {error}.",
            hint="A profile holds the keys that a model holds.",
        ) from None
