"""Where a call leaves the engine: to a provider over HTTP, or to the model in this process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import msgspec

from swath.catalog.model import Model
from swath.errors import ProviderError
from swath.messages import AnyReply, AnyRequest, Chunk, EmbedRequest, Request
from swath.providers import provider
from swath.providers.base import HttpRequest, RateLimits
from swath.providers.transport import Transport

OnChunk = Callable[[Chunk], None] | None


class Parcel(msgspec.Struct, frozen=True):
    """A request ready to go. `size` in bytes bounds its input tokens from above: a token of a
    byte-level vocabulary stands for at least one byte, and `size` counts the whole body."""

    request: AnyRequest
    size: int
    payload: HttpRequest | None = None


class Backend(Protocol):
    def pack(self, request: AnyRequest, model: Model, *, stream: bool) -> Parcel: ...

    async def send(
        self, parcel: Parcel, model: Model, on_chunk: OnChunk
    ) -> tuple[AnyReply, RateLimits | None]:
        """One try, no policy. Raises ProviderError, with `limits` set where the reply told them."""
        ...

    async def close(self) -> None: ...


class HttpBackend:
    """A provider's wire format over the one transport."""

    def __init__(self, transport: Transport) -> None:
        self.transport = transport

    def pack(self, request: AnyRequest, model: Model, *, stream: bool) -> Parcel:
        wire = provider(model.provider)
        payload = wire.encode(request, model, stream=stream)
        return Parcel(request, len(payload.body), payload)

    async def send(
        self, parcel: Parcel, model: Model, on_chunk: OnChunk
    ) -> tuple[AnyReply, RateLimits | None]:
        wire = provider(model.provider)
        payload = parcel.payload
        assert payload is not None
        request = parcel.request
        limits: RateLimits | None = None
        try:
            if on_chunk is None or not isinstance(request, Request):
                reply = await self.transport.send(payload, timeout=model.timeout)
                limits = wire.limits(reply.headers)
                if reply.status != 200:
                    raise wire.error(model, reply)
                return wire.decode(request, model, reply), limits
            decoder = wire.decoder(request, model)

            def feed(data: bytes) -> None:
                for chunk in decoder.feed(data):
                    on_chunk(chunk)

            reply = await self.transport.send(payload, timeout=model.timeout, on_body=feed)
            limits = wire.limits(reply.headers)
            if reply.status != 200:
                raise wire.error(model, reply)
            return decoder.finish(), limits
        except ProviderError as error:
            error.limits = limits
            raise _placed(error, model) from None

    async def close(self) -> None:
        await self.transport.close()


class LocalBackend:
    """The embedded model. It is imported when it is first asked."""

    def __init__(self) -> None:
        self._inner: Any = None

    def pack(self, request: AnyRequest, model: Model, *, stream: bool) -> Parcel:
        if isinstance(request, EmbedRequest):
            return Parcel(request, sum(len(t.encode()) for t in request.texts))
        return Parcel(request, sum(len(m.content.encode()) + 8 for m in request.messages))

    async def send(
        self, parcel: Parcel, model: Model, on_chunk: OnChunk
    ) -> tuple[AnyReply, RateLimits | None]:
        if self._inner is None:
            from swath.local.backend import LocalBackend as Inner

            self._inner = Inner()
        try:
            reply: tuple[AnyReply, RateLimits | None] = await self._inner.send(
                parcel.request, model, on_chunk
            )
        except ProviderError as error:
            raise _placed(error, model) from None
        return reply

    async def close(self) -> None:
        if self._inner is not None:
            await self._inner.close()


def _placed(error: ProviderError, model: Model) -> ProviderError:
    error.provider = error.provider or model.provider
    error.model = error.model or model.alias
    return error
