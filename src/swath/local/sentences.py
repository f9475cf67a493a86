"""A text cut into sentences, each an exact stretch of it: what a quote may be.

Invariants: the pieces, in order, cover every character that is not white space; each is a
substring of the text without white space at its ends; none is longer than `LONGEST` unless it has
no place to be cut.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise

LONGEST = 320  # characters; a sentence beyond it is cut at clause marks
SHORTEST = 25  # a stretch below it says too little to be evidence

# Where a sentence may end: closing marks after a stop, then white space; or a line break.
_END = re.compile(r"[.!?…]+[\"'”’»)\]]*(?=\s)|\n+|[。！？]")
_ABBREVIATION = re.compile(
    r"(?:^|[\s(\"'“‘])(?:(?:[A-Za-z]\.)+|(?:Mr|Mrs|Ms|Dr|Prof|St|Hon|Rt|Sr|Jr|Nr|No|Nos|Art|vs|cf"
    r"|e\.g|i\.e|etc|approx|vol|pp?|ed|al|Inc|Ltd|Co|Corp|Fig|Sec|para)\.)$"
)
_CLAUSE = re.compile(r"[;:—–]\s|,\s")


def sentences(text: str) -> list[str]:
    """The sentences of `text`, in order."""
    found: list[str] = []
    start = 0
    for mark in _END.finditer(text):
        end = mark.end()
        if text[mark.start()] == "." and _goes_on(text, start, end):
            continue
        found.extend(_fitting(text[start:end].strip()))
        start = end
    found.extend(_fitting(text[start:].strip()))
    return found


def quotable(text: str) -> list[str]:
    """The distinct sentences that are worth quoting; all of them where none is."""
    every = list(dict.fromkeys(sentences(text)))
    return [s for s in every if len(s) >= SHORTEST] or every


def _goes_on(text: str, start: int, end: int) -> bool:
    """Whether the stop before `end` ends an abbreviation, or is followed by a small letter."""
    following = text[end:].lstrip(" \t")[:1]
    if following.islower():
        return True
    before = text[max(start, end - 12) : end]
    return bool(_ABBREVIATION.search(before)) and following not in ("", "\n")


def _fitting(sentence: str) -> Iterator[str]:
    """The sentence, or its clauses where it is long: cut as late as fits, never in a word."""
    while len(sentence) > LONGEST:
        cuts = [m.end() for m in _CLAUSE.finditer(sentence, SHORTEST, LONGEST)]
        if not cuts:
            space = sentence.rfind(" ", SHORTEST, LONGEST)
            if space < 0:
                break
            cuts = [space]
        yield sentence[: cuts[-1]].rstrip()
        sentence = sentence[cuts[-1] :].lstrip()
    if sentence:
        yield sentence


def openings(of: list[str]) -> dict[str, str]:
    """For each sentence the shortest run of its words that no other sentence opens with.

    Once a model has written that much, the rest is settled: it need not be written by the model.
    Keys are the openings, values the sentences, in order.
    """
    ordered = sorted(of)
    shared: dict[str, int] = dict.fromkeys(of, 0)
    for one, other in pairwise(ordered):
        common = _common(one, other)
        shared[one] = max(shared[one], common)
        shared[other] = max(shared[other], common)
    return {_opening(sentence, shared[sentence]): sentence for sentence in of}


def _opening(sentence: str, shared: int) -> str:
    space = sentence.find(" ", shared + 1)
    return sentence if space < 0 else sentence[:space]


def _common(one: str, other: str) -> int:
    length = 0
    for a, b in zip(one, other, strict=False):
        if a != b:
            break
        length += 1
    return length
