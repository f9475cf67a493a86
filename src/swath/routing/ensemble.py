"""`ensemble`: several routers' standings, weighed by how well each told prompts that it had not
seen (stacking; Wolpert 1992). The best here on prompts like its training prompts (docs/routing.md).
Where its members disagree the prompt is uncertain, and `explain` shows it.

The weights are drawn towards equal ones, as strongly as some hundred prompts would draw them: few
prompts cannot tell which member is best. Trees join where there are prompts enough for them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np

from swath.routing.ability import difficulties
from swath.routing.boosted import Boosted
from swath.routing.difficulty import Difficulty
from swath.routing.graded import Graded
from swath.routing.linear import Linear
from swath.routing.neighbours import Neighbours
from swath.routing.router import Arrays, Neighbour, Texts
from swath.routing.shared import FOLDS, Floats, Shared, centred, folds

MEMBERS: tuple[type[Shared], ...] = (Difficulty, Linear, Boosted, Neighbours)
TREES_FROM = 1000  # prompts
PULL = 200.0  # prompts, by which weights are drawn towards equal ones
ROUNDS = 200  # of coordinate descent


@dataclass
class Ensemble(Shared):
    """hardness = the members' standings @ weights."""

    members: list[Shared] = field(default_factory=list)
    weights: Floats = field(default_factory=lambda: np.zeros(0))

    kind = "ensemble"
    summary = "difficulty, linear, boosted and neighbours together; the best for prompts like yours"
    by_gain = True
    embeds = True
    memorizes = True

    def fit(self, graded: Graded, texts: Texts, seed: int) -> Self:
        target = difficulties(graded)
        fold = folds(graded.prompts, seed)
        told = np.zeros((len(graded), len(_chosen(len(graded)))))
        for k in range(FOLDS):
            out = fold == k
            if not out.any() or out.all():
                continue
            rows, inside = np.flatnonzero(out), np.flatnonzero(~out)
            here, there = texts.only(rows), texts.only(inside)
            for column, kind in enumerate(_chosen(len(graded))):
                made = kind(models=graded.models)
                made.learn(there, target[inside], graded.rows(~out), seed)
                told[rows, column] = made.hardness(here) - made.mean_level(there)
        self.learn(texts, target, graded, seed)
        # A member's spread on prompts it knows by heart is one it has nowhere else.
        told += np.array([member.mean_level(texts) for member in self.members])
        for member, own in zip(self.members, told.T, strict=True):
            member.centre, member.spread = float(own.mean()), float(own.std()) or 1.0
        standing = np.column_stack(
            [(own - m.centre) / m.spread for m, own in zip(self.members, told.T, strict=True)]
        )
        self.weights = stacked(centred(standing, graded), target)
        raw = standing @ self.weights
        self.centre, self.spread = float(raw.mean()), float(raw.std()) or 1.0
        return self.recast(graded, raw)

    def learn(self, texts: Texts, target: Floats, graded: Graded, seed: int) -> None:
        self.members = []
        for kind in _chosen(len(graded)):
            made = kind(models=graded.models)
            made.learn(texts, target, graded, seed)
            raw = made.hardness(texts)
            made.centre, made.spread = float(raw.mean()), float(raw.std()) or 1.0
            self.members.append(made)
        self.weights = np.full(len(self.members), 1 / len(self.members))

    def hardness(self, texts: Texts) -> Floats:
        made = np.zeros(len(texts))
        for weight, member in zip(self.weights, self.members, strict=True):
            made += weight * member.standing(texts)
        return made

    def parts(self, texts: Texts) -> list[tuple[str, float]]:
        each = [
            (m.kind, float(w * m.standing(texts)[0] / self.spread))
            for w, m in zip(self.weights, self.members, strict=True)
        ]
        return sorted(each, key=lambda part: -abs(part[1]))

    def doubt(self, texts: Texts) -> float:
        """The standard deviation of what the members alone would say, in the score's units."""
        alone = np.array([self._scored(m.standing(texts))[0] for m in self.members])
        mean = float(self.weights @ alone)
        return float(np.sqrt(self.weights @ (alone - mean) ** 2))

    def neighbours(self, texts: Texts) -> list[Neighbour]:
        return [n for m in self.members for n in m.neighbours(texts)]

    def learned(self) -> tuple[dict[str, Any], Arrays]:
        values: dict[str, Any] = {"members": [m.kind for m in self.members]}
        arrays: Arrays = {"weights": self.weights}
        for member in self.members:
            own, held = member.learned()
            values[member.kind] = {"centre": member.centre, "spread": member.spread, **own}
            arrays.update({f"{member.kind}.{name}": a for name, a in held.items()})
        return values, arrays

    def relearn(self, values: dict[str, Any], arrays: Arrays) -> None:
        self.members, self.weights = [], arrays["weights"]
        kinds = {kind.kind: kind for kind in MEMBERS}
        for name in values["members"]:
            own, head = values[name], f"{name}."
            made = kinds[name](models=self.models)
            made.centre, made.spread = float(own["centre"]), float(own["spread"])
            held = {n.removeprefix(head): a for n, a in arrays.items() if n.startswith(head)}
            made.relearn(own, held)
            self.members.append(made)
        if self.weights.shape != (len(self.members),) or not self.members:
            raise ValueError("a weight for each member")


def _chosen(prompts: int) -> tuple[type[Shared], ...]:
    return tuple(k for k in MEMBERS if k is not Boosted or prompts >= TREES_FROM)


def stacked(told: Floats, target: Floats) -> Floats:
    """The weights, none negative and 1 in all, that best predict `target` (n,) from what each
    member says of prompts that it has not seen, `told` (n, k); drawn towards equal ones. (k,)."""
    k = told.shape[1]
    mean = told.mean(axis=1)
    slope = max(float(mean @ target) / max(float(mean @ mean), 1e-12), 0.0)
    weights = np.full(k, slope / k)
    square, along = told.T @ told + PULL * np.eye(k), told.T @ target + PULL * weights
    for _ in range(ROUNDS):
        for j in range(k):
            rest = along[j] - square[j] @ weights + square[j, j] * weights[j]
            weights[j] = max(rest / square[j, j], 0.0)
    total = float(weights.sum())
    return weights / total if total > 1e-9 else np.full(k, 1 / k)
