"""What can be seen of an answer that says how good it is: a cascade's evidence.

The same numbers are taken of a live answer (`evidence`) and of a training table's rows
(`measured`), so that what was learned of one holds for the other. Of texts only numbers are kept.

Answers of several samples agree where they are the same once normalized (labels, numbers, JSON),
and by as much as their words overlap where they are longer texts.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from swath.errors import InputError
from swath.messages import Completion

if TYPE_CHECKING:
    import polars as pl

START = 5  # tokens: an answer's first ones decide what it will be
PROBABILITIES = {"sure": -5.0, "least": -12.0, "first": -6.0}
"""Geometric mean of the token probabilities, the smallest, that of the first five; and below which
logarithm they are all alike."""
OF_TEXT = ("words", "hedged", "overlap")
EVIDENCE = (*PROBABILITIES, *OF_TEXT, "cut", "agreement")
"""In the order of the arrays. `words` is log(1 + words), `hedged` whether the answer doubts itself
or declines, `overlap` the share of its words that the prompt has, `cut` whether it ended at the
limit of tokens, `agreement` the share of samples that say the same."""
SHORT = 8  # words: up to here answers are the same or not

_WORD = re.compile(r"\w+")
_NUMBER = re.compile(r"[-+]?\d[\d,]*(?:\.\d+)?(?:e[-+]?\d+)?")
_HEDGE = re.compile(
    r"\b(?:not (?:entirely |completely )?(?:sure|certain)|unsure|uncertain|i (?:do not|don't) know|"
    r"cannot (?:determine|tell|answer|say)|can't (?:determine|tell|answer|say)|unable to|"
    r"as an ai|it is unclear|not enough information|insufficient information|hard to say|"
    r"i apologize|i'm sorry|i am sorry)\b",
    re.IGNORECASE,
)


def sureness(reply: Completion) -> float | None:
    """The probability that a model gives to its own words: their geometric mean, or the label's
    score. None where it tells neither."""
    if reply.scores:
        total = sum(reply.scores.values())
        return reply.scores.get(reply.text, 0.0) / total if total > 0 else None
    return _mean([token.logprob for token in reply.logprobs])


def evidence(prompt: str, reply: Completion, agreement: float | None = None) -> dict[str, float]:
    """What `reply` shows, by name; what cannot be told is left out."""
    made = _of_text(prompt, reply.text)
    made["cut"] = float(reply.finish == "length")
    told = {"sure": sureness(reply)}
    if reply.logprobs and not reply.scores:
        tokens = [token.logprob for token in reply.logprobs]
        told |= {"least": math.exp(min(tokens)), "first": _mean(tokens[:START])}
    made |= {name: _log(value, name) for name, value in told.items() if value is not None}
    if agreement is not None:
        made["agreement"] = agreement
    return made


def measured(table: pl.DataFrame) -> pl.DataFrame:
    """Evidence from the columns that `table` has of `answer` (text), `sure`, `least`, `first`,
    `agreement` (0 to 1) and `finish`, and `cost` in dollars where it is there: as many rows, only
    such columns. Raises InputError where a value is out of range."""
    import polars as pl

    made: dict[str, pl.Series] = {}
    for name in (*PROBABILITIES, "agreement", "cost"):
        if name not in table.columns:
            continue
        most = math.inf if name == "cost" else 1.0
        values = _numbers(table, name, most)
        if name in PROBABILITIES:
            values = [None if v is None else _log(v, name) for v in values]
        made[name] = pl.Series(name, values, pl.Float64)
    if "answer" in table.columns:
        pairs = zip(table["prompt"].cast(pl.String), table["answer"].cast(pl.String), strict=True)
        rows = [
            {} if answer is None else _of_text(prompt or "", answer) for prompt, answer in pairs
        ]
        for name in OF_TEXT:
            made[name] = pl.Series(name, [row.get(name) for row in rows], pl.Float64)
    if "finish" in table.columns:
        cut = (table["finish"].cast(pl.String) == "length").cast(pl.Float64)
        made["cut"] = cut.alias("cut")
    return pl.DataFrame(made)


def agreement(texts: Sequence[str]) -> tuple[float, int]:
    """The largest share of `texts` that say the same as one of them, itself included, and which one
    that is (the first of several). Longer texts count by the overlap of their words."""
    if not texts:
        raise InputError("There are no samples to compare.", hint="Give one text or more.")
    forms = [_form(text) for text in texts]
    shares = [sum(_alike(one, other) for other in forms) / len(forms) for one in forms]
    best = max(shares)
    return best, next(i for i, share in enumerate(shares) if share >= best - 1e-9)


def _form(text: str) -> tuple[str, Counter[str]]:
    """A text's normal form, and its words: JSON whatever its order and spaces, a number however it
    is written, other texts without case, spaces and punctuation at the ends."""
    bare = text.strip()
    if bare[:1] in ("{", "["):
        try:
            return json.dumps(json.loads(bare), sort_keys=True), Counter()
        except ValueError:
            pass
    low = " ".join(bare.casefold().split()).strip(" .,;:!?\"'`*()")
    if _NUMBER.fullmatch(low):
        return f"{float(low.replace(',', '')):.12g}", Counter()
    words = _WORD.findall(low)
    return low, Counter(words) if len(words) > SHORT else Counter()


def _alike(one: tuple[str, Counter[str]], other: tuple[str, Counter[str]]) -> float:
    """1 where the normal forms are the same; else F1 of the words, where both are longer texts."""
    if one[0] == other[0]:
        return 1.0
    total = one[1].total() + other[1].total()
    if not one[1] or not other[1]:
        return 0.0
    return 2 * (one[1] & other[1]).total() / total


def _of_text(prompt: str, answer: str) -> dict[str, float]:
    words = _WORD.findall(answer.casefold())
    known = set(_WORD.findall(prompt.casefold()))
    return {
        "words": math.log1p(len(words)),
        "hedged": float(_HEDGE.search(answer) is not None),
        "overlap": sum(word in known for word in words) / len(words) if words else 0.0,
    }


def _mean(logprobs: Sequence[float]) -> float | None:
    return math.exp(sum(logprobs) / len(logprobs)) if logprobs else None


def _log(probability: float, name: str) -> float:
    least = PROBABILITIES[name]
    return max(math.log(probability), least) if probability > 0 else least


def _numbers(table: pl.DataFrame, name: str, most: float) -> list[float | None]:
    import polars as pl

    column = table[name]
    if not column.dtype.is_numeric() and column.dtype != pl.Null:
        raise InputError(
            f"The column '{name}' holds {column.dtype}, not numbers.",
            hint="Leave the column out, or give numbers."
            if most > 1
            else "Give shares from 0 to 1.",
        )
    values = column.cast(pl.Float64).to_list()
    wrong = [v for v in values if v is not None and not 0 <= v <= most]
    if wrong:
        raise InputError(
            f"{len(wrong):,} values of the column '{name}' are out of range, such as {wrong[0]:g}.",
            hint="Give dollars, 0 or more." if most > 1 else "Give probabilities from 0 to 1.",
        )
    return values
