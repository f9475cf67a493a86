"""Asking about pairs, some or all: one by one, or one row and several others in a prompt.

`Judge` asks and remembers. What to ask about is settled in `matching.py`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from swath.engine.shape import Invalid
from swath.errors import Kind, ProviderError
from swath.messages import Request
from swath.operators.asking import Ask, Failed, Stopped
from swath.operators.cascade import Cascade
from swath.operators.cascading import answer_all
from swath.operators.wording import Wording, matches
from swath.providers import LOCAL

Pair = tuple[int, int]
"""Places among the distinct rows of the left and the right table."""

Row = tuple[str, ...]
GROUP = 10  # candidates in one prompt, unless the user says otherwise
GROUP_CHARS = 24_000  # and the text that they may have together
AHEAD = 2  # questions under way or ready, for each that a model takes at once
UNUSABLE = frozenset(
    {
        Kind.BAD_REQUEST,
        Kind.UNSUPPORTED,
        Kind.CONTEXT,
        Kind.MALFORMED,
        Kind.REFUSAL,
        Kind.TRUNCATED,
        Kind.INVALID,
    }
)
"""What goes wrong with an answer about several pairs that may go right with one."""


def group_size(pairs_per_call: str | int, local: bool) -> int:
    """How many pairs one prompt holds. A small model is asked about one at a time."""
    if isinstance(pairs_per_call, int):
        return pairs_per_call
    return 1 if local else GROUP


@dataclass
class Judge:
    """Asks `ask` whether `wording` holds of rows `left[i]`, `right[j]`. `said` is what is known,
    `failed` what went wrong; after `stopped` nothing more is asked."""

    ask: Ask
    wording: Wording
    left: Sequence[Row]
    right: Sequence[Row]
    alias: str
    fallback: tuple[str, ...] = ()
    cascade: Cascade | None = None
    size: int = 1
    said: dict[Pair, bool] = field(default_factory=dict)
    failed: dict[Pair, Failed] = field(default_factory=dict)
    stopped: bool = False

    async def about(self, pairs: Sequence[Pair]) -> None:
        """Ask about those of `pairs` that are not yet known. Returns also where the run stops."""
        new = [pair for pair in pairs if pair not in self.said and pair not in self.failed]
        if not new or self.stopped:
            return
        if self.cascade is not None:
            await self._cascaded(new)
        elif self.size == 1:
            await self._all(self._one(pair) for pair in new)
        else:
            groups = grouped(new, self.right, self._most_chars(), self.size)
            await self._all(self._several(i, places) for i, places in groups)

    def _most_chars(self) -> int:
        window = self.ask.model(self.alias).context_window
        return min(GROUP_CHARS, 2 * window) if window else GROUP_CHARS

    async def _all(self, work: Iterator[Any]) -> None:
        """As many at once as the model takes, and a few that wait their turn; none is made before
        it is needed."""
        width = AHEAD * self.ask.model(self.alias).concurrency

        async def worker() -> None:
            for one in work:
                if self.stopped:
                    one.close()
                    return
                try:
                    await one
                except Stopped:
                    self.stopped = True

        outcomes = await asyncio.gather(*(worker() for _ in range(width)), return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome

    async def _one(self, pair: Pair) -> None:
        try:
            reply = await self.ask(self.single(pair), None, self.fallback)
            self.said[pair] = bool(self.wording.predicate.value(reply))
        except (ProviderError, Invalid) as error:
            self.failed[pair] = error
        self.ask.done(1)

    async def _several(self, i: int, places: Sequence[int]) -> None:
        pairs = [(i, j) for j in places]
        if len(pairs) == 1:
            await self._one(pairs[0])
            return
        try:
            reply = await self.ask(self.group(i, places), matches(len(places)), self.fallback)
        except (ProviderError, Invalid) as error:
            if isinstance(error, ProviderError) and error.kind not in UNUSABLE:
                self.failed.update(dict.fromkeys(pairs, error))
                self.ask.done(len(pairs))
                return
            self.ask.note("an answer about several pairs was unusable: asked one by one")
            await asyncio.gather(*(self._one(pair) for pair in pairs))
            return
        true = reply.parsed
        self.said.update({pair: place in true for place, pair in enumerate(pairs)})
        self.ask.done(len(pairs))

    async def _cascaded(self, pairs: Sequence[Pair]) -> None:
        assert self.cascade is not None
        predicate = self.wording.predicate
        try:
            found = await answer_all(
                self.ask, self.cascade, [self.single(pair) for pair in pairs], predicate.value
            )
        except Stopped:
            self.stopped = True
            return
        for pair, reply in zip(pairs, found.replies, strict=True):
            if reply is None or isinstance(reply, ProviderError | Invalid):
                self.failed[pair] = reply or Invalid("no answer")
                continue
            try:
                self.said[pair] = bool(predicate.value(reply))
            except Invalid as error:
                self.failed[pair] = error
        self.ask.done(len(pairs))

    def single(self, pair: Pair) -> Request:
        return self.wording.single(self.left[pair[0]], self.right[pair[1]], self.alias)

    def group(self, i: int, places: Sequence[int]) -> Request:
        return self.wording.grouped(self.left[i], [self.right[j] for j in places], self.alias)


def grouped(
    pairs: Sequence[Pair], right: Sequence[Row], most_chars: int, size: int
) -> Iterator[tuple[int, list[int]]]:
    """Each left row with its candidates in groups of like size, at most `size` and `most_chars`."""
    by_left: dict[int, list[int]] = {}
    for i, j in pairs:
        by_left.setdefault(i, []).append(j)
    for i in sorted(by_left):
        places = sorted(by_left[i])
        longest = max(sum(map(len, right[j])) for j in places)
        most = max(min(size, most_chars // max(longest, 1)), 1)
        calls = -(-len(places) // most)
        for at in range(calls):
            yield i, places[at * len(places) // calls : (at + 1) * len(places) // calls]


def local(ask: Ask, alias: str) -> bool:
    return ask.model(alias).provider == LOCAL
