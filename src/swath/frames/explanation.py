"""`Explanation`: what `explain` found, as fields and as text."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape

from swath.frames.load import OperatorCost
from swath.frames.optimize import Done
from swath.frames.plan import Plan


@dataclass(frozen=True)
class Explanation:
    """Estimates, before anything is spent; `print` it. `rows` come out at the end. `costs` has an
    entry per operator, `rules` what the optimizer did, `assumptions` what could not be known."""

    plan: Plan
    rows: float
    lines: list[tuple[str, float | None, OperatorCost | None]]
    costs: list[OperatorCost]
    rules: list[Done]
    assumptions: list[str]
    seconds: float
    prices: dict[str, str]

    @property
    def calls(self) -> int:
        return round(sum(cost.calls for cost in self.costs))

    @property
    def stored(self) -> int:
        """Questions whose answers are there already."""
        return round(sum(cost.stored for cost in self.costs))

    @property
    def input_tokens(self) -> int:
        return round(sum(cost.input_tokens for cost in self.costs))

    @property
    def output_tokens(self) -> int:
        return round(sum(cost.output_tokens for cost in self.costs))

    @property
    def cost_usd(self) -> float:
        return sum(cost.cost_usd for cost in self.costs)

    @property
    def minutes(self) -> float:
        return self.seconds / 60

    def __str__(self) -> str:
        table = [("", "rows", "model", "calls", "tokens in", "out", "dollars")]
        for text, rows, cost in self.lines:
            shown = text if len(text) <= 60 else text[:59] + "…"
            count = "" if rows is None else f"{rows:,.0f}"
            if cost is None:
                table.append((shown, count, "", "", "", "", ""))
            else:
                table.append(
                    (
                        shown,
                        count,
                        cost.model,
                        f"{cost.calls:,.0f}",
                        amount(cost.input_tokens),
                        amount(cost.output_tokens),
                        dollars(cost.cost_usd),
                    )
                )
        widths = [max(len(row[i]) for row in table) for i in range(len(table[0]))]
        lines = [
            "  ".join(
                cell.ljust(width) if i in (0, 2) else cell.rjust(width)
                for i, (cell, width) in enumerate(zip(row, widths, strict=True))
            ).rstrip()
            for row in table
        ]
        lines += ["", self.total]
        if self.rules:
            lines += ["", "What the rules did:", *(f"  {done}" for done in self.rules)]
        if self.assumptions:
            lines += ["", "Assumed:", *(f"  {line}" for line in self.assumptions)]
        if self.prices:
            told = ", ".join(f"{alias} ({source})" for alias, source in self.prices.items())
            lines += ["", f"Prices: {told}."]
        return "\n".join(lines)

    @property
    def total(self) -> str:
        """One line."""
        stored = f" ({self.stored:,} more are stored already)" if self.stored else ""
        return (
            f"About {self.calls:,} calls{stored}, {amount(self.input_tokens)} tokens in, "
            f"{amount(self.output_tokens)} out, {dollars(self.cost_usd)}, "
            f"{duration(self.seconds)}. Nothing was spent."
        )

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return f"<pre>{escape(str(self))}</pre>"


def amount(count: float) -> str:
    """1,234 or 56k or 7.8M."""
    if count < 10_000:
        return f"{count:,.0f}"
    return f"{count / 1e3:,.0f}k" if count < 1e6 else f"{count / 1e6:,.1f}M"


def dollars(value: float) -> str:
    return f"${value:,.2f}" if value >= 1 else f"${value:.4f}"


def duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} seconds" if seconds >= 1.5 else "a second or so"
    return f"{seconds / 60:.0f} minutes" if seconds < 5400 else f"{seconds / 3600:.1f} hours"
