"""`cascade`: what to expect of each model before it is asked, and how good its answer is after.

Before, it is a `difficulty` router: no embedding, a fraction of a millisecond. After, a verifier
learned from graded answers reads what can be seen of one (`evidence.py`): a logistic
regression for each model that starts from what was expected, its coefficients drawn to those of all
models. How far such verdicts fall from what was expected says what there is to gain from looking,
and `cascade_decide.py` weighs that against prices. A doubtful answer also makes the prompt look
harder to the models not asked yet.

All of it is estimated on prompts that the estimate has not seen, by folds. The file keeps what up
to 400 graded prompts would have shown, as numbers, so that the rate between quality and dollars can
be set for any prices and any goal.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from swath.errors import InputError
from swath.evidence import EVIDENCE
from swath.routing.ability import sigmoid
from swath.routing.cascade_decide import Beliefs, Floats, rate_for_budget, rate_for_quality
from swath.routing.difficulty import Difficulty
from swath.routing.graded import Graded
from swath.routing.router import Arrays
from swath.routing.shared import FOLDS, centred, folds, uniform

ATOMS = 15  # equally likely verdicts, by which a model's are described
KEPT = 400  # graded prompts, to fit a rate on
ENOUGH = 20  # graded prompts, fewer tell nothing
PULL = 2.0  # how strongly a verifier's coefficients are drawn to 0
OWN = 20.0  # and a model's own to those of all, in graded answers of even odds
TRUST = 0.8  # from this sureness on an answer stands where no verifier was learned
CLOSE = 0.002  # no quality is surer than that
ROUNDS = 25  # of Newton steps


@dataclass
class Cascade(Difficulty):
    """post = sigmoid(logit(ante) + [1, logit(ante), evidence] @ weights), a row of weights a model.

    `judges` (m,) says for which models there was evidence. `moves` (m, K) are quantiles of
    logit(post) - logit(ante); `carry` is how much of such a move passes on to other models.
    """

    judges: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, np.bool_))
    middle: Floats = field(default_factory=lambda: np.zeros((0, len(EVIDENCE))))
    scale: Floats = field(default_factory=lambda: np.zeros((0, len(EVIDENCE))))
    weights: Floats = field(default_factory=lambda: np.zeros((0, len(EVIDENCE) + 2)))
    moves: Floats = field(default_factory=lambda: np.zeros((0, ATOMS)))
    carry: float = 0.0
    costs: Floats = field(default_factory=lambda: np.zeros(0))  # dollars a call, NaN: not known
    kept: Arrays = field(default_factory=dict)  # ante, looks, quality of graded prompts

    kind = "cascade"
    summary = "difficulty, and a verifier of answers: ask cheap models first, go up where unsure"
    memorizes = True

    @property
    def notes(self) -> tuple[str, ...]:
        if self.judges.any():
            return ()
        return (
            "no answers to learn a verifier from (columns answer, sure, agreement): an answer will "
            f"stand where the model gives its own words a probability of {TRUST:g} or more",
        )

    # -- what it learns

    def recast(self, graded: Graded, raw: Floats | None = None) -> Self:
        raw = self.hardness(self.texts(graded.prompts)) if raw is None else raw
        super().recast(graded, raw)
        score = centred(raw[:, None], graded)[:, 0] / self.spread
        ante = self._expected(score)
        self._verify(graded, ante)
        return self

    def _verify(self, graded: Graded, ante: Floats) -> None:
        n, m = graded.quality.shape
        shown = np.stack(
            [graded.extra.get(name, np.full((n, m), np.nan)) for name in EVIDENCE], axis=2
        )
        known = np.isfinite(shown)
        count = known.sum(axis=0)
        values = np.where(known, shown, 0.0)
        self.middle = values.sum(axis=0) / np.maximum(count, 1)
        off = np.where(known, shown - self.middle, 0.0)
        spread = np.sqrt((off**2).sum(axis=0) / np.maximum(count, 1))
        self.scale = np.where(spread > 1e-6, 1 / np.maximum(spread, 1e-6), 0.0)
        usable = known.any(axis=2) & np.isfinite(graded.quality)
        self.judges = (usable.sum(axis=0) >= ENOUGH) & (self.scale > 0).any(axis=1)
        usable &= self.judges
        inputs = self._inputs(ante, off * self.scale)
        looks = np.full((n, m), np.nan)
        fold = folds(graded.prompts, 0)
        for k in range(FOLDS):
            out = (fold == k)[:, None] & usable
            weights = _regress(inputs, ante, graded.quality, usable & ~out)
            post = sigmoid(_logit(ante) + (inputs * weights).sum(axis=2))
            looks[out] = post[out]
        self.weights = _regress(inputs, ante, graded.quality, usable)
        self.moves = np.zeros((m, ATOMS))
        marks = (np.arange(ATOMS) + 0.5) / ATOMS
        moved = _logit(looks) - _logit(ante)
        for i in np.flatnonzero(self.judges):
            self.moves[i] = np.quantile(moved[usable[:, i], i], marks)
        self.carry = _carried(moved, ante, graded.quality)
        self.costs = np.full(m, np.nan)
        if (cost := graded.extra.get("cost")) is not None:
            paid = np.isfinite(cost)
            total = np.where(paid, cost, 0.0).sum(axis=0)
            self.costs = np.where(paid.any(axis=0), total / np.maximum(paid.sum(axis=0), 1), np.nan)
        whole = np.flatnonzero(np.isfinite(graded.quality).all(axis=1))
        by_hash = sorted(whole.tolist(), key=lambda i: (uniform(graded.prompts[i], 1), i))
        rows = np.array(sorted(by_hash[:KEPT]), np.intp)
        held = {"ante": ante, "looks": looks, "quality": graded.quality}
        self.kept = {name: values[rows] for name, values in held.items()}

    def _inputs(self, ante: Floats, evidence: Floats) -> Floats:
        """Ones, logits of what was expected, evidence. Shape (n, m, 2 + e)."""
        logit = _logit(ante)
        return np.concatenate([np.stack([np.ones_like(logit), logit], axis=2), evidence], axis=2)

    # -- what it says

    def judge(self, ante: float, model: int, evidence: dict[str, float]) -> float:
        """How good this answer of `model` (its place) is, when `ante` was expected of it; NaN where
        no verifier was learned for that model, or nothing is known of the answer."""
        if not self.judges[model] or not evidence:
            return float("nan")
        shown = np.array([evidence.get(name, np.nan) for name in EVIDENCE])
        off = np.where(np.isnan(shown), 0.0, shown - self.middle[model]) * self.scale[model]
        expected = np.full((1, 1), ante)
        inputs = self._inputs(expected, off[None, None, :])
        logit = _logit(expected) + (inputs * self.weights[model]).sum(axis=2)
        return float(sigmoid(logit)[0, 0])

    def beliefs(self, ante: Floats) -> Beliefs:
        """What the answers of models not asked yet may turn out to be worth, given `ante` (n, m)
        and those seen. For `cascade_decide.play`, and for one prompt after another."""

        def of(seen: Floats) -> Floats:
            told = ~np.isnan(seen) & self.judges
            move = np.where(told, _logit(np.where(told, seen, 0.5)) - _logit(ante), 0.0)
            count = told.sum(axis=1)
            passed = self.carry * move.sum(axis=1) / np.maximum(count, 1)
            expected = _logit(ante) + passed[:, None]
            atoms = sigmoid(expected[:, :, None] + self.moves)
            # Looking does not change what there is: on average a verdict is what was expected.
            made: Floats = atoms + (sigmoid(expected) - atoms.mean(axis=2))[:, :, None]
            return made

        return of

    def rate(
        self, cost: Floats, *, quality: float | None = None, budget: float | None = None
    ) -> float:
        """Quality a dollar, by the graded prompts that the file keeps: the largest rate that keeps
        `quality` (1, or None: all) of the mean quality of the best single model, or the smallest
        that costs at most `budget` a prompt. `cost` (m,) is dollars a call, or prices in any unit.
        Raises InputError where too few prompts grade all models."""
        held = self.kept
        if len(held["ante"]) < ENOUGH:
            raise InputError(
                f"Only {len(held['ante'])} training prompts grade all models, {ENOUGH} are the "
                "least for a rate between quality and dollars.",
                hint="Train on prompts that every model answered.",
            )
        beliefs = self.beliefs(held["ante"])
        if budget is not None:
            return rate_for_budget(beliefs, held["looks"], cost, budget)
        wanted = (1.0 if quality is None else quality) * float(held["quality"].mean(axis=0).max())
        return rate_for_quality(beliefs, held["looks"], held["quality"], cost, wanted)

    def only(self, places: list[int], final: int | None = None) -> Cascade:
        """The verifier of the models at `places`, in this order; it predicts nothing of prompts.
        The answers of the one that is then at `final` are not judged: they always stand."""
        made = Cascade(models=tuple(self.models[i] for i in places))
        made.carry = self.carry
        for name in ("judges", "middle", "scale", "weights", "moves", "costs"):
            setattr(made, name, getattr(self, name)[places])
        made.kept = {name: values[:, places] for name, values in self.kept.items()}
        if final is not None:
            made.judges[final], made.moves[final] = False, 0.0
            made.kept["looks"][:, final] = np.nan
        return made

    # -- the file

    def learned(self) -> tuple[dict[str, Any], Arrays]:
        values, arrays = super().learned()
        own = {n: getattr(self, n) for n in ("judges", "middle", "scale", "weights", "moves")}
        held = {f"kept.{name}": array for name, array in self.kept.items()}
        values |= {"carry": self.carry, "evidence": list(EVIDENCE)}
        return values, {**arrays, **own, **held, "costs": self.costs}

    def relearn(self, values: dict[str, Any], arrays: Arrays) -> None:
        super().relearn(values, arrays)
        if values["evidence"] != list(EVIDENCE):
            raise ValueError("its verifier reads other evidence")
        self.carry, m = float(values["carry"]), len(self.models)
        shapes = {
            "judges": (m,),
            "middle": (m, len(EVIDENCE)),
            "scale": (m, len(EVIDENCE)),
            "weights": (m, len(EVIDENCE) + 2),
            "moves": (m, ATOMS),
            "costs": (m,),
        }
        for name, shape in shapes.items():
            if arrays[name].shape != shape:
                raise ValueError(f"{name} for each model")
            setattr(self, name, arrays[name])
        self.kept = {name: arrays[f"kept.{name}"] for name in ("ante", "looks", "quality")}
        if len({a.shape for a in self.kept.values()}) != 1 or self.kept["ante"].shape[1:] != (m,):
            raise ValueError("graded prompts of each model")


def _logit(quality: Floats) -> Floats:
    q = np.clip(quality, CLOSE, 1 - CLOSE)
    made: Floats = np.log(q / (1 - q))
    return made


def _regress(inputs: Floats, ante: Floats, quality: Floats, use: NDArray[np.bool_]) -> Floats:
    """Logistic regression of quality (n, m), in [0, 1], on inputs (n, m, d), from logit(ante) on:
    first of all models together, then of each, drawn to that. Only where `use`. Shape (m, d)."""
    m, d = inputs.shape[1:]
    grades = np.where(use, quality, 0.0)
    offset = _logit(ante)
    common = _newton(inputs[use], grades[use], offset[use], np.zeros(d), PULL)
    made = np.zeros((m, d))
    for i in range(m):
        rows = use[:, i]
        if rows.any():
            own = (inputs[rows, i], grades[rows, i], offset[rows, i])
            made[i] = _newton(*own, common, OWN * 0.25)
    return made


def _newton(x: Floats, y: Floats, offset: Floats, centre: Floats, pull: float) -> Floats:
    """Coefficients (d,) with a normal prior around `centre`, of precision `pull`."""
    made = centre.copy()
    for _ in range(ROUNDS if len(x) else 0):
        p = sigmoid(offset + x @ made)
        slope = x.T @ (y - p) - pull * (made - centre)
        bend = (x.T * (p * (1 - p))) @ x + pull * np.eye(x.shape[1])
        step = np.clip(np.linalg.solve(bend, slope), -1, 1)
        made = made + step
        if np.abs(step).max() < 1e-8:
            break
    return made


def _carried(moved: Floats, ante: Floats, quality: Floats) -> float:
    """How much of one answer's move, in logits, another model's quality moves by: from 0 to 1."""
    xs, ys, offsets = [], [], []
    for i in range(moved.shape[1]):
        for k in range(moved.shape[1]):
            both = np.isfinite(moved[:, i]) & np.isfinite(quality[:, k])
            if i != k and both.any():
                xs.append(moved[both, i])
                ys.append(quality[both, k])
                offsets.append(_logit(ante[both, k]))
    if not xs:
        return 0.0
    x = np.concatenate(xs)[:, None]
    found = _newton(x, np.concatenate(ys), np.concatenate(offsets), np.zeros(1), PULL)
    return float(np.clip(found[0], 0.0, 1.0))
