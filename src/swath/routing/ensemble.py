"""`ensemble`: the mean of several routers' scores, each on its own scale first. The best here on
prompts like its training prompts (docs/routing.md). Where its members disagree the prompt is
uncertain, and `explain` shows it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from swath.routing.boosted import Boosted
from swath.routing.difficulty import Difficulty
from swath.routing.graded import Graded
from swath.routing.neighbours import Neighbours
from swath.routing.router import Arrays, Neighbour, Texts
from swath.routing.shared import Floats, Shared

MEMBERS: tuple[type[Shared], ...] = (Difficulty, Boosted, Neighbours)


@dataclass
class Ensemble(Shared):
    """hardness = mean of the members' scores."""

    members: list[Shared] = field(default_factory=list)

    kind = "ensemble"
    summary = "difficulty, boosted and neighbours together; the best for prompts like yours"
    embeds = True
    memorizes = True

    def learn(self, texts: Texts, target: Floats, graded: Graded, seed: int) -> None:
        self.members = []
        for member in MEMBERS:
            made = member(models=graded.models)
            made.learn(texts, target, graded, seed)
            # A member that knows its prompts by heart has a spread there that it has nowhere else,
            # but so have all: the proportions are what matters.
            raw = made.hardness(texts)
            made.centre, made.spread = float(raw.mean()), float(raw.std()) or 1.0
            self.members.append(made)

    def hardness(self, texts: Texts) -> Floats:
        made: Floats = np.mean([m.wants(texts) for m in self.members], axis=0)
        return made

    def parts(self, texts: Texts) -> list[tuple[str, float]]:
        return [(m.kind, float(m.wants(texts)[0])) for m in self.members]

    def neighbours(self, texts: Texts) -> list[Neighbour]:
        return [n for m in self.members for n in m.neighbours(texts)]

    def learned(self) -> tuple[dict[str, Any], Arrays]:
        values: dict[str, Any] = {}
        arrays: Arrays = {}
        for member in self.members:
            own, held = member.learned()
            values[member.kind] = {"centre": member.centre, "spread": member.spread, **own}
            arrays.update({f"{member.kind}.{name}": a for name, a in held.items()})
        return values, arrays

    def relearn(self, values: dict[str, Any], arrays: Arrays) -> None:
        self.members = []
        for member in MEMBERS:
            own, head = values[member.kind], f"{member.kind}."
            made = member(models=self.models)
            made.centre, made.spread = float(own["centre"]), float(own["spread"])
            held = {n.removeprefix(head): a for n, a in arrays.items() if n.startswith(head)}
            made.relearn(own, held)
            self.members.append(made)
