"""Options that several commands share, and the ledger for those that only look at it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from swath.config import Config
    from swath.store import Store

ConfigPath = Annotated[
    str | None,
    typer.Option("--config", metavar="FILE", help="A swath.toml; else the nearest one is used."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for other programs.")]


def store_file(config: Config) -> Path | None:
    """Where the store is or will be; None where it is no file."""
    scheme, _, rest = config.store.partition("://")
    return config.base / Path(rest[1:]).expanduser() if scheme == "sqlite" else None


def ledger(config: Config) -> Store | None:
    """The store with the ledger, or None where nothing was ever asked: none is made for a look."""
    from swath.store import open_store

    file = store_file(config)
    if file is not None and not file.is_file():
        return None
    return open_store(config.store, config.base)


def nothing_yet(config: Config) -> str:
    """What to say where there is no ledger."""
    where = config.path or "no swath.toml here"
    return f"There are no calls yet in {config.store} ({where}). Make some with: swath demo"
