"""Google's Gemini API. https://ai.google.dev/api/generate-content, …/api/embeddings

Rules that live here (Vertex shares them, see vertex.py):
- System messages go into `systemInstruction`; the model's role is `model`; a tool's result is a
  `functionResponse` under the tool's name, and must be an object.
- A response schema goes into `responseJsonSchema` (Gemini 2.5 and later); where a model refuses
  that, its error is UNSUPPORTED json_schema, and `json_mode` asks for `application/json` alone.
- A call's `thoughtSignature` (Gemini 3) has to come back with it: it travels in `ToolCall.id`.
- A stream has no end mark: it is whole once a candidate has its `finishReason`.
- Quota errors name the quota: one counted by day is QUOTA, one by minute THROTTLED.
- Thoughts count as output, and against `max_tokens`: `thinking_budget = 0` or
  `thinking_level = "minimal"` in the config keeps them from eating a short answer.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar

import msgspec

from swath.catalog.model import Model
from swath.errors import Kind, ProviderError
from swath.messages import AnyReply, AnyRequest, Completion, EmbedRequest, Message, Request, Tool
from swath.providers import google_replies as replies
from swath.providers.base import (
    HttpReply,
    HttpRequest,
    ModelInfo,
    RateLimits,
    StreamDecoder,
    parse_json,
)
from swath.providers.faults import classify, error_fields
from swath.providers.schemas import GOOGLE, lower
from swath.providers.wire import (
    as_dict,
    encode_json,
    failure,
    loads,
    retry_after,
    seconds,
    stray_text,
)

_FEATURES = frozenset(["json_schema", "json_object", "tools", "seed", "stop", "top_p", "embed"])
_THINKING = {"thinking_budget": "thinkingBudget", "thinking_level": "thinkingLevel"}


class Google:
    name: ClassVar[str] = "google"
    base_url: ClassVar[str] = "https://generativelanguage.googleapis.com/v1beta"
    key_env: ClassVar[str] = "GEMINI_API_KEY"
    options: ClassVar[frozenset[str]] = frozenset(
        {"thinking_budget", "thinking_level", "top_k", "safety_settings", "task_type"}
    )

    def authorize(self, model: Model) -> Model:
        return model

    def features(self, model: Model) -> frozenset[str]:
        if "gemma" in model.id:
            return frozenset({"seed", "stop", "top_p"})
        return _FEATURES

    def max_texts(self, model: Model) -> int:
        return 100

    def json_mode(self, request: Request) -> Request:
        config = as_dict(request.extra.get("generationConfig"))
        config = {**config, "responseMimeType": "application/json"}
        extra = {**request.extra, "generationConfig": config}
        return msgspec.structs.replace(request, schema=None, extra=extra)

    # -- what to send -------------------------------------------------------------------

    def encode(self, request: AnyRequest, model: Model, *, stream: bool = False) -> HttpRequest:
        if isinstance(request, EmbedRequest):
            return self.embed(request, model)
        method = "streamGenerateContent?alt=sse" if stream else "generateContent"
        return self.post(model, method, self.body(request, model))

    def post(self, model: Model, method: str, body: Any) -> HttpRequest:
        url = f"{self.model_url(model)}:{method}"
        return HttpRequest("POST", url, self.headers(model), encode_json(body))

    def model_url(self, model: Model) -> str:
        return f"{versioned(model.base_url, 'v1beta')}/{_resource(model.id)}"

    def headers(self, model: Model) -> dict[str, str]:
        headers = {"content-type": "application/json"}
        if model.key:
            headers["x-goog-api-key"] = model.key.reveal()
        return headers

    def body(self, request: Request, model: Model) -> dict[str, Any]:
        system, turns = request.system, request.turns
        if not turns:  # a turn of the user is required
            system, turns = "", (Message("user", system),)
        body: dict[str, Any] = {"contents": _contents(turns)}
        if system:
            body["systemInstruction"] = {"parts": [{"text": system}]}
        config = self.config(request, model)
        if config:
            body["generationConfig"] = config
        if request.tools:
            body["tools"] = [{"functionDeclarations": [_tool(t) for t in request.tools]}]
            if request.tool_choice is not None:
                calling = _calling(request.tool_choice)
                body["toolConfig"] = {"functionCallingConfig": calling}
        if "safety_settings" in model.options:
            body["safetySettings"] = model.options["safety_settings"]
        for key, value in request.extra.items():
            known = body.get(key)
            both = isinstance(value, Mapping) and isinstance(known, dict)
            body[key] = {**known, **value} if both and known else value
        return body

    def config(self, request: Request, model: Model) -> dict[str, Any]:
        config: dict[str, Any] = {}
        if request.temperature is not None:
            config["temperature"] = request.temperature
        if request.top_p is not None:
            config["topP"] = request.top_p
        if request.max_tokens is not None:
            config["maxOutputTokens"] = request.max_tokens
        if request.stop:
            config["stopSequences"] = request.stop
        if request.seed is not None:
            config["seed"] = request.seed
        if request.logprobs is not None:
            config["responseLogprobs"] = True
            if request.logprobs:
                config["logprobs"] = min(request.logprobs, 20)
        if request.schema is not None:
            config["responseMimeType"] = "application/json"
            config["responseJsonSchema"] = lower(request.schema, GOOGLE).raw
        options = model.options
        if options:
            if "top_k" in options:
                config["topK"] = options["top_k"]
            thinking = {wire: options[ours] for ours, wire in _THINKING.items() if ours in options}
            if thinking:
                config["thinkingConfig"] = thinking
        return config

    def embed(self, request: EmbedRequest, model: Model) -> HttpRequest:
        one: dict[str, Any] = {"model": _resource(model.id)}
        if request.dimensions is not None:
            one["outputDimensionality"] = request.dimensions
        if "task_type" in model.options:
            one["taskType"] = model.options["task_type"]
        requests = [{**one, "content": {"parts": [{"text": text}]}} for text in request.texts]
        return self.post(model, "batchEmbedContents", {"requests": requests})

    # -- what came back -----------------------------------------------------------------

    def decode(self, request: AnyRequest, model: Model, reply: HttpReply) -> AnyReply:
        try:
            if isinstance(request, EmbedRequest):
                vectors = replies.decode_vectors(reply.body)
                return replies.embeddings(vectors, model, len(request.texts))
            return self.whole(replies.decode_reply(reply.body), request, model)
        except msgspec.ValidationError as error:  # its text names places and types, no values
            raise failure(Kind.MALFORMED, model, reply, str(error)) from None
        except msgspec.DecodeError:
            parse_json(reply.body, model)
            raise

    def whole(self, raw: replies.Reply, request: Request, model: Model) -> Completion:
        if raw.error:
            raise self.error(model, HttpReply(200, {}, encode_json({"error": raw.error})))
        return replies.completion(raw, model)

    def decoder(self, request: Request, model: Model) -> StreamDecoder:
        return replies.ContentStream(
            model,
            done=lambda raw: self.whole(raw, request, model),
            failed=lambda body: self.error(model, HttpReply(200, {}, body)),
        )

    # -- what went wrong ----------------------------------------------------------------

    def error(self, model: Model, reply: HttpReply) -> ProviderError:
        body = loads(reply.body)
        if isinstance(body, list):  # a refused stream answers with a list of one
            body = body[0] if body else {}
        fields = error_fields(body) if body is not None else {}
        said = fields.get("message") or (stray_text(reply.body) if body is None else "")
        status, code = reply.status, fields.get("code")
        if status < 400:
            status = code if isinstance(code, int) and 400 <= code < 600 else 500
        details = _details(fields)
        kind, feature = self.classify(status, fields, said, details)
        wait = retry_after(reply.headers, said)
        stated = seconds(as_dict(details.get("RetryInfo")).get("retryDelay"))
        return failure(
            kind,
            model,
            HttpReply(status, reply.headers, b""),
            said,
            wait=stated if stated is not None else wait,
            feature=feature,
        )

    def classify(
        self, status: int, fields: Mapping[str, Any], said: str, details: Mapping[str, Any]
    ) -> tuple[Kind, str]:
        text = said.lower()
        reason = as_dict(details.get("ErrorInfo")).get("reason")
        if reason == "API_KEY_INVALID" or "api key not valid" in text or "api key expired" in text:
            return Kind.AUTH, ""
        if status == 429:
            violations = as_dict(details.get("QuotaFailure")).get("violations")
            return _quota(violations if isinstance(violations, list) else [], text), ""
        if status == 400 and fields.get("status") == "FAILED_PRECONDITION":
            return (Kind.QUOTA if "billing" in text else Kind.AUTH), ""
        if status == 503:
            return Kind.OVERLOADED, ""
        if status == 504:
            return Kind.TIMEOUT, ""
        return classify(status, fields, said)

    def limits(self, headers: Mapping[str, str]) -> RateLimits | None:
        return None  # Google states none; its 429 says which quota and how long

    # -- what exists --------------------------------------------------------------------

    def probe(self, model: Model) -> HttpRequest:
        url = versioned(model.base_url, "v1beta") + "/models?pageSize=1"
        return HttpRequest("GET", url, self.headers(model))

    def list_models(self, model: Model) -> HttpRequest:
        url = versioned(model.base_url, "v1beta") + "/models?pageSize=1000"
        return HttpRequest("GET", url, self.headers(model))

    def models(self, reply: HttpReply) -> list[ModelInfo]:
        rows = as_dict(loads(reply.body)).get("models")
        return [
            ModelInfo(
                id=row["name"].removeprefix("models/"),
                context_window=row.get("inputTokenLimit"),
                max_output_tokens=row.get("outputTokenLimit"),
            )
            for row in (rows if isinstance(rows, list) else ())
            if isinstance(row, dict) and isinstance(row.get("name"), str)
        ]


_VERSION = re.compile(r"/v\d+\w*$")


def versioned(base_url: str, version: str) -> str:
    """The base URL with its version: Google's own clients are given it without."""
    base = base_url.rstrip("/")
    return base if _VERSION.search(base) else f"{base}/{version}"


