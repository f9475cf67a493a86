"""OpenAI's wire format, and that of every server compatible with it.

Chat completions: https://platform.openai.com/docs/api-reference/chat
Embeddings:       https://platform.openai.com/docs/api-reference/embeddings
Errors, limits:   https://platform.openai.com/docs/guides/error-codes, …/guides/rate-limits

Rules that live here:
- Reasoning models (o1…, gpt-5… but not their `-chat` forms) take `max_completion_tokens` and no
  temperature, top_p, stop or logprobs: those are left out and the completion's notes say so.
  With `reasoning_effort = "none"` they take them.
- A response schema is sent in strict form where it has one (see schemas.py).
- A key is optional: without one no authorization is sent, as local servers want it.
- Dialects (Groq, OpenRouter) override the class attributes and the few small methods.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar

import msgspec

from swath.catalog.model import Model
from swath.errors import Kind, ProviderError
from swath.messages import AnyReply, AnyRequest, Completion, EmbedRequest, Message, Request, Tool
from swath.providers import openai_replies as replies
from swath.providers.base import (
    HttpReply,
    HttpRequest,
    ModelInfo,
    RateLimits,
    StreamDecoder,
    parse_json,
)
from swath.providers.faults import classify, error_fields
from swath.providers.schemas import OPENAI, lower
from swath.providers.wire import (
    as_dict,
    encode_json,
    failure,
    go_window,
    loads,
    plain_id,
    retry_after,
    stray_text,
)

_REASONING = re.compile(r"(?:^|[/:])(?:o[1-9]\b|gpt-(?!35)(?:[5-9]|\d\d)(?!.*-chat))")
_NO_SCHEMA = re.compile(r"(?:^|[/:])gpt-(?:3\.5|4(?![\w.])|4-(?!o)|4o-2024-05)")


class OpenAI:
    name: ClassVar[str] = "openai"
    base_url: ClassVar[str] = "https://api.openai.com/v1"
    key_env: ClassVar[str] = "OPENAI_API_KEY"
    body_options: ClassVar[frozenset[str]] = frozenset(
        [
            "reasoning_effort",
            "verbosity",
            "service_tier",
            "parallel_tool_calls",
            "prompt_cache_key",
            "store",
        ]
    )
    """Options that go into the body under their own name."""
    header_options: ClassVar[Mapping[str, str]] = {
        "organization": "openai-organization",
        "project": "openai-project",
    }
    options: ClassVar[frozenset[str]] = body_options | {"stream_usage", *header_options}
    reports_cost: ClassVar[bool] = False

    def authorize(self, model: Model) -> Model:
        return model

    def features(self, model: Model) -> frozenset[str]:
        if not self.samples(model, {}):
            return _FEATURES - {"logprobs", "top_p", "stop"}
        return _FEATURES - {"json_schema"} if _NO_SCHEMA.search(model.id) else _FEATURES

    def reasons(self, model: Model) -> bool:
        """Whether this is a reasoning model, which words some settings differently."""
        return _REASONING.search(model.id) is not None

    def samples(self, model: Model, extra: Mapping[str, Any]) -> bool:
        """Whether it takes the sampling knobs: a reasoning model only where it does not reason."""
        if not self.reasons(model):
            return True
        return {**model.options, **extra}.get("reasoning_effort") == "none"

    def max_texts(self, model: Model) -> int:
        return 2048

    def json_mode(self, request: Request) -> Request:
        extra = {**request.extra, "response_format": {"type": "json_object"}}
        return msgspec.structs.replace(request, schema=None, extra=extra)

    # -- what to send -------------------------------------------------------------------

    def encode(self, request: AnyRequest, model: Model, *, stream: bool = False) -> HttpRequest:
        if isinstance(request, EmbedRequest):
            body = self.embed_body(request, model)
            return self.post("/embeddings", body, model)
        return self.post("/chat/completions", self.chat_body(request, model, stream), model)

    def post(self, path: str, body: dict[str, Any], model: Model) -> HttpRequest:
        url = model.base_url.rstrip("/") + path
        return HttpRequest("POST", url, self.headers(model), encode_json(body))

    def headers(self, model: Model) -> dict[str, str]:
        headers = {"content-type": "application/json"}
        if model.key:
            headers["authorization"] = f"Bearer {model.key.reveal()}"
        for option, header in self.header_options.items():
            if option in model.options:
                headers[header] = str(model.options[option])
        return headers

    def chat_body(self, request: Request, model: Model, stream: bool) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": model.id,
            "messages": [
                # A plain message is its own wire format; msgspec leaves the empty fields out.
                m if m.content and not m.tool_calls and m.tool_call_id is None else _message(m)
                for m in request.messages
            ],
        }
        if model.options:
            body |= {k: v for k, v in model.options.items() if k in self.body_options}
        if request.max_tokens is not None:
            name = "max_completion_tokens" if self.reasons(model) else "max_tokens"
            body[name] = request.max_tokens
        if self.samples(model, request.extra):
            if request.temperature is not None:
                body["temperature"] = request.temperature
            if request.top_p is not None:
                body["top_p"] = request.top_p
            if request.stop:
                body["stop"] = request.stop
            if request.logprobs is not None:
                body["logprobs"] = True
                if request.logprobs:
                    body["top_logprobs"] = min(request.logprobs, 20)
        if request.seed is not None:
            body["seed"] = request.seed
        if request.tools:
            body["tools"] = [_tool(t) for t in request.tools]
            if request.tool_choice is not None:
                body["tool_choice"] = _tool_choice(request.tool_choice)
        if request.schema is not None:
            lowered = lower(request.schema, OPENAI)
            body["response_format"] = {
                "type": "json_schema",
                "json_schema": {
                    "name": lowered.name,
                    "strict": lowered.strict,
                    "schema": lowered.raw,
                },
            }
        if stream:
            body["stream"] = True
            if model.options.get("stream_usage", True):
                body["stream_options"] = {"include_usage": True}
        body.update(request.extra)
        return body

    def embed_body(self, request: EmbedRequest, model: Model) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": model.id,
            "input": request.texts,
            "encoding_format": "base64",
        }
        if request.dimensions is not None:
            body["dimensions"] = request.dimensions
        return body

    def left_out(self, request: Request, model: Model) -> tuple[str, ...]:
        """A note for each knob of the request that this model refuses and was not sent."""
        if self.samples(model, request.extra):
            return ()
        asked = {
            "temperature": request.temperature is not None,
            "top_p": request.top_p is not None,
            "stop": bool(request.stop),
            "logprobs": request.logprobs is not None,
        }
        return tuple(f"{knob} left out: not taken by {model.id}" for knob in asked if asked[knob])

    # -- what came back -----------------------------------------------------------------

    def decode(self, request: AnyRequest, model: Model, reply: HttpReply) -> AnyReply:
        request_id = reply.headers.get("x-request-id", "")
        try:
            if isinstance(request, EmbedRequest):
                raw = replies.decode_vectors(reply.body)
                self.check(raw.error, model)
                return replies.embeddings(
                    raw, model, request_id, len(request.texts), costs=self.reports_cost
                )
            return self.whole(replies.decode_reply(reply.body), request, model, request_id)
        except msgspec.ValidationError as error:  # its text names places and types, no values
            raise failure(Kind.MALFORMED, model, reply, str(error), request_id=request_id) from None
        except msgspec.DecodeError:
            parse_json(reply.body, model)
            raise

    def whole(
        self, raw: replies.Reply, request: Request, model: Model, request_id: str = ""
    ) -> Completion:
        self.check(raw.error or (raw.choices and raw.choices[0].error), model)
        answer = replies.completion(
            raw,
            model,
            request_id,
            costs=self.reports_cost,
            notes=self.left_out(request, model),
        )
        if request.schema is None or answer.finish in ("refusal", "content_filter"):
            return answer
        restored = lower(request.schema, OPENAI).restore(answer.text)
        if restored is answer.text:
            return answer
        return msgspec.structs.replace(answer, text=restored)

    def check(self, error: Any, model: Model) -> None:
        """Raise the error that a reply with status 200 carries."""
        if error:
            raise self.error(model, replies.error_reply(error, model))

    def decoder(self, request: Request, model: Model) -> StreamDecoder:
        return replies.ChatStream(
            model,
            done=lambda raw: self.whole(raw, request, model),
            failed=lambda error: self.error(model, replies.error_reply(error, model)),
            whole=lambda body: self._unstreamed(request, model, body),
        )

    def _unstreamed(self, request: Request, model: Model, body: bytes) -> Completion:
        answer = self.decode(request, model, HttpReply(200, {}, body))
        assert isinstance(answer, Completion)
        return answer

    # -- what went wrong ----------------------------------------------------------------

    def error(self, model: Model, reply: HttpReply) -> ProviderError:
        body = loads(reply.body)
        fields = error_fields(body) if body is not None else {}
        said = fields.get("message") or (stray_text(reply.body) if body is None else "")
        kind, feature = self.classify(reply.status, fields, said)
        wait = retry_after(reply.headers, said)
        if kind is Kind.THROTTLED and "per day" in said and (wait is None or wait > 60):
            kind = Kind.QUOTA  # the day's allowance: it comes back too late for this run
        return failure(
            kind,
            model,
            reply,
            said,
            wait=wait,
            feature=feature,
            # Groq: the model did answer, but not in the JSON that was asked for.
            charged=True if kind is Kind.INVALID else None,
            request_id=reply.headers.get("x-request-id", ""),
        )

    def classify(self, status: int, fields: Mapping[str, Any], said: str) -> tuple[Kind, str]:
        return classify(status, fields, said)

    def limits(self, headers: Mapping[str, str]) -> RateLimits | None:
        requests = go_window(headers, "requests")
        tokens = go_window(headers, "tokens")
        if requests is None and tokens is None:
            return None
        return RateLimits(requests=requests, tokens=tokens)

    # -- what exists --------------------------------------------------------------------

    def probe(self, model: Model) -> HttpRequest:
        return self.list_models(model)

    def list_models(self, model: Model) -> HttpRequest:
        return HttpRequest("GET", model.base_url.rstrip("/") + "/models", self.headers(model))

    def models(self, reply: HttpReply) -> list[ModelInfo]:
        body = loads(reply.body)
        rows = as_dict(body).get("data") if isinstance(body, dict) else body
        return [
            self.model_info(row)
            for row in (rows if isinstance(rows, list) else ())
            if isinstance(row, dict) and isinstance(row.get("id"), str)
        ]

    def model_info(self, row: dict[str, Any]) -> ModelInfo:
        window = row.get("context_window") or row.get("max_model_len")  # Groq; vLLM
        most = row.get("max_completion_tokens")
        return ModelInfo(
            id=row["id"],
            context_window=window if isinstance(window, int) else None,
            max_output_tokens=most if isinstance(most, int) else None,
        )


_FEATURES = frozenset(
    ["json_schema", "json_object", "tools", "logprobs", "seed", "stop", "top_p", "embed"]
)


def _message(message: Message) -> dict[str, Any]:
    wire: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.tool_calls:
        wire["content"] = message.content or None
        wire["tool_calls"] = [
            {
                "id": plain_id(call.id),
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments},
            }
            for call in message.tool_calls
        ]
    if message.tool_call_id is not None:
        wire["tool_call_id"] = plain_id(message.tool_call_id)
    return wire


def _tool(tool: Tool) -> dict[str, Any]:
    function: dict[str, Any] = {"name": tool.name}
    if tool.description:
        function["description"] = tool.description
    function["parameters"] = tool.parameters or {"type": "object", "properties": {}}
    return {"type": "function", "function": function}


def _tool_choice(choice: str) -> Any:
    if choice in ("auto", "none", "required"):
        return choice
    return {"type": "function", "function": {"name": choice}}
