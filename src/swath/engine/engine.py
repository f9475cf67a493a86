"""The engine: every call of Swath goes through `complete`, `stream` or `embed`.

    ledger ─▶ route ─▶ cache ─▶ fallback ─▶ context ─▶ validate ─▶ retry ─▶ limit ─▶ budget ─┐
                                                                                   provider ◀┘

A name such as `auto` becomes a real model at `route`, before the content hash is taken: what is
stored, waited for and resumed is a question to a real model, and a decision never depends on what
went before. Requests with a real model pass it by.

A stage is a function around the next one. A stream makes the same journey: the provider's chunks
are handed out on the way, and the whole completion comes back through the stages as any other.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from functools import partial
from typing import Any

import msgspec

from swath.catalog.model import Model
from swath.catalog.routed import ROUTED
from swath.config import RouterConfig
from swath.engine.backend import Backend, HttpBackend, LocalBackend
from swath.engine.budget import Budgeting
from swath.engine.cache import Caching, accept
from swath.engine.call import Call, Check, Next, Routed, Stage
from swath.engine.context import ContextCheck
from swath.engine.deciding import Decision
from swath.engine.embedding import Embedding
from swath.engine.fallback import falling_back
from swath.engine.ledger import Ledger
from swath.engine.limit import Limiting
from swath.engine.retry import Retrying
from swath.engine.route import Routing
from swath.engine.run import Run
from swath.engine.tokens import TokenEstimates
from swath.engine.validate import Validating
from swath.messages import (
    AnyReply,
    AnyRequest,
    Chunk,
    Completion,
    Embeddings,
    EmbedRequest,
    Request,
    content_hash,
)
from swath.providers import LOCAL, provider
from swath.providers.transport import Transport
from swath.store.base import RunRow, Store

DEFAULT_MAX_TOKENS = 1024
LOCAL_TEXTS = 256  # in one call to the packaged encoder


class Estimate(msgspec.Struct, frozen=True):
    """What a call would take; nothing is spent to tell. `seconds` is one call's own time."""

    input_tokens: float
    output_tokens: float
    cost_usd: float
    seconds: float
    cached: bool


