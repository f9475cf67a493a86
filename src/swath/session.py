"""`Session`: a config, an engine and the loop it runs on; and the plain doors to a model.

The engine lives on one background thread with its own event loop, so that the same session serves
scripts, notebooks and running event loops alike.
"""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures
import os
import threading
from collections.abc import AsyncIterator, Coroutine, Iterator, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from swath import waiting
from swath.catalog.models import Models
from swath.config import Config, load
from swath.engine import Engine, Run
from swath.errors import InputError, KeyMissing, Kind, ProviderError, listing
from swath.messages import Chunk, Completion, Embeddings, EmbedRequest, Message, Request, Tool
from swath.providers import LOCAL, provider
from swath.store import open_store

if TYPE_CHECKING:
    from swath.operators.schema import Shape

T = TypeVar("T")
Prompt = str | Sequence[Message | Mapping[str, Any]]
KEY_CHECK_TIMEOUT = 5.0


class Session:
    """`config` is a path to a swath.toml, a dict of the same shape, or None to look for one.

    The newest open session is the current one: module-level functions and frames use it. With
    `check`, keys that are set are tried once at their providers (one cheap call each, in parallel),
    and the default model's key must be there; `check=False`, `check_keys = false` in the config or
    SWATH_CHECK_KEYS=0 skip that. Raises ConfigError, KeyMissing, StoreError.
    """

    def __init__(
        self,
        config: str | os.PathLike[str] | Mapping[str, Any] | None = None,
        *,
        check: bool = True,
    ) -> None:
        self.config: Config = load(config)
        self.models = Models(self.config)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self.closed = False
        self._prompted: dict[tuple[str, ...], str] = {}  # versions of prompts → their calls' run
        if check and self.config.check_keys:
            self.models.require_key(self.models.default)
        store = open_store(self.config.store, self.config.base)
        self.engine = Engine(self.models, store, self.config.router, self.config.keep_prompts)
        if check and self.config.check_keys:
            try:
                self._check_keys()
            except BaseException:
                self.close()
                raise
        _open.append(self)

    def __repr__(self) -> str:
        return (
            f"Session(config={str(self.config.path or 'built-in')!r}, models={list(self.models)})"
        )

    # -- the loop

    def submit(self, coroutine: Coroutine[Any, Any, T]) -> concurrent.futures.Future[T]:
        """Start `coroutine` on the session's loop."""
        if self.closed:
            coroutine.close()
            raise InputError("The session is closed.", hint="Open another: swath.Session().")
        return asyncio.run_coroutine_threadsafe(coroutine, self._running_loop())

    def call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run `coroutine` on the session's loop and wait. Ctrl-C cancels it, waits for it to put
        things in order, and is raised."""
        ended = threading.Event()

        async def watched() -> T:
            try:
                return await coroutine
            finally:
                ended.set()

        try:
            future = self.submit(watched())
        except InputError:
            coroutine.close()
            raise
        try:
            return waiting.result(future)
        except KeyboardInterrupt:
            future.cancel()
            ended.wait(timeout=30)
            raise

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                self._loop = _new_loop()
                self._thread = threading.Thread(
                    target=self._loop.run_forever, name="swath-engine", daemon=True
                )
                self._thread.start()
            return self._loop

    def close(self) -> None:
        """Write what is pending, close connections, stop the loop. Safe to call twice."""
        if self.closed:
            return
        if self in _open:
            _open.remove(self)
        loop = self._loop
        if loop is None:  # nothing was ever asked
            self.closed = True
            self.engine.store.close()
            return
        asyncio.run_coroutine_threadsafe(self._shut_down(), loop).result(timeout=30)
        self.closed = True
        loop.call_soon_threadsafe(loop.stop)
        if self._thread is not None:
            self._thread.join(timeout=10)
        loop.close()

    async def _shut_down(self) -> None:
        tasks = [t for t in asyncio.all_tasks() if t is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.engine.close()

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    # -- keys

    def _check_keys(self) -> None:
        aliases = [a for a, m in self.config.models.items() if m.provider != LOCAL]
        ready = [a for a in aliases if self.models.key(self.config.models[a])[1]]
        if ready:
            for outcome in self.call(self.probe(ready)).values():
                if isinstance(outcome, KeyMissing):
                    raise outcome

    async def probe(self, aliases: Sequence[str]) -> dict[str, Exception | None]:
        """One cheap authenticated call for each account, in parallel. None: all is well;
        KeyMissing: the key is refused; ProviderError: the provider cannot be reached."""
        by_account: dict[tuple[str, str], list[str]] = {}
        for alias in aliases:
            model = self.models[alias]
            by_account.setdefault((model.base_url, model.api_key_env), []).append(alias)
        outcomes = await asyncio.gather(*(self._probe(names[0]) for names in by_account.values()))
        return {
            name: outcome
            for names, outcome in zip(by_account.values(), outcomes, strict=True)
            for name in names
        }

    async def _probe(self, alias: str) -> Exception | None:
        model = self.models[alias]
        wire = provider(model.provider)
        try:
            reply = await self.engine.transport.send(wire.probe(model), timeout=KEY_CHECK_TIMEOUT)
        except ProviderError as error:
            return error
        if reply.status < 400:
            return None
        refusal = wire.error(model, reply)
        if refusal.kind is not Kind.AUTH:
            return refusal if reply.status >= 500 else None  # a server without this endpoint
        return KeyMissing(
            f"{model.provider} refused the key in {model.api_key_env} (model '{alias}').",
            hint=f"Check the value of {model.api_key_env}, or set check_keys = false to go on.",
        )

    # -- plain doors

    def complete(self, prompt: Prompt, **settings: Any) -> Completion:
        """Ask and wait. See `acomplete` for the settings."""
        return self.call(self._complete(prompt, settings))

    async def acomplete(self, prompt: Prompt, **settings: Any) -> Completion:
        """Ask a model: `prompt` is a text or a list of messages (`{"role", "content"}`).

        Settings: `model` (alias, or a list: the first is asked, the others step in), `response` (a
        Pydantic model or JSON Schema: `Completion.parsed` holds the value), `choices`, `system`,
        `temperature`, `top_p`, `max_tokens`, `stop`, `seed`, `tools`, `tool_choice`, `logprobs`,
        `source` (what quotes must come from), `extra`, `max_cost` (dollars), `fresh` (ask even
        where the answer is stored). An `sw.Prompt` brings its own instructions and schema where
        none are given here, and its version is recorded. Raises ProviderError, BudgetReached,
        ConfigError.
        """
        return await asyncio.wrap_future(self.submit(self._complete(prompt, settings)))

    async def _complete(self, prompt: Prompt, settings: dict[str, Any]) -> Completion:
        fresh, max_cost = settings.pop("fresh", False), settings.pop("max_cost", None)
        run = Run("complete", max_cost=max_cost)
        if type(prompt) is not str and isinstance(prompt, str):
            await self._record(prompt, settings, run)
        request, fallback, shape = self._request(prompt, settings)
        return await self.engine.complete(
            request,
            run=run,
            check=shape.check if shape else None,
            label="complete",
            fallback=fallback,
            fresh=fresh,
        )

    def stream(self, prompt: Prompt, **settings: Any) -> Stream:
        """The answer as it is written, for `for` and `async for` alike; same settings as
        `complete`. The last chunk holds the whole `completion`."""
        fresh = settings.pop("fresh", False)
        run = Run("stream", max_cost=settings.pop("max_cost", None))
        if type(prompt) is not str and isinstance(prompt, str):
            self.call(self._record(prompt, settings, run))
        request, _, _ = self._request(prompt, settings)
        return Stream(self, self.engine.stream(request, run=run, label="stream", fresh=fresh))

    def embed(
        self,
        texts: str | Sequence[str],
        *,
        model: str = "local/minilm-l6",
        dimensions: int | None = None,
    ) -> Embeddings:
        """One vector for each text, from the packaged encoder or any model that embeds."""
        several = (texts,) if isinstance(texts, str) else tuple(texts)
        request = EmbedRequest(model=model, texts=several, dimensions=dimensions)
        return self.call(self.engine.embed(request, label="embed"))

    async def _record(self, prompt: str, settings: dict[str, Any], run: Run) -> None:
        """That `prompt` is a version of a named one. All calls with it share a run, so that the
        store is written to for the first of a session only."""
        from swath.prompting.history import record_use
        from swath.prompting.prompt import Prompt as Version

        if not isinstance(prompt, Version):
            return
        if prompt.instructions and not settings.get("system"):
            settings["system"] = prompt.instructions
        if prompt.schema is not None and settings.get("response") is None:
            settings["response"] = prompt.schema
        key = (run.name, prompt.name, prompt.id)
        if key not in self._prompted:
            record_use(self.engine.store, run.id, run.name, prompt)
            self._prompted[key] = run.id
        run.id = self._prompted[key]

    def _request(
        self, prompt: Prompt, settings: dict[str, Any]
    ) -> tuple[Request, tuple[str, ...], Shape | None]:
        response, system = settings.pop("response", None), settings.pop("system", None)
        first, *rest = _names(settings.pop("model", None) or self.models.default)
        shape = None
        if response is not None:
            from swath.operators.schema import shape_of

            shape = shape_of(response)
            settings["schema"] = shape.schema
        messages = _messages(prompt)
        if system:
            messages = (Message("system", system), *messages)
        for name in ("stop", "choices"):
            if name in settings:
                value = settings[name]
                settings[name] = (value,) if isinstance(value, str) else tuple(value or ())
        if "tools" in settings:
            settings["tools"] = tuple(
                t if isinstance(t, Tool) else Tool(**t) for t in settings["tools"] or ()
            )
        try:
            request = Request(model=first, messages=messages, **settings)
        except TypeError:
            known = [f for f in Request.__struct_fields__ if f not in ("model", "messages")]
            wrong = next((name for name in settings if name not in known), "")
            raise InputError(
                f"There is no setting '{wrong}'.",
                hint=listing([*known, "response", "system", "max_cost", "fresh"], wrong),
            ) from None
        return request, tuple(rest), shape


class Stream:
    """An answer under way. Iterate it once, with `for` or `async for`."""

    def __init__(self, session: Session, chunks: AsyncIterator[Chunk]) -> None:
        self._session = session
        self._chunks = chunks
        self.completion: Completion | None = None

    async def _next(self) -> Chunk | None:
        return await anext(self._chunks, None)

    def _keep(self, chunk: Chunk) -> Chunk:
        self.completion = chunk.completion or self.completion
        return chunk

    def __iter__(self) -> Iterator[Chunk]:
        try:
            while (chunk := self._session.call(self._next())) is not None:
                yield self._keep(chunk)
        finally:
            self._session.call(self._close())

    async def __aiter__(self) -> AsyncIterator[Chunk]:
        try:
            while True:
                chunk = await asyncio.wrap_future(self._session.submit(self._next()))
                if chunk is None:
                    return
                yield self._keep(chunk)
        finally:
            await asyncio.wrap_future(self._session.submit(self._close()))

    async def _close(self) -> None:
        await self._chunks.aclose()  # type: ignore[attr-defined]


def _names(model: str | Sequence[str]) -> tuple[str, ...]:
    return (model,) if isinstance(model, str) else tuple(model)


def _messages(prompt: Prompt) -> tuple[Message, ...]:
    if isinstance(prompt, str):
        return (Message("user", str(prompt)),)  # an `sw.Prompt` is more than a str
    try:
        return tuple(m if isinstance(m, Message) else Message(**m) for m in prompt)
    except TypeError:
        raise InputError(
            "The prompt is neither text nor a list of messages.",
            hint='Give a str, or [{"role": "user", "content": "…"}].',
        ) from None


def _new_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop
    except ImportError:  # Windows
        return asyncio.new_event_loop()
    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop


_open: list[Session] = []


def current() -> Session:
    """The newest open session; the first use opens one from the config that is found."""
    return _open[-1] if _open else Session()


@atexit.register
def _close_all() -> None:
    for session in _open.copy():
        session.close()
