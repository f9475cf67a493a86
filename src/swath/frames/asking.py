"""`Asker`: the `Ask` that operators are given, over one run's engine."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import polars as pl

from swath.engine.shape import Invalid
from swath.errors import BudgetReached, Kind, MissingExtra, ProviderError
from swath.messages import AnyReply, Completion, EmbedRequest, Request
from swath.operators.asking import Check, Failed, Stopped

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from swath.catalog.model import Model
    from swath.frames.progress import StageProgress
    from swath.frames.run_local import Execution

# The next question would fail in the same way: go no further, and say so once.
HOPELESS = frozenset({Kind.AUTH, Kind.QUOTA, Kind.NOT_FOUND})
AT_ONCE = 4096  # questions of `many` that are looked up together


class Asker:
    """For one operator of one run. `label` names it in errors and the ledger; `ids` are the row
    numbers of a whole table. `answers` gathers what a row was told, where that is wanted."""

    def __init__(
        self,
        execution: Execution,
        label: str,
        *,
        ids: pl.Series | None = None,
        progress: StageProgress | None = None,
        answers: list[Completion] | None = None,
        model: str = "",
    ) -> None:
        self._execution = execution
        self._label = label
        self._ids = ids
        self._progress = progress
        self._answers = answers
        self._model = model
        self._gates: dict[str, asyncio.Semaphore] = {}

    @property
    def default(self) -> str:
        return self._execution.default_model

    def model(self, alias: str) -> Model:
        return self._execution.models[alias]

    def tokens(self, request: Request) -> float:
        return self._execution.engine.estimate(request, self._label).input_tokens

    def note(self, text: str, times: int = 1) -> None:
        self._execution.run.note(text, times)

    async def __call__(
        self, request: Request, check: Check | None = None, fallback: Sequence[str] = ()
    ) -> Completion:
        reply = await self._journey(request, check, fallback, known_miss=False)
        if self._answers is not None:
            self._answers.append(reply)
        return reply

    async def many(
        self,
        requests: Sequence[Request | None],
        check: Check | None = None,
        fallback: Sequence[str] = (),
    ) -> list[Completion | Failed | None]:
        place: dict[Any, int] = {}
        distinct: list[Request] = []
        which: list[int | None] = []
        for request in requests:
            if request is None:
                which.append(None)
                continue
            key = self._execution.engine.hash(request)
            if key not in place:
                place[key] = len(distinct)
                distinct.append(request)
            which.append(place[key])
        replies: list[Completion | Failed] = []
        for at in range(0, len(distinct), AT_ONCE):
            replies += await self._some(distinct[at : at + AT_ONCE], check, fallback)
        return [None if i is None else replies[i] for i in which]

    async def _some(
        self, requests: list[Request], check: Check | None, fallback: Sequence[str]
    ) -> list[Completion | Failed]:
        engine, run = self._execution.engine, self._execution.run
        found = engine.lookup(requests, [check] * len(requests))

        async def one(request: Request, stored: Completion | None) -> Completion | Failed:
            if stored is not None:
                run.count(engine.routed(request).model, cached=1)
                return stored
            try:
                return await self._journey(request, check, fallback, known_miss=True)
            except (ProviderError, Invalid) as error:
                return error

        pairs = zip(requests, found, strict=True)
        return await _all([one(request, stored) for request, stored in pairs])

    def stored(self, requests: Sequence[Request]) -> list[Completion | None]:
        """What needs no asking."""
        return self._execution.engine.lookup(requests)

    async def embed(
        self, texts: Sequence[str], model: str, dimensions: int | None = None
    ) -> npt.NDArray[np.float32]:
        try:
            import numpy as np
        except ModuleNotFoundError:
            raise MissingExtra("embeddings", "tables") from None
        if not texts:
            return np.zeros((0, 0), dtype=np.float32)
        request = EmbedRequest(model=model, texts=tuple(texts), dimensions=dimensions)
        reply = await self._guarded(
            self._execution.engine.embed(request, run=self._execution.run, label=self._label)
        )
        vectors = np.asarray(reply.vectors, dtype=np.float32)
        return np.asarray(
            vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12),
            dtype=np.float32,
        )

    def failed(self, position: int, reason: Failed | str) -> None:
        kind, said, model = str(Kind.INVALID), "", self._model
        if isinstance(reason, ProviderError):
            kind, said, model = str(reason.kind), reason.message, reason.model or model
        else:
            said = reason.public if isinstance(reason, Invalid) else reason
        row = position if self._ids is None else self._ids[position]
        self._execution.failed(row, self._label, model, kind, said)
        if self._progress is not None:
            self._progress.failed(1)

    def done(self, count: int, total: int | None = None) -> None:
        if self._progress is not None:
            self._progress.done(count)
            self._progress.total = self._progress.total if total is None else total
            self._execution.progress.show()

    async def _journey(
        self, request: Request, check: Check | None, fallback: Sequence[str], *, known_miss: bool
    ) -> Completion:
        engine, run = self._execution.engine, self._execution.run
        async with self._gate(request.model):
            reply: Completion = await self._guarded(
                engine.complete(
                    request,
                    run=run,
                    check=check,
                    label=self._label,
                    fallback=fallback,
                    known_miss=known_miss,
                )
            )
        return reply

    async def _guarded(self, asked: Any) -> Any:
        """What stops the run stops it here; what fails one question is raised."""
        if self._execution.stopped is not None:
            asked.close()
            raise Stopped
        try:
            reply: AnyReply = await asked
        except ProviderError as error:
            if error.kind not in HOPELESS:
                raise
            self._execution.stop(error)
        except Invalid:
            raise
        except BudgetReached as error:
            self._execution.stop(error)
        except Exception as error:  # the store, a bug, a check of the user's own that raises
            self._execution.stop(error)
        else:
            return reply
        raise Stopped

    def _gate(self, alias: str) -> asyncio.Semaphore:
        gate = self._gates.get(alias)
        if gate is None:
            concurrency = self.model(alias).concurrency
            gate = self._gates[alias] = asyncio.Semaphore(concurrency + max(concurrency // 8, 1))
        return gate


async def _all(work: list[Any]) -> list[Any]:
    """Like gather, but the first exception waits for the rest: they are paid for."""
    outcomes = await asyncio.gather(*work, return_exceptions=True)
    for outcome in outcomes:
        if isinstance(outcome, BaseException) and not isinstance(outcome, Failed):
            raise outcome
    return outcomes