class Engine:
    """Used on one event loop. `models` gives a `Model` by alias and raises UnknownModel."""

    def __init__(
        self,
        models: Mapping[str, Model],
        store: Store,
        router: RouterConfig | None = None,
        keep_prompts: bool = False,
    ) -> None:
        self.models = models
        self._identities: dict[str, tuple[Model, tuple[str, ...]]] = {}
        self.store = store
        self.transport = Transport()
        self._backends: dict[str, Backend] = {
            "http": HttpBackend(self.transport),
            LOCAL: LocalBackend(),
        }
        self.estimates = TokenEstimates(self._recall)
        self._validating = Validating()
        self.limits = Limiting(self._backends, self.estimates)
        ledger = Ledger(store, keep_prompts)
        ask = _onion(
            self._ask,
            ContextCheck(self.estimates),
            self._validating,
            Retrying(),
            self.limits,
            Budgeting(self.estimates),
        )
        self.routing = Routing(self, router or RouterConfig(), self._place)
        self._journey = _onion(ask, ledger, self.routing, Caching(store), falling_back)
        # Texts have keys of their own, so batches of them pass the store by.
        self._embedding = Embedding(store, self.hash, self._send)
        self._embed_journey = _onion(ask, ledger, self.routing)

    # -- one call

    async def complete(
        self,
        request: Request,
        *,
        run: Run | None = None,
        check: Check | None = None,
        label: str = "",
        fallback: Sequence[str] = (),
        known_miss: bool = False,
        fresh: bool = False,
        route: Routed | None = None,
    ) -> Completion:
        """The answer to `request`, from the store or the model.

        `check` reads the text into a value (`Completion.parsed`) or raises Invalid; without one,
        the request's schema or choices are the check. `label` names the operator in the ledger and
        keys what is learned of its output. `fallback` aliases come before those of the config.
        `known_miss` spares the look into the store, `fresh` ignores what it has. `route` says for
        the ledger which decision the call follows from. Raises ProviderError where this call
        failed, BudgetReached, StoreError.
        """
        call = self._call(request, run, check, label, fallback, known_miss, fresh)
        call.route = route
        reply = await self._journey(call)
        assert isinstance(reply, Completion)
        return reply

    async def stream(
        self, request: Request, *, run: Run | None = None, label: str = "", fresh: bool = False
    ) -> AsyncIterator[Chunk]:
        """The answer as it is written; the last chunk holds the whole completion. Once a chunk was
        given, a failure is raised and not retried. Leaving the iteration ends the call."""
        queue: asyncio.Queue[Chunk | None] = asyncio.Queue()
        call = self._call(request, run, None, label, (), False, fresh)
        call.on_chunk = queue.put_nowait
        journey = asyncio.ensure_future(self._journey(call))
        journey.add_done_callback(lambda _: queue.put_nowait(None))
        try:
            while (chunk := await queue.get()) is not None:
                yield chunk
            reply = await journey
            assert isinstance(reply, Completion)
            yield Chunk(text="" if call.emitted else reply.text, completion=reply)
        finally:
            journey.cancel()

    async def embed(
        self, request: EmbedRequest, *, run: Run | None = None, label: str = ""
    ) -> Embeddings:
        """One vector for each text, from the store or the model, in as few calls as the provider's
        limit of texts allows. Each text is stored for itself, and equal ones are asked once.

        Raises ProviderError where any text failed, BudgetReached; what was bought is stored."""
        model = self.models[request.model]
        at_home = model.provider in (LOCAL, ROUTED)  # the route stage says that it gives no vectors
        most = LOCAL_TEXTS if at_home else provider(model.provider).max_texts(model)
        return await self._embedding(request, run or Run(label), label, most)

    def _identity(self, model: Model) -> tuple[str, ...]:
        """`model.identity`, which takes longer to write than to remember."""
        known = self._identities.get(model.alias)
        if known is None or known[0] is not model:
            known = self._identities[model.alias] = (model, model.identity)
        return known[1]

    # -- many calls

    def hash(self, request: AnyRequest) -> bytes:
        model = self.models[request.model]
        return content_hash(_settled(request, model), self._identity(model))

    def lookup(
        self, requests: Sequence[Request], checks: Sequence[Check | None] | None = None
    ) -> list[Completion | None]:
        """What the store holds, in the order asked; None where it holds nothing usable. Without
        `checks` the stored text comes unparsed. Where a router chooses the model, it does so for
        all of them together; where that takes a question first, nothing is found."""
        placed = self.routing.at_once(requests)
        keys = [None if request is None else self.hash(request) for request in placed]
        found = self.store.get_many([key for key in keys if key is not None])
        replies: list[Completion | None] = []
        for i, key in enumerate(keys):
            reply, asked = None if key is None else found.get(key), placed[i]
            if reply is not None and checks is not None:
                assert key is not None
                assert asked is not None
                call = Call(asked, _NOBODY, _NO_RUN, key=key, check=checks[i])
                reply = accept(reply, call)
            replies.append(reply if isinstance(reply, Completion) else None)
        return replies

    def estimate(self, request: Request, label: str = "") -> Estimate:
        """Tokens, dollars and seconds of a call, from what this operator has been using. Where a
        router chooses, of all the models it may go to, each by the share that it gets."""
        if self.models[request.model].provider == ROUTED:
            parts = [(self.estimate(one, label), share) for one, share in self.spread(request)]
            return Estimate(
                input_tokens=sum(part.input_tokens * share for part, share in parts),
                output_tokens=sum(part.output_tokens * share for part, share in parts),
                cost_usd=sum(part.cost_usd * share for part, share in parts),
                seconds=sum(part.seconds * share for part, share in parts),
                cached=parts[0][0].cached,
            )
        model = self.models[request.model]
        settled = _settled(request, model)
        assert isinstance(settled, Request)
        shaped, _ = self._validating.shaped(settled, model)  # labels may go as a schema
        parcel = self.limits.backend(model).pack(shaped, model, stream=False)
        tokens_in = self.estimates.input(model, parcel.size)
        tokens_out = self.estimates.output(label, model, settled)
        cost = 0.0
        if model.price is not None:
            price = model.price.at(tokens_in)
            cost = (tokens_in * price.input + tokens_out * price.output) / 1e6
        seconds = (
            tokens_in / 155 + tokens_out / 12
            if model.provider == LOCAL
            else (0.5 + tokens_out / 80)
        )
        key = content_hash(settled, self._identity(model))
        return Estimate(tokens_in, tokens_out, cost, seconds, key in self.store.get_many([key]))

    def routed(self, request: Request) -> Request:
        """`request` to the model that it goes to, as far as can be told without asking."""
        open_ = self.models[request.model].provider == ROUTED
        return self.routing.expected(request) if open_ else request

    def spread(self, request: Request) -> list[tuple[Request, float]]:
        """As `routed`, but all the models that a cascade may ask, with the share that goes to
        each."""
        open_ = self.models[request.model].provider == ROUTED
        return self.routing.spread(request) if open_ else [(request, 1.0)]

    async def decide(self, request: Request, run: Run | None = None) -> Decision | None:
        """Which model a router chooses for `request`, and why; None where it names one itself. What
        `complete` and `stream` then do. Raises ConfigError, ProviderError."""
        if self.models[request.model].provider != ROUTED:
            return None
        return await self.routing.decide(request, run)

    def begin(self, run: Run) -> None:
        self.store.log_run(_run_row(run, "running"))

    def end(self, run: Run, status: str) -> None:
        run.finish()
        self.store.log_run(_run_row(run, status))

    async def close(self) -> None:
        await self.routing.close()
        for backend in self._backends.values():
            await backend.close()
        self.store.close()

    # -- within

    def _call(
        self,
        request: AnyRequest,
        run: Run | None,
        check: Check | None,
        label: str,
        fallback: Sequence[str],
        known_miss: bool,
        fresh: bool,
    ) -> Call:
        model = self.models[request.model]
        call = Call(
            request,
            model,
            run or Run(label),
            key=b"",
            check=check,
            label=label,
            known_miss=known_miss,
            fresh=fresh,
        )
        if model.provider == ROUTED:  # placed once its model is known
            call.fallbacks = self._chain(model, fallback)
        else:
            self._place(call, request, fallback)
        return call

    def _place(self, call: Call, request: AnyRequest, fallback: Sequence[str]) -> None:
        """Makes `call` one for `request`, and `fallback` the aliases that step in first."""
        model = self.models[request.model]
        call.wanted = call.model = model
        call.asked = call.request = _settled(request, model)
        call.key = content_hash(call.asked, self._identity(model))
        call.fallbacks = self._chain(model, fallback) if fallback or model.fallback else ()

    def _chain(self, model: Model, fallback: Sequence[str]) -> tuple[Model, ...]:
        """The models to step in, in order, each once: the call's own, then those of the config."""
        chain: dict[str, Model] = {}
        waiting = [*fallback, *model.fallback]
        while waiting:
            alias = waiting.pop(0)
            if alias not in chain and alias != model.alias:
                chain[alias] = self.models[alias]
                waiting += chain[alias].fallback
        return tuple(chain.values())

    async def _send(self, request: EmbedRequest, run: Run, label: str) -> Embeddings:
        """One call for a batch of texts. Its slot is free again once all vectors are durable."""
        call = self._call(request, run, None, label, (), True, False)
        try:
            reply = await self._embed_journey(call)
            assert isinstance(reply, Embeddings)
            await asyncio.gather(*self._embedding.put(request, reply))
            return reply
        finally:
            call.release()

    async def _ask(self, call: Call) -> AnyReply:
        """The innermost step: one try at the provider."""
        model, backend = call.model, self.limits.backend(call.model)
        stream = call.on_chunk is not None and isinstance(call.request, Request)
        if call.parcel is None:
            call.parcel = backend.pack(call.request, model, stream=stream)
        asked = time.perf_counter()

        def hand_out(chunk: Chunk) -> None:
            if not call.emitted:
                call.emitted = True
                call.ttft = time.perf_counter() - asked
                chunk = msgspec.structs.replace(chunk, model=model.alias)
            assert call.on_chunk is not None
            call.on_chunk(chunk)

        try:
            reply, call.limits = await backend.send(
                call.parcel, model, hand_out if stream else None
            )
        finally:
            took = time.perf_counter() - asked
            call.provider_time += took
            if not call.emitted:
                call.ttft = took
        return reply

    def _recall(self, label: str, alias: str) -> float | None:
        """Mean output tokens of earlier calls, from the ledger."""
        rows = self.store.query(
            "SELECT avg(output_tokens) AS mean FROM (SELECT output_tokens FROM calls"
            " WHERE label = ? AND model = ? AND status = 'ok' AND NOT cached"
            " ORDER BY at DESC LIMIT 200) AS recent",
            (label, alias),
        )
        mean: Any = rows[0]["mean"] if rows else None
        return None if mean is None else float(mean)


def _onion(inner: Next, *stages: Stage) -> Next:
    """`inner` within `stages`, the first outermost."""
    for stage in reversed(stages):
        inner = partial(stage, inner)
    return inner


def _settled(request: AnyRequest, model: Model) -> AnyRequest:
    """`request` with the model's defaults where it leaves things open: what is then hashed."""
    if not isinstance(request, Request):
        return request
    changes: dict[str, Any] = {
        name: value
        for name, value in model.defaults.items()
        if getattr(request, name) in (None, (), {})
    }
    if request.max_tokens is None and "max_tokens" not in changes:
        most = model.max_output_tokens
        changes["max_tokens"] = min(DEFAULT_MAX_TOKENS, most) if most else DEFAULT_MAX_TOKENS
    return msgspec.structs.replace(request, **changes) if changes else request


def _run_row(run: Run, status: str) -> RunRow:
    metrics = msgspec.structs.asdict(run.metrics)
    return RunRow(id=run.id, name=run.name, at=run.started, status=status, **metrics)


_NOBODY = Model(alias="", provider="", id="", base_url="")
_NO_RUN = Run()
