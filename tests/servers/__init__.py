"""Local servers that speak the providers' wire formats, with limits, faults and counters.

    with serve(OpenAIServer(latency=0.05, rpm=600)) as server:
        client = Client(base_url=server.base_url)
        ...
        assert server.stats.answered == 20

`spawn("openai", latency=0.05)` runs one as a process of its own, for benchmarks.
"""

from __future__ import annotations

from .answers import Answer, Call, tokens
from .anthropic import AnthropicServer
from .faults import Fault
from .google import GoogleServer
from .limits import Limits
from .openai import OpenAIServer
from .running import Remote, serve, spawn
from .server import Server
from .stats import Stats, digest

KINDS: dict[str, type[Server]] = {
    "openai": OpenAIServer,
    "anthropic": AnthropicServer,
    "google": GoogleServer,
}

__all__ = [
    "KINDS",
    "Answer",
    "AnthropicServer",
    "Call",
    "Fault",
    "GoogleServer",
    "Limits",
    "OpenAIServer",
    "Remote",
    "Server",
    "Stats",
    "digest",
    "serve",
    "spawn",
    "tokens",
]
