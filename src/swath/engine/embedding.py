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
"""One call to the provider; its vectors are in the store when it returns."""

ONE_TEXT = frozenset({Kind.BAD_REQUEST, Kind.CONTEXT, Kind.REFUSAL})
"""What a provider may refuse a whole batch for because of one text in it."""


class Vector(msgspec.Struct, frozen=True):
    """One text's, with its share of what the batch took."""

    values: tuple[float, ...]
    reply: Embeddings
    share: float = 0.0
    stored: bool = False


class Failed(msgspec.Struct, frozen=True):
    """Why a text has no vector. `run`: it concerns that run alone (its budget, its being
    cancelled), and others ask for themselves."""

    error: BaseException
    run: Run | None = None


Flight = asyncio.Future[Vector | Failed]
Seats = dict[bytes, tuple[str, Flight]]


class _Batch:
    """Texts that leave together. `waiting`: how many callers still want any of them."""

    def __init__(self) -> None:
        self.seats: Seats = {}
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
        self._open: dict[tuple[str, int | None, int, str], _Batch] = {}  # not yet departed

    async def __call__(self, request: EmbedRequest, run: Run, label: str, most: int) -> Embeddings:
        keys = {text: key for (text,), key in self._keys(request)}
        found: dict[bytes, Vector | Failed] = {}
        batches: set[_Batch] = set()
        try:
            while wanted := {key: text for text, key in keys.items() if key not in found}:
                found |= self._stored(wanted)
                left = {key: text for key, text in wanted.items() if key not in found}
                for key, flight in self._fly(left, request, run, label, most, batches).items():
                    landed = await asyncio.shield(flight)
                    if isinstance(landed, Vector) or landed.run in (None, run):
                        found[key] = landed
        finally:
            for batch in batches:
                batch.leave()
        vectors = {key: one for key, one in found.items() if isinstance(one, Vector)}
        if stored := sum(vector.stored for vector in vectors.values()):
            run.count(request.model, cached=stored)
        for outcome in found.values():
            if isinstance(outcome, Failed):
                error = outcome.error
                raise error.again() if isinstance(error, ProviderError) else error
        return _joined(request, [vectors[keys[text]] for text in request.texts], vectors.values())

    def put(self, request: EmbedRequest, reply: Embeddings) -> list[asyncio.Future[None]]:
        """Each text's vector on its way into the store."""
        return [
            self._store.put(
                key, Embeddings(vectors=(values,), model=reply.model, model_id=reply.model_id)
            )
            for (_, key), values in zip(self._keys(request), reply.vectors, strict=True)
        ]

    def _keys(self, request: EmbedRequest) -> list[tuple[tuple[str], bytes]]:
        singles: list[tuple[str]] = [(text,) for text in request.texts]
        return [(one, self._key(msgspec.structs.replace(request, texts=one))) for one in singles]

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
                batch = self._open.get(place)
                if batch is None or len(batch.seats) >= most:
                    batch = self._open[place] = _Batch()
                    loop.call_soon(self._depart, place, batch, request, run, label)
                flight: Flight = loop.create_future()
                batch.seats[key] = (text, flight)
                self._flights[key] = (flight, batch)
            flights[key], batch = self._flights[key]
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
        if self._open.get(place) is batch:
            del self._open[place]
        if batch.waiting:
            batch.task = asyncio.ensure_future(self._travel(batch.seats, request, run, label))
        else:
            self._fail(batch.seats, Failed(asyncio.CancelledError(), run))

    async def _travel(self, seats: Seats, request: EmbedRequest, run: Run, label: str) -> None:
        end: BaseException = asyncio.CancelledError()
        try:
            await self._ask(seats, request, run, label)
        except Exception as error:
            end = error
        finally:
            self._fail(seats, Failed(end, run))

    async def _ask(self, seats: Seats, request: EmbedRequest, run: Run, label: str) -> None:
        texts = tuple(text for text, _ in seats.values())
        try:
            reply = await self._send(msgspec.structs.replace(request, texts=texts), run, label)
        except ProviderError as error:
            if len(seats) == 1 or error.kind not in ONE_TEXT:
                self._fail(seats, Failed(error))
                return
            items, half = list(seats.items()), len(seats) // 2
            halves = (dict(items[:half]), dict(items[half:]))
            outcomes = await asyncio.gather(
                *(self._ask(part, request, run, label) for part in halves), return_exceptions=True
            )
            for outcome in outcomes:
                if outcome is not None:
                    raise outcome from None
            return
        weights = [len(text) + 1 for text in texts]
        total = sum(weights)
        landing = zip(seats.items(), weights, reply.vectors, strict=True)
        for (key, (_, flight)), weight, values in landing:
            self._land(key, flight, Vector(values, reply, weight / total))

    def _fail(self, seats: Seats, why: Failed) -> None:
        """For whatever has no vector yet."""
        for key, (_, flight) in seats.items():
            self._land(key, flight, why)

    def _land(self, key: bytes, flight: Flight, outcome: Vector | Failed) -> None:
        if not flight.done():
            del self._flights[key]
            flight.set_result(outcome)


def _joined(
    request: EmbedRequest, vectors: Sequence[Vector], distinct: Iterable[Vector]
) -> Embeddings:
    """The vectors in the order asked; usage and dollars are this call's share."""
    asked = [v for v in distinct if not v.stored]
    return Embeddings(
        vectors=tuple(v.values for v in vectors),
        model=vectors[0].reply.model if vectors else request.model,
        model_id=vectors[0].reply.model_id if vectors else "",
        usage=Usage(
            input_tokens=round(sum(v.reply.usage.input_tokens * v.share for v in asked)),
            output_tokens=round(sum(v.reply.usage.output_tokens * v.share for v in asked)),
        ),
        cost_usd=sum(v.reply.cost_usd * v.share for v in asked),
        cached=bool(vectors) and not asked,
        notes=tuple(dict.fromkeys(note for v in asked for note in v.reply.notes)),
    )
