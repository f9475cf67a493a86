"""Vectors, kept and asked for text by text, sent in batches.

Each text has a key of its own in the store, so no text is paid for twice whatever it once stood
beside. Texts wanted in the same turn of the loop by the same run, one by one or in lists, go
together, as many in a call as the provider takes; a text that is already on its way is waited for.
A batch that the provider refuses for one text's sake is halved until that text stands alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence

import msgspec

from swath.engine.run import Run
from swath.errors import Kind, ProviderError
from swath.messages import Embeddings, EmbedRequest, Usage
from swath.store.base import Store

Send = Callable[[EmbedRequest, Run, str], Awaitable[Embeddings]]
"""One call to the provider, through all stages but the store's."""

ONE_TEXT = frozenset({Kind.BAD_REQUEST, Kind.CONTEXT, Kind.CONTENT_FILTER})
"""What a provider may refuse a whole batch for because of one text in it."""


class Vector(msgspec.Struct, frozen=True):
    """One text's, with its share of what the batch took."""

    values: tuple[float, ...]
    reply: Embeddings
    share: float = 0.0
    stored: bool = False


Flight = asyncio.Future["Vector | BaseException"]


class _Batch:
    """Texts that leave together. `waiting`: how many callers still want any of them."""

    def __init__(self) -> None:
        self.flights: dict[bytes, tuple[str, Flight]] = {}
        self.task: asyncio.Task[None] | None = None
        self.waiting = 0

    def leave(self) -> None:
        self.waiting -= 1
        if not self.waiting and self.task is not None:
            self.task.cancel()


class Embedding:
    """Used on one event loop. `key` is a request's key in the store."""

    def __init__(self, store: Store, key: Callable[[EmbedRequest], bytes], send: Send) -> None:
        self._store = store
        self._key = key
        self._send = send
        self._flights: dict[bytes, tuple[Flight, _Batch]] = {}
        self._batches: dict[tuple[str, int | None, int, str], _Batch] = {}

    async def __call__(self, request: EmbedRequest, run: Run, label: str, most: int) -> Embeddings:
        keys = {
            text: self._key(msgspec.structs.replace(request, texts=(text,)))
            for text in request.texts
        }
        found: dict[bytes, Vector | BaseException] = {}
        batches: set[_Batch] = set()
        try:
            while wanted := {key: text for text, key in keys.items() if key not in found}:
                found |= self._stored(wanted)
                left = {key: text for key, text in wanted.items() if key not in found}
                flights = self._fly(left, request, run, label, most, batches)
                for key, flight in flights.items():
                    landed = await asyncio.shield(flight)
                    # Another caller's batch came to nothing by its own end: cancelled, no money.
                    # The next turn asks for the text itself.
                    if not isinstance(landed, _Elsewhere) or landed.run is run:
                        found[key] = landed.error if isinstance(landed, _Elsewhere) else landed
        finally:
            for batch in batches:
                batch.leave()
        for outcome in found.values():
            if isinstance(outcome, BaseException):
                raise outcome.again() if isinstance(outcome, ProviderError) else outcome
        vectors = {key: one for key, one in found.items() if isinstance(one, Vector)}
        stored = sum(vector.stored for vector in vectors.values())
        if stored:
            run.count(request.model, cached=stored)
        return _joined(request, [vectors[keys[text]] for text in request.texts], vectors.values())

    def _stored(self, wanted: Iterable[bytes]) -> dict[bytes, Vector]:
        return {
            key: Vector(reply.vectors[0], reply, stored=True)
            for key, reply in self._store.get_many(list(wanted)).items()
            if isinstance(reply, Embeddings) and len(reply.vectors) == 1
        }

    def _fly(
        self,
        wanted: dict[bytes, str],
        request: EmbedRequest,
        run: Run,
        label: str,
        most: int,
        batches: set[_Batch],
    ) -> dict[bytes, Flight]:
        """A flight for each of `wanted`: one that is under way, or a seat in the next batch."""
        flights: dict[bytes, Flight] = {}
        place = (request.model, request.dimensions, id(run), label)
        loop = asyncio.get_running_loop()
        for key, text in wanted.items():
            if key not in self._flights:
                batch = self._batches.get(place)
                if batch is None or len(batch.flights) >= most:
                    batch = self._batches[place] = _Batch()
                    loop.call_soon(self._depart, place, batch, request, run, label)
                flight: Flight = loop.create_future()
                batch.flights[key] = (text, flight)
                self._flights[key] = (flight, batch)
            flight, batch = self._flights[key]
            flights[key] = flight
            if batch not in batches:
                batches.add(batch)
                batch.waiting += 1
        return flights

    def _depart(
        self,
        place: tuple[str, int | None, int, str],
        batch: _Batch,
        request: EmbedRequest,
        run: Run,
        label: str,
    ) -> None:
        if self._batches.get(place) is batch:
            del self._batches[place]
        if batch.waiting:
            batch.task = asyncio.ensure_future(self._travel(batch, request, run, label))
        else:
            self._land(batch.flights, asyncio.CancelledError(), run)

    async def _travel(self, batch: _Batch, request: EmbedRequest, run: Run, label: str) -> None:
        ends: BaseException = asyncio.CancelledError()
        try:
            await self._ask(batch.flights, request, run, label)
        except BaseException as error:
            ends = error
            if isinstance(error, asyncio.CancelledError):
                raise
        finally:
            self._land(batch.flights, ends, run)

    async def _ask(
        self,
        seats: dict[bytes, tuple[str, Flight]],
        request: EmbedRequest,
        run: Run,
        label: str,
    ) -> None:
        texts = tuple(text for text, _ in seats.values())
        try:
            reply = await self._send(msgspec.structs.replace(request, texts=texts), run, label)
        except ProviderError as error:
            if len(seats) == 1 or error.kind not in ONE_TEXT:
                self._land(seats, error, run)
                return
            items, half = list(seats.items()), len(seats) // 2
            await asyncio.gather(
                self._ask(dict(items[:half]), request, run, label),
                self._ask(dict(items[half:]), request, run, label),
            )
            return
        total = sum(map(len, texts)) or 1
        for (key, (text, flight)), values in zip(seats.items(), reply.vectors, strict=True):
            vector = Vector(values, reply, len(text) / total if total > 1 else 1 / len(texts))
            self._flights.pop(key, None)
            if not flight.done():
                flight.set_result(vector)

    def _land(self, seats: dict[bytes, tuple[str, Flight]], ends: BaseException, run: Run) -> None:
        """Whatever has no vector yet gets `ends`."""
        for key, (_, flight) in seats.items():
            if not flight.done():
                self._flights.pop(key, None)
                mine = isinstance(ends, ProviderError)
                flight.set_result(ends if mine else _Elsewhere(ends, run))


