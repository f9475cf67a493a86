"""How a cascade is carried out: learn thresholds from a sample, then ask small before large.

For an operator over a whole table, such as a join:

    found = await answer_all(ask, cascade, requests, value)

`requests` are yes-or-no questions, `value(completion)` says true or false, and `found.replies` are
the answers in order, as `ask.many` gives them. Its `forecast` has `cascade.calls(questions)`, and
its `model`, `fallback` are `cascade.large`, `(cascade.small,)`, so that a plan names both.
Row operators are wrapped: `cascaded.py`.

The sample's rows are asked of both models, in looks of growing size, for as long as a larger sample
is likely to save calls. They keep the large model's answer.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

from msgspec.structs import replace

from swath.engine.shape import Invalid
from swath.messages import Completion, Message, Request
from swath.operators.asking import Ask, Check, Failed
from swath.operators.cascade import Cascade, Promise
from swath.operators.guarantees import Cut, Seen, Target, cut

Value = Callable[[Completion], Any]
Key = tuple[Message, ...]
"""What tells questions of one operator apart, whichever model they go to."""


@dataclass(frozen=True)
class Answers:
    """In the order of the questions: the answer that counts, of one model or the other."""

    replies: list[Completion | Failed | None]
    promise: Promise


async def answer_all(
    ask: Ask,
    cascade: Cascade,
    requests: Sequence[Request | None],
    value: Value,
    check: Check | None = None,
    target: Target = "both",
) -> Answers:
    """All `requests` (for either model, None stays None) answered: a sample of them by both models,
    the rest by the small one, and where it is unsure by the large one.

    `cascade.target` goes before `target`. A reply may be the error that the large model's answer
    ended in. Raises Stopped."""
    target = cascade.target or target
    large = [None if r is None else replace(r, model=cascade.large) for r in requests]
    places = [i for i, request in enumerate(large) if request is not None]
    random.Random(cascade.seed).shuffle(places)
    pool = [large[i] for i in places]
    promise, known = await learn(ask, cascade, pool, len(pool), value, check, target)
    replies = [None if r is None else known.get(r.messages) for r in large]
    rest = sorted(i for i in places if replies[i] is None)
    promise.by_large += len(places) - len(rest)
    if promise.cut is not None:
        tried = await ask.many([small_question(cascade, large[i]) for i in rest], check)
        promise.spent(*{id(reply): reply for reply in tried}.values())
        for i, small in zip(rest, tried, strict=True):
            if stands(promise.cut, small, value):
                replies[i] = small
                promise.by_small += 1
        rest = [i for i in rest if replies[i] is None]
    said = await ask.many([large[i] for i in rest], check)
    promise.spent(*{id(reply): reply for reply in said}.values())
    promise.by_large += len(rest)
    for i, reply in zip(rest, said, strict=True):
        replies[i] = reply
    for text, times in promise.notes():
        ask.note(text, times)
    return Answers(replies, promise)


async def learn(
    ask: Ask,
    cascade: Cascade,
    pool: Sequence[Request | None],
    rows: int,
    value: Value,
    check: Check | None,
    target: Target,
) -> tuple[Promise, dict[Key, Completion | Failed]]:
    """The thresholds, and the large model's answers to the sample.

    `pool` are questions for the large model in a random order, drawn from `rows` rows; None has no
    question. Raises Stopped."""
    promise = Promise(
        cascade.small, cascade.large, target, cascade.quality, cascade.confidence, rows
    )
    cascade.promises.append(promise)
    known: dict[Key, Completion | Failed] = {}
    sizes, risk = cascade.looks(target, rows)
    if not sizes:
        promise.why = f"{rows:,} rows are too few to learn from"
    seen: list[Seen] = []
    candidates: list[Cut] = []
    tells = False
    done = left = 0
    for at, size in enumerate(sizes):
        part = pool[done:size]
        smalls, larges = await _both(ask, cascade, part, check)
        done += len(part)
        for request, small, large in zip(part, smalls, larges, strict=True):
            if request is None or large is None:
                left += 1
                continue
            if request.messages not in known:
                known[request.messages] = large
                promise.spent(small, large)
            pair = compared(small, large, value)
            if pair is None:
                left += 1
            else:
                seen.append(pair)
            tells = tells or (isinstance(small, Completion) and sureness(small) is not None)
        there = rows - left

        def found(scale: float, there: int = there) -> Cut:
            return cut(seen, target, cascade.quality, risk, there, scale)

        candidates.append(found(1.0))
        promise.sampled = len(seen)
        now = min(_calls(size, rows, candidate.share(seen)) for candidate in candidates)
        later = [_calls(s, rows, found(s / size).share(seen)) for s in sizes[at + 1 :]]
        if done < size or min(later, default=now) >= now:
            break
    if candidates:
        _choose(ask, promise, candidates, seen)
    if seen and not tells:
        ask.note(f"cascade: '{cascade.small}' tells no probabilities: it answers all rows or none")
    ask.note(str(promise))
    return promise, known


def _choose(ask: Ask, promise: Promise, candidates: list[Cut], seen: list[Seen]) -> None:
    best = max(candidates, key=lambda candidate: candidate.share(seen))
    promise.share = best.share(seen)
    if promise.share == 0:
        promise.why = f"a sample of {len(seen):,} rows does not bear the promise out"
    elif promise.share <= _price_ratio(ask, promise):
        promise.why = (
            f"'{promise.small}' is sure of {promise.share:.0%} of the rows, and would cost more "
            "than that saves"
        )
    else:
        promise.cut = best


def _price_ratio(ask: Ask, promise: Promise) -> float:
    """What a question to the small model costs, in questions to the large one."""
    small, large = ask.model(promise.small).price, ask.model(promise.large).price
    if small is None or large is None or not large.input:
        return 0.0
    return small.input / large.input


def _calls(sampled: int, rows: int, share: float) -> float:
    """Calls to the large model, if the small one answers `share` of what is not sampled."""
    return sampled + (rows - sampled) * (1 - share)


async def _both(
    ask: Ask, cascade: Cascade, part: Sequence[Request | None], check: Check | None
) -> list[list[Completion | Failed | None]]:
    small = [small_question(cascade, request) for request in part]
    both = await asyncio.gather(
        ask.many(small, check), ask.many(part, check), return_exceptions=True
    )
    answers = []
    for outcome in both:  # only now: what is under way at the other model is paid for
        if isinstance(outcome, BaseException):
            raise outcome
        answers.append(outcome)
    return answers


# -- single answers


def small_question(cascade: Cascade, request: Request | None) -> Request | None:
    """The same question for the small model, with its probabilities."""
    return None if request is None else replace(request, model=cascade.small, logprobs=0)


def compared(
    small: Completion | Failed | None, large: Completion | Failed, value: Value
) -> Seen | None:
    """What a row of the sample shows; None where the large model has no answer to compare with."""
    try:
        truth = None if not isinstance(large, Completion) else _plain(value(large))
    except Invalid:
        truth = None
    if truth is None:
        return None
    try:
        says = None if not isinstance(small, Completion) else _plain(value(small))
    except Invalid:
        says = None
    if says is None or not isinstance(small, Completion) or stand_in(small):
        return Seen(-1.0, slip=False, says=True, truth=truth is not False)
    return Seen(sureness(small) or 0.0, says != truth, says is not False, truth is not False)


def stands(level: Cut, small: Completion | Failed | None, value: Value) -> bool:
    """Whether the small model's answer is the row's."""
    if not isinstance(small, Completion) or stand_in(small):
        return False
    try:
        says = _plain(value(small))
    except Invalid:
        return False
    return level.trusts(sureness(small) or 0.0, says is not False)


def stand_in(reply: Completion) -> bool:
    """Whether a fallback gave it, of which the sample told nothing."""
    return any(" stepped in for " in note for note in reply.notes)


def _plain(value: Any) -> Hashable:
    """What must be equal for two answers to agree: labels without scores, sets without order."""
    if isinstance(value, dict):
        return str(value["label"])
    return tuple(sorted(value)) if isinstance(value, list) else value


def sureness(completion: Completion) -> float | None:
    """The probability that a model gives to its own answer: its label's score, or the product over
    the tokens that spell it. None where it tells neither."""
    text = completion.text
    if completion.scores:
        total = sum(completion.scores.values())
        return completion.scores.get(text, 0.0) / total if total > 0 else None
    if not completion.logprobs:
        return None
    written = "".join(token.token for token in completion.logprobs)
    start = written.rfind(text)
    end = start + len(text)
    if start < 0:  # spelled otherwise than the label: all that was written counts
        start, end = 0, len(written)
    total = position = 0.0
    for token in completion.logprobs:
        before, position = position, position + len(token.token)
        if position > start and before < end:
            total += token.logprob
    return math.exp(min(total, 0.0))
