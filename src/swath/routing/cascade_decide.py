"""Which model to ask next, or whether to stop: routing and cascading as one decision.

Every model i costs c_i, and its answer turns out to be worth P_i: how good the answer looks once it
is seen. Before it is asked only the distribution of P_i is known, here as K equally likely atoms
(a belief). The best answer seen is given; a rate says how much quality a dollar is worth. Routing
is the case in which answers cannot be judged (each P_i is one number), a cascade the case of a
fixed order.

Two rules. `by_reservation` is Weitzman's ("Optimal Search for the Best Alternative", Econometrica
1979): ask in the order of reservation values z_i, E[max(P_i - z_i, 0)] = rate * c_i, until the best
answer seen is worth the largest of those left. For independent P_i no other rule does better on
average. `by_supermodel` is that of Dekoninck, Baader and Vechev, "A Unified Approach to Routing
and Cascading for LLMs" (arXiv 2410.10347): the set of models with the largest E[max P] - rate *
cost, of which the cheapest is asked first. It takes a set to be asked as a whole, and so
undervalues a cheap first try; what it knows of stopping it learns by deciding again after each
answer.

All are functions of arrays; none knows a router.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from swath.errors import InputError

Floats = NDArray[np.float64]
Choice = NDArray[np.intp]
Rule = Callable[[Floats, Floats, Floats, float], Choice]
Beliefs = Callable[[Floats], Floats]
"""What is seen so far (n, m), NaN where a model was not asked, to beliefs (n, m, K)."""

STOP = -1
LEVEL = 1e-12  # a smaller gain is none
MOST = 12  # models that `by_supermodel` takes: their subsets are gone through
RATES, STEPS = 41, 8  # that are tried when one is fitted, and of bisection between two


def reservation(belief: Floats, cost: Floats, rate: float) -> Floats:
    """The value that the best answer seen must have for model i not to be worth asking. Shape
    (n, m); `belief` (n, m, K), `cost` (m,) or (n, m) in dollars, `rate` in quality a dollar.

    E[max(P - z, 0)] is the largest of (sum of the k best atoms - k z) / K over k, so that the z at
    which it equals the price is the largest of (that sum - K * price) / k.
    """
    belief, cost = _checked(belief, cost)
    count = belief.shape[2]
    best = np.cumsum(np.sort(belief, axis=2)[:, :, ::-1], axis=2)
    price = count * rate * cost[:, :, None]
    made: Floats = ((best - price) / np.arange(1, count + 1)).max(axis=2)
    return made


def by_reservation(seen: Floats, belief: Floats, cost: Floats, rate: float) -> Choice:
    """The model to ask next, or `STOP`; the cheaper of two equal ones. Shape (n,).

    `seen` (n, m) is how good the answers look that are there, NaN where none is: something is
    always asked where nothing was.
    """
    belief, cost = _checked(belief, cost)
    worth = np.where(np.isnan(seen), reservation(belief, cost, rate), -np.inf)
    top = worth.max(axis=1)
    equal = worth >= (top - LEVEL)[:, None]
    chosen: Choice = np.where(equal & np.isfinite(worth), cost, np.inf).argmin(axis=1)
    return np.where(top > _best(seen) + LEVEL, chosen, STOP)


def by_supermodel(seen: Floats, belief: Floats, cost: Floats, rate: float) -> Choice:
    """The paper's rule; arguments and result as in `by_reservation`. Raises InputError for more
    than 12 models.

    Of the sets of models not asked yet the one with the largest E[max] - rate * cost is looked for;
    the cheapest of it is asked. What a model adds to a set never grows with the set, so that a set
    with a member that is not worth its price, and all larger ones, need not be looked at.
    """
    belief, cost = _checked(belief, cost)
    n, m = cost.shape
    if m > MOST:
        raise InputError(
            f"Sets of {m} models are too many to go through.", hint=f"Give {MOST} at most."
        )
    free, best = np.isnan(seen), _best(seen)
    floor = np.where(np.isfinite(best), best, belief.min(axis=(1, 2)))
    value: dict[tuple[int, ...], Floats] = {(): floor}  # less the price of the set
    alive: dict[tuple[int, ...], NDArray[np.bool_]] = {(): np.ones(n, np.bool_)}
    top = np.where(np.isfinite(best), best, -np.inf)
    chosen: Choice = np.full(n, STOP, np.intp)
    for size in range(1, m + 1):
        for members in combinations(range(m), size):
            parts = [members[:i] + members[i + 1 :] for i in range(size)]
            if any(part not in alive for part in parts):
                continue
            live: NDArray[np.bool_] = np.asarray(free[:, members].all(axis=1), np.bool_)
            for part in parts:
                live = live & alive[part]
            rows = np.flatnonzero(live)
            if not len(rows):
                continue
            own = np.full(n, -np.inf)
            price = rate * cost[rows][:, members].sum(axis=1)
            own[rows] = expected_best(floor[rows], belief[rows][:, members]) - price
            if size > 1:
                live = live & np.stack([own > value[part] + LEVEL for part in parts]).all(axis=0)
            value[members], alive[members] = own, live
            better = live & (own > top + LEVEL)
            top = np.where(better, own, top)
            cheapest = np.array(members)[cost[:, members].argmin(axis=1)]
            chosen = np.where(better, cheapest, chosen)
    return chosen


def expected_best(best: Floats, belief: Floats) -> Floats:
    """E[max(best, P_1, …, P_k)] of independent P. Shape (n,); `best` (n,), `belief` (n, k, K)."""
    n, k, count = belief.shape
    flat = np.concatenate([best[:, None], belief.reshape(n, k * count)], axis=1)
    at = np.sort(np.maximum(flat, best[:, None]), axis=1)
    # P(max <= t) at each of these points, then the mean over the steps between them.
    below = np.ones_like(at)
    for i in range(k):
        below *= (belief[:, i, None, :] <= at[:, :, None]).mean(axis=2)
    steps = np.diff(at, axis=1)
    made: Floats = at[:, 0] + ((1 - below[:, :-1]) * steps).sum(axis=1)
    return made


@dataclass(frozen=True)
class Played:
    """How it went: `answer` (n,) is whose answer was taken, `asked` (n, m) who was asked."""

    answer: Choice
    asked: NDArray[np.bool_]

    def quality(self, quality: Floats) -> float:
        """Mean quality of the answers taken. `quality` (n, m)."""
        return float(quality[np.arange(len(quality)), self.answer].mean())

    def cost(self, cost: Floats) -> float:
        """Mean dollars a prompt, all questions counted. `cost` (m,) or (n, m)."""
        return float((self.asked * cost).sum(axis=1).mean())


def play(
    beliefs: Beliefs, looks: Floats, cost: Floats, rate: float, rule: Rule = by_reservation
) -> Played:
    """Ask until the rule stops, and take the answer that looks best.

    `looks` (n, m) is how good each answer looks when it is there; where that cannot be told (NaN)
    it is worth what was expected of it then.
    """
    n, m = looks.shape
    seen = np.full((n, m), np.nan)
    going = np.arange(n)
    cost = np.broadcast_to(np.asarray(cost, np.float64), (n, m))
    for _ in range(m):
        belief = beliefs(seen)[going]
        chosen = rule(seen[going], belief, cost[going], rate)
        on = chosen != STOP
        going, chosen, belief = going[on], chosen[on], belief[on]
        if not len(going):
            break
        look = looks[going, chosen]
        expected = belief[np.arange(len(going)), chosen].mean(axis=1)
        seen[going, chosen] = np.where(np.isnan(look), expected, look)
    asked = ~np.isnan(seen)
    return Played(np.where(asked, seen, -np.inf).argmax(axis=1), asked)


def rates(cost: Floats) -> Floats:
    """Rates worth trying for these prices (m,) or (n, m), ascending, 0 first: from a dollar that
    counts for nothing to one that outweighs any quality."""
    dearest = float(np.asarray(cost, np.float64).max(initial=0.0))
    if dearest <= 0:
        return np.zeros(1)
    return np.concatenate([[0.0], np.geomspace(1e-4, 1e3, RATES - 1) / dearest])


def rate_for_quality(
    beliefs: Beliefs, looks: Floats, quality: Floats, cost: Floats, target: float
) -> float:
    """The largest rate up to which mean quality on these graded rows is `target` at least; 0 where
    none is. A larger target never raises it. `quality` (n, m) has no NaN."""

    def holds(rate: float) -> bool:
        return play(beliefs, looks, cost, rate).quality(quality) >= target - LEVEL

    return _last(holds, rates(cost).tolist()) or 0.0


def rate_for_budget(beliefs: Beliefs, looks: Floats, cost: Floats, budget: float) -> float:
    """The smallest rate from which on these rows cost at most `budget` dollars a prompt. A larger
    budget never raises it. Raises InputError where the cheapest model alone costs more."""

    def holds(rate: float) -> bool:
        return play(beliefs, looks, cost, rate).cost(cost) <= budget * (1 + LEVEL)

    found = _last(holds, rates(cost)[::-1].tolist())
    if found is None:
        raise InputError(
            f"No way of asking costs at most ${budget:.6g} a prompt.",
            hint=f"The cheapest model takes ${float(np.min(cost)):.6g}.",
        )
    return found


def _last(holds: Callable[[float], bool], tried: list[float]) -> float | None:
    """The last of `tried`, in order, up to which all hold, and from there as far towards the next
    one as bisection finds; None where the first does not hold."""
    found = None
    for rate in tried:
        if not holds(rate):
            break
        found = rate
    else:
        return found
    if found is None:
        return None
    other = rate
    for _ in range(STEPS):
        middle = (found + other) / 2
        found, other = (middle, other) if holds(middle) else (found, middle)
    return found


def _best(seen: Floats) -> Floats:
    """What the best answer seen is worth, -inf where there is none. Shape (n,)."""
    made: Floats = np.where(np.isnan(seen), -np.inf, seen).max(axis=1)
    return made


def _checked(belief: Floats, cost: Floats) -> tuple[Floats, Floats]:
    belief, cost = np.asarray(belief, np.float64), np.asarray(cost, np.float64)
    if belief.ndim != 3 or cost.shape not in (belief.shape[1:2], belief.shape[:2]):
        raise InputError(
            f"Beliefs {belief.shape} and costs {cost.shape} do not fit.",
            hint="Give beliefs (n, m, K) and costs (m,) or (n, m).",
        )
    return belief, np.broadcast_to(cost, belief.shape[:2])
