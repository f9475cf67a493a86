"""What a causal language model makes of a prompt, as numbers: `Readings`.

The model is asked two things, and nothing is generated: only the probabilities of the next token
are read, once after each question.

- How hard is it? The probabilities of the score tokens 1 to 5 (RouteLLM's causal router, arXiv
  2406.18665, section 4.1).
- What is the answer? Of multiple choice the probabilities of the option letters; of anything else
  those of the likeliest first tokens: how sure the model is of an answer of its own.

The prompt stands before both questions, so that llama.cpp reads it once. Of a long prompt its head
and tail are read. Each text is read once: readings are kept by the hash of text and model, between
runs too where there is a `store`.
"""

from __future__ import annotations

import hashlib
import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from swath.errors import InputError
from swath.routing.features import split

if TYPE_CHECKING:
    from swath.local.server import Server
    from swath.local.slots import Job

Floats = NDArray[np.float64]
Read = Callable[[Sequence[str]], Floats]
"""n texts to (n, WIDTH), rows as `Readings` gives them."""

SCORES, ANSWERS = 5, 20
WIDTH = 1 + SCORES + ANSWERS
"""A row: the number of options (0: not multiple choice); probabilities of scores 1 to 5; of the
options A, B, …, or of the 20 likeliest first tokens, the likeliest first. Zeros fill it up."""

HEAD, TAIL = 500, 300  # characters of a long prompt that are read
HARD = (
    "How hard is it for a small language model to answer the text above correctly, from 1 (very "
    "easy) to 5 (very hard)? Reply with one digit."
)
LETTER = "Answer the question above. Reply with the letter of the right option only."
SHORT = "Answer the text above. Reply with the final answer only, without an explanation."
WAITING = 16  # texts handed to the model's worker at once
EVERY = 5.0  # seconds between two words on progress
KEPT = 100_000  # readings held in memory, 100 bytes each
CONTEXT = 2048  # tokens: more than 800 characters and a question are
_MARK = "\x02here\x03"
_LIFT = 100.0  # logits: beyond what separates any two tokens


def gist(prompt: str) -> str:
    """What is read of a prompt: all of it, or its first 500 and last 300 characters."""
    text = prompt.strip().removesuffix("Answer:").rstrip()
    return text if len(text) <= HEAD + TAIL + 1 else f"{text[:HEAD]}\n{text[-TAIL:]}"


def key_of(text: str, model: str) -> str:
    """What a reading is kept by. Depends on the questions too."""
    return hashlib.sha256("\0".join((model, HARD, LETTER, SHORT, text)).encode()).hexdigest()


class Readings:
    """Reads texts with the local model `model` (a catalogue name, or the path of a GGUF file) and a
    LoRA `adapter` where there is one. `store` is a file that keeps readings between runs."""

    def __init__(
        self, model: str, *, store: Path | None = None, adapter: Path | None = None
    ) -> None:
        self.model = model
        self._adapter = adapter
        # Readings of a tuned model are kept apart from those of the model as it comes.
        self._name = f"{model}+{_digest(adapter)}" if adapter is not None else model
        self._store = store
        self._known: dict[str, NDArray[np.float32]] = {}
        self._new = False
        self._lock = threading.Lock()
        if store is not None and store.is_file():
            with np.load(store) as kept:
                self._known = dict(zip(kept["keys"].tolist(), kept["rows"], strict=True))

    def known(self, prompts: Sequence[str]) -> NDArray[np.bool_]:
        """Which prompts were read before. Shape (n,)."""
        return np.array([key_of(gist(p), self._name) in self._known for p in prompts], np.bool_)

    def __call__(
        self, prompts: Sequence[str], note: Callable[[int, int], None] | None = None
    ) -> Floats:
        """Shape (n, WIDTH). `note` hears how many of the new texts are read, of how many. Raises
        WeightsError, MissingExtra, ProviderError."""
        texts = [gist(p) for p in prompts]
        keys = [key_of(t, self._name) for t in texts]
        missing = {k: t for k, t in zip(keys, texts, strict=True) if k not in self._known}
        if missing:
            self._read(missing, note or _progress())
        with self._lock:
            made = np.array([self._known[k] for k in keys], np.float64).reshape(-1, WIDTH)
            for old in list(self._known)[: max(len(self._known) - KEPT, 0)]:
                del self._known[old]
        return made

    def asked(self, prompts: Sequence[str]) -> tuple[list[list[int]], list[int]]:
        """The tokens by which each prompt is asked for its score, and those of the scores 1 to 5:
        what fine-tuning needs."""
        reader = _Reader(_host(self.model, self._adapter))
        return [reader.asked(gist(p)) for p in prompts], reader.digits

    def _read(self, missing: dict[str, str], note: Callable[[int, int], None] | None) -> None:
        host = _host(self.model, self._adapter)
        reader = _Reader(host)
        done = 0

        def one(key: str, slot: int, dropped: threading.Event) -> None:
            nonlocal done
            row = reader.read(missing[key], slot)
            with self._lock:
                self._known[key] = row
                self._new = True
                done += 1
            if note is not None:
                note(done, len(missing))

        jobs: list[Job] = []
        try:
            # A few at a time: what was read is kept where a later text fails.
            for key in sorted(missing):
                jobs.append(host.slots.submit(missing[key], partial(one, key)))
                if len(jobs) > WAITING:
                    jobs.pop(0).future.result()
            for job in jobs:
                job.future.result()
        finally:
            for job in jobs:
                job.drop()

    def save(self) -> None:
        """Keep what was read, where there is a `store`; put in place when it is whole."""
        if self._store is None or not self._new:
            return
        self._store.parent.mkdir(parents=True, exist_ok=True)
        beside = self._store.with_name(f"{self._store.name}.{os.getpid()}.npz")
        with self._lock:
            keys, rows = list(self._known), list(self._known.values())
            self._new = False
        np.savez(beside, keys=np.array(keys), rows=np.array(rows, np.float32))
        os.replace(beside, self._store)