class _Elsewhere(BaseException):
    """What ended a batch for a reason of its run's: its budget, its being cancelled."""

    def __init__(self, error: BaseException, run: Run) -> None:
        super().__init__()
        self.error = error
        self.run = run


def keep(store: Store, key: Callable[[EmbedRequest], bytes], request: EmbedRequest,
         reply: Embeddings) -> list[asyncio.Future[None]]:
    """Each text's vector on its way into the store."""
    puts = []
    for text, values in zip(request.texts, reply.vectors, strict=True):
        one = Embeddings(vectors=(values,), model=reply.model, model_id=reply.model_id)
        puts.append(store.put(key(msgspec.structs.replace(request, texts=(text,))), one))
    return puts


def _joined(
    request: EmbedRequest, vectors: Sequence[Vector], distinct: Iterable[Vector]
) -> Embeddings:
    """The vectors in the order asked; usage and dollars are this call's share."""
    asked = [v for v in distinct if not v.stored]
    replies = {id(v.reply): v.reply for v in vectors}.values()
    return Embeddings(
        vectors=tuple(v.values for v in vectors),
        model=next((r.model for r in replies), request.model),
        model_id=next((r.model_id for r in replies), ""),
        usage=Usage(
            input_tokens=round(sum(v.reply.usage.input_tokens * v.share for v in asked)),
            output_tokens=round(sum(v.reply.usage.output_tokens * v.share for v in asked)),
        ),
        cost_usd=sum(v.reply.cost_usd * v.share for v in asked),
        cached=bool(vectors) and not asked,
        notes=tuple(dict.fromkeys(n for v in asked for n in v.reply.notes)),
    )