def _resource(id: str) -> str:
    return id if "/" in id else f"models/{id}"


def _contents(messages: tuple[Message, ...]) -> list[dict[str, Any]]:
    names = {call.id: call.name for m in messages for call in m.tool_calls}
    contents: list[dict[str, Any]] = []
    for message in messages:
        role = "model" if message.role == "assistant" else "user"
        parts = _parts(message, names)
        if contents and contents[-1]["role"] == role:
            contents[-1]["parts"] += parts
        else:
            contents.append({"role": role, "parts": parts})
    return contents


def _parts(message: Message, names: Mapping[str, str]) -> list[dict[str, Any]]:
    if message.role == "tool":
        id = message.tool_call_id or ""
        found = loads(message.content.encode())
        result = found if isinstance(found, dict) else {"result": message.content}
        answer: dict[str, Any] = {"name": names.get(id, id), "response": result}
        return [{"functionResponse": _with_id(answer, id)}]
    parts: list[dict[str, Any]] = []
    if message.content or not message.tool_calls:
        parts.append({"text": message.content})
    for call in message.tool_calls:
        arguments = msgspec.Raw(call.arguments.encode() or b"{}")
        called: dict[str, Any] = {"name": call.name, "args": arguments}
        part: dict[str, Any] = {"functionCall": _with_id(called, call.id)}
        signature = call.id.partition(replies.SIGNED)[2]
        if signature:
            part["thoughtSignature"] = signature
        parts.append(part)
    return parts


