"""The limit stage: leave to send from the model's limiter, and the truth back to it afterwards."""

from __future__ import annotations

import time

from swath.catalog.model import Model
from swath.engine.backend import Backend
from swath.engine.call import Call, Next
from swath.engine.limiter import Limiter
from swath.engine.tokens import TokenEstimates
from swath.errors import Kind, ProviderError
from swath.messages import AnyReply, Request
from swath.providers import LOCAL


class Limiting:
    """One limiter for each account and model; aliases of one model share it."""

    def __init__(self, backends: dict[str, Backend], estimates: TokenEstimates) -> None:
        self._backends = backends
        self._estimates = estimates
        self._limiters: dict[tuple[str, str, str], Limiter] = {}

    def backend(self, model: Model) -> Backend:
        return self._backends[LOCAL if model.provider == LOCAL else "http"]

    def of(self, model: Model) -> Limiter:
        limiter = self._limiters.get(model.account)
        if limiter is None:
            limiter = self._limiters[model.account] = Limiter(
                concurrency=model.concurrency,
                rpm=model.rpm,
                tpm=model.tpm,
                input_tpm=model.input_tpm,
                output_tpm=model.output_tpm,
                patience=model.deadline,
                slow_start=model.provider != LOCAL,
            )
        return limiter

    async def __call__(self, inner: Next, call: Call) -> AnyReply:
        model, request = call.model, call.request
        limiter = self.of(model)
        parcel = self.backend(model).pack(
            request, model, stream=call.on_chunk is not None and isinstance(request, Request)
        )
        call.parcel = parcel
        call.limits = None
        estimates = self._estimates
        asked = time.perf_counter()
        grant = await limiter.acquire(
            estimates.input(model, parcel.size),
            estimates.output_high(call.label, model, request),
        )
        call.wait += time.perf_counter() - asked
        try:
            hopeless = call.run.hopeless.get(model.account)
            if hopeless is not None:  # found out while this call stood in line
                raise hopeless.again()
            reply = await inner(call)
        except ProviderError as error:
            if error.kind is Kind.THROTTLED:
                error.retry_after = grant.refused(error.retry_after, error.limits)
            else:
                grant.accepted(limits=error.limits)
            grant.release()
            raise
        except BaseException:
            grant.accepted()
            grant.release()
            raise
        usage = reply.usage
        grant.accepted(usage.input_tokens, usage.output_tokens, call.limits)
        call.grants.append(grant)
        estimates.learn(
            call.label, model, request, parcel.size, (usage.input_tokens, usage.output_tokens)
        )
        return reply
