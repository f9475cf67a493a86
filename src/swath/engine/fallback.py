"""The fallback stage: the next model where this one is out, declines, or cannot read so much."""

from __future__ import annotations

import msgspec

from swath.engine.call import Call, Next
from swath.errors import Kind, ProviderError
from swath.messages import AnyReply

FALL_BACK_ON = frozenset(
    {
        Kind.TIMEOUT,
        Kind.SERVER,
        Kind.OVERLOADED,
        Kind.CONNECTION,
        Kind.MALFORMED,
        Kind.THROTTLED,
        Kind.QUOTA,
        Kind.CONTEXT,
        Kind.REFUSAL,
        Kind.INVALID,
        Kind.UNGROUNDED,
    }
)


async def falling_back(inner: Next, call: Call) -> AnyReply:
    for after in call.fallbacks:
        try:
            return await inner(call)
        except ProviderError as error:
            if call.emitted or error.kind not in FALL_BACK_ON:
                raise
            call.notes.append(f"'{after.alias}' stepped in for '{call.model.alias}' ({error.kind})")
        call.model = after
        call.request = msgspec.structs.replace(call.asked, model=after.alias)
    return await inner(call)
