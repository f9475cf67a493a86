"""`bert`: an encoder whose top layers are tuned to say how hard a prompt is (RouteLLM's BERT
classifier, arXiv 2406.18665, with the difficulty that models share as target in place of one
pair's wins).

Length and the like are hard for a mean of token states to say and easy to count. So cheap features
are fitted first, by ridge regression within sources, and the encoder learns what they leave over.

Tuning several times over, for scores that no prompt had a part in, would take too long on a CPU.
So it is tuned once, on four fifths of the prompts; the last fifth, which it never saw, says where
the middle of its scores is, how far they spread, and what each model's quality is along them. Where
that fifth is too small for it (`LEAST`), or lacks grades of some model, all prompts serve as both.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np

from swath.errors import InputError
from swath.routing.ability import difficulties
from swath.routing.encoding import Encoding, Floats32, each, one_thread
from swath.routing.encoding_tune import Halves, Settings, frozen, tune, vector
from swath.routing.graded import Graded
from swath.routing.router import Arrays, Texts, percentiles
from swath.routing.shared import Floats, Shared, centred, folds, uniform
from swath.routing.vectors import gist

MOST = 4000  # prompts that it learns from, drawn by their hash: more take minutes
LEAST = 20  # prompts held out from which curves can be learned
BLOCK = 1024  # prompts whose states are in memory at once
RIDGE = 100.0  # of the cheap features
SETTINGS = Settings()


@dataclass
class Bert(Shared):
    """hardness = features @ weights + a linear head on the mean token of a tuned encoder.
    `embedding` names the encoder: the packaged one, or a folder or hub name of a BERT-family
    model."""

    tuned: dict[str, Floats32] = field(default_factory=dict)
    head: Floats32 = field(default_factory=lambda: np.zeros(0, np.float32))
    weights: Floats = field(default_factory=lambda: np.zeros(0))  # of the cheap features
    sha256: str = ""  # of the base's weights
    window: int = SETTINGS.window
    depth: int = SETTINGS.layers  # how many layers are tuned, from the top
    _base: Encoding | None = None

    kind = "bert"
    summary = "an encoder, fine-tuned; for prompts like yours (training needs swath[finetune])"
    embeds = True
    memorizes = True
    heavy = True

    def fit(self, graded: Graded, texts: Texts, seed: int) -> Self:
        if len(once := set(graded.prompts)) > MOST:  # rows of two sources may share one
            order = sorted((uniform(p, seed), p) for p in once)
            chosen = {p for _, p in order[:MOST]}
            keep = np.array([p in chosen for p in graded.prompts], np.bool_)
            its = texts.only(np.flatnonzero(keep))
            self.fit(graded.rows(keep), its, seed)
            self.quantiles = percentiles(self.unseen(graded.rows(keep), its, seed))
            self.training = {"read": int(keep.sum())}
            return self
        target = difficulties(graded)
        out = folds(graded.prompts, seed) == 0
        known = np.isfinite(graded.quality[out]).any(axis=0).all()
        if out.sum() < LEAST or out.all() or not known:
            inside = out = np.ones(len(graded), bool)
        else:
            inside = ~out
        states = self._read(texts.prompts)
        rows = np.flatnonzero(inside)
        self._tune(
            [states[i] for i in rows], texts.only(rows), target[rows], graded.rows(inside), seed
        )
        raw = texts.lexical @ self.weights + self._answer(states)
        self.centre = float(raw[out].mean())
        self.spread = float(raw[out].std()) or 1.0
        self.recast(graded.rows(out), raw[out])
        # Asked at once about its training prompts, it need not read them again.
        self._stood = (weakref.ref(texts), (raw - self.centre) / self.spread)
        self._raw = raw.copy()
        if not inside.all():  # the prompts it knows, spread as those are that it does not
            rank = np.argsort(np.argsort(raw[inside], kind="stable"), kind="stable")
            self._raw[inside] = np.quantile(raw[out], rank / max(len(rank) - 1, 1))
        return self

    def learn(self, texts: Texts, target: Floats, graded: Graded, seed: int) -> None:
        self._tune(self._read(texts.prompts), texts, target, graded, seed)

    def hardness(self, texts: Texts) -> Floats:
        made: Floats = texts.lexical @ self.weights + self._encoded(texts)
        return made

    def parts(self, texts: Texts) -> list[tuple[str, float]]:
        made = [
            ("features", float(texts.lexical[0] @ self.weights) / self.spread),
            ("encoder", float(self._encoded(texts)[0]) / self.spread),
        ]
        return sorted(made, key=lambda part: -abs(part[1]))

    def _tune(
        self, states: list[Halves], texts: Texts, target: Floats, graded: Graded, seed: int
    ) -> None:
        base = self._encoding()
        x = centred(texts.lexical, graded)
        spread = x.std(axis=0)
        scale = np.where(spread > 1e-6, spread, 1.0)  # of what never varies nothing is learned
        z = x / scale
        with one_thread():
            bend = z.T @ z + RIDGE * np.eye(z.shape[1])
            self.weights = np.linalg.solve(bend, z.T @ target) / scale
        chosen = replace(SETTINGS, layers=self.depth)
        found = tune(base, states, target - x @ self.weights, chosen, seed)
        # What is saved is what is used, so that a reloaded router is the same.
        self.tuned = {k: _halved(v) for k, v in found.tensors.items()}
        self.head, self.sha256 = found.head, base.sha256

    def _encoded(self, texts: Texts) -> Floats:
        """The encoder's part of the hardness, a block of prompts at a time."""
        made = np.zeros(len(texts))
        for start in range(0, len(texts), BLOCK):
            part = texts.prompts[start : start + BLOCK]
            made[start : start + BLOCK] = self._answer(self._read(part))
        return made

    def _read(self, prompts: Sequence[str]) -> list[Halves]:
        """What the tuned layers read of each prompt. Equal prompts are read once."""
        base = self._encoding()
        gists = [gist(p) for p in prompts]
        once = sorted(set(gists))
        with one_thread():
            ids = base.tokens(once, self.window)
            found = dict(zip(once, frozen(base, ids, self.depth), strict=True))
        return [found[g] for g in gists]

    def _answer(self, states: list[Halves]) -> Floats:
        """One text at a time: a score then never depends on what else is asked."""
        base = self._encoding()
        top = range(base.layers - self.depth, base.layers)

        def answer(one: Halves) -> float:
            x = one.astype(np.float32)[None]
            v = vector(np, self.tuned, top, x, None, base.heads, base.epsilon)
            return float(v[0] @ self.head[:-1] + self.head[-1])

        return np.array(each(answer, states), np.float64)

    def _encoding(self) -> Encoding:
        if self._base is None:
            from swath.routing.encoding_files import encoding

            base = encoding(self.embedding)
            if self.sha256 and base.sha256 != self.sha256:
                raise InputError(
                    f"The weights of '{self.embedding}' are not those that this router was tuned "
                    f"on (SHA-256 {self.sha256[:12]}…, found {base.sha256[:12]}…).",
                    hint="Put the old weights back, or train the router anew.",
                )
            self.depth = min(self.depth, base.layers)
            self._base = base
        return self._base

    def learned(self) -> tuple[dict[str, Any], Arrays]:
        arrays: Arrays = {f"tuned.{k}": v.astype(np.float16) for k, v in self.tuned.items()}
        values = {"base": self.sha256, "window": self.window, "depth": self.depth}
        return values, {**arrays, "head": self.head, "weights": self.weights}

    def relearn(self, values: dict[str, Any], arrays: Arrays) -> None:
        self.sha256, self.window = str(values["base"]), int(values["window"])
        self.depth, self.head = int(values["depth"]), arrays["head"]
        self.weights = arrays["weights"]
        self.tuned = {
            k.removeprefix("tuned."): v.astype(np.float32)
            for k, v in arrays.items()
            if k.startswith("tuned.")
        }
        width = len(self.head) - 1
        for name, value in self.tuned.items():
            if not name.endswith(("up.weight", "up.bias")) and value.shape[-1] != width:
                raise ValueError(f"{name} of another width")
        if (
            self.head.ndim != 1
            or self.weights.ndim != 1
            or len(self.tuned) != 16 * self.depth
            or self.depth < 1
        ):
            raise ValueError("not all of the tuned layers")


def _halved(array: Floats32) -> Floats32:
    return array.astype(np.float16).astype(np.float32)
