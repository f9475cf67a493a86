"""A cascade's calls: ask, judge the answer, go up where it is not good enough.

Judged by how sure the model is of its own words, by how many of its samples agree, or by a learned
verifier (`ladder.py`). An answer is held back until it is known that it stands. All questions of
one climb are one row of the ledger, with what all of them cost; samples have rows of their own.
Each question has its own key in the store, so that a climb that is gone through again asks nothing
twice and ends where it ended.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec.structs import replace

from swath.engine.call import Call, Next
from swath.engine.fallback import FALL_BACK_ON
from swath.errors import ProviderError
from swath.evidence import agreement, sureness
from swath.messages import Completion, Request

if TYPE_CHECKING:
    from swath.engine.deciding import Decision
    from swath.engine.engine import Engine
    from swath.engine.ladder import Ladder

Place = Callable[[Call, Request, Sequence[str]], None]
"""Makes a call one for another request (and model), with the aliases that then step in."""

WARMTH = 0.7  # the temperature of samples where the request has none: at 0 all would be the same


class Tried(msgspec.Struct, kw_only=True):
    """One model's turn. `looks` is how good its answer seems, `reply` None where it failed."""

    alias: str
    tries: int
    reply: Completion | None = None
    looks: float = 0.0
    said: dict[str, float]  # for the ledger


