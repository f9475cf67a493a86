"""Texts longer than a model's window, as the user decides: `long=`

    "refuse"     the row fails, and says by how much it is too long (the default)
    "truncate"   the text is cut to what fits; the run's notes say how often
    "chunk"      the text is read in pieces, and the answers are combined

A fourth way needs no word: `model=["small", "long"]` sends what "small" cannot read to "long".
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, get_args

from swath.errors import InputError, Kind, ProviderError, listing
from swath.messages import Request
from swath.operators.asking import Ask, Sizes
from swath.operators.chunks import split
from swath.operators.template import Template

if TYPE_CHECKING:
    from swath.operators.base import Operator

Long = Literal["refuse", "truncate", "chunk"]
USABLE = 0.9  # of the window: tokens are estimated
LEAST = 200  # characters: where the instructions leave less room than that, the model says no
CLOSER = 0.7  # how much shorter to try where the model refuses what should have fitted
TRIES = 8
CUT = "texts cut to what the model's window holds"
READ_IN_PIECES = "texts read in pieces, being longer than the model's window"


def checked(long: str, text: Any) -> Long:
    """`long` if it is a word that exists, and can be obeyed."""
    if long not in get_args(Long):
        raise InputError(f"There is no long='{long}'.", hint=listing(get_args(Long), long))
    if long != "refuse" and isinstance(text, Template) and len(text.names) > 1:
        raise InputError(
            f"long='{long}' needs a template of one column: which of several should be cut?",
            hint="Join them first: .with_columns(text=pl.concat_str(…)).",
        )
    return long  # type: ignore[return-value]


async def read(operator: Operator, ask: Ask, request: Request) -> Any:
    """The cell of a row whose text may be too long. Raises what the questions raise."""
    text, about = _opened(operator, request)
    room = room_for(operator, ask, request)
    if room is None or len(text) <= room:
        try:
            return operator.value(await ask(request, operator.check, operator.fallback))
        except ProviderError as error:
            if error.kind is not Kind.CONTEXT or len(text) <= LEAST:
                raise
            room = int(len(text) * CLOSER)
    if operator.long == "truncate":
        ask.note(CUT)
        return await _cut(operator, ask, text, about, room)
    ask.note(READ_IN_PIECES)
    values = await _pieces(operator, ask, text, about, room)
    return await operator.combine(ask, request, values)


def pieces_of(operator: Operator, sizes: Sizes, request: Request) -> list[Request]:
    """The questions that `read` would ask first, for `explain`."""
    text, about = _opened(operator, request)
    room = room_for(operator, sizes, request)
    if room is None or len(text) <= room:
        return [request]
    parts = split(text, room)
    return [about(part) for part in (parts[:1] if operator.long == "truncate" else parts)]


def room_for(operator: Operator, sizes: Sizes, request: Request) -> int | None:
    """Characters of text that fit beside the instructions and the answer; None where the window is
    not known. The longest of the models that may step in counts."""
    names = [request.model, *operator.fallback]
    windows = [
        window
        for name in names
        for window in [sizes.model(name).context_window]
        if window is not None
    ]
    if not windows:
        return None
    window = max(windows)
    text, about = _opened(operator, request)
    around = sizes.tokens(about(""))
    each = max(sizes.tokens(request) - around, 1e-9) / max(len(text), 1)
    answer = request.max_tokens or min(1024, window // 4)
    return max(int((window * USABLE - around - answer) / each), LEAST)


def _opened(operator: Operator, request: Request) -> tuple[str, Callable[[str], Request]]:
    """The row's own text, and how to ask about another in its place."""
    content = request.messages[-1].content
    if isinstance(operator.text, Template):
        before, after = operator.text.parts
        text = content[len(before) : len(content) - len(after)]
    else:
        before, text, after = "", content, ""
    return text, lambda piece: operator.ask(before + piece + after, request.model)


async def _cut(
    operator: Operator, ask: Ask, text: str, about: Callable[[str], Request], room: int
) -> Any:
    for _ in range(TRIES):
        try:
            first = split(text, room)[0]
            return operator.value(await ask(about(first), operator.check, operator.fallback))
        except ProviderError as error:
            if error.kind is not Kind.CONTEXT or room <= LEAST:
                raise
            room = max(int(room * CLOSER), LEAST)
    return operator.value(await ask(about(text[:LEAST]), operator.check, operator.fallback))


async def _pieces(
    operator: Operator, ask: Ask, text: str, about: Callable[[str], Request], room: int
) -> list[Any]:
    """A value for each piece, in order; a piece that is refused all the same is halved."""

    async def one(piece: str) -> list[Any]:
        try:
            reply = await ask(about(piece), operator.check, operator.fallback)
        except ProviderError as error:
            if error.kind is not Kind.CONTEXT or len(piece) <= LEAST:
                raise
            return await _pieces(operator, ask, piece, about, max(len(piece) // 2, LEAST))
        return [operator.value(reply)]

    found = await asyncio.gather(*(one(p) for p in split(text, room) if p.strip()))
    return [value for values in found for value in values]


def merged(values: list[Any]) -> Any:
    """One value of those found in pieces of a text: lists joined without repeats, of anything else
    the first that is there; objects field by field."""
    there = [value for value in values if value is not None]
    if not there:
        return None
    if all(isinstance(value, dict) for value in there):
        return {key: merged([value.get(key) for value in there]) for key in there[0]}
    if all(isinstance(value, list) for value in there):
        joined: list[Any] = []
        for value in there:
            joined += [item for item in value if item not in joined]
        return joined
    return there[0]
