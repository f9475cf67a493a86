"""What the commands print with. Colours only on a terminal, none where NO_COLOR is set."""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

PIPED = 160  # columns


class ClosedPipe(Exception):
    """Whoever read our output has seen enough, as `head` does. Not BrokenPipeError: rich and typer
    would end the process over that, with status 1."""


def out() -> Console:
    """Where results go. A pipe has no width: tables in it are given room, one row a line."""
    from rich.console import Console

    class Out(Console):
        def on_broken_pipe(self) -> None:
            raise ClosedPipe

    if sys.stdout.isatty():
        return Out(highlight=False)
    return Out(width=int(os.environ.get("COLUMNS") or PIPED), highlight=False)


def err() -> Console:
    """Where notes, progress and errors go."""
    from rich.console import Console

    return Console(stderr=True, highlight=False, soft_wrap=True)


def note(text: str) -> None:
    """A line for the reader, beside the result."""
    print(text, file=sys.stderr)


def say(text: str) -> None:
    """A line, or lines, of the result itself."""
    try:
        print(text)
    except BrokenPipeError:
        raise ClosedPipe from None


def say_json(value: Any) -> None:
    say(json.dumps(value, indent=2, ensure_ascii=False, default=str))


def table(*columns: str, right: Sequence[str] = (), wrap: Sequence[str] = ()) -> Table:
    """A plain table: bold heads, no lines. Columns in `right` hold numbers; those in `wrap` give
    way where the terminal is narrow."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    made = Table(
        box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True, header_style="bold", show_edge=False
    )
    for column in columns:
        made.add_column(
            column,
            justify="right" if column in right else "left",
            no_wrap=column not in wrap,
            overflow="ellipsis" if column not in wrap else "fold",
        )
    return made


# -- numbers as people read them


def count(n: int, what: str = "", many: str = "") -> str:
    """1 call, 1,024 calls."""
    return f"{n:,}" if not what else f"{n:,} {what if n == 1 else many or what + 's'}"


def dollars(amount: float | None) -> str:
    """As many digits as the amount needs: $12.30, $0.0042, $0.000027; a dash where unknown."""
    if amount is None:
        return "–"
    if amount == 0 or amount >= 1:
        return f"${amount:,.2f}"
    if amount >= 0.01:
        return f"${amount:.4f}"
    digits = 1 - math.floor(math.log10(amount))
    return f"${amount:.{digits}f}"


def per_million(amount: float | None) -> str:
    """A price per million tokens; "free" where it is nothing."""
    if amount is None:
        return "–"
    if amount == 0:
        return "free"
    return f"${amount:,.2f}" if round(amount, 2) == amount else f"${amount:,.4f}".rstrip("0")


def tokens(n: int | None) -> str:
    """A context window: 128k, 1M."""
    if n is None:
        return "–"
    if n >= 1_000_000:
        return f"{n / 1e6:.3g}M"
    return f"{n / 1000:.0f}k" if n >= 1000 else str(n)


def duration(seconds: float) -> str:
    """40 ms, 12.5 s, 3 min 20 s, 2 h 5 min."""
    if seconds < 1:
        return f"{seconds * 1e3:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    if seconds < 3600:
        return f"{int(seconds // 60)} min {int(seconds % 60)} s"
    return f"{int(seconds // 3600)} h {int(seconds % 3600 // 60)} min"


def size(bytes_: int) -> str:
    """120 kB, 491 MB, 1.12 GB."""
    if bytes_ >= 1e9:
        return f"{bytes_ / 1e9:.2f} GB"
    return f"{bytes_ / 1e6:.0f} MB" if bytes_ >= 1e6 else f"{bytes_ / 1e3:.0f} kB"


def place(path: Path) -> str:
    """A path as people write it: ~ for home."""
    home = Path.home()
    return f"~/{path.relative_to(home)}" if path.is_relative_to(home) else str(path)


def when(at: float) -> str:
    """Unix time as the reader's clock says it: 12:05:15 today, 11-23 12:05 before."""
    then = datetime.fromtimestamp(at)
    return then.strftime("%H:%M:%S" if then.date() == datetime.now().date() else "%m-%d %H:%M")
