"""The context stage: a prompt longer than the model's window is not sent.

The check leans to sending: tokens are estimated, and the provider has the last word. What does fit
leaves less room for the answer, so `max_tokens` is lowered to the room that there surely is: many
providers refuse a prompt that together with it exceeds the window.
"""

from __future__ import annotations

import msgspec

from swath.engine.call import Call, Next
from swath.engine.tokens import TokenEstimates
from swath.errors import Kind, ProviderError
from swath.messages import AnyReply, Request

LEAST_ROOM = 16
AROUND = 32  # tokens that a chat's own marks may take


class ContextCheck:
    def __init__(self, estimates: TokenEstimates) -> None:
        self._estimates = estimates

    async def __call__(self, inner: Next, call: Call) -> AnyReply:
        window = call.model.context_window
        request = call.request
        if window is None or not isinstance(request, Request):
            return await inner(call)
        size = sum(len(m.content) for m in request.messages)
        # Nothing known yet: assume long tokens, so that no prompt is refused that would fit.
        estimate = self._estimates.input(call.model, size)
        tokens = estimate * 0.8
        if tokens + LEAST_ROOM > window:
            raise ProviderError(
                Kind.CONTEXT,
                f"the prompt is about {tokens:,.0f} tokens, the window {window:,}.",
                provider=call.model.provider,
                model=call.model.alias,
                charged=False,
                hint="Shorten the text, or name a fallback with a longer context.",
            )
        room = max(int(window - estimate * 1.15 - AROUND), LEAST_ROOM)
        if request.max_tokens is not None and request.max_tokens > room:
            call.request = msgspec.structs.replace(request, max_tokens=room)
        return await inner(call)
