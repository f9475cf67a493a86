"""Routing from end to end: compare two models on tickets, learn a router from that, and use it in a
frame and through `swath serve`, beside all-small and all-large.

python examples/routing_loop.py [ROWS]       (Banking77, CC BY 4.0; two local models)

A third of ROWS (360) is answered by both models and graded by the labels that people gave; a third,
of which nothing but the text is used, says where the threshold lies; the last third is measured on.
Both models run on this machine. Dollars are their tokens at the prices below. Beside what `auto`
gets right stands what drawing lots would, with as many tickets for the large model.
"""

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import openai
import polars as pl
from shared_data import path

import swath as sw
from swath import routing
from swath.gateway.server import Gateway

TOPICS = {
    "card_arrival": "a new card that has not arrived yet",
    "lost_or_stolen_card": "a card that was lost or stolen",
    "change_pin": "changing the PIN of a card",
    "exchange_rate": "exchange rates of currencies",
    "top_up_failed": "a top-up that failed",
    "transfer_not_received_by_recipient": "a transfer that the recipient has not received",
    "age_limit": "how old one must be",
    "terminate_account": "closing the account",
}
STRONG = 0.5  # share of the tickets for the large model
MODELS = {
    "small": {
        "provider": "local",
        "model": os.environ.get("SMALL", "smollm2-135m"),
        "price": {"input": 0.05, "output": 0.2},  # dollars per million tokens, made up
    },
    "large": {
        "provider": "local",
        "model": os.environ.get("LARGE", "qwen2.5-coder-0.5b"),
        "price": {"input": 0.5, "output": 2.0},
    },
}


def question(model: str) -> Any:
    return sw.classify("text", TOPICS, model=model)


def learn(seen: pl.DataFrame, fresh: pl.DataFrame, artifact: Path) -> None:
    """Compare, train, calibrate."""
    compared = sw.compare(seen, question("small"), ["small", "large"], n=None, name="topic")
    assert compared.items is not None
    gold = compared.table["category"]
    said = compared.items.select("item_id", "row", "answer_a", "answer_b").to_dicts()
    labels = [
        {
            "item_id": pair["item_id"],
            "annotator": "gold",
            "label": {(True, False): "A", (False, True): "B"}.get(
                (pair["answer_a"] == gold[pair["row"]], pair["answer_b"] == gold[pair["row"]]),
                "tie",
            ),
        }
        for pair in said
    ]
    graded = routing.of_comparison(compared.with_human(pl.DataFrame(labels)))
    router = routing.train(graded, "neighbours")
    for model, column in compared.columns.items():
        print(f"{model} is right on {right(compared.table, column)} of {seen.height} compared")
    router.calibration = routing.for_share(
        router.score(fresh["text"].to_list()), STRONG, weak="small", strong="large"
    )
    routing.save(router, artifact)


def hits(table: pl.DataFrame, column: str) -> int:
    return int((table[column] == table["category"]).sum())


def right(table: pl.DataFrame, column: str) -> str:
    """Accuracy with its 95% interval (Wilson)."""
    n = table.height
    z, p = 1.96, hits(table, column) / n
    middle, half = p + z * z / (2 * n), z * (p * (1 - p) / n + z * z / (4 * n * n)) ** 0.5
    low, high = (middle - half) / (1 + z * z / n), (middle + half) / (1 + z * z / n)
    return f"{p:.0%} ({low:.0%} to {high:.0%})"


def in_a_frame(
    session: sw.Session, tickets: pl.DataFrame, model: str
) -> tuple[pl.DataFrame, float, float]:
    """The answers, dollars, and the share of the large model."""
    run = sw.frame(tickets).with_columns(topic=question(model)).run()
    large = run.by_model["large"].calls if "large" in run.by_model else 0
    return run.table, run.metrics.cost_usd, large / tickets.height


def served(
    session: sw.Session, tickets: pl.DataFrame, model: str
) -> tuple[pl.DataFrame, float, float]:
    """The same through the server, asked by OpenAI's own client: labels as JSON, which is another
    question, with other answers."""
    topics = "\n".join(f"- {name}: {what}" for name, what in TOPICS.items())
    system = f"Choose the one topic that fits the text best.\n\n{topics}"
    enum = {"type": "string", "enum": list(TOPICS)}
    schema = {
        "type": "object",
        "properties": {"topic": enum},
        "required": ["topic"],
        "additionalProperties": False,
    }
    said, dollars, large = [], 0.0, 0
    with Gateway(session, port=0) as gateway:
        client = openai.OpenAI(base_url=gateway.url, api_key="any", timeout=600)
        for text in tickets["text"]:
            raw = client.chat.completions.with_raw_response.create(
                model=model,
                messages=[
                    {"role": "system", "content": system},
                    {"role": "user", "content": text},
                ],
                response_format={
                    "type": "json_schema",
                    "json_schema": {"name": "topic", "schema": schema},
                },
            )
            said.append(json.loads(raw.parse().choices[0].message.content or "{}")["topic"])
            dollars += float(raw.headers["x-swath-cost-usd"])
            large += raw.headers["x-swath-model"] == "large"
    return tickets.with_columns(topic=pl.Series(said)), dollars, large / tickets.height


rows = int(sys.argv[1]) if len(sys.argv) > 1 else 360
tickets = pl.read_csv(path("banking77_tickets.csv"))
tickets = tickets.filter(pl.col("category").is_in(list(TOPICS))).sample(rows, seed=7)
third = rows // 3
seen, fresh, asked = tickets[:third], tickets[third : 2 * third], tickets[2 * third :]

with tempfile.TemporaryDirectory() as folder:
    artifact = Path(folder) / "tickets.router"
    with sw.Session({"models": MODELS, "store": f"sqlite:///{folder}/compare.db"}):
        learn(seen, fresh, artifact)
    print(f"\non {asked.height} other tickets      right                dollars  by large  by lots")
    for door, ask in (("frame", in_a_frame), ("served", served)):
        alone: list[float] = []  # accuracy of the small model, and of the large one
        for model in ("small", "large", "auto"):
            # Each with a store of its own, so that each pays for itself.
            config = {
                "models": MODELS,
                "store": "memory://",
                "router": {"artifact": str(artifact), "weak": "small", "strong": "large"},
            }
            with sw.Session(config) as session:
                table, dollars, share = ask(session, asked, model)
            row = f"{model}, {door:13}  {right(table, 'topic'):22} {dollars:9.6f} {share:8.0%}"
            if model == "auto":
                row += f" {alone[0] + share * (alone[1] - alone[0]):8.0%}"
            alone.append(hits(table, "topic") / table.height)
            print(row, flush=True)
