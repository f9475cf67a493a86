"""Anthropic's Messages API.

https://platform.claude.com/docs/en/api/messages, …/api/errors, …/api/rate-limits,
…/build-with-claude/structured-outputs, …/build-with-claude/prompt-caching

Rules that live here:
- System messages are hoisted into `system`; turns of one role that follow each other are merged,
  since the roles must alternate; tool results are user turns.
- `max_tokens` is required: 1024 where the request states none.
- A response schema goes into `output_config.format`. Models before Claude 4.1, and schemas that
  have no strict form, get a single forced tool instead, whose input is the answer. Where a server
  refuses `output_config` all the same, its error is UNSUPPORTED json_schema, and `json_mode`
  writes that tool form.
- Claude Opus 4.7 and everything from Claude 5 on take no temperature and no top_p, and Claude 4
  takes only one of the two: what is left out is in the completion's notes. Seed and logprobs do
  not exist.
- Usage: Anthropic counts cached tokens apart; Swath's `input_tokens` includes them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar

import msgspec

from swath.catalog.model import Model
from swath.errors import Kind, ProviderError
from swath.messages import AnyReply, AnyRequest, Completion, EmbedRequest, Message, Request, Tool
from swath.providers import anthropic_replies as replies
from swath.providers.base import (
    HttpReply,
    HttpRequest,
    ModelInfo,
    RateLimits,
    StreamDecoder,
    Window,
    parse_json,
)
from swath.providers.faults import classify, error_fields
from swath.providers.schemas import ANTHROPIC, Lowered, lower, without_quotes
from swath.providers.wire import (
    as_dict,
    encode_json,
    failure,
    loads,
    moment,
    number,
    plain_id,
    retry_after,
    stray_text,
)

VERSION = "2023-06-01"
REPLY_TOOL = "reply"
"""The tool whose input is the answer, where the model has no native structured output."""

_BEFORE_SCHEMA = re.compile(
    r"claude-(?:v?[123]\b|instant|(?:opus|sonnet|haiku)-4(?:-0\b|[-@]\d{6}|$)|4-(?:opus|sonnet))"
)
_SAMPLES = re.compile(
    r"claude-(?:v?[123]\b|instant|4-|(?:opus|sonnet|haiku)-4(?:[-.][0-6]\b|[-@]\d{6}|$))"
)
_ONE_KNOB = re.compile(r"claude-(?:opus|sonnet|haiku)-4")


class Anthropic:
    name: ClassVar[str] = "anthropic"
    base_url: ClassVar[str] = "https://api.anthropic.com"
    key_env: ClassVar[str] = "ANTHROPIC_API_KEY"
    options: ClassVar[frozenset[str]] = frozenset(
        {"prompt_cache", "thinking", "effort", "top_k", "service_tier", "betas"}
    )

    def authorize(self, model: Model) -> Model:
        return model

    def features(self, model: Model) -> frozenset[str]:
        found = frozenset({"json_schema", "json_object", "tools", "stop"})
        return found | {"top_p"} if _SAMPLES.search(model.id) else found

    def max_texts(self, model: Model) -> int:
        return 1

    def json_mode(self, request: Request) -> Request:
        """There is no JSON mode: a forced tool with the schema as its input comes closest."""
        shape = without_quotes(request.schema.json) if request.schema else {"type": "object"}
        if shape.get("type") != "object":
            shape = {"type": "object", "properties": {"value": shape}, "required": ["value"]}
        tool = Tool(REPLY_TOOL, "Give the answer.", shape)
        return msgspec.structs.replace(
            request, schema=None, tools=(*request.tools, tool), tool_choice=REPLY_TOOL
        )

    # -- what to send -------------------------------------------------------------------

    def encode(self, request: AnyRequest, model: Model, *, stream: bool = False) -> HttpRequest:
        if isinstance(request, EmbedRequest):
            raise failure(Kind.UNSUPPORTED, model, feature="embed")
        body: dict[str, Any] = {
            "model": model.id,
            "max_tokens": request.max_tokens or 1024,
        }
        if request.schema is not None:
            lowered = lower(request.schema, ANTHROPIC)
            if self.native(lowered, model):
                body["output_config"] = {"format": {"type": "json_schema", "schema": lowered.raw}}
            else:
                request = self.json_mode(request)
        system, turns = request.system, request.turns
        if not turns:  # a message from the user is required
            system, turns = "", (Message("user", system),)
        body["messages"] = _turns(turns)
        cache = _cache_control(model.options.get("prompt_cache"))
        if system:
            body["system"] = (
                [{"type": "text", "text": system, "cache_control": cache}] if cache else system
            )
        self._knobs(body, request, model)
        if request.tools:
            body["tools"] = [_tool(t) for t in request.tools]
            if cache and not system:
                body["tools"][-1]["cache_control"] = cache
            choice = _tool_choice(request.tool_choice, thinks=_thinks(model))
            if choice is not None:
                body["tool_choice"] = choice
        if stream:
            body["stream"] = True
        body.update(request.extra)
        url = _root(model) + "/v1/messages"
        return HttpRequest("POST", url, self.headers(model), encode_json(body))

    def native(self, lowered: Lowered, model: Model) -> bool:
        return lowered.strict and _BEFORE_SCHEMA.search(model.id) is None

    def _knobs(self, body: dict[str, Any], request: Request, model: Model) -> None:
        options = model.options
        if _SAMPLES.search(model.id):
            if request.temperature is not None:
                body["temperature"] = request.temperature
            if request.top_p is not None and not self._one_knob(request, model):
                body["top_p"] = request.top_p
            if "top_k" in options:
                body["top_k"] = options["top_k"]
        if request.stop:
            body["stop_sequences"] = request.stop
        if "effort" in options:
            body.setdefault("output_config", {})["effort"] = options["effort"]
        for option in ("thinking", "service_tier"):
            if option in options:
                body[option] = options[option]

    def _one_knob(self, request: Request, model: Model) -> bool:
        return request.temperature is not None and _ONE_KNOB.search(model.id) is not None

    def left_out(self, request: Request, model: Model) -> tuple[str, ...]:
        """A note for each knob of the request that this model refuses and was not sent."""
        samples = _SAMPLES.search(model.id) is not None
        out = []
        if request.temperature is not None and not samples:
            out.append("temperature")
        if request.top_p is not None and (not samples or self._one_knob(request, model)):
            out.append("top_p")
        if request.seed is not None:
            out.append("seed")
        if request.logprobs is not None:
            out.append("logprobs")
        return tuple(f"{knob} left out: not taken by {model.id}" for knob in out)

    def headers(self, model: Model) -> dict[str, str]:
        headers = {"content-type": "application/json", "anthropic-version": VERSION}
        if model.key:
            headers["x-api-key"] = model.key.reveal()
        if model.options.get("betas"):
            headers["anthropic-beta"] = ",".join(model.options["betas"])
        return headers

    # -- what came back -----------------------------------------------------------------

    def decode(self, request: AnyRequest, model: Model, reply: HttpReply) -> AnyReply:
        assert isinstance(request, Request)
        request_id = reply.headers.get("request-id", "")
        try:
            raw = replies.decode_reply(reply.body)
        except msgspec.ValidationError as error:  # its text names places and types, no values
            raise failure(Kind.MALFORMED, model, reply, str(error), request_id=request_id) from None
        except msgspec.DecodeError:
            parse_json(reply.body, model)
            raise
        return self.whole(raw, request, model, request_id)

    def whole(
        self, raw: replies.Reply, request: Request, model: Model, request_id: str
    ) -> Completion:
        if raw.error:
            raise self.error(model, HttpReply(200, {}, encode_json({"error": raw.error})))
        restore = None
        tool = REPLY_TOOL if request.tool_choice == REPLY_TOOL else ""
        if request.schema is not None:
            lowered = lower(request.schema, ANTHROPIC)
            if self.native(lowered, model):
                restore = lowered.restore
            else:
                tool = REPLY_TOOL
        return replies.completion(
            raw,
            model,
            request_id,
            notes=self.left_out(request, model),
            reply_tool=tool,
            restore=restore,
        )

    def decoder(self, request: Request, model: Model) -> StreamDecoder:
        return replies.MessageStream(
            model,
            done=lambda raw: self.whole(raw, request, model, ""),
            failed=lambda error: self.error(
                model, HttpReply(200, {}, encode_json({"error": error}))
            ),
            reply_tool=REPLY_TOOL,
        )

    # -- what went wrong ----------------------------------------------------------------

    def error(self, model: Model, reply: HttpReply) -> ProviderError:
        body = loads(reply.body)
        fields = error_fields(body) if body is not None else {}
        said = fields.get("message") or (stray_text(reply.body) if body is None else "")
        # An error event in a stream has status 200: its type says which it would have been.
        status = reply.status
        if status < 400:
            status = _STATUS_OF.get(str(fields.get("type")), 500)
        kind, feature = classify(status, fields, said)
        return failure(
            kind,
            model,
            HttpReply(status, reply.headers, b""),
            said,
            wait=retry_after(reply.headers, said),
            feature=feature,
            request_id=reply.headers.get("request-id") or str(as_dict(body).get("request_id", "")),
        )

    def limits(self, headers: Mapping[str, str]) -> RateLimits | None:
        requests = _window(headers, "requests")
        read, written = _window(headers, "input-tokens"), _window(headers, "output-tokens")
        # `tokens` repeats whichever of the limits is the tightest: only news without the others.
        both = None if read or written else _window(headers, "tokens")
        if requests is None and read is None and written is None and both is None:
            return None
        return RateLimits(requests, both, read, written)

    # -- what exists --------------------------------------------------------------------

    def probe(self, model: Model) -> HttpRequest:
        return HttpRequest("GET", _root(model) + "/v1/models?limit=1", self.headers(model))

    def list_models(self, model: Model) -> HttpRequest:
        return HttpRequest("GET", _root(model) + "/v1/models?limit=1000", self.headers(model))

    def models(self, reply: HttpReply) -> list[ModelInfo]:
        rows = as_dict(loads(reply.body)).get("data")
        return [
            ModelInfo(
                id=row["id"],
                context_window=row.get("max_input_tokens"),
                max_output_tokens=row.get("max_tokens"),
            )
            for row in (rows if isinstance(rows, list) else ())
            if isinstance(row, dict) and isinstance(row.get("id"), str)
        ]


_STATUS_OF = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
}


def _root(model: Model) -> str:
    """The base URL without `/v1`: Anthropic's own clients are given it without."""
    return model.base_url.rstrip("/").removesuffix("/v1")


