"""The validate stage: ask for the shape in terms the model takes, and accept only answers of it.

A server that turns out to lack JSON Schema is asked in its JSON mode, then by the prompt alone; one
that refuses a knob is asked without it. That is remembered for the session and noted. An answer
that cannot be read is asked for once more as it stands; one of the wrong shape gets one repair
attempt, in which the model sees what was wrong.
"""

from __future__ import annotations

import msgspec

from swath.catalog.model import Model
from swath.engine.call import Call, Next
from swath.engine.shape import KNOBS, LADDER, Invalid, check_for, grounded, lower, without
from swath.errors import Kind, ProviderError
from swath.messages import AnyReply, Completion, Message, Request
from swath.providers import LOCAL, provider

REPAIRED = "repaired after a first answer of the wrong shape"
AGAIN = "asked again after an answer that could not be read"


class Validating:
    def __init__(self) -> None:
        self._lacks: dict[tuple[str, str, str], set[str]] = {}  # learned from UNSUPPORTED

    def features(self, model: Model) -> frozenset[str]:
        """What the model takes, as far as is known by now."""
        if model.provider == LOCAL:
            from swath.local.backend import LOCAL_FEATURES as have
        else:
            have = provider(model.provider).features(model)
        return have - self._lacks.get(model.account, set())

    async def __call__(self, inner: Next, call: Call) -> AnyReply:
        asked = call.request
        if not isinstance(asked, Request):
            return await inner(call)
        check = call.check or check_for(asked)
        again = repaired = False
        while True:
            sent, notes = self.shaped(asked, call.model)
            call.request = sent
            try:
                reply = await inner(call)
            except ProviderError as error:
                if error.kind is Kind.UNSUPPORTED and error.feature in (*LADDER, *KNOBS):
                    self._lacks.setdefault(call.model.account, set()).add(error.feature)
                    if self.shaped(asked, call.model)[0] != sent:
                        continue
                raise
            assert isinstance(reply, Completion)
            self._refused(reply, call.model)
            call.notes += [note for note in notes if note not in call.notes]
            if check is None or reply.tool_calls:
                return reply
            try:
                text = grounded(reply.text, asked)
                value = check(text)
            except Invalid as invalid:
                call.release()  # another try takes a slot of its own
                if reply.finish == "length":
                    raise _truncated(call, asked) from None
                if call.emitted or repaired:
                    raise _invalid(call.model, invalid) from None
                if invalid.unreadable and not again:
                    again = True
                    continue
                repaired = True
                asked = _repair(asked, reply.text, invalid.reason)
                continue
            if asked.choices:
                text = str(value)
            if repaired or again:
                call.notes.append(REPAIRED if repaired else AGAIN)
            return msgspec.structs.replace(reply, text=text, parsed=value)

    def shaped(self, asked: Request, model: Model) -> tuple[Request, list[str]]:
        """`asked` in the terms that the model is known to take, and what that left out."""
        shaped, step = lower(asked, model, self.features(model))
        shaped, left = without(shaped, self._lacks.get(model.account, set()))
        return shaped, [note for note in (step, left) if note]

    @staticmethod
    def _refused(reply: Completion, model: Model) -> None:
        if reply.finish in ("refusal", "content_filter"):
            raise ProviderError(
                Kind.REFUSAL,
                "declined to answer."
                if reply.finish == "refusal"
                else "the provider's content filter stopped the answer.",
                provider=model.provider,
                model=model.alias,
                hint="Name a fallback model, or leave the row out.",
            )


def _repair(asked: Request, answer: str, reason: str) -> Request:
    turns = (Message("assistant", answer),) if answer.strip() else ()
    plea = Message("user", f"That answer cannot be used. {reason} Give the whole answer again.")
    return msgspec.structs.replace(asked, messages=(*asked.messages, *turns, plea))


def _truncated(call: Call, asked: Request) -> ProviderError:
    return ProviderError(
        Kind.TRUNCATED,
        f"the answer was cut off at {asked.max_tokens} tokens.",
        provider=call.model.provider,
        model=call.model.alias,
        hint="Raise max_tokens, or ask for less.",
    )


def _invalid(model: Model, invalid: Invalid) -> ProviderError:
    return ProviderError(
        Kind.UNGROUNDED if invalid.ungrounded else Kind.INVALID,
        invalid.public,
        provider=model.provider,
        model=model.alias,
        hint="A repair attempt did not help: try a stronger model or a simpler schema.",
    )
