"""The names that stand for a choice of model: `auto`, `auto:quality=0.9`, `router-mf-0.116`.

    auto                the threshold that the router was calibrated for, else the config's `share`
    auto:share=0.3      the strong model for this share of prompts like those it was trained on
    auto:threshold=0.4  the strong model where the router's score is at least this
    auto:quality=0.9    the cheapest model with at least this much of the best predicted quality
    auto:max_price=2    the best of those that cost at most so many dollars per million tokens,
                        three of input to one of output
    auto:cascade=0.8    the weak model first; its answer stands where it gives its own words this
                        probability at least (a geometric mean), else the strong one is asked.
                        Beside `share` or `threshold`: only where the weak model would be chosen
    auto:samples=3,cascade=0.6
                        the same by how many of its samples agree, for models that give no
                        probabilities: with 0.6, two of three
    auto:cascade        any number of models, by a router of kind `cascade`: it chooses whom to ask
                        first, judges the answer by what it has learned, and goes up where that is
                        worth the price; as good as the best model alone on its training prompts.
                        With `quality=0.9`: so much of it; with `max_price=2`: the best that cost so
                        much on average, all questions counted; with `samples=3`: judged by them too
    router-KIND-T       RouteLLM's form of auto:threshold=T, for a router of that kind

An alias of the config that is spelled like one of these goes before it.
"""

from __future__ import annotations

import re
from math import inf

import msgspec

from swath.catalog.model import Model
from swath.errors import UnknownModel, listing

ROUTED = "router"
"""The provider of such a name's model: it is asked nothing itself."""

SHARES = ("share", "quality", "cascade")
OPTIONS = (*SHARES, "threshold", "max_price", "samples")
RULES = ("share", "threshold", "quality", "max_price")
SAMPLES = 10  # at most: each is a call
KINDS = {
    "mf": "factorization",
    "sw": "similarity",
    "sw_ranking": "similarity",
    "causal_llm": "causal",
}
"""RouteLLM's names of its routers, where ours differ."""

_ROUTELLM = re.compile(r"router-(?P<kind>[a-z_]+)-(?P<threshold>-?[0-9.]+(?:e-?[0-9]+)?)")


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """What a name asks for. At most one of `RULES` is set; `kind` is the router's, "" any.
    `cascade` is the least sureness at which a weak answer stands; `learned` says that a verifier
    judges answers instead. They are judged by `samples` of the model asked, where that is above 1.
    """

    name: str
    kind: str = ""
    share: float | None = None
    threshold: float | None = None
    quality: float | None = None
    max_price: float | None = None
    cascade: float | None = None
    learned: bool = False
    samples: int = 1

    @property
    def ruled(self) -> bool:
        """Whether the name says how to choose."""
        return any(getattr(self, rule) is not None for rule in RULES)


def route_of(name: str) -> Route | None:
    """What `name` asks for; None where it is no such name. Raises UnknownModel where it is one with
    an option that does not exist or has no sense."""
    if found := _ROUTELLM.fullmatch(name):
        kind = found["kind"]
        return Route(
            name=name, kind=KINDS.get(kind, kind), threshold=_number(name, found["threshold"])
        )
    head, colon, rest = name.partition(":")
    if head != "auto":
        return None
    given: dict[str, float] = {}
    learned = False
    for part in rest.split(",") if colon else ():
        key, _, value = part.partition("=")
        key = key.strip()
        if part.strip() == "cascade" and not learned and "cascade" not in given:
            learned = True
            continue
        if key not in OPTIONS or key in given or (key == "cascade" and learned):
            raise UnknownModel(
                f"The model '{name}' has an unknown or repeated option '{key}'.",
                hint=f"{listing(OPTIONS, key)} For example auto:quality=0.9.",
            )
        given[key] = _number(name, value)
    samples = given.pop("samples", 1.0)
    for key, number in given.items():
        low, high = (0.0, 1.0) if key in SHARES else (0.0 if key == "max_price" else -inf, inf)
        if not low <= number <= high:
            raise UnknownModel(
                f"The model '{name}': {key}={number:g} is out of range.",
                hint="Give a share from 0 to 1." if key in SHARES else "Give a number, from 0 on.",
            )
    rules = [key for key in given if key in RULES]
    amiss = {"quality", "max_price"} if "cascade" in given else set[str]()
    amiss |= {"share", "threshold"} if learned else set()
    if len(rules) > 1 or amiss & set(given):
        raise UnknownModel(
            f"The model '{name}' gives two rules.",
            hint="Give one of share, threshold, quality and max_price; cascade with a number goes "
            "with the first two, and without one with the last two.",
        )
    if samples != 1 and (
        samples not in range(2, SAMPLES + 1) or not (learned or "cascade" in given)
    ):
        raise UnknownModel(
            f"The model '{name}': samples={samples:g} has no sense.",
            hint=f"Give 2 to {SAMPLES}, and cascade: auto:samples=3,cascade=0.6.",
        )
    made = {"name": name, "learned": learned, "samples": int(samples), **given}
    return msgspec.convert(made, Route)


def blended(model: Model) -> float | None:
    """Dollars per million tokens, three of input to one of output; None where it is not known."""
    price = model.price
    return None if price is None else (3 * price.input + price.output) / 4


def _number(name: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise UnknownModel(
            f"The model '{name}': '{text}' is no number.", hint="For example auto:quality=0.9."
        ) from None
