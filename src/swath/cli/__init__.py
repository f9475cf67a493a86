"""The command line. One file a command; what a command needs is imported inside it."""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> None:
    """The `swath` command; see `swath.cli.app.run` for the exit status."""
    from swath.cli.app import run

    # A run stops cleanly on both, and also where a script's shell has told its background jobs to
    # ignore Ctrl-C: whoever sends a signal means it.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))
