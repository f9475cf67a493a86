"""`python -m swath`: the command line."""

from __future__ import annotations

from swath.cli import main

main()
