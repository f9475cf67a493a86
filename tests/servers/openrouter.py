"""OpenRouter's dialect of OpenAI's format."""

from __future__ import annotations

import time
from typing import Any, ClassVar

from .answers import Call, names
from .core import Exchange, header_lines
from .dialects import Dialect
from .limits import NEVER, Limits, Refusal
from .openai_words import masked
from .trip import Rejected, Route


class OpenRouter(Dialect):
    """https://openrouter.ai/docs: provider routing, usage accounting, errors, models, key."""

    base = "/api/v1"
    completion_prefix = "gen-"
    known = names(
        "provider models usage transforms route plugins top_k min_p top_a repetition_penalty "
        "reasoning include_reasoning structured_outputs prompt"
    )
    always_usage = True
    # Who serves every model here, at which multiple of the price: in the default order.
    providers: ClassVar[dict[str, float]] = {"OpenAI": 1.0, "Azure": 1.2, "DeepInfra": 0.5}
    fastest: ClassVar[str] = "Azure"

    def route(self, path: str) -> Route | None:
        return Route(path[1:]) if path in ("/key", "/credits") else None

    def unknown(self, name: str) -> Rejected:
        return self.error(400, f"Unrecognized key: '{name}'")

    def no_format(self, kind: str) -> Rejected:
        return self.error(404, "No endpoints found that can handle the requested parameters.")

    def error(self, code: int, message: str, hint: bytes = b"", **metadata: Any) -> Rejected:
        error: dict[str, Any] = {"code": code, "message": message}
        if metadata:
            error["metadata"] = metadata
        return Rejected(code, {"error": error, "user_id": "user_test"}, hint)

    def choose(self, call: Call) -> None:
        wanted = [call.model, *(call.body.get("models") or ())]
        reachable = [m for m in wanted if m not in self.server.unavailable]
        if self.server.models is not None:
            reachable = [m for m in reachable if m in self.server.models] or wanted[:1]
        if not reachable:
            raise self.error(503, "Provider returned error", provider_name="OpenAI", raw="down")
        call.model = reachable[0]
        self.provider(call)

    def provider(self, call: Call) -> str:
        """Who answers, by the request's `provider` object."""
        wish = call.body.get("provider") or {}
        allowed = [
            name
            for name in self.providers
            if name not in (wish.get("ignore") or ()) and name in (wish.get("only") or [name])
        ]
        order = [name for name in wish.get("order") or () if name in allowed]
        if wish.get("order") and wish.get("allow_fallbacks") is False:
            allowed = order
        if not allowed:
            raise self.error(404, "No allowed providers are available for the selected model.")
        if order:
            return str(order[0])
        sort = wish.get("sort")
        sort = sort.get("by") if isinstance(sort, dict) else sort
        if sort == "price":
            return min(allowed, key=self.providers.__getitem__)
        if sort in ("throughput", "latency") and self.fastest in allowed:
            return self.fastest
        return allowed[0]

    def finish(self, body: dict[str, Any], call: Call) -> None:
        body["provider"] = self.provider(call)
        for choice in body["choices"]:
            choice["native_finish_reason"] = choice["finish_reason"]

    def usage(self, usage: dict[str, Any], call: Call) -> None:
        if (call.body.get("usage") or {}).get("include"):
            cost = self.server.cost(call, usage["completion_tokens"])
            usage["cost"] = round(cost * self.providers[self.provider(call)], 12)
            usage["is_byok"] = False
            usage["cost_details"] = {"upstream_inference_cost": None}

    def comments(self) -> list[bytes]:
        return [b": OPENROUTER PROCESSING\n\n"] * 2

    def error_chunk(self, call: Call) -> dict[str, Any]:
        return {
            "id": self.server.request_id("gen-"),
            "object": "chat.completion.chunk",
            "created": self.server.created,
            "model": call.model,
            "provider": self.provider(call),
            "error": {"code": "server_error", "message": "Provider disconnected unexpectedly"},
            "choices": [{"index": 0, "delta": {"content": ""}, "finish_reason": "error"}],
        }

    def price(self, name: str) -> dict[str, float]:
        return self.server.price or {"input": 0.10, "output": 0.40}

    def model(self, name: str) -> dict[str, Any]:
        window = self.server.context_window or 128_000
        price = self.price(name)
        free = name.endswith(":free")
        each = {
            k: f"{0 if free else v / 1e6:.12f}".rstrip("0").rstrip(".") for k, v in price.items()
        }
        return {
            "id": name,
            "canonical_slug": name,
            "name": name,
            "created": 1_700_000_000,
            "description": "A model of the test server.",
            "context_length": window,
            "architecture": {
                "modality": "text->text",
                "input_modalities": ["text"],
                "output_modalities": ["text"],
                "tokenizer": "GPT",
                "instruct_type": None,
            },
            "pricing": {
                "prompt": each.get("input", "0"),
                "completion": each.get("output", "0"),
                "input_cache_read": each.get("cached_input", each.get("input", "0")),
                "request": "0",
                "image": "0",
            },
            "top_provider": {
                "context_length": window,
                "max_completion_tokens": 16_384,
                "is_moderated": False,
            },
            "per_request_limits": None,
            "supported_parameters": ["max_tokens", "temperature", "response_format", "tools"],
        }

    def listing(self, route: Route, exchange: Exchange) -> Any:
        used = self.server.stats.dollars
        if route.kind == "credits":
            return {"data": {"total_credits": 100, "total_usage": used}}
        key = self.server.key_of(exchange, route) or ""
        return {
            "data": {
                "label": masked(key),
                "usage": used,
                "limit": None,
                "limit_remaining": None,
                "is_free_tier": False,
                "is_provisioning_key": False,
                "rate_limit": {"requests": -1, "interval": "10s", "note": "deprecated"},
            }
        }

    def rate_headers(self, limits: Limits) -> bytes:
        return b""  # sent with a 429 only

    def limited(self, refusal: Refusal, call: Call, hint: bytes) -> Rejected:
        wait = 60.0 if refusal.wait == NEVER else refusal.wait
        headers = {
            "X-RateLimit-Limit": str(refusal.limit),
            "X-RateLimit-Remaining": str(max(0, refusal.limit - refusal.used)),
            "X-RateLimit-Reset": str(int((time.time() + wait) * 1000)),
        }
        if not self.server.headers:
            return self.error(429, "Rate limit exceeded", hint)
        hint += header_lines({name.lower(): value for name, value in headers.items()})
        return self.error(429, f"Rate limit exceeded: {refusal.by}", hint, headers=headers)

    def problem(self, kind: str, call: Call, hint: bytes, more: dict[str, Any]) -> Rejected:
        if kind == "429":
            raw = f"{call.model} is temporarily rate-limited upstream. Please retry shortly."
            return self.error(429, "Provider returned error", hint, raw=raw, provider_name="OpenAI")
        if kind == "quota":
            return self.error(402, "Insufficient credits. Add more to go on.")
        if kind == "unauthorized":
            missing = more.get("key") is None
            return self.error(401, "No auth credentials found" if missing else "User not found.")
        if kind == "not_found":
            return self.error(400, f"{call.model} is not a valid model ID")
        if kind in ("503", "529", "500"):
            message = "Internal Server Error" if kind == "500" else "Provider returned error"
            return self.error(int(kind), message, provider_name="OpenAI", raw="upstream error")
        if kind == "stream_error":
            # Errors after the provider was asked come with a 200, as its headers are out.
            rejected = self.error(502, "Provider returned error", provider_name="OpenAI", raw="")
            rejected.status = 200
            return rejected
        rejected = super().problem(kind, call, hint, more)
        return self.error(rejected.status, rejected.body["error"]["message"])


def _dollars(value: float) -> str:
    return f"{value:.12f}".rstrip("0").rstrip(".")
