"""Providers by name. Each module is imported when its provider is first used."""

from __future__ import annotations

from functools import cache
from importlib import import_module

from swath.errors import ConfigError, listing
from swath.providers.base import Provider

_HOMES = {
    "openai": "swath.providers.openai:OpenAI",
    "groq": "swath.providers.groq:Groq",
    "openrouter": "swath.providers.openrouter:OpenRouter",
    "anthropic": "swath.providers.anthropic:Anthropic",
    "google": "swath.providers.google:Google",
    "vertex": "swath.providers.vertex:Vertex",
}
LOCAL = "local"
NAMES = (*_HOMES, LOCAL)


@cache
def provider(name: str) -> Provider:
    """The wire format called `name`. The local model has none: it runs in process."""
    try:
        module, attribute = _HOMES[name].split(":")
    except KeyError:
        raise ConfigError(f"There is no provider '{name}'.", hint=listing(NAMES, name)) from None
    made: Provider = getattr(import_module(module), attribute)()
    return made
