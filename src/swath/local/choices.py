"""Label probabilities: how likely the model is to answer with each label.

The labels' tokens make a tree. Where it branches, the model's next-token distribution is taken
over the branches alone, by lifting them all by one constant above every other token and asking for
the probabilities after that; so labels of many tokens, and labels with a common beginning, get
what constrained decoding would give them.

A small model favours some labels whatever the text. What it says to the same prompt without a text
is that favour; dividing by it ("contextual calibration", Zhao et al. 2021) removes it. And it knows
little of topics, which an encoder tells well: where there are several labels, both have a say.
"""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from swath.local.server import Server, failed
from swath.messages import Usage

LIFT = 100.0  # logits: beyond what separates any two tokens
FLOOR = 1e-9  # no label is ruled out: calibration divides by this
NO_TEXT = ""  # what stands for the text where the favour of the labels is asked
NEGLIGIBLE = 1e-5  # a branch less likely than this is shared evenly among its labels


class Scored(msgspec.Struct, frozen=True):
    """Probabilities that sum to 1, and the tokens that it took to find them."""

    scores: dict[str, float]
    usage: Usage


class Dropped(Exception):
    """Nobody waits for the result."""


def score(
    server: Server,
    slot: int,
    messages: Sequence[Mapping[str, Any]],
    labels: tuple[str, ...],
    dropped: threading.Event,
    opening: str = "",
) -> Scored:
    """The probability of each label as the answer to `messages`; as what follows in it, up to a
    quotation mark, where the answer opens with `opening`."""
    prompt = server.tokens(server.prompt(messages), special=True)
    walk = _Walk(server, slot, prompt + (server.tokens(opening) if opening else []), dropped)
    end = '"' if opening else ""
    tokens = {label: _tokens(server, label, end) for label in labels}
    scores = dict.fromkeys(labels, 0.0)
    walk.descend(tokens, 0, 1.0, scores)
    return Scored(_normal(scores), walk.usage)


def favour(
    server: Server,
    slot: int,
    bare: Sequence[Mapping[str, Any]],
    labels: tuple[str, ...],
    dropped: threading.Event,
    opening: str = "",
) -> Mapping[str, float]:
    """What the model says to `bare`, messages without a text: asked once for each of them."""
    key = ("favour", labels, opening, tuple((m["role"], m["content"]) for m in bare))
    with server.lock:
        known: Mapping[str, float] | None = server.memory.get(key)
        if known is None:
            known = score(server, slot, bare, labels, dropped, opening).scores
            server.memory[key] = known
    return known


def without(source: str, messages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]] | None:
    """The messages with the text taken out; None where it does not stand in them."""
    bare = [{**m, "content": m["content"].replace(source, NO_TEXT)} for m in messages]
    return None if bare == list(messages) else bare


def mended(
    scores: Mapping[str, float],
    favour: Mapping[str, float] | None,
    likeness: Mapping[str, float] | None = None,
    weight: float = 0.0,
) -> dict[str, float]:
    """`scores` without what the model thinks of the labels when it sees no text (`favour`), times
    how alike an encoder finds text and label (cosines), times `weight` and the bits of the choice.

    Of many labels the favours are small and noisy: the more labels, the less is divided out. Of two
    labels (yes and no, positive and negative) an encoder knows nothing.
    """
    bits = math.log2(len(scores))
    logits = {label: math.log(max(p, FLOOR)) for label, p in scores.items()}
    if favour is not None:
        strength = min(1.0, 3.0 / bits)
        for label in logits:
            logits[label] -= strength * math.log(max(favour[label], FLOOR))
    if likeness is not None and len(scores) > 2:
        for label in logits:
            logits[label] += weight * bits * likeness[label]
    most = max(logits.values())
    return _normal({label: math.exp(logit - most) for label, logit in logits.items()})


def _tokens(server: Server, label: str, end: str) -> tuple[int, ...]:
    """A label's tokens and the end, which belongs to it: it tells 'card' from 'card payment'."""
    key = ("label", label, end)
    known: tuple[int, ...] | None = server.memory.get(key)
    if known is None:
        text = json.dumps(label, ensure_ascii=False)[1:] if end else label
        tokens = server.tokens(text)
        known = server.memory[key] = tuple(tokens) if end else (*tokens, server.end_of_turn)
    return known


def _normal(scores: Mapping[str, float]) -> dict[str, float]:
    lifted = {label: max(p, FLOOR) for label, p in scores.items()}
    total = sum(lifted.values())
    return {label: p / total for label, p in lifted.items()}


class _Walk:
    """Down the tree of the labels' tokens, asking where it branches."""

    def __init__(
        self, server: Server, slot: int, prompt: list[int], dropped: threading.Event
    ) -> None:
        self._server, self._slot, self._prompt, self._dropped = server, slot, prompt, dropped
        self.usage = Usage()

    def descend(
        self,
        tokens: Mapping[str, tuple[int, ...]],
        depth: int,
        weight: float,
        scores: dict[str, float],
    ) -> None:
        """Share `weight` among the labels in `tokens`, which agree on their first `depth`."""
        longest = max(map(len, tokens.values()))
        while depth < longest and len({t[depth : depth + 1] for t in tokens.values()}) == 1:
            depth += 1
        if depth == longest or weight < NEGLIGIBLE:
            for label in tokens:
                scores[label] = weight / len(tokens)
            return
        path = next(iter(tokens.values()))[:depth]
        branches: dict[int, dict[str, tuple[int, ...]]] = {}
        for label, its in tokens.items():
            branches.setdefault(its[depth], {})[label] = its
        for token, probability in self._ask(path, list(branches)).items():
            self.descend(branches[token], depth + 1, weight * probability, scores)

    def _ask(self, path: Sequence[int], branches: list[int]) -> dict[int, float]:
        """The probability of each token of `branches` after the prompt and `path`."""
        body = {
            "prompt": [*self._prompt, *path],
            "max_tokens": 1,
            "id_slot": self._slot,
            "cache_prompt": True,
            "samplers": ["temperature"],
            "temperature": 1.0,
            "seed": 0,
            "logit_bias": [[token, LIFT] for token in branches],
            "logprobs": len(branches),
            "post_sampling_probs": True,
            "stream": True,
            "stream_options": {"include_usage": True},
            "return_progress": True,
        }
        found: dict[int, float] = dict.fromkeys(branches, 0.0)

        def hear(event: dict[str, Any]) -> bool:
            if "error" in event:
                raise failed(event["error"])
            for choice in event.get("choices") or ():
                for token in (choice.get("logprobs") or {}).get("content") or ():
                    for one in token.get("top_probs") or ():
                        if one["id"] in found:
                            found[one["id"]] = one["prob"]
            self._count(event.get("usage"))
            return self._dropped.is_set()

        self._server.chat(body, hear, raw=True)
        if self._dropped.is_set():
            raise Dropped
        return found

    def _count(self, usage: Mapping[str, Any] | None) -> None:
        if not usage:
            return
        details = usage.get("prompt_tokens_details") or {}
        if self.usage.input_tokens:  # a later branch: the prompt was counted, and is cached
            self.usage += Usage(output_tokens=usage["completion_tokens"])
            return
        self.usage += Usage(
            input_tokens=usage["prompt_tokens"],
            output_tokens=usage["completion_tokens"],
            cached_input_tokens=details.get("cached_tokens", 0),
        )
