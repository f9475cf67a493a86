"""Finding the true pairs of two lists of rows by asking about few of them.

rank the pairs by likeness ─▶ test likeness on pairs far apart ─▶ ask by rank, in rounds,
until what is left can hold few true pairs (`depth.py`)
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

from swath.errors import InputError
from swath.operators.depth import recall
from swath.operators.pairs import Judge, Pair
from swath.operators.similar import Ranked, further, rank, vectors_for

Candidates = Literal["auto", "all", "embedding", "lexical"] | int
NAMES = ("auto", "all", "embedding", "lexical")
FEW = 400  # pairs: asked about one and all
ROUNDS = (5, 6, 8, 10, 12, 16, 24, 32)  # fewer ranks tell too little of how true pairs thin out
GROUP_ROUNDS = (6, 8, 12, 16, 24, 32)  # a prompt holds several candidates: larger rounds
EXPECTED = 6  # the rank that `explain` takes asking to end at
FAR_LEAST, FAR_MOST = 32, 200  # pairs far apart that are asked about
USELESS = 0.05  # of those that are true: likeness does not tell true pairs from others


@dataclass(frozen=True)
class Settings:
    """What the user said: see `sw.join`."""

    candidates: Candidates = "auto"
    recall: float = 0.98
    max_pairs: int | None = None
    embed_model: str | None = None

    def checked(self) -> Settings:
        """Raises InputError."""
        known = self.candidates in NAMES or (
            isinstance(self.candidates, int)
            and not isinstance(self.candidates, bool)
            and self.candidates > 0
        )
        if not known:
            raise InputError(
                "candidates= is neither a number nor a known way to choose pairs.",
                hint=f"Give {', '.join(map(repr, NAMES))}, or how many of each row's nearest.",
            )
        if not 0 < self.recall <= 1:
            raise InputError("recall= is a share.", hint="For example recall=0.98.")
        if self.max_pairs is not None and self.max_pairs < 1:
            raise InputError("max_pairs= must be at least 1.", hint="Leave it out for no limit.")
        return self

    @property
    def lexical(self) -> bool:
        return self.candidates != "embedding"

    def rounds(self, size: int) -> tuple[int, ...]:
        if isinstance(self.candidates, int):
            return (self.candidates,)
        return ROUNDS if size == 1 else GROUP_ROUNDS

    def everything(self, total: int) -> bool:
        """Whether all pairs are asked about, whatever they are like."""
        if self.max_pairs is not None and total > self.max_pairs:
            return False
        return (
            self.candidates == "all"
            or self.recall == 1
            or (total <= FEW and not isinstance(self.candidates, int))
        )


def all_pairs(n: int, m: int, same: bool) -> list[Pair]:
    return [(i, j) for i in range(n) for j in range(i + 1 if same else 0, m)]


def far_apart(n: float, m: float) -> int:
    """How many pairs that are nothing alike are asked about."""
    return min(max(int(n + m) // 16, FAR_LEAST), FAR_MOST)


async def find(
    judge: Judge, left: Sequence[str], right: Sequence[str], settings: Settings, same: bool
) -> None:
    """Fills `judge.said`. `left`, `right` are texts to compare the rows by; `same`: both lists are
    one, and each pair of it is asked about once. Says in the run's notes what was left out."""
    n, m = len(left), len(right)
    total = n * (n - 1) // 2 if same else n * m
    if not total:
        return
    ask = judge.ask
    if settings.everything(total):
        ask.done(0, total)
        await judge.about(all_pairs(n, m, same))
        return
    rounds = settings.rounds(judge.size if judge.cascade is None else 2)
    vectors = await vectors_for(ask, left, right, _kind(settings), settings.embed_model)
    ranked = await asyncio.to_thread(
        partial(rank, either=not isinstance(settings.candidates, int)),
        left,
        right,
        rounds[-1],
        vectors=vectors,
        lexical=settings.lexical,
        same=same,
    )
    told: dict[Pair, bool] = {}
    if not isinstance(settings.candidates, int):
        far = further(ranked, n, m, far_apart(n, m), same)
        await judge.about(far)
        told = {pair: judge.said[pair] for pair in far if pair in judge.said}
        if sum(told.values()) >= max(2, USELESS * len(told)):
            await _whole(judge, n, m, total, settings, same, sum(told.values()) / len(told))
            return
    await _by_rank(judge, ranked, rounds, settings, total, max(n, m), told)


async def _by_rank(
    judge: Judge,
    ranked: Ranked,
    rounds: Sequence[int],
    settings: Settings,
    total: int,
    ranks: int,
    told: dict[Pair, bool],
) -> None:
    done, asked, matches = 0, 0, [0] * rounds[-1]
    room = settings.max_pairs
    for depth in rounds:
        pairs = ranked.between(done, depth)
        cut = room is not None and asked + len(pairs) > room
        if cut:
            assert room is not None
            pairs = pairs[: room - asked]
        judge.ask.done(0, asked + len(pairs))
        await judge.about(pairs)
        if judge.stopped:
            return
        asked += len(pairs)
        for r in range(done, depth):
            matches[r] = sum(judge.said.get(p, False) for p in ranked.between(r, r + 1))
        done = depth
        found = recall(matches[:done], ranks)
        if cut or found.estimate >= settings.recall:
            break
    asked += len(told)
    what = (
        f"pairs: asked about {asked:,} of {total:,} ({asked / total:.2%}), "
        f"the {done} nearest of each row either way"
    )
    if cut:
        what += f", up to max_pairs={room:,}"
    judge.ask.note(f"{what}; estimated share of the true pairs: {found}")
    if told:
        hits = sum(told.values())
        judge.ask.note(
            f"pairs: of {len(told):,} drawn from those further apart, {hits:,} "
            + ("was" if hits == 1 else "were")
            + " said to be true"
        )


async def _whole(
    judge: Judge, n: int, m: int, total: int, settings: Settings, same: bool, share: float
) -> None:
    """Likeness does not tell: everything, as far as the user lets it."""
    pairs = all_pairs(n, m, same)
    limit = settings.max_pairs
    if limit is not None:
        pairs = pairs[:limit]
    judge.ask.done(0, len(pairs))
    judge.ask.note(
        f"pairs: {share:.0%} of those that are not alike are true too, so asking about "
        f"{len(pairs):,} of {total:,}"
    )
    await judge.about(pairs)


def _kind(settings: Settings) -> Literal["auto", "embedding", "lexical"]:
    if settings.candidates == "embedding" or settings.candidates == "lexical":
        return settings.candidates
    return "auto"
