"""Fetching a local model's weights, with a bar on the terminal."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from swath.cli import console

if TYPE_CHECKING:
    from swath.catalog import Model


def ensure(model: Model) -> None:
    """Fetch the weights of `model` where it is a local one that is not on this machine yet."""
    if model.provider != "local":
        return
    from swath.local import weights

    if weights.is_path(model.id) or weights.present(model.id):
        return
    entry = weights.lookup(model.id)
    console.note(f"Fetching {entry.title} ({console.size(entry.size)}, {entry.licence}), once.")
    pull(model.id)


def pull(name: str) -> Path:
    """Bring `name` into the cache. A bar on a terminal, else silence. Raises WeightsError."""
    from swath.local import weights

    screen = console.err()
    if not screen.is_terminal:
        return weights.pull(name)
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    bar = Progress(
        TextColumn(name),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=screen,
        transient=True,
    )
    with bar:
        task = bar.add_task(name, total=None)
        return weights.pull(name, lambda done, total: bar.update(task, completed=done, total=total))
