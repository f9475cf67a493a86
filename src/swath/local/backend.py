"""The local model behind the engine: one request in, one answer out, no network.

Calls wait for a slot of the model (`slots`), compute on its worker's thread, and never hold up the
event loop. A cancelled call frees its slot at the next token or batch of the prompt.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from swath.catalog.model import Model
from swath.errors import Kind, MissingExtra, ProviderError, WeightsError
from swath.local import choices, weights
from swath.local.encoder import Encoder
from swath.local.grammar import CHARS_PER_TOKEN, Compiled, compile_schema
from swath.local.reply import Gathering
from swath.local.server import Server, server, settings, window
from swath.local.slots import Job
from swath.messages import (
    AnyReply,
    AnyRequest,
    Chunk,
    Completion,
    Embeddings,
    EmbedRequest,
    Message,
    Request,
)
from swath.providers.base import RateLimits

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
MAX_TOKENS = 1024  # of an answer, where the request does not say
NO_TEXT = ""  # what stands for the text when the labels are calibrated

OnChunk = Callable[[Chunk], None]


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
        ask = _Ask(host, request, model, _on_loop(on_chunk))
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


# --- text


class _Ask:
    """One request on its way; called on a slot's worker."""

    def __init__(
        self, host: Server, request: Request, model: Model, on_chunk: OnChunk | None
    ) -> None:
        self._host, self._request, self._model, self._on_chunk = host, request, model, on_chunk
        self._messages = [_message(m) for m in request.messages]
        self.key = "\0".join(f"{m.role}\0{m.content}" for m in request.messages)

    def __call__(self, slot: int, dropped: threading.Event) -> Completion:
        if self._request.tools and not self._host.takes_tools:
            raise ProviderError(
                Kind.UNSUPPORTED, f"'{self._model.id}' knows no tools.", feature="tools"
            )
        if self._request.choices:
            found = self._choose(slot, dropped)
        elif self._request.schema is not None:
            found = self._fill(slot, dropped)
        else:
            found = self._say(slot, dropped, {})
        return msgspec.structs.replace(found, model_id=self._model.id)

    def _say(self, slot: int, dropped: threading.Event, more: Mapping[str, Any]) -> Completion:
        gathering = Gathering(dropped, self._on_chunk)
        body = {**_body(self._request, self._messages), **more, "id_slot": slot}
        self._host.chat({**body, **self._request.extra}, gathering, raw=False)
        return gathering.completion(alternatives=self._request.logprobs)

    def _fill(self, slot: int, dropped: threading.Event) -> Completion:
        """Constrained to the schema. A reply that did not come to its end is asked for again
        with bounds that it cannot reach; one that nothing held to the schema (LLGuidance gives up
        quietly), with llama.cpp's own grammar, as are all after it."""
        host, request = self._host, self._request
        assert request.schema is not None
        given_up = ("plain", json.dumps(request.schema.json, sort_keys=True))
        compiled = self._compile(CHARS_PER_TOKEN)
        held: dict[str, Any] = {"grammar": compiled.grammar}
        if given_up in host.memory:
            held = {"json_schema": compiled.plain}
        found = self._say(slot, dropped, held)
        whole = _read(found, compiled)
        if whole is not None or self._on_chunk is not None:
            return whole or found
        if found.finish == "length":
            compiled = self._compile(1.0)
            held = {"grammar": compiled.grammar}
        else:
            host.memory[given_up] = True
            held = {"json_schema": compiled.plain}
        again = self._say(slot, dropped, held)
        whole = _read(again, compiled) or again
        return msgspec.structs.replace(whole, usage=found.usage + again.usage)

    def _compile(self, chars_per_token: float) -> Compiled:
        request = self._request
        assert request.schema is not None
        try:
            return compile_schema(
                request.schema.json,
                source=request.source,
                tokens=request.max_tokens or MAX_TOKENS,
                chars_per_token=chars_per_token,
                # A listener and a reader of log-probabilities are to see every word.
                whole_quotes=self._on_chunk is not None or request.logprobs is not None,
            )
        except ValueError as e:
            raise ProviderError(
                Kind.BAD_REQUEST, f"the schema '{request.schema.name}' cannot be filled: {e}."
            ) from None

    def _choose(self, slot: int, dropped: threading.Event) -> Completion:
        labels = self._request.choices
        found = choices.score(self._host, slot, self._messages, labels, dropped)
        scores = found.scores
        notes: tuple[str, ...] = ()
        known, source = weights.catalogue().get(self._model.id), self._request.source
        if known is not None and source:
            favour = likeness = None
            if known.calibrated and (bare := _without(source, self._messages)):
                favour = self._favour(slot, bare, dropped)
            if known.encoder_weight and len(labels) > 2:
                likeness, notes = _likeness(source, labels, self._request.system)
            scores = choices.mended(scores, favour, likeness, known.encoder_weight)
        text = max(scores, key=lambda label: scores[label])
        if self._on_chunk:
            self._on_chunk(Chunk(text=text))
        return Completion(text=text, scores=scores, usage=found.usage, notes=notes)

    def _favour(
        self, slot: int, bare: list[dict[str, Any]], dropped: threading.Event
    ) -> Mapping[str, float]:
        """What the model says without a text: once for each instruction and labels."""
        host, labels = self._host, self._request.choices
        key = ("favour", labels, tuple((m["role"], m["content"]) for m in bare))
        with host.lock:
            known: Mapping[str, float] | None = host.memory.get(key)
            if known is None:
                known = choices.score(host, slot, bare, labels, dropped).scores
                host.memory[key] = known
        return known


