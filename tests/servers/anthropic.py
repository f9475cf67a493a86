"""Anthropic's wire format: the Messages API.

https://docs.anthropic.com/en/api/messages and its pages on errors, rate limits, streaming,
prompt caching and structured outputs.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from .answers import Answer, Call, names, pieces
from .anthropic_schema import schema_fault
from .core import Exchange, header_lines
from .limits import NEVER, Limits, Refusal
from .schema import form
from .server import Server, encode
from .trip import Rejected, Route

_KNOWN = names(
    "model messages max_tokens container context_management mcp_servers metadata output_config "
    "output_format service_tier stop_sequences stream system temperature thinking tool_choice "
    "tools top_k top_p inference_geo cache_control"
)
_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    529: "overloaded_error",
}
_FINISH = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "refusal": "refusal",
    "content_filter": "refusal",
}


@dataclass(kw_only=True, eq=False)
class AnthropicServer(Server):
    """`with serve(AnthropicServer(input_tpm=50_000)) as server: ... server.base_url`"""

    json_schema: bool = True  # knows output_config.format
    min_cached: int = 0  # tokens below which cache_control has no effect; really 1024 and more
    wall_clock: Callable[[], float] = time.time  # what the headers' times are counted from

    def __post_init__(self) -> None:
        super().__post_init__()
        self.cache: set[str] = set()

    def find_route(self, method: str, path: str, query: dict[str, str]) -> Route | None:
        if method == "POST":
            kinds = {"/v1/messages": "chat", "/v1/messages/count_tokens": "count"}
            return Route(kinds[path]) if path in kinds else None
        if path == "/v1/models":
            return Route("models")
        return Route("model", path[len("/v1/models/") :]) if path[:11] == "/v1/models/" else None

    def key_of(self, exchange: Exchange, route: Route) -> str | None:
        key = exchange.header(b"x-api-key")
        if key is None:
            value = exchange.header(b"authorization") or ""
            key = value[7:] if value[:7].lower() == "bearer " else None
        return key

    def check_key(self, exchange: Exchange, route: Route) -> str | None:
        key = super().check_key(exchange, route)
        if exchange.header(b"anthropic-version") is None:
            raise self.error(400, "anthropic-version: header is required")
        return key

    # -- reading -----------------------------------------------------------------------

    def parse(self, route: Route, exchange: Exchange, body: dict[str, Any]) -> Call:
        for name, kind in (("model", str), ("max_tokens", int), ("messages", list)):
            if name not in body and not (name == "max_tokens" and route.kind == "count"):
                raise self.error(400, f"{name}: Field required")
            if name in body and not isinstance(body[name], kind):
                raise self.error(400, f"{name}: Input should be a valid {kind.__name__}")
        if unknown := body.keys() - _KNOWN:
            raise self.error(400, f"{sorted(unknown)[0]}: Extra inputs are not permitted")
        call = Call(body, body["model"], stream=body.get("stream") is True)
        call.max_tokens = body.get("max_tokens")
        if call.max_tokens is not None and call.max_tokens < 1:
            raise self.error(400, "max_tokens: Input should be greater than or equal to 1")
        temperature = body.get("temperature")
        if temperature is not None and not 0 <= temperature <= 1:
            raise self.error(400, "temperature: range: 0..1")
        call.stop = list(body.get("stop_sequences") or ())
        marks = [0]  # where cache_control stands, in characters from the start
        call.system = self._text(body.get("system") or "", "system", marks, 0)
        self._read_messages(call, marks)
        for tool in body.get("tools") or ():
            if "input_schema" in tool:
                call.tools.append((tool.get("name", ""), form(tool["input_schema"])))
        if call.tools:
            self._choose_tool(call)
        wanted = (body.get("output_config") or {}).get("format") or body.get("output_format")
        if wanted:
            self._read_format(call, wanted)
        if marks[-1]:
            self._read_cache(call, marks[-1])
        return call

    def _text(self, content: Any, where: str, marks: list[int], before: int) -> str:
        """The text of a string or of a list of blocks."""
        if isinstance(content, str):
            return content
        if not isinstance(content, list):
            raise self.error(400, f"{where}: Input should be a valid string or list")
        text = ""
        for i, block in enumerate(content):
            kind = block.get("type")
            if kind == "text":
                if not block.get("text"):
                    raise self.error(400, f"{where}: text content blocks must be non-empty")
                text += block["text"]
            elif kind == "tool_use":
                text += encode(block.get("input")).decode()
            elif kind == "tool_result":
                inner = block.get("content") or ""
                text += self._text(inner, f"{where}.{i}.content", marks, before + len(text))
            elif kind is None:
                raise self.error(400, f"{where}.{i}.type: Field required")
            if block.get("cache_control"):
                marks.append(before + len(text))
        return text

    def _read_messages(self, call: Call, marks: list[int]) -> None:
        messages = call.body["messages"]
        if not messages:
            raise self.error(400, "messages: at least one message is required")
        seen = len(call.system)
        for i, message in enumerate(messages):
            role = message.get("role")
            if role not in ("user", "assistant"):
                raise self.error(
                    400,
                    f'messages: Unexpected role "{role}". The Messages API accepts a top-level '
                    '`system` parameter, not "system" as an input message role.',
                )
            content = message.get("content")
            text = self._text(content, f"messages.{i}.content", marks, seen)
            seen += len(text)
            results = isinstance(content, list) and any(
                block.get("type") == "tool_result" for block in content
            )
            if role == "user" and not results:
                if not text:
                    raise self.error(400, f"messages.{i}: user messages must have content")
                call.users.append(text)
            else:
                call.other += text

    def _choose_tool(self, call: Call) -> None:
        choice = call.body.get("tool_choice") or {"type": "auto"}
        kind = choice.get("type")
        last = call.body["messages"][-1].get("content")
        answered = isinstance(last, list) and any(b.get("type") == "tool_result" for b in last)
        if kind == "tool":
            call.tool = choice.get("name")
        elif kind == "any" or (kind == "auto" and not answered):
            call.tool = call.tools[0][0]

    def _read_format(self, call: Call, wanted: dict[str, Any]) -> None:
        if not self.json_schema:
            raise self.error(400, "output_config: Extra inputs are not permitted")
        if wanted.get("type") != "json_schema" or "schema" not in wanted:
            raise self.error(400, "output_config.format: Input should have a `schema`")
        call.schema = form(wanted["schema"])
        if fault := call.schema.verdict("anthropic", schema_fault):
            raise self.error(400, f"output_config.format.schema: {fault}")

    def _read_cache(self, call: Call, upto: int) -> None:
        """A prefix seen before is read from the cache, another is written to it."""
        everything = call.system + "".join(
            self._text(message["content"], "", [], 0) for message in call.body["messages"]
        )
        prefix = everything[:upto]
        size = self.tokens(prefix)
        if size < self.min_cached:
            return
        key = f"{call.model}\0{prefix}"
        if key in self.cache:
            call.cached_tokens = size
        else:
            self.cache.add(key)
            call.cache_written = size

    # -- answering ---------------------------------------------------------------------

    def _usage(self, call: Call, output: int) -> dict[str, Any]:
        written = call.cache_written
        return {
            "input_tokens": call.input_tokens - call.cached_tokens - written,
            "cache_creation_input_tokens": written,
            "cache_read_input_tokens": call.cached_tokens,
            "cache_creation": {
                "ephemeral_5m_input_tokens": written,
                "ephemeral_1h_input_tokens": 0,
            },
            "output_tokens": output,
            "service_tier": "standard",
        }

    def _content(self, answer: Answer) -> list[dict[str, Any]]:
        content: list[dict[str, Any]] = []
        text = answer.refusal or answer.text
        if text:
            content.append({"type": "text", "text": text})
        for name, arguments in answer.tool_calls:
            made = self.request_id("toolu_")
            content.append({"type": "tool_use", "id": made, "name": name, "input": arguments})
        return content

    def _stop(self, answer: Answer) -> str:
        stopped = answer.stop_sequence is not None and answer.finish == "stop"
        return "stop_sequence" if stopped else _FINISH[answer.finish]

    def whole(self, call: Call, answer: Answer) -> bytes:
        return encode(
            {
                "id": self.request_id("msg_"),
                "type": "message",
                "role": "assistant",
                "model": call.model,
                "content": self._content(answer),
                "stop_reason": self._stop(answer),
                "stop_sequence": answer.stop_sequence,
                "usage": self._usage(call, answer.completion_tokens),
            }
        )

    def events(self, call: Call, answer: Answer) -> list[bytes]:
        def event(kind: str, **body: Any) -> bytes:
            return b"event: %b\ndata: %b\n\n" % (kind.encode(), encode({"type": kind, **body}))

        message: dict[str, Any] = {
            "id": self.request_id("msg_"),
            "type": "message",
            "role": "assistant",
            "model": call.model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": self._usage(call, 1),
        }
        out = [event("message_start", message=message)]
        for i, block in enumerate(self._content(answer)):
            if block["type"] == "text":
                empty, kind, text = {**block, "text": ""}, "text_delta", block["text"]
            else:
                empty, kind = {**block, "input": {}}, "input_json_delta"
                text = encode(block["input"]).decode()
            field = "text" if kind == "text_delta" else "partial_json"
            out.append(event("content_block_start", index=i, content_block=empty))
            if i == 0:
                out.append(event("ping"))
            out += [
                event("content_block_delta", index=i, delta={"type": kind, field: part})
                for part in pieces(text, self.chunk_chars)
            ]
            out.append(event("content_block_stop", index=i))
        usage = self._usage(call, answer.completion_tokens)
        del usage["cache_creation"], usage["service_tier"]
        delta = {"stop_reason": self._stop(answer), "stop_sequence": answer.stop_sequence}
        return [*out, event("message_delta", delta=delta, usage=usage), event("message_stop")]

    def broken_event(self, call: Call) -> bytes:
        return b'event: content_block_delta\ndata: {"type": "brok\n\n'

    def error_event(self, call: Call) -> bytes:
        return b"event: error\ndata: %b\n\n" % encode(self.error(529, "Overloaded").body)

    def listing(self, route: Route, exchange: Exchange) -> Any:
        if route.kind == "count":
            return {"input_tokens": self.read(exchange, route).input_tokens}
        entries = [
            {
                "type": "model",
                "id": name,
                "display_name": name,
                "created_at": "2025-10-01T00:00:00Z",
            }
            for name in self.models or ("claude-haiku-4-5", "claude-sonnet-4-5")
        ]
        if route.kind == "model":
            found = [entry for entry in entries if entry["id"] == route.model]
            if not found:
                raise self.problem("not_found", Call({}, route.model))
            return found[0]
        ends = {"first_id": entries[0]["id"], "last_id": entries[-1]["id"]}
        return {"data": entries, "has_more": False, **ends}

    # -- refusing ----------------------------------------------------------------------

    def request_headers(self) -> bytes:
        return b"request-id: req_%x%08x\r\n" % (self.created, next(self.made))

    def rate_headers(self, limits: Limits) -> bytes:
        now = datetime.fromtimestamp(self.wall_clock(), UTC)
        lines = {}
        for gauge, (limit, remaining, reset) in limits.state().items():
            name = "anthropic-ratelimit-" + gauge.replace("_", "-")
            when = (now + timedelta(seconds=reset)).isoformat(timespec="milliseconds")
            lines[f"{name}-limit"] = str(limit)
            lines[f"{name}-remaining"] = str(remaining)
            lines[f"{name}-reset"] = when.replace("+00:00", "Z")
        return header_lines(lines)

    def error(self, status: int, message: str, headers: bytes = b"") -> Rejected:
        error = {"type": _TYPES.get(status, "api_error"), "message": message}
        made = self.request_id("req_")
        return Rejected(status, {"type": "error", "error": error, "request_id": made}, headers)

    def hint(self, wait: float) -> bytes:
        if not self.retry_after or wait == NEVER:
            return b""
        lines = {"retry-after": str(max(1, math.ceil(wait)))}
        if self.retry_after == "ms":
            lines = {"retry-after-ms": str(max(1, math.ceil(wait * 1000))), **lines}
        return header_lines(lines)

    def limited(self, refusal: Refusal, call: Call) -> Rejected:
        if refusal.by == "concurrency":
            message = "Number of concurrent connections has exceeded your rate limit."
        else:
            what = refusal.by.replace("_", " ")
            message = (
                f"This request would exceed your organization's rate limit of {refusal.limit:,} "
                f"{what} per minute (model: {call.model})."
            )
        return self.error(429, message, self.hint(refusal.wait))

    def problem(self, kind: str, call: Call, *, wait: float = 1.0, **more: Any) -> Rejected:
        if kind == "429":
            return self.error(429, "This request would exceed your rate limit.", self.hint(wait))
        if kind == "context":
            window = self.context_window or 200_000
            used = call.input_tokens
            if used <= window:
                limit = f"{used} + {call.max_tokens} > {window}"
                message = (
                    f"input length and `max_tokens` exceed context limit: {limit}, decrease input "
                    "length or `max_tokens` and try again"
                )
                if self.context_window is not None:
                    return self.error(400, message)
                used = window + 1
            return self.error(400, f"prompt is too long: {used} tokens > {window} maximum")
        status, message = {
            "quota": (400, "Your credit balance is too low to access the Anthropic API."),
            "unauthorized": (
                401,
                "x-api-key header is required"
                if more.get("key", "") is None
                else "invalid x-api-key",
            ),
            "not_found": (404, f"model: {call.model}"),
            "bad_json": (400, "The request body is not valid JSON: " + more.get("detail", "")),
            "too_large": (413, "Request exceeds the maximum size"),
            "no_route": (404, "Not Found"),
            "503": (503, "Service unavailable"),
            "529": (529, "Overloaded"),
        }.get(kind, (500, "Internal server error"))
        return self.error(status, message)