class _Reader:
    """Asks the two questions. Tokens of the frame around a text are worked out once."""

    def __init__(self, host: Server) -> None:
        self._host = host
        rendered = host.prompt([{"role": "user", "content": _MARK}])
        self._before, self._after = rendered.split(_MARK)
        self.digits = [host.tokens(str(i + 1))[-1] for i in range(SCORES)]
        self._letters = [host.tokens(chr(65 + i))[-1] for i in range(10)]
        self._head = host.tokens(self._before, special=True)
        self._tails = {
            ask: host.tokens(f"\n\n{ask}") + host.tokens(self._after, special=True)
            for ask in (HARD, LETTER, SHORT)
        }

    def asked(self, text: str) -> list[int]:
        """The tokens of a text with the question for its score."""
        return self._head + self._host.tokens(text) + self._tails[HARD]

    def read(self, text: str, slot: int) -> NDArray[np.float32]:
        options = len(split(text)[1])
        row = np.zeros(WIDTH, np.float32)
        row[0] = options
        body = self._head + self._host.tokens(text)
        # Nothing of the text before is used: a reading depends on its own text alone, to the bit.
        row[1 : 1 + SCORES] = self._among(body + self._tails[HARD], self.digits, slot, fresh=True)
        if options:
            found = self._among(body + self._tails[LETTER], self._letters[:options], slot)
        else:
            found = self._likeliest(body + self._tails[SHORT], slot)
        row[1 + SCORES : 1 + SCORES + len(found)] = found
        return row

    def _among(
        self, prompt: list[int], tokens: list[int], slot: int, *, fresh: bool = False
    ) -> list[float]:
        """The probabilities of `tokens` as the next one, of them alone."""
        lifted = [[t, _LIFT] for t in tokens]
        more = {"logit_bias": lifted, "logprobs": len(tokens), "cache_prompt": not fresh}
        found = dict(self._ask(prompt, slot, more))
        return [found.get(t, 0.0) for t in tokens]

    def _likeliest(self, prompt: list[int], slot: int) -> list[float]:
        """The probabilities of the likeliest tokens, falling."""
        found = self._ask(prompt, slot, {"logprobs": ANSWERS})
        return sorted((p for _, p in found), reverse=True)[:ANSWERS]

    def _ask(self, prompt: list[int], slot: int, more: dict[str, Any]) -> list[tuple[int, float]]:
        from swath.local.server import failed

        body = {
            "prompt": prompt,
            "max_tokens": 1,
            "id_slot": slot,
            "cache_prompt": True,
            "samplers": ["temperature"],
            "temperature": 1.0,
            "seed": 0,
            "post_sampling_probs": True,
            "stream": True,
            **more,
        }
        found: list[tuple[int, float]] = []

        def hear(event: dict[str, Any]) -> bool:
            if "error" in event:
                raise failed(event["error"])
            for choice in event.get("choices") or ():
                for token in (choice.get("logprobs") or {}).get("content") or ():
                    found.extend((o["id"], o["prob"]) for o in token.get("top_probs") or ())
            return False

        self._host.chat(body, hear, raw=True)
        return found


def _progress() -> Callable[[int, int], None] | None:
    """Says on a terminal how far a long reading has come; None where nobody looks."""
    if not sys.stderr.isatty():
        return None
    begun = last = time.monotonic()

    def note(done: int, total: int) -> None:
        nonlocal last
        if (now := time.monotonic()) - last > EVERY:
            last = now
            left = (now - begun) / done * (total - done)
            print(f"read {done:,} of {total:,} prompts, {left:.0f} s left", file=sys.stderr)

    return note


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _host(model: str, adapter: Path | None) -> Server:
    from swath.local import weights
    from swath.local.server import Settings, server

    known = weights.catalogue()
    if model in known and known[model].kind != "chat":
        chats = ", ".join(name for name, entry in known.items() if entry.kind == "chat")
        raise InputError(
            f"'{model}' makes embeddings, and a causal router needs a language model.",
            hint=f"There are {chats}, and any path to a GGUF file.",
        )
    chosen = Settings(slots=1, context=CONTEXT, adapter=str(adapter or ""))
    return server(weights.obtain(model), chosen)
