"""What an evaluation asks and spends: every part of it draws on one budget."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from swath.engine.run import Metrics, Run
from swath.errors import BudgetReached
from swath.messages import EmbedRequest

if TYPE_CHECKING:
    from swath.frames import Frame
    from swath.frames.result import FrameRun
    from swath.session import Session

_COUNTED = (
    "calls", "cached", "retries", "input_tokens", "cached_input_tokens", "output_tokens",
    "cost_usd", "seconds",
)  # fmt: skip


@dataclass
class Purse:
    """`max_cost` in dollars over all that goes through here; `total` is what it came to."""

    session: Session
    max_cost: float | None = None
    progress: Any = None
    total: Metrics = field(default_factory=Metrics)
    runs: list[str] = field(default_factory=list)

    @property
    def left(self) -> float | None:
        return None if self.max_cost is None else max(self.max_cost - self.total.cost_usd, 0.0)

    def run(self, frame: Frame, name: str) -> FrameRun:
        """Raises BudgetReached, which names the whole budget."""
        try:
            done = frame.run(
                max_cost=self.left, session=self.session, name=name, progress=self.progress
            )
        except BudgetReached as stop:
            if stop.run is not None:
                self.add(stop.run.metrics)
            raise self._empty(stop) from None
        self.add(done.metrics)
        self.runs.append(done.id)
        return done

    def embed(self, texts: Sequence[str], model: str, label: str) -> list[tuple[float, ...]]:
        run = Run(label, max_cost=self.left)
        request = EmbedRequest(model=model, texts=tuple(texts))
        try:
            reply = self.session.call(self.session.engine.embed(request, run=run, label=label))
        except BudgetReached as stop:
            raise self._empty(stop) from None
        finally:
            self.add(run.finish())
        return list(reply.vectors)

    def add(self, metrics: Metrics) -> None:
        for name in _COUNTED:
            setattr(self.total, name, getattr(self.total, name) + getattr(metrics, name))

    def _empty(self, stop: BudgetReached) -> BudgetReached:
        budget = self.max_cost or 0.0
        return BudgetReached(
            f"The evaluation reached its budget of ${budget:g}: ${self.total.cost_usd:.4f} are "
            "spent, and its checks are not complete.",
            budget=budget,
            spent=self.total.cost_usd,
            run=stop.run,
        )
