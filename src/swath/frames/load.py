"""What operators would take: calls, tokens, dollars and seconds, per model."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import polars as pl

if TYPE_CHECKING:
    from swath.session import Session


@dataclass
class ModelLoad:
    """What one model would be asked by one operator."""

    calls: float = 0.0
    input_tokens: float = 0.0
    cached_tokens: float = 0.0  # of the input: what the provider keeps from call to call
    output_tokens: float = 0.0
    cost_usd: float = 0.0
    seconds: float = 0.0  # of all calls, one after the other

    def scaled(self, by: float) -> ModelLoad:
        return ModelLoad(
            self.calls * by,
            self.input_tokens * by,
            self.cached_tokens * by,
            self.output_tokens * by,
            self.cost_usd * by,
            self.seconds * by,
        )


@dataclass
class OperatorCost:
    """`rows` reach the operator and give `questions` distinct ones, of which `stored` are answered
    already; the rest are calls."""

    column: str
    operator: str
    model: str
    rows: float
    questions: float
    stored: float
    loads: dict[str, ModelLoad] = field(default_factory=dict)

    def _sum(self, name: str) -> float:
        return float(sum(getattr(load, name) for load in self.loads.values()))

    @property
    def calls(self) -> float:
        return self._sum("calls")

    @property
    def input_tokens(self) -> float:
        return self._sum("input_tokens")

    @property
    def cached_tokens(self) -> float:
        return self._sum("cached_tokens")

    @property
    def output_tokens(self) -> float:
        return self._sum("output_tokens")

    @property
    def cost_usd(self) -> float:
        return self._sum("cost_usd")

    def scale(self, by: float) -> None:
        self.rows *= by
        self.questions *= by
        self.stored *= by
        self.loads = {model: load.scaled(by) for model, load in self.loads.items()}


def seconds(costs: list[OperatorCost], session: Session) -> float:
    """Wall time: each model's calls at its width, or at its rate limits where those are slower;
    models work at the same time."""
    total: dict[tuple[str, str, str], float] = {}
    for cost in costs:
        for alias, load in cost.loads.items():
            model = session.models[alias]
            tokens = load.input_tokens + load.output_tokens
            paces = [load.seconds / max(min(model.concurrency, load.calls), 1)]
            for limit, used in (
                (model.rpm, load.calls),
                (model.tpm, tokens),
                (model.input_tpm, load.input_tokens),
                (model.output_tpm, load.output_tokens),
            ):
                if limit:
                    paces.append(60 * used / limit)
            total[model.account] = total.get(model.account, 0.0) + max(paces)
    return max(total.values(), default=0.0)


def price_sources(costs: list[OperatorCost], session: Session) -> dict[str, str]:
    """Where each model's price comes from."""
    aliases = dict.fromkeys(alias for cost in costs for alias in cost.loads)
    return {alias: session.models[alias].price_source for alias in aliases}


def saved(with_rule: list[OperatorCost], without: list[OperatorCost], session: Session) -> str:
    """In words, what the first take less than the second; empty where that is nothing."""
    calls = sum(c.calls for c in without) - sum(c.calls for c in with_rule)
    dollars = sum(c.cost_usd for c in without) - sum(c.cost_usd for c in with_rule)
    time = seconds(without, session) - seconds(with_rule, session)
    parts = [f"about {calls:,.0f} calls"] if calls >= 0.5 else []
    if dollars >= 0.00005:
        parts.append(f"${dollars:,.2f}" if dollars >= 1 else f"${dollars:.4f}")
    if not parts and time >= 1:
        parts.append(f"{time:,.0f} seconds")
    return " and ".join(parts)


def placeholder(dtype: Any, chars: int, number: int) -> Any:
    """A value such as a model might give, for what is asked of it next; texts differ by `number`,
    as answers to different questions do."""
    if isinstance(dtype, pl.Struct):
        each = max(chars // max(len(dtype.fields), 1), 4)
        return {f.name: placeholder(f.dtype, each, number) for f in dtype.fields}
    if isinstance(dtype, pl.List):
        return [placeholder(dtype.inner, max(chars // 2, 4), number)] * 2
    if dtype == pl.String:
        return f"{number} ".ljust(chars, "x")
    if dtype.is_temporal():
        return pl.Series([0]).cast(dtype)[0]
    return True if dtype == pl.Boolean else 1
