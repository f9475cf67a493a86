"""The ledger stage: one row a call, with the time spent in each stage.

Prompts are in it only where the config says `keep_prompts = true`, and then redacted.
"""

from __future__ import annotations

import time

import msgspec

from swath.catalog.model import Model
from swath.engine.call import Call, Next
from swath.engine.validate import AGAIN, REPAIRED
from swath.errors import ProviderError, SwathError
from swath.messages import AnyReply, AnyRequest, Completion, Request
from swath.redact import redacted
from swath.store.base import CallRow, Store

NEARLY_FULL = 0.9  # of a window: worth a note


class Ledger:
    def __init__(self, store: Store, keep_prompts: bool = False) -> None:
        self._store = store
        self._keep_prompts = keep_prompts

    async def __call__(self, inner: Next, call: Call) -> AnyReply:
        status, error, cached, model_id, share = "cancelled", "", False, "", 0.0
        try:
            reply = await inner(call)
            status, cached, model_id = "ok", reply.cached, reply.model_id
            share = _share(call.model, reply)
            call.run.metrics.window_share = max(call.run.metrics.window_share, share)
            if share > NEARLY_FULL:
                call.run.note(
                    f"answers over {NEARLY_FULL:.0%} of the window of '{call.model.alias}'"
                )
            if call.notes and not cached:
                reply = msgspec.structs.replace(reply, notes=(*reply.notes, *call.notes))
            for note in () if cached else reply.notes:
                call.run.note(note)
            return reply
        except ProviderError as failure:
            status, error = str(failure.kind), failure.message
            raise
        except SwathError as failure:
            status, error = type(failure).__name__, failure.message
            raise
        finally:
            called = call.tries > 0
            call.run.count(
                call.model.alias,
                calls=int(called),
                cached=int(cached),
                retries=max(call.tries - 1, 0),
                failed=int(status not in ("ok", "cancelled")),
            )
            if called or cached or call.cost or status != "cancelled":
                self._store.log_call(self._row(call, status, error, cached, model_id, share))

    def _row(
        self, call: Call, status: str, error: str, cached: bool, model_id: str, share: float
    ) -> CallRow:
        total = time.perf_counter() - call.started
        route = call.route
        return CallRow(
            run=call.run.id,
            at=time.time() - total,
            label=call.label,
            model=call.model.alias,
            provider=call.model.provider,
            model_id=model_id or call.model.id,
            wanted=call.wanted.alias,
            status=status,
            error=error,
            cached=cached,
            tries=call.tries,
            input_tokens=call.usage.input_tokens,
            cached_input_tokens=call.usage.cached_input_tokens,
            output_tokens=call.usage.output_tokens,
            cost_usd=call.cost,
            total_ms=total * 1e3,
            wait_ms=call.wait * 1e3,
            backoff_ms=call.backoff * 1e3,
            provider_ms=call.provider_time * 1e3,
            ttft_ms=call.ttft * 1e3,
            hash=call.key.hex(),
            window_share=share,
            route=route.name if route else "",
            route_why=route.why if route else "",
            route_scores=route.scores if route else "",
            strong_usd=route.strong_usd if route else 0.0,
            route_strong=route.strong if route else "",
            repaired=REPAIRED in call.notes or AGAIN in call.notes,
            prompt=_prompt(call.asked) if self._keep_prompts else "",
        )


def _prompt(asked: AnyRequest) -> str:
    """What was asked, as JSON: a list of role and content. Texts to embed are no prompt, and what
    comes with tools is more than its text."""
    if not isinstance(asked, Request) or asked.tools:
        return ""
    return msgspec.json.encode(redacted(asked)).decode()


def _share(model: Model, reply: AnyReply) -> float:
    """How much of its window the answered question took, prompt and completion. A batch of texts
    to embed is no question: each text has the window to itself."""
    if not model.context_window or not isinstance(reply, Completion):
        return 0.0
    usage = reply.usage
    return (usage.input_tokens + usage.output_tokens) / model.context_window
