"""Module-level doors: `swath.complete` and its like, on the current session."""

from __future__ import annotations

from typing import Any

from swath.messages import Completion
from swath.session import Prompt, Stream, current


def complete(prompt: Prompt, **settings: Any) -> Completion:
    """Ask a model and wait for the answer; see `Session.acomplete` for the settings."""
    return current().complete(prompt, **settings)


async def acomplete(prompt: Prompt, **settings: Any) -> Completion:
    """`complete` for running event loops."""
    return await current().acomplete(prompt, **settings)


def stream(prompt: Prompt, **settings: Any) -> Stream:
    """The answer as it is written: `for chunk in …` or `async for chunk in …`."""
    return current().stream(prompt, **settings)
