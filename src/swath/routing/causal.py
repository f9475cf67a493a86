"""`causal`: a local language model reads the prompt, and its probabilities say how hard it is.

After RouteLLM's causal router (arXiv 2406.18665, section 4.1): the model is asked for a score from
1 to 5, and the probabilities of the five tokens are read. To these come how sure it is of an answer
of its own, and the cheap features. A ridge regression, centred within sources, makes difficulty
of them. With an adapter (LoRA, `train(..., tune=True)`) the model itself was taught the scores.

Reading takes a second or so a prompt, so a router learns from `READ` prompts at most, drawn by
their hash, as many of each source.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from swath.routing.causal_reading import ANSWERS, SCORES, WIDTH, Read, Readings
from swath.routing.features import NAMES
from swath.routing.graded import Graded
from swath.routing.router import Arrays, Texts, percentiles
from swath.routing.shared import Floats, Shared, centred, uniform
from swath.routing.vectors import LOCAL, Vectors

if TYPE_CHECKING:
    import polars as pl

MODEL = "smollm2-135m"
READ = 300  # training prompts that are read
TUNED = 0.5  # the part of them that an adapter is taught with
READ_PULL, CHEAP_PULL = 30.0, 300.0  # of 4,000 prompts: how strongly coefficients are drawn to 0
LETTERS = 10
TELLS = (
    "expected score",
    "spread of the score",
    "probability of score 1",
    "certainty of the option",
    "margin of the option",
    "certainty of the first word",
    "probability of the first word",
)
TINY = 1e-4  # of a probability: below it the quantized weights say nothing

_store: Path | None = None


def store_at(path: Path | None) -> None:
    """Keep the readings of all routers that are made from now on in the file `path`, so that a
    study reads each text once. They are written by `Causal.readings.save()`."""
    global _store
    _store = path


@dataclass
class Causal(Shared):
    """hardness = [what the readings tell, features] @ coefficients."""

    reader: str = MODEL
    coefficients: Floats = field(default_factory=lambda: np.zeros(0))
    favour: Floats = field(default_factory=lambda: np.zeros(LETTERS))
    adapter: Any = None  # `lora.Adapter`, where the model was tuned
    tunes: bool = False
    _readings: Readings | None = None
    _folder: Any = None

    kind = "causal"
    summary = "a local language model's score tokens and certainty; a second a prompt"
    slow: ClassVar[bool] = True

    @property
    def readings(self) -> Readings:
        """Reads with the router's model, and its adapter where it has one."""
        if self._readings is None:
            self._readings = Readings(self.reader, store=_store, adapter=self._adapter_file())
        return self._readings

    @property
    def read(self) -> Read:
        """What reads prompts: the local model, or what stands in for it."""
        stand_in = self._encode
        # A study hands the same embeddings to every kind; they are no readings.
        return self.readings if stand_in is None or isinstance(stand_in, Vectors) else stand_in

    def fit(self, graded: Graded, texts: Texts, seed: int) -> Self:
        if self.embedding != LOCAL:
            self.reader = self.embedding.removeprefix("local/")
        chosen = drawn(graded, READ, seed)
        if self.tunes:
            # What the model was taught it knows by heart: the regression learns from the others.
            taught = np.array([uniform(p, seed + 1) < TUNED for p in graded.prompts], np.bool_)
            self._tune(graded.rows(chosen & taught), seed)
            chosen &= ~taught
        part, its = graded.rows(chosen), texts.only(np.flatnonzero(chosen))
        super().fit(part, its, seed)
        self.quantiles = percentiles(self.wants(its))
        self.training = {
            "read": len(part),
            "reader": self.reader,
            "tuned": self.adapter is not None,
        }
        return self

    def learn(self, texts: Texts, target: Floats, graded: Graded, seed: int) -> None:
        rows = self.read(texts.prompts)
        self.favour = favoured(rows)
        inputs = self._inputs(texts)
        x = centred(inputs, graded)
        spread: Floats = np.asarray(x.std(axis=0), np.float64)
        scale = np.where(spread > 1e-6, 1 / np.maximum(spread, 1e-6), 0.0)
        cheap = len(NAMES)
        pull = np.r_[np.full(inputs.shape[1] - cheap, READ_PULL), np.full(cheap, CHEAP_PULL)]
        pull *= min(1.0, len(graded) / 4000)
        z = x * scale
        slopes = np.linalg.solve(z.T @ z + np.diag(np.maximum(pull, 1.0)), z.T @ target)
        self.coefficients = np.asarray(slopes * scale, np.float64)

    def hardness(self, texts: Texts) -> Floats:
        return self._inputs(texts) @ self.coefficients if len(texts) else np.zeros(0)

    def _inputs(self, texts: Texts) -> Floats:
        rows = self.read(texts.prompts)
        # What stands in for the model may give any numbers; they are taken as they are.
        own = told(rows, self.favour) if rows.shape[1] == WIDTH else rows
        return np.hstack([own, texts.lexical])

    def parts(self, texts: Texts) -> list[tuple[str, float]]:
        each = self._inputs(texts)[0] * self.coefficients / self.spread
        own = len(each) - len(NAMES)
        names = TELLS if own == len(TELLS) else tuple(f"reading {i + 1}" for i in range(own))
        found = list(zip((*names, *NAMES), each.tolist(), strict=True))
        return sorted(found, key=lambda part: -abs(part[1]))[:8]

    def learned(self) -> tuple[dict[str, Any], Arrays]:
        values: dict[str, Any] = {"reader": self.reader, "lora": None}
        arrays: Arrays = {"coefficients": self.coefficients, "favour": self.favour}
        if self.adapter is not None:
            values["lora"] = {
                "architecture": self.adapter.architecture,
                "alpha": self.adapter.alpha,
            }
            arrays |= {f"lora.{name}": a for name, a in self.adapter.arrays.items()}
        return values, arrays

    def relearn(self, values: dict[str, Any], arrays: Arrays) -> None:
        self.reader = str(values["reader"])
        self.coefficients, self.favour = arrays["coefficients"], arrays["favour"]
        if self.coefficients.ndim != 1 or self.favour.shape != (LETTERS,):
            raise ValueError("one coefficient a reading and feature")
        if (lora := values["lora"]) is not None:
            from swath.routing.lora_file import Adapter

            held = {n.removeprefix("lora."): a for n, a in arrays.items() if n.startswith("lora.")}
            self.adapter = Adapter(str(lora["architecture"]), float(lora["alpha"]), held)

    def _tune(self, part: Graded, seed: int) -> None:
        """Teach the model the scores: difficulty within each source, in five equal classes."""
        from swath.local import weights
        from swath.routing import lora
        from swath.routing.ability import difficulties

        hard = difficulties(part)
        labels = np.zeros(len(part), np.intp)
        for rows in part.by_source():
            order = np.argsort(np.argsort(hard[rows], kind="stable"), kind="stable")
            labels[rows] = order * SCORES // len(rows)
        tokens, digits = Readings(self.reader).asked(part.prompts)
        self.adapter = lora.tune(weights.obtain(self.reader), tokens, labels, digits, seed=seed)
        self._readings = None

    def _adapter_file(self) -> Path | None:
        if self.adapter is None:
            return None
        from swath.routing.lora_file import write

        self._folder = tempfile.TemporaryDirectory(prefix="swath-lora-")
        return write(self.adapter, Path(self._folder.name) / "adapter.gguf")


