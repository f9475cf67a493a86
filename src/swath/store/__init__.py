"""What must outlive the process: responses by content hash, and the ledger of calls and runs."""

from __future__ import annotations

from pathlib import Path

from swath.errors import ConfigError
from swath.store.base import CallRow, PromptRow, PromptUse, RunRow, Store

__all__ = ["CallRow", "PromptRow", "PromptUse", "RunRow", "Store", "open_store"]


def open_store(url: str, base: Path) -> Store:
    """The store at `url`: `sqlite:///relative/or//absolute.db`, `memory://`, `postgresql://…`.

    Relative paths are taken from `base`, the folder of swath.toml. Raises StoreError or
    ConfigError.
    """
    scheme, _, rest = url.partition("://")
    if scheme == "sqlite" and rest.startswith("/") and len(rest) > 1:
        from swath.store.sqlite import SqliteStore

        return SqliteStore(base / Path(rest[1:]).expanduser())
    if scheme == "memory":
        from swath.store.sqlite import SqliteStore

        return SqliteStore(None)
    if scheme in ("postgresql", "postgres"):
        from swath.store.postgres import PostgresStore

        return PostgresStore(url)
    raise ConfigError(
        f"The store '{scheme}://…' is not known.",
        hint='Use "sqlite:///.swath/swath.db", "postgresql://…" or "memory://".',
    )
