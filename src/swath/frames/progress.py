"""How far a run is: numbers for a callback, and a bar on a terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TextIO

from swath.engine.run import Run


@dataclass
class StageProgress:
    """Rows of one stage. `total` is None until it is known."""

    columns: Sequence[str]
    total: int | None = None
    seen: int = 0
    completed: int = 0
    failures: int = 0

    def rows(self, count: int) -> None:
        self.seen += count

    def done(self, count: int) -> None:
        self.completed += count

    def failed(self, count: int) -> None:
        self.failures += count

    def close(self) -> None:
        """No more rows come."""
        self.total = self.seen


@dataclass
class Progress:
    """What a progress callback is given, at most ten times a second and at the end.

    `done` counts rows of the stage that is furthest behind, `total` rows that enter it."""

    run: Run
    stages: list[StageProgress] = field(default_factory=list)
    expected: int | None = None  # rows of the source, where they are known
    on_show: Callable[[Progress], None] | None = None
    entry: StageProgress | None = None
    _shown: float = 0.0

    def stage(self, columns: Sequence[str], *, entry: bool) -> StageProgress:
        """A stage that begins; `entry`: the first one of the run's own table."""
        made = StageProgress(columns, self.expected if entry else None)
        self.stages.append(made)
        if entry:
            self.entry = made
        return made

    @property
    def done(self) -> int:
        return min((s.completed for s in self.stages), default=0)

    @property
    def total(self) -> int | None:
        totals = [s.total for s in self.stages]
        return totals[-1] if totals and all(t is not None for t in totals) else None

    @property
    def failures(self) -> int:
        return sum(s.failures for s in self.stages)

    @property
    def cost_usd(self) -> float:
        return self.run.metrics.cost_usd

    def show(self, *, last: bool = False) -> None:
        if self.on_show is None:
            return
        now = time.monotonic()
        if last or now - self._shown >= 0.1:
            self._shown = now
            self.on_show(self)


class Bar:
    """A bar for each stage, with money and failures."""

    def __init__(self, stream: TextIO | None = None) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as RichProgress

        self._rich = RichProgress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
            console=Console(file=stream or sys.stderr),
            auto_refresh=False,
        )
        self._tasks: list[Any] = []

    def __call__(self, progress: Progress) -> None:
        if not self._tasks:
            self._rich.start()
        for i, stage in enumerate(progress.stages):
            if i == len(self._tasks):
                name = ", ".join(stage.columns)
                name = name if len(name) <= 40 else name[:39] + "…"
                self._tasks.append(self._rich.add_task(name, total=None, note=""))
            notes = [f"{stage.failures} failed"] if stage.failures else []
            if i == len(progress.stages) - 1:
                notes.append(f"${progress.cost_usd:.4f}")
            self._rich.update(
                self._tasks[i],
                completed=stage.completed,
                total=stage.total,
                note=", ".join(notes),
            )
        self._rich.refresh()

    def close(self) -> None:
        if self._tasks:
            self._rich.stop()


def wanted(progress: object) -> tuple[Callable[[Progress], None] | None, Callable[[], None]]:
    """What shows a run's progress, and what ends it. None: a bar where there is a terminal; True,
    False: a bar or nothing; a callable is called with the `Progress`."""
    if callable(progress):
        return progress, lambda: None
    if progress or (progress is None and sys.stderr.isatty()):
        bar = Bar()
        return bar, bar.close
    return None, lambda: None
