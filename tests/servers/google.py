"""Google's wire format: the Gemini API, and the same under Vertex's paths.

https://ai.google.dev/api/generate-content, /api/embeddings, /api/models and the error model
of google.rpc. Bodies are proto JSON: camelCase, and snake_case is taken as well.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from .answers import Answer, Call, embedding, pieces
from .core import JSON, SSE, Exchange
from .google_reading import read_body, read_embedding
from .limits import NEVER, Limits, Refusal
from .server import Server, encode
from .trip import Rejected, Route

_PATH = re.compile(r"/(?:v1|v1beta)/models/([^/:]+):(\w+)\Z")
_VERTEX = re.compile(
    r"/(?:v1|v1beta1)/projects/[^/]+/locations/[^/]+/publishers/google/models/([^/:]+):(\w+)\Z"
)
_METHODS = {
    "generateContent": "chat",
    "streamGenerateContent": "chat",
    "embedContent": "embed",
    "batchEmbedContents": "embed",
    "predict": "embed",
    "countTokens": "count",
}
_STATUS = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    413: "INVALID_ARGUMENT",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
    529: "UNAVAILABLE",
}
_RPC = "type.googleapis.com/google.rpc."
_FREE = "generate_content_free_tier_"
_QUOTAS = {
    "requests": (_FREE + "requests", "GenerateRequestsPerMinutePerProjectPerModel"),
    "day": (_FREE + "requests", "GenerateRequestsPerDayPerProjectPerModel"),
    "tokens": (_FREE + "input_token_count", "GenerateContentInputTokensPerModelPerMinute"),
}


@dataclass(kw_only=True, eq=False)
class GoogleServer(Server):
    """`with serve(GoogleServer(rpm=15)) as server: ... server.base_url`

    The key is `x-goog-api-key` or `?key=`; on Vertex's paths it is the bearer token.
    """

    json_schema: bool = True  # knows responseSchema and responseJsonSchema

    def find_route(self, method: str, path: str, query: dict[str, str]) -> Route | None:
        if method == "GET":
            for base in ("/v1beta/models", "/v1/models"):
                if path == base:
                    return Route("models")
                if path.startswith(base + "/"):
                    return Route("model", path[len(base) + 1 :])
            return None
        found = _PATH.match(path)
        vertex = None if found else _VERTEX.match(path)
        match = found or vertex
        if match is None or match[2] not in _METHODS or (match[2] == "predict" and not vertex):
            return None
        form = "vertex " if vertex else "gemini "
        stream = match[2] == "streamGenerateContent"
        if stream:
            form += "sse" if query.get("alt") == "sse" else "array"
        elif match[2] in ("batchEmbedContents", "predict"):
            form += match[2]
        return Route(_METHODS[match[2]], match[1], stream, form)

    def key_of(self, exchange: Exchange, route: Route) -> str | None:
        if route.form.startswith("vertex"):
            value = exchange.header(b"authorization") or ""
            return value[7:] if value[:7].lower() == "bearer " else None
        return exchange.header(b"x-goog-api-key") or exchange.query.get("key")

    def parse(self, route: Route, exchange: Exchange, body: dict[str, Any]) -> Call:
        call = Call(body, route.model, stream=route.stream, sse=not route.form.endswith("array"))
        try:
            if route.kind == "embed":
                call.inputs = read_embedding(body, route.form.split(" ")[-1])
            else:
                read_body(call, vertex=route.form.startswith("vertex"), schemas=self.json_schema)
        except ValueError as error:
            raise self.error(400, str(error)) from None
        return call

    # -- answering ---------------------------------------------------------------------

    def _usage(self, call: Call, answer: Answer) -> dict[str, Any]:
        thoughts = answer.reasoning_tokens
        usage: dict[str, Any] = {
            "promptTokenCount": call.input_tokens,
            "candidatesTokenCount": answer.completion_tokens - thoughts,
            "totalTokenCount": call.input_tokens + answer.completion_tokens,
            "promptTokensDetails": [{"modality": "TEXT", "tokenCount": call.input_tokens}],
        }
        if call.cached_tokens:
            usage["cachedContentTokenCount"] = call.cached_tokens
        if thoughts:
            usage["thoughtsTokenCount"] = thoughts
        return usage

    def _reply(self, call: Call, candidate: dict[str, Any] | None, answer: Answer) -> Any:
        body: dict[str, Any] = {}
        if candidate is not None:
            body["candidates"] = [candidate]
        else:
            body["promptFeedback"] = {"blockReason": "PROHIBITED_CONTENT"}
        body["usageMetadata"] = self._usage(call, answer)
        body["modelVersion"] = call.model
        body["responseId"] = self.request_id("resp")
        return body

    def _parts(self, answer: Answer) -> list[dict[str, Any]]:
        parts: list[dict[str, Any]] = [{"text": answer.text}] if answer.text else []
        for name, arguments in answer.tool_calls:
            parts.append({"functionCall": {"name": name, "args": arguments}})
        return parts

    def _candidate(self, parts: list[dict[str, Any]], finish: str | None) -> dict[str, Any]:
        content: dict[str, Any] = {"role": "model"}
        if parts:
            content["parts"] = parts
        out: dict[str, Any] = {"content": content}
        if finish is not None:
            out["finishReason"] = finish
        out["index"] = 0
        if finish == "SAFETY":
            out["content"] = {}
            out["safetyRatings"] = [
                {"category": "HARM_CATEGORY_HARASSMENT", "probability": "HIGH", "blocked": True}
            ]
        return out

    def _finish(self, answer: Answer) -> str:
        return {"length": "MAX_TOKENS", "content_filter": "SAFETY"}.get(answer.finish, "STOP")

    def whole(self, call: Call, answer: Answer) -> bytes:
        if answer.refusal:
            return encode(self._reply(call, None, answer))
        candidate = self._candidate(self._parts(answer), self._finish(answer))
        if call.logprobs is not None:
            likely = _logprobs(answer, call.logprobs)
            total = sum(entry["logProbability"] for entry in likely["chosenCandidates"])
            candidate["avgLogprobs"] = total / max(1, len(likely["chosenCandidates"]))
            candidate["logprobsResult"] = likely
        return encode(self._reply(call, candidate, answer))

    def events(self, call: Call, answer: Answer) -> list[bytes]:
        parts = [{"text": text} for text in pieces(answer.text, self.chunk_chars)]
        parts += [part for part in self._parts(answer) if "functionCall" in part]
        bodies = []
        for i in range(max(1, len(parts))):
            finish = self._finish(answer) if i >= len(parts) - 1 else None
            candidate = self._candidate(parts[i : i + 1], finish)
            bodies.append(self._reply(call, None if answer.refusal else candidate, answer))
        one = self.request_id("resp")
        for body in bodies:
            body["responseId"] = one
        if not call.sse:
            joined = [b"," * bool(i) + b"\r\n" * bool(i) + encode(b) for i, b in enumerate(bodies)]
            return [b"[", *joined, b"\r\n]"]
        return [b"data: %b\r\n\r\n" % encode(body) for body in bodies]

    def stream_type(self, route: Route) -> bytes:
        return SSE if route.form.endswith("sse") else JSON

    def error_event(self, call: Call) -> bytes:
        body = encode(self.error(503, "The model is overloaded.").body)
        return b"data: %b\r\n\r\n" % body if call.sse else b",\r\n%b]" % body

    def embedded(self, call: Call, route: Route) -> bytes:
        asked = call.body.get("requests") or [call.body.get("parameters") or call.body]
        size = asked[0].get("outputDimensionality") or self.embedding_size
        vectors = [embedding(text, size) for text in call.inputs or ()]
        if route.form.endswith("batchEmbedContents"):
            return encode({"embeddings": [{"values": vector} for vector in vectors]})
        if route.form.endswith("predict"):
            counts = [self.tokens(text) for text in call.inputs or ()]
            return encode(
                {
                    "predictions": [
                        {
                            "embeddings": {
                                "values": vector,
                                "statistics": {"token_count": count, "truncated": False},
                            }
                        }
                        for vector, count in zip(vectors, counts, strict=True)
                    ]
                }
            )
        return encode({"embedding": {"values": vectors[0]}})

    def listing(self, route: Route, exchange: Exchange) -> Any:
        if route.kind == "count":
            return {"totalTokens": self.read(exchange, route).input_tokens}
        listed = self.models or ("gemini-2.5-flash", "gemini-2.5-pro", "gemini-embedding-001")
        entries = [
            {
                "name": f"models/{name}",
                "version": "001",
                "displayName": name,
                "description": "A model of the test server.",
                "inputTokenLimit": self.context_window or 1_048_576,
                "outputTokenLimit": 65_536,
                "supportedGenerationMethods": ["embedContent"]
                if "embedding" in name
                else ["generateContent", "countTokens"],
            }
            for name in listed
        ]
        if route.kind == "model":
            found = [entry for entry in entries if entry["name"] == f"models/{route.model}"]
            if not found:
                raise self.problem("not_found", Call({}, route.model))
            return found[0]
        return {"models": entries}

    # -- refusing ----------------------------------------------------------------------

    def rate_headers(self, limits: Limits) -> bytes:
        return b""  # Google sends none; what it knows it says in the error's details

    def error(self, status: int, message: str, details: list[Any] | None = None) -> Rejected:
        error: dict[str, Any] = {
            "code": status,
            "message": message,
            "status": _STATUS.get(status, "UNKNOWN"),
        }
        if details:
            error["details"] = details
        return Rejected(status, {"error": error})

    def exhausted(self, what: str, limit: int, call: Call, wait: float) -> Rejected:
        metric, quota = _QUOTAS.get(what, _QUOTAS["tokens"])
        metric = f"generativelanguage.googleapis.com/{metric}"
        details: list[Any] = [
            {
                "@type": _RPC + "QuotaFailure",
                "violations": [
                    {
                        "quotaMetric": metric,
                        "quotaId": f"{quota}-FreeTier",
                        "quotaDimensions": {"location": "global", "model": call.model},
                        "quotaValue": str(limit),
                    }
                ],
            },
            {
                "@type": _RPC + "Help",
                "links": [
                    {
                        "description": "Learn more about Gemini API quotas",
                        "url": "https://ai.google.dev/gemini-api/docs/rate-limits",
                    }
                ],
            },
        ]
        message = (
            "You exceeded your current quota, please check your plan and billing details.\n"
            f"* Quota exceeded for metric: {metric}, limit: {limit}, model: {call.model}"
        )
        if self.retry_after and wait != NEVER:
            precise = f"{wait:.3f}".rstrip("0").rstrip(".")
            delay = precise if self.retry_after == "ms" else str(max(1, -int(-wait // 1)))
            details.append({"@type": _RPC + "RetryInfo", "retryDelay": f"{delay}s"})
            message += f"\nPlease retry in {wait:.9f}s."
        return self.error(429, message, details)

    def limited(self, refusal: Refusal, call: Call) -> Rejected:
        return self.exhausted(refusal.by, refusal.limit, call, refusal.wait)

    def problem(self, kind: str, call: Call, *, wait: float = 1.0, **more: Any) -> Rejected:
        if kind == "429":
            return self.exhausted("requests", self.rpm or 15, call, wait)
        if kind == "quota":
            return self.exhausted("day", 250, call, NEVER)
        if kind == "unauthorized":
            return self._unauthorized(more)
        if kind == "context":
            window = self.context_window or 1_048_576
            used = max(call.input_tokens, window + 1)
            return self.error(
                400,
                f"The input token count ({used}) exceeds the maximum number of tokens allowed "
                f"({window}).",
            )
        status, message = {
            "not_found": (
                404,
                f"models/{call.model} is not found for API version v1beta, or is not supported for "
                "generateContent. Call ListModels to see the list of available models and their "
                "supported methods.",
            ),
            "bad_json": (400, "Invalid JSON payload received. " + more.get("detail", "")),
            "too_large": (413, "Request payload size exceeds the limit: 20971520 bytes."),
            "no_route": (404, "Requested entity was not found."),
            "503": (503, "The model is overloaded. Please try again later."),
            "529": (529, "The model is overloaded. Please try again later."),
        }.get(kind, (500, "An internal error has occurred. Please retry."))
        return self.error(status, message)

    def _unauthorized(self, more: dict[str, Any]) -> Rejected:
        info = {"@type": _RPC + "ErrorInfo", "domain": "googleapis.com"}
        if more.get("form", "").startswith("vertex"):
            message = (
                "Request had invalid authentication credentials. Expected OAuth 2 access token, "
                "login cookie or other valid authentication credential."
            )
            return self.error(401, message, [{**info, "reason": "ACCESS_TOKEN_TYPE_UNSUPPORTED"}])
        if more.get("key", "") is None:
            message = (
                "Method doesn't allow unregistered callers (callers without established identity). "
                "Please use API Key or other form of API consumer identity to call this API."
            )
            return self.error(403, message)
        message = "API key not valid. Please pass a valid API key."
        return self.error(400, message, [{**info, "reason": "API_KEY_INVALID"}])


def _logprobs(answer: Answer, count: int) -> dict[str, Any]:
    chosen, top = [], []
    for i, token in enumerate(pieces(answer.text, 4)):
        likely = {token: -0.01 * (i % 7 + 1), f"{token[:3]}?": -4.0, "~": -6.0}
        if i == 0 and answer.top_logprobs:
            likely = dict(sorted(answer.top_logprobs.items(), key=lambda item: -item[1]))
        entries = [
            {"token": text, "tokenId": len(text), "logProbability": value}
            for text, value in likely.items()
        ]
        chosen.append(next((e for e in entries if e["token"] == token), entries[0]))
        top.append({"candidates": entries[: max(1, count)]})
    return {"topCandidates": top, "chosenCandidates": chosen}