class Climb:
    """One call of a cascade. `prompt` is what the router read."""

    def __init__(
        self,
        engine: Engine,
        place: Place,
        inner: Next,
        call: Call,
        decision: Decision,
        ladder: Ladder | None,
        prompt: str,
    ) -> None:
        asked = call.request
        assert isinstance(asked, Request)
        assert call.route is not None
        self._engine, self._place, self._inner = engine, place, inner
        self._call, self._asked, self._route = call, asked, call.route
        self._decision, self._ladder, self._prompt = decision, ladder, prompt
        self._own = [model.alias for model in call.fallbacks]
        self._on_chunk = call.on_chunk
        self._done: list[Tried] = []

    async def __call__(self) -> Completion:
        """The answer that stands; the call is then one to the model that gave it. Raises what the
        last model asked raises."""
        alias: str | None = self._decision.model
        try:
            while alias is not None and self._judged(alias):
                await self._try(alias)
                alias = self._next()
            if alias is not None:
                return await self._last(alias)
        except BaseException:
            # One row, whatever came of it: nothing that was paid for goes missing.
            self._call.tries += sum(tried.tries for tried in self._done)
            raise
        held = [tried for tried in self._done if tried.reply is not None]
        return self._taken(max(held, key=lambda tried: tried.looks))

    # -- whose turn it is

    def _judged(self, alias: str) -> bool:
        """Whether the answer of `alias` is a first one. After one that failed the next stands: it
        stepped in."""
        if any(tried.reply is None for tried in self._done):
            return False
        if self._ladder is None:
            return alias == self._decision.model
        return self._ladder.judged(alias)

    def _next(self) -> str | None:
        """Who is asked after what was seen; None where the best of it stands."""
        tried, left = self._done[-1], self._left()
        if tried.reply is None:
            up = left[0] if left else None
        elif self._ladder is not None:
            looks = {t.alias: t.looks for t in self._done}
            up = self._ladder.then(self._decision.quality, looks)
        else:
            assert self._decision.trust is not None
            up = None if tried.looks >= self._decision.trust else self._decision.strong
        if up is not None:
            self._route.why = "failed" if tried.reply is None else "unsure"
        return up

    def _left(self) -> list[str]:
        """The models not asked yet, the best first."""
        asked = {tried.alias for tried in self._done}
        models = (self._decision.model, *self._decision.others)
        return [alias for alias in models if alias not in asked]

    # -- asking

    async def _try(self, alias: str) -> None:
        """Ask `alias`, and judge what it says. It is held back until that is known."""
        call, decision = self._call, self._decision
        call.on_chunk = None
        logprobs = 0 if self._asked.logprobs is None else self._asked.logprobs
        self._place(call, replace(self._asked, model=alias, logprobs=logprobs), self._own)
        call.tries, spent = 0, call.cost
        tried = Tried(alias=alias, tries=0, said={})
        self._done.append(tried)
        try:
            reply = await self._inner(call)
        except ProviderError as error:
            left = self._left()
            if not left:
                raise
            call.notes.append(f"'{left[0]}' stepped in for '{alias}' ({error.kind})")
        else:
            assert isinstance(reply, Completion)
            tried.reply = reply
            if reply.model == alias:
                await self._judge(tried, reply, decision.samples)
            elif self._ladder is not None:  # a fallback's: nothing was learned of it
                tried.looks = decision.quality[alias]
        tried.tries, call.tries = call.tries, 0
        tried.said["usd"] = round(tried.said.get("usd", 0.0) + call.cost - spent, 9)
        self._say()

    async def _judge(self, tried: Tried, reply: Completion, samples: int) -> None:
        sure, agreed = sureness(reply), None
        if samples > 1:
            several = [reply, *await self._samples(tried, samples - 1)]
            if len(several) > 1:
                agreed, best = agreement([sample.text for sample in several])
                tried.reply = several[best]
        if self._ladder is not None:
            shown = tried.reply or reply
            tried.looks = self._ladder.looks(
                self._decision.quality, tried.alias, self._prompt, shown, agreed
            )
            tried.said["quality"] = tried.looks
        else:
            told = sure if samples == 1 else agreed
            tried.looks = -1.0 if told is None else told
        self._route.sure = sure
        tried.said |= {} if sure is None else {"sure": sure}
        tried.said |= {} if agreed is None else {"agreement": agreed}

    async def _samples(self, tried: Tried, count: int) -> list[Completion]:
        """More answers of the same model to the same question, each with its own key in the store;
        what fails is left out."""
        call = self._call
        request = call.asked
        assert isinstance(request, Request)
        seed = request.seed or 0
        warmth = WARMTH if request.temperature == 0 else request.temperature
        wanted = [
            replace(request, model=tried.alias, seed=seed + i + 1, temperature=warmth)
            for i in range(count)
        ]
        route = self._decision.routed("sample")

        async def one(request: Request) -> Completion | None:
            try:
                return await self._engine.complete(
                    request,
                    run=call.run,
                    check=call.check,
                    label=call.label,
                    route=replace(route),
                    fresh=call.fresh,
                )
            except ProviderError:
                return None

        tasks = [asyncio.ensure_future(one(request)) for request in wanted]
        try:
            found = await asyncio.gather(*tasks)
        except BaseException:  # the budget is reached, or the call was given up
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            raise
        had = [reply for reply in found if reply is not None and reply.model == tried.alias]
        tried.said["usd"] = sum(reply.cost_usd for reply in found if reply is not None)
        return had

    async def _last(self, alias: str) -> Completion:
        """Ask `alias`, whose answer stands; the models not asked yet step in for it, and then the
        best of the answers that are there."""
        call = self._call
        call.on_chunk = self._on_chunk
        rest = [other for other in self._left() if other != alias]
        self._place(call, replace(self._asked, model=alias), [*self._own, *rest])
        call.tries = 0
        try:
            reply = await self._inner(call)
        except ProviderError as error:
            held = [tried for tried in self._done if tried.reply is not None]
            if call.emitted or error.kind not in FALL_BACK_ON or not held:
                raise
            best, out = max(held, key=lambda tried: tried.looks), call.model.alias
            call.notes.append(f"'{best.alias}' stepped in for '{out}' ({error.kind})")
            self._done.append(Tried(alias=out, tries=call.tries, said={}))
            self._route.why = "failed"
            return self._taken(best)
        assert isinstance(reply, Completion)
        self._count(None)
        return reply

    # -- what came of it

    def _taken(self, best: Tried) -> Completion:
        """The answer of `best`, and the call made one to its model."""
        assert best.reply is not None
        if best is not self._done[-1]:
            logprobs = 0 if self._asked.logprobs is None else self._asked.logprobs
            asked = replace(self._asked, model=best.alias, logprobs=logprobs)
            self._place(self._call, asked, self._own)
        self._call.tries = best.tries
        self._count(best)
        return best.reply

    def _count(self, taken: Tried | None) -> None:
        """The questions whose answer was not taken; that of `taken` is counted by the ledger."""
        for tried in self._done:
            if tried is not taken:
                self._call.run.count(
                    tried.alias,
                    calls=int(tried.tries > 0),
                    cached=int(tried.reply is not None and tried.reply.cached),
                    retries=max(tried.tries - 1, 0),
                )

    def _say(self) -> None:
        """What was asked so far and how it was judged, for the ledger."""
        asked = {t.alias: {k: round(v, 9) for k, v in t.said.items()} for t in self._done}
        said: dict[str, Any] = {**self._decision.said, "asked": asked}
        self._route.scores = msgspec.json.encode(said).decode()
