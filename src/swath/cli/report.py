"""What a run came to: a few lines for people on stderr, and `run.json` for programs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from swath.cli import console
from swath.errors import OutputError

if TYPE_CHECKING:
    from swath.frames.result import FrameRun

NAMED = 5  # failures in the summary; all of them are in the report


class Report:
    """`path` is where the JSON goes, None for nowhere. Checked before anything is spent."""

    def __init__(self, path: str | None, source: str) -> None:
        self.name = f"enrich {Path(source).name}"
        self._path: Path | None = None
        if path is not None:
            from swath.frames import writers

            self._path = writers.writable(path)

    def write(self, run: FrameRun) -> None:
        """Totals, how it ended, and every failure by row, column and model."""
        if self._path is None:
            return
        value = {
            **msgspec.to_builtins(run.metrics),
            "status": run.status,
            "run": run.id,
            "by_model": msgspec.to_builtins(run.by_model),
            "notes": run.notes,
            "errors": run.errors.to_dicts(),
        }
        try:
            self._path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", "utf-8")
        except OSError as error:
            raise OutputError(
                f"The report '{self._path}' cannot be written: {error.strerror}.",
                hint="The table is written; the numbers are in `swath runs`.",
            ) from None

    def summarize(self, run: FrameRun) -> None:
        for line in lines(run):
            console.note(line)


def lines(run: FrameRun) -> list[str]:
    """The summary: rows, failures by name, calls, tokens, dollars, time."""
    m = run.metrics
    return [
        f"{console.count(m.rows, 'row')}: {m.ok:,} ok, {m.failed:,} failed.",
        *failures(run),
        f"{console.count(m.calls, 'call')}, {m.cached:,} from the store,"
        f" {console.count(m.retries, 'retry', 'retries')}."
        f" {m.input_tokens:,} tokens in, {m.output_tokens:,} out."
        f" {console.dollars(m.cost_usd)}, {console.duration(m.seconds)}.",
        *(f"Note: {text}, {console.count(n, 'time')}." for text, n in run.notes.items()),
    ]


def failures(run: FrameRun) -> list[str]:
    """The first failed cells, a line each."""
    first = run.errors.head(NAMED).iter_rows(named=True)
    named = [f"  row {f['row']}, {f['column']} ({f['model']}): {f['reason']}" for f in first]
    rest = run.errors.height - NAMED
    return [*named, f"  and {rest:,} more"] if rest > 0 else named
