"""`transfer`: for prompts unlike those it was trained on. The router that ships is one.

Few things make prompts hard everywhere, and this uses only those, in fixed proportion:

- length, as the logarithm of the number of words;
- content: difficulty within each source that length does not explain, from word vectors, for
  prompts that are no multiple choice (among multiple-choice questions it does not carry over);
- task: whether the answer is plainly right or wrong (mathematics, code, multiple choice) or a
  matter of taste (chat), where the weak model is nearly always good enough. By rule, else by how
  like the prompt's words are to either kind of source.

The proportions were set on training sources left out one at a time (docs/routing.md).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from swath.routing.ability import sigmoid
from swath.routing.features import checkable, split, word_count
from swath.routing.graded import Graded
from swath.routing.lexicon import WIDTH, lexicon
from swath.routing.router import Arrays, Texts
from swath.routing.shared import Floats, Shared, centred

CONTENT = 0.3  # of the spread of length, both within a source
TASK = 4.0  # in logarithms of the number of words: as much as 5 words and 300 differ by
PULL = 300.0
TASK_PULL = 1000.0


@dataclass
class Transfer(Shared):
    """hardness = length + content + task."""

    content: Floats = field(default_factory=lambda: np.zeros(WIDTH))
    content_mean: float = 0.0
    task: Floats = field(default_factory=lambda: np.zeros(WIDTH))
    task_level: float = 0.0
    told_apart: bool = False  # whether there were sources of both kinds

    kind = "transfer"
    summary = "length, content and task; for prompts unlike the training prompts"

    def learn(self, texts: Texts, target: Floats, graded: Graded, seed: int) -> None:
        words = texts.stem_words
        length = _length(texts)
        right = np.array([checkable(p) for p in graded.prompts])
        chat = np.zeros(len(graded), np.bool_)
        for rows in graded.by_source():
            chat[rows] = right[rows].mean() < 0.5
        self.told_apart = bool(chat.any() and not chat.all())
        # Grades of chat are comparisons; only where there is nothing else do they teach content.
        rows = np.flatnonzero(~chat if self.told_apart else np.ones(len(graded), np.bool_))
        self._learn_content(words[rows], length[rows], target[rows], graded, rows)
        if self.told_apart:
            self._learn_task(words, chat, graded)

    def _learn_content(
        self, words: Floats, length: Floats, target: Floats, graded: Graded, rows: Any
    ) -> None:
        keep: NDArray[np.bool_] = np.isin(np.arange(len(graded)), rows)
        part = graded.rows(keep)
        x = centred(words, part)
        long = centred(length[:, None], part)[:, 0]
        left, weight = target.copy(), np.ones(len(part))
        for own in part.by_source():
            along = float(long[own] @ long[own])
            if along > 0:
                left[own] -= long[own] * float(long[own] @ target[own]) / along
            weight[own] = len(own) ** -0.5  # a large source must not drown the small ones
        weight *= len(part) / weight.sum()
        z = x / max(float(x.std(axis=0).mean()), 1e-9)
        weighed = z * weight[:, None]
        slopes = np.linalg.solve(z.T @ weighed + PULL * np.eye(z.shape[1]), weighed.T @ left)
        # The proportion is one of spreads within sources: that is where it was set.
        spread = max(float((x @ slopes).std()), 1e-9)
        self.content = np.asarray(slopes * (CONTENT * float(long.std()) / spread), np.float64)
        self.content_mean = float((words @ self.content).mean())

    def _learn_task(self, words: Floats, chat: Any, graded: Graded) -> None:
        """A logistic regression of chat against the rest, each source weighing the same and both
        sides alike, by Newton steps."""
        weight = np.zeros(len(graded))
        for rows in graded.by_source():
            weight[rows] = 1 / len(rows)
        for side in (chat, ~chat):
            weight[side] /= weight[side].sum()
        weight *= len(graded) / weight.sum()
        mean = words.mean(axis=0)
        spread: Floats = np.maximum(np.asarray(words.std(axis=0), np.float64), 1e-9)
        x = np.hstack([(words - mean) / spread, np.ones((len(words), 1))])
        pull = np.diag([TASK_PULL] * words.shape[1] + [1e-6])
        slopes = np.zeros(x.shape[1])
        for _ in range(25):
            p = sigmoid(x @ slopes)
            bend = (x * (weight * p * (1 - p))[:, None]).T @ x + pull
            slopes += np.linalg.solve(bend, x.T @ (weight * (~chat - p)) - pull @ slopes)
        self.task = slopes[:-1] / spread
        self.task_level = float(slopes[-1] - mean @ self.task)

    def hardness(self, texts: Texts) -> Floats:
        return _length(texts) + self._content(texts) + TASK * self._task(texts)

    def _content(self, texts: Texts) -> Floats:
        choice = np.array([bool(split(p)[1]) for p in texts.prompts], np.bool_)
        return np.where(choice, 0.0, texts.stem_words @ self.content - self.content_mean)

    def _task(self, texts: Texts) -> Floats:
        """1 where the answer is right or wrong, 0 where it is a matter of taste; from even odds on
        it counts as the former."""
        if not self.told_apart:
            return np.zeros(len(texts))
        right = np.array([checkable(p) for p in texts.prompts], np.bool_)
        likely = sigmoid(texts.stem_words @ self.task + self.task_level)
        return np.where(right, 1.0, np.minimum(2 * likely, 1.0))

    def parts(self, texts: Texts) -> list[tuple[str, float]]:
        named = {
            "length": _length(texts),
            "content": self._content(texts),
            "task": TASK * self._task(texts),
        }
        found = [(name, float(value[0]) / self.spread) for name, value in named.items()]
        found.append(("average prompt", -self.centre / self.spread))
        stem, options = split(texts.prompts[0])
        if not options:
            telling = lexicon().telling(stem, self.content / self.spread)
            found += [(f"the word '{word}', in content", value) for word, value in telling]
        return found

    def learned(self) -> tuple[dict[str, Any], Arrays]:
        values = {
            "content_mean": self.content_mean,
            "task_level": self.task_level,
            "told_apart": self.told_apart,
        }
        return values, {"content": self.content, "task": self.task}

    def relearn(self, values: dict[str, Any], arrays: Arrays) -> None:
        self.content_mean = float(values["content_mean"])
        self.task_level = float(values["task_level"])
        self.told_apart = bool(values["told_apart"])
        self.content, self.task = arrays["content"], arrays["task"]
        if not self.content.shape == self.task.shape == (WIDTH,):
            raise ValueError("one coefficient a dimension")


def _length(texts: Texts) -> Floats:
    return np.log1p(np.array([word_count(p) for p in texts.prompts], np.float64))
