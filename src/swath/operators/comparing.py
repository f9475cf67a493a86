"""Comparisons by asking, and what a failed answer means: not that the other items fail too."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from swath.messages import Completion
from swath.operators.asking import Ask, Failed

if TYPE_CHECKING:
    from swath.operators.rank import Ranking

TIED = "comparisons that failed count as ties"


class Comparing:
    """Compares items by asking: a `Rank`. `lost` are those that no question about succeeds."""

    def __init__(self, ranking: Ranking, ask: Ask, texts: list[str]) -> None:
        self.ranking = ranking
        self.ask = ask
        self.texts = texts
        self.lost: dict[int, Failed] = {}
        self._alias = ranking.alias(ask)
        self._sound: dict[int, None] = {}  # items that a question succeeded about

    async def __call__(self, groups: list[list[int]]) -> list[list[int]]:
        groups = [[i for i in group if i not in self.lost] for group in groups]
        orders = await self._ordered(groups)
        failed = [g for g, order in enumerate(orders) if not isinstance(order, list)]
        for g in failed:  # one after the other: each may find what the next needs to know
            orders[g] = await self._apart(groups[g], orders[g])
        return [order for order in orders if isinstance(order, list)]

    async def scored(self, items: list[int]) -> dict[int, int]:
        """Each item's score, 0 to 10."""
        requests = [self.ranking.score(self.texts[i], self._alias) for i in items]
        replies = await self.ask.many(requests, None, self.ranking.fallback)
        self.ask.done(len(items))
        scores: dict[int, int] = {}
        for item, reply in zip(items, replies, strict=True):
            if isinstance(reply, Completion):
                scores[item] = int(reply.text)
                self._sound[item] = None
            elif reply is not None:
                self.lost[item] = reply
        return scores

    async def _ordered(self, groups: list[list[int]]) -> list[list[int] | Failed]:
        shown = [self.ranking.shown(group, self.texts) for group in groups]
        requests = [
            self.ranking.compare([self.texts[i] for i in group], self._alias)
            if len(group) > 1
            else None
            for group in shown
        ]
        replies = await self.ask.many(requests, None, self.ranking.fallback)
        self.ask.done(len(groups))
        orders: list[list[int] | Failed] = []
        for group, reply in zip(shown, replies, strict=True):
            if reply is None:
                orders.append(group)
            elif not isinstance(reply, Completion):
                orders.append(reply)
            else:
                self._sound.update(dict.fromkeys(group))
                orders.append([group[i - 1] for i in _numbers(reply)])
        return orders

    async def _apart(self, group: list[int], reason: Any) -> list[int]:
        """The order of a group that no answer was got about: pair by pair, so that one item that
        no model takes costs the others nothing."""
        wins = dict.fromkeys(group, 0)
        met: set[int] = set()
        why = dict.fromkeys(group, reason)
        pairs = [[a, b] for i, a in enumerate(group) for b in group[i + 1 :]]
        if len(group) > 2:
            for pair, order in zip(pairs, await self._ordered(pairs), strict=True):
                if isinstance(order, list):
                    wins[order[0]] += 1
                    met.update(pair)
                else:
                    why.update(dict.fromkeys(pair, order))
        suspects = [item for item in group if item not in met]
        witness = next((i for i in self._sound if i not in suspects and i not in self.lost), None)
        if witness is None:
            self.lost.update({item: why[item] for item in suspects})
        else:
            probes = await self._ordered([[item, witness] for item in suspects])
            for item, probe in zip(suspects, probes, strict=True):
                if not isinstance(probe, list):
                    self.lost[item] = probe
        kept = [item for item in group if item not in self.lost]
        if len(kept) > len(met):
            self.ask.note(TIED)
        return sorted(kept, key=lambda item: (-wins[item], item))


def _numbers(reply: Completion) -> list[int]:
    if isinstance(reply.parsed, dict):
        return [int(number) for number in reply.parsed["order"]]
    first = int(reply.text)
    return [first, 3 - first]
