"""Cheap features of a prompt: what can be read off it in a fraction of a millisecond.

A multiple-choice question is taken apart into its stem and its options: lengths and numbers mean
different things in each.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import islice

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_OPTION = re.compile(r"(?m)^\s*\(?([A-J])[.)]\s+")
_WORD = re.compile(r"[A-Za-z]+")
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_NUMERIC = re.compile(r"[\W\d_]*\d[\W\d_]*[\w^/*%\\{} .-]{0,24}")
_SENTENCE = re.compile(r"[.!?](?:\s|$)")
_CODE = ("```", "#include", "\\frac")
_DEFINES = re.compile(r"\bdef \w+\(")
_LETTER = np.zeros(256, np.bool_)
_LETTER[[*range(65, 91), *range(97, 123)]] = True
_CODE_WORDS = re.compile(r"def |return |```|;\n|\bcode\b|\bfunction\b|python|==")
_ASKS = re.compile(
    r"\b(how many|how much|how long|how far|how old|what (?:is|was|will be) the (?:\w+ )?(?:total|"
    r"sum|number|probability|value|percentage|average|cost|price|difference)|calculate|compute|"
    r"solve|evaluate|find|determine)\b"
)
_NEGATED = re.compile(r"\b(not|except|false|incorrect|least)\b")
_EXPLAIN = re.compile(r"(why|how|explain|describe|discuss)\b")
_WRITE = re.compile(
    r"\b(write|compose|draft|create|suggest|recommend|rewrite|imagine|pretend|story|essay|email|"
    r"poem|blog)\b"
)
_MINE = re.compile(r"\b(i|my|me|i'm)\b")
_QUANTITY = frozenset(
    (
        *("each", "every", "total", "half", "twice", "double", "triple", "per", "percent", "more"),
        *("less", "times", "than", "remaining", "left", "many", "much", "if"),
    )
)

NAMES = (
    "words",
    "stem words",
    "characters",
    "sentences",
    "words a sentence",
    "word length",
    "variety of words",
    "numbers",
    "digits",
    "capitals",
    "mathematical signs",
    "LaTeX",
    "code",
    "options",
    "words an option",
    "numeric options",
    "spread of option lengths",
    "question mark",
    "which of the following",
    "negation",
    "asks for an explanation",
    "asks for a quantity",
    "asks to write",
    "lines",
    "long words",
    "words of quantity",
    "capitalised words",
    "punctuation",
    "numbers a word",
    "first person",
    "commas",
)


def split(prompt: str) -> tuple[str, list[str]]:
    """The stem of a prompt, and its options A, B, … where it is multiple choice (else none)."""
    text = prompt.strip().removesuffix("Answer:").rstrip()
    found = list(_OPTION.finditer(text))
    first = max((i for i, m in enumerate(found) if m.group(1) == "A"), default=None)
    if first is None:
        return text, []
    run = found[first:]
    if len(run) < 2 or [m.group(1) for m in run] != [chr(65 + i) for i in range(len(run))]:
        return text, []
    ends = [*(m.start() for m in run[1:]), len(text)]
    options = [text[m.end() : end].strip() for m, end in zip(run, ends, strict=True)]
    return text[: run[0].start()].strip(), options


def word_count(prompt: str) -> int:
    """Runs of letters (A to Z): numbers and signs are no words."""
    # As `len(_WORD.findall(prompt))`, at a tenth of its cost. Bytes of other letters are above 127.
    coded = np.frombuffer(prompt.encode("utf-8", "surrogatepass"), np.uint8)
    letter = _LETTER[coded]
    return int(np.count_nonzero(letter[1:] & ~letter[:-1])) + int(letter[:1].sum())


def checkable(prompt: str) -> bool:
    """Whether the answer is plainly right or wrong: multiple choice, code or formulas, or a
    quantity that is asked for from two numbers or more."""
    stem, options = split(prompt)
    if options or any(sign in stem for sign in _CODE):
        return True
    if "def " in stem and _DEFINES.search(stem):
        return True
    numbers = sum(1 for _ in islice(_NUMBER.finditer(stem), 2))
    return numbers == 2 and bool(_ASKS.search(stem.lower()))


def lexical(prompts: Sequence[str]) -> Floats:
    """The features in `NAMES`. Shape (n, 31); counts and lengths are on a log scale."""
    made = np.zeros((len(prompts), len(NAMES)))
    for row, prompt in enumerate(prompts):
        made[row] = _features(prompt)
    return made


def _features(prompt: str) -> list[float]:
    stem, options = split(prompt)
    low = stem.lower()
    words, all_words = _WORD.findall(stem), word_count(prompt)
    count, size = max(len(words), 1), max(len(prompt), 1)
    sentences = max(1, len(_SENTENCE.findall(stem)))
    numbers = len(_NUMBER.findall(stem))
    numeric = sum(bool(_NUMERIC.fullmatch(o)) for o in options)
    return [
        float(np.log1p(all_words)),
        float(np.log1p(len(words))),
        float(np.log1p(len(prompt))),
        float(np.log1p(sentences)),
        len(words) / sentences,
        sum(map(len, words)) / count,
        len({w.lower() for w in words}) / count**0.8,
        float(np.log1p(numbers)),
        sum(c.isdigit() for c in prompt) / size,
        sum(c.isupper() for c in prompt) / size,
        sum(c in "+-*/=<>^_\\{}$" for c in prompt) / size,
        float("\\" in prompt or "$" in prompt),
        float(bool(_CODE_WORDS.search(low))),
        len(options) / 10,
        float(np.log1p(sum(len(o.split()) for o in options) / len(options))) if options else 0.0,
        numeric / len(options) if options else 0.0,
        float(np.log1p(np.std([len(o) for o in options]))) if options else 0.0,
        float("?" in stem),
        float("which of the following" in low),
        float(bool(_NEGATED.search(low))),
        float(bool(_EXPLAIN.match(low))),
        float(bool(_ASKS.search(low))),
        float(bool(_WRITE.search(low))),
        float(np.log1p(stem.count("\n"))),
        sum(len(w) > 9 for w in words) / count,
        sum(w.lower() in _QUANTITY for w in words) / count,
        sum(w[0].isupper() for w in words) / count,
        sum(not c.isalnum() and not c.isspace() for c in prompt) / size,
        numbers / count,
        float(bool(_MINE.search(low))),
        stem.count(",") / count,
    ]
