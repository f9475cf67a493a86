"""The command line. One file a command; what a command needs is imported inside it."""

from __future__ import annotations

import sys
from collections.abc import Sequence

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> None:
    """The `swath` command; see `swath.cli.app.run` for the exit status."""
    from swath.cli.app import run

    sys.exit(run(sys.argv[1:] if arguments is None else arguments))
