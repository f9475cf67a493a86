"""How many of each row's nearest neighbours to ask about: enough that few true pairs are missed.

The pairs are asked about in the order of their rank (1: nearest), in rounds, and true ones thin out
as the rank grows. That thinning is taken to be a Poisson process whose rate falls by a power of the
rank; its parameters get their posterior from the ranks asked about so far, and what it says of the
ranks beyond is what pruning would miss. Asking stops once the recall it leaves is the wanted one.
The method is that of Sneyd and Stevenson, "Modelling Stopping Criteria for Search Results using
Poisson Processes" (EMNLP 2019); a power law is their choice too.

It rests on likeness telling something. A uniform sample of the pairs further away tests that.
"""

from __future__ import annotations

from dataclasses import dataclass

from swath.operators.nearest import need_numpy

SLOPES = (1.1, 5.0)  # of the power law: slower ones have no end, steeper ones make no difference
DRAWS = 4000


@dataclass(frozen=True)
class Recall:
    """The share of the true pairs that was found, its 95% interval."""

    estimate: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.estimate:.1%} (95%: {self.low:.1%} to {self.high:.1%})"


def recall(matches: list[int], ranks: int, seed: int = 0) -> Recall:
    """Of pairs up to rank `len(matches)`, of which `matches[r - 1]` at rank r were true, where
    there are `ranks` ranks in all.

    The first rank is left out of the fit: it holds whatever is plainly the same."""
    np = need_numpy("joins")
    found, depth = sum(matches), len(matches)
    if depth >= ranks:
        return Recall(1.0, 1.0, 1.0)
    if not found or depth < 2:
        return Recall(0.0 if not found else 0.5, 0.0, 1.0)
    slopes = np.linspace(*SLOPES, 40)
    asked = np.arange(2, depth + 1, dtype=float)
    beyond = np.arange(depth + 1, ranks + 1, dtype=float)
    counts = np.asarray(matches[1:], dtype=float)
    exposure = (asked[:, None] ** -slopes).sum(axis=0)  # expected matches at a scale of 1
    # The scale has Jeffreys' prior (Gamma of 1/2) and is integrated out; slopes are equally likely.
    shape = counts.sum() + 0.5
    weight = -slopes * (counts @ np.log(asked)) - shape * np.log(exposure)
    weight = np.exp(weight - weight.max())
    draw = np.random.default_rng(seed)
    chosen = draw.choice(len(slopes), DRAWS, p=weight / weight.sum())
    scale = draw.gamma(shape, 1.0, DRAWS) / exposure[chosen]
    rest = np.array([(beyond**-slope).sum() for slope in slopes])[chosen]
    missed = draw.poisson(np.minimum(scale * rest, 1e15))
    shares = found / (found + missed)
    low, middle, high = np.quantile(shares, [0.025, 0.5, 0.975])
    return Recall(float(middle), float(low), float(high))
