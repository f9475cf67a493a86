"""The route stage: a name such as `auto` becomes a real model before anything else looks at it.

Outermost but for the ledger: the content hash is taken of the request to the model that was chosen,
so that the store, equal calls under way and resuming hold per real model. From here on it is a call
like any other; the models that were not chosen step in where the chosen one is out.

Of a frame's rows all are decided at once when it looks into the store. Routers that need an
embedding decide as the calls are made: their texts go to the encoder together.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

from msgspec.structs import replace

from swath.catalog.routed import ROUTED
from swath.engine.call import Call, Next, Routed
from swath.engine.climbing import Climb, Place
from swath.engine.deciding import Decision, Plans, prompt_of, uniform
from swath.engine.run import Run
from swath.errors import ConfigError, SwathError
from swath.messages import AnyReply, EmbedRequest, Request

if TYPE_CHECKING:
    from swath.config import RouterConfig
    from swath.engine.engine import Engine

Journey = Callable[[Call], Awaitable[AnyReply]]


class Routing:
    def __init__(self, engine: Engine, config: RouterConfig, place: Place) -> None:
        self._engine = engine
        self._config = config
        self._place = place
        self._plans = Plans(engine.models)
        self._shadows: set[asyncio.Task[None]] = set()
        self._shadow_run: Run | None = None

    async def __call__(self, inner: Next, call: Call) -> AnyReply:
        if call.model.provider != ROUTED:
            return await inner(call)
        asked = call.request
        if not isinstance(asked, Request):
            raise ConfigError(
                f"'{call.model.alias}' chooses a model for prompts, and gives no vectors.",
                hint="Name a model that embeds, such as local/minilm-l6.",
            )
        decision = await self.decide(asked, call.run)
        plan = self._plans.of(asked.model)
        if not plan.at_once:
            call.known_miss = False  # nobody could look for the answer of a model not chosen yet
        call.route = decision.routed()
        for note in plan.notes:
            call.run.note(f"{decision.name}: {note}")
        if decision.first:
            ladder = plan.ladder if decision.climbs else None
            prompt = prompt_of(asked)
            climb = Climb(self._engine, self._place, inner, call, decision, ladder, prompt)
            reply: AnyReply = await climb()
        else:
            own = [model.alias for model in call.fallbacks]
            self._place(call, replace(asked, model=decision.model), [*own, *decision.others])
            reply = await inner(call)
        self._settle(call, decision, reply)
        self._ask_shadow(call, asked, decision)
        return reply

    async def decide(self, request: Request, run: Run | None = None) -> Decision:
        """Raises ConfigError, ArtifactError; ProviderError where a prompt cannot be embedded."""
        known = self._plans.known(request)
        if known is not None:
            return known
        plan = self._plans.of(request.model)
        vectors = {}
        if plan.vectors:
            from swath.routing.vectors import gist

            assert plan.router is not None
            text = gist(prompt_of(request))
            wanted = EmbedRequest(model=plan.router.embedding, texts=(text,))
            vectors[text] = (await self._engine.embed(wanted, run=run, label="route")).vectors[0]
        if plan.slow:
            return (await asyncio.to_thread(self._plans.decide, [request]))[0]
        return self._plans.decide([request], vectors)[0]

    def at_once(self, requests: Sequence[Request]) -> list[Request | None]:
        """The same requests, put to the models they will go to; None where that takes a question.
        All that are new are decided together."""
        made: list[Request | None] = list(requests)
        by_name: dict[str, list[int]] = {}
        models = self._engine.models
        for i, request in enumerate(requests):
            if models[request.model].provider == ROUTED:
                by_name.setdefault(request.model, []).append(i)
        for name, places in by_name.items():
            if not self._plans.of(name).at_once:
                for i in places:
                    made[i] = None
                continue
            decisions = self._plans.decide([requests[i] for i in places])
            for i, decision in zip(places, decisions, strict=True):
                made[i] = replace(requests[i], model=decision.model)
        return made

    def expected(self, request: Request) -> Request:
        """`request` to the model that it will most likely go to: a guess where that takes a
        question, and then the dear side of it."""
        chosen = self.at_once([request])[0]
        return chosen or replace(request, model=self._plans.of(request.model).strong)

    def spread(self, request: Request) -> list[tuple[Request, float]]:
        """The models that `request` may go to, as requests to them, and the share of such requests
        that each gets: of a cascade the first always, those above for what goes up. One that is
        not known without a question is the dear side of it."""
        plan = self._plans.of(request.model)
        if (plan.vectors or plan.slow) and self._plans.known(request) is None:
            return [(replace(request, model=plan.strong), 1.0)]
        asked = plan.asked(self._plans.decide([request])[0])
        return [(replace(request, model=alias), share) for alias, share in asked.items()]

    def problem(self, name: str) -> str:
        """Why a name that leaves the choice open cannot be used; "" where it can."""
        try:
            self._plans.of(name)
        except SwathError as error:
            return str(error)
        return ""

    async def close(self) -> None:
        for task in self._shadows:
            task.cancel()
        await asyncio.gather(*self._shadows, return_exceptions=True)
        if self._shadow_run is not None:
            self._engine.end(self._shadow_run, "done")

    # -- within

    def _settle(self, call: Call, decision: Decision, reply: AnyReply) -> None:
        """The counterfactual: what the same tokens would have cost at the strong model."""
        assert call.route is not None
        price = self._engine.models[decision.strong].price
        if price is not None and not reply.cached:
            call.route.strong_usd = price.cost(replace(reply.usage, cost_usd=None))
        call.run.note(f"{decision.name}: answered by '{call.model.alias}'")
        if decision.why == "explore":
            call.run.note(f"{decision.name}: '{decision.model}' was drawn, to explore")

    def _ask_shadow(self, call: Call, asked: Request, decision: Decision) -> None:
        """The other model too, in the background and out of a budget of its own."""
        config = self._config
        if uniform(prompt_of(asked), "shadow") >= config.shadow or not decision.others:
            return
        other = decision.others[0]
        if self._engine.models[other].price is None:
            call.run.note(f"shadow calls need a price for '{other}'")
            return
        if self._shadow_run is None:
            self._shadow_run = Run("shadow", max_cost=config.shadow_budget)
            self._engine.begin(self._shadow_run)
        route = decision.routed("shadow")
        work = self._shadow(replace(asked, model=other), call.label, route, self._shadow_run)
        task = asyncio.ensure_future(work)
        self._shadows.add(task)
        task.add_done_callback(self._shadows.discard)

    async def _shadow(self, request: Request, label: str, route: Routed, run: Run) -> None:
        try:
            await self._engine.complete(request, run=run, label=label, route=route)
        except SwathError:
            return  # in the ledger; the answer that was asked for is not touched by it
