"""OpenAI's wire format from the server's side: bodies in, bodies and events out. No I/O, no policy.

Chat completions: https://platform.openai.com/docs/api-reference/chat
Embeddings:       https://platform.openai.com/docs/api-reference/embeddings

Rules that live here:
- What Swath has a word for becomes part of the `Request`; settings that other servers may know
  (`PASSED`) go to the provider as they stand; what only bills or traces (`IGNORED`) is left out;
  anything else is refused by name, as OpenAI does.
- `model` names an alias of the config, `provider/model-id`, or leaves the choice open (`auto`, …).
- Streams give whole tool calls and all log-probabilities at their end, as the engine has them.
"""

from __future__ import annotations

import base64
import struct
import time
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from swath.catalog.routed import ROUTED
from swath.errors import InputError
from swath.messages import (
    Completion,
    Embeddings,
    EmbedRequest,
    Message,
    Request,
    Schema,
    TokenLogprob,
    Tool,
    ToolCall,
    Usage,
)

PASSED = frozenset(
    {
        "frequency_penalty",
        "presence_penalty",
        "logit_bias",
        "reasoning_effort",
        "verbosity",
        "parallel_tool_calls",
        "top_k",
        "min_p",
        "repetition_penalty",
    }
)
IGNORED = frozenset(
    {
        "user",
        "metadata",
        "store",
        "service_tier",
        "safety_identifier",
        "prompt_cache_key",
        "prompt_cache_retention",
        "stream_options",
    }
)
ROLES = {"developer": "system", "system": "system", "user": "user", "assistant": "assistant"}
FINISH = {"refusal": "content_filter"}


class BadRequest(InputError):
    """A body that the endpoint does not take. `param` names the field."""

    def __init__(self, message: str, param: str = "", code: str = "") -> None:
        super().__init__(message)
        self.param = param
        self.code = code


class Chat(msgspec.Struct, frozen=True):
    """A chat request, read."""

    request: Request
    stream: bool
    include_usage: bool


def read_chat(body: Mapping[str, Any]) -> Chat:
    """Raises BadRequest."""
    body = {key: value for key, value in body.items() if value is not None}
    stream = _take(body, "stream", bool) or False
    options = _take(body, "stream_options", dict) or {}
    if _take(body, "n", int) not in (None, 1):
        raise BadRequest("Only n=1 is supported: ask several times.", "n", "unsupported_value")
    if body.pop("modalities", ["text"]) != ["text"]:
        raise BadRequest("Only text is supported.", "modalities", "unsupported_value")
    settings: dict[str, Any] = {}
    for name in ("temperature", "top_p"):
        if name in body:
            settings[name] = float(_take(body, name, (int, float)))
    tokens = [_take(body, name, int) for name in ("max_completion_tokens", "max_tokens")]
    if given := [n for n in tokens if n is not None]:
        if given[0] < 1:
            raise BadRequest("max_tokens must be at least 1.", "max_tokens")
        settings["max_tokens"] = given[0]
    if "seed" in body:
        settings["seed"] = _take(body, "seed", int)
    if "stop" in body:
        stop = _take(body, "stop", (str, list))
        settings["stop"] = (stop,) if isinstance(stop, str) else tuple(_texts(stop, "stop"))
    settings |= _logprobs(body) | _tools(body) | _format(body)
    model, messages = _take(body, "model", str), _take(body, "messages", list)
    if not model:
        raise BadRequest("You must provide a model.", "model")
    if not messages:
        raise BadRequest("There must be at least one message.", "messages")
    extra = {key: body.pop(key) for key in list(body) if key in PASSED}
    unknown = [key for key in body if key not in IGNORED]
    if unknown:
        raise BadRequest(
            f"Unrecognized request argument supplied: {unknown[0]}", unknown[0], "unknown_parameter"
        )
    request = Request(
        model=model,
        messages=tuple(_message(m, f"messages[{i}]") for i, m in enumerate(messages)),
        extra=extra,
        **settings,
    )
    return Chat(request, stream, bool(options.get("include_usage", False)))


def read_embed(body: Mapping[str, Any]) -> tuple[EmbedRequest, bool]:
    """The request, and whether the vectors are wanted as base64. Raises BadRequest."""
    body = {key: value for key, value in body.items() if value is not None}
    model, texts = _take(body, "model", str), _take(body, "input", (str, list))
    coded = _take(body, "encoding_format", str) or "float"
    size = _take(body, "dimensions", int)
    if not model:
        raise BadRequest("You must provide a model.", "model")
    several = [texts] if isinstance(texts, str) else _texts(texts or [], "input")
    if not several or not all(several):
        raise BadRequest("The input is empty: give a text, or a list of texts.", "input")
    if coded not in ("float", "base64"):
        raise BadRequest("encoding_format is float or base64.", "encoding_format")
    if unknown := [key for key in body if key not in IGNORED]:
        raise BadRequest(f"Unrecognized request argument supplied: {unknown[0]}", unknown[0])
    return EmbedRequest(model=model, texts=tuple(several), dimensions=size), coded == "base64"


