"""The ladder of a cascade by a learned verifier: whom to ask first, whom next, whose answer stands.

Any number of models, by the rule of `routing/cascade_decide.py` and what a router of kind `cascade`
knows. Prices are the config's; the rate between them and quality is fitted, once a name, on what
the router's file keeps of its graded prompts. The dearest model's answers are not judged: nobody is
left to go up to, so that they stand, stream, and are the same question as one to that model by its
name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isnan, nan
from typing import TYPE_CHECKING

from swath.errors import ConfigError
from swath.evidence import evidence
from swath.messages import Completion

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from swath.routing.cascade import Cascade


class Ladder:
    """`places` are the router's of `aliases`; `prices` of them in any unit, `most` in the same."""

    def __init__(
        self,
        name: str,
        router: Cascade,
        places: Sequence[int],
        aliases: Sequence[str],
        prices: Mapping[str, float | None],
        quality: float | None,
        most: float | None,
    ) -> None:
        import numpy as np

        for alias in aliases:
            if prices[alias] is None:
                raise ConfigError(
                    f"'{name}' weighs quality against price, and '{alias}' has no price.",
                    hint="Set price = { input = …, output = … }, in dollars per million tokens; "
                    "or give the sureness to go by: auto:cascade=0.8.",
                )
        self.aliases = tuple(aliases)
        self._cost = np.array([prices[alias] for alias in aliases], np.float64)
        final = int(np.argmax(self._cost))
        self._router = router.only(list(places), final)
        self._rate = self._router.rate(self._cost, quality=quality, budget=most)
        self.shares = self._shares()

    def first(self, quality: Mapping[str, float]) -> str:
        """Who is asked first where so much is expected of each."""
        first = self.then(quality, {})
        assert first is not None
        return first

    def then(self, quality: Mapping[str, float], looks: Mapping[str, float]) -> str | None:
        """Who is asked next where the answers that are there look so good; None: nobody."""
        from swath.routing.cascade_decide import STOP, by_reservation

        ante, seen = self._rows(quality, looks)
        belief = self._router.beliefs(ante)(seen)
        chosen = int(by_reservation(seen, belief, self._cost, self._rate)[0])
        return None if chosen == STOP else self.aliases[chosen]

    def judged(self, alias: str) -> bool:
        """Whether an answer of this model is judged at all; else it stands."""
        return bool(self._router.judges[self.aliases.index(alias)])

    def looks(
        self,
        quality: Mapping[str, float],
        alias: str,
        prompt: str,
        reply: Completion,
        agreement: float | None,
    ) -> float:
        """How good this answer looks, from 0 to 1; as was expected where nothing can be told."""
        place = self.aliases.index(alias)
        shown = evidence(prompt, reply, agreement)
        found = self._router.judge(quality[alias], place, shown)
        return quality[alias] if isnan(found) else found

    def _rows(
        self, quality: Mapping[str, float], looks: Mapping[str, float]
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        import numpy as np

        ante = np.array([[quality[alias] for alias in self.aliases]], np.float64)
        seen = np.array([[looks.get(alias, nan) for alias in self.aliases]], np.float64)
        return ante, seen

    def _shares(self) -> dict[str, float]:
        """What share of prompts each model was asked, on the graded prompts of the file."""
        from swath.routing.cascade_decide import play

        kept = self._router.kept
        played = play(self._router.beliefs(kept["ante"]), kept["looks"], self._cost, self._rate)
        return dict(zip(self.aliases, played.asked.mean(axis=0).tolist(), strict=True))