def _window(headers: Mapping[str, str], what: str) -> Window | None:
    limit = headers.get(f"anthropic-ratelimit-{what}-limit")
    remaining = headers.get(f"anthropic-ratelimit-{what}-remaining")
    if limit is None and remaining is None:
        return None
    reset = moment(headers.get(f"anthropic-ratelimit-{what}-reset"))
    return Window(number(limit), number(remaining), reset)


def _cache_control(option: Any) -> dict[str, str] | None:
    """`prompt_cache`: true is five minutes; "5m" and "1h" are what Anthropic offers."""
    if not option:
        return None
    return {"type": "ephemeral", "ttl": option} if option == "1h" else {"type": "ephemeral"}


def _turns(messages: tuple[Message, ...]) -> list[dict[str, Any]]:
    turns: list[dict[str, Any]] = []
    for message in messages:
        role = "assistant" if message.role == "assistant" else "user"
        content = _content(message)
        if turns and turns[-1]["role"] == role:
            last = turns[-1]
            last["content"] = _blocks(last["content"]) + _blocks(content)
        else:
            turns.append({"role": role, "content": content})
    return turns


def _blocks(content: Any) -> list[dict[str, Any]]:
    if isinstance(content, str):  # an empty text block is refused
        return [{"type": "text", "text": content}] if content else []
    blocks: list[dict[str, Any]] = content
    return blocks


