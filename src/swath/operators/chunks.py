"""Long texts in pieces that a model can read."""

from __future__ import annotations

import re

# From the border that hurts least to the one that hurts most.
_BORDERS = tuple(map(re.compile, (r"\n\s*\n", r"(?<=[.!?…。！？])[\"'”’)\]]*\s+|\n", r"\s+")))


def split(text: str, most: int) -> list[str]:
    """`text` in contiguous pieces of at most `most` characters and about equal length, cut between
    paragraphs, sentences or words where there are any. Joined, they are the text."""
    if most < 1:
        raise ValueError("a piece has at least one character")
    pieces: list[str] = []
    start = 0
    while (left := len(text) - start) > most:
        even = -(-left // -(-left // most))
        end = start + _cut(text[start : start + most], even)
        pieces.append(text[start:end])
        start = end
    return [*pieces, text[start:]]


def _cut(window: str, even: int) -> int:
    """Where to end a piece: at the border nearest to `even` that is not far from it."""
    for border in _BORDERS:
        ends = [match.end() for match in border.finditer(window, even // 2)]
        if ends:
            return min(ends, key=lambda end: abs(end - even))
    return min(even, len(window))
