"""The local model behind the engine: one request in, one answer out, no network.

Calls wait for a slot of the model (`slots`), compute on its worker's thread, and never hold up the
event loop. A cancelled call frees its slot at the next token or batch of the prompt.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path

import msgspec

from swath.catalog.model import Model
from swath.errors import Kind, ProviderError
from swath.local import choices, weights
from swath.local.ask import Ask
from swath.local.encoder import encoder
from swath.local.server import server, settings, window
from swath.local.slots import Job
from swath.messages import AnyReply, AnyRequest, Chunk, Completion, Embeddings, EmbedRequest
from swath.providers.base import RateLimits

OnChunk = Callable[[Chunk], None]

LOCAL_FEATURES = frozenset(
    {
        "json_schema",
        "json_object",
        "tools",
        "choices",
        "grounding",
        "logprobs",
        "seed",
        "stop",
        "top_p",
        "embed",
    }
)


def context_window(model: Model) -> int:
    """Tokens that one request may have, prompt and answer. Loads nothing."""
    chosen = model.options.get("context")
    if isinstance(chosen, int) and chosen > 0:
        return chosen
    known = weights.catalogue().get(model.id)
    if known is not None and known.kind == "embedding":
        return known.context_window
    return window(settings(model.options))


class LocalBackend:
    """Holds no model of its own: what is loaded is shared by the whole process."""

    def __init__(self) -> None:
        self._jobs: set[Job] = set()

    async def send(
        self, request: AnyRequest, model: Model, on_chunk: OnChunk | None
    ) -> tuple[AnyReply, RateLimits | None]:
        """One answer. Raises ProviderError, WeightsError, MissingExtra, ConfigError."""
        if isinstance(request, EmbedRequest):
            return await asyncio.to_thread(_embed, request, model), None
        chosen = settings(model.options)
        path = await asyncio.to_thread(_chat_file, model.id)
        host = await asyncio.to_thread(server, path, chosen)
        ask = Ask(host, request, model, _on_loop(on_chunk))
        job = host.slots.submit(ask.key, ask)
        self._jobs.add(job)
        try:
            completion: Completion = await asyncio.wrap_future(job.future)
        except (asyncio.CancelledError, choices.Dropped):
            job.drop()
            raise asyncio.CancelledError from None
        finally:
            self._jobs.discard(job)
        return completion, None

    async def close(self) -> None:
        """Drop the calls under way. Models stay loaded until the process ends."""
        for job in tuple(self._jobs):
            job.drop()


def _on_loop(on_chunk: OnChunk | None) -> OnChunk | None:
    """`on_chunk` as a worker's thread may call it. In order, and before the answer arrives."""
    if on_chunk is None:
        return None
    loop, hear = asyncio.get_running_loop(), on_chunk

    def hand_over(chunk: Chunk) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody listens
            loop.call_soon_threadsafe(hear, chunk)

    return hand_over


def _chat_file(name: str) -> Path:
    known = weights.catalogue().get(name)
    if known is not None and known.kind != "chat":
        raise ProviderError(
            Kind.UNSUPPORTED,
            f"'{name}' makes embeddings and does not answer.",
            hint=f"The model for answers is '{weights.DEFAULT_CHAT}'.",
        )
    return weights.obtain(name)


def _embed(request: EmbedRequest, model: Model) -> Embeddings:
    known = weights.catalogue().get(model.id)
    if known is None or known.kind != "embedding":
        raise ProviderError(
            Kind.UNSUPPORTED,
            f"'{model.id}' makes no embeddings here.",
            hint=f"The local model for embeddings is '{weights.DEFAULT_EMBED}'.",
            feature="embed",
        )
    found = encoder(model.id, settings(model.options).threads).embed(request.texts)
    size = len(found.vectors[0]) if found.vectors else request.dimensions
    if request.dimensions not in (None, size):
        raise ProviderError(
            Kind.UNSUPPORTED,
            f"'{model.id}' gives {size} dimensions and no other number.",
            feature="dimensions",
        )
    return msgspec.structs.replace(found, model_id=model.id)
