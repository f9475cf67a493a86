"""Context windows and output limits that the price catalogue does not have.

What was known on the date below of the providers' published limits; not checked against their
pages one by one, so a figure in the config wins. A row is (prefix of the model id, context window,
most output tokens); the longest prefix wins. None means that Swath does not check.
"""

from __future__ import annotations

DATE = "2026-11-24"

Row = tuple[str, int | None, int | None]

WINDOWS: dict[str, tuple[Row, ...]] = {
    "openai": (
        ("gpt-3.5-turbo", 16_385, 4_096),
        ("gpt-4-turbo", 128_000, 4_096),
        ("gpt-4o", 128_000, 16_384),
        ("gpt-4o-2024-05-13", 128_000, 4_096),
        ("gpt-4.1", 1_047_576, 32_768),
        ("gpt-5", 400_000, 128_000),
        ("gpt-5-chat", 128_000, 16_384),
        ("o1", 200_000, 100_000),
        ("o3", 200_000, 100_000),
        ("o4-mini", 200_000, 100_000),
        ("text-embedding-3", 8_192, None),
        ("text-embedding-ada-002", 8_192, None),
    ),
    "anthropic": (
        ("claude-3-haiku", 200_000, 4_096),
        ("claude-3-5-haiku", 200_000, 8_192),
        ("claude-3-5-sonnet", 200_000, 8_192),
        ("claude-3-7-sonnet", 200_000, 64_000),
        ("claude-opus-4", 200_000, 32_000),
        ("claude-sonnet-4", 200_000, 64_000),
        ("claude-opus-4-5", 200_000, 64_000),
        ("claude-haiku-4-5", 200_000, 64_000),
        ("claude-opus-4-6", 1_000_000, 128_000),
        ("claude-sonnet-4-6", 1_000_000, 64_000),
        ("claude-sonnet-5", 1_000_000, 128_000),
    ),
    "google": (
        ("gemini-2.0-flash", 1_048_576, 8_192),
        ("gemini-2.5-flash", 1_048_576, 65_536),
        ("gemini-2.5-flash-image", 32_768, 32_768),
        ("gemini-2.5-pro", 1_048_576, 65_536),
        ("gemini-3-flash", 1_048_576, 65_536),
        ("gemini-3-pro", 1_048_576, 65_536),
        ("gemini-3.5-flash", 1_048_576, 65_536),
        ("gemini-embedding-001", 2_048, None),
        ("gemma-3-", 131_072, 8_192),
    ),
    "groq": (
        ("llama-3.1-8b-instant", 131_072, 131_072),
        ("llama-3.3-70b-versatile", 131_072, 32_768),
        ("meta-llama/llama-4-scout-17b-16e-instruct", 131_072, 8_192),
        ("meta-llama/llama-4-maverick-17b-128e-instruct", 131_072, 8_192),
        ("openai/gpt-oss-120b", 131_072, 65_536),
        ("openai/gpt-oss-20b", 131_072, 65_536),
        ("gemma2-9b-it", 8_192, 8_192),
    ),
}


def row(provider: str, model_id: str) -> tuple[int | None, int | None]:
    """(context window, most output tokens) of the longest prefix that fits; else (None, None)."""
    fits = [r for r in WINDOWS.get(provider, ()) if model_id.startswith(r[0])]
    best = max(fits, key=lambda r: len(r[0]), default=None)
    return (best[1], best[2]) if best else (None, None)