# -- what goes out


def chat_body(id: str, asked: str, reply: Completion, cost_usd: float) -> dict[str, Any]:
    """A whole answer. `asked` is the name that was asked for, `cost_usd` what it took."""
    message: dict[str, Any] = {
        "role": "assistant",
        "content": None if reply.tool_calls and not reply.text else reply.text,
        "refusal": None,
    }
    if reply.tool_calls:
        message["tool_calls"] = [_call(call) for call in reply.tool_calls]
    choice = {
        "index": 0,
        "message": message,
        "logprobs": _logprobs_out(reply.logprobs),
        "finish_reason": FINISH.get(reply.finish, reply.finish),
    }
    return {
        "id": id,
        "object": "chat.completion",
        "created": int(time.time()),
        "model": reply.model_id or reply.model or asked,
        "choices": [choice],
        "usage": usage_body(reply.usage, cost_usd),
    }


class Events:
    """The chunks of one streamed answer, as bodies. All name one `model`: the id that answers."""

    def __init__(self, id: str, model: str, *, usage: bool) -> None:
        self._head = {"id": id, "object": "chat.completion.chunk", "created": int(time.time())}
        self._model = model
        self._usage = usage
        self._calls = 0

    def first(self) -> dict[str, Any]:
        return self._chunk({"role": "assistant", "content": ""})

    def text(self, text: str) -> dict[str, Any]:
        return self._chunk({"content": text})

    def tool_call(self, call: ToolCall) -> dict[str, Any]:
        made = self._chunk({"tool_calls": [{"index": self._calls, **_call(call)}]})
        self._calls += 1
        return made

    def last(self, reply: Completion, cost_usd: float) -> list[dict[str, Any]]:
        """The end of the stream; with the tool calls of an answer that came whole."""
        made = [self.tool_call(call) for call in reply.tool_calls[self._calls :]]
        end = self._chunk({}, FINISH.get(reply.finish, reply.finish))
        end["choices"][0]["logprobs"] = _logprobs_out(reply.logprobs)
        made.append(end)
        if self._usage:
            usage = usage_body(reply.usage, cost_usd)
            made.append({**self._head, "model": self._model, "choices": [], "usage": usage})
        return made

    def _chunk(self, delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        made = {**self._head, "model": self._model, "choices": [choice]}
        return {**made, "usage": None} if self._usage else made


def embed_body(asked: str, reply: Embeddings, *, coded: bool) -> dict[str, Any]:
    vectors = reply.vectors
    return {
        "object": "list",
        "model": reply.model_id or reply.model or asked,
        "data": [
            {
                "object": "embedding",
                "index": i,
                "embedding": base64.b64encode(struct.pack(f"<{len(v)}f", *v)).decode()
                if coded
                else list(v),
            }
            for i, v in enumerate(vectors)
        ],
        "usage": {
            "prompt_tokens": reply.usage.input_tokens,
            "total_tokens": reply.usage.input_tokens,
        },
    }


def models_body(owners: Mapping[str, str]) -> dict[str, Any]:
    """A list of models: name and provider of each."""
    return {"object": "list", "data": [model_body(*pair) for pair in owners.items()]}


def model_body(name: str, owner: str) -> dict[str, Any]:
    shown = "swath" if owner == ROUTED else owner
    return {"id": name, "object": "model", "created": 0, "owned_by": shown}


def usage_body(usage: Usage, cost_usd: float) -> dict[str, Any]:
    """As OpenAI counts, and with the dollars, which a stream's headers cannot tell."""
    return {
        "cost_usd": cost_usd,
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_input_tokens},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
    }


# -- parts of a body


def _take(body: dict[str, Any], name: str, kind: Any) -> Any:
    """The field, taken out of `body`; None where it is not there."""
    value = body.pop(name, None)
    wrong = isinstance(value, bool) and kind is not bool
    if value is not None and (wrong or not isinstance(value, kind)):
        raise BadRequest(f"'{name}' is of the wrong type.", name, "invalid_type")
    return value


def _texts(values: Sequence[Any], name: str) -> list[str]:
    if not all(isinstance(value, str) for value in values):
        raise BadRequest(f"'{name}' must hold texts.", name, "invalid_type")
    return list(values)


