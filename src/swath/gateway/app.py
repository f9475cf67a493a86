"""The ASGI app: OpenAI's endpoints over a session's engine. It runs on the session's own loop.

    POST /v1/chat/completions   POST /v1/embeddings   GET /v1/models[/NAME]   GET /health

A client that goes away ends its call at the provider. There is no policy here (no keys, no limits,
no budgets): what the engine does for a frame's row it does for a request.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, MutableMapping
from contextlib import suppress
from typing import Any, TypeVar
from urllib.parse import unquote

import msgspec

from swath.catalog.routed import ROUTED
from swath.engine import Run
from swath.engine.deciding import Decision
from swath.errors import SwathError, UnknownModel
from swath.gateway import openai_api as openai
from swath.gateway.faults import body as error_body
from swath.gateway.faults import fault
from swath.messages import Chunk, Completion, Request
from swath.session import Session

T = TypeVar("T")
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

MAX_BODY = 16 << 20  # bytes
MAX_TOKENS = 4096  # of an answer, where neither the client nor the config says
LAST_WORD = 1.0  # seconds, to tell a client that the server stops
LABEL = "serve"
log = logging.getLogger("swath.gateway")
_encode = msgspec.json.Encoder().encode


class Gone(Exception):
    """The client went away: there is nobody to answer."""


class App:
    def __init__(self, session: Session, *, max_body: int = MAX_BODY) -> None:
        self._session = session
        self._engine = session.engine
        self._max_body = max_body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise RuntimeError(f"no {scope['type']} here")
        exchange = Exchange(scope, receive, send, self._max_body)
        try:
            await self._answer(exchange)
        except Gone:
            return
        except asyncio.CancelledError:  # what it had to finish in is over
            stopping = TurnedAway(503, "The server is stopping.", "stopping")
            with suppress(Exception):
                await asyncio.wait_for(exchange.fail(stopping), LAST_WORD)
        except Exception as error:
            if not isinstance(error, SwathError):
                log.exception("A request failed (%s %s)", exchange.method, exchange.path)
            await exchange.fail(error)

    async def _answer(self, exchange: Exchange) -> None:
        method, path = exchange.method, exchange.path.rstrip("/")
        endpoints: dict[str, tuple[str, Callable[[Exchange], Awaitable[None]]]] = {
            "/v1/chat/completions": ("POST", self._chat),
            "/v1/embeddings": ("POST", self._embeddings),
            "/v1/models": ("GET", self._models),
            "/health": ("GET", self._health),
        }
        wanted, endpoint = endpoints.get(path, ("GET", self._model))
        if path not in endpoints and not path.startswith("/v1/models/"):
            told = f"There is no {method} {exchange.path} here. There are: {', '.join(endpoints)}."
            await exchange.give(error_body(told, "invalid_request_error", "unknown_url"), 404)
        elif method != wanted and (method, wanted) != ("HEAD", "GET"):
            told = f"{exchange.path} takes {wanted}, not {method}."
            await exchange.give(
                error_body(told, "invalid_request_error", "method_not_allowed"),
                405,
                {"allow": "GET, HEAD" if wanted == "GET" else wanted},
            )
        else:
            await endpoint(exchange)

    # -- endpoints

    async def _chat(self, exchange: Exchange) -> None:
        chat = openai.read_chat(await exchange.json())
        run = exchange.run = Run(LABEL)
        exchange.headers["x-swath-request-id"] = run.id
        asked = chat.request.model
        request = self._bounded(chat.request)
        decision = None
        if self._session.models[asked].provider == ROUTED:
            decision = await exchange.while_there(self._engine.decide(request, run))
        exchange.headers["x-swath-route"] = _route(decision)
        if chat.stream:
            await self._stream(exchange, request, run, include_usage=chat.include_usage)
            return
        reply = await exchange.while_there(self._engine.complete(request, run=run, label=LABEL))
        headers = {
            "x-swath-model": reply.model,
            "x-swath-cost-usd": _dollars(run),
            "x-swath-cache": _cache(reply),
        }
        await exchange.give(
            openai.chat_body(_id(run), asked, reply, run.metrics.cost_usd), 200, headers
        )

    async def _stream(
        self, exchange: Exchange, request: Request, run: Run, *, include_usage: bool
    ) -> None:
        chunks: AsyncIterator[Chunk] = self._engine.stream(request, run=run, label=LABEL)
        try:
            # One task for all of it: one for each piece would cost more than the rest.
            writing = self._write(exchange, chunks, run, include_usage=include_usage)
            await exchange.while_there(writing)
            await exchange.end(b"data: [DONE]\n\n")
        finally:
            await chunks.aclose()  # type: ignore[attr-defined]

    async def _write(
        self, exchange: Exchange, chunks: AsyncIterator[Chunk], run: Run, *, include_usage: bool
    ) -> None:
        events: openai.Events | None = None
        async for chunk in chunks:
            reply = chunk.completion
            if events is None:
                alias = chunk.model if reply is None else reply.model
                headers = {"x-swath-model": alias, "x-swath-cache": _cache(reply)}
                if reply is not None:  # it came whole: what it cost is known
                    headers["x-swath-cost-usd"] = _dollars(run)
                name = reply.model_id if reply is not None else ""
                name = name or self._session.models[alias].id
                events = openai.Events(_id(run), name, usage=include_usage)
                await exchange.begin(headers)
                await exchange.event(events.first())
            if chunk.text:
                await exchange.event(events.text(chunk.text))
            if chunk.tool_call is not None:
                await exchange.event(events.tool_call(chunk.tool_call))
            if reply is not None:
                for event in events.last(reply, run.metrics.cost_usd):
                    await exchange.event(event)

    async def _embeddings(self, exchange: Exchange) -> None:
        request, coded = openai.read_embed(await exchange.json())
        run = exchange.run = Run(LABEL)
        exchange.headers["x-swath-request-id"] = run.id
        reply = await exchange.while_there(self._engine.embed(request, run=run, label=LABEL))
        headers = {
            "x-swath-model": request.model,
            "x-swath-cost-usd": _dollars(run),
            "x-swath-cache": "exact" if reply.cached else "miss",
            "x-swath-route": "direct",
        }
        await exchange.give(openai.embed_body(request.model, reply, coded=coded), 200, headers)

    async def _models(self, exchange: Exchange) -> None:
        names = list(self._session.models)
        if not self._engine.routing.problem("auto"):
            names.insert(0, "auto")
        await exchange.give(openai.models_body({name: self._owner(name) for name in names}))

    async def _model(self, exchange: Exchange) -> None:
        name = unquote(exchange.path.removeprefix("/v1/models/"))
        if name not in self._session.models:
            raise UnknownModel(f"There is no model '{name}'.", hint="See /v1/models.")
        await exchange.give(openai.model_body(name, self._owner(name)))

    async def _health(self, exchange: Exchange) -> None:
        await exchange.give({"status": "ok", "models": len(self._session.models)})

    # -- within

    def _owner(self, name: str) -> str:
        models = self._session.models
        return ROUTED if models.route(name) is not None else models.configured(name).provider

    def _bounded(self, request: Request) -> Request:
        """With room for a whole answer: a chat's client that sets no limit wants none."""
        model = self._session.models[request.model]
        if request.max_tokens is not None or "max_tokens" in model.defaults:
            return request
        most = min(MAX_TOKENS, model.max_output_tokens or MAX_TOKENS)
        return msgspec.structs.replace(request, max_tokens=most)


