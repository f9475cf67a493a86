"""Compare two local models on real tickets, learn a router from it, and use it: in a frame, and
through `swath serve` by the unmodified `openai` client.

    python examples/routing_loop.py tickets.csv [--rows 60]

The table has a column `text` (customers' messages). Both models run on this machine, which costs
nothing; dollars are reckoned from their tokens at made-up prices, a tenth for the small one.
Agreement with the large model counts as quality.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import openai
import polars as pl

import swath as sw
from swath.gateway.server import Gateway
from swath.routing.artifact import save
from swath.routing.calibrate import for_share
from swath.routing.training import train

TOPICS = {
    "card": "about a payment card: lost, declined, not arrived, its PIN",
    "transfer": "about a transfer or a top-up of the account",
    "identity": "about proving who one is, or personal details",
    "exchange": "about foreign currency, exchange rates or cash abroad",
}
DOLLARS = {"small": 0.1, "large": 1.0}  # per million tokens


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("table")
    parser.add_argument("--rows", type=int, default=60)
    parser.add_argument("--small", default="smollm2-135m")
    parser.add_argument("--large", default="qwen2.5-coder-0.5b")
    given = parser.parse_args()
    texts = pl.read_csv(given.table)["text"].sample(given.rows, seed=0)
    half = given.rows // 2
    seen, fresh = texts[:half], texts[half:]
    with tempfile.TemporaryDirectory() as folder:
        models = {
            "small": {"provider": "local", "model": given.small},
            "large": {"provider": "local", "model": given.large},
        }
        config: dict[str, Any] = {"models": models, "store": f"sqlite:///{folder}/swath.db"}
        artifact = Path(folder) / "tickets.router"
        learn(config, seen, fresh, artifact)
        config["router"] = {"artifact": str(artifact)}
        use(config, fresh)


def question(model: str) -> Any:
    return sw.classify("text", TOPICS, model=model)


def learn(config: dict[str, Any], texts: pl.Series, fresh: pl.Series, artifact: Path) -> None:
    """Both models on the same rows; what they say becomes grades, the grades a router. The
    threshold, for half of the rows, is chosen on unseen ones, which need no answers."""
    with sw.Session(config):
        frame = sw.frame({"text": texts})
        both = frame.with_columns(small=question("small"), large=question("large")).collect()
    both = both.drop_nulls()
    print(f"compared {both.height} rows: the small one agrees on {agreement(both):.0%}")
    same = pl.col("small") == pl.col("large")
    grades = pl.concat(
        [
            both.select(prompt="text", model=pl.lit("small"), quality=same.cast(pl.Float64)),
            both.select(prompt="text", model=pl.lit("large"), quality=pl.lit(1.0)),
        ]
    )
    router = train(grades, "neighbours")
    scores = router.score(fresh.to_list())
    router.calibration = for_share(scores, 0.5, weak="small", strong="large")
    save(router, artifact)


def use(config: dict[str, Any], texts: pl.Series) -> None:
    """All-small, all-large and auto beside each other, then single requests."""
    with sw.Session(config) as session:
        frame = sw.frame({"text": texts})
        answers = {
            name: frame.with_columns(topic=question(name)).run()
            for name in ("large", "small", "auto")
        }
        reference = answers["large"].table["topic"]
        dollars = {name: per_call(answers[name].by_model[name], name) for name in DOLLARS}
        print("model   agrees with large   cost of 1,000   asked of")
        for name, run in answers.items():
            same = float((run.table["topic"] == reference).mean() or 0.0)
            split = {a: m.calls + m.cached for a, m in run.by_model.items() if a in DOLLARS}
            cost = sum(dollars[a] * n for a, n in split.items()) / sum(split.values())
            print(f"{name:6}  {same:17.0%}   {1000 * cost:12.4f}$   {split}")
        with Gateway(session, port=0) as gateway:
            client = openai.OpenAI(base_url=gateway.url, api_key="any")
            for text in texts[:3]:
                raw = client.chat.completions.with_raw_response.create(
                    model="auto",
                    messages=[{"role": "user", "content": text}],
                    max_tokens=30,
                )
                told = {k: v for k, v in raw.headers.items() if k.startswith("x-swath-")}
                print(json.dumps(told), raw.parse().choices[0].message.content)


def per_call(metrics: Any, name: str) -> float:
    return (metrics.input_tokens + metrics.output_tokens) / metrics.calls * DOLLARS[name] / 1e6


def agreement(table: pl.DataFrame) -> float:
    return float((table["small"] == table["large"]).mean() or 0.0)


if __name__ == "__main__":
    main()
