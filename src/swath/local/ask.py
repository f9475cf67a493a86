"""One request on its way through the local model: what is sent, and what is made of the answer.

Three kinds: free text, a reply of a schema, one of some labels. The last two are mended where the
catalogue says that it helps the model (see `choices`).
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from swath.catalog.model import Model
from swath.errors import Kind, MissingExtra, ProviderError, WeightsError
from swath.local import choices, tools, weights
from swath.local.encoder import encoder
from swath.local.grammar import CHARS_PER_TOKEN, WORST, Compiled, compile_schema, label_fields
from swath.local.reply import Gathering
from swath.local.server import Server
from swath.messages import Chunk, Completion, Message, Request, Usage

MAX_TOKENS = 1024  # of an answer, where the request does not say
MOST_LABELS = 12  # of a field that is decided by the probabilities of its labels

OnChunk = Callable[[Chunk], None]


class Ask:
    """One request on its way; called on a slot's worker."""

    def __init__(
        self, host: Server, request: Request, model: Model, on_chunk: OnChunk | None
    ) -> None:
        self._host, self._request, self._model, self._on_chunk = host, request, model, on_chunk
        self._messages = [_message(m) for m in request.messages]
        self._known = weights.catalogue().get(model.id)
        self.key = "\0".join(f"{m.role}\0{m.content}" for m in request.messages)

    def __call__(self, slot: int, dropped: threading.Event) -> Completion:
        if self._request.tools:
            found = self._call(slot, dropped)
        elif self._request.choices:
            found = self._choose(slot, dropped)
        elif self._request.schema is not None:
            found = self._decide(slot, dropped, self._fill(slot, dropped))
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
            compiled = self._compile(WORST)
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

    def _call(self, slot: int, dropped: threading.Event) -> Completion:
        """An answer, or calls of tools."""
        request = self._request
        if not self._host.takes_tools:
            raise ProviderError(
                Kind.UNSUPPORTED, f"'{self._model.id}' knows no tools.", feature="tools"
            )
        for feature, asked in (("json_schema", request.schema), ("choices", request.choices)):
            if asked:
                raise ProviderError(
                    Kind.UNSUPPORTED, f"no {feature} together with tools.", feature=feature
                )
        offered = tools.offered(request)
        prompt = self._host.prompt(self._messages, tools.described(offered))
        body = {**_body(request, []), "prompt": prompt, "id_slot": slot}
        schema = tools.required(request)
        if schema is not None:
            most = request.max_tokens or MAX_TOKENS
            body["grammar"] = compile_schema(schema, source=None, tokens=most).grammar
        # Nothing is streamed before it is known whether it is a call.
        gathering = Gathering(dropped, None)
        self._host.chat({**body, **request.extra}, gathering, raw=True)
        found = gathering.completion(alternatives=request.logprobs)
        if calls := tools.calls(found.text, offered):
            found = msgspec.structs.replace(found, text="", tool_calls=calls, finish="tool_calls")
        if self._on_chunk:
            if found.text:
                self._on_chunk(Chunk(text=found.text))
            for call in found.tool_calls:
                self._on_chunk(Chunk(tool_call=call))
        return found

    def _choose(self, slot: int, dropped: threading.Event) -> Completion:
        labels, source = self._request.choices, self._request.source
        found = choices.score(self._host, slot, self._messages, labels, dropped)
        scores = found.scores
        notes: tuple[str, ...] = ()
        if self._known is not None and source:
            likeness: Mapping[str, float] | None = None
            if self._known.encoder_weight and len(labels) > 2:
                likeness, notes = _likeness(source, labels, self._request.system)
            scores = choices.mended(
                scores, self._favour(slot, labels, dropped), likeness, self._known.encoder_weight
            )
        text = max(scores, key=lambda label: scores[label])
        if self._on_chunk:
            self._on_chunk(Chunk(text=text))
        return Completion(text=text, scores=scores, usage=found.usage, notes=notes)

    def _decide(self, slot: int, dropped: threading.Event, found: Completion) -> Completion:
        """The reply with its label fields decided by calibrated probability. What a small model
        writes there is mostly the label that it favours, whatever the text."""
        request = self._request
        assert request.schema is not None
        plain = self._on_chunk is None and request.logprobs is None and not request.temperature
        fields = label_fields(request.schema.json) if plain else {}
        if not fields or self._known is None or not self._known.calibrated or not request.source:
            return found
        value = _object(found.text)
        usage = found.usage
        for name, labels in fields.items():
            if name not in value or len(labels) > MOST_LABELS:
                continue
            favour = self._favour(slot, labels, dropped, _until(value, name, blank=True))
            if favour is None:
                return found
            scored = choices.score(
                self._host, slot, self._messages, labels, dropped, _until(value, name)
            )
            scores = choices.mended(scored.scores, favour)
            value[name] = max(scores, key=lambda label: scores[label])
            usage += Usage(output_tokens=scored.usage.output_tokens)
        text = _compact(value) if value else found.text
        return msgspec.structs.replace(found, text=text, usage=usage)

    def _favour(
        self, slot: int, labels: tuple[str, ...], dropped: threading.Event, opening: str = ""
    ) -> Mapping[str, float] | None:
        """What the model says without a text; None where that is not to be divided out."""
        if self._known is None or not self._known.calibrated:
            return None
        bare = choices.without(self._request.source or "", self._messages)
        if bare is None:
            return None
        return choices.favour(self._host, slot, bare, labels, dropped, opening)


def _object(text: str) -> dict[str, Any]:
    """The object in a reply; an empty one where the reply is something else, or not whole."""
    try:
        value = json.loads(text)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _until(value: Mapping[str, Any], name: str, *, blank: bool = False) -> str:
    """The reply up to the quotation mark that opens the field `name`. `blank`: without what it
    says of the text, so that it is the same for every text."""
    before: dict[str, Any] = {}
    for key, item in value.items():
        if key == name:
            break
        if not blank:
            before[key] = item
        elif isinstance(item, str):
            before[key] = ""
    return _compact({**before, name: ""})[:-2]


def _compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _read(found: Completion, compiled: Compiled) -> Completion | None:
    """The reply with its quotes in full; None where it is not whole, or not of the schema."""
    try:
        return msgspec.structs.replace(found, text=compiled.read(found.text))
    except ValueError:
        return None


def _likeness(
    text: str, labels: tuple[str, ...], instructions: str
) -> tuple[dict[str, float] | None, tuple[str, ...]]:
    """What the encoder says of each label; None and a note where there is no encoder."""
    try:
        found = encoder()
    except (WeightsError, MissingExtra):
        return None, ("labels scored without the encoder",)
    lines = [line.strip().lstrip("-* ") for line in instructions.splitlines()]
    told = [next((n for n in lines if n.startswith(f"{label}:")), label) for label in labels]
    return dict(zip(labels, found.likeness(text, told), strict=True)), ()


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
    return body
