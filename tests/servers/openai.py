"""OpenAI's wire format: chat completions, embeddings, models.

https://platform.openai.com/docs/api-reference/chat and the guides on rate limits, error
codes and structured outputs. What Groq and OpenRouter do otherwise is in `dialects.py`.
"""

from __future__ import annotations

import base64
import math
import struct
from dataclasses import dataclass
from typing import Any, Literal

from .answers import Answer, Call, embedding, names, pieces
from .core import Exchange, header_lines
from .dialects import Dialect, Groq
from .limits import NEVER, Limits, Refusal
from .openai_reading import (
    REASONING,
    check_reasoning,
    inputs,
    logprobs,
    read_message,
    read_tools,
)
from .openai_schema import strict_fault
from .openai_words import body_of
from .openrouter import OpenRouter
from .schema import form
from .server import Server, encode
from .trip import Rejected, Route

_KNOWN = names(
    "messages model audio frequency_penalty function_call functions logit_bias logprobs "
    "max_completion_tokens max_tokens metadata modalities n parallel_tool_calls prediction "
    "presence_penalty prompt_cache_key prompt_cache_retention reasoning_effort response_format "
    "safety_identifier seed service_tier stop store stream stream_options temperature "
    "tool_choice tools top_logprobs top_p user verbosity web_search_options"
)


DIALECTS: dict[str, type[Dialect]] = {"openai": Dialect, "groq": Groq, "openrouter": OpenRouter}