class Exchange:
    """One request and its answer. `headers` go out with whatever the answer becomes."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, max_body: int) -> None:
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.headers: dict[str, str] = {}
        self.run: Run | None = None  # what is asked on its behalf
        self._length = dict(scope["headers"]).get(b"content-length", b"0")
        self._receive = receive
        self._send = send
        self._max_body = max_body
        self._begun = False
        self._watch: asyncio.Task[None] | None = None

    async def json(self) -> dict[str, Any]:
        """The body. Raises BadRequest, TurnedAway, Gone."""
        if self._length.isdigit() and int(self._length) > self._max_body:
            raise _too_large(self._max_body)
        parts, size = [], 0
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise Gone
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            if size > self._max_body:
                raise _too_large(self._max_body)
            if not message.get("more_body", False):
                break
        try:
            value = msgspec.json.decode(b"".join(parts))
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
            raise openai.BadRequest("The body is no JSON.", code="invalid_json") from None
        if not isinstance(value, dict):
            raise openai.BadRequest("The body must be a JSON object.", code="invalid_json")
        return value

    async def while_there(self, work: Awaitable[T]) -> T:
        """The outcome of `work`, which is cancelled where the client goes away: Gone then."""
        task = asyncio.ensure_future(work)
        if self._watch is None:
            self._watch = asyncio.ensure_future(self._gone())
        try:
            await asyncio.wait([task, self._watch], return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                raise Gone
            return task.result()
        finally:
            if not task.done():
                task.cancel()
                with suppress(BaseException):
                    await task

    async def give(
        self, value: Any, status: int = 200, headers: Mapping[str, str] | None = None
    ) -> None:
        body = _encode(value)
        told = {"content-type": "application/json", "content-length": str(len(body))}
        await self._start(status, {**told, **self.headers, **(headers or {})})
        await self.end(body)

    async def begin(self, headers: Mapping[str, str]) -> None:
        """A stream of events."""
        told = {"content-type": "text/event-stream; charset=utf-8", "cache-control": "no-cache"}
        await self._start(200, {**told, **self.headers, **headers})

    async def event(self, value: Any) -> None:
        part = b"data: " + _encode(value) + b"\n\n"
        await self._send({"type": "http.response.body", "body": part, "more_body": True})

    async def end(self, body: bytes) -> None:
        if self._watch is not None:
            self._watch.cancel()
        await self._send({"type": "http.response.body", "body": body})

    async def fail(self, error: BaseException) -> None:
        """As a status where nothing was sent yet, else as the last event of the stream."""
        if isinstance(error, TurnedAway):
            status, told, headers = error.status, error.body, {"connection": "close"}
        else:
            status, told, headers = fault(error)
        if not self._begun:
            spent = {} if self.run is None else {"x-swath-cost-usd": _dollars(self.run)}
            await self.give(told, status, {**headers, **spent})
            return
        await self.event(told)
        await self.end(b"")

    async def _start(self, status: int, headers: Mapping[str, str]) -> None:
        self._begun = True
        coded = [(k.encode(), v.encode("latin-1", "replace")) for k, v in headers.items()]
        await self._send({"type": "http.response.start", "status": status, "headers": coded})

    async def _gone(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            continue


class TurnedAway(Exception):
    """What is not answered, and ends the connection."""

    def __init__(self, status: int, told: str, code: str) -> None:
        super().__init__(told)
        kind = "server_error" if status >= 500 else "invalid_request_error"
        self.status, self.body = status, error_body(told, kind, code)


def _too_large(most: int) -> TurnedAway:
    return TurnedAway(413, f"The body is larger than {most >> 20} MiB.", "body_too_large")


def _id(run: Run) -> str:
    return f"chatcmpl-{run.id}"


def _dollars(run: Run) -> str:
    return f"{run.metrics.cost_usd:.9f}"


def _cache(reply: Completion | None) -> str:
    return "exact" if reply is not None and reply.cached else "miss"


def _route(decision: Decision | None) -> str:
    """How the model was chosen: the name asked for, the reason, and the router's score."""
    if decision is None:
        return "direct"
    parts = [decision.name, f"model={decision.model}", f"why={decision.why}"]
    if decision.score is not None:
        parts.append(f"score={decision.score:.4f}")
    return "; ".join(parts)