def _message(given: Any, where: str) -> Message:
    if not isinstance(given, dict):
        raise BadRequest(f"'{where}' must be an object.", where, "invalid_type")
    role = given.get("role")
    text = _content(given.get("content"), where)
    if role == "tool":
        call_id = given.get("tool_call_id")
        if not isinstance(call_id, str):
            raise BadRequest("A tool message names its tool_call_id.", where)
        return Message("tool", text, tool_call_id=call_id)
    if role not in ROLES:
        raise BadRequest(f"'{where}.role' is none of {', '.join(ROLES)}, tool.", f"{where}.role")
    calls = given.get("tool_calls") or []
    if not isinstance(calls, list):
        raise BadRequest(f"'{where}.tool_calls' must be a list.", where, "invalid_type")
    return Message(ROLES[role], text, tuple(_read_call(c, where) for c in calls))  # type: ignore[arg-type]


def _content(given: Any, where: str) -> str:
    if given is None:
        return ""
    if isinstance(given, str):
        return given
    if not isinstance(given, list):
        raise BadRequest(f"'{where}.content' must be a text or a list of parts.", where)
    parts = []
    for part in given:
        kind = part.get("type") if isinstance(part, dict) else None
        if kind not in ("text", "refusal") or not isinstance(part.get(kind), str):
            raise BadRequest(
                f"'{where}.content' has a part that is no text; only text is supported.",
                f"{where}.content",
                "unsupported_value",
            )
        parts.append(part[kind])
    return "\n".join(parts)


def _read_call(given: Any, where: str) -> ToolCall:
    try:
        told = given["function"]
        return ToolCall(
            id=str(given["id"]), name=str(told["name"]), arguments=str(told["arguments"])
        )
    except (KeyError, TypeError):
        raise BadRequest(
            f"'{where}.tool_calls' needs id and function with name and arguments.", where
        ) from None


def _tools(body: dict[str, Any]) -> dict[str, Any]:
    tools = []
    for i, given in enumerate(_take(body, "tools", list) or []):
        told = given.get("function") if isinstance(given, dict) else None
        if not isinstance(told, dict) or not isinstance(told.get("name"), str):
            raise BadRequest(
                "Only tools of type function are supported, each with a name.", f"tools[{i}]"
            )
        schema = told.get("parameters") or {"type": "object", "properties": {}}
        tools.append(Tool(told["name"], told.get("description") or "", schema))
    made: dict[str, Any] = {"tools": tuple(tools)} if tools else {}
    choice = _take(body, "tool_choice", (str, dict))
    if isinstance(choice, dict):
        told = choice.get("function")
        choice = told.get("name") if isinstance(told, dict) else None
        if choice not in [tool.name for tool in tools]:
            raise BadRequest("tool_choice names no tool.", "tool_choice")
    elif choice not in (None, "auto", "none", "required"):
        raise BadRequest("tool_choice is auto, none, required or a function.", "tool_choice")
    return made if choice is None or not tools else {**made, "tool_choice": choice}


def _format(body: dict[str, Any]) -> dict[str, Any]:
    given = _take(body, "response_format", dict) or {}
    kind = given.get("type", "text")
    if kind == "text":
        return {}
    if kind == "json_object":
        return {"schema": Schema("object", {"type": "object"})}
    told = given.get("json_schema")
    if kind == "json_schema" and isinstance(told, dict) and isinstance(told.get("schema"), dict):
        return {"schema": Schema(str(told.get("name") or "answer"), told["schema"])}
    raise BadRequest(
        "response_format is text, json_object, or json_schema with a name and a schema.",
        "response_format",
    )


def _logprobs(body: dict[str, Any]) -> dict[str, Any]:
    wanted, top = _take(body, "logprobs", bool), _take(body, "top_logprobs", int)
    if top is not None and not wanted:
        raise BadRequest("top_logprobs needs logprobs to be true.", "top_logprobs")
    if top is not None and not 0 <= top <= 20:
        raise BadRequest("top_logprobs is from 0 to 20.", "top_logprobs")
    return {"logprobs": top or 0} if wanted else {}


def _call(call: ToolCall) -> dict[str, Any]:
    return {
        "id": call.id,
        "type": "function",
        "function": {"name": call.name, "arguments": call.arguments},
    }


def _logprobs_out(tokens: Sequence[TokenLogprob]) -> dict[str, Any] | None:
    if not tokens:
        return None

    def entry(token: str, logprob: float) -> dict[str, Any]:
        return {"token": token, "logprob": logprob, "bytes": list(token.encode())}

    content = [
        {**entry(t.token, t.logprob), "top_logprobs": [entry(*pair) for pair in t.top.items()]}
        for t in tokens
    ]
    return {"content": content, "refusal": None}
