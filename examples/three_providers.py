"""One pipeline over three providers: the model is chosen row by row, and a second one steps in
where the first fails.

Set OPENAI_API_KEY, ANTHROPIC_API_KEY and GEMINI_API_KEY. Other addresses can be given in
OPENAI_BASE_URL, ANTHROPIC_BASE_URL and GEMINI_BASE_URL.
"""

import os

import polars as pl

import swath as sw

MODELS = {
    "small": ("openai", "gpt-4.1-nano", "OPENAI"),
    "careful": ("anthropic", "claude-haiku-4-5", "ANTHROPIC"),
    "long": ("google", "gemini-2.5-flash", "GEMINI"),
}


def model(provider: str, name: str, prefix: str) -> dict[str, str]:
    url = os.environ.get(f"{prefix}_BASE_URL")
    return {"provider": provider, "model": name, **({"base_url": url} if url else {})}


REVIEWS = {
    "text": [
        "A warm, funny film that never outstays its welcome.",
        "Two hours of my life that I want back. " * 3,
        "The first half drags; the second is a marvel. " * 12,
    ]
}

with sw.Session({"models": {alias: model(*about) for alias, about in MODELS.items()}}):
    length = pl.col("text").str.len_chars()
    by_length = (
        pl.when(length > 400)
        .then(pl.lit("long"))
        .when(length > 100)
        .then(pl.lit("careful"))
        .otherwise(pl.lit("small"))
    )
    frame = sw.frame(REVIEWS).with_columns(
        sentiment=sw.classify("text", ["positive", "negative", "mixed"], model=by_length),
        # `small` is asked; `careful` steps in on an outage, a timeout or a refusal.
        summary=sw.map("Summarize in five words: {text}", model=["small", "careful"]),
    )
    run = frame.run(max_cost=0.05)
    print(run.table)
    for alias, spent in run.by_model.items():
        print(f"{alias}: {spent.calls} calls, ${spent.cost_usd:.6f}")
