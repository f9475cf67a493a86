"""Short rows several to a call, where the model then answers as it does one by one.

The first packs are asked both ways. If at least AGREE of the answers are equal, the rest goes
packed; else nothing does. What was tried is in the run's notes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from swath.engine.shape import Invalid
from swath.errors import ProviderError
from swath.messages import Completion, Request
from swath.operators.base import Operator
from swath.operators.parts import packed_answers, packed_question

if TYPE_CHECKING:
    from swath.frames.asking import Asker

SHORT = 600  # characters of a row that is packed
MOST = 10  # rows of a pack
ROOM = 4000  # characters of its rows together
TRIED = 20  # answers that are compared
AGREE = 0.9  # share of them that must be equal


def packs(operator: Operator, requests: Sequence[Request]) -> list[list[int]]:
    """Places of `requests` that go together, in order; a long row goes alone."""
    out: list[list[int]] = []
    room = 0
    for place, request in enumerate(requests):
        size = len(operator.text_of(request))
        fits = size <= SHORT and size <= room and out and len(out[-1]) < MOST
        if fits and requests[out[-1][0]].model == request.model:
            out[-1].append(place)
            room -= size
        else:
            out.append([place])
            room = ROOM - size if size <= SHORT else 0
    return out


def question(operator: Operator, requests: Sequence[Request]) -> Request:
    """The one question of a pack."""
    assert operator.part is not None
    texts = [operator.text_of(request) for request in requests]
    return packed_question(operator.part, texts, requests[0])


class Packing:
    """What is known of one column's packs in one run."""

    def __init__(self, operator: Operator, name: str) -> None:
        self._operator = operator
        self._name = name
        self._compared = self._equal = 0
        self._lock = asyncio.Lock()
        self.agreed: bool | None = None

    async def answer(self, ask: Asker, requests: Sequence[Request]) -> list[Any]:
        """The cells, or the error in place of one."""
        if self.agreed is None:
            async with self._lock:
                if self.agreed is None:
                    return await self._tried(ask, requests)
        return await (self._together(ask, requests) if self.agreed else self._alone(ask, requests))

    async def _tried(self, ask: Asker, requests: Sequence[Request]) -> list[Any]:
        together = await self._packed(ask, requests)
        alone = await self._alone(ask, requests)
        for one, other in zip(together or [None] * len(requests), alone, strict=True):
            self._compared += 1
            self._equal += one == other
        if self._compared >= TRIED:
            self.agreed = self._equal >= AGREE * self._compared
            verdict = "so rows are packed" if self.agreed else "so none are packed"
            ask.note(
                f"'{self._name}': {self._equal} of {self._compared} answers were equal when "
                f"several rows went into one call, {verdict}"
            )
        return alone

    async def _together(self, ask: Asker, requests: Sequence[Request]) -> list[Any]:
        alone = [self._read(reply) for reply in ask.stored(requests)]
        if None not in alone:
            return await self._alone(ask, requests)
        found = await self._packed(ask, requests)
        if found is None:
            return await self._alone(ask, requests)
        return [one if own is None else own for one, own in zip(found, alone, strict=True)]

    def _read(self, reply: Completion | None) -> Any:
        """A cell, the error in place of one, or None where there is no answer."""
        if reply is None:
            return None
        try:
            return self._operator.value(reply)
        except Invalid as error:
            return error

    async def _packed(self, ask: Asker, requests: Sequence[Request]) -> list[Any] | None:
        part = self._operator.part
        assert part is not None
        asked = question(self._operator, requests)
        try:
            reply = await ask(
                asked,
                lambda text: packed_answers(part, asked, text, len(requests)),
                self._operator.fallback,
            )
        except (ProviderError, Invalid):
            return None
        return list(reply.parsed)

    async def _alone(self, ask: Asker, requests: Sequence[Request]) -> list[Any]:
        replies = await ask.many(requests, self._operator.check, self._operator.fallback)
        return [self._read(r) if isinstance(r, Completion) else r for r in replies]
