"""What a list of questions would take, per model; a part of them is measured.

Beginnings of prompts that are the same for every row (instructions, examples) are kept by many
providers and charged at a lower price: what share of the input that is, is read off earlier calls
of the same operator, or reckoned from the prompts where there were none.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

from swath.frames.load import ModelLoad
from swath.messages import Request

if TYPE_CHECKING:
    from swath.catalog.model import Model
    from swath.engine.engine import Engine

MEASURED = 200  # questions of an operator and model that are measured
KEPT_FROM = 1024  # tokens from which on providers keep a beginning (OpenAI, Gemini, Anthropic docs)
BY_THEMSELVES = frozenset({"openai", "google", "vertex", "groq", "openrouter"})
RECALLED = 20  # earlier calls that tell more than the prompts do


async def measure(
    engine: Engine, name: str, todo: Sequence[tuple[Request, float]]
) -> dict[str, ModelLoad]:
    """Sums over `todo`: questions, and how many of each. On the engine's loop."""
    by_model: dict[str, list[tuple[Request, float]]] = {}
    for asked_for, count in todo:
        for request, share in engine.spread(asked_for):
            by_model.setdefault(request.model, []).append((request, count * share))
    loads: dict[str, ModelLoad] = {}
    for alias, asked in by_model.items():
        model = engine.models[alias]
        some = asked[:: -(-len(asked) // MEASURED)]
        load = ModelLoad()
        for request, count in some:
            one = engine.estimate(request, name)
            load.calls += count
            load.input_tokens += one.input_tokens * count
            load.cached_tokens += _kept(model, request, one.input_tokens) * count
            load.output_tokens += one.output_tokens * count
            load.cost_usd += one.cost_usd * count
            load.seconds += one.seconds * count
            await asyncio.sleep(0)
        total = sum(count for _, count in asked)
        load = load.scaled(total / load.calls if load.calls else 0.0)
        _discount(engine, name, model, load)
        loads[alias] = load
    return loads


def _kept(model: Model, request: Request, tokens: float) -> float:
    """Tokens of the beginning that all rows share, where the provider keeps so many."""
    if model.provider not in BY_THEMSELVES and not model.options.get("prompt_cache"):
        return 0.0
    size = sum(len(message.content) for message in request.messages)
    same = size - len(request.messages[-1].content) if request.messages else 0
    kept = tokens * same / size if size else 0.0
    return kept if kept >= KEPT_FROM else 0.0


def _discount(engine: Engine, name: str, model: Model, load: ModelLoad) -> None:
    """Sets `cached_tokens`, and takes what they are cheaper off the cost."""
    earlier = engine.store.query(
        "SELECT count(*) AS calls, sum(input_tokens) AS tokens, sum(cached_input_tokens) AS kept"
        " FROM (SELECT input_tokens, cached_input_tokens FROM calls WHERE label = ? AND model = ?"
        " AND status = 'ok' AND NOT cached ORDER BY at DESC LIMIT 200) AS recent",
        (name, model.alias),
    )[0]
    if earlier["calls"] >= RECALLED and earlier["tokens"]:
        load.cached_tokens = load.input_tokens * float(earlier["kept"]) / float(earlier["tokens"])
    else:
        # The first calls go out together, before anything is kept.
        load.cached_tokens *= max(1.0 - model.concurrency / max(load.calls, 1.0), 0.0)
    if model.price is not None and model.price.cached_input is not None:
        price = model.price.at(load.input_tokens / max(load.calls, 1.0))
        cached = price.input if price.cached_input is None else price.cached_input
        load.cost_usd -= load.cached_tokens * (price.input - cached) / 1e6