def drawn(graded: Graded, most: int, seed: int) -> NDArray[np.bool_]:
    """Which rows are read: at most `most`, as many of each source where it has them, by a hash of
    the prompt. Shape (n,)."""
    kept = np.zeros(len(graded), np.bool_)
    left, sources = most, sorted(graded.by_source(), key=len)
    for i, rows in enumerate(sources):
        share = left // (len(sources) - i)
        chosen = sorted(rows.tolist(), key=lambda r: (uniform(graded.prompts[r], seed), r))[:share]
        kept[chosen] = True
        left -= len(chosen)
    return kept


def favoured(rows: Floats) -> Floats:
    """What the model thinks of the letters A to J whatever the question: the mean log-probability
    of each, against an even share, over the multiple choice in `rows` (n, WIDTH); zeros where
    there is none. Shape (10,)."""
    if rows.ndim != 2 or rows.shape[1] != WIDTH:
        return np.zeros(LETTERS)
    counts, letters = rows[:, 0], np.log(np.maximum(rows[:, 1 + SCORES :][:, :LETTERS], TINY))
    made = np.zeros(LETTERS)
    for letter in range(LETTERS):
        offered = counts > letter
        if offered.any():
            made[letter] = float((letters[offered, letter] + np.log(counts[offered])).mean())
    return made


def told(rows: Floats, favour: Floats) -> Floats:
    """`TELLS` of readings `rows` (n, WIDTH). Shape (n, 7)."""
    made = np.zeros((len(rows), len(TELLS)))
    scores = np.maximum(rows[:, 1 : 1 + SCORES], TINY)
    scores = scores / scores.sum(axis=1, keepdims=True)
    grade = np.arange(1, SCORES + 1)
    made[:, 0] = scores @ grade
    made[:, 1] = np.sqrt(np.maximum(scores @ grade**2 - made[:, 0] ** 2, 0.0))
    made[:, 2] = np.log(scores[:, 0])
    for row, reading in enumerate(rows):
        count = min(int(reading[0]), LETTERS)
        answers = np.maximum(reading[1 + SCORES :], TINY)
        if count > 1:
            logits = np.log(answers[:count]) - favour[:count]
            p = np.exp(logits - logits.max())
            p = p / p.sum()
            top = np.sort(p)[::-1]
            made[row, 3] = 1 + float(p @ np.log(np.maximum(p, TINY))) / float(np.log(count))
            made[row, 4] = float(np.log(max(top[0], TINY) / max(top[1], TINY)))
        else:
            p = answers / max(float(answers.sum()), TINY)
            made[row, 5] = float(p @ np.log(p)) / float(np.log(ANSWERS))
            made[row, 6] = float(np.log(answers[0]))
    return made


def tuned(graded: Graded, embedding: str = LOCAL, seed: int = 0) -> Causal:
    """`train` with `tune=True`; the model is the one that `embedding` names, as `fit` takes it."""
    model = MODEL if embedding == LOCAL else embedding.removeprefix("local/")
    return train(graded, model=model, tune=True, seed=seed)


def train(
    data: Graded | pl.DataFrame, *, model: str = MODEL, tune: bool = False, seed: int = 0
) -> Causal:
    """A causal router that reads with the local `model` (a catalogue name, or the path of a GGUF
    file); `tune` teaches it the scores by LoRA first, which needs the extra `finetune`. `data` as
    for `routing.train`. Raises WeightsError, MissingExtra, InputError, ColumnNotFound."""
    from swath.routing.training import teach

    graded = data if isinstance(data, Graded) else Graded.read(data)
    made = Causal(models=graded.models, reader=model, tunes=tune)
    teach(made, graded, made.texts(graded.prompts), seed)
    return made