@dataclass(kw_only=True, eq=False)
class OpenAIServer(Server):
    """`with serve(OpenAIServer(latency=0.05)) as server: ... server.base_url`"""

    dialect: Literal["openai", "groq", "openrouter"] = "openai"
    json_schema: bool = True  # knows response_format json_schema
    json_object: bool = True
    strict_parameters: bool = True  # an unknown parameter is a 400, as OpenAI has it
    unavailable: frozenset[str] = frozenset()  # models that OpenRouter has to route around

    def __post_init__(self) -> None:
        super().__post_init__()
        self.say: Dialect = DIALECTS[self.dialect](self)
        self.known = _KNOWN | self.say.known

    def base_path(self) -> str:
        return self.say.base

    def find_route(self, method: str, path: str, query: dict[str, str]) -> Route | None:
        # Every base path is served whatever the dialect, so that any base_url works.
        for base in ("/openai/v1", "/api/v1", "/v1", ""):
            if path.startswith(base + "/"):
                path = path[len(base) :]
                break
        if method == "POST":
            kinds = {"/chat/completions": "chat", "/embeddings": "embed"}
            return Route(kinds[path]) if path in kinds else None
        if path == "/models":
            return Route("models", form="public" if self.dialect == "openrouter" else "")
        if path.startswith("/models/"):
            return Route("model", path[len("/models/") :])
        return self.say.route(path)

    def key_of(self, exchange: Exchange, route: Route) -> str | None:
        value = exchange.header(b"authorization")
        return value[7:] if value and value[:7].lower() == "bearer " else None

    def check_key(self, exchange: Exchange, route: Route) -> str | None:
        return None if route.form == "public" else super().check_key(exchange, route)

    # -- reading -----------------------------------------------------------------------

    def parse(self, route: Route, exchange: Exchange, body: dict[str, Any]) -> Call:
        model = body.get("model")
        if not isinstance(model, str) or not model:
            raise Rejected(400, body_of("you must provide a model parameter"))
        if route.kind == "embed":
            return Call(body, model, inputs=inputs(body.get("input")))
        messages = body.get("messages")
        if not isinstance(messages, list) or not messages:
            message = "Missing required parameter: 'messages'."
            raise Rejected(
                400, body_of(message, param="messages", code="missing_required_parameter")
            )
        call = Call(body, model, stream=body.get("stream") is True)
        for i, message in enumerate(messages):
            read_message(call, message, i)
        if len(body) > 2:
            self._read_options(call, body)
        self.say.choose(call)
        return call

    def _read_options(self, call: Call, body: dict[str, Any]) -> None:
        if self.strict_parameters and not body.keys() <= self.known:
            raise self.say.unknown(sorted(body.keys() - self.known)[0])
        limit = body.get("max_completion_tokens")
        call.max_tokens = body.get("max_tokens") if limit is None else limit
        if self.dialect == "openai" and call.model.startswith(REASONING):
            check_reasoning(body)
        if body.get("n") not in (None, 1):
            message = f"Invalid 'n': expected 1, got {body['n']!r}."
            raise Rejected(400, body_of(message, param="n", code="invalid_value"))
        temperature = body.get("temperature")
        if temperature is not None and not 0 <= temperature <= 2:
            message = (
                f"Invalid 'temperature': decimal above maximum value. Expected a value <= 2, but "
                f"got {temperature} instead."
            )
            code = "decimal_above_max_value"
            raise Rejected(400, body_of(message, param="temperature", code=code))
        stop = body.get("stop")
        if stop:
            call.stop = [stop] if isinstance(stop, str) else list(stop)
        if body.get("top_logprobs") is not None and not body.get("logprobs"):
            message = "'logprobs' must be true when 'top_logprobs' is set."
            raise Rejected(400, body_of(message, param="top_logprobs"))
        if body.get("logprobs"):
            call.logprobs = body.get("top_logprobs") or 0
        if "response_format" in body:
            self._read_format(call, body["response_format"] or {})
        if body.get("tools"):
            read_tools(call, body)

    def _read_format(self, call: Call, wanted: dict[str, Any]) -> None:
        kind = wanted.get("type")
        if kind == "text":
            return
        if (kind == "json_schema" and not self.json_schema) or (
            kind == "json_object" and not self.json_object
        ):
            raise self.say.no_format(kind)
        if kind == "json_object":
            said = "".join(call.users) + call.system + call.other
            if "json" not in said.lower():
                message = (
                    "'messages' must contain the word 'json' in some form, to use "
                    "'response_format' of type 'json_object'."
                )
                raise Rejected(400, body_of(message, param="messages"))
            call.json_mode = True
        elif kind == "json_schema":
            spec = wanted.get("json_schema") or {}
            name, schema = spec.get("name"), form(spec.get("schema") or {})
            if not name:
                param = "response_format.json_schema.name"
                message = f"Missing required parameter: '{param}'."
                raise Rejected(
                    400, body_of(message, param=param, code="missing_required_parameter")
                )
            if spec.get("strict") and (fault := schema.verdict("openai", strict_fault)):
                message = f"Invalid schema for response_format '{name}': {fault}"
                raise Rejected(400, body_of(message, param="response_format"))
            call.schema = schema
        else:
            message = (
                f"Invalid value: '{kind}'. Supported values are: 'json_object', 'json_schema', "
                "and 'text'."
            )
            raise Rejected(
                400, body_of(message, param="response_format.type", code="invalid_value")
            )

    # -- answering ---------------------------------------------------------------------

    def whole(self, call: Call, answer: Answer) -> bytes:
        message: dict[str, Any] = {
            "role": "assistant",
            "content": answer.text if answer.text or not answer.tool_calls else None,
            "refusal": answer.refusal,
        }
        if answer.refusal:
            message["content"] = None
        if answer.tool_calls:
            message["tool_calls"] = self._tool_calls(answer)
        choice = {
            "index": 0,
            "message": message,
            "logprobs": logprobs(call, answer),
            "finish_reason": "stop" if answer.finish == "refusal" else answer.finish,
        }
        body = {
            "id": self.request_id(self.say.completion_prefix),
            "object": "chat.completion",
            "created": self.created,
            "model": call.model,
            "choices": [choice],
            "usage": self._usage(call, answer),
            "system_fingerprint": "fp_0123456789",
        }
        self.say.finish(body, call)
        return encode(body)

    def _tool_calls(self, answer: Answer) -> list[dict[str, Any]]:
        return [
            {
                "id": self.request_id("call_"),
                "type": "function",
                "function": {"name": name, "arguments": encode(arguments).decode()},
            }
            for name, arguments in answer.tool_calls
        ]

    def _usage(self, call: Call, answer: Answer) -> dict[str, Any]:
        usage = {
            "prompt_tokens": call.input_tokens,
            "completion_tokens": answer.completion_tokens,
            "total_tokens": call.input_tokens + answer.completion_tokens,
            "prompt_tokens_details": {"cached_tokens": call.cached_tokens, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": answer.reasoning_tokens},
        }
        self.say.usage(usage, call)
        return usage

    def events(self, call: Call, answer: Answer) -> list[bytes]:
        options = call.body.get("stream_options") or {}
        wants_usage = bool(options.get("include_usage"))
        base: dict[str, Any] = {
            "id": self.request_id(self.say.completion_prefix),
            "object": "chat.completion.chunk",
            "created": self.created,
            "model": call.model,
            "system_fingerprint": "fp_0123456789",
        }

        def event(delta: dict[str, Any], finish: str | None = None, **more: Any) -> bytes:
            choice = {"index": 0, "delta": delta, "finish_reason": finish, **more}
            body = {**base, "choices": [choice]}
            if wants_usage:
                body["usage"] = None
            if finish is not None:
                self.say.last_chunk(body, self._usage(call, answer))
            return b"data: %b\n\n" % encode(body)

        out = [*self.say.comments(), event({"role": "assistant", "content": "", "refusal": None})]
        likely = logprobs(call, answer)
        if likely is not None:
            out += [
                event({"content": entry["token"]}, logprobs={"content": [entry]})
                for entry in likely["content"]
            ]
        else:
            out += [event({"content": text}) for text in pieces(answer.text, self.chunk_chars)]
        if answer.refusal:
            out += [event({"refusal": text}) for text in pieces(answer.refusal, self.chunk_chars)]
        for i, tool in enumerate(self._tool_calls(answer)):
            arguments = tool["function"]["arguments"]
            head = {**tool, "index": i, "function": {**tool["function"], "arguments": ""}}
            out.append(event({"tool_calls": [head]}))
            out += [
                event({"tool_calls": [{"index": i, "function": {"arguments": part}}]})
                for part in pieces(arguments, self.chunk_chars)
            ]
        out.append(event({}, "stop" if answer.finish == "refusal" else answer.finish))
        if wants_usage or self.say.always_usage:
            usage = encode({**base, "choices": [], "usage": self._usage(call, answer)})
            out.append(b"data: %b\n\n" % usage)
        out.append(b"data: [DONE]\n\n")
        return out

    def embedded(self, call: Call, route: Route) -> bytes:
        size = call.body.get("dimensions") or self.embedding_size
        packed = call.body.get("encoding_format") == "base64"
        data = []
        for i, text in enumerate(call.inputs or ()):
            vector: Any = embedding(text, size)
            if packed:
                vector = base64.b64encode(struct.pack(f"<{size}f", *vector)).decode()
            data.append({"object": "embedding", "index": i, "embedding": vector})
        used = call.input_tokens
        return encode(
            {
                "object": "list",
                "data": data,
                "model": call.model,
                "usage": {"prompt_tokens": used, "total_tokens": used},
            }
        )

    def listing(self, route: Route, exchange: Exchange) -> Any:
        names = self.models or ("gpt-4.1-nano", "gpt-4.1", "text-embedding-3-small")
        if route.kind in ("models", "model"):
            entries = [self.say.model(name) for name in names]
            if route.kind == "models":
                return {"object": "list", "data": entries}
            found = [entry for entry in entries if entry["id"] == route.model]
            if not found:
                raise self.problem("not_found", Call({}, route.model))
            return found[0]
        return self.say.listing(route, exchange)

    # -- refusing ----------------------------------------------------------------------

    def request_headers(self) -> bytes:
        return b"x-request-id: req_%x%08x\r\n" % (self.created, next(self.made))

    def rate_headers(self, limits: Limits) -> bytes:
        return self.say.rate_headers(limits)

    def hint(self, wait: float) -> bytes:
        """When to come back."""
        if not self.retry_after or wait == NEVER:
            return b""
        lines = {"retry-after": str(max(1, math.ceil(wait)))}
        if self.retry_after == "ms":
            lines = {"retry-after-ms": str(max(1, math.ceil(wait * 1000))), **lines}
        return header_lines(lines)

    def limited(self, refusal: Refusal, call: Call) -> Rejected:
        return self.say.limited(refusal, call, self.hint(refusal.wait))

    def problem(self, kind: str, call: Call, *, wait: float = 1.0, **more: Any) -> Rejected:
        return self.say.problem(kind, call, self.hint(wait) if kind == "429" else b"", more)

    def error_event(self, call: Call) -> bytes:
        return b"data: %b\n\n" % encode(self.say.error_chunk(call))
