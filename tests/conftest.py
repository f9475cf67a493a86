"""Sessions over local servers; no test reaches a configured provider or the user's own store."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from swath.session import Session
from tests.servers import Server

Open = Callable[..., Session]

# How fast a machine is decides no test.
settings.register_profile("swath", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("swath")


@pytest.fixture(autouse=True)
def _apart(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Each test in a folder of its own, with no keys and no config of the user's."""
    monkeypatch.chdir(tmp_path)
    for name in ("OPENAI", "ANTHROPIC", "GEMINI", "GOOGLE", "GROQ", "OPENROUTER"):
        monkeypatch.delenv(f"{name}_API_KEY", raising=False)
    for name in ("SWATH_CONFIG", "SWATH_STORE", "SWATH_CHECK_KEYS"):
        monkeypatch.delenv(name, raising=False)


def model_table(server: Server, **settings: Any) -> dict[str, Any]:
    """A `[models.x]` table that asks `server`."""
    formats = {"OpenAIServer": "openai", "AnthropicServer": "anthropic", "GoogleServer": "google"}
    provider = getattr(server, "dialect", None) or formats[type(server).__name__]
    ids = {"anthropic": "claude-haiku-4-5", "google": "gemini-2.5-flash"}
    return {
        "provider": provider,
        "model": ids.get(provider, "gpt-4.1-nano"),
        "base_url": server.base_url,
        "price": {"input": 1.0, "output": 4.0},
    } | settings


@pytest.fixture
def open_session(tmp_path: Path) -> Iterator[Open]:
    """open_session(fast=server, slow=(server, {"timeout": 1}), store=…, top={…}) -> Session"""
    opened: list[Session] = []

    def open_(
        store: str | None = None,
        check: bool = False,
        top: Mapping[str, Any] | None = None,
        **models: Any,
    ) -> Session:
        tables = {}
        for alias, given in models.items():
            server, settings = given if isinstance(given, tuple) else (given, {})
            tables[alias] = model_table(server, **settings)
        config = {"models": tables, "store": store or f"sqlite:///{tmp_path}/swath.db"}
        config |= top or {}
        session = Session(config, check=check)
        opened.append(session)
        return session

    yield open_
    for session in opened:
        session.close()
