"""`Router`: prompts in, predicted quality per model out. What all routers share.

A router gives two things. `predict` is the quality to expect of each model, (n prompts, m models).
`score` is one number a prompt, the higher the more it wants the strong model: what RouteLLM calls
the strong model's win rate, and what thresholds and evaluation work on. Decisions on top of both
are in `decide.py`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from swath.errors import InputError
from swath.routing import features
from swath.routing.graded import Graded
from swath.routing.lexicon import lexicon
from swath.routing.vectors import LOCAL, WORDS, Encode, Vectors

Floats = NDArray[np.float64]
Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Neighbour:
    """A training prompt that a decision leans on: its row in the sorted training table, its source,
    how like it is (1: the same) and how hard it was (0: average for its source)."""

    row: int
    source: str
    likeness: float
    difficulty: float


@dataclass(frozen=True)
class Explanation:
    """Why a prompt got its score: what each part adds to it (where the score is a gain: to the
    difficulty behind it), the neighbours where there are, and, where several routers were asked,
    how far they disagree: a standard deviation, in the score's units."""

    score: float
    quality: dict[str, float]
    parts: tuple[tuple[str, float], ...] = ()
    neighbours: tuple[Neighbour, ...] = ()
    doubt: float | None = None


class Router(Protocol):
    """Any router."""

    models: tuple[str, ...]

    def predict(self, prompts: Sequence[str]) -> Floats:
        """The quality to expect, in [0, 1]. Shape (n prompts, m models)."""

    def score(self, prompts: Sequence[str]) -> Floats:
        """How much each prompt wants a strong model. Shape (n,)."""

    def explain(self, prompt: str) -> Explanation:
        """Why it decides as it does."""


class Texts:
    """Prompts, and what is known about them, worked out once and only when asked for."""

    def __init__(self, prompts: Sequence[str], encode: Encode) -> None:
        for prompt in prompts:
            if not isinstance(prompt, str):
                raise InputError(
                    f"A prompt is {type(prompt).__name__}, not text.", hint="Give strings."
                )
        self.prompts = list(prompts)
        self._encode = encode
        self._part: tuple[Texts, NDArray[np.intp]] | None = None

    def __len__(self) -> int:
        return len(self.prompts)

    def only(self, rows: NDArray[np.intp]) -> Texts:
        """The texts at `rows`. What is asked of them is worked out for all of these here, so that
        folds do it once between them."""
        part = Texts([self.prompts[i] for i in rows], self._encode)
        part._part = (self, rows)
        return part

    @cached_property
    def lexical(self) -> Floats:
        """`features.lexical`, shape (n, 31)."""
        if self._part is not None:
            return self._part[0].lexical[self._part[1]]
        return features.lexical(self.prompts)

    @cached_property
    def words(self) -> Floats:
        """Mean word vectors of the whole prompts, shape (n, 128)."""
        if self._part is not None:
            return self._part[0].words[self._part[1]]
        return lexicon().mean(self.prompts)

    @cached_property
    def stem_words(self) -> Floats:
        """Mean word vectors without the options of multiple choice, shape (n, 128)."""
        if self._part is not None:
            return self._part[0].stem_words[self._part[1]]
        return lexicon().mean([features.split(p)[0] for p in self.prompts])

    @cached_property
    def vectors(self) -> Floats:
        """The encoder's embeddings, shape (n, d)."""
        if self._part is not None:
            return self._part[0].vectors[self._part[1]]
        return self._encode(self.prompts)


@dataclass(frozen=True)
class Calibration:
    """A threshold chosen on the user's own prompts, and what was promised for it."""

    threshold: float
    share: float  # of strong calls on those prompts
    weak: str
    strong: str
    goal: dict[str, float]
    reached: dict[str, float]
    quantiles: tuple[float, ...]  # of the scores, 101 of them: drift is measured from these


@dataclass
class Learned(ABC):
    """A router with parameters, which can be trained, saved and reloaded. One subclass a kind."""

    models: tuple[str, ...]
    embedding: str = LOCAL  # the model that embeds prompts, where the kind needs one
    training: dict[str, Any] = field(default_factory=dict)
    quantiles: tuple[float, ...] = ()  # of the scores of the training prompts
    calibration: Calibration | None = None
    _encode: Encode | None = None

    kind: ClassVar[str]
    summary: ClassVar[str]  # one line for people
    embeds: ClassVar[bool] = False
    slow: ClassVar[bool] = False  # takes seconds a prompt
    heavy: ClassVar[bool] = False  # tens of milliseconds a prompt, beside the embedding
    memorizes: ClassVar[bool] = False  # scores of its own training prompts are too good to be true

    @property
    def asks_encoder(self) -> bool:
        """Whether a prompt has to go through a model that embeds before it is scored."""
        return self.embeds and self.embedding != WORDS

    @property
    def notes(self) -> tuple[str, ...]:
        """What its training data did not allow, for people."""
        return ()

    @property
    def encode(self) -> Encode:
        if self._encode is None:
            self._encode = Vectors(self.embedding)
        return self._encode

    def texts(self, prompts: Sequence[str]) -> Texts:
        return Texts(prompts, self.encode)

    def predict(self, prompts: Sequence[str]) -> Floats:
        return self.quality(self.texts(prompts))

    def score(self, prompts: Sequence[str]) -> Floats:
        return self.wants(self.texts(prompts))

    def explain(self, prompt: str) -> Explanation:
        texts = self.texts([prompt])
        quality = dict(zip(self.models, self.quality(texts)[0].tolist(), strict=True))
        return Explanation(
            score=float(self.wants(texts)[0]),
            quality=quality,
            parts=tuple(self.parts(texts)),
            neighbours=tuple(self.neighbours(texts)),
            doubt=self.doubt(texts),
        )

    def settle(self, graded: Graded) -> None:
        """Decide, when all is learned, what the score is."""
        return

    def unseen(self, graded: Graded, texts: Texts, seed: int) -> Floats:
        """The scores that its training prompts would have got had it not been trained on them.
        Shape (n,)."""
        if not self.memorizes:
            return self.wants(texts)
        from swath.routing.shared import held_out

        return held_out(self, graded, texts, seed)

    def parts(self, texts: Texts) -> list[tuple[str, float]]:
        """What adds to the score of the one prompt in `texts`, the largest first."""
        return []

    def neighbours(self, texts: Texts) -> list[Neighbour]:
        return []

    def doubt(self, texts: Texts) -> float | None:
        """How far the score of the one prompt in `texts` may be off, where that is known."""
        return None

    @abstractmethod
    def fit(self, graded: Graded, texts: Texts, seed: int) -> Self:
        """Learn from `graded`; `texts` are its prompts. Returns the router itself."""

    @abstractmethod
    def quality(self, texts: Texts) -> Floats:
        """Shape (n, m)."""

    @abstractmethod
    def wants(self, texts: Texts) -> Floats:
        """Shape (n,)."""

    @abstractmethod
    def state(self) -> tuple[dict[str, Any], Arrays]:
        """What was learned: plain values, and arrays."""

    @abstractmethod
    def restore(self, values: dict[str, Any], arrays: Arrays) -> None:
        """The reverse of `state`. Raises KeyError, TypeError or ValueError where it does not fit:
        the artifact's reader turns them into one error."""


def percentiles(scores: Floats) -> tuple[float, ...]:
    """101 quantiles of scores, by which drift is measured."""
    return tuple(np.quantile(scores, np.linspace(0, 1, 101)).tolist())
