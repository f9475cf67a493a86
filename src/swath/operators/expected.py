"""What a join would ask, before it is run: for `explain`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeVar

import polars as pl

from swath.messages import Message
from swath.operators import property as compared
from swath.operators.asking import Sizes
from swath.operators.base import Operator
from swath.operators.cascade import Cascade
from swath.operators.matching import EXPECTED, Settings, all_pairs, far_apart
from swath.operators.pairs import GROUP_CHARS, Row, group_size, grouped
from swath.operators.similar import rank
from swath.operators.table import Forecast
from swath.operators.wording import Wording
from swath.providers import LOCAL

T = TypeVar("T")
SHOWN = 400  # questions that are measured
RANKED = 1000  # rows a side that pairs are counted on


def expected_labels(look: Sizes, sides: Iterable[tuple[Operator, pl.DataFrame, float]]) -> Forecast:
    """One question for each distinct row of each side."""
    cast = Forecast()
    default = look.default
    seen: set[tuple[str, tuple[Message, ...]]] = set()
    for operator, table, rows in sides:
        scale = rows / max(table.height, 1)
        for request in operator.requests(table, default):
            if request is not None and (request.model, request.messages) not in seen:
                seen.add((request.model, request.messages))
                cast.requests.append(request)
                cast.calls[request.model] = cast.calls.get(request.model, 0.0) + scale
    return cast


def expected_pairs(
    look: Sizes,
    wording: Wording,
    left: Sequence[Row],
    right: Sequence[Row],
    *,
    scale: tuple[float, float],
    same: bool,
    settings: Settings,
    pairs_per_call: str | int,
    cascade: Cascade | None,
    rewrite: bool,
) -> Forecast:
    """For distinct rows of samples of two tables, of which the whole is `scale` times as large."""
    predicate = wording.predicate
    alias = predicate.model if isinstance(predicate.model, str) else look.default
    cast = Forecast()
    n, m = len(left) * scale[0], len(right) * scale[1]
    total = n * (n - 1) / 2 if same else n * m
    if not left or not right:
        return cast
    can = rewrite and cascade is None and settings.candidates == "auto"
    if can and compared.candidate(wording) and compared.worth_it(round(n), round(m), left == right):
        return _labels(wording, left, right, n, m, alias)
    size = group_size(pairs_per_call, look.model(alias).provider == LOCAL)
    left, right = left[:RANKED], right[:RANKED]
    grow = (n + m) / (len(left) + len(right))
    if settings.everything(round(total)):
        pairs = all_pairs(len(left), len(right), same)
        grow = total / max(len(pairs), 1)
    else:
        fixed = isinstance(settings.candidates, int)
        depth = settings.candidates if isinstance(settings.candidates, int) else EXPECTED
        texts = ([" ".join(row) for row in left], [" ".join(row) for row in right])
        pairs = rank(*texts, depth, same=same, either=not fixed).between(0, depth)
        if not fixed:
            cast.assumed += (f"a join asks about the {depth} nearest of each row, either way",)
    number = len(pairs) * grow
    if settings.max_pairs is not None:
        number = min(number, settings.max_pairs)
    share = number / max(len(pairs), 1)
    if cascade is not None:
        cast.requests = [wording.single(left[i], right[j], alias) for i, j in thin(pairs)]
        cast.calls = cascade.calls(number)
        return cast
    if size == 1:
        cast.requests = [wording.single(left[i], right[j], alias) for i, j in thin(pairs)]
        cast.calls = {alias: number}
    else:
        groups = list(grouped(pairs, right, GROUP_CHARS, size))
        cast.requests = [
            wording.grouped(left[i], [right[j] for j in js], alias)
            if len(js) > 1
            else wording.single(left[i], right[js[0]], alias)
            for i, js in thin(groups)
        ]
        cast.calls = {alias: len(groups) * share}
    if not settings.everything(round(total)) and not isinstance(settings.candidates, int):
        deepest = settings.rounds(size)[-1]
        far = total * max(1 - deepest / n, 0) * max(1 - deepest / m, 0)
        cast.calls[alias] += min(far_apart(n, m), far)
    return cast


def _labels(
    wording: Wording, left: Sequence[Row], right: Sequence[Row], n: float, m: float, alias: str
) -> Forecast:
    made = compared.Property("Which of these is it?", ("one", "other"), alias, ())
    operator = made.operator("text")
    texts = list(dict.fromkeys(row[0] for row in [*left, *right]))
    shared = len(texts) / (len(left) + len(right))
    requests = [operator.ask(text, alias) for text in thin(texts)]
    calls = (n + m) * shared + compared.CHECKED + 1
    return Forecast(
        requests,
        {alias: calls},
        assumed=("the statement compares one property of each row, so rows are labelled",),
    )


def thin(items: Sequence[T]) -> Sequence[T]:
    """Up to SHOWN of them, spread evenly."""
    return items[:: -(-len(items) // SHOWN) or 1]
