"""OpenRouter: OpenAI's format over many providers, with routing, prices and charges.

https://openrouter.ai/docs/features/provider-routing, …/features/model-routing,
…/api-reference/errors, …/use-cases/usage-accounting

- Routing options (`sort`, `order`, …) go into the body's `provider` object.
- Each reply says in dollars what was charged: `Usage.cost_usd`.
- An error may come with status 200: whole, in a choice, or in the middle of a stream.
- A free model (`…:free`) has limits of its own by day: its 429 with a day's limit is QUOTA.
- The model list is public, so the probe asks for the key's own record instead.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from swath.catalog.model import Model, Price
from swath.errors import Kind
from swath.messages import Request
from swath.providers.base import HttpRequest, ModelInfo
from swath.providers.openai import OpenAI
from swath.providers.wire import as_dict

_ROUTING = frozenset(
    [
        "sort",
        "order",
        "only",
        "ignore",
        "allow_fallbacks",
        "require_parameters",
        "data_collection",
        "zdr",
        "quantizations",
        "max_price",
        "preferred_min_throughput",
        "preferred_max_latency",
    ]
)


class OpenRouter(OpenAI):
    name: ClassVar[str] = "openrouter"
    base_url: ClassVar[str] = "https://openrouter.ai/api/v1"
    key_env: ClassVar[str] = "OPENROUTER_API_KEY"
    body_options: ClassVar[frozenset[str]] = frozenset(
        {"models", "transforms", "plugins", "reasoning", "route", "service_tier", "verbosity"}
    )
    header_options: ClassVar[Mapping[str, str]] = {"referer": "http-referer", "title": "x-title"}
    options: ClassVar[frozenset[str]] = body_options | _ROUTING | {"referer", "title"}
    reports_cost: ClassVar[bool] = True

    def reasons(self, model: Model) -> bool:
        return False  # OpenRouter itself leaves out what a model does not take

    def chat_body(self, request: Request, model: Model, stream: bool) -> dict[str, Any]:
        body = super().chat_body(request, model, stream)
        routing = {k: v for k, v in model.options.items() if k in _ROUTING}
        if routing:
            body["provider"] = {**routing, **as_dict(body.get("provider"))}
        body.setdefault("usage", {"include": True})
        return body

    def classify(self, status: int, fields: Mapping[str, Any], said: str) -> tuple[Kind, str]:
        text = said.lower()
        metadata = as_dict(fields.get("metadata"))
        if status == 403 and ("reasons" in metadata or "moderation" in text):
            return Kind.REFUSAL, ""
        if status == 404 and "no endpoints found" in text:
            # The model exists; none of its providers may be used, or has what is asked for.
            if "policy" in text or "guardrail" in text:
                return Kind.BAD_REQUEST, ""
            if "requested parameters" in text:  # which of them it does not say; most often this
                return Kind.UNSUPPORTED, "json_schema"
            if "support" in text:
                return super().classify(400, fields, said + " (not supported)")
        if status == 429 and "per-day" in text:
            return Kind.QUOTA, ""
        return super().classify(status, fields, said)

    def probe(self, model: Model) -> HttpRequest:
        return HttpRequest("GET", model.base_url.rstrip("/") + "/key", self.headers(model))

    def model_info(self, row: dict[str, Any]) -> ModelInfo:
        top, built = as_dict(row.get("top_provider")), as_dict(row.get("architecture"))
        ends = (built.get("input_modalities"), built.get("output_modalities"))
        window = row.get("context_length") or top.get("context_length")
        return ModelInfo(
            id=row["id"],
            context_window=window if isinstance(window, int) else None,
            max_output_tokens=top.get("max_completion_tokens"),
            price=_price(as_dict(row.get("pricing"))),
            modalities=tuple(dict.fromkeys(m for end in ends for m in end or ())),
        )


def _price(raw: dict[str, Any]) -> Price | None:
    """Dollars a token as text, to dollars a million; -1 is a router's 'it depends'."""

    def per_million(key: str) -> float | None:
        try:
            dollars = round(float(raw[key]) * 1e6, 6)
        except (KeyError, TypeError, ValueError):
            return None
        return dollars if dollars >= 0 else None

    read, written = per_million("prompt"), per_million("completion")
    if read is None or written is None:
        return None
    return Price(
        input=read,
        output=written,
        cached_input=per_million("input_cache_read"),
        cache_write=per_million("input_cache_write"),
    )
