"""fenic as a contender of `benchmarks.operators`. Runs in the peers' environment.

It has no ranking operator. How many calls are in flight is its own choice: there is no setting,
only a rate limit, which is set out of reach.
"""

from __future__ import annotations

import logging
import os
from argparse import Namespace
from typing import Any

import fenic as fc
from pydantic import BaseModel, Field

from benchmarks import _operators_contender as contender
from benchmarks import _operators_data as data
from benchmarks._fenic import tokenizer


class Product(BaseModel):
    maker: str = Field(description=contender.MAKER)
    code: str = Field(description=contender.CODE)


def opened(args: Namespace) -> fc.Session:
    model = fc.OpenAILanguageModel(
        model_name="gpt-4.1-nano", rpm=10_000_000, tpm=2_000_000_000, base_url=args.url
    )
    semantic = fc.SemanticConfig(language_models={"m": model}, default_language_model="m")
    return fc.Session.get_or_create(fc.SessionConfig(app_name="operators", semantic=semantic))


def table(args: Namespace) -> fc.DataFrame:
    return opened(args).create_dataframe({"text": data.texts(args.task, args.rows)})


def predicate(args: Namespace) -> list[Any]:
    asked = fc.semantic.predicate(contender.STATEMENT + ": {{ text }}", text=fc.col("text"))
    return table(args).filter(asked).to_polars()["text"].to_list()


def map_(args: Namespace) -> list[Any]:
    asked = fc.semantic.map(contender.HEADING + ":\n{{ text }}", text=fc.col("text"))
    done = table(args).select(fc.col("text"), asked.alias("said")).to_polars()
    return [list(row) for row in done.rows()]


def extract(args: Namespace) -> list[Any]:
    asked = fc.semantic.extract("text", Product).alias("said")
    done = table(args).select(fc.col("text"), asked).to_polars()
    return [list(row) for row in done.rows()]


def join(args: Namespace) -> list[Any]:
    session = opened(args)
    left, right = data.sides(args.rows)
    joined = session.create_dataframe({"a": left}).semantic.join(
        session.create_dataframe({"b": right}),
        predicate=contender.SAME + ":\nA: {{ left_on }}\nB: {{ right_on }}",
        left_on=fc.col("a"),
        right_on=fc.col("b"),
    )
    return [list(row) for row in joined.to_polars().select("a", "b").rows()]


def self_join(args: Namespace) -> list[Any]:
    session = opened(args)
    texts = data.texts(args.task, args.rows)
    joined = session.create_dataframe({"a": texts}).semantic.join(
        session.create_dataframe({"b": texts}),
        predicate=contender.SENTIMENT + ":\nA: {{ left_on }}\nB: {{ right_on }}",
        left_on=fc.col("a"),
        right_on=fc.col("b"),
    )
    return [list(row) for row in joined.to_polars().select("a", "b").rows()]


TASKS = {
    "predicate": predicate,
    "map": map_,
    "extract": extract,
    "join": join,
    "self-join": self_join,
}


def main() -> None:
    args = contender.options()
    os.environ.setdefault("OPENAI_API_KEY", "none")
    logging.disable(logging.WARNING)
    tokenizer()
    opened(args)  # the tasks take this one: opening it is not in the time
    contender.run(TASKS, args)


if __name__ == "__main__":
    main()
