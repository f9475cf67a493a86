"""From predictions to decisions: which model answers each prompt.

Three rules: a threshold on the score (RouteLLM's), predicted quality less the price of the call,
and the best that a budget allows over a batch. All are functions of arrays; none knows a router.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from swath.errors import InputError, listing

Floats = NDArray[np.float64]
Choice = NDArray[np.intp]
STEPS = 60


def by_threshold(scores: Floats, threshold: float) -> NDArray[np.bool_]:
    """Whether the strong model answers: where the score is at least the threshold. Shape (n,)."""
    made: NDArray[np.bool_] = np.asarray(scores) >= threshold
    return made


def by_value(quality: Floats, cost: Floats, rate: float) -> Choice:
    """The model with the most `quality - rate * cost` for each prompt; the cheaper of two equal
    ones. `quality` (n, m); `cost` (m,) or (n, m), in dollars; `rate` in quality a dollar."""
    quality, cost = _checked(quality, cost)
    value = quality - rate * cost
    best = value.max(axis=1, keepdims=True)
    made: Choice = np.where(value >= best - 1e-12, cost, np.inf).argmin(axis=1)
    return made


def within_budget(quality: Floats, cost: Floats, budget: float) -> Choice:
    """The choice of models, one a prompt, with the most predicted quality that costs at most
    `budget` in all. Shape (n,).

    The price of a dollar is found by bisection, and what is then left is spent on the upgrades that
    give most for it. Raises InputError where even the cheapest models cost more.
    """
    quality, cost = _checked(quality, cost)
    rows = np.arange(len(quality))
    least = float(cost.min(axis=1).sum())
    if least > budget * (1 + 1e-12):
        raise InputError(
            f"The cheapest models for these {len(quality):,} prompts cost ${least:.6g}, more than "
            f"the budget of ${budget:.6g}.",
            hint="Give a larger budget, fewer prompts, or a cheaper model.",
        )
    low, high = 0.0, 1.0
    while _spent(cost, by_value(quality, cost, high)) > budget and high < 1e18:
        low, high = high, high * 10
    if _spent(cost, by_value(quality, cost, 0.0)) <= budget:
        return by_value(quality, cost, 0.0)
    for _ in range(STEPS):
        middle = (low + high) / 2
        if _spent(cost, by_value(quality, cost, middle)) > budget:
            low = middle
        else:
            high = middle
    chosen = by_value(quality, cost, high)
    if (spent := _spent(cost, chosen)) > budget:  # qualities so close that no price parts them
        chosen = cost.argmin(axis=1)
        spent = _spent(cost, chosen)
    gain = quality - quality[rows, chosen][:, None]
    extra = cost - cost[rows, chosen][:, None]
    rate = np.where((gain > 0) & (extra > 0), gain / np.maximum(extra, 1e-300), -np.inf)
    for place in np.argsort(-rate, axis=None, kind="stable"):
        row, model = divmod(int(place), quality.shape[1])
        if rate[row, model] == -np.inf:
            break
        more = cost[row, model] - cost[row, chosen[row]]
        better = quality[row, model] > quality[row, chosen[row]]
        if better and spent + more <= budget:
            chosen[row] = model
            spent += more
    return chosen


def costs_of(models: Sequence[str], prices: Mapping[str, float]) -> Floats:
    """Dollars a prompt for each model, in order. Raises InputError where one has no price."""
    for name in models:
        if name not in prices:
            raise InputError(f"There is no cost for '{name}'.", hint=listing(prices, name))
    for name, price in prices.items():
        if name not in models:
            raise InputError(f"The router does not know '{name}'.", hint=listing(models, name))
        if not np.isfinite(price) or price < 0:
            raise InputError(
                f"The cost of '{name}' is {price}.", hint="Give dollars a prompt, 0 or more."
            )
    return np.array([prices[name] for name in models], np.float64)


def _spent(cost: Floats, chosen: Choice) -> float:
    return float(cost[np.arange(len(cost)), chosen].sum())


def _checked(quality: Floats, cost: Floats) -> tuple[Floats, Floats]:
    quality = np.asarray(quality, np.float64)
    cost = np.asarray(cost, np.float64)
    if quality.ndim != 2 or cost.shape not in (quality.shape[1:], quality.shape):
        raise InputError(
            f"Qualities {quality.shape} and costs {cost.shape} do not fit.",
            hint="Give qualities (n, m) and costs (m,) or (n, m).",
        )
    return quality, np.broadcast_to(cost, quality.shape)