def _read(found: Completion, compiled: Compiled) -> Completion | None:
    """The reply with its quotes in full; None where it is not whole, or not of the schema."""
    try:
        return msgspec.structs.replace(found, text=compiled.read(found.text))
    except ValueError:
        return None


def _without(source: str, messages: list[dict[str, Any]]) -> list[dict[str, Any]] | None:
    """The messages with the text taken out; None where it does not stand in them."""
    bare = [{**m, "content": m["content"].replace(source, NO_TEXT)} for m in messages]
    return None if bare == messages else bare


def _likeness(
    text: str, labels: tuple[str, ...], instructions: str
) -> tuple[dict[str, float] | None, tuple[str, ...]]:
    """What the encoder says of each label; None and a note where there is no encoder."""
    try:
        encoder = _encoder(weights.DEFAULT_EMBED)
    except (WeightsError, MissingExtra):
        return None, ("labels scored without the encoder",)
    lines = [line.strip().lstrip("-* ") for line in instructions.splitlines()]
    told = [next((n for n in lines if n.startswith(f"{label}:")), label) for label in labels]
    return dict(zip(labels, encoder.likeness(text, told), strict=True)), ()


def _message(message: Message) -> dict[str, Any]:
    told: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.tool_calls:
        told["tool_calls"] = [
            {"id": c.id, "type": "function", "function": {"name": c.name, "arguments": c.arguments}}
            for c in message.tool_calls
        ]
    if message.tool_call_id is not None:
        told["tool_call_id"] = message.tool_call_id
    return told


def _body(request: Request, messages: list[dict[str, Any]]) -> dict[str, Any]:
    """The request in the server's terms. Greedy unless a temperature is asked for."""
    body: dict[str, Any] = {
        "messages": messages,
        "max_tokens": request.max_tokens or MAX_TOKENS,
        "temperature": request.temperature or 0.0,
        "cache_prompt": True,
        "stream": True,  # always: only a stream can be stopped
        "stream_options": {"include_usage": True},
        "return_progress": True,
        "chat_template_kwargs": {"enable_thinking": False},
    }
    if request.top_p is not None:
        body["top_p"] = request.top_p
    if request.seed is not None:
        body["seed"] = request.seed % 2**32
    if request.stop:
        body["stop"] = list(request.stop)
    if request.logprobs is not None:
        body |= {"logprobs": True, "top_logprobs": max(request.logprobs, 1)}
    if request.tools:
        body |= _tools(request)
    return body


def _tools(request: Request) -> dict[str, Any]:
    for feature, asked in (("logprobs", request.logprobs), ("json_schema", request.schema)):
        if asked is not None:
            raise ProviderError(
                Kind.UNSUPPORTED, f"the local model takes no {feature} with tools.", feature=feature
            )
    chosen = request.tool_choice or "auto"
    offered = request.tools
    if chosen not in ("auto", "none", "required"):
        offered = tuple(t for t in offered if t.name == chosen)
        chosen = "required"
    return {
        "tool_choice": chosen,
        "tools": [
            {
                "type": "function",
                "function": {
                    "name": t.name,
                    "description": t.description,
                    "parameters": t.parameters or {"type": "object", "properties": {}},
                },
            }
            for t in offered
        ],
    }


# --- files


def _chat_file(name: str) -> Path:
    known = weights.catalogue().get(name)
    if known is not None and known.kind != "chat":
        raise ProviderError(
            Kind.UNSUPPORTED,
            f"'{name}' makes embeddings and does not answer.",
            hint=f"The model for answers is '{weights.DEFAULT_CHAT}'.",
        )
    return _present(name)


def _present(name: str) -> Path:
    """The model's file, fetched when it is not there yet, with a word about it on stderr."""
    if weights.is_path(name) or weights.present(name):
        return weights.find(name)
    size = weights.lookup(name).size / 1e6
    print(f"Fetching the model '{name}' ({size:.0f} MB), this once.", file=sys.stderr)
    return weights.pull(name)


_encoders: dict[str, Encoder] = {}
_encoding = threading.Lock()


def _encoder(name: str, threads: int = 0) -> Encoder:
    """The encoder called `name`, loaded when first asked for."""
    with _encoding:
        if (known := _encoders.get(name)) is None:
            path, width = _present(name), weights.lookup(name).context_window
            known = _encoders[name] = Encoder(path, window=width, threads=threads)
        return known


def _embed(request: EmbedRequest, model: Model) -> Embeddings:
    known = weights.catalogue().get(model.id)
    if known is None or known.kind != "embedding":
        raise ProviderError(
            Kind.UNSUPPORTED,
            f"'{model.id}' makes no embeddings here.",
            hint=f"The local model for embeddings is '{weights.DEFAULT_EMBED}'.",
            feature="embed",
        )
    encoder = _encoder(model.id, settings(model.options).threads)
    found = encoder.embed(request.texts)
    size = len(found.vectors[0]) if found.vectors else request.dimensions
    if request.dimensions not in (None, size):
        raise ProviderError(
            Kind.UNSUPPORTED,
            f"'{model.id}' gives {size} dimensions and no other number.",
            feature="dimensions",
        )
    return msgspec.structs.replace(found, model_id=model.id)