def _with_id(part: dict[str, Any], id: str) -> dict[str, Any]:
    """With the id that Google gave the call; the ids that Swath made up stay here."""
    given = id.partition(replies.SIGNED)[0]
    return part if not given or given.startswith(replies.MADE_UP) else {**part, "id": given}


def _tool(tool: Tool) -> dict[str, Any]:
    wire: dict[str, Any] = {"name": tool.name, "description": tool.description}
    if tool.parameters:
        wire["parametersJsonSchema"] = tool.parameters
    return wire


def _calling(choice: str) -> dict[str, Any]:
    modes = {"auto": "AUTO", "none": "NONE", "required": "ANY"}
    if choice in modes:
        return {"mode": modes[choice]}
    return {"mode": "ANY", "allowedFunctionNames": [choice]}


def _details(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The details by the last word of their type: QuotaFailure, RetryInfo, ErrorInfo."""
    details = fields.get("details")
    rows = [d for d in details if isinstance(d, dict)] if isinstance(details, list) else []
    return {str(d.get("@type", "")).rpartition(".")[2]: d for d in rows}


_DAY = re.compile(r"per_?day|daily", re.I)


def _quota(violations: list[Any], text: str) -> Kind:
    for violation in map(as_dict, violations):
        id, value = str(violation.get("quotaId", "")), str(violation.get("quotaValue", ""))
        if _DAY.search(id) or value == "0":
            return Kind.QUOTA
    if violations:
        return Kind.THROTTLED
    spent = ("credits are depleted", "spending cap", "spend cap", "per day", "limit: 0,")
    return Kind.QUOTA if any(words in text for words in spent) else Kind.THROTTLED
