"""Many texts to one answer, in as many calls as the model's window asks for.

    pack      texts into batches that fit; one too long by itself is cut at sentences first
    ask       every batch of a level at once: each gives a part of the answer, as text
    again     parts are the next level's texts, until one batch holds them all: its answer counts

Neighbours are combined with neighbours, so what comes late in the texts comes late in the parts.
How much fits is told from the texts alone and not from what the model has been using so far: then
the same texts make the same questions, and a run that goes on pays for none of them twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from msgspec.structs import replace

from swath.errors import Kind, ProviderError
from swath.messages import Completion, Request
from swath.operators.asking import Ask, Check, Sizes
from swath.operators.chunks import split

TOKENS_A_BYTE = 0.3  # English takes about 0.25
USABLE = 0.9  # of the window
ANSWER = 1024  # tokens, where the user sets no max_tokens
LEAST = 64  # tokens of text, however little room the instructions leave
PARTS = 256.0  # tokens of a part of the answer
CUT = "texts cut in pieces, being longer than the model's window"
LEVELS = "texts read in several steps, and the answers put together"


@dataclass(frozen=True)
class Tree:
    """How to ask. `whole(texts)` is the question about all of them; `part(texts)` about some of
    them; `join(parts, last)` about parts, `last` where they are all there are."""

    whole: Callable[[Sequence[str]], Request]
    part: Callable[[Sequence[str]], Request]
    join: Callable[[Sequence[str], bool], Request]
    free: bool = False  # whether texts may change places
    most: int | None = None  # texts in one call
    check: Check | None = None  # of the last answer
    fallback: tuple[str, ...] = ()
    expected: float = PARTS  # tokens of a part of the answer, for estimates


def size(text: str) -> float:
    """Tokens of `text`, about, rather too many than too few."""
    return len(text.encode("utf-8", "surrogatepass")) * TOKENS_A_BYTE + 6


def room_for(sizes: Sizes, bare: Request) -> float:
    """Tokens of text that fit beside the instructions, `bare`, and the answer."""
    window = sizes.model(bare.model).context_window
    if window is None:
        return float("inf")
    around = sum(size(message.content) for message in bare.messages)
    return max(window * USABLE - around - _most_tokens(sizes, bare), LEAST)


def _most_tokens(sizes: Sizes, request: Request) -> int:
    """Of an answer that must leave room for another beside it."""
    window = sizes.model(request.model).context_window
    return min(request.max_tokens or ANSWER, window // 4 if window else ANSWER)


async def answer(ask: Ask, tree: Tree, texts: Sequence[str]) -> Completion:
    """The answer about all `texts`. Raises ProviderError, Invalid of the first call that failed,
    once its neighbours have landed."""
    room = room_for(ask, tree.whole([]))
    pieces = fitting(texts, room)
    if len(pieces) > len(texts):
        ask.note(CUT, sum(size(text) > room for text in texts))
    batches = packed(pieces, room, tree.most, free=tree.free)
    if len(batches) == 1:
        try:
            return await ask(tree.whole(batches[0]), tree.check, tree.fallback)
        except ProviderError as error:
            if not _too_long(error, batches[0]):
                raise
            batches = halves(batches[0])  # the provider counts otherwise
    ask.note(LEVELS)
    parts = await _level(ask, tree, batches, tree.part)
    room = room_for(ask, tree.join([], True))
    while True:
        batches = packed(parts, room, tree.most, least=2)
        if len(batches) == 1:
            try:
                return await ask(tree.join(parts, True), tree.check, tree.fallback)
            except ProviderError as error:
                if len(parts) < 3 or not _too_long(error, parts):
                    raise
                batches = halves(parts)
        parts = await _level(ask, tree, batches, lambda some: tree.join(some, False))


async def _level(
    ask: Ask, tree: Tree, batches: Sequence[list[str]], about: Callable[[Sequence[str]], Request]
) -> list[str]:
    """A part of the answer for each batch, or several where the provider refuses its length."""
    joins = about != tree.part

    async def one(batch: list[str]) -> list[str]:
        if joins and len(batch) == 1:
            return batch
        request = about(batch)
        request = replace(request, max_tokens=_most_tokens(ask, request))
        try:
            return [(await ask(request, None, tree.fallback)).text.strip()]
        except ProviderError as error:
            if (joins and len(batch) < 3) or not _too_long(error, batch):
                raise
        return await _level(ask, tree, halves(batch), about)

    # The first failure waits for the rest: they are paid for.
    outcomes = await asyncio.gather(*map(one, batches), return_exceptions=True)
    parts: list[str] = []
    for outcome in outcomes:
        if isinstance(outcome, BaseException):
            raise outcome
        parts += outcome
    return parts


def _too_long(error: ProviderError, batch: Sequence[str]) -> bool:
    return error.kind is Kind.CONTEXT and sum(map(size, batch)) >= 2 * LEAST


def questions(sizes: Sizes, tree: Tree, texts: Sequence[str]) -> list[tuple[Request, float]]:
    """What `answer` would ask, as far as can be told: the parts of later levels are not known."""
    room = room_for(sizes, tree.whole([]))
    batches = packed(fitting(texts, room), room, tree.most, free=tree.free)
    if len(batches) == 1:
        return [(tree.whole(batches[0]), 1.0)]
    asked = [(tree.part(batch), 1.0) for batch in batches]
    room = room_for(sizes, tree.join([], True))
    while True:
        part = "x" * int(tree.expected / TOKENS_A_BYTE)
        batches = packed([part] * len(batches), room, tree.most, least=2)
        if len(batches) == 1:
            return [*asked, (tree.join(batches[0], True), 1.0)]
        asked += [(tree.join(batch, False), 1.0) for batch in batches]


def fitting(texts: Sequence[str], room: float) -> list[str]:
    """The texts, those longer than `room` tokens in contiguous pieces."""
    pieces: list[str] = []
    for text in texts:
        over = size(text) / room if room else 0.0
        pieces += split(text, max(int(len(text) / over * 0.95), 1)) if over > 1 else [text]
    return pieces


def packed(
    texts: Sequence[str],
    room: float,
    most: int | None = None,
    *,
    free: bool = False,
    least: int = 1,
) -> list[list[str]]:
    """Batches that fit into `room` tokens, of at most `most` and (but the last) at least `least`
    texts. In order, or with `free` the largest first, each where there is room for it."""
    sized = [(size(text), text) for text in texts]
    batches: list[list[str]] = []
    left: list[float] = []
    if free:
        sized.sort(key=lambda pair: -pair[0])
    for weight, text in sized:
        places = range(len(batches)) if free else range(max(len(batches) - 1, 0), len(batches))
        for place in places:
            fits = weight <= left[place] or len(batches[place]) < least
            if fits and (most is None or len(batches[place]) < most):
                batches[place].append(text)
                left[place] -= weight
                break
        else:
            batches.append([text])
            left.append(room - weight)
    return batches


def halves(batch: Sequence[str]) -> list[list[str]]:
    if len(batch) > 1:
        return [list(batch[: len(batch) // 2]), list(batch[len(batch) // 2 :])]
    (text,) = batch
    return [[piece] for piece in split(text, -(-len(text) // 2))]