def _content(message: Message) -> str | list[dict[str, Any]]:
    if message.role == "tool":
        result: dict[str, Any] = {
            "type": "tool_result",
            "tool_use_id": plain_id(message.tool_call_id or ""),
            "content": message.content,
        }
        return [result]
    if not message.tool_calls:
        return message.content
    return _blocks(message.content) + [
        {
            "type": "tool_use",
            "id": plain_id(call.id),
            "name": call.name,
            "input": msgspec.Raw(call.arguments.encode() or b"{}"),
        }
        for call in message.tool_calls
    ]


def _tool(tool: Tool) -> dict[str, Any]:
    wire: dict[str, Any] = {"name": tool.name}
    if tool.description:
        wire["description"] = tool.description
    wire["input_schema"] = tool.parameters or {"type": "object", "properties": {}}
    return wire


def _thinks(model: Model) -> bool:
    thinking = model.options.get("thinking")
    return isinstance(thinking, Mapping) and thinking.get("type") in ("enabled", "adaptive")


def _tool_choice(choice: str | None, *, thinks: bool) -> dict[str, str] | None:
    if choice is None:
        return None
    if choice in ("auto", "none"):
        return {"type": choice}
    if thinks:  # a model that is told to think may not be forced to call
        return {"type": "auto"}
    return {"type": "any"} if choice == "required" else {"type": "tool", "name": choice}
